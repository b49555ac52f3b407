"""The Gaussian process over pairs against the dense one, on eight members and four targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.models.sets.pairs import PairTrunk
from biowm.models.sets.pairs_entry import fit_pairs, runs, targets
from biowm.models.sets.pairs_fit import Weights, learn_weights, low_rank, posterior
from biowm.models.sets.pairs_rank import complete
from biowm.models.sets.pairs_terms import Members, kernel, rows, terms, trend
from biowm.models.tracker import fit_frame

N = 8
EVERY = np.stack(np.triu_indices(N, 1), 1)
RNG = np.random.default_rng(0)
MEMBERS = Members(RNG.normal(size=N), np.repeat(np.arange(N // 2), 2))
FOUND = terms(MEMBERS)
WEIGHTS = Weights(np.linspace(0.2, 0.9, len(FOUND)), own=0.3, noise=0.25)


def together(pairs: np.ndarray) -> np.ndarray:
    """Which target pair each pair is of."""
    aims = np.sort(MEMBERS.target[pairs], 1)
    return aims[:, 0] * N + aims[:, 1]


def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The whole prior covariance, written out: trend, every term, and what two targets do together."""
    total = 10.0 * trend(MEMBERS, one) @ trend(MEMBERS, other).T
    for v, term in zip(WEIGHTS.term, FOUND, strict=True):
        total = total + v * kernel(term, one, other)
    return total + WEIGHTS.own * (together(one)[:, None] == together(other)[None, :])


def test_features_make_the_symmetrised_kernel_whatever_the_order():
    for term in FOUND:
        phi = rows([term], EVERY).toarray()
        np.testing.assert_allclose(phi @ phi.T, kernel(term, EVERY, EVERY), atol=1e-12)
        np.testing.assert_allclose(rows([term], EVERY[:, ::-1].copy()).toarray(), phi)
        np.testing.assert_allclose(kernel(term, EVERY[:, ::-1], EVERY), kernel(term, EVERY, EVERY))
    i, j, k, l = 0, 3, 5, 6  # noqa: E741
    s = MEMBERS.single
    slope = next(t for t in FOUND if t.name == "member slope")
    here, shared = np.array([[i, j]]), np.array([[l, j]])
    assert kernel(slope, here, np.array([[k, l]])).item() == 0.0  # no member in common
    assert kernel(slope, here, shared).item() == pytest.approx(s[i] * s[l])  # of the one in common, by the partners


