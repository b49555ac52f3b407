"""Goals and limits from text, and their values on a course."""

import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.plan.course import Course, value
from biowm.plan.goals import margin, parse_goal, parse_limit, shortfall

SPEC = WorldSpec(
    "ward",
    "d",
    (Channel("psa", "ng/mL"), Channel("tumour volume", "mm^3"), Channel("max", "1")),
    (ActionCard("cpa", "mg/d", "rate"), ActionCard("chemo", "mg", "bolus"), ActionCard("on", "", "switch")),
)
COURSE = Course(
    elapsed=jnp.array([1.0, 3.0, 4.0, 4.0]),
    dt=jnp.array([1.0, 2.0, 1.0, 0.0]),
    x=jnp.stack([jnp.array([[1.0, 4.0, 2.0, 2.0], [3.0, 3.0, 9.0, 9.0]])] * 3, axis=-1),
    dose=jnp.array([[10.0, 2.0, 1.0], [20.0, 0.0, 0.0], [0.0, 4.0, 1.0], [0.0, 0.0, 0.0]]),
)


@pytest.mark.parametrize(
    ("text", "shown", "unit", "expected"),
    [
        ("minimise mean psa", "mean psa", "ng/mL", [11 / 4, 18 / 4]),
        ("maximise mean psa over 3 d", "mean psa over 3 d", "ng/mL", [3.0, 3.0]),
        ("minimise max tumour volume over 0.5 week", "max tumour volume over 3.5 d", "mm^3", [4.0, 3.0]),
        ("minimize final psa", "final psa", "ng/mL", [2.0, 9.0]),
        ("minimise final psa over 3 d", "final psa over 3 d", "ng/mL", [4.0, 3.0]),
        ("minimise min max", "min max", "1", [1.0, 3.0]),
        ("minimise mean cpa", "mean cpa", "mg/d", [12.5, 12.5]),
        ("minimise total cpa over 1 d", "total cpa over 1 d", "mg", [10.0, 10.0]),
        ("minimise total chemo", "total chemo", "mg", [6.0, 6.0]),
        ("minimise mean chemo", "mean chemo", "mg/d", [1.5, 1.5]),
        ("minimise max chemo", "max chemo", "mg", [4.0, 4.0]),
        ("minimise total on", "total on", "d", [2.0, 2.0]),
        ("maximise time off cpa", "time off cpa", "d", [1.0, 1.0]),
        ("minimise time on cpa over 3 d", "time on cpa over 3 d", "d", [3.0, 3.0]),
        ("maximise time until psa > 3.5 ug/L", "time until psa > 3.5 ng/mL", "d", [3.0, 4.0]),
        ("maximise time until psa > 8 over 3 d", "time until psa > 8 ng/mL over 3 d", "d", [3.0, 3.0]),
        ("maximise time psa in 2 to 4", "time psa in 2 to 4 ng/mL", "d", [3.0, 3.0]),
        ("maximise time psa in 0.9 ug/L to 2 ng/mL over 3 d", "time psa in 0.9 to 2 ng/mL over 3 d", "d", [1.0, 0.0]),
        ("maximise time max in 9 to 9.5", "time max in 9 to 9.5 1", "d", [0.0, 1.0]),
        ("minimise time until tumour volume < 2 mm^3", "time until tumour volume < 2 mm^3", "d", [1.0, 4.0]),
    ],
)
def test_goal_reads_and_values(text, shown, unit, expected):
    goal = parse_goal(text, SPEC)
    assert goal.sense == ("maximise" if text.startswith("max") else "minimise")
    assert (str(goal.quantity), goal.quantity.unit) == (shown, unit)
    np.testing.assert_allclose(value(goal.quantity, COURSE), expected, rtol=1e-6)


