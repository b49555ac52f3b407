"""Environments: Gymnasium's own checks, what the data sheets promise, and the pure functions underneath."""

from __future__ import annotations

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.decay import Decay

import biowm.envs
from biowm.core.errors import BadInput
from biowm.envs import play as module
from biowm.envs.game import advance, begin
from biowm.envs.glucose import GlucoseControl, meals
from biowm.envs.play import check, make, play
from biowm.envs.tumour import TumourPKPD
from biowm.envs.world import Open, WorldEnv
from biowm.worlds.patient.tumour import DEATH

TUMOUR = "biowm/TumourPKPD-v0"
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in biowm.envs.IDS if name != TUMOUR]


@pytest.mark.parametrize("name", [TUMOUR, *OTHERS])
def test_an_environment_passes_gymnasiums_checks_and_has_a_data_sheet(name: str):
    check(make(name))
    made = gymnasium.make(name)
    seen, _ = made.reset(seed=0)
    assert made.observation_space.contains(seen)
    assert made.observation_space.contains(made.step(made.action_space.sample())[0])
    sheet = module.environments()[name]
    for part in (name, "Observation", "Action", "Reward", "Cost", 'info["cost"]', "terminated", "truncated", "Source"):
        assert part in sheet


@pytest.mark.parametrize("name", [TUMOUR, *OTHERS])
def test_a_seed_gives_one_episode_and_another_seed_another(name: str):
    env = make(name)
    first, again, other = (play(env, name, "random", seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.seen, again.seen)
    np.testing.assert_array_equal(first.given, again.given)
    assert first.seen.shape != other.seen.shape or not np.array_equal(first.seen, other.seen)
    assert first.terminated != first.truncated


def test_any_world_is_an_environment():
    env = WorldEnv(Open(Decay(), steps=4, worth=lambda reading: -reading[0]))
    check(env)
    _, info = env.reset(seed=0)
    assert info["cost"] == 0.0
    steps = [env.step(np.ones(len(env.gives), np.float32)) for _ in range(4)]
    assert [step[3] for step in steps] == [False, False, False, True]
    assert all(step[4]["cost"] == pytest.approx(1.0) for step in steps)
    assert [step[4]["t"] for step in steps] == pytest.approx([Decay().spacing * k for k in range(1, 5)])
    with pytest.raises(RuntimeError, match="reset"):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected Box"):
        env.step(np.full(len(env.gives), 2.0, np.float32))


def test_an_untreated_tumour_may_kill_and_treatment_is_what_costs():
    env = TumourPKPD()
    fates = [play(env, TUMOUR, "none", seed) for seed in range(60)]
    dead = [p for p in fates if p.terminated]
    assert dead
    for played in dead:
        assert played.seen[-1, 0] == pytest.approx(DEATH)
        assert played.reward[-1] == pytest.approx(0.0, abs=1e-6)
        assert not played.truncated
    for played in fates:
        assert played.cost.sum() == 0
        np.testing.assert_allclose(played.reward, 1 - played.seen[1:, 0] / DEATH, atol=1e-6)
    treated = play(env, TUMOUR, "random", 0)
    np.testing.assert_allclose(treated.cost, treated.given.sum(1), rtol=1e-5)


@pytest.mark.slow
def test_many_episodes_in_one_call_are_those_of_one_at_a_time():
    game, keys = TumourPKPD().game, jax.random.split(jax.random.key(0), 3)
    actions = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], jnp.float32)

    def day(key, action):
        return advance(game, begin(game, key=key)[0], action)[1].reading

    alone = jnp.stack([eqx.filter_jit(day)(key, action) for key, action in zip(keys, actions, strict=True)])
    np.testing.assert_allclose(eqx.filter_jit(jax.vmap(day))(keys, actions), alone, rtol=1e-5)


@pytest.mark.slow
def test_a_day_with_glucose_is_told_in_units():
    env = GlucoseControl()
    env.reset(seed=1)
    _, _, _, _, info = env.step(np.array([0.2, 0.5], np.float32))
    assert info["t"] == 5.0
    assert info["given"]["basal"] == pytest.approx(1.0)
    assert info["given"]["bolus"] == pytest.approx(5.0)
    played = play(env, "biowm/Glucose-v0", "none", 1)
    assert played.given[:, :2].sum() == 0
    assert played.given[:, 2].sum() > 0
    # Without any insulin glucose rises until it kills; that it was ever low it was not.
    assert played.terminated
    assert played.seen[-1, 0] > 400
    assert played.cost.sum() == 0
    assert played.reward.sum() < len(played.reward)


@pytest.mark.slow
def test_meals_are_at_the_hours_of_the_scenario():
    days = jax.jit(jax.vmap(lambda key: meals(key=key)))(jax.random.split(jax.random.key(0), 500))
    onset, grams = np.asarray(days.onset), np.asarray(days.dose)
    assert (onset >= 60 * np.array([5, 9, 10, 14, 16, 20])).all()
    assert (onset <= 60 * np.array([9, 10, 14, 16, 20, 23])).all()
    np.testing.assert_allclose((grams > 0).mean(0), [0.95, 0.3, 0.95, 0.3, 0.95, 0.3], atol=0.07)
    assert grams[:, 2][grams[:, 2] > 0].mean() == pytest.approx(70, abs=2)
    np.testing.assert_array_equal(days.card, 2)


@pytest.mark.slow
def test_clinicians_save_as_many_as_their_policy_does():
    env = make("biowm/ICUSepsis-v0")
    played = [play(env, "s", "clinician", seed) for seed in range(200)]
    survived = [p.reward.sum() for p in played]
    assert set(survived) <= {0.0, 1.0}
    assert np.mean(survived) == pytest.approx(0.7818, abs=4 * np.sqrt(0.7818 * 0.2182 / 200))
    assert all((p.seen[-1, 0] == 714) == (p.reward.sum() == 1) for p in played)
    assert played[0].t[1] == 4.0


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(BadInput, match="biowm/TumourPKPD-v0"):
        make("biowm/Nothing-v0")
    with pytest.raises(BadInput, match="expected one of random, none"):
        play(TumourPKPD(), TUMOUR, "best", 0)