def test_mean_and_variance_are_those_of_the_dense_process():
    train = np.concatenate([EVERY[::2], EVERY[:3]])  # some pairs were read twice
    y = RNG.normal(size=len(train))
    said = posterior(MEMBERS, WEIGHTS, train, y, EVERY)
    cross = covariance(EVERY, train)
    inner = covariance(train, train) + WEIGHTS.noise * np.eye(len(train))
    mean = cross @ np.linalg.solve(inner, y)
    left = covariance(EVERY, EVERY) - cross @ np.linalg.solve(inner, cross.T)
    np.testing.assert_allclose(said.mean, mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(said.variance, np.diag(left), rtol=1e-6, atol=1e-9)
    turned = posterior(MEMBERS, WEIGHTS, train[:, ::-1].copy(), y, EVERY[:, ::-1].copy())
    np.testing.assert_allclose(turned.mean, said.mean, atol=1e-9)
    np.testing.assert_allclose(turned.variance, said.variance, atol=1e-9)


def test_without_shared_targets_nothing_is_said_twice_and_without_singles_nothing_of_slopes():
    own = Members(MEMBERS.single, np.arange(N))
    assert [t.name for t in terms(own)] == ["member", "member slope", "target curve", "surface"]
    blind = Members(np.zeros(N), MEMBERS.target)
    assert not {"member slope", "target slope"} & {t.name for t in terms(blind)}


def test_likelihood_finds_the_noise_and_which_term_made_the_data():
    rng = np.random.default_rng(1)
    n = 40
    members = Members(rng.normal(size=n), np.repeat(np.arange(n // 2), 2))
    pairs = np.stack(np.triu_indices(n, 1), 1)
    level = rng.normal(size=n)
    y = level[pairs].sum(1) + 0.3 * rng.normal(size=len(pairs))
    found = learn_weights(members, pairs, y)
    by_name = dict(zip([t.name for t in terms(members)], found.term, strict=True))
    assert found.noise == pytest.approx(0.09, rel=0.2)
    assert by_name["member"] > 0.3
    assert by_name["member slope"] < 0.02
    assert found.own < 0.02


def test_what_is_left_of_low_rank_is_completed_and_noise_is_not():
    rng = np.random.default_rng(2)
    g = 40
    u = rng.normal(size=g)
    known = np.triu(rng.random((g, g)) < 0.5, 1)
    known = known | known.T
    noise = np.triu(rng.normal(size=(g, g)), 1)
    noise = noise + noise.T
    unit = np.arange(g * g).reshape(g, g)
    found = complete(np.where(known, np.outer(u, u) + 0.1 * noise, 0.0), known, unit)
    unseen = ~known & ~np.eye(g, dtype=bool)
    assert np.corrcoef(found[unseen], np.outer(u, u)[unseen])[0, 1] > 0.9
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    assert np.abs(complete(np.where(known, noise, 0.0), known, unit)[unseen]).max() < 0.5


def test_entries_of_one_unit_are_no_evidence_for_each_other():
    """Blocks of two by two that are alike look like low rank unless they are left out as wholes."""
    rng = np.random.default_rng(3)
    block = np.triu(rng.normal(size=(20, 20)), 1)
    seen = np.kron(block + block.T, np.ones((2, 2)))
    unit = np.kron(np.arange(400).reshape(20, 20), np.ones((2, 2), int))
    known = np.kron(np.triu(rng.random((20, 20)) < 0.6, 1), np.ones((2, 2))) > 0
    known = known | known.T
    apart = np.arange(1600).reshape(40, 40)
    wrong, right = (complete(np.where(known, seen, 0.0), known, u) for u in (apart, unit))
    hidden = ~known & ~np.kron(np.eye(20), np.ones((2, 2))).astype(bool)
    assert (wrong[hidden] ** 2).mean() > 4 * (right[hidden] ** 2).mean()


def test_what_a_departure_took_is_given_back_before_it_is_completed(monkeypatch: pytest.MonkeyPatch):
    """With no term that explains anything, each miss given back is the reading itself."""
    weights = Weights(np.full(len(FOUND), 1e-9), own=0.5, noise=0.2)
    two = EVERY[MEMBERS.target[EVERY[:, 0]] != MEMBERS.target[EVERY[:, 1]]]
    y = RNG.normal(size=len(two))
    share = 0.5 / (0.2 + 0.5 * 4)  # four readings of each pair of targets
    miss = y - np.array([share * y[together(two) == d].sum() for d in together(two)])
    monkeypatch.setattr("biowm.models.sets.pairs_fit.complete", lambda seen, known, unit, seed: seen)
    given_back = low_rank(MEMBERS, weights, two, miss)
    np.testing.assert_allclose(given_back[tuple(two.T)], y)
    np.testing.assert_allclose(given_back, given_back.T)


def conditions(sets: list[tuple[int, ...]], y: np.ndarray) -> Path:
    nothing = np.full((1, 1), np.nan, np.float32)
    return stack([
        Path(
            np.array([0.0, 10.0], np.float32), np.concatenate([nothing, np.full((1, 1), v, np.float32)]),
            schedule([Entry(a, 1.0, 0.0, 10.0, True) for a in members]), np.zeros(0, np.float32),
            np.asarray(0, np.int32),
        )
        for members, v in zip(sets, y, strict=True)
    ])  # fmt: skip


SPEC = WorldSpec(
    "screen", "h", (Channel("growth", "", control=0.0),),
    tuple(ActionCard(f"guide {i}", "", "set-member", target=f"gene {i // 2}") for i in range(N)),
)  # fmt: skip
ALONE = np.linspace(-2, -0.5, N)


@pytest.fixture(scope="module")
def trunk() -> PairTrunk:
    """Members that add up, the last never read alone, and pairs that were all read but those of members 0 and 1."""
    sets: list[tuple[int, ...]] = [(i,) for i in range(N - 1)]
    sets += [(int(i), int(j)) for i, j in EVERY if (i, j) != (0, 1)]
    y = np.array([ALONE[list(s)].sum() for s in sets]) + 0.01 * RNG.normal(size=len(sets))
    paths = conditions(sets, y)
    return fit_pairs(SPEC, fit_frame(SPEC, paths, 10.0), paths)


def response(trunk: PairTrunk, members: tuple[int, ...]) -> tuple[float, float]:
    """Mean and sd of the response in units, noise left out."""
    belief = trunk.predict(trunk.begin(jnp.zeros(0)), jnp.zeros(N).at[jnp.array(members)].set(1.0), jnp.asarray(10.0))
    state = trunk.draw(belief, key=jax.random.key(0))

    def at(place: float) -> float:
        moved = type(state)(state.t, state.course, jnp.full(1, place))
        return float(trunk.observe(moved).mean[0])

    return at(0.0), at(1.0) - at(0.0)


def test_a_trunk_answers_seen_and_unseen_pairs_and_a_member_never_read_alone(trunk: PairTrunk):
    for pair in ((2, 5), (0, 1), (3, 7)):
        mean, sd = response(trunk, pair)
        assert mean == pytest.approx(ALONE[list(pair)].sum(), abs=0.15)
        assert mean == response(trunk, pair[::-1])[0]
        assert sd > 0
    assert response(trunk, (0, 1))[1] > response(trunk, (2, 5))[1]
    assert response(trunk, (3,))[0] == pytest.approx(ALONE[3], abs=0.05)
    assert response(trunk, (7,))[1] > 5 * response(trunk, (3,))[1]


def test_a_reading_of_the_set_in_force_moves_the_belief_as_bayes_has_it(trunk: PairTrunk):
    belief = trunk.predict(trunk.begin(jnp.zeros(0)), jnp.zeros(N).at[jnp.array([0, 1])].set(1.0), jnp.asarray(10.0))
    mean, sd = response(trunk, (0, 1))
    noise = float(trunk.observe(trunk.draw(belief, key=jax.random.key(0))).sd[0])
    after = trunk.update(belief, jnp.array([mean + 2 * sd]), jnp.array([True]))
    weight = sd**2 / (sd**2 + noise**2)
    assert float(after.place[0]) == pytest.approx(2 * weight, rel=1e-2)
    assert float(after.doubt[0]) == pytest.approx(1 - weight, rel=1e-2)
    same = trunk.update(belief, jnp.array([jnp.nan]), jnp.array([False]))
    assert float(same.place[0]) == 0.0
    assert float(same.doubt[0]) == 1.0


def test_it_runs_where_pairs_are_read_once_in_few_channels():
    pairs = [(int(i), int(j)) for i, j in EVERY]
    enough, few = conditions(pairs, np.zeros(len(pairs))), conditions(pairs[:4], np.zeros(4))
    assert runs(SPEC, enough)
    assert not runs(SPEC, few)
    assert not runs(SPEC, conditions([(i,) for i in range(N)], np.zeros(N)))
    many = WorldSpec("screen", "h", tuple(Channel(f"c{i}", "") for i in range(9)), SPEC.actions)
    assert not runs(many, enough)


def test_members_without_a_target_are_by_themselves():
    cards = tuple(
        ActionCard(n, "", "set-member", target=t) for n, t in (("a", "x"), ("b", None), ("c", "x"), ("x", None))
    )
    found = targets(WorldSpec("w", "h", (Channel("y", ""),), cards))
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3
