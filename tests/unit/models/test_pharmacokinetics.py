"""From a NONMEM table to the parameters that it was simulated with."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from tests.support.trial import DRUGS, LIMIT, true_world, untaught

from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.models.trunks.mechanism import Mechanistic
from biowm.models.trunks.mechanism_fit import fit_mechanism
from biowm.models.trunks.mechanism_found import estimates, spreads
from biowm.models.trunks.mechanism_marginal import marginal
from biowm.models.trunks.mechanism_walk import walk_of

pytestmark = pytest.mark.slow
ORAL, VEIN = DRUGS["one-compartment-oral"], DRUGS["one-compartment-naive"]


def fitted(seed: int) -> Mechanistic:
    world, paths = untaught(ORAL, 50, seed)
    return fit_mechanism(world.spec, world.frame, paths, world.mechanism, world.wiring)


def test_the_marginal_likelihood_is_that_of_quadrature_also_below_the_limit():
    """One subject after a bolus, clearance and volume integrated over a grid; the last reading is below the limit."""
    world, _ = true_world(VEIN, 12)
    t = np.array([0.0, 0.5, 2.0, 5.0, 12.0, 30.0])
    x = np.array([np.nan, 8.5, 6.0, 5.5, 1.3, LIMIT])
    path = Path(
        t.astype(np.float32), x[:, None].astype(np.float32), schedule([Entry(0, 300.0, 0.0, 0.0)]),
        np.zeros(0, np.float32), np.int32(0),
    )  # fmt: skip
    walk = jax.tree.map(lambda leaf: leaf[0], walk_of(world.spec, stack([path]))[0])
    step, about = eqx.filter_jit(marginal), jnp.zeros(2)
    for _ in range(6):
        value, own = step(world, walk, about, jnp.asarray(False))
        about = own.m
    grid = np.linspace(-5, 5, 161)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    cl, v = (VEIN.truth[n] * np.exp(np.sqrt(VEIN.variance[n]) * g) for n, g in (("clearance", a), ("volume", b)))
    log = norm.logpdf(a) + norm.logpdf(b)
    for when, seen in zip(t[1:], x[1:], strict=True):
        miss = (np.log(seen) - np.log(300 / v) + cl / v * when) / VEIN.noise
        unit = np.log(VEIN.noise / float(world.frame.scale.sd[0]))  # densities are of standardised readings
        log += norm.logcdf(miss) if seen == LIMIT else norm.logpdf(miss) - unit
    exact = np.log(np.sum(np.exp(log)) * (grid[1] - grid[0]) ** 2)
    np.testing.assert_allclose(value, exact, atol=0.03)


def test_intervals_of_a_drug_by_mouth_cover_the_truth_and_so_do_variances():
    """Three trials of fifty subjects: most of the nine 95 % intervals hold the truth; variances and noise are right."""
    inside, off, variances, noises = [], [], [], []
    for seed in range(3):
        world = fitted(seed)
        assert not world.notes
        inside += [e.interval[0] <= ORAL.truth[e.name] <= e.interval[1] for e in estimates(world) if e.interval]
        found = spreads(world)
        variances.append([found[name].variance for name in ORAL.variance])
        off += [(found[name].variance - true) / found[name].error for name, true in ORAL.variance.items()]
        noises.append(float(world.noise[0] * world.frame.scale.sd[0]))
        assert all(0 <= found[name].shrinkage < 0.5 for name in ORAL.variance)
    assert len(inside) == 9
    assert np.mean(inside) > 0.7, inside
    assert np.max(np.abs(off)) < 3.5
    np.testing.assert_allclose(np.mean(variances, axis=0), list(ORAL.variance.values()), rtol=0.3)
    np.testing.assert_allclose(np.mean(noises), ORAL.noise, rtol=0.05)
