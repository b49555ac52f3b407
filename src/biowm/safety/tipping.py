"""Tipping points: how strong hidden confounding would have to be to overturn an effect that a model tells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

MOST = 1e3


def _pull(draws: Float[np.ndarray, "q n"], gamma: float) -> Float[np.ndarray, " q"]:
    """The largest mean under weights between 1 / gamma and gamma that average one: the upper draws weigh gamma."""
    ordered, n = np.sort(draws, axis=1), draws.shape[1]
    cut = n * gamma / (1 + gamma)
    below = np.clip(cut - np.arange(n), 0.0, 1.0)  # the share of each draw that lies below the cut
    return (ordered * (below / gamma + (1 - below) * gamma)).mean(1)


def marginal_gamma(treated: Float[np.ndarray, "q n"], untreated: Float[np.ndarray, "q n"]) -> float:
    """The least Gamma of the marginal sensitivity model at which the sign of the mean effect could flip.

    Hidden confounders may change anybody's odds of either schedule by up to Gamma, and nobody's own schedule is taken
    as given, which is conservative: both outcome distributions are reweighted against the effect, by likelihood ratios
    between 1 / Gamma and Gamma. Args: Q questions with N draws of the outcome each. Returns 1 for no effect, 1,000
    for that or more. Source: doi:10.1198/016214506000000023, doi:10.1111/rssb.12327.
    """
    if (treated - untreated).mean() < 0:
        treated, untreated = untreated, treated

    def flips(gamma: float) -> bool:
        return bool((-_pull(-treated, gamma) - _pull(untreated, gamma)).mean() <= 0)

    if not flips(MOST):
        return MOST
    low, high = 0.0, np.log(MOST)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if flips(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))


def widening(level: float, gamma: float) -> float:
    """How much wider a central normal band of a `level` is where either tail may be `gamma` times as likely as told.

    Under the marginal sensitivity model at `gamma` no outcome is likelier than that, so the wider band holds what the
    other would hold without hidden confounding.
    """
    tail = (1 - level) / 2
    return float(norm.isf(tail / gamma) / norm.isf(tail))


def e_value(standardised: float) -> float:
    """The E-value of a standardised mean difference d, by its approximate risk ratio exp(0.91 |d|).

    A hidden confounder would have to go along with both treatment and outcome by this risk ratio, beyond all that was
    measured, to explain the effect away. Source: doi:10.7326/M16-2607.
    """
    risk = float(np.exp(0.91 * abs(standardised)))
    return risk + float(np.sqrt(risk * (risk - 1)))
