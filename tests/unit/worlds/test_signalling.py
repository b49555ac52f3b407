"""Signalling networks: steady states in closed form, inhibitors, knock-outs, names in any order, noise and belief."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.core.rollout import rollout
from biowm.core.schedule import Entry, schedule
from biowm.worlds.cell.network import network, slope
from biowm.worlds.cell.signalling import Signalling, growth_signalling, signalling, true_course
from biowm.worlds.cell.topology import GROWTH, Edge, edges_of, nodes_of, random_edges

CHAIN = (Edge("A", "B", 1),)
LATE = jnp.array([2000.0])


def chain(sign: int = 1) -> Signalling:
    """A -> B in one line of dishes that are alike: strength .8, half .5, Hill 2, basal .05, rate .08 per minute."""
    return signalling(
        (Edge("A", "B", sign),), {"S": {"A": 0.9}}, {"Ai": ["A"]}, lines=("A",), dishes=1, between_lines=0.0,
        between_dishes=0.0,
    )  # fmt: skip


def exact(world: Signalling, wander: float) -> Signalling:
    """The same, read without an error, with other noise inside."""
    return Signalling(
        networks=world.networks, target=world.target, own=world.own, line=world.line, spec=world.spec,
        outlets=world.outlets, steps=world.steps, reading=0.0, wander=wander,
    )  # fmt: skip


def course(world: Signalling, dose: list[float], times: jax.Array = LATE, without: str = "", line: int = 0):
    out = jnp.asarray([float(c.name == without) for c in world.spec.channels])
    return np.asarray(true_course(world, jnp.asarray(line), jnp.asarray(dose, jnp.float32), times, out))


def hill(x: float) -> float:
    return 1.25 * x**2 / (0.25 + x**2)


@pytest.mark.parametrize(("stimulus", "held"), [(0.0, 0.0), (1.0, 0.0), (0.6, 0.0), (1.0, 0.7), (1.0, 1.0)])
def test_a_chain_of_two_comes_to_rest_where_algebra_says(stimulus: float, held: float):
    a = (1 - held) * (1 - 0.95 * (1 - 0.9 * stimulus))
    raised, lowered = 1 - 0.95 * (1 - 0.8 * hill(a)), 0.05 * (1 - 0.8 * hill(a))
    np.testing.assert_allclose(course(chain(), [stimulus, held])[0], [a, raised], atol=2e-5)
    np.testing.assert_allclose(course(chain(-1), [stimulus, held])[0], [a, lowered], atol=2e-5)


def test_the_first_node_gets_there_exponentially():
    times = jnp.array([5.0, 12.0, 30.0])
    rest, goal = 0.05, 1 - 0.95 * 0.1
    expected = goal + (rest - goal) * np.exp(-0.08 * np.asarray(times))
    np.testing.assert_allclose(course(chain(), [1.0, 0.0], times)[:, 0], expected, atol=2e-5)


def test_inhibitors_lower_what_is_downstream_and_a_full_dose_is_a_knock_out():
    world = growth_signalling()
    names = [c.name for c in world.spec.channels]
    for line in range(3):
        free, part, whole = (course(world, [1.0, 0, dose, 0, 0], line=line)[0] for dose in (0.0, 0.5, 1.0))
        for node in ("MEK", "ERK"):
            j = names.index(node)
            assert free[j] > part[j] > whole[j]
        assert whole[names.index("MEK")] < 1e-6
        np.testing.assert_allclose(whole, course(world, [1.0, 0, 0, 0, 0], without="MEK", line=line)[0], atol=1e-5)
        upstream = names.index("EGFR")
        assert whole[upstream] == free[upstream]


def test_names_carry_the_parameters_however_they_are_ordered():
    edges, nodes = random_edges(7, seed=4), nodes_of(random_edges(7, seed=4))
    order = np.random.default_rng(0).permutation(7)
    receptors = {"S": {nodes[0]: 0.9}}
    one = network(nodes, edges, receptors, vary=0.5, seed=1)
    two = network([nodes[i] for i in order], edges[::-1], receptors, vary=0.5, seed=1)
    np.testing.assert_array_equal(two.strength, np.asarray(one.strength)[np.ix_(order, order)])
    np.testing.assert_array_equal(two.rate, np.asarray(one.rate)[order])
    x, held = jnp.linspace(0.1, 0.9, 7), jnp.linspace(0.0, 0.5, 7)
    moved = slope(two, x[order], jnp.ones(1), held[order])
    np.testing.assert_allclose(moved, slope(one, x, jnp.ones(1), held)[order], rtol=1e-5, atol=1e-7)


def test_activities_stay_between_none_and_all_under_the_strongest_doses():
    world = growth_signalling()
    plan = schedule([Entry(a, 1.0, 0.0, 600.0) for a in range(5)])
    times = jnp.asarray(15.0 * np.arange(1, 41), jnp.float32)
    loud = exact(world, 4 * world.wander)
    read = eqx.filter_jit(lambda w: rollout(w, w.begin(jnp.eye(3)[0]), plan, times, key=jax.random.key(0), draws=32))(
        loud
    )
    assert np.isfinite(read).all()
    assert np.asarray(read).min() >= 0
    assert np.asarray(read).max() <= 1


def test_noise_has_the_spread_that_its_linear_equation_has():
    """Node A alone is linear but for its noise w x (1 - x): at rest its variance is (w x (1 - x))^2 / (2 rate)."""
    world = chain()
    belief = world.begin(jnp.ones(1))
    rest = 0.05
    expected = (world.wander * rest * (1 - rest)) ** 2 / (2 * 0.08)
    assert float(belief.cov[0, 0, 0]) == pytest.approx(expected, rel=1e-3)
    plan, times = schedule([]), jnp.asarray(15.0 * np.arange(1, 7), jnp.float32)
    read = eqx.filter_jit(lambda w, b: rollout(w, b, plan, times, key=jax.random.key(1), draws=4000))(
        exact(world, world.wander), belief
    )
    assert np.asarray(read)[:, -1, 0].std() == pytest.approx(np.sqrt(expected), rel=0.05)


def test_a_reading_is_weighed_against_the_noise_as_kalman_says():
    world = chain()
    belief = world.begin(jnp.ones(1))
    mean, var = belief.mean[0], belief.cov[0]
    after = world.update(belief, jnp.array([0.2, 0.9]), jnp.array([True, False]))
    gain = var[:, 0] / (var[0, 0] + world.reading**2)
    np.testing.assert_allclose(after.mean[0], mean + gain * (0.2 - mean[0]), rtol=1e-4)
    np.testing.assert_allclose(after.cov[0], var - jnp.outer(gain, var[0]), rtol=1e-3, atol=1e-8)


def test_a_line_is_known_from_its_trait_and_found_from_readings():
    world = growth_signalling()
    told = world.begin(jnp.eye(3)[1])
    share = np.asarray(jnp.exp(told.weight))
    assert share[np.asarray(world.line) == 1].sum() == pytest.approx(1.0)
    plan = schedule([Entry(0, 1.0, 0.0, 100.0)])
    times = jnp.array([15.0, 30.0, 45.0])
    read = eqx.filter_jit(lambda w, b: rollout(w, b, plan, times, key=jax.random.key(2), draws=1))(world, told)[0]

    @eqx.filter_jit
    def learned(world: Signalling, read: jax.Array) -> jax.Array:
        belief = world.begin(jnp.zeros(3))
        for x in read:
            belief = world.predict(belief, jnp.zeros(5).at[0].set(1.0), jnp.asarray(15.0))
            belief = world.update(belief, x, jnp.ones(8, bool))
        return jnp.exp(belief.weight)

    assert np.asarray(learned(world, read))[np.asarray(world.line) == 1].sum() > 0.99


def test_tables_are_read_and_what_is_wrong_with_them_is_told():
    assert edges_of([("a", "b", "+"), ("b", " c ", "-1")]) == (Edge("a", "b", 1), Edge("b", "c", -1))
    for rows, says in (
        ([("a", "b")], r"row 1: found 'a, b', expected source, target, sign"),
        ([("a", "b", "1"), ("a", "c", "up")], r"row 2, column sign: found 'up', expected 1 or -1"),
        ([("a", "b", "1"), ("a", "b", "-")], r"row 2: found 'a on b again'"),
    ):
        with pytest.raises(BadInput, match=says):
            edges_of(rows)
    with pytest.raises(ValueError, match="inhibitors hold X, expected nodes among A, B"):
        signalling(CHAIN, {"S": {"A": 1.0}}, {"Xi": ["X"]})
    with pytest.raises(ValueError, match="found Z in edges or stimuli"):
        signalling(CHAIN, {"S": {"Z": 1.0}}, {})


def test_random_networks_have_no_loop_and_a_regulator_for_every_node():
    edges = random_edges(30, regulators=2.0, seed=1)
    place = {name: i for i, name in enumerate(sorted(nodes_of(edges)))}
    assert len(place) == 30
    assert all(place[e.source] < place[e.target] for e in edges)
    assert {e.target for e in edges} == set(place) - {"N00"}
    assert np.mean([e.sign < 0 for e in edges]) == pytest.approx(0.3, abs=0.12)
    assert len(GROWTH) == 12
