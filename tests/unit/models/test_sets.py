"""Interventions as sets, against known answers: no order, effects that add up, members never seen, own readings."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.rollout import assimilate, at
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.models.sets.features import blocks, features
from biowm.models.sets.fit import SetConfig, fit_sets, rows_of
from biowm.models.sets.readings import readings_of
from biowm.models.sets.variants import RULES, VARIANTS
from biowm.models.tracker import fit_frame

MEMBERS, HOURS = 6, 24.0
EFFECTS = np.array([[1.0, -2.0, 0.5, 1.5, -1.0, 0.8], [0.4, 1.0, 1.2, 0.6, 0.9, 1.1]])
NOISE = 0.05


def spec_of(control: float | None = 0.0) -> WorldSpec:
    channels = tuple(Channel(name, "", control=control) for name in ("up", "down"))
    return WorldSpec("screen", "h", channels, tuple(ActionCard(f"d{a}", "", "set-member") for a in range(MEMBERS)))


def condition(members: tuple[int, ...], y: np.ndarray, times: tuple[float, ...] = (HOURS,)) -> Path:
    x = np.vstack([np.full(y.shape[-1], np.nan), np.reshape(y, (len(times), -1))]).astype(np.float32)
    plan = schedule([Entry(a, 1.0, 0.0, times[-1], True) for a in members])
    return Path(np.array([0.0, *times], np.float32), x, plan, np.zeros(0, np.float32), np.asarray(0, np.int32))


def screen(sets: list[tuple[int, ...]], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    return stack([condition(s, EFFECTS[:, list(s)].sum(1) + rng.normal(0, NOISE, 2)) for s in sets])


def asked(paths: Path, world, draws: int = 400) -> np.ndarray:
    n = paths.t.shape[0]
    queries = Queries(np.arange(n), np.zeros(n, int), np.full((n, 1), HOURS, np.float32))
    return forecast(world, paths, queries, key=jax.random.key(0), draws=draws)[:, :, 0]


SINGLES: list[tuple[int, ...]] = [(a,) for a in range(MEMBERS)]
PAIRS = [(a, b) for a in range(MEMBERS) for b in range(a)]


def test_a_rule_without_anything_to_weigh_says_the_control():
    paths = screen(SINGLES)
    rule = fit_sets(spec_of(), fit_frame(spec_of(), paths, HOURS), paths, RULES["persistence"])
    assert rule.mean.shape == (0, 2)
    np.testing.assert_allclose(asked(paths, rule).mean(1), 0.0, atol=0.3)


def test_a_channel_that_is_read_less_often_is_fitted_as_if_it_were_alone():
    full = screen([*SINGLES, *PAIRS])
    x = np.array(full.x)
    x[::3, :, 1] = np.nan
    part = dataclasses.replace(full, x=x)
    config = SetConfig(("base", "members"), penalty=0.1)
    frame = fit_frame(spec_of(), full, HOURS)
    both = fit_sets(spec_of(), frame, part, config)
    rows = np.setdiff1d(np.arange(len(x)), np.arange(0, len(x), 3))
    alone = fit_sets(spec_of(), frame, jax.tree.map(lambda leaf: leaf[rows], part), config)
    np.testing.assert_allclose(both.mean[:, 1], alone.mean[:, 1], atol=1e-4)
    assert np.abs(both.mean[:, 0] - alone.mean[:, 0]).max() > 1e-3


@pytest.fixture(scope="module")
def world():
    paths = screen([*SINGLES, *SINGLES, *PAIRS[:8]])
    return fit_sets(spec_of(), fit_frame(spec_of(), paths, HOURS), paths, VARIANTS["sets(full)"])


def test_unseen_pairs_are_sums_of_their_members(world):
    found = asked(screen(PAIRS[8:], seed=1), world)
    truth = np.array([EFFECTS[:, list(p)].sum(1) for p in PAIRS[8:]])
    assert np.abs(found.mean(1) - truth).max() < 0.25
    assert found.std(1).min() > 0.5 * NOISE


def test_the_order_in_which_members_are_listed_is_nowhere(world):
    one, other = condition((1, 4, 2), np.zeros(2)), condition((2, 1, 4), np.zeros(2))
    both = stack([one, other])
    both = dataclasses.replace(both, plan=jax.tree.map(np.array, both.plan))
    for leaf in (both.plan.card, both.plan.dose, both.plan.onset, both.plan.stop):
        leaf[1, :3] = leaf[1, [2, 0, 1]]
    queries = Queries(np.array([0]), np.array([0]), np.full((1, 1), HOURS, np.float32))
    halves = [
        forecast(world, jax.tree.map(lambda leaf, i=i: leaf[[i]], both), queries, key=jax.random.key(0), draws=8)
        for i in (0, 1)
    ]
    np.testing.assert_allclose(halves[0], halves[1], atol=1e-6)


def test_nothing_given_is_the_control_and_a_known_control_is_exact(world):
    still = asked(stack([condition((), np.zeros(2))]), world)
    assert np.abs(still.mean(1)).max() < 0.1


def test_a_member_never_seen_is_answered_by_what_members_have_in_common():
    known = [s for s in [*SINGLES, *SINGLES, *PAIRS] if 5 not in s]
    paths = screen(known)
    spec = spec_of()
    shared = fit_sets(spec, fit_frame(spec, paths, HOURS), paths, VARIANTS["sets(shared)"])
    alone = fit_sets(spec, fit_frame(spec, paths, HOURS), paths, VARIANTS["sets(additive)"])
    new = stack([condition((5,), np.zeros(2)), condition((0,), np.zeros(2))])
    with_mean, without = asked(new, shared), asked(new, alone)
    # Channel "down": all effects are about .8; an unseen one is expected to be so, too. Without "shared": about 0.
    assert abs(with_mean[0, :, 1].mean() - EFFECTS[1, :5].mean()) < 0.2
    assert abs(without[0, :, 1].mean()) < 0.35
    assert with_mean[0].std(0).min() > 3 * with_mean[1].std(0).max()  # and it is known to be unknown


def test_rules_are_what_everybody_knows_them_to_be():
    paths = screen([*SINGLES, *PAIRS])
    spec = spec_of()
    frame = fit_frame(spec, paths, HOURS)
    found = {name: asked(paths, fit_sets(spec, frame, paths, config), 2000).mean(1) for name, config in RULES.items()}
    y = np.asarray(paths.x)[:, 1]
    assert np.abs(found["persistence"]).max() < 0.15
    np.testing.assert_allclose(found["mean"], np.broadcast_to(y.mean(0), y.shape), atol=0.2)
    single = y[:MEMBERS]
    sums = np.array([single[list(p)].sum(0) for p in PAIRS])
    np.testing.assert_allclose(found["additive"][MEMBERS:], sums, atol=0.2)


def test_a_condition_is_known_better_by_its_own_readings_and_exactly_so():
    rng = np.random.default_rng(3)
    times = (6.0, 12.0, 24.0)
    own = rng.normal(0, 1.0, (60, 1))
    sets = [SINGLES[i % MEMBERS] for i in range(60)]
    one = dataclasses.replace(spec_of(), channels=spec_of().channels[:1])
    paths = stack([
        condition(s, (EFFECTS[0, list(s)].sum() + own[i] + rng.normal(0, 0.1, 3))[:, None], times)
        for i, s in enumerate(sets)
    ])  # fmt: skip
    world = fit_sets(one, fit_frame(one, paths, 6.0), paths, SetConfig(("members",)))
    beliefs = assimilate(world, jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), paths))
    belief = at(beliefs, 2)  # two readings seen
    states = jax.vmap(lambda k: world.draw(belief, key=k))(jax.random.split(jax.random.key(0), 4000))
    psi, z = np.asarray(belief.rows)[-2:], np.asarray(belief.read)[-2:, 0]
    r = np.asarray(belief.own)[-2:]
    # The dense answer: condition the prior of weights and own departure on the two readings.
    root, mean = np.asarray(world.root[0], float), np.asarray(world.mean[:, 0], float)
    cov = np.block([
        [root @ root.T, np.zeros((len(mean), r.shape[1]))],
        [np.zeros((r.shape[1], len(mean))), np.diag(np.asarray(world.own_var[:, 0], float))],
    ])  # fmt: skip
    rows = np.hstack([psi, r]).astype(float)
    gain = cov @ rows.T @ np.linalg.inv(rows @ cov @ rows.T + float(world.noise[0]) * np.eye(2))
    prior = np.concatenate([mean, np.zeros(r.shape[1])])
    answer, doubt = prior + gain @ (z - rows @ prior), cov - gain @ rows @ cov
    drawn = np.concatenate([np.asarray(states.weights)[:, :, 0], np.asarray(states.own)[:, :, 0]], axis=1)
    now = np.concatenate([psi[-1], r[-1]])
    np.testing.assert_allclose((drawn @ now).mean(), now @ answer, atol=0.02)
    np.testing.assert_allclose((drawn @ now).std(), np.sqrt(now @ doubt @ now), rtol=0.1)


def test_a_set_that_changes_starts_a_new_course(world):
    belief = world.begin(jnp.zeros(0))
    first = jnp.zeros(MEMBERS).at[0].set(1.0)
    belief = world.predict(belief, first, jnp.asarray(10.0))
    belief = world.predict(belief, first.at[1].set(1.0), jnp.asarray(2.0))
    assert float(belief.course.clock) == 12.0
    assert float(belief.course.since) == 2.0
    row = features(world.design, belief.course)
    assert bool(jnp.isfinite(row).all())


def test_a_member_that_comes_between_the_times_asked_for_is_wholly_there(world):
    late = condition((2,), np.zeros(2))
    late.plan.onset[0] = 9.0
    queries = Queries(np.array([0]), np.array([0]), np.full((1, 1), HOURS, np.float32))
    found = forecast(world, stack([late]), queries, key=jax.random.key(0), draws=400)[0, :, 0].mean(0)
    np.testing.assert_allclose(found, asked(stack([condition((2,), np.zeros(2))]), world)[0].mean(0), atol=1e-5)
    late.plan.stop[0] = 12.0
    gone = forecast(world, stack([late]), queries, key=jax.random.key(0), draws=400)[0, :, 0].mean(0)
    assert np.abs(gone).max() < 0.1  # nothing is held at the end, nothing departs from the control


LINES, LIGANDS = ("a", "b", "c"), ("x", "y", "z", "w")
MINUTES = (1.0, 6.0, 16.0, 61.0)


def in_context(line: int, ligand: int, members: tuple[int, ...], y: np.ndarray) -> Path:
    path = condition(members, y, MINUTES)
    traits = np.concatenate([np.eye(len(LINES))[line], np.eye(len(LIGANDS))[ligand]]).astype(np.float32)
    return dataclasses.replace(path, traits=traits)


def courses_of_lines(rng: np.random.Generator) -> tuple[WorldSpec, Path, np.ndarray]:
    """A line's answer to a ligand is its own, and nothing of it is said by the line or the ligand alone."""
    traits = (Trait("line", kind="category", levels=LINES), Trait("ligand", kind="category", levels=LIGANDS))
    spec = WorldSpec("lines", "min", (Channel("up", ""),), spec_of().actions, traits)
    answer = rng.normal(0, 1.0, (len(LINES), len(LIGANDS)))
    answer -= answer.mean(0) + answer.mean(1)[:, None] - answer.mean()
    course = np.log1p(np.array(MINUTES)) / np.log1p(MINUTES[-1])
    paths = stack([
        in_context(i, j, s, (answer[i, j] * course + EFFECTS[0, list(s)].sum() + rng.normal(0, 0.1, 4))[:, None])
        for i in range(len(LINES)) for j in range(len(LIGANDS)) for s in ((), (0,), (1,))
    ])  # fmt: skip
    return spec, paths, answer[..., None] * course


