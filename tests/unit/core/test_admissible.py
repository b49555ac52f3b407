"""Readings that a channel cannot give are never drawn: levels between levels, and order the wrong way round."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.decay import Decay

from biowm.core.admissible import admissible
from biowm.core.rollout import unroll
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec, spec_from_json, spec_to_json
from biowm.core.world import Observation

COMA = Channel("coma", "1", link="ordinal", low=3.0, high=15.0, resolution=1.0)
PRESSURES = (Channel("low", "mmHg", below="mean"), Channel("high", "mmHg"), Channel("mean", "mmHg", below="high"))
KEY = jax.random.key(0)


def spec(*channels: Channel) -> WorldSpec:
    return WorldSpec("w", "d", channels)


def test_nothing_changes_where_nothing_is_declared():
    x = jnp.asarray([0.25, -7.0])
    assert admissible(spec(Channel("a", "1"), Channel("b", "mg/L")), x) is x


def test_a_reading_beyond_the_range_goes_to_its_end():
    own = spec(Channel("a", "1", low=0.0, high=1.0), Channel("b", "mg/L", low=-2.0), Channel("c", "mg/L", high=5.0))
    got = admissible(own, jnp.asarray([[0.25, -7.0, 7.0], [1.5, 7.0, -7.0], [-0.5, 0.0, 5.0]]))
    np.testing.assert_array_equal(np.asarray(got), [[0.25, -2.0, 5.0], [1.0, 7.0, -7.0], [0.0, 0.0, 5.0]])
    assert np.isnan(np.asarray(admissible(own, jnp.full(3, jnp.nan)))).all()


def test_below_the_limit_of_quantification_the_limit_is_read():
    own = spec(Channel("a", "1", low=0.0, lloq=0.5), Channel("b", "1", lloq=2.0, high=5.0))
    got = admissible(own, jnp.asarray([[0.25, 1.0], [-1.0, 7.0], [0.75, 3.0]]))
    np.testing.assert_array_equal(np.asarray(got), [[0.5, 2.0], [0.5, 5.0], [0.75, 3.0]])


def test_above_the_limit_of_quantification_the_limit_is_read():
    own = spec(Channel("a", "1", high=100.0, uloq=95.0), Channel("b", "1", uloq=2.0))
    got = admissible(own, jnp.asarray([[97.0, 1.0], [120.0, 7.0], [3.0, -1.0]]))
    np.testing.assert_array_equal(np.asarray(got), [[95.0, 1.0], [95.0, 2.0], [3.0, -1.0]])
    assert spec_from_json(spec_to_json(own)) == own


@pytest.mark.parametrize(
    ("channel", "x", "expected"),
    [
        (COMA, [2.0, 3.4, 8.6, 99.0], [3.0, 3.0, 9.0, 15.0]),
        (Channel("s", "1", link="ordinal", low=-1.0, high=1.0, resolution=0.5), [-0.3, 0.3, 0.7], [-0.5, 0.5, 0.5]),
    ],
)
def test_a_reading_lands_on_the_nearest_level(channel: Channel, x: list[float], expected: list[float]):
    got = admissible(spec(channel), jnp.asarray(x, jnp.float32)[:, None])
    np.testing.assert_allclose(np.asarray(got)[:, 0], expected)


def test_channels_in_order_are_sorted_and_the_others_left_alone():
    own = spec(*PRESSURES, Channel("rate", "bpm"))
    got = admissible(own, jnp.asarray([[70.0, 60.0, 65.0, 1.0], [50.0, 90.0, 60.0, 1.0]]))
    np.testing.assert_allclose(np.asarray(got), [[60.0, 70.0, 65.0, 1.0], [50.0, 90.0, 60.0, 1.0]])


def test_sorting_takes_no_draw_further_from_an_ordered_truth():
    rng = np.random.default_rng(0)
    truth, draws = np.sort(rng.normal(size=(1000, 3)))[:, [0, 2, 1]], rng.normal(size=(1000, 3))
    put = np.asarray(admissible(spec(*PRESSURES), jnp.asarray(draws, jnp.float32)))
    assert (put[:, 0] <= put[:, 2]).all()
    assert (put[:, 2] <= put[:, 1]).all()
    assert (np.abs(put - truth).sum(1) <= np.abs(draws - truth).sum(1) + 1e-5).all()


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ((Channel("a", "1", below="b"),), "another channel, one of a"),
        ((Channel("a", "1", below="a"),), "another channel"),
        ((Channel("a", "mmHg", below="b"), Channel("b", "kPa")), "one unit for both"),
        (
            (Channel("a", "1", link="ordinal", low=0, high=9, resolution=1, below="b"), Channel("b", "1")),
            "one link, range",
        ),
        ((Channel("a", "1", below="c"), Channel("b", "1", below="c"), Channel("c", "1")), "a and b below c"),
        ((Channel("a", "1", below="b"), Channel("b", "1", below="a")), "round in a circle"),
        ((Channel("a", "1", link="ordinal", low=0.0, high=3.0),), "expected low, high and resolution"),
    ],
)
def test_what_makes_no_order_is_refused(channels: tuple[Channel, ...], said: str):
    with pytest.raises(ValueError, match=said):
        spec(*channels)


def test_the_spec_goes_there_and_back_and_old_ones_still_load():
    own = spec(*PRESSURES, COMA)
    assert spec_from_json(spec_to_json(own)) == own
    old = spec_to_json(spec(Channel("a", "1")))
    for channel in old["channels"]:
        del channel["below"]
    assert spec_from_json(old) == spec(Channel("a", "1"))


class Crossed(Decay):
    """A decay read twice with errors so large that the two readings often come the wrong way round."""

    def observe(self, state):
        return Observation(jnp.concatenate([state.x, state.x + 0.5]), jnp.ones(2))


def test_no_reading_of_a_rollout_breaks_the_order():
    pair = (Channel("x", "mg/L"), Channel("y", "mg/L"))

    def readings(*channels: Channel) -> np.ndarray:
        world = Crossed(spec=replace(Decay().spec, channels=channels))
        start = world.draw(world.begin(jnp.zeros(0)), key=KEY)
        return np.asarray(eqx.filter_jit(unroll)(world, start, schedule([]), jnp.arange(1.0, 65.0), key=KEY)[1])

    free, kept = readings(*pair), readings(replace(pair[0], below="y"), pair[1])
    assert (free[:, 0] > free[:, 1]).mean() > 0.2
    np.testing.assert_array_equal(kept, np.sort(free, axis=-1))