def test_a_goal_may_name_the_limits_it_keeps():
    goal = parse_goal("minimise total cpa over 2 week while psa <= 4 ng/mL and cpa <= 0.1 g/d", SPEC)
    assert str(goal.quantity) == "total cpa over 14 d"
    assert [x.text for x in goal.limits] == ["psa <= 4 ng/mL", "cpa <= 0.1 g/d"]
    assert [x.meaning for x in goal.limits] == ["P(max psa <= 4 ng/mL) >= 0.9", "max cpa <= 100 mg/d"]
    assert {x.severity for x in goal.limits} == {"hard"}
    chance = parse_goal("maximise time off cpa while P(psa <= 4) >= 0.8 and psa >= 1", SPEC)
    assert [x.level for x in chance.limits] == [0.8, 0.9]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("time psa in 4 to 10 over 1 week >= 5 d", "P(time psa in 4 to 10 ng/mL over 7 d >= 5 d) >= 0.9"),
        ("time until psa > 10 >= 90 d", "P(time until psa > 10 ng/mL >= 90 d) >= 0.9"),
        ("time off cpa over 1 week >= 2 d", "time off cpa over 7 d >= 2 d"),
        ("P(max psa <= 10) >= 0.8", "P(max psa <= 10 ng/mL) >= 0.8"),
        ("P(psa<=10 ug/L)>=.8", "P(max psa <= 10 ng/mL) >= 0.8"),
        ("tumour volume <= 0.5 cm^3", "P(max tumour volume <= 500 mm^3) >= 0.9"),
        ("psa >= 2", "P(min psa >= 2 ng/mL) >= 0.9"),
        ("cpa <= 200", "max cpa <= 200 mg/d"),
        ("cpa <= 0.2 g/d", "max cpa <= 200 mg/d"),
        ("cpa <= 0.2 (g/d)", "max cpa <= 200 mg/d"),
        ("mean cpa over 4 week <= 100", "mean cpa over 28 d <= 100 mg/d"),
        ("total chemo <= 0.01 g", "total chemo <= 10 mg"),
        ("cpa >= 5", "min cpa >= 5 mg/d"),
    ],
)
def test_limit_is_understood_in_full(text, meaning):
    assert parse_limit(text, SPEC).meaning == meaning


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["column 1", "the end", "minimise or maximise"]),
        ("reduce mean psa", ["column 1", "'reduce'", "minimise or maximise"]),
        ("minimise psa", ["column 10", "mean, max, min, final, time until or time in before 'psa'"]),
        ("minimise total psa", ["column 10", "'total'", "mean, max, min, final, time until or time in of 'psa'"]),
        ("minimise final chemo", ["mean, max or total of 'chemo'", "bolus"]),
        ("minimise mean PSA", ["column 15", "'PSA'", "did you mean 'psa'?"]),
        ("minimise mean creatinine", ["'creatinine'", "psa, tumour volume, max, cpa, chemo or on"]),
        ("minimise mean psa over 30", ["a unit after 30"]),
        ("minimise mean psa over 30 mg", ["'mg' cannot be turned into 'd'"]),
        ("minimise mean psa over -3 d", ["'-3'", "a time above 0"]),
        ("minimise mean psa for 3 d", ["column 19", "'for'", "over TIME"]),
        ("maximise time off psa", ["'time'", "mean, max, min, final, time until or time in of 'psa'"]),
        ("maximise time off chemo", ["mean, max or total of 'chemo'", "bolus"]),
        ("maximise time psa", ["the end", "'in' and a range"]),
        ("maximise time psa in 4 to 2", ["column 27", "'2'", "an upper end above 4"]),
        ("maximise time cpa in 2 to 4", ["mean, max, min, total, time on or time off of 'cpa'"]),
        ("maximise time until psa", ["the end", "'>' or '<' and a level"]),
        ("maximise time until psa > 3 mg", ["'mg' cannot be turned into 'ng/mL'"]),
        ("minimise total cpa while", ["the end", "psa, tumour volume, max, cpa, chemo or on"]),
        ("minimise total cpa while psa <= 4 ng/mL or cpa <= 3", ["'4'", "unknown unit 'ng/mL or cpa'"]),
    ],
)
def test_bad_goal_says_where_and_what(text, parts):
    with pytest.raises(BadInput) as error:
        parse_goal(text, SPEC)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("P(max cpa <= 3) >= 0.9", ["'cpa' is decided, not uncertain"]),
        ("P(psa <= 3) >= 90", ["'90'", "a probability between 0 and 1"]),
        ("P(psa <= 3", ["the end", "')'"]),
        ("P(psa <= 3)", ["'>=' and a probability"]),
        ("P(psa <= 3) >= 0.9 always", ["'always'", "the end"]),
        ("cpa == 3", ["column 5", "<= or >="]),
        ("cpa <=", ["the end", "a bound such as 30 mg/d"]),
        ("cpa <= 3 mL", ["'mL' cannot be turned into 'mg/d'"]),
        ("on <= 3 U", ["a bare 'U' is ambiguous"]),
        ("chemo >= 2", ["mean, max or total of 'chemo'"]),
        ("chemio <= 3", ["did you mean 'chemo'?"]),
    ],
)
def test_bad_limit_says_where_and_what(text, parts):
    with pytest.raises(BadInput) as error:
        parse_limit(text, SPEC)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_margin_counts_past_the_bound_on_either_side():
    np.testing.assert_allclose(margin(parse_limit("psa <= 4", SPEC), COURSE), [0.0, 1.25], atol=2e-5)
    np.testing.assert_allclose(margin(parse_limit("psa >= 2", SPEC), COURSE), [0.5, -0.5], atol=2e-5)
    assert float(margin(parse_limit("psa <= 4", SPEC), COURSE)[0]) <= 0, "at its bound, a draw is within it"


@pytest.mark.parametrize(("level", "holds"), [(0.5, True), (0.9, True), (0.91, False), (1.0, False)])
def test_shortfall_agrees_with_the_share_of_draws(level, holds):
    margins = jnp.array([-1.0] * 9 + [2.0])
    assert bool(shortfall(margins, level) <= 0) == holds


def test_of_a_gene_that_is_switched_and_read_a_goal_means_what_is_read():
    genes = WorldSpec("screen", "h", (Channel("KLF1", "1"),), (ActionCard("KLF1", "", "set-member"),), regime="cloud")
    goal = parse_goal("maximise final KLF1", genes)
    assert "final KLF1" in str(goal)
