"""The mechanism trunk: its filter, its fit, and how it says that something is wrong."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from tests.support.burden import Burden, burden_world
from tests.support.tiny import SPEC, tiny_cohort, tiny_material

from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, Scalar, parameter, parameters
from biowm.core.mechanism_units import Declared, wire
from biowm.core.path import Path, stack, take
from biowm.core.rollout import assimilate, at
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, Trait, WorldSpec
from biowm.models.candidate import material
from biowm.models.trunks import mechanism_fit
from biowm.models.trunks.mechanism import Mechanistic, Notes
from biowm.models.trunks.mechanism_climb import EDGE
from biowm.models.trunks.mechanism_fit import Fit, edges, first_values, fit_mechanism
from biowm.models.trunks.mechanism_found import estimates, summary
from biowm.models.trunks.mechanism_futures import fit_futures
from biowm.models.trunks.mechanism_marginal import marginal
from biowm.models.trunks.mechanism_start import accurate, blank
from biowm.models.trunks.mechanism_walk import walk_of

pytestmark = pytest.mark.slow


class Climb(Mechanism):
    """A level that rises at each subject's own speed: linear in everything."""

    clock = "d"
    states: ClassVar = {"level": "mg/L"}
    channels: ClassVar = {"level": "mg/L"}
    actions: ClassVar = {}
    signed = ("level",)
    speed: Scalar = parameter("mg/L/d", start=1.0, varies="batch")

    def slope(self, state, action):
        return (self.speed + 0.0 * state[0],)


LINE = WorldSpec(
    "line", "d", (Channel("level", "mg/L"),), traits=(Trait("site", kind="category", levels=("a", "b", "c", "d")),)
)


def climbers(n: int = 60, seed: int = 0) -> tuple[Path, np.ndarray]:
    """Subjects of four sites with speeds about their site's, read with noise at irregular times."""
    rng = np.random.default_rng(seed)
    sites = np.array([1.4, 0.6, 1.8, 1.0])
    paths = []
    for i in range(n):
        site = i % 4
        t = np.cumsum(rng.uniform(0.5, 1.5, 10)).astype(np.float32) - 0.5
        level = rng.normal(0, 1) + (sites[site] + 0.2 * rng.normal()) * t
        x = (level + 0.3 * rng.normal(size=10))[:, None].astype(np.float32)
        paths.append(Path(t, x, schedule([], 8), np.eye(4, dtype=np.float32)[site], np.int32(0)))
    return stack(paths), sites


@pytest.fixture(scope="module")
def climbing() -> Mechanistic:
    paths, _ = climbers()
    ready = material(LINE, paths, 1.0, 5.0)
    return fit_mechanism(LINE, ready.frame, paths, Climb(), wire(Declared(Climb(), batch="site"), LINE))


def test_the_filter_is_the_dense_posterior(climbing: Mechanistic):
    """Prior, readings and wandering of a linear mechanism, conditioned at once in double precision."""
    world, scale = climbing, climbing.frame.scale
    t, traits = np.array([0.0, 0.7, 1.1, 2.6, 4.0]), np.eye(4)[2]
    unit = float(parameters(Climb)["speed"].value(jnp.asarray(1.0)))
    speed = float(world.mechanism.speed) + unit * float(world.shift[2, 0])  # type: ignore[attr-defined]
    x = 1.0 + (speed + 0.1) * t + 0.2 * np.array([1, -1, -1, 1, 0])
    z = (x - float(scale.mean[0])) / float(scale.sd[0])
    path = Path(
        t.astype(np.float32), x[:, None].astype(np.float32), schedule([], 8), traits.astype(np.float32), np.int32(0)
    )
    belief = at(eqx.filter_jit(assimilate)(world, path), -1)
    slope, sd = unit / float(scale.sd[0]), float(world.sd[0])
    # States at the reading times are affine in (shift, start, one drift a gap); unknowns have unit variance.
    A = np.zeros((5, 2 + 4))
    A[:, 0], A[:, 1] = slope * sd * t, float(world.frame.start_sd[0])
    for k in range(1, 5):
        A[k:, 1 + k] = float(world.drift[0]) * np.sqrt(t[k] - t[k - 1])
    mean = float(world.frame.start_mean[0]) + speed / float(scale.sd[0]) * t
    K = A @ A.T + float(world.noise[0]) ** 2 * np.eye(5)
    F = np.vstack([np.eye(6)[0] * sd, A[-1]])
    centre = np.array([float(world.shift[2, 0]), mean[-1]])
    np.testing.assert_allclose(belief.m, centre + F @ A.T @ np.linalg.solve(K, z - mean), atol=2e-4)
    np.testing.assert_allclose(belief.P, F @ F.T - F @ A.T @ np.linalg.solve(K, A @ F.T), atol=2e-4)