def test_a_context_answers_another_in_its_own_course():
    spec, paths, truth = courses_of_lines(np.random.default_rng(4))
    new = stack([in_context(i, j, (0, 1), np.full((4, 1), np.nan)) for i in range(3) for j in range(4)])
    queries = Queries(np.arange(12), np.zeros(12, int), np.tile(np.array(MINUTES, np.float32), (12, 1)))
    miss = {}
    for name in ("sets(full)", "sets(shared)"):
        world = fit_sets(spec, fit_frame(spec, paths, 5.0), paths, VARIANTS[name])
        said = forecast(world, new, queries, key=jax.random.key(0), draws=200)[..., 0].mean(1).reshape(truth.shape)
        miss[name] = np.sqrt(np.mean((said - truth - EFFECTS[0, [0, 1]].sum()) ** 2))
    assert miss["sets(full)"] < 0.2
    assert miss["sets(shared)"] > 2 * miss["sets(full)"]  # it knows what lines and ligands do, not these together


def test_where_nothing_is_given_a_condition_is_the_reference_or_departs_as_declared():
    spec, paths, _ = courses_of_lines(np.random.default_rng(5))
    frame = fit_frame(spec, paths, 5.0)
    beliefs = {}
    for own in ("given", "always"):
        world = fit_sets(spec, frame, paths, SetConfig(("base", "members"), own=own))
        belief = world.begin(jnp.zeros(7))
        for action in (jnp.zeros(MEMBERS), jnp.zeros(MEMBERS).at[0].set(1.0)):
            belief = world.predict(belief, action, jnp.asarray(1.0))
            belief = world.update(belief, jnp.ones(1), jnp.ones(1, bool))
        beliefs[own] = np.asarray(belief.own)[-2:]
    assert not beliefs["given"][0].any()
    assert beliefs["given"][1].any()
    assert beliefs["always"].any(1).all()


def test_blocks_are_in_the_order_of_the_features():
    spec, paths, _ = courses_of_lines(np.random.default_rng(6))
    read = readings_of(spec, fit_frame(spec, paths, 5.0), paths)
    design, rows = rows_of(read, VARIANTS["sets(full)"])
    found = blocks(design)
    assert [b.name for b in found][::2] == [
        "base", "context 0", "context 1", "members", "shared", "context*context 0*1", "members*context 0",
        "members*context 1",
    ]  # fmt: skip
    edges = np.cumsum([0, *(b.width for b in found)])
    assert edges[-1] == rows.features.shape[1]
    at = [b.name for b in found].index("members")
    np.testing.assert_array_equal(rows.features[:, edges[at] : edges[at + 1]] != 0, np.asarray(read.course.dose) != 0)
