"""The molecular simulator: units of its table, Bayes' rule, doses, ports, batches, and both kinds of drug."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from biowm.core.mechanism import parameters
from biowm.core.mechanism_units import Declared, wire
from biowm.core.mechanisms.engagement import CovalentEngagement, ReversibleEngagement
from biowm.core.rollout import rollout
from biowm.core.schedule import Entry, schedule
from biowm.core.units import UnitError
from biowm.worlds.molecule.engagement import NOISE, SPEC, Engagement, covalent
from biowm.worlds.molecule.subjects import COVALENT, REVERSIBLE, Varied, in_mass, virtual_subjects
from biowm.worlds.virtual import VirtualState

WORLD = Engagement()
KEY = jax.random.key(0)
_step = eqx.filter_jit(lambda world, state, action, dt: world.step(state, action, dt, key=KEY))


def subject(world: Engagement, k: int = 0) -> VirtualState:
    return VirtualState(jnp.zeros(()), world.subjects[k], jnp.zeros(6).at[4].set(1.0), jnp.zeros(2))


def test_equations_and_world_agree_in_units():
    for mechanism in (ReversibleEngagement(), CovalentEngagement()):
        assert wire(Declared(mechanism), SPEC).action == (0, 1, 2)


@pytest.mark.parametrize(
    ("mechanism", "table"), [(ReversibleEngagement(), REVERSIBLE), (CovalentEngagement(), COVALENT)]
)
def test_subjects_vary_as_their_table_says(
    mechanism: ReversibleEngagement | CovalentEngagement, table: dict[str, Varied]
):
    found = virtual_subjects(mechanism, table, n=4000)
    for column, (name, p) in zip(found.T, parameters(mechanism).items(), strict=True):
        free = np.asarray(jax.vmap(p.free)(jnp.asarray(column)))
        median = in_mass(table[name].median, p.unit)
        assert np.median(column) == pytest.approx(median, rel=0.03), name
        assert free.std() == pytest.approx(table[name].sd, rel=0.05), name
        assert np.all(column > 0)


def test_units_of_the_table_are_read_and_wrong_ones_refused():
    assert in_mass("40 nmol/L", "mg/L", "450 g/mol") == pytest.approx(0.018)
    assert in_mass("0.84 1/d", "1/h") == pytest.approx(0.035)
    assert in_mass("20 ng/mL", "mg/L") == pytest.approx(0.02)
    with pytest.raises(UnitError, match=r"affinity: unit mismatch"):
        in_mass("40 nmol", "mg/L", what="affinity")
    with pytest.raises(UnitError, match=r"clearance: unit mismatch"):
        virtual_subjects(ReversibleEngagement(), {**REVERSIBLE, "clearance": Varied("8 L")})
    with pytest.raises(UnitError, match=r"clearance: found '8'"):
        virtual_subjects(ReversibleEngagement(), {**REVERSIBLE, "clearance": Varied("8")})


@pytest.mark.parametrize("compartments", [1, 2, 3])
def test_a_bolus_falls_by_as_many_exponentials_as_there_are_compartments(compartments: Literal[1, 2, 3]):
    own = jnp.asarray(virtual_subjects(ReversibleEngagement(), REVERSIBLE, n=4, compartments=compartments))
    world = Engagement(subjects=own)
    state = world.impulse(subject(world), jnp.array([0.0, 100.0, 0.0]))
    levels = []
    for _ in range(8):
        levels.append(float(state.body[1]) / 100)
        state = _step(world, state, jnp.zeros(3), jnp.asarray(2.0))
    # Sums of n exponentials on even times obey a linear recurrence of order n: the Hankel matrix has rank n.
    hankel = np.array([levels[i : i + 4] for i in range(4)])
    singular = np.linalg.svd(hankel, compute_uv=False)
    assert np.sum(singular > 2e-6) == compartments
    named = dict(zip(parameters(world.equations), np.asarray(own[0]), strict=True))
    if compartments == 1:
        assert levels[1] == pytest.approx(np.exp(-2 * named["clearance"] / named["volume"]), rel=1e-5)


def test_boluses_and_infusions_give_what_they_hold():
    state = WORLD.impulse(subject(WORLD), jnp.array([100.0, 30.0, 0.0]))
    named = dict(zip(parameters(WORLD.equations), np.asarray(WORLD.subjects[0]), strict=True))
    np.testing.assert_allclose(state.body[:2], [100 * named["bioavailability"], 30.0], rtol=1e-6)
    belief = WORLD.impulse(WORLD.begin(jnp.zeros(0)), jnp.array([100.0, 30.0, 0.0]))
    np.testing.assert_array_equal(belief.body[0], state.body)
    long = _step(WORLD, subject(WORLD), jnp.array([0.0, 0.0, 10.0]), jnp.asarray(3000.0))
    level, _ = WORLD.levels(long.own, long.body)
    assert float(level) == pytest.approx(10 / named["clearance"], rel=1e-2)


def test_ports_are_what_the_state_holds():
    state = _step(WORLD, WORLD.impulse(subject(WORLD), jnp.array([200.0, 0.0, 0.0])), jnp.zeros(3), jnp.asarray(4.0))
    named = dict(zip(parameters(WORLD.equations), np.asarray(WORLD.subjects[0]), strict=True))
    ports = WORLD.ports(state)
    level, free = (float(x) for x in WORLD.levels(state.own, state.body))
    assert float(ports.free_concentration) == pytest.approx(named["unbound"] * level, rel=1e-5)
    assert float(ports.target * (1 - ports.occupancy)) == pytest.approx(free, rel=1e-5)
    assert 0.5 < float(ports.occupancy) < 1
    assert float(ports.target) < 1


def test_the_belief_is_bayes_rule_over_subjects():
    few = Engagement(subjects=WORLD.subjects[:5])
    belief = few.impulse(few.begin(jnp.zeros(0)), jnp.array([200.0, 0.0, 0.0]))
    predict = eqx.filter_jit(lambda world, b, dt: world.predict(b, jnp.zeros(3), dt))
    log = np.full(5, -np.log(5.0))
    for reading, mask in (([1.2, 0.2], [True, True]), ([0.6, 0.0], [True, False]), ([0.0, 0.3], [False, True])):
        belief = predict(few, belief, jnp.asarray(4.0))
        truth = np.asarray(jax.vmap(few.levels)(belief.own, belief.body))
        belief = few.update(belief, jnp.asarray(reading), jnp.asarray(mask))
        for j in np.flatnonzero(mask):
            log += norm.logpdf(np.log(reading[j]), np.log(truth[:, j]), NOISE[j])
        np.testing.assert_allclose(jnp.exp(belief.weight), np.exp(log) / np.exp(log).sum(), rtol=2e-3, atol=1e-6)
    draw = few.draw(belief, key=KEY)
    assert float(few.observe(draw).mean[1]) == pytest.approx(0.3, rel=1e-5)  # a second look reads the same


def test_readings_err_by_the_declared_factors():
    plan, times = schedule([Entry(0, 200.0, 0.0, 0.0)]), jnp.array([4.0, 8.0])
    one = Engagement(subjects=WORLD.subjects[:1])
    prior = one.begin(jnp.zeros(0))
    read = eqx.filter_jit(lambda w, b: rollout(w, b, plan, times, key=KEY, draws=2000))(one, prior)
    np.testing.assert_allclose(np.log(np.asarray(read)).std(0), np.tile(NOISE, (2, 1)), rtol=0.06)


def test_a_batch_of_doses_runs_in_one_call_and_more_drug_frees_less_target():
    doses = jnp.array([0.0, 10.0, 50.0, 200.0, 400.0])

    @eqx.filter_jit
    def together(world: Engagement) -> jax.Array:
        def one(dose: jax.Array, own: jax.Array) -> jax.Array:
            state = VirtualState(jnp.zeros(()), own, jnp.zeros(6).at[4].set(1.0), jnp.zeros(2))
            state = world.impulse(state, jnp.zeros(3).at[0].set(dose))
            return world.ports(world.step(state, jnp.zeros(3), jnp.asarray(4.0), key=KEY)).occupancy

        return jax.vmap(lambda own: jax.vmap(lambda dose: one(dose, own))(doses))(world.subjects)

    for world in (WORLD, covalent()):
        occupied = np.asarray(together(world))
        assert occupied.shape == (64, 5)
        np.testing.assert_allclose(occupied[:, 0], 0.0, atol=1e-6)
        assert np.all(np.diff(occupied, axis=1) > 0)


def test_covalent_drug_outlasts_its_concentration_and_reversible_drug_does_not():
    left = []
    for world in (WORLD, covalent()):
        state = world.impulse(subject(world), jnp.array([0.0, 20.0, 0.0]))
        for _ in range(12):
            state = _step(world, state, jnp.zeros(3), jnp.asarray(4.0))
        named = dict(zip(parameters(world.equations), np.asarray(state.own), strict=True))
        equilibrium = float(world.ports(state).free_concentration) / named["affinity"]
        left.append((float(world.ports(state).occupancy), equilibrium / (1 + equilibrium)))
    assert left[0][0] == pytest.approx(left[0][1], rel=0.35)
    assert left[1][0] > 3 * left[1][1]
