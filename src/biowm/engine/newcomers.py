"""Newcomers: who enters a virtual cohort, with which traits and first readings.

Of a fitted world they are drawn from the training subjects by a smoothed bootstrap (Silverman and Young, 1987,
doi:10.1093/biomet/74.3.469): a subject's traits and first readings together, moved by a normal kernel with the
covariance of all of them, then shrunk so that means and spreads stay. Readings are moved on their link; what was not
read stays unread; a value that would leave the range of the training subjects is not moved. Their random effects are
the model's own: its belief about somebody with these traits and this first reading. Of a simulator all is its prior's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from biowm.core.errors import Abstention, BadInput
from biowm.core.given import Given, impose
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale
from biowm.safety.overlap import ENOUGH
from biowm.train.fitted import Fitted

from .cohort import even_traits


@dataclass(frozen=True)
class Newcomers:
    """Traits and first readings (NaN: none) of n virtual subjects, and in words where they come from."""

    traits: Float[np.ndarray, "n s"]
    reading: Float[np.ndarray, "n d"]
    source: str


def of_simulator(spec: WorldSpec, n: int, given: Sequence[Given], *, seed: int) -> Newcomers:
    """Newcomers of a simulator: levels evenly or as given, other traits 0 or as given; it draws first readings itself.

    Raises: BadInput for a range, or a condition on a first reading.
    """
    traits = even_traits(spec, n, seed)
    impose(traits, spec, given, "--given")
    reading = np.full((n, len(spec.channels)), np.nan, np.float32)
    return Newcomers(traits, reading, f"the prior of the simulator {spec.name}")


def of_fitted(fitted: Fitted, n: int, given: Sequence[Given], *, seed: int) -> Newcomers | Abstention:
    """Newcomers like the training subjects, or like those of them that keep what is `given`.

    A range takes who lies in it, one value whoever is near it (normal kernel) and sets it; an Abstention where that is
    fewer than ten subjects. Raises: BadInput where the artefact holds no histories.
    """
    if fitted.cohort is None:
        raise BadInput("this artefact holds no histories (it was made with --no-data): nobody to draw newcomers from")
    known = fitted.cohort.known
    x, traits = np.asarray(fitted.cohort.paths.x)[known], np.asarray(fitted.cohort.paths.traits)[known]
    started = np.isfinite(x).any((1, 2))
    first = x[started, np.isfinite(x[started]).any(2).argmax(1)]
    scale, width = fitted.calibration.scale, traits.shape[1]
    values = np.concatenate([traits[started], scale.to_z(first)], axis=1).astype(np.float64)
    wanted = [_linked(g, width, scale) for g in given]
    fixed = _categories(fitted.spec)
    weight = _weights(values, fixed, wanted)
    if weight.sum() < ENOUGH:
        texts = ", ".join(g.text for g in given) or "a first reading"
        return Abstention((f"{weight.sum():.1f} training subjects have {texts}; at least {ENOUGH:g} are needed",))
    rng = np.random.default_rng([seed, 3])
    drawn = _smoothed(values, weight, fixed, wanted, n, rng)
    reading = scale.to_x(drawn[:, width:])
    source = f"smoothed bootstrap of {weight.sum():.0f} training subjects' traits and first readings"
    return Newcomers(drawn[:, :width].astype(np.float32), reading.astype(np.float32), source)


def _linked(given: Given, width: int, scale: Scale) -> Given:
    """The same condition, on the link where it is about a reading."""
    j = given.column - width
    if j < 0:
        return given
    ends = np.zeros((2, len(np.asarray(scale.mean))))
    ends[:, j] = given.low, given.high
    low, high = scale.to_z(ends)[:, j].tolist()
    return Given(given.text, given.column, low, high)


def _weights(values: Float[np.ndarray, "n c"], fixed: np.ndarray, given: Sequence[Given]) -> Float[np.ndarray, " n"]:
    """How much each subject counts: 1 in a range, less the further from one value (Silverman's bandwidth)."""
    weight = np.ones(len(values))
    for one in given:
        own = values[:, one.column]
        spread = 1.06 * float(own[np.isfinite(own)].std()) * len(own) ** -0.2 if one.exact else 0.0
        in_range = fixed[one.column] or not spread > 0
        near = one.holds(values) if in_range else np.exp(-0.5 * ((own - one.low) / spread) ** 2)
        weight = weight * np.nan_to_num(near)
    return weight


def _smoothed(
    values: Float[np.ndarray, "u c"],
    weight: Float[np.ndarray, " u"],
    fixed: np.ndarray,
    given: Sequence[Given],
    n: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "n c"]:
    """Draws of all columns; those that are `fixed` (levels of categories) are taken over as they are."""
    picked = values[rng.choice(len(values), n, p=weight / weight.sum())]
    seen = np.isfinite(values) * weight[:, None]
    mean = (np.nan_to_num(values) * seen).sum(0) / np.maximum(seen.sum(0), 1e-12)
    whole = np.where(np.isnan(values), mean, values)
    cov = np.atleast_2d(np.cov(whole, rowvar=False, aweights=weight))
    free = int((~fixed).sum())
    h = (4 / ((free + 2) * weight.sum())) ** (1 / (free + 4))
    level, root = np.linalg.eigh(cov)
    noise = rng.normal(size=picked.shape) @ (root * np.sqrt(np.maximum(level, 0.0))).T
    moved = mean + (picked - mean + h * noise) / np.sqrt(1 + h * h)
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    for one in (g for g in given if not g.exact):
        low[one.column], high[one.column] = max(low[one.column], one.low), min(high[one.column], one.high)
    moved = np.where((moved < low) | (moved > high) | fixed, picked, moved)
    for one in (g for g in given if g.exact):
        moved[:, one.column] = one.low
    return moved


def _categories(spec: WorldSpec) -> np.ndarray:
    fixed = np.zeros(spec.trait_width + len(spec.channels), bool)
    for trait, at in zip(spec.traits, spec.trait_places, strict=True):
        fixed[at] = trait.kind == "category"
    return fixed
