"""A model that knows NumPy alone is a world like any other."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.cohort import cohort
from tests.support.decay import SPEC, Decay
from tests.support.foreign import decode, encode, foreign_decay, foreign_endpoint, predict, step

from biowm.adapters import histories, plain_errors, wrap, wrap_endpoint
from biowm.adapters.world import Latent
from biowm.core.errors import BadInput
from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.rollout import assimilate, at, draw_states, resume, rollout
from biowm.core.schedule import Entry, schedule

KEY = jax.random.key(7)
_rollout, _draw, _resume = eqx.filter_jit(rollout), eqx.filter_jit(draw_states), eqx.filter_jit(resume)
_assimilate = eqx.filter_jit(assimilate)


@pytest.fixture(scope="module")
def world():
    return foreign_decay()


@pytest.fixture(scope="module")
def path() -> Path:
    """Four readings, the third of them missing, under a rate and a shot at the time of the second."""
    plan = schedule([Entry(0, 2.0, 0.0, 2.0), Entry(1, 3.0, 1.0, 1.0), Entry(0, 1.0, 4.0, 9.0)])
    x = np.array([[5.0], [6.0], [np.nan], [4.0]], np.float32)
    return Path(np.array([0.0, 1.0, 2.0, 4.0], np.float32), x, plan, np.zeros(0, np.float32), np.int32(0))


@pytest.fixture(scope="module")
def asked():
    paths, _ = cohort(n=6, readings=7)
    return paths, Queries(np.arange(6), np.full(6, 2), np.asarray(paths.t)[:, 3:7])


def test_futures_equal_those_of_the_same_world_in_jax(world, path):
    times = np.array([4.5, 5.0, 6.0, 9.0], np.float32)
    for index in (1, 3):
        ours, theirs = (
            _rollout(w, at(_assimilate(w, path), index), path.plan, times, key=KEY, draws=32) for w in (world, Decay())
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_chunks_of_many_subjects_equal_those_of_the_same_world_in_jax(world, asked):
    paths, queries = asked
    ours, theirs = (forecast(w, paths, queries, key=KEY, draws=8) for w in (world, Decay()))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_rollout_cut_in_two_equals_the_whole_to_the_bit(world, path):
    states = _draw(world, at(_assimilate(world, path), 3), key=KEY, draws=16)
    times = np.array([4.5, 5.0, 5.0, 7.0], np.float32)
    _, whole = _resume(world, states, path.plan, times, key=KEY)
    middle, first = _resume(world, states, path.plan, np.array([4.5, 5.0, 5.0, 5.0], np.float32), key=KEY)
    _, second = _resume(world, middle, path.plan, np.array([5.0, 5.0, 5.0, 7.0], np.float32), key=KEY)
    np.testing.assert_array_equal(np.concatenate([first[:, :2], second[:, 2:]], axis=1), whole)


def test_drawing_after_predict_steps_by_what_was_given_since(world, path):
    """The belief two days after its last reading, with a shot before and one that is given only now."""
    last = at(_assimilate(world, path), 1)

    @eqx.filter_jit
    def ahead(belief):
        shot = jnp.array([0.0, 3.0])
        for rate in (2.0, 0.0):
            belief = world.predict(world.impulse(belief, shot), jnp.array([rate, 0.0]), jnp.float32(1.0))
            shot = jnp.zeros(2)
        return world.impulse(belief, jnp.array([0.0, 4.0]))

    states = _draw(world, ahead(last), key=KEY, draws=4096)
    gone = np.exp(-0.2 * 2)
    mean, spread = (6 + 3) * gone + 1.0 / 0.2 * (1 - gone), 0.1 * np.sqrt((1 - gone**2) / 0.4)
    np.testing.assert_allclose(states.latent.mean(), mean, atol=4 * spread / 64)
    np.testing.assert_allclose(states.latent.std(), spread, rtol=0.05)
    np.testing.assert_array_equal(states.pending, np.tile([0.0, 4.0], (4096, 1)))
    np.testing.assert_array_equal(states.t, np.full(4096, 3.0))


def test_histories_are_what_encode_is_given(path):
    """Both ways to the arrays of a history, by the belief and straight from the paths, agree."""
    seen = []

    def spy(*told):
        seen.append(told)
        return encode(*told)

    world = wrap(SPEC, 1.0, encode=spy, step=step, decode=decode, noise=1, memory=5)
    _draw(world, at(_assimilate(world, path), 3), key=KEY, draws=2).t.block_until_ready()
    times, readings, actions, traits = seen[-1]
    np.testing.assert_array_equal(times, [[0.0, 0.0, 0.0, 1.0, 4.0]])
    np.testing.assert_array_equal(readings[0, :, 0], [np.nan, np.nan, 5.0, 6.0, 4.0])
    np.testing.assert_allclose(actions[0], [[0, 0], [0, 0], [0, 0], [2, 0], [2 / 3, 3]], rtol=1e-6)
    assert traits.shape == (1, 0)
    told = histories(SPEC, stack([path]))
    np.testing.assert_array_equal(told.times, times[:, 2:])
    np.testing.assert_array_equal(told.readings, readings[:, 2:])
    np.testing.assert_allclose(told.actions, actions[:, 2:], rtol=1e-6)


def test_only_the_last_rows_are_kept():
    world = wrap(SPEC, 1.0, encode=encode, step=step, decode=decode, noise=1, memory=2)
    update = jax.jit(lambda b, t: world.update(eqx.tree_at(lambda b: b.t, b, t), t[None], jnp.ones(1, bool)))
    belief = world.begin(jnp.zeros(0))
    for t in (1.0, 2.0, 4.0):
        belief = update(belief, jnp.float32(t))
    np.testing.assert_array_equal(belief.times, [2.0, 4.0])
    np.testing.assert_array_equal(belief.readings, [[2.0], [4.0]])


def test_an_endpoint_answers_as_the_world_does(asked):
    paths, queries = asked
    ours = forecast(foreign_endpoint(), paths, queries, key=KEY, draws=1000)
    theirs = forecast(Decay(), paths, queries, key=KEY, draws=64)
    assert ours.shape == (6, 1000, 4, 1)
    np.testing.assert_allclose(ours.mean(1), theirs.mean(1), atol=0.08)
    np.testing.assert_array_equal(ours, forecast(foreign_endpoint(), paths, queries, key=KEY, draws=1000))


def test_an_endpoint_cannot_look_behind_the_origin(asked):
    paths, queries = asked
    told = []

    def peek(*given):
        told.append(given[:5])
        return predict(*given)

    x = np.array(paths.x)
    x[:, 3:] += 100.0
    endpoint = wrap_endpoint(SPEC, 1.0, peek)
    answers = [forecast(endpoint, p, queries, key=KEY, draws=4) for p in (paths, eqx.tree_at(lambda p: p.x, paths, x))]
    np.testing.assert_array_equal(*answers)
    assert told[0][1].shape == (6, 3, 1)
    assert told[0][1].max() < 50
    np.testing.assert_allclose(told[0][0].max(1), np.asarray(paths.t)[:, 2])
    assert (told[0][4] > 0).all()


def test_other_plans_change_what_is_planned_and_not_what_was(asked):
    paths, queries = asked
    told = []

    def spy(*given):
        told.append(given)
        return predict(*given)

    nothing = jax.tree.map(lambda a: np.stack([a] * 6), schedule([], paths.plan.card.shape[1]))
    endpoint = wrap_endpoint(SPEC, 1.0, spy)
    for plans in (None, nothing):
        forecast(endpoint, paths, queries, key=KEY, draws=2, plans=plans)
    np.testing.assert_array_equal(told[0][2], told[1][2])
    assert told[0][5].any()
    assert not told[1][5].any()


def _raise(*given):
    raise KeyError("no such weight")


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        ({"encode": _raise}, "encode of foreign raised KeyError: 'no such weight'"),
        ({"encode": lambda *told: np.zeros(2)}, r"encode of foreign returned: .*shape \(2,\).*shape \(2, any\)"),
        ({"encode": lambda *told: "rows"}, "encode of foreign returned str, expected an array of numbers"),
        ({"step": lambda latent, *rest: latent[:1]}, r"step of foreign returned: .*shape \(1, 1\).*shape \(2, 1\)"),
        ({"step": lambda latent, *rest: latent / 0.0}, "step of foreign returned: found '2 NaN or infinite of 2'"),
        ({"decode": lambda latent: np.zeros((2, 3))}, r"decode of foreign returned: .*shape \(2, 3\).*shape \(2, 1\)"),
        ({"decode": lambda latent: (latent, latent - 99)}, "found 'an sd of .*expected sd >= 0"),
    ],
)  # fmt: skip
def test_what_a_function_does_wrong_is_said_at_once(faulty, said):
    with pytest.raises(BadInput, match=said), np.errstate(divide="ignore"):
        wrap(SPEC, 1.0, **({"encode": encode, "step": step, "decode": decode, "noise": 1} | faulty))


@pytest.mark.parametrize(
    ("late", "said"),
    [
        (_raise, "step of foreign raised KeyError: 'no such weight'"),
        (lambda x, *rest: x * np.nan, "3 NaN or infinite of 3"),
    ],
)
def test_what_goes_wrong_later_is_said_as_plainly(late, said):
    def breaks(latent, *rest):
        return step(latent, *rest) if len(latent) == 2 else late(latent, *rest)

    world = wrap(SPEC, 1.0, encode=encode, step=breaks, decode=decode, noise=1)

    @jax.jit
    @jax.vmap
    def ahead(latent):
        now = Latent(jnp.zeros(()), latent, jnp.zeros(2))
        return world.step(now, jnp.zeros(2), jnp.float32(1.0), key=KEY).latent

    with pytest.raises(BadInput, match=said), plain_errors():
        ahead(jnp.ones((3, 1))).block_until_ready()


def test_errors_of_others_are_left_alone():
    with pytest.raises(ZeroDivisionError), plain_errors():
        _ = 1 / 0
    with pytest.raises(jax.errors.JaxRuntimeError, match="mine"), plain_errors():
        raise jax.errors.JaxRuntimeError("mine")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_raise, "predict of foreign raised KeyError"),
        (lambda *given: np.zeros((6, 2, 4)), r"shape \(6, 2, 4\).*shape \(6, 2, 4, 1\)"),
        (lambda *given: np.full((6, 2, 4, 1), np.inf), "48 NaN or infinite of 48"),
    ],
)
def test_what_an_endpoint_does_wrong_is_said(answer, said, asked):
    with pytest.raises(BadInput, match=said):
        forecast(wrap_endpoint(SPEC, 1.0, answer), *asked, key=KEY, draws=2)