def test_the_marginal_likelihood_of_a_linear_mechanism_is_the_dense_one(climbing: Mechanistic):
    """Shifts, start and wandering integrated at once in double precision, wherever the mechanism is linearised."""
    world, paths = climbing, climbers()[0]
    walk = jax.tree.map(lambda leaf: leaf[0], walk_of(LINE, take(paths, [1]))[0])
    t = np.cumsum(np.asarray(walk.dt, np.float64))[:10]
    z = (np.asarray(walk.x)[:10, 0] - float(world.frame.scale.mean[0])) / float(world.frame.scale.sd[0])
    unit = float(parameters(Climb)["speed"].value(jnp.asarray(1.0)))
    slope, t = unit / float(world.frame.scale.sd[0]), t - t[0]
    own = float(world.mechanism.speed) / unit + float(world.shift[1, 0])  # type: ignore[attr-defined]
    wandered = float(world.drift[0]) ** 2 * np.minimum.outer(t, t)
    K = (slope * float(world.sd[0])) ** 2 * np.outer(t, t) + float(world.frame.start_sd[0]) ** 2 + wandered
    K += float(world.noise[0]) ** 2 * np.eye(10)
    dense = multivariate_normal(float(world.frame.start_mean[0]) + slope * own * t, K).logpdf(z)
    found = eqx.filter_jit(jax.vmap(marginal, (None, None, 0, None)))
    value, shifts = found(world, walk, jnp.array([[0.0], [0.8]]), jnp.asarray(False))
    np.testing.assert_allclose(value, dense, atol=2e-3)
    path = jax.tree.map(lambda leaf: leaf[1], paths)
    belief = at(eqx.filter_jit(assimilate)(world, path), -1)
    np.testing.assert_allclose(shifts.m[:, 0], belief.m[0], atol=1e-3)


def test_shrinkage_is_how_much_less_the_subjects_own_values_vary(climbing: Mechanistic):
    beliefs = eqx.filter_jit(jax.vmap(lambda path: at(assimilate(climbing, path), -1).m[0]))(climbers()[0])
    centre = np.asarray(climbing.shift)[np.arange(60) % 4, 0]
    own = float(np.std(beliefs - centre)) / float(climbing.sd[0])
    np.testing.assert_allclose(climbing.shrinkage, 1 - own, atol=0.05)


@pytest.mark.slow
def test_batches_that_cannot_be_gone_on_from_leave_what_held_before(
    climbing: Mechanistic, monkeypatch: pytest.MonkeyPatch
):
    climb, seen = mechanism_fit.climb, []

    def once(base, walk, start, flat):
        if seen:
            raise BadInput("no number")
        seen.append(climb(base, walk, start, flat))
        return seen[0]

    paths, _ = climbers()
    ready = material(LINE, paths, 1.0, 5.0)
    wiring = wire(Declared(Climb(), batch="site"), LINE)
    monkeypatch.setattr(mechanism_fit, "climb", once)
    world = fit_mechanism(LINE, ready.frame, paths, Climb(), wiring)
    assert "no likelihood: left as before" in world.notes[-1]
    np.testing.assert_array_equal(np.nan_to_num(world.shift), 0.0)  # the first round knows no batch
    np.testing.assert_allclose(np.log(world.sd), seen[0].flat[1:2], rtol=1e-5)
    with pytest.raises(BadInput, match="no number"):  # nothing held before the first
        fit_mechanism(LINE, ready.frame, paths, Climb(), wiring)


