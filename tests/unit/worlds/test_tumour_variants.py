"""Each bent equation differs as it says, published policies keep their defects, and branches tell the truth."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.worlds.patient.cohort import branches, cohort, courses, daily
from biowm.worlds.patient.tumour import DEATH, Tumour, TumourState
from biowm.worlds.patient.variants import VARIANTS

KEY = jax.random.key(0)
PLAIN = Tumour()


@eqx.filter_jit
def course(world: Tumour, volume: float, given, clone: float = 0.0) -> TumourState:
    """States after each day of treatment, all under one luck."""
    rates = jnp.array([0.05, 0.004, 0.028])
    start = TumourState(jnp.zeros(()), jnp.float32(volume), jnp.zeros(()), rates, jnp.zeros(2), jnp.float32(clone))

    def day(state, now):
        after = world.step(state, now[0], jnp.ones(()), key=jax.random.fold_in(KEY, now[1]))
        return after, after

    return jax.lax.scan(day, start, (given, jnp.arange(given.shape[0])))[1]


def given(days: int, chemo: int = 0, radio: int = 0):
    """Chemotherapy on the first `chemo` days, radiotherapy on the first `radio`."""
    return jnp.stack([jnp.arange(days) < chemo, jnp.arange(days) < radio], axis=1).astype(jnp.float32)


@pytest.mark.parametrize("name", ["saturating", "delay", "clone"])
def test_without_treatment_every_variant_is_plain(name):
    plain, bent = (course(w, 5.0, given(30), w.clone).volume for w in (PLAIN, VARIANTS[name]))
    np.testing.assert_allclose(bent, plain, rtol=1e-5)


def test_saturating_kill_grows_less_than_the_drug():
    plain, bent = (course(w, 5.0, given(30, chemo=30)) for w in (PLAIN, VARIANTS["saturating"]))
    assert (bent.volume > plain.volume).all()
    assert (bent.volume[0] - plain.volume[0]) / 5.0 == pytest.approx(0.028 * (5 - 5 / 1.5), rel=1e-3)
    last = [float(w.volume[-1] / w.volume[-2]) for w in (plain, bent)]
    assert last[1] - last[0] == pytest.approx(
        0.028 * (10 - 10 / 2) - 0.018, abs=0.004
    )  # it is the larger, so it grows less


def test_delayed_kill_comes_late_and_all_of_it():
    plain, bent = (course(w, 5.0, given(30, radio=1)).volume for w in (PLAIN, VARIANTS["delay"]))
    lost = 1 - np.asarray(bent) / np.asarray(course(PLAIN, 5.0, given(30)).volume)
    assert np.argmax(np.diff(lost, prepend=0.0)) in (1, 2)
    assert lost[0] < 0.03
    assert lost[3] < 0.8 * lost[-1]
    assert bent[-1] == pytest.approx(float(plain[-1]), rel=0.03)


def test_the_clone_is_left_over_by_treatment():
    bent = course(VARIANTS["clone"], 5.0, given(30, chemo=30), 0.1)
    plain = course(PLAIN, 5.0, given(30, chemo=30))
    assert (np.diff(bent.resistant) > 0).all()
    assert bent.resistant[14] > 0.5
    ratio = bent.volume / plain.volume
    assert ratio[0] < 1.05
    assert ratio[-1] > 3


def test_a_course_without_end_passes_the_volume_of_death():
    grown = course(Tumour(ends=False), DEATH * 0.99, given(10)).volume
    assert grown[-1] > DEATH * 1.05
    assert (course(PLAIN, DEATH * 0.99, given(10)).volume <= np.float32(DEATH)).all()


def treated(paths) -> np.ndarray:
    return daily(paths.plan, 60)


def test_published_training_leaves_day_0_untreated_and_the_default_does_not():
    ours, theirs = (treated(cohort(KEY, 500, 2.0, policy=p)) for p in ("corrected", "published-train"))
    assert ours[:, 0].any()
    assert not theirs[:, 0].any()
    assert theirs[:, 1].any()


def test_published_test_patients_are_treated_by_the_size_of_another():
    """On day 0 everybody but the first is treated by the first patient's size; where its row ends, by a size of 0."""
    gamma = 6.0
    paths = cohort(jax.random.key(3), 500, gamma, policy="published-test")
    own = np.cbrt(paths.x[:, 0, 0] * 6 / np.pi)
    chance = 1 / (1 + np.exp(-gamma / 13 * (own[0] - 6.5)))
    days = treated(paths)
    for group in (own < 1, own > 6):
        shown = days[1:236, 0][group[1:236]].mean()
        assert shown == pytest.approx(chance, abs=4 * 0.5 / np.sqrt(2 * group[1:236].sum()))
    there = np.isfinite(paths.x[1:9, 30:45, 0])  # rows 1 to 8 end by day 4
    late = days[1:9, 30:45][there].mean()
    assert late == pytest.approx(1 / (1 + np.exp(gamma / 2)), abs=0.06)


def test_daily_is_the_inverse_of_courses():
    shown = np.random.default_rng(0).random((20, 30, 2)) < 0.4
    np.testing.assert_array_equal(daily(courses(shown), 30), shown)


@pytest.mark.parametrize("name", ["plain", "clone"])
def test_branches_give_the_path_back_and_differ_by_treatment_alone(name):
    world = VARIANTS.get(name, PLAIN)
    paths = cohort(KEY, 30, 1.0, world=world)
    past, origin = daily(paths.plan, 60), np.tile([3, 20], (30, 1))
    own = np.stack([past[:, o : o + 5] for o in (3, 20)], axis=1)
    options = np.stack([own, np.zeros_like(own), np.ones_like(own)], axis=2)
    found = np.asarray(branches(KEY, past, origin, options, world=world))
    truth = np.stack([paths.x[:, o + 1 : o + 6, 0] for o in (3, 20)], axis=1)
    seen = np.isfinite(truth) & (truth > 0) & (truth < np.float32(DEATH))
    assert seen.sum() > 200
    np.testing.assert_allclose(found[:, :, 0][seen], truth[seen], rtol=1e-4)
    assert (found[:, :, 1] >= found[:, :, 2])[seen].all()
    other = np.asarray(branches(KEY, past, origin, options, world=world, luck=jax.random.key(9)))
    assert np.median(np.abs(other / found - 1)[:, :, 0][seen]) < 0.05
    assert not np.allclose(other, found)
