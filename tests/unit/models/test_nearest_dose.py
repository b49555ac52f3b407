"""Nearest dose: what everybody's readings did under the most similar doses, whoever is asked about."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tests.support.tiny import SPEC, subject

from biowm.core.path import Path, stack
from biowm.core.rollout import assimilate, at, rollout
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.models.baselines.nearest_dose import NearestDose, fit_nearest_dose
from biowm.models.baselines.pairs import pairs_of
from biowm.models.tracker import fit_frame

DRAWS = 400


def person(start: float, drug: float) -> Path:
    """A line that falls by .2 a day for every unit of the drug; the score is never read after the third day."""
    t = np.arange(6, dtype=np.float32)
    x = np.stack([np.exp(start - 0.2 * drug * t), np.where(t < 3, 1.0, np.nan)], axis=1)
    plan = schedule([Entry(0, drug, 0.0, 40.0)])
    return Path(t, x.astype(np.float32), plan, np.array([60.0], np.float32), np.int32(0))


def world_of(people: list[Path]) -> NearestDose:
    whole = stack(people)
    frame = fit_frame(SPEC, whole, 1.0)
    return fit_nearest_dose(SPEC, frame, pairs_of(frame, whole, 2, 4.0))


@eqx.filter_jit
def _future(world: NearestDose, path: Path, plan: Schedule, times):
    return rollout(world, at(assimilate(world, path), 1), plan, times, key=jax.random.key(0), draws=DRAWS)


def burden(world: NearestDose, path: Path, drug: float) -> np.ndarray:
    """Logarithms of the burden 1, 2 and 4 days after the second reading, under a dose of the drug from then on."""
    plan = schedule([Entry(0, drug, 1.0, 40.0)])
    return np.log(np.asarray(_future(world, path, plan, jnp.array([2.0, 3.0, 5.0]))[..., 0]))


def test_it_does_what_those_dosed_alike_did_from_wherever_it_is():
    world = world_of([person(s, d) for s in np.linspace(0, 1, 12) for d in (0.0, 1.0, 2.0)])
    for start in (0.2, 0.9):
        own = person(start, 0.0)
        for drug, slope in ((0.1, 0.0), (1.0, -0.2), (1.8, -0.4), (9.0, -0.4)):
            rise = burden(world, own, drug) - np.log(own.x[1, 0])
            np.testing.assert_allclose(np.median(rise, axis=0), np.multiply(slope, [1, 2, 4]), atol=2e-3)
            np.testing.assert_allclose(rise[:, 0], slope, atol=2e-3)


def test_draws_are_spread_over_all_who_were_dosed_alike():
    rng = np.random.default_rng(0)
    people = [subject(rng, 6) for _ in range(40)]
    whole = stack(people)
    frame = fit_frame(SPEC, whole, 1.0)
    pairs = pairs_of(frame, whole, 2, 4.0)
    world = fit_nearest_dose(SPEC, frame, pairs)
    path = people[0]
    plan = schedule([Entry(0, 1.5, float(path.t[1]), 90.0)])
    got = np.asarray(_future(world, path, plan, path.t[1] + jnp.array([1.0, 2.0, 4.0])))[:, 1]
    i = int(np.flatnonzero(np.isclose(world.nodes, 2.0))[0])
    dose, sd = np.asarray(world.dose[i]), np.asarray(world.sd[i])
    asked = np.array([1.5, 0.0]) / np.asarray(frame.action_scale) / sd
    start = np.asarray(frame.scale.to_z(path.x[1]))
    for j in range(2):
        rise = np.asarray(world.rise[i, :, j])
        near = np.argsort(np.where(np.isnan(rise), np.inf, ((dose - asked) ** 2).sum(1)))[:16]
        found = np.asarray(frame.scale.to_z(got))[:, j] - start[j]
        np.testing.assert_allclose(np.unique(found.round(3)), np.unique(rise[near].round(3)), atol=2e-3)


def test_who_was_not_read_so_far_ahead_is_followed_by_nobody():
    world = world_of([person(s, d) for s in np.linspace(0, 1, 12) for d in (0.0, 2.0)])
    plan = schedule([Entry(0, 2.0, 1.0, 40.0)])
    score = np.asarray(_future(world, person(0.5, 2.0), plan, jnp.array([2.0, 3.0, 5.0]))[..., 1])
    np.testing.assert_allclose(score, 1.0, atol=1e-3)
