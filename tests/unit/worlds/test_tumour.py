"""The tumour simulator against its published equations, and its belief against plain linear regression."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.path import ENDED, RUNNING, take
from biowm.core.rollout import assimilate, draw_states, unroll
from biowm.core.schedule import Entry, schedule
from biowm.worlds.patient.cohort import cohort, courses, truth
from biowm.worlds.patient.tumour import CAPACITY, DEATH, Tumour, TumourState
from biowm.worlds.patient.tumour_prior import truncated

KEY = jax.random.key(0)
N = 2000  # patients of every cohort but one: one shape, compiled once
WORLD = Tumour()
MEAN, SD = np.array([0.0398, 7e-5, 0.028]), np.array([0.168, 7.23e-3, 7e-4])


def patient(volume: float, rates=(0.05, 0.004, 0.028), drug: float = 0.0) -> TumourState:
    rates = jnp.asarray(rates, jnp.float32)
    return TumourState(jnp.zeros(()), jnp.float32(volume), jnp.float32(drug), rates, jnp.zeros(2), jnp.zeros(()))


@eqx.filter_jit
def days(states: TumourState, actions, dt, keys) -> TumourState:
    return jax.vmap(lambda s, a, k: WORLD.step(s, a, dt, key=k))(states, actions, keys)


def many(state: TumourState, action, dt: float = 1.0, n: int = 4096) -> TumourState:
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), state)
    actions = jnp.broadcast_to(jnp.asarray(action, jnp.float32), (n, 2))
    return days(states, actions, jnp.float32(dt), jax.random.split(KEY, n))


@pytest.mark.parametrize("action", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_day_is_the_published_equation(action):
    alpha, rho, beta_c = 0.05, 0.004, 0.028
    after = many(patient(20.0, (alpha, rho, beta_c), drug=3.0), action)
    concentration, dose = 3.0 + 5.0 * action[0], 2.0 * action[1]
    kill = alpha * dose + alpha / 10 * dose**2
    expected = 20.0 * (1 + rho * np.log(CAPACITY / 20.0) - beta_c * concentration - kill)
    volume = np.asarray(after.volume)
    assert volume.mean() == pytest.approx(expected, abs=5 * 0.2 / np.sqrt(4096))
    assert volume.std() == pytest.approx(20.0 * 0.01, rel=0.05)
    np.testing.assert_allclose(after.drug, concentration / 2, rtol=1e-6)


def test_drug_and_its_exposure_do_not_depend_on_the_step():
    action = jnp.array([1.0, 0.0])
    still = (0.0, 0.0, 0.01)
    one = many(patient(20.0, still, drug=3.0), action)
    state = patient(20.0, still, drug=3.0)
    for _ in range(8):
        state = jax.tree.map(lambda leaf: leaf[0], many(state, action, 1 / 8, n=1))
    assert float(state.drug) == pytest.approx(4.0, rel=1e-5)
    eight = 20.0 * np.exp(-0.01 * 8.0)  # exposure 3 + 5; many small steps are exponential
    assert float(state.volume) == pytest.approx(eight, abs=5 * 0.2)
    assert float(one.volume.mean()) == pytest.approx(20.0 * (1 - 0.01 * 8.0), abs=0.02)


def test_death_and_recovery_are_for_good_and_volumes_never_negative():
    grown = many(patient(DEATH * 0.999, (0.0, 0.1, 0.0)), (0, 0))
    np.testing.assert_array_equal(grown.volume, np.float32(DEATH))
    killed = many(patient(1.0, (0.6, 0.0, 0.0)), (0, 1))
    np.testing.assert_array_equal(killed.volume, 0.0)
    for end in (DEATH, 0.0):
        after = many(patient(end, (0.1, 0.01, 0.02)), (1, 1))
        np.testing.assert_array_equal(after.volume, np.float32(end))


def test_recovery_happens_with_the_probability_that_no_cell_is_left():
    after = many(patient(1e-9, (0.0, 0.0, 0.0)), (0, 0))
    cured = float((after.volume == 0).mean())
    assert cured == pytest.approx(np.exp(-0.58), abs=0.04)


def test_the_prior_is_the_published_one():
    @jax.jit
    def drawn(traits: jax.Array) -> TumourState:
        return draw_states(WORLD, WORLD.begin(traits), key=KEY, draws=4000)

    def rates(kind: int) -> np.ndarray:
        return np.asarray(drawn(jax.nn.one_hot(kind, 3)).rates)

    plain, radio, chemo = rates(1), rates(0), rates(2)
    rng = np.random.default_rng(1)
    covariance = np.outer(SD[:2], SD[:2]) * [[1, 0.87], [0.87, 1]]
    expected = rng.multivariate_normal(MEAN[:2], covariance, 100_000)
    expected = expected[(expected > 0).all(1)]
    assert (plain > 0).all()
    np.testing.assert_allclose(plain[:, :2].mean(0), expected.mean(0), rtol=0.06)
    np.testing.assert_allclose(plain[:, :2].std(0), expected.std(0), rtol=0.06)
    assert plain[:, 2].mean() == pytest.approx(0.028, rel=0.002)
    np.testing.assert_allclose(radio - plain, np.broadcast_to([0.1 * 0.0398, 0, 0], plain.shape), atol=2e-5)
    np.testing.assert_allclose(chemo - plain, np.broadcast_to([0, 0, 0.1 * 0.028], plain.shape), atol=2e-5)


def test_the_belief_is_exact_linear_regression():
    """After daily readings, mean and covariance equal those of float64 Bayesian regression on the same days."""
    paths = cohort(KEY, N, 1.0)
    path = take(paths, int(np.flatnonzero(np.isfinite(paths.x[:, :, 0]).all(1))[0]))
    volume, plan = np.asarray(path.x[:, 0], float), path.plan
    day = np.arange(59)[:, None]
    given = (plan.onset <= day) & (day < plan.stop)
    chemo, radio = ((given & (plan.card == card)).any(1).astype(float) for card in (0, 1))
    drug, features = 0.0, []
    for t in range(59):
        features.append([-2.4 * radio[t], np.log(CAPACITY / volume[t]), -(drug + 5 * chemo[t])])
        drug = (drug + 5 * chemo[t]) / 2
    features = np.array(features)
    covariance = np.outer(SD, SD) * [[1, 0.87, 0], [0.87, 1, 0], [0, 0, 1]]
    prior = MEAN + path.traits @ np.diag([0.1 * MEAN[0], 0, 0.1 * MEAN[2]])
    precision = np.linalg.inv(covariance) + features.T @ features / 0.01**2
    target = volume[1:] / volume[:-1] - 1 - features @ prior
    mean = prior + np.linalg.solve(precision, features.T @ target / 0.01**2)

    belief = eqx.filter_jit(assimilate)(WORLD, path)
    sd = np.sqrt(np.diag(np.linalg.inv(precision)))
    assert np.all(np.abs(np.asarray(belief.mean[-1]) - mean) < 0.05 * sd)
    root = np.asarray(belief.root[-1], float)
    np.testing.assert_allclose(np.sqrt(np.diag(root @ root.T)), sd, rtol=0.02)
    assert float(belief.drug[-1]) == pytest.approx(drug, rel=1e-5)


@pytest.mark.parametrize(("first", "action", "last"), [(1140.0, (0, 0), DEATH), (50.0, (0, 1), 0.0)])
def test_death_and_recovery_are_censored_ratios(first, action, last):
    """Moments of the posterior are those of the prior's draws (not truncated) that die, or recover."""

    @jax.jit
    def seen(last):
        belief = WORLD.update(WORLD.begin(jnp.array([0.0, 1.0, 0.0])), jnp.array([first]), jnp.ones(1, bool))
        ahead = WORLD.predict(belief, jnp.array(action, jnp.float32), jnp.ones(()))
        return WORLD.update(ahead, last, jnp.ones(1, bool))

    after = seen(jnp.array([last], jnp.float32))
    rng = np.random.default_rng(0)
    covariance = np.outer(SD, SD) * [[1, 0.87, 0], [0.87, 1, 0], [0, 0, 1]]
    rates = rng.multivariate_normal(MEAN, covariance, 400_000)
    ratio = 1 + rates[:, 1] * np.log(CAPACITY / first) - 2.4 * action[1] * rates[:, 0] + rng.normal(0, 0.01, 400_000)
    ended = rates[ratio >= DEATH / first if last else ratio <= 0]
    np.testing.assert_allclose(after.mean / SD, ended.mean(0) / SD, atol=0.03)
    np.testing.assert_allclose(
        (after.root @ after.root.T) / np.outer(SD, SD), np.cov(ended.T) / np.outer(SD, SD), atol=0.03
    )
    toward = after.mean - MEAN
    assert toward[0] > 0
    assert toward[1] > 0


