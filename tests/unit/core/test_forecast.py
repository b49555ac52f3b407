from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tests.support.decay import Decay

from biowm.core.forecast import belief_at, forecast
from biowm.core.path import Path, stack, take
from biowm.core.queries import Queries
from biowm.core.rollout import rollout
from biowm.core.schedule import Entry, schedule
from biowm.models.blend import blend

KEY = jax.random.key(4)
TRACES: list[int] = []


class Counted(Decay):
    """Notes each time that its transition is traced."""

    def step(self, state, action, dt, *, key):
        TRACES.append(1)
        return super().step(state, action, dt, key=key)


def subjects(n: int = 6) -> Path:
    rng = np.random.default_rng(0)
    paths = []
    for i in range(n):
        t = np.cumsum(rng.uniform(0.5, 1.5, 5 + i)).astype(np.float32)
        x = rng.normal(5, 1, (5 + i, 1)).astype(np.float32)
        x[1] = np.nan
        plan = schedule([Entry(0, float(i), 0.0, 30.0), Entry(1, 2.0, float(t[3]), float(t[3]))])
        paths.append(Path(t, x, plan, np.zeros(0, np.float32), np.int32(0)))
    return stack(paths)


PATHS = subjects()
SUBJECT, ORIGIN = np.array([3, 0, 5, 3, 1, 5, 5]), np.array([2, 4, 0, 3, 1, 7, 2])
TIMES = (PATHS.t[SUBJECT, ORIGIN][:, None] + np.array([[0.5, 1.0, 4.0]])).astype(np.float32)
QUERIES = Queries(SUBJECT, ORIGIN, TIMES)


def test_forecast_equals_a_loop_over_queries():
    got = forecast(Decay(), PATHS, QUERIES, key=KEY, draws=4)
    assert got.shape == (7, 4, 3, 1)
    for q in range(7):
        path = take(PATHS, int(SUBJECT[q]))
        key = jax.random.fold_in(KEY, int(SUBJECT[q]))
        belief = belief_at(Decay(), path, int(ORIGIN[q]))
        steps = np.union1d(TIMES[q], np.clip(path.plan.onset[1], path.t[ORIGIN[q]], TIMES[q][-1]))  # the bolus is one
        alone = eqx.filter_jit(rollout)(Decay(), belief, path.plan, jnp.asarray(steps), key=key, draws=4)
        np.testing.assert_allclose(got[q], alone[:, np.searchsorted(steps, TIMES[q])], rtol=1e-5)


def test_a_bolus_between_the_times_asked_for_is_given_in_its_own_time():
    """After one at 3 d, what is read at 10 d is as if the days between had been asked for; so are other plans."""
    world, path = Decay(sigma=0.0), Path(
        np.array([0.0, 1.0], np.float32), np.array([[4.0], [np.nan]], np.float32),
        schedule([Entry(1, 6.0, 3.0, 3.0), Entry(1, 9.0, 12.0, 12.0)]), np.zeros(0, np.float32), np.int32(0),
    )  # fmt: skip
    asked = Queries(np.zeros(1, int), np.zeros(1, int), np.array([[2.0, 10.0]], np.float32))
    got = forecast(world, stack([path]), asked, key=KEY, draws=1)[0, 0, :, 0]
    want = [4 * np.exp(-0.4), 4 * np.exp(-2.0) + 6 * np.exp(-1.4)]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    later = jax.tree.map(lambda leaf: leaf[None], schedule([Entry(1, 6.0, 7.5, 7.5)], size=len(path.plan.card)))
    got = forecast(world, stack([path]), asked, key=KEY, draws=1, plans=later)[0, 0, :, 0]
    np.testing.assert_allclose(got, [want[0], 4 * np.exp(-2.0) + 6 * np.exp(-0.5)], rtol=1e-5)


def test_chunks_change_nothing():
    done = []
    whole = forecast(Decay(), PATHS, QUERIES, key=KEY, draws=4)
    n = 150
    many = Queries(np.resize(SUBJECT, n), np.resize(ORIGIN, n), np.resize(TIMES, (n, 3)))
    parts = forecast(Decay(), PATHS, many, key=KEY, draws=4, progress=done.append)
    np.testing.assert_allclose(done, [0, 64 / 150, 128 / 150, 1])
    np.testing.assert_allclose(parts[:7], whole, rtol=1e-5)
    np.testing.assert_allclose(parts[147:], whole[:3], rtol=1e-5)


