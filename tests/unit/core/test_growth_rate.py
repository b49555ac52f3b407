"""Growth rate inhibition: known answers of the formula, curves that are found again, and flat ones that are told."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.growth_rate import fit_growth_rate, growth_rate_inhibition, sigmoid

DOSES = np.repeat(10.0 ** np.arange(-3, 2.5, 0.5), 3)


def test_known_answers():
    before, control = np.full(6, 100.0), np.full(6, 800.0)
    # No effect, half the rate of division, no growth, each division undone, a fourth of it, none left.
    treated = np.array([800.0, 100 * 2**1.5, 100.0, 12.5, 100 * 2**-0.75, 0.0])
    found = growth_rate_inhibition(treated, before, control)
    np.testing.assert_allclose(found, [1.0, 2**0.5 - 1, 0.0, -0.5, 2**-0.25 - 1, -1.0], atol=1e-12)


def test_it_does_not_depend_on_how_fast_cells_divide():
    rate = np.array([1.0, 2.0, 4.0])  # divisions in the assay; the drug takes 40 % of each rate
    found = growth_rate_inhibition(50 * 2 ** (0.6 * rate), np.full(3, 50.0), 50 * 2**rate)
    np.testing.assert_allclose(found, 2**0.6 - 1, rtol=1e-12)


@pytest.mark.parametrize(("treated", "before", "control"), [(-1.0, 1.0, 2.0), (1.0, 0.0, 2.0), (1.0, 2.0, 2.0)])
def test_counts_that_cannot_be_are_refused(treated: float, before: float, control: float):
    with pytest.raises(ValueError, match=r"reading 1: found treated .* expected treated >= 0 and control > before > 0"):
        growth_rate_inhibition(np.array([1.0, treated]), np.array([1.0, before]), np.array([2.0, control]))


@pytest.mark.parametrize("truth", [(0.2, 0.1, 1.2), (-0.6, 0.5, 2.0), (0.0, 0.02, 0.8)])
def test_a_sigmoid_is_found_again(truth: tuple[float, float, float]):
    found = fit_growth_rate(DOSES, sigmoid(DOSES, *truth))
    assert found.fit == "sigmoid"
    np.testing.assert_allclose([found.gr_inf, found.gec50, found.hill], truth, rtol=1e-4, atol=1e-5)
    assert float(sigmoid(np.array([found.gr50]), *truth)[0]) == pytest.approx(0.5, abs=1e-5)
    assert found.gr_max == pytest.approx(sigmoid(DOSES[-1:], *truth)[0])
    assert found.r2 == pytest.approx(1.0)
    assert (found.readings, found.concentrations) == (33, 11)


def test_a_noisy_sigmoid_is_found_within_its_noise():
    truth = (-0.3, 0.3, 1.5)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(DOSES))
    found = fit_growth_rate(DOSES, sigmoid(DOSES, *truth) + noise)
    assert found.gr_inf == pytest.approx(-0.3, abs=0.05)
    assert np.log10(found.gec50) == pytest.approx(np.log10(0.3), abs=0.08)
    assert found.p < 1e-10


def test_the_area_over_the_curve_is_that_of_its_trapezes():
    doses, gr = np.array([0.1, 1.0, 100.0, 1000.0]), np.array([1.0, 0.5, 0.0, -0.5])
    expected = (0.25 * 1 + 0.75 * 2 + 1.25 * 1) / 4
    assert fit_growth_rate(doses, gr).gr_aoc == pytest.approx(expected)


@pytest.mark.parametrize(("level", "gr50"), [(0.97, np.inf), (0.1, -np.inf)])
def test_a_flat_curve_is_told(level: float, gr50: float):
    noise = 0.02 * np.random.default_rng(1).standard_normal(len(DOSES))
    for gr in (np.full(len(DOSES), level), level + noise):
        found = fit_growth_rate(DOSES, gr)
        assert (found.fit, found.gr50) == ("flat", gr50)
        assert found.p >= 0.05
        assert np.isnan([found.gec50, found.hill]).all()
        assert found.gr_inf == found.gr_max


def test_the_flat_line_is_kept_as_often_as_the_level_of_its_test_says():
    rng = np.random.default_rng(2)
    flat = [fit_growth_rate(DOSES, 0.95 + 0.03 * rng.standard_normal(len(DOSES))).fit == "flat" for _ in range(60)]
    assert np.mean(flat) >= 0.85


def test_a_curve_that_stays_above_one_half_has_no_gr50():
    found = fit_growth_rate(DOSES, sigmoid(DOSES, 0.7, 0.1, 1.0))
    assert (found.fit, found.gr50) == ("sigmoid", np.inf)


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="found 4 readings at 2 concentrations, expected at least 4 readings at 3"):
        fit_growth_rate(np.array([1.0, 1.0, 2.0, 2.0]), np.zeros(4))
    with pytest.raises(ValueError, match="expected concentrations above 0"):
        fit_growth_rate(np.array([0.0, 1.0, 2.0, 3.0]), np.zeros(4))
