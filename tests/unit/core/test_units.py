from __future__ import annotations

import pytest

from biowm.core import units
from biowm.core.units import UnitError, factor, parse, quantity


@pytest.mark.parametrize(
    "text", ["IU/L", "U_insulin", "mEq/L", "beats/minute", "bpm", "cells", "MOI", "10^9/L", "µg/mL", "wk"]
)
def test_units_of_medicine_are_known(text: str):
    parse(text)


@pytest.mark.parametrize("text", ["U", "U/L", "U/kg", "10 U", "U*d"])
def test_a_bare_u_is_refused_with_what_to_write(text: str):
    with pytest.raises(UnitError, match=r"bare 'U' is ambiguous.*IU.*U_insulin"):
        parse(text)


def test_units_whose_name_holds_a_u_are_not_bare():
    parse("U_insulin/h")
    parse("IU")
    parse("u")  # unified atomic mass


@pytest.mark.parametrize("text", ["parsnips", "mg/", "mg)", "(", "d every"])
def test_unknown_units_are_refused(text: str):
    with pytest.raises(UnitError, match="unknown unit"):
        parse(text)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("g", "mg", 1000),
        ("mg/d", "g/week", 0.007),
        ("ng/mL", "ug/L", 1),
        ("mg/kg", "g/kg", 1e-3),
        ("%", "", 0.01),
        ("yr", "d", 365.25),
    ],
)
def test_factor(source: str, target: str, expected: float):
    assert factor(source, target) == pytest.approx(expected)
    assert factor(target, source) == pytest.approx(1 / expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("mg/kg", "%"),
        ("mg/kg", ""),
        ("mL/L", "%"),
        ("mg/kg", "mL/L"),
        ("IU", "U_insulin"),
        ("IU", "mg"),
        ("IU", ""),
        ("MOI", ""),
        ("cells", "copies"),
        ("mEq/L", "mmol/L"),
        ("bpm", "1/minute"),
        ("mg", "mg/d"),
        ("degC", "kelvin"),
        ("degC", "degF"),
    ],
)
def test_what_is_not_the_same_thing_is_never_converted(source: str, target: str):
    with pytest.raises(UnitError):
        factor(source, target)
    with pytest.raises(UnitError):
        factor(target, source)


def test_a_quantity_needs_its_unit():
    assert quantity("365 d", "d") == 365
    assert quantity(" 2wk ", "d") == 14
    assert quantity("-1.5e2 mg", "g") == pytest.approx(-0.15)
    for text in ("365", "", "d", "one d"):
        with pytest.raises(UnitError, match=r"horizon: found .* expected a number with a unit such as '28 d'"):
            quantity(text, "d", "horizon")
    with pytest.raises(UnitError, match="mismatch"):
        quantity("3 mg", "d")


def test_what_is_per_time_squared_is_not_per_time():
    """Gy is J/kg, kPa is kg/m/s^2: amounts, not rates."""
    assert units.is_per_time("mg/d")
    assert units.is_per_time("U_insulin/kg/h")
    assert not units.is_per_time("Gy")
    assert not units.is_per_time("kPa")
    assert not units.is_per_time("uM")


def test_the_registry_is_built_once():
    assert units.registry() is units.registry()
