from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support import tiny
from tests.support.decay import SPEC, Decay
from tests.support.tiny import learned

from biowm.core.path import Path
from biowm.core.rollout import assimilate, at, draw_states, rollout
from biowm.core.schedule import Entry, schedule
from biowm.models.blend import Blend, BlendBelief, BlendState, blend

PLAN = schedule([Entry(0, 1.0, 0.0, 9.0), Entry(1, 2.0, 4.0, 4.0)])
PATH = Path(np.arange(5, dtype=np.float32), np.linspace(5, 1, 5, dtype=np.float32)[:, None], PLAN,
            np.zeros(0, np.float32), np.int32(0))  # fmt: skip
FAST, SLOW = Decay(k=0.8, sigma=0.0), Decay(k=0.1, sigma=0.0)
TIMES, DRAWS = jnp.asarray([5.0, 6.0, 8.0]), 2000


_assimilate = eqx.filter_jit(assimilate)
_rollout = eqx.filter_jit(rollout)


def future(world) -> jax.Array:
    belief = at(_assimilate(world, PATH), -1)
    return _rollout(world, belief, PLAN, TIMES, key=jax.random.key(2), draws=DRAWS)[..., 0]


def mix(weight: float) -> Blend:
    made = blend(SPEC, {"fast": FAST, "slow": SLOW}, {"fast": weight, "slow": 1 - weight})
    assert isinstance(made, Blend)
    return made


@pytest.mark.parametrize("weight", [0.2, 0.7])
def test_every_draw_follows_one_member_as_often_as_its_weight_says(weight: float):
    got = np.asarray(future(mix(weight)))
    fast, slow = np.asarray(future(FAST))[0], np.asarray(future(SLOW))[0]
    assert np.abs(fast - slow).min() > 0.1
    is_fast = np.isclose(got, fast, rtol=1e-5).all(1)
    assert (is_fast | np.isclose(got, slow, rtol=1e-5).all(1)).all()
    assert is_fast.mean() == pytest.approx(weight, abs=4 * np.sqrt(weight * (1 - weight) / DRAWS))


def test_a_member_without_weight_is_never_followed():
    np.testing.assert_allclose(future(mix(1.0)), np.broadcast_to(future(FAST)[0], (DRAWS, 3)), rtol=1e-5)


def test_a_single_member_needs_no_blend():
    assert blend(SPEC, {"fast": FAST, "slow": SLOW}, {"slow": 1.0}) is SLOW
    both = blend(SPEC, {"fast": FAST, "slow": SLOW}, {"slow": 0.25, "fast": 0.75})
    assert isinstance(both, Blend)
    assert both.stacks == (SLOW, FAST)
    np.testing.assert_array_equal(jnp.concatenate(both.weights), np.array([0.25, 0.75], np.float32))


@pytest.mark.slow
def test_members_of_one_kind_are_stacked_and_every_draw_follows_its_own():
    """Three variants share one program (padded to four); each future is one that its member alone could have had."""
    names = ("mixed(none)", "mixed(action)", "mixed(full)")
    members = {n: learned(n) for n in (*names, "direct")}
    both = blend(tiny.SPEC, members, {"mixed(none)": 0.2, "direct": 0.3, "mixed(full)": 0.5})
    assert isinstance(both, Blend)
    assert [len(w) for w in both.weights] == [2, 1]
    three = blend(tiny.SPEC, members, dict.fromkeys(names, 1 / 3))
    assert isinstance(three, Blend)
    np.testing.assert_allclose(three.weights[0], np.array([1 / 3, 1 / 3, 1 / 3, 0.0], np.float32))
    path = tiny.tiny_cohort(3, 10)
    one = jax.tree.map(lambda leaf: leaf[0], path)
    times = jnp.asarray(one.t[-1]) + jnp.asarray([1.0, 2.0])
    keys = jax.random.key(5)
    mixture = _rollout(three, at(_assimilate(three, one), -1), one.plan, times, key=keys, draws=64)
    belief = at(_assimilate(three, one), -1)
    state = draw_states(three, belief, key=keys, draws=64)
    assert isinstance(state, BlendState)
    assert isinstance(belief, BlendBelief)
    follows = np.asarray(state.member[:, 0])
    assert set(follows) == {0, 1, 2}
    for i, name in enumerate(names):
        own, its = at(_assimilate(members[name], one), -1), jax.tree.map(lambda leaf, i=i: leaf[i], belief.parts[0])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), own, its)
        alone = eqx.tree_at(lambda b: b.weights, three, (jnp.eye(4)[i],))
        same = _rollout(alone, belief, one.plan, times, key=keys, draws=64)
        np.testing.assert_array_equal(mixture[follows == i], same[follows == i], err_msg=name)


def test_the_blends_clock_is_its_members_clock():
    states = draw_states(mix(0.5), at(_assimilate(mix(0.5), PATH), -1), key=jax.random.key(0), draws=3)
    assert np.asarray(states.t).tolist() == [4.0] * 3
    np.testing.assert_allclose(future(mix(0.0)), np.broadcast_to(future(SLOW)[0], (DRAWS, 3)), rtol=1e-5)