def test_the_truncated_posterior_is_drawn_exactly():
    """A mean below both bounds: the hard case, against plain rejection."""
    mean, low = np.array([-0.1, -0.002, 0.028]), np.zeros(3)
    root = np.linalg.cholesky(np.outer(SD, SD) * [[1, 0.5, 0.3], [0.5, 1, -0.2], [0.3, -0.2, 1]])
    arguments = [jnp.asarray(a, jnp.float32) for a in (mean, root, low)]
    draws = np.asarray(jax.jit(jax.vmap(lambda k: truncated(*arguments, key=k)))(jax.random.split(KEY, 20_000)))
    tries = mean + np.random.default_rng(0).standard_normal((400_000, 3)) @ root.T
    kept = tries[(tries > low).all(1)]
    np.testing.assert_allclose(draws.mean(0) / SD, kept.mean(0) / SD, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(SD, SD), np.cov(kept.T) / np.outer(SD, SD), atol=0.04)


def test_cohort_is_reproducible_nested_and_well_formed():
    paths, again, small = cohort(KEY, N, 2.0), cohort(KEY, N, 2.0), cohort(KEY, 50, 2.0)
    for a, b in zip(jax.tree.leaves(paths), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(small.x, paths.x[:50], rtol=1e-4)
    assert not np.array_equal(cohort(jax.random.key(1), N, 2.0).x, paths.x)
    assert paths.x.shape == (N, 60, 1)
    np.testing.assert_array_equal(paths.t[7], np.arange(60))
    np.testing.assert_array_equal(paths.traits.sum(1), 1)
    assert not paths.plan.assigned.any()


def test_paths_end_with_death_or_recovery():
    paths = cohort(KEY, N, 4.0)
    volume = paths.x[:, :, 0]
    seen = np.isfinite(volume)
    assert (np.diff(seen.astype(int), axis=1) <= 0).all()  # once gone, gone
    last = np.array([v[s][-1] for v, s in zip(volume, seen, strict=True)])
    np.testing.assert_array_equal(paths.event == ENDED, (last >= np.float32(DEATH)) | (last == 0))
    np.testing.assert_array_equal(paths.event == RUNNING, (last < np.float32(DEATH)) & (last > 0))
    assert (last == 0).any()
    assert (last >= np.float32(DEATH)).any()
    over = seen.sum(1)  # no treatment after the end
    assert (np.where(paths.plan.card >= 0, paths.plan.stop, 0).max(1) <= over).all()


def test_doctors_treat_large_tumours_more_often_as_gamma_says():
    """The share treated on day 0 follows sigmoid(gamma / 13 (diameter - 6.5)), where nothing else has happened yet."""
    for gamma in (0.0, 4.0):
        paths = cohort(jax.random.key(2), N, gamma)
        size = np.cbrt(paths.x[:, 0, 0] * 6 / np.pi)
        chance = 1 / (1 + np.exp(-gamma / 13 * (size - 6.5)))
        for card in (0, 1):
            treated = ((paths.plan.card == card) & (paths.plan.onset == 0)).any(1)
            for group in (size < 1.5, size > 5):
                n = group.sum()
                assert treated[group].mean() == pytest.approx(chance[group].mean(), abs=4 * 0.5 / np.sqrt(n))


def test_courses_merge_days_and_name_every_treated_day():
    given = np.random.default_rng(0).random((20, 30, 2)) < 0.4
    plan = courses(given)
    back = np.zeros_like(given)
    for i, k in zip(*np.nonzero(plan.card >= 0), strict=True):
        back[i, int(plan.onset[i, k]) : int(plan.stop[i, k]), plan.card[i, k]] = True
        assert not given[i, min(int(plan.stop[i, k]), 29), plan.card[i, k]] or plan.stop[i, k] == 30
    np.testing.assert_array_equal(back, given)
    assert courses(np.zeros((2, 5, 2), bool)).card.max() == -1


def test_truth_gives_the_path_back_and_the_counterfactual_shares_its_chance():
    paths = cohort(KEY, N, 1.0)
    seen = np.isfinite(paths.x[:, :, 0])
    factual = np.asarray(truth(KEY, np.arange(N), paths.plan))
    np.testing.assert_allclose(factual[seen], paths.x[:, :, 0][seen], rtol=1e-4)
    stop = np.minimum(paths.plan.stop, 20)  # all treatment stops on day 20
    untreated = eqx.tree_at(
        lambda p: (p.card, p.stop), paths.plan, (np.where(paths.plan.onset < 20, paths.plan.card, -1), stop)
    )
    other = np.asarray(truth(KEY, np.arange(N), untreated))
    np.testing.assert_allclose(other[:, :21], factual[:, :21], rtol=1e-5)
    live = (factual[:, -1] > 0) & (factual[:, -1] < DEATH)
    assert (other[live, -1] >= factual[live, -1] * 0.999).all()
    assert (other[live, -1] > factual[live, -1] * 1.1).mean() > 0.9


def test_a_schedule_of_part_of_a_day_gives_that_part():
    plan = schedule([Entry(0, 1.0, 0.0, 0.5)])
    after, _ = unroll(WORLD, patient(5.0), plan, jnp.ones(1), key=KEY)
    assert float(after.drug) == pytest.approx(1.25)