def test_the_members_of_a_blend_share_the_progress():
    """Three quarters of the draws are one member's, and so is that share of the work; a second block is half of it."""
    done: list[float] = []
    world = blend(Decay().spec, {"a": Decay(), "b": Decay(k=0.5)}, {"a": 0.75, "b": 0.25})
    forecast(world, PATHS, QUERIES, key=KEY, draws=64, progress=done.append)
    np.testing.assert_allclose(done, [0, 0.5, 0.75, 0.75, 1])


def test_plans_override_what_the_paths_did():
    plans = jax.tree.map(
        lambda *leaves: np.stack(leaves), *[schedule([Entry(0, float(q), 0.0, 99.0)]) for q in range(7)]
    )
    own = forecast(Decay(sigma=0.0), PATHS, QUERIES, key=KEY, draws=2)
    other = forecast(Decay(sigma=0.0), PATHS, QUERIES, key=KEY, draws=2, plans=plans)
    base = forecast(
        Decay(sigma=0.0),
        PATHS,
        QUERIES,
        key=KEY,
        draws=2,
        plans=jax.tree.map(lambda leaf: np.repeat(leaf[:1], 7, 0), plans),
    )
    gain = (1 - np.exp(-0.2 * np.array([0.5, 1.0, 4.0]))) / 0.2  # of a unit rate
    expected = np.arange(7)[:, None] * gain[None]
    np.testing.assert_allclose((other - base)[:, 0, :, 0], expected, atol=1e-4)
    assert not np.allclose(own, other)


def test_nothing_after_the_origin_is_looked_at():
    before = forecast(Decay(), PATHS, QUERIES, key=KEY, draws=4)
    for q in range(7):
        x = np.array(PATHS.x)
        x[SUBJECT[q], ORIGIN[q] + 1 :] = 1e3
        changed = Path(PATHS.t, x, PATHS.plan, PATHS.traits, PATHS.event)
        after = forecast(Decay(), changed, QUERIES, key=KEY, draws=4)
        np.testing.assert_array_equal(after[q], before[q])


def test_the_last_reading_is_looked_at():
    x = np.array(PATHS.x)
    x[SUBJECT, ORIGIN] += 1
    changed = Path(PATHS.t, x, PATHS.plan, PATHS.traits, PATHS.event)
    gap = forecast(Decay(), changed, QUERIES, key=KEY, draws=2) - forecast(Decay(), PATHS, QUERIES, key=KEY, draws=2)
    assert (gap[np.isfinite(PATHS.x[SUBJECT, ORIGIN, 0])] > 0.1).all()


def test_one_subject_shares_its_noise_between_schedules():
    twice = Queries(SUBJECT[[0, 0]], ORIGIN[[0, 0]], TIMES[[0, 0]])
    plans = jax.tree.map(lambda *leaves: np.stack(leaves), *[schedule([Entry(0, d, 0.0, 99.0)]) for d in (0.0, 3.0)])
    a, b = forecast(Decay(), PATHS, twice, key=KEY, draws=5, plans=plans)
    gap = b - a
    np.testing.assert_allclose(gap, np.broadcast_to(gap[:1], gap.shape), atol=1e-4)
    assert gap.min() > 0.5


def test_compiles_once_for_a_bucket_of_queries(monkeypatch):
    monkeypatch.setattr("biowm.core.forecast.make_room", lambda: None)  # programs may be given up between two calls
    TRACES.clear()
    world = Counted()
    first = forecast(world, PATHS, QUERIES, key=KEY, draws=4)
    once = len(TRACES)
    for n, h in ((1, 1), (3, 2), (5, 3), (7, 3)):
        fewer = Queries(SUBJECT[:n], ORIGIN[:n], TIMES[:n, :h])
        np.testing.assert_allclose(forecast(world, PATHS, fewer, key=KEY, draws=4), first[:n, :, :h], rtol=1e-5)
    assert len(TRACES) == once
    assert once > 0
