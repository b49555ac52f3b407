from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biowm.core.do import describe, parse_do
from biowm.core.errors import BadInput
from biowm.core.schedule import Entry
from biowm.core.spec import ActionCard, Channel, WorldSpec

SPEC = WorldSpec(
    "clinic",
    "d",
    (Channel("psa", "ng/mL"),),
    (
        ActionCard("cpa", "mg/d", "rate", 0.0, 300.0),
        ActionCard("dose", "mg", "bolus", 0.0, 100.0),
        ActionCard("on", "", "switch", 0.0, 1.0),
    ),
)


def do(*texts: str) -> list[tuple]:
    rows = parse_do(texts, SPEC, 100.0)
    assert all(row.assigned for row in rows)
    return [row[:4] for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpa=200 mg/d@0:28 d", [(0, 200, 0, 28)]),
        ("cpa = 0.2 g/d @ 0 : 4 week", [(0, 200, 0, 28)]),
        ("cpa=200 mg/d@14 d:28 d", [(0, 200, 14, 28)]),
        ("cpa=200 mg/d@14:28 d", [(0, 200, 14, 28)]),
        ("cpa=200 mg/d@2:4 wk", [(0, 200, 14, 28)]),
        ("cpa=200 mg/d@14 d", [(0, 200, 14, 100)]),
        ("cpa=0 mg/d@0", [(0, 0, 0, 100)]),
        ("cpa=100 mg/d@0:14 d every 28 d x3", [(0, 100, 0, 14), (0, 100, 28, 42), (0, 100, 56, 70)]),
        ("dose=75 mg@0 every 21 d x6", [(1, 75, 21 * k, 21 * k) for k in range(6)]),
        ("dose=75mg@7 d", [(1, 75, 7, 7)]),
        ("on=1@0:90 d", [(2, 1, 0, 90)]),
        ("on=1@0", [(2, 1, 0, 100)]),
        ("on=1@0:10 d; dose=5 mg@0", [(2, 1, 0, 10), (1, 5, 0, 0)]),
    ],
)
def test_what_is_written_is_what_is_given(text: str, expected: list[tuple]):
    assert do(text) == [pytest.approx(row) for row in expected]


def test_options_may_be_repeated():
    assert do("cpa=200 mg/d@0:28 d", "cpa=100 mg/d@28:56 d") == [(0, 200, 0, 28), (0, 100, 28, 56)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpb=2 mg/d@0:28 d", r"'cpb'.*cpa \(rate, mg/d\), dose \(bolus, mg\), on \(switch\)"),
        ("cpa", r"expected 'action=dose@onset:stop'"),
        ("", r"expected 'action=dose@onset:stop'"),
        ("cpa=2 mg/d@0:3 d every 28 d", r"expected 'action=dose@onset:stop'"),
        ("cpa=200@0:28 d", r"found '200', expected a number with a unit such as '28 mg/d'"),
        ("cpa=200 mg@0:28 d", r"'mg' cannot be turned into 'mg/d'"),
        ("cpa=200 U/d@0:28 d", r"bare 'U'"),
        ("cpa=301 mg/d@0:28 d", r"found 301 mg/d, expected .* at least 0 and at most 300 mg/d"),
        ("cpa=-1 mg/d@0:28 d", r"found -1 mg/d, expected .* at least 0"),
        ("cpa=2 mg/d@-1 d:3 d", r"onset -1 d, in the past, expected 0 or later"),
        ("cpa=2 mg/d@100 d:103 d", r"before the horizon of 100 d"),
        ("cpa=2 mg/d@5 d:5 d", r"stop 5 d, expected a time after the onset"),
        ("cpa=2 mg/d@5", r"onset: found '5', expected a number with a unit"),
        ("cpa=2 mg/d@0:28", r"stop: found '28', expected a number with a unit"),
        ("cpa=2 mg/d@0:3 mg", r"'mg' cannot be turned into 'd'"),
        ("cpa=2 mg/d@0:30 d every 28 d x2", r"cpa from 28 d while it is still given, expected .* 30 d or later"),
        ("cpa=2 mg/d@0:30 d; cpa=3 mg/d@20:40 d", r"cpa from 20 d while it is still given"),
        ("dose=75 mg@0:28 d", r"no stop: dose is given at once"),
        ("dose=75 mg@0 every 0 d x2", r"a positive gap"),
        ("dose=75 mg@0 every 7 d x0", r"at least x1"),
        ("on=0.5@0:28 d", r"on to be 0 or 1"),
    ],
)
def test_what_cannot_be_given_is_refused_by_its_text(text: str, message: str):
    with pytest.raises(BadInput, match=message) as error:
        do(text)
    assert "--do" in str(error.value)
    assert text.split(";")[-1].strip() in str(error.value)


_quarters = st.integers(0, 200).map(lambda i: i / 4)


@st.composite
def _plans(draw) -> list[Entry]:
    rows = []
    for card, high in ((0, 300.0), (1, 100.0), (2, 1.0)):
        edges = sorted(draw(st.lists(_quarters, max_size=8, unique=True)))
        for onset, stop in zip(edges[::2], edges[1::2], strict=False):
            dose = 1.0 if card == 2 else draw(st.floats(0.0, high).map(lambda d: float(f"{d:.6g}")))
            rows.append(Entry(card, dose, onset, onset if card == 1 else stop, True))
    return rows


@given(_plans())
@settings(max_examples=200, deadline=None)
def test_a_description_reads_back_as_the_same_entries(rows: list[Entry]):
    back = parse_do([describe(rows, SPEC)], SPEC, 100.0) if rows else []
    assert [tuple(e) for e in sorted(back)] == [pytest.approx(tuple(e)) for e in sorted(rows)]


def test_equal_courses_are_described_together():
    text = "dose=75 mg@0 d every 21 d x4; cpa=100 mg/d@0 d:14 d"
    assert set(describe(parse_do([text], SPEC, 100.0), SPEC).split("; ")) == set(text.split("; "))
    assert describe([], SPEC) == ""
