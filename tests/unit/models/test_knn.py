from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tests.support.tiny import SPEC, learned, subject

from biowm.core.path import Path, stack, take
from biowm.core.rollout import assimilate, at, rollout
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.models.baselines.knn import Knn, fit_knn
from biowm.models.baselines.pairs import pairs_of
from biowm.models.tracker import fit_frame

READINGS, ORIGIN, DRAWS = 9, 4, 200


def plan_of(drug: float) -> Schedule:
    """The same first half for everybody, then `drug`."""
    return schedule([Entry(0, 1.0, 0.0, float(ORIGIN)), Entry(0, drug, float(ORIGIN), 40.0)])


def kind(start: float, slope: float, drug: float, seed: int) -> Path:
    """One of many alike subjects: a straight line that bends with the drug after the origin."""
    t = np.arange(READINGS, dtype=np.float32)
    bend = np.where(t > ORIGIN, (t - ORIGIN) * drug * 0.2, 0.0)
    x = np.exp(start + slope * t - bend)[:, None] * [1.0, 0.0] + [0.0, 1.0] * t[:, None] * 0.1
    tiny = 1e-6 * np.random.default_rng(seed).normal()
    return Path(t, (x + tiny).astype(np.float32), plan_of(drug), np.array([60.0], np.float32), np.int32(0))


@eqx.filter_jit
def _future(world: Knn, path: Path, plan, times):
    return rollout(world, at(assimilate(world, path), ORIGIN), plan, times, key=jax.random.key(0), draws=DRAWS)


def future(world: Knn, path: Path, plan: Schedule, *leads: float) -> np.ndarray:
    return np.asarray(_future(world, path, plan, jnp.asarray(path.t[ORIGIN] + np.array(leads, np.float32))))


def library(paths: list[Path]) -> Knn:
    whole = stack(paths)
    frame = fit_frame(SPEC, whole, 1.0)
    return fit_knn(SPEC, frame, pairs_of(frame, whole, 2, 4.0))


def test_it_follows_its_twins_exactly():
    twins = [kind(1.0, 0.1, 1.0, i) for i in range(20)]
    others = [kind(3.0, -0.3, 1.0, 100 + i) for i in range(20)]
    world = library([*twins, *others])
    got = future(world, twins[0], plan_of(1.0), 1.0, 2.0, 4.0)
    np.testing.assert_allclose(got, np.broadcast_to(twins[0].x[[5, 6, 8]], got.shape), rtol=1e-3)


def test_it_prefers_those_who_were_given_the_same():
    """Alike up to the origin; then half of them got the drug: the question says whom to follow."""
    on, off = [[kind(1.0, 0.1, drug, i) for i in range(8)] for drug in (2.0, 0.0)]
    world = library([p for pair in zip(on, off, strict=True) for p in pair])
    for own, drug in ((on, 2.0), (off, 0.0)):
        got = future(world, off[0], plan_of(drug), 1.0, 2.0, 4.0)[..., 0]
        np.testing.assert_allclose(got, np.broadcast_to(own[0].x[[5, 6, 8], 0], got.shape), rtol=2e-3)
    between = future(world, off[0], plan_of(1.0), 1.0, 2.0, 4.0)[:, 2, 0]
    share = np.mean(np.abs(between - on[0].x[8, 0]) < np.abs(between - off[0].x[8, 0]))
    assert 0.3 < share < 0.7


def test_a_draw_is_one_neighbours_path_and_different_draws_differ():
    twins = [kind(1.0, slope, 1.0, i) for i, slope in enumerate(np.linspace(-0.02, 0.02, 16))]
    world = library(twins * 2)
    got = future(world, twins[8], plan_of(1.0), 1.0, 2.0, 4.0)[..., 0]
    log = np.log(got) - np.log(twins[8].x[ORIGIN, 0])
    np.testing.assert_allclose(log[:, 1], log[:, 0] * 2, atol=1e-3)
    assert len(np.unique(np.round(log[:, 1], 4))) > 5


def test_between_nodes_it_goes_straight():
    twins = [kind(1.0, 0.1, 1.0, i) for i in range(20)]
    world = library(twins)
    got = future(world, twins[0], plan_of(1.0), 0.5, 1.5, 2.0)[..., 0]
    x0 = np.log(twins[0].x[ORIGIN, 0])
    np.testing.assert_allclose(np.log(got) - x0, np.broadcast_to([-0.05, -0.15, -0.2], got.shape), atol=1e-3)


def test_padding_of_the_library_is_nobodys_neighbour():
    world = learned("knn")
    real = np.abs(np.asarray(world.look)).max(1) < 1e5
    assert real.sum() < len(real)
    stranger = stack([subject(np.random.default_rng(1), READINGS)])
    belief = at(eqx.filter_jit(assimilate)(world, take(stranger, 0)), ORIGIN)
    state = eqx.filter_jit(lambda w, b: w.draw(b, key=jax.random.key(0)))(world, belief)
    assert real[np.asarray(state.donors)].all()