def test_draws_have_the_moments_of_the_belief(climbing: Mechanistic):
    belief = climbing.begin(jnp.zeros(4))
    draws = jax.vmap(lambda key: climbing.draw(belief, key=key).w)(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(jnp.cov(draws.T), belief.P, atol=0.1 * float(jnp.max(belief.P)))


def test_parameters_are_recovered_and_their_intervals_cover(climbing: Mechanistic):
    _, sites = climbers()
    speed = float(climbing.mechanism.speed)  # type: ignore[attr-defined]
    found = speed + np.asarray(climbing.shift[:, 0])
    np.testing.assert_allclose(found, sites, atol=0.2)
    noise = float(climbing.noise[0] * climbing.frame.scale.sd[0])
    np.testing.assert_allclose(noise, 0.3, atol=0.06)
    np.testing.assert_allclose(climbing.sd[0], 0.2, atol=0.1)


def test_a_new_batch_starts_at_the_prior_mean_and_is_less_certain(climbing: Mechanistic):
    new, old = climbing.begin(jnp.zeros(4)), climbing.begin(jnp.eye(4)[0])
    assert float(new.m[0]) == 0
    assert abs(float(old.m[0])) > 0.1
    assert float(new.P[0, 0]) > 2 * float(old.P[0, 0])


def without_the_last_site() -> Path:
    return take(climbers()[0], np.flatnonzero(np.arange(60) % 4 != 3))


@pytest.mark.parametrize("fit", [fit_mechanism, fit_futures])
def test_a_batch_that_nobody_was_trained_on_is_a_new_one(fit: Fit):
    """The study knows the site, all its subjects were held out: the shifts of the others sum to nothing without it."""
    paths = without_the_last_site()
    ready = material(LINE, paths, 1.0, 5.0)
    world = fit(LINE, ready.frame, paths, Climb(), wire(Declared(Climb(), batch="site"), LINE))
    np.testing.assert_array_equal(np.isnan(world.shift[:, 0]), [False, False, False, True])
    np.testing.assert_allclose(jnp.sum(world.shift[:3]), 0.0, atol=1e-5)
    unmet, new, old = (world.begin(jnp.asarray(traits)) for traits in (jnp.eye(4)[3], jnp.zeros(4), jnp.eye(4)[0]))
    np.testing.assert_array_equal(unmet.m, new.m)
    np.testing.assert_array_equal(unmet.P, new.P)
    np.testing.assert_allclose(unmet.P[0, 0] - old.P[0, 0], world.between[0] ** 2, rtol=1e-4)
    assert float(world.between[0]) > 0.1


def test_a_wild_reading_moves_the_state_and_hardly_the_parameters():
    world, path = burden_world(), tiny_material().paths
    one = jax.tree.map(lambda leaf: leaf[0], path)
    belief = at(eqx.filter_jit(assimilate)(world, one), 3)
    mask = jnp.array([True, False])
    level = float(world.frame.scale.to_x(world.level_of(belief.m))[0])
    wild, wilder = (world.update(belief, jnp.array([level * by, 0.0]), mask) for by in (1e3, 1e4))
    np.testing.assert_allclose(wild.m[:2], wilder.m[:2], rtol=1e-5)
    assert float(wilder.m[2]) > float(wild.m[2])


def test_units_of_the_study_do_not_matter():
    """The mechanism is in g/L, the study in mg/L: growth and effects are found as they were simulated."""
    m = burden_world().mechanism
    np.testing.assert_allclose([m.growth, m.effect, m.kick], [0.1, 0.15, 0.1], atol=0.04)  # type: ignore[attr-defined]


class Stiff(Burden):
    """A time constant of a millionth of a day."""

    def slope(self, state, action):
        return (1e6 * (self.growth - self.effect * action[0] * state[0] ** 2 - state[0]),)


def fit_tiny(mechanism: Mechanism) -> Mechanistic:
    ready = tiny_material()
    wiring = wire(Declared(Burden()), SPEC)
    return fit_mechanism(SPEC, ready.frame, tiny_cohort(60, 10), mechanism, wiring)


def test_a_stiff_system_says_so():
    ready = tiny_material()
    world = blank(SPEC, ready.frame, ready.paths, Stiff(), wire(Declared(Burden()), SPEC))
    one = jnp.ones(1)
    with pytest.raises(BadInput, match=r"mechanism Stiff: found a solution that changes by .* stiff or blows up at"):
        accurate(world, jnp.ones((1, 2)), one, jnp.ones((1, 2)))


def test_more_steps_are_taken_where_they_are_needed():
    ready = tiny_material()
    world = blank(SPEC, ready.frame, ready.paths, Burden(growth=4.0), wire(Declared(Burden()), SPEC))
    assert world.substeps == 1
    fast = accurate(world, jnp.zeros((1, 2)), jnp.ones(1), jnp.ones((1, 2)))
    assert 1 < fast.substeps <= 16


def test_a_parameter_that_runs_off_is_stopped_and_named():
    """Both bounds of the search are looked at; a parameter in between is not named."""
    world = burden_world()
    start = first_values(world)
    far = start.theta.at[0].add(EDGE).at[2].add(-EDGE)
    (up, down) = edges(world, start, np.asarray(far))
    assert re.match(r"parameter growth ran off and was stopped at .* \[1/d\]: the data do not hold it", up)
    assert down.startswith("parameter kick ran off")
    assert not world.notes


def test_futures_name_a_parameter_that_the_steps_were_too_few_for():
    """From a thousandth of the truth the effect comes too late for growth, which follows it; from near, all arrive."""
    ready, wiring = tiny_material(), wire(Declared(Burden()), SPEC)
    far, near = (
        fit_futures(SPEC, ready.frame, ready.paths, Burden(effect=start), wiring).notes for start in (1e-4, 0.1)
    )
    assert len(far) == 1
    assert re.match(r"parameter growth was still on its way, at 0\.0\d+ \[1/d\], when the steps ended", far[0])
    assert not near


def test_futures_find_what_was_simulated_and_keep_new_batches_at_the_mean():
    """Free-running curves of the tiny cohort, and of four sites with speeds of their own."""
    ready = tiny_material()
    found = fit_futures(SPEC, ready.frame, ready.paths, Burden(), wire(Declared(Burden()), SPEC)).mechanism
    np.testing.assert_allclose([found.growth, found.effect, found.kick], [0.1, 0.15, 0.1], atol=0.05)  # type: ignore[attr-defined]
    paths, sites = climbers()
    line = material(LINE, paths, 1.0, 5.0)
    world = fit_futures(LINE, line.frame, paths, Climb(), wire(Declared(Climb(), batch="site"), LINE))
    speeds = float(world.mechanism.speed) + np.asarray(world.shift[:, 0])  # type: ignore[attr-defined]
    np.testing.assert_allclose(speeds, sites, atol=0.25)
    np.testing.assert_allclose(jnp.sum(world.shift), 0.0, atol=1e-5)
    assert float(world.begin(jnp.zeros(4)).m[0]) == 0
    assert all(e.interval is None for e in estimates(world))


@pytest.mark.parametrize("fit", [fit_mechanism, fit_futures])
def test_a_gradient_that_is_no_number_at_the_start_is_refused(fit):
    ready = tiny_material()
    with pytest.raises(BadInput, match=r"mechanism Cliff: found a gradient that is not a number for growth.* start"):
        fit(SPEC, ready.frame, ready.paths, Cliff(growth=0.08), wire(Declared(Burden()), SPEC))


class Cliff(Burden):
    """Finite up to a growth of .15 a day, of which the gradient is not a number there; none beyond."""

    growth: Scalar = parameter("1/d", start=0.05, low=0.0)

    def slope(self, state, action):
        return ((self.growth - self.effect * action[0]) * state[0] + 1e-3 * jnp.sqrt(self.cliff - self.growth),)

    @property
    def cliff(self) -> float:
        return 0.08


def test_a_gradient_that_is_no_number_is_named_and_the_last_good_values_are_kept():
    world = fit_tiny(Cliff())
    assert any("gradients of growth" in n and "the last good ones are kept" in n for n in world.notes), world.notes
    assert 0.0499 <= float(world.mechanism.growth) < 0.08  # type: ignore[attr-defined]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(world))


def test_intervals_of_recovered_parameters_cover():
    """Nine cohorts, three parameters known from the simulation: 95 % intervals hold most of the 27."""
    truth = {"growth": 0.1, "effect": 0.15, "kick": 0.1}
    inside = []
    for seed in range(1, 10):
        paths = tiny_cohort(60, 10, seed)
        ready = material(SPEC, paths, 1.0, 6.0)
        found = fit_mechanism(SPEC, ready.frame, paths, Burden(), wire(Declared(Burden()), SPEC))
        inside += [e.interval[0] <= truth[e.name] <= e.interval[1] for e in estimates(found) if e.interval]
    assert len(inside) == 27
    assert np.mean(inside) > 0.8, inside


def test_what_was_found_is_told_in_units_and_keeps_to_the_bounds():
    world = eqx.tree_at(lambda w: w.doubt, burden_world(), replace_fn=lambda a: jnp.full_like(a, 40.0))
    found = {e.name: e for e in estimates(world)}
    assert (found["kick"].unit, found["kick"].subjects) == ("1/mg", None)
    bounds = found["effect"].interval or (np.nan, np.nan)
    assert 0 <= bounds[0] < found["effect"].value < bounds[1]
    low, high = found["growth"].subjects or (0.0, 0.0)
    np.testing.assert_allclose(high - low, 2 * 0.2 * float(world.sd[0]), rtol=1e-4)
    np.testing.assert_allclose((high + low) / 2, found["growth"].value, rtol=1e-4)
    told = summary({"plain": world, "none": 1.0, "under": (world, 2.0)})
    assert set(told) == {"plain", "under"}
    assert told["plain"]["parameters"]["effect"]["interval95"] == list(bounds)


def test_what_is_said_of_a_fit_compiles_nothing_anew():
    one = burden_world()
    other = dataclasses.replace(one, notes=Notes(("growth ran off",)))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert (tuple(one.notes), tuple(other.notes)) == ((), ("growth ran off",))


def test_a_value_outside_its_bounds_is_named():
    with pytest.raises(BadInput, match=r"mechanism Burden, parameter 'effect': found -1, expected .* bounds \(0.0"):
        fit_tiny(Burden(effect=-1.0))
