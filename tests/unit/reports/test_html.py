"""A report is one file that asks for nothing, escapes everything and says first who won."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from biowm.core.interval import Interval, Row
from biowm.core.record import Record
from biowm.evaluate.reports.html import Section, Table, by_horizon, page
from biowm.evaluate.reports.style import number

RECORD = Record("fit", {"visits.csv": "ab" * 32}, {}, 7, versions={"biowm": "0.1.0"}, time="2026-01-01T00:00:00+00:00")


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _page(*sections: Section, title: str = "Report", verdict: str = "A simple rule wins: ridge") -> str:
    return page(title, verdict, sections, RECORD)


def test_the_page_is_balanced_and_the_verdict_comes_before_every_section():
    text = _page(Section("Ranking", ("One.",), "<svg></svg>", "A caption", Table(("a",), (("b",),))))
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == []
    assert 0 < text.index("A simple rule wins: ridge") < text.index("<h2>Ranking</h2>")


def test_all_text_is_escaped():
    nasty = '<script>alert("x")</script>'
    table = Table((nasty,), ((nasty,),))
    text = page(nasty, nasty, [Section(nasty, (nasty,), "<svg></svg>", nasty, table)], RECORD)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 7


def test_nothing_is_requested():
    text = _page(Section("Ranking", figure="<svg></svg>"))
    assert not re.search(r"<(link|script|img|iframe)|@import|https?://", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_the_footer_says_what_it_was_made_from_and_that_it_is_no_medical_device():
    text = _page()
    assert RECORD.id in text
    assert "biowm 0.1.0" in text
    assert "visits.csv abababababab" in text
    assert "seed 7" in text
    assert "Research software, not a medical device" in text


def test_numbers_come_with_their_intervals_and_our_rows_stand_out():
    table = by_horizon(
        [
            Row("ridge", "baseline", "next", "crps", 1, 0, 2, 12),
            Row("ridge", "baseline", "h3", "crps", 1, 0, 2, 12),
            Row("world", "ours", "h3", "crps", 0.5, 0.4, 0.6, 12),
        ]
    )
    assert table.head == ("model", "next (n = 12)", "h3 (n = 12)")
    assert table.rows[1] == ("world", "", Interval(0.5, 0.4, 0.6, 12))
    assert table.strong == {1}
    text = _page(Section("Metrics", table=table))
    assert "0.500 <small>(0.400 to 0.600)</small>" in text
    assert text.count('class="strong"') == 1


def test_cells_are_printed_by_kind():
    text = _page(Section("Metrics", table=Table(("a", "b", "c"), ((3, 0.12345, Interval(1.0, 0.5, 2.0, 9)),))))
    assert ">3<" in text
    assert ">0.123<" in text


def test_numbers_keep_three_figures():
    assert [number(v) for v in (0.0, 0.9, 12.345, 1234.5, 1e-5)] == ["0.00", "0.900", "12.3", "1234", "1.0e-05"]
