"""Which subjects are held out: by subject or group, drawn from a seed, never by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from biowm.core.errors import BadInput

from .study import Study


@dataclass(frozen=True)
class Split:
    """Indices of the subjects to train on, to calibrate bands on and to test on."""

    train: tuple[int, ...]
    calibrate: tuple[int, ...]
    test: tuple[int, ...]


def units(study: Study) -> tuple[str, ...]:
    """The unit each subject belongs to when subjects are split: itself, or its group."""
    by = study.config.split.by
    return study.subjects if by == "subject" else study.groups[by]


def split(study: Study, seed: int) -> Split:
    """The study's own split where its table has one, else shares of the units drawn from `seed`.

    Raises BadInput where nothing would be left to train on.
    """
    if study.given_split:
        parts = {part: _where(np.array(study.given_split) == part) for part in ("train", "calibrate", "test")}
    else:
        names, member = np.unique(np.array(units(study), dtype=str), return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(names))
        share = study.config.split
        n_test = round(share.test * len(names))
        n_calibrate = round(share.calibrate * len(names))
        part = np.full(len(names), "train", dtype="<U9")
        part[order[:n_test]] = "test"
        part[order[n_test : n_test + n_calibrate]] = "calibrate"
        parts = {name: _where(part[member] == name) for name in ("train", "calibrate", "test")}
    if not parts["train"]:
        raise BadInput(f"study {study.config.study}: no subject is left to train on; expected at least one (key split)")
    return Split(**parts)


def folds(study: Study | Sequence[str], k: int, seed: int) -> tuple[Int[np.ndarray, " m"], ...]:
    """The subjects of each of `k` folds; subjects of one unit stay together.

    Units are given a subject, or are the study's own. Fold j holds every k-th unit of a permutation from `seed`.
    Raises BadInput where there are fewer units than folds.
    """
    named = units(study) if isinstance(study, Study) else tuple(study)
    names = list(dict.fromkeys(named))
    if len(names) < k:
        raise BadInput(f"{k} folds asked of {len(names)} units; expected at least as many units as folds")
    place = {name: i for i, name in enumerate(names)}
    member = np.array([place[name] for name in named])
    order = np.random.default_rng(seed).permutation(len(names))
    return tuple(np.flatnonzero(np.isin(member, order[j::k])) for j in range(k))


def _where(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
