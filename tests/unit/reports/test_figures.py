"""Pictures show what they were given: every check reads the drawn artists or the text, not the code's own numbers."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path as File
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from biowm.core.futures import Futures, Support
from biowm.core.interval import Interval, Row
from biowm.core.path import Path
from biowm.core.record import Record
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.evaluate.reports import figures
from biowm.evaluate.reports.stage import printed

SPEC = WorldSpec(
    "toy",
    "d",
    (Channel("psa", "ng/mL", "log", floor=0.1, lloq=0.1), Channel("weight", "kg", role="covariate")),
    (
        ActionCard("cpa", "mg/d", "rate", 0, 300),
        ActionCard("shot", "mg", "bolus", 0, 30),
        ActionCard("unused", "mg/d", "rate", 0, 1),
    ),
)
TIMES = np.array([28.0, 56.0, 84.0])


@dataclass(frozen=True)
class Standing:
    name: str
    is_rule: bool
    crps: float
    low: float
    high: float
    weight: float


def _history() -> Path:
    t = np.arange(0, 10, dtype=np.float32) * 28
    x = np.stack([np.geomspace(8, 1, 10), np.full(10, 80.0)], 1).astype(np.float32)
    x[3, 0] = np.nan
    plan = schedule([Entry(0, 200.0, 0, 100), Entry(0, 100.0, 50, 100), Entry(1, 7.5, 28, 28)])
    return Path(t, x, plan, np.zeros(0, np.float32), 0)


def _scene(name: str, factor: float, *, level: float | None = 0.9, band: str = "joint", support: Support | None = None):
    draws = np.random.default_rng(0).lognormal(0, 0.2, (50, 3, 2)) * factor
    futures = Futures(
        SPEC, TIMES, draws, np.median(draws, 0), draws.min(0), draws.max(0), level, band,
        support or Support("inside"), Record("simulate", {}, {}, 0),
    )  # fmt: skip
    return figures.Scene(name, futures, schedule([Entry(0, 50.0, 196, 280)]))


def _texts(figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def _dots(ax, face_none: bool) -> np.ndarray:
    lines = [line for line in ax.lines if line.get_marker() == "o"]
    chosen = [line for line in lines if (line.get_markerfacecolor() == "none") == face_none]
    return np.concatenate([np.c_[line.get_xdata(), line.get_ydata()] for line in chosen])


def test_readings_before_now_are_filled_those_after_hollow_and_missing_ones_absent():
    ax = figures.trajectory(_history(), _scene("treat", 1.0), now=196.0).axes[0]
    history = _history()
    used, later = _dots(ax, False), _dots(ax, True)
    shown = np.isfinite(history.x[:, 0]) & (history.t >= 196 - 2 * TIMES[-1])
    np.testing.assert_allclose(used[:, 0], history.t[shown & (history.t <= 196)] - 196)
    np.testing.assert_allclose(used[:, 1], history.x[shown & (history.t <= 196), 0])
    np.testing.assert_allclose(later[:, 0], [28, 56])


def test_a_channel_with_a_log_link_has_a_log_axis_its_unit_and_its_quantification_limit():
    figure = figures.trajectory(_history(), _scene("treat", 0.2))
    assert figure.axes[0].get_yscale() == "log"
    text = _texts(figure)
    assert "psa (ng/mL)" in text
    assert "time from the last reading used (d)" in text
    assert "lowest level quantified" in text
    assert "weight" not in text  # a covariate is not forecast


@pytest.mark.parametrize(
    ("level", "band", "words"),
    [
        (0.9, "joint", "90 % band for the whole path (joint)"),
        (0.9, "pointwise", "90 % band at each time by itself (pointwise)"),
        (None, "joint", "no promise"),
    ],
)
def test_the_band_says_what_it_promises(level, band, words):
    assert words in _texts(figures.trajectory(_history(), _scene("treat", 1.0, level=level, band=band)))


def test_overlapping_doses_add_up_and_unused_actions_have_no_strip():
    figure = figures.trajectory(_history(), _scene("treat", 1.0), now=196.0)
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["psa (ng/mL)", "cpa (mg/d)", "shot (mg)"]
    past, ahead = (patch.get_data() for patch in figure.axes[1].patches[::2])
    at = np.searchsorted(past.edges, 75 - 196) - 1
    assert past.values[at] == 300.0
    assert figure.axes[1].get_yticks().tolist() == [0, 300]
    assert ahead.values.tolist() == [50.0]


def test_a_question_outside_the_data_is_said_above_the_picture():
    assert "Outside" not in _texts(figures.trajectory(_history(), _scene("treat", 1.0)))
    scene = _scene("treat", 1.0, support=Support("outside", ("dose 300 was never given",)))
    assert "Outside the data: dose 300 was never given" in _texts(figures.trajectory(_history(), scene))


def test_a_comparison_shows_both_and_the_paired_ratio():
    figure = figures.comparison(_history(), _scene("treat", 1.0), _scene("pause", 4.0))
    assert {"treat", "pause"} <= set(_texts(figure).splitlines())
    contrast = figure.axes[1]
    assert contrast.get_ylabel().startswith("ratio")
    middle = next(line for line in contrast.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(middle.get_ydata(), 0.25, rtol=1e-6)
    assert "not calibrated" in _texts(figure)


def test_the_truth_is_drawn_where_it_is_known():
    scene = _scene("treat", 1.0)
    truth = np.full((3, 2), 2.5)
    known = figures.Scene("treat", scene.futures, scene.plan, truth)
    drawn = figures.trajectory(_history(), known).axes[0].lines
    assert any(np.array_equal(line.get_ydata(), truth[:, 0]) for line in drawn)
    assert "truth" not in _texts(figures.trajectory(_history(), scene))


def test_a_plan_names_goal_limits_and_the_promise_without_a_guarantee():
    figure = figures.plan_figure(
        _history(), _scene("plan", 1.0), [_scene("as before", 2.0)], goal="minimise mean cpa",
        bounds=[figures.Bound("psa", 10.0, "psa <= 10"), figures.Bound("cpa", 250.0, "cpa <= 250")],
        promise=Interval(50.0, 40.0, 60.0, 20),
    )  # fmt: skip
    text = _texts(figure)
    for words in (
        "minimise mean cpa",
        "psa <= 10",
        "cpa <= 250",
        "by models that did not plan: 50.0 (40.0 to 60.0)",
        "no guarantee",
    ):
        assert words in text
    assert figure.axes[0].get_ylim()[1] > 10.0


def test_medians_and_truths_are_shown_whole_beside_a_band_that_reaches_far():
    plan, wide = _scene("plan", 1.0), _scene("as before", 10.0)
    wide.futures.high[:] = 1e4
    known = figures.Scene("plan", plan.futures, plan.plan, np.full((3, 2), 0.2))
    low, high = figures.plan_figure(_history(), known, [wide]).axes[0].get_ylim()
    assert 0.1 < low < 0.2
    assert high > wide.futures.median[:, 0].max()


def test_a_band_that_reaches_zero_goes_on_below_a_log_axis():
    scene = _scene("treat", 1.0)
    scene.futures.low[1:, 0] = 0.0
    ax = figures.trajectory(_history(), scene).axes[0]
    lows = ax.collections[0].get_paths()[0].vertices[:, 1].min()
    assert 0 < lows < ax.get_ylim()[0]


def test_readings_after_now_are_said_to_belong_to_what_was_really_given():
    assert "as really treated" in _texts(figures.trajectory(_history(), _scene("treat", 1.0), now=196.0))
    assert "as really treated" not in _texts(figures.trajectory(_history(), _scene("treat", 1.0)))


@pytest.mark.parametrize(("unit", "text"), [("cm^3", "cm³"), ("mg/m**2", "mg/m²"), ("dimensionless", ""), ("1", "")])
def test_units_are_printed_as_on_paper(unit, text):
    assert printed(unit) == text


def test_zeros_without_a_floor_do_not_flatten_a_log_axis():
    scene = _scene("treat", 1.0)
    spec = dataclasses.replace(SPEC, channels=(Channel("psa", "ng/mL", "log"), SPEC.channels[1]))
    futures = dataclasses.replace(scene.futures, spec=spec)
    history = _history()
    history.x[2, 0] = 0.0
    figure = figures.trajectory(history, dataclasses.replace(scene, futures=futures))
    assert figure.axes[0].get_ylim()[0] > 1e-2


def test_a_history_without_readings_and_one_reading_can_be_drawn():
    history = _history()
    empty = Path(history.t[:1], history.x[:1] * np.nan, history.plan, history.traits, 0)
    for path in (empty, Path(history.t[:1], history.x[:1], history.plan, history.traits, 0)):
        figures.trajectory(path, _scene("treat", 1.0)).canvas.draw()


RACE = [
    Standing("mixed", False, 0.2, 0.18, 0.22, 0.7),
    Standing("ridge", True, 0.25, 0.23, 0.27, 0.3),
    Standing("persistence", True, 0.4, 0.3, 0.5, 0.0),
]


def test_the_verdict_says_who_won_first():
    assert figures.verdict(RACE) == "Best: mixed, error 20 % below the best simple rule, ridge"
    close = [*RACE[1:], Standing("mixed", False, 0.24, 0.2, 0.28, 0.5)]
    assert (
        figures.verdict(close) == "Best: mixed, error 4.0 % below the best simple rule, ridge; their intervals overlap"
    )
    assert figures.verdict(RACE[1:]) == "A simple rule wins: ridge"
    assert "no simple rule" in figures.verdict(RACE[:1])


def test_the_ranking_is_sorted_and_names_the_best_simple_rule_and_the_weights():
    figure = figures.ranking(RACE[::-1], unit="ng/mL")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["mixed", "ridge (best simple rule)", "persistence"]
    text = _texts(figure)
    assert "0.70" in text
    assert "CRPS (ng/mL)" in text


def test_calibration_marks_a_missed_promise():
    observed = [Interval(0.5, 0.4, 0.6, 40), Interval(0.7, 0.6, 0.8, 40)]
    figure = figures.calibration(np.array([0.5, 0.9]), observed, pit=np.linspace(0.01, 0.99, 50))
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [mark.get_markerfacecolor() == mark.get_color() for mark in marks] == [True, False]
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 50


def test_coverage_shows_only_the_row_asked_for():
    rows = [
        Row(name, "ours", split, metric, 0.9, 0.8, 0.95, 40)
        for name in ("world", "ridge")
        for split in ("next", "h3")
        for metric in ("coverage90", "joint90", "crps")
    ]
    ax = figures.coverage(rows).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["next", "h3"]
    assert len([line for line in ax.lines if line.get_marker() == "o"]) == 4


def test_support_puts_the_question_beside_the_training_data():
    reach = figures.Reach("dose", "mg/d", np.linspace(0, 100, 101), 250.0, "outside")
    figure = figures.support([reach])
    assert "250 mg/d: outside" in _texts(figure)
    xs = [line.get_xdata() for line in figure.axes[0].lines]
    np.testing.assert_allclose(xs[1], [5, 95])


def test_svg_is_well_formed_follows_the_page_and_is_the_same_twice():
    svg = figures.to_svg(figures.ranking(RACE))
    ElementTree.fromstring(svg)
    assert "var(--blue, #0072b2)" in svg
    assert ">persistence<" in svg
    assert not re.search(r'<g id=|href="http|url\(http', svg)
    assert svg == figures.to_svg(figures.ranking(RACE))


def test_png_is_written_and_no_global_setting_is_left(tmp_path: File):
    before = dict(matplotlib.rcParams)
    figures.save_png(figures.ranking(RACE), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
