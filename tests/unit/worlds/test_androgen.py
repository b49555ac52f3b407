"""The androgen simulator: its belief is Bayes' rule, its cohort cycles as treated, and a refit finds its parameters."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from biowm.core.mechanism_units import Declared, wire
from biowm.core.mechanisms.androgen import Androgen
from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.engine.cohort import born, simulate
from biowm.models.candidate import material
from biowm.models.trunks.mechanism_fit import fit_mechanism
from biowm.models.trunks.mechanism_found import estimates, spreads
from biowm.models.trunks.mechanism_start import blank
from biowm.worlds.patient.androgen import (
    NOISE,
    POPULATION,
    SPEC,
    AndrogenWorld,
    androgen_patients,
)
from biowm.worlds.virtual import VirtualState

WORLD = AndrogenWorld()


def intermittent(readings: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """On until PSA is read below 2, off until it is read above 10."""
    on = np.ones(len(readings))
    for psa in readings[:, :, 0].T:
        on = np.where(psa > 10, 1.0, np.where(psa < 2, 0.0, on))
    return on[:, None]


def test_patients_vary_as_the_population_does_and_begin_in_balance():
    patients = androgen_patients()
    assert patients.shape == (256, 5)
    for column, (median, sd) in zip(patients.T, POPULATION.values(), strict=False):
        assert np.median(column) == pytest.approx(median, rel=0.15)
        assert np.std(np.log(column / (1 - column))) == pytest.approx(sd, rel=0.15, abs=1e-3)  # none is near 1
    body = np.asarray(WORLD.born(jnp.asarray(patients[3])))
    np.testing.assert_allclose(body, patients[3, 4] * np.array([patients[3, 3], 1, 1]), rtol=1e-6)


def test_the_belief_is_bayes_rule_over_patients():
    few, move = AndrogenWorld(subjects=WORLD.subjects[:5]), eqx.filter_jit(WORLD.carry)
    belief, bodies = few.begin(jnp.zeros(0)), [WORLD.born(own) for own in few.subjects]
    log = np.full(5, -np.log(5.0))
    for psa, on in ((12.0, 1.0), (5.0, 1.0), (3.0, 0.0)):
        belief = few.update(belief, jnp.asarray([psa]), jnp.ones(1, bool))
        log += norm.logpdf(np.log(psa), np.log([float(b[2]) for b in bodies]), NOISE)
        np.testing.assert_allclose(jnp.exp(belief.weight), np.exp(log) / np.exp(log).sum(), rtol=1e-3, atol=1e-6)
        given, dt = jnp.asarray([on]), jnp.float32(28.0)
        belief = few.predict(belief, given, dt)
        bodies = [move(own, body, given, dt) for own, body in zip(few.subjects, bodies, strict=True)]
    np.testing.assert_allclose(belief.body, np.stack(bodies), rtol=1e-5)


def test_a_second_reading_at_one_time_says_what_the_first_said():
    belief = WORLD.update(WORLD.begin(jnp.zeros(0)), jnp.asarray([9.0]), jnp.ones(1, bool))
    keys = jax.random.split(jax.random.key(0), 5)
    draws = eqx.filter_jit(jax.vmap(lambda key: WORLD.observe(WORLD.draw(belief, key=key)).mean))(keys)
    np.testing.assert_allclose(draws, 9.0, rtol=1e-5)


def test_a_study_without_boluses_compiles_none():
    t, x = np.array([0.0, 28.0, 56.0], np.float32), np.array([[9.0], [3.0], [1.0]], np.float32)
    paths = stack([Path(t, x, schedule([Entry(0, 1.0, 0.0, 28.0)]), np.zeros(0, np.float32), np.asarray(0, np.int32))])
    world = blank(SPEC, material(SPEC, paths, 28.0, 28.0).frame, paths, Androgen(), wire(Declared(Androgen()), SPEC))
    assert jax.make_jaxpr(world.struck)(jnp.zeros(6), jnp.ones(1)).eqns == []


@pytest.mark.slow
def test_a_refit_finds_the_parameters_of_the_patients_that_were_simulated():
    """Sixty patients, 36 readings 28 d apart, treated on and off: medians and spreads are those of these patients."""
    cohort = simulate(WORLD, 60, 28.0 * np.arange(36), intermittent, seed=1)
    x = cohort.paths.x[:, :, 0]
    assert np.mean(np.diff(x > 5, axis=1).sum(1) >= 2) > 0.9  # they cycle
    ready = material(SPEC, cohort.paths, 28.0, 336.0)
    world = fit_mechanism(SPEC, ready.frame, cohort.paths, Androgen(), wire(Declared(Androgen()), SPEC))
    born_as = born(cohort)
    assert isinstance(born_as, VirtualState)
    own = np.log(np.asarray(born_as.own)[:, 0, :4])
    truth = dict(zip(POPULATION, own.T, strict=True))
    for found in estimates(world):
        assert found.error is not None
        median = np.exp(truth[found.name].mean())
        assert abs(found.value - median) < 2 * found.error, found
        assert found.error < 0.15 * median, found
    for name, spread in spreads(world).items():
        assert np.sqrt(spread.variance) == pytest.approx(truth[name].std(), rel=0.2), name
