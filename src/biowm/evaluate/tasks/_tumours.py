"""The tumour cohort in plain NumPy, to time beside: all patients in one array, or one patient and one day at a time.

The second is how the published generator goes about it (github.com/Valentyn1997/CausalTransformer, c49a24f). Both have
usual rates for everybody: no patient is drawn, nobody recovers, and no schedule is made of what was given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from biowm.worlds.patient import tumour
from biowm.worlds.patient.cohort import WINDOW

_Number = np.floating | np.ndarray
_GAMMA, _ALPHA, _RHO, _BETA = 2.0, 0.04, 7e-5, 0.028


class Luck(NamedTuple):
    """First volumes (cm3), and of every day the dice of the two treatments and the noise of growth."""

    first: Float[np.ndarray, " n"]
    dice: Float[np.ndarray, "t 2 n"]
    noise: Float[np.ndarray, "t n"]


def luck(seed: int, n: int, days: int) -> Luck:
    """What is drawn for `n` patients."""
    rng = np.random.default_rng(seed)
    first = np.exp(rng.normal(2.0, 1.5, n)).clip(0.01, tumour.DEATH / 2)
    return Luck(first, rng.random((days, 2, n)), rng.standard_normal((days, n)))


def at_once(by: Luck) -> Float[np.ndarray, "t n"]:
    """Volumes (cm3) of all patients, day by day."""
    volume, drug = by.first, np.zeros(len(by.first))
    out, sizes = np.empty(by.noise.shape), np.full((WINDOW, len(volume)), np.nan)
    for day in range(len(out)):
        out[day], sizes[day % WINDOW] = volume, np.cbrt(volume * 6 / np.pi)
        given = by.dice[day] < _chance(np.nanmean(sizes, axis=0))
        volume, drug = _next(volume, drug, given, by.noise[day])
    return out


def one_by_one(by: Luck) -> Float[np.ndarray, "t n"]:
    """The same volumes, patient by patient and day by day."""
    out, sizes = np.empty(by.noise.shape), np.empty(by.noise.shape)
    for i in range(len(by.first)):
        volume, drug = by.first[i], np.float64(0.0)
        for day in range(len(out)):
            out[day, i], sizes[day, i] = volume, np.cbrt(volume * 6 / np.pi)
            given = by.dice[day, :, i] < _chance(np.mean(sizes[max(day + 1 - WINDOW, 0) : day + 1, i]))
            volume, drug = _next(volume, drug, given, by.noise[day, i])
    return out


def _chance(size: _Number) -> _Number:
    return 1 / (1 + np.exp(-_GAMMA / 13.0 * (size - 6.5)))


def _next(volume: _Number, drug: _Number, given: Bool[np.ndarray, "2 ..."], noise: _Number) -> tuple[_Number, _Number]:
    """Volume and drug a day later, of one patient (scalars) or of all."""
    chemo, radio = given
    drug = drug + tumour.DOSE * chemo
    kill = _BETA * drug + _ALPHA * tumour.KILL * radio
    grown = volume * (1 + _RHO * np.log(tumour.CAPACITY / volume) - kill + tumour.NOISE * noise)
    return np.minimum(np.maximum(grown, 1e-9), tumour.DEATH), drug / 2
