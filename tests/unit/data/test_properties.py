"""Properties that hold for any table: the order of rows says nothing, and splits never share a subject."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from biowm.core.schedule import entries
from biowm.data.splits import folds, split
from biowm.data.study import Study, load

CONFIG = {
    "subject": "id",
    "time": {"column": "t", "unit": "d"},
    "channels": {"x": {"unit": "mg", "low": 0}, "y": {"unit": "mg"}},
    "actions": {"rate": {"unit": "mg/d"}, "shot": {"unit": "mg", "kind": "bolus"}},
    "groups": {"site": "site"},
}


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Visits of up to six subjects with gaps, blanks and doses."""
    rows = []
    for subject in range(draw(st.integers(1, 6))):
        times = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True))
        for i, t in enumerate(times):
            blank = i > 0 and draw(st.booleans())
            rows.append({
                "id": f"s{subject}", "t": t / 4, "x": None if blank else draw(st.integers(0, 9)),
                "y": draw(st.none() | st.integers(-9, 9)) if i else 1, "rate": draw(st.sampled_from([0, 1, 2, None])),
                "shot": draw(st.sampled_from([0, 5])), "site": subject % 3,
            })  # fmt: skip
    return pd.DataFrame(rows)


def same(one: Study, other: Study) -> None:
    assert one.subjects == other.subjects
    assert one.starts == other.starts
    assert one.groups == other.groups
    assert one.spacing == other.spacing
    for p, q in zip(one.paths, other.paths, strict=True):
        np.testing.assert_array_equal(p.t, q.t)
        np.testing.assert_array_equal(p.x, q.x)
        assert entries(p.plan) == entries(q.plan)


@settings(max_examples=10, deadline=None)
@given(tables(), st.randoms())
def test_shuffled_rows_are_the_same_study(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    same(load(table, CONFIG), load(table.iloc[order], CONFIG))


@settings(max_examples=10, deadline=None)
@given(tables())
def test_rows_that_repeat_change_nothing_but_the_repairs(table):
    doubled = pd.concat([table, table])
    found = load(doubled, CONFIG)
    same(load(table, CONFIG), found)
    assert {r.what: r.count for r in found.repairs}["exact duplicate rows dropped"] == len(table)


@settings(max_examples=10, deadline=None)
@given(tables())
def test_what_is_held_between_rows_is_what_the_rows_say(table):
    """A rate's integral over a path is the sum of value times gap, however intervals were merged."""
    found = load(table, CONFIG)
    for name, path in zip(found.subjects, found.paths, strict=True):
        rows = table[table["id"] == name].sort_values("t")
        rate = np.nan_to_num(rows["rate"].to_numpy(float))  # None in every row: a column of objects
        expected = float(np.sum(rate[:-1] * np.diff(rows["t"].to_numpy(float))))
        plan = entries(path.plan)
        assert np.isclose(sum(e.dose * (e.stop - e.onset) for e in plan if e.card == 0), expected, atol=1e-5)
        assert sum(e.dose for e in plan if e.card == 1) == rows["shot"].sum()
        assert all(e.stop == e.onset for e in plan if e.card == 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=2, max_size=60), st.integers(0, 1000), st.data())
def test_folds_are_a_partition_that_keeps_units_together(member, seed, data):
    units = [f"u{m}" for m in member]
    k = data.draw(st.integers(1, len(set(units))))
    parts = folds(units, k, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(units)))
    for part in parts:
        inside = {units[i] for i in part}
        assert all(i in part for i, unit in enumerate(units) if unit in inside)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from(["subject", "site"]))
def test_splits_are_a_partition_that_keeps_units_together_and_answers_to_its_seed(n, seed, by):
    table = pd.DataFrame({"id": range(n), "t": 0, "x": 1, "y": 1, "rate": 0, "shot": 0, "site": np.arange(n) % 7})
    study = load(table, CONFIG | {"split": {"by": by, "test": 0.3, "calibrate": 0.2}})
    parts = split(study, seed)
    assert sorted((*parts.train, *parts.calibrate, *parts.test)) == list(range(n))
    assert split(study, seed) == parts
    if by == "site":
        sides = [{study.groups["site"][i] for i in part} for part in (parts.train, parts.calibrate, parts.test)]
        assert sum(len(side) for side in sides) == len(set.union(*sides))
    else:
        assert (len(parts.test), len(parts.calibrate)) == (round(0.3 * n), round(0.2 * n))
