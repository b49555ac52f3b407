"""What a batch would tell, against direct Gaussian computations, and a simulated screen learned from fewer pairs."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.screen import EFFECTS, HOURS, PAIRS, SINGLES, condition, drugs, screen, trunk

from biowm.core.path import stack
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.models.sets.features import features
from biowm.models.sets.known import Known, pooled
from biowm.plan.balanced import balanced
from biowm.plan.information import Batch, in_order, most_informative

PAIR = np.array([[0, 1], [0, 2], [3, 4], [1, 2], [3, 5]])


def some(times: int, channels: int = 2, width: int = 4, apart: float = 0.0, seed: int = 0) -> Known:
    rng = np.random.default_rng(seed)
    n = len(PAIR)
    root = rng.normal(size=(channels, times, times))
    noise = 0.3 * np.eye(times) + 0.1 * root @ np.swapaxes(root, 1, 2)
    return Known(
        rng.normal(size=(n, times, channels)), rng.normal(size=(channels, n, times, width)),
        apart * rng.uniform(0.5, 1.5, size=(channels, n, times)), noise,
    )  # fmt: skip


def direct(known: Known, chosen: list[int]) -> float:
    """.5 log det(I + N^-1 C) of all readings of a batch at once."""
    total = 0.0
    for half, apart, noise in zip(known.half, known.apart, known.noise, strict=True):
        h = half.shape[1]
        rows = half[chosen].reshape(-1, half.shape[-1])
        own = np.kron(np.eye(len(chosen)), np.ones((h, h))) * np.outer(apart[chosen].ravel(), apart[chosen].ravel())
        n = np.kron(np.eye(len(chosen)), noise)
        total += 0.5 * (np.linalg.slogdet(n + rows @ rows.T + own)[1] - np.linalg.slogdet(n)[1])
    return float(total)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("apart", [0.0, 0.8])
def test_information_is_that_of_the_whole_batch_whatever_its_order(times: int, apart: float):
    known = some(times, apart=apart)
    for chosen in ([2, 0, 4], [4, 2, 0], [1, 3, 0]):
        nats = in_order(Batch(known, PAIR, discount=0.0), np.array(chosen))
        assert nats.sum() == pytest.approx(direct(known, chosen), rel=1e-9)
        assert nats[0] == pytest.approx(direct(known, chosen[:1]), rel=1e-9)


def test_the_next_pick_is_what_tells_most_besides_the_others():
    known = some(1)
    order, nats = most_informative(Batch(known, PAIR), 3)
    assert order[0] == max(range(5), key=lambda i: direct(known, [i]))
    rest = [i for i in range(5) if i != order[0]]
    assert order[1] == max(rest, key=lambda i: direct(known, [int(order[0]), i]))
    assert (np.diff(nats) < 0).all()
    assert sorted(set(order.tolist())) == sorted(order.tolist())


def test_what_says_the_same_is_not_measured_twice():
    half = np.array([[[[3.0, 0.0]], [[2.9, 0.0]], [[0.0, 1.0]]]])  # the second repeats the first
    known = Known(np.zeros((3, 1, 1)), half, np.zeros((1, 3, 1)), np.ones((1, 1, 1)))
    order, nats = most_informative(Batch(known, PAIR[:3]), 3)
    assert order.tolist() == [0, 2, 1]
    np.testing.assert_allclose(nats[:2], 0.5 * np.log([10.0, 2.0]))
    assert nats[2] < 0.5 * np.log(2.0)


def test_what_is_known_set_by_set_is_discounted_for_members_that_were_picked():
    known = Known(np.zeros((5, 1, 1)), np.zeros((1, 5, 1, 0)), np.full((1, 5, 1), 2.0), np.full((1, 1, 1), 0.5))
    batch = Batch(known, PAIR, discount=0.15)
    alone = 0.5 * np.log1p(4.0 / 0.5)
    np.testing.assert_allclose(batch.nats(), alone)
    batch.take(0)
    shared = 0.5 * np.log1p(4.0 * np.exp(-0.15) / 0.5)
    np.testing.assert_allclose(batch.nats()[1:], [shared, alone, shared, alone])
    batch.take(1)  # 1 and 2 were picked once each: the pair of both is discounted twice
    assert batch.nats()[3] == pytest.approx(0.5 * np.log1p(4.0 * np.exp(-0.30) / 0.5))
    order, _ = most_informative(Batch(known, PAIR, discount=0.15), 2)
    assert order.tolist() == [0, 2]
    assert most_informative(Batch(known, PAIR, discount=0.0), 2)[0].tolist() == [0, 1]


def test_a_trunk_that_has_read_a_set_knows_of_others_what_the_batch_foretells():
    spec = drugs()
    paths = stack(screen([*SINGLES, *PAIRS[:4]]))
    world = dataclasses.replace(trunk(spec, paths), kept=1)
    asked = [PAIRS[6], PAIRS[7], SINGLES[3]]
    known = world.known(stack([condition(g) for g in asked]), np.ones((3, 1), int))
    batch = Batch(known, np.array([[0, 1], [2, 3], [4, -1]]))
    batch.take(0)
    foretold = np.exp(2 * _each(batch)) - 1  # variances over noise
    one = condition(asked[0], [0.3, 0.2])
    dose = jnp.asarray(np.isin(np.arange(6), [a for a, _ in asked[0]]) * np.array([0.5 + a for a in range(6)]))
    belief = world.predict(world.begin(jnp.asarray(one.traits)), dose.astype(jnp.float32), jnp.float32(HOURS))
    belief = world.update(belief, jnp.asarray(one.x[1]), jnp.ones(2, bool))
    draw = eqx.filter_jit(jax.vmap(lambda key: world.draw(belief, key=key).weights))
    weights = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    for k in (1, 2):
        rate = jnp.asarray([dict(asked[k]).get(a, 0.0) for a in range(6)], jnp.float32)
        course = world.predict(world.begin(jnp.asarray(one.traits)), rate, jnp.float32(HOURS)).course
        drawn = np.einsum("p,npd->nd", np.asarray(features(world.design, course)), weights)
        np.testing.assert_allclose(drawn.var(0) / np.asarray(world.noise), foretold[:, k], rtol=0.05)


def _each(batch: Batch) -> np.ndarray:
    """Nats of every channel and candidate [d n]."""
    return 0.5 * np.log1p((batch._half**2).sum((2, 3)))


def test_a_screen_that_is_read_often_is_known_at_all_its_times():
    rng = np.random.default_rng(2)
    spec, times = drugs(), np.array([0.0, 6.0, 24.0], np.float32)
    paths = []
    for given in [*SINGLES, *SINGLES, *PAIRS]:
        effect = EFFECTS[:, [a for a, _ in given]].sum(1) + rng.normal(0, 0.5, 2)  # a departure of its own
        x = np.array([[np.nan, np.nan], 0.5 * effect, effect], np.float32)
        x[1:] += rng.normal(0, 0.05, (2, 2)).astype(np.float32)
        paths.append(dataclasses.replace(condition(given), t=times, x=x))
    world = trunk(spec, stack(paths))
    asked = stack(
        [dataclasses.replace(condition(g), t=times, x=np.full((3, 2), np.nan, np.float32)) for g in PAIRS[:3]]
    )
    both = world.known(asked, np.array([[1, 2]] * 3))
    for k in (1, 2):
        one = world.known(asked, np.full((3, 1), k))
        np.testing.assert_allclose(both.mean[:, k - 1], one.mean[:, 0], atol=1e-6)
        np.testing.assert_allclose(both.half[:, :, k - 1], one.half[:, :, 0], atol=1e-6)
    # A departure of its own is no knowledge of a set: it is noise, and the same at both times.
    alone = np.asarray(world.noise, float)
    assert (both.noise[:, 0, 1] > 3 * alone).all()
    np.testing.assert_allclose(both.noise[:, 0, 1], both.noise[:, 1, 0])
    late = Known(both.mean[:, 1:], both.half[:, :, 1:], both.apart[:, :, 1:], both.noise[:, 1:, 1:])
    members = np.array([[0, 1], [0, 2], [0, 3]])
    assert (Batch(both, members).nats() > Batch(late, members).nats()).all()  # two readings tell more than the last


def test_a_pool_has_the_mean_and_variance_of_its_members_mixed():
    parts = [(some(1, seed=1), 0.3), (some(1, width=2, apart=0.5, seed=2), 0.6)]
    found = pooled(parts)
    w = np.array([1, 2]) / 3
    mean = sum(a * k.mean for a, (k, _) in zip(w, parts, strict=True))
    var = sum(a * (k.variance() + (k.mean - mean) ** 2) for a, (k, _) in zip(w, parts, strict=True))
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.variance(), var)
    np.testing.assert_allclose(found.noise, sum(a * k.noise for a, (k, _) in zip(w, parts, strict=True)))


def test_a_balanced_design_takes_the_least_measured_and_of_equals_the_first():
    order = balanced(PAIR, np.array([0, 0, 0, 0, 0, 0]), 5)
    assert order.tolist() == [0, 2, 1, 4, 3]
    assert balanced(PAIR, np.array([9, 9, 9, 5, 5, 1]), 2).tolist() == [4, 2]
    mixed = np.array([[0, 1], [2, -1], [0, 2]])
    assert balanced(mixed, np.array([1, 2, 1]), 2).tolist() == [1, 0]  # by the mean of its members: 1.5, 1 and 1


# A screen of 16 members and no singles, effects that add up but for some chance of each pair.
MEMBERS, EACH, MARK = 16, 4, 0.9
EVERY = np.array(list(combinations(range(MEMBERS), 2)))


def needed(how: str, seed: int) -> int:
    """How many pairs it takes until the trunk foretells the others with a correlation of .9, four after four."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=MEMBERS)[EVERY].sum(1) + 0.2 * rng.normal(size=len(EVERY))
    y = truth + 0.3 * rng.normal(size=len(EVERY))
    cards = tuple(ActionCard(f"g{a}", "", "set-member") for a in range(MEMBERS))
    spec = WorldSpec("pairs", "h", (Channel("y", "", control=0.0),), cards)
    every = [condition([(a, 1.0), (b, 1.0)], [float(v)]) for (a, b), v in zip(EVERY.tolist(), y, strict=True)]
    every = [dataclasses.replace(one, traits=np.zeros(0, np.float32)) for one in every]
    got = rng.permutation(len(EVERY))[: 2 * EACH]
    while len(got) < 60:
        world = trunk(spec, stack([every[i] for i in got]))
        rest = rng.permutation(np.setdiff1d(np.arange(len(EVERY)), got))
        known = world.known(stack([every[i] for i in rest]), np.ones((len(rest), 1), int))
        if np.corrcoef(known.mean[:, 0, 0], truth[rest])[0, 1] >= MARK:
            break
        times = np.bincount(EVERY[got].ravel(), minlength=MEMBERS)
        picks = {
            "random": lambda rest=rest: np.arange(EACH),
            "balanced": lambda rest=rest, times=times: balanced(EVERY[rest], times, EACH),
            "information": lambda rest=rest, known=known: most_informative(Batch(known, EVERY[rest]), EACH)[0],
        }[how]()
        got = np.append(got, rest[picks])
    return len(got)


@pytest.mark.slow
def test_a_design_needs_fewer_pairs_than_chance():
    found = {how: np.mean([needed(how, seed) for seed in range(6)]) for how in ("random", "balanced", "information")}
    assert found["balanced"] <= 0.85 * found["random"]
    assert found["information"] <= 0.85 * found["random"]
