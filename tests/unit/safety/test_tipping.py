"""Tipping points against what is known of them."""

import numpy as np
import pytest
from scipy import stats

from biowm.safety.tipping import e_value, marginal_gamma, widening

GRID = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[None, :]


@pytest.mark.parametrize("gamma", [1.2, 2.0, 5.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gamma_of_a_normal_outcome_is_the_closed_form(gamma, sign):
    # Upper draws weigh gamma: the mean moves by (gamma - 1 / gamma) times the density at the cut, in both arms.
    shift = (gamma - 1 / gamma) * stats.norm.pdf(stats.norm.ppf(gamma / (1 + gamma)))
    assert marginal_gamma(GRID + sign * 2 * shift, GRID) == pytest.approx(gamma, rel=1e-3)


def test_gamma_at_the_ends():
    assert marginal_gamma(GRID, GRID) == pytest.approx(1.0)
    assert marginal_gamma(GRID + 100.0, GRID) == 1e3
    few = np.array([[0.0, 1.0, 2.0]])  # the cut falls inside a draw
    assert marginal_gamma(few + 0.5, few) == pytest.approx(marginal_gamma(few, few + 0.5))
    assert 1.0 < marginal_gamma(few + 0.5, few) < marginal_gamma(few + 1.0, few)


def test_the_e_value_is_that_of_the_paper():
    assert e_value(np.log(3.9) / 0.91) == pytest.approx(7.26, abs=0.01)  # doi:10.7326/M16-2607: risk ratio 3.9
    assert e_value(-np.log(3.9) / 0.91) == pytest.approx(7.26, abs=0.01)
    assert e_value(0.0) == 1.0


@pytest.mark.parametrize("gamma", [1.0, 2.0, 300.0])
def test_a_wider_band_leaves_gamma_times_less_outside(gamma):
    edge = stats.norm.isf(0.05) * widening(0.9, gamma)
    assert stats.norm.sf(edge) == pytest.approx(0.05 / gamma)
