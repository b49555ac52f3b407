"""Which subjects are held out: by subject or group, drawn from a seed, never by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from biowm.core.errors import BadInput
from biowm.core.path import Path
from biowm.core.schedule import entries

from .config import Shares
from .study import Study


@dataclass(frozen=True)
class Split:
    """Indices of the subjects to train on, to calibrate bands on and to test on."""

    train: tuple[int, ...]
    calibrate: tuple[int, ...]
    test: tuple[int, ...]


def belongs(study: Study) -> tuple[tuple[str, ...], ...]:
    """The units each subject belongs to when subjects are split: itself, its group, or the members of its set."""
    by = study.config.split.by
    if by == "member" and by not in study.groups:
        return tuple(_members(study, path) for path in study.paths)
    return tuple((name,) for name in (study.subjects if by == "subject" else study.groups[by]))


def units(study: Study) -> tuple[str, ...]:
    """The unit of each subject, in one word: of a condition that is split by members, its whole set."""
    return tuple(" + ".join(names) for names in belongs(study))


def split(study: Study, seed: int) -> Split:
    """The study's own split where its table has one, else shares of the units drawn from `seed` (`drawn`).

    Raises BadInput where nothing would be left to train on.
    """
    if study.given_split:
        parts = {part: _where(np.array(study.given_split) == part) for part in ("train", "calibrate", "test")}
    else:
        label = drawn(belongs(study), study.config.split, seed)
        parts = {name: _where(label == name) for name in ("train", "calibrate", "test")}
    if not parts["train"]:
        raise BadInput(f"study {study.config.study}: no subject is left to train on; expected at least one (key split)")
    return Split(**parts)


def drawn(mine: Sequence[tuple[str, ...]], share: Shares, seed: int) -> Shaped[np.ndarray, " n"]:
    """The part (train, calibrate or test) of each subject, by shares of the units that are drawn from `seed`.

    A subject of several units is in the test where any of them is, and of no unit, in the training. A share `within` of
    all subjects that would be learned from (and belong to a unit) is tested, too.
    """
    names = sorted({name for several in mine for name in several})
    order = np.random.default_rng(seed).permutation(len(names))
    n_test = round(share.test * len(names))
    n_calibrate = round(share.calibrate * len(names))
    part = {names[u]: "test" if k < n_test else "calibrate" for k, u in enumerate(order[: n_test + n_calibrate])}
    found = [{part.get(name, "train") for name in several} for several in mine]
    label = np.array([next((p for p in ("test", "calibrate") if p in some), "train") for some in found])
    known = np.flatnonzero((label == "train") & np.array([len(several) > 0 for several in mine], bool))
    also = np.random.default_rng([seed, 1]).permutation(known)[: round(share.within * len(known))]
    label[also] = "test"
    return label


def folds(study: Study | Sequence[str], k: int, seed: int) -> tuple[Int[np.ndarray, " m"], ...]:
    """The subjects of each of `k` folds; subjects of one unit stay together, and of several, are in several folds.

    Units are given a subject, or are the study's own. Fold j holds every k-th unit of a permutation from `seed`.
    Raises BadInput where there are fewer units than folds.
    """
    mine = belongs(study) if isinstance(study, Study) else tuple((name,) for name in study)
    names = list(dict.fromkeys(name for several in mine for name in several))
    if len(names) < k:
        raise BadInput(f"{k} folds asked of {len(names)} units; expected at least as many units as folds")
    order = np.random.default_rng(seed).permutation(len(names))
    held = [{names[u] for u in order[j::k]} for j in range(k)]
    return tuple(np.flatnonzero([not out.isdisjoint(several) for several in mine]) for out in held)


def _members(study: Study, path: Path) -> tuple[str, ...]:
    cards = [study.spec.actions[entry.card] for entry in entries(path.plan)]
    return tuple(dict.fromkeys(card.name for card in cards if card.kind == "set-member"))


def _where(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
