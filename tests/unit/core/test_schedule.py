from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biowm.core.buckets import bucket
from biowm.core.schedule import Entry, between, entries, schedule

_between = jax.jit(between, static_argnums=3)


def over(plan, start: float, stop: float) -> tuple[np.ndarray, np.ndarray]:
    rate, bolus = _between(plan, jnp.float32(start), jnp.float32(stop), 2)
    return np.asarray(rate), np.asarray(bolus)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, 2, 0), (2, 4, 10), (1, 3, 5), (3, 7, 7.5), (0, 12, 10 * 4 / 12), (6, 9, 0), (3, 4, 10), (3, 3, 0), (5, 3, 0)],
)
def test_rate_is_the_mean_over_the_interval(start, stop, expected):
    rate, bolus = over(schedule([Entry(1, 10.0, 2.0, 6.0)]), start, stop)
    np.testing.assert_allclose(rate, [0, expected], rtol=1e-6)
    np.testing.assert_array_equal(bolus, 0)


def test_entries_of_one_action_add_up():
    rate, _ = over(schedule([Entry(0, 10.0, 0, 4), Entry(0, 2.0, 2, 4), Entry(1, 1.0, 0, 1)]), 0, 4)
    np.testing.assert_allclose(rate, [11, 0.25])


def test_a_bolus_belongs_to_the_interval_that_begins_with_it():
    plan = schedule([Entry(0, 75.0, 3.0, 3.0), Entry(1, 5.0, 3.0, 3.0)])
    np.testing.assert_array_equal(over(plan, 3, 4)[1], [75, 5])
    np.testing.assert_array_equal(over(plan, 2, 3)[1], [0, 0])
    np.testing.assert_array_equal(over(plan, 3, 3)[1], [0, 0])
    np.testing.assert_array_equal(over(plan, 0, 10)[1], [75, 5])
    np.testing.assert_array_equal(over(plan, 0, 10)[0], [0, 0])


_times = st.integers(0, 40).map(lambda i: i / 4)
_rows = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9), _times, _times), max_size=12)


@given(_rows, st.lists(_times, min_size=1, max_size=6, unique=True))
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_or_given_twice_however_time_is_cut(rows, cuts):
    plan = schedule([Entry(c, float(d), min(a, b), max(a, b)) for c, d, a, b in rows], 16)
    edges = [0.0, *sorted(set(cuts) - {0.0}), 11.0]
    given_in_parts = np.zeros(2)
    for a, b in pairwise(edges):
        rate, bolus = over(plan, a, b)
        given_in_parts += rate * (b - a) + bolus
    expected = np.zeros(2)
    for card, dose, a, b in rows:
        expected[card] += dose * (abs(b - a) if a != b else 1.0)
    np.testing.assert_allclose(given_in_parts, expected, rtol=1e-4, atol=1e-4)


def test_entries_come_back_without_padding():
    rows = [Entry(0, 1.0, 0.0, 2.0, True), Entry(1, 2.0, 1.0, 1.0, False)]
    plan = schedule(reversed(rows))
    assert plan.card.shape == (8,)
    assert entries(plan) == rows
    assert entries(schedule([])) == []
    with pytest.raises(ValueError, match="9 interventions do not fit a schedule of 8"):
        schedule([Entry(0, 1.0, i, i + 1) for i in range(9)], 8)


def test_buckets_grow_by_a_half_at_most_and_are_few():
    sizes = [bucket(n) for n in range(1, 1000)]
    assert all(size >= n for n, size in enumerate(sizes, start=1))
    assert all(size <= max(8, 1.5 * n) for n, size in enumerate(sizes, start=1))
    assert sorted(set(sizes)) == [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert [bucket(s) for s in set(sizes)] == list(set(sizes))
