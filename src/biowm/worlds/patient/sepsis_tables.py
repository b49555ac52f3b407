"""The tables of ICU-Sepsis, read from the installed package icu-sepsis (MIT licence) when they are first asked for."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from biowm.core.errors import BadInput
from biowm.core.tabular import Mdp

LIVE, DEATH, SURVIVAL = 713, 713, 714  # states below LIVE are those of a patient in treatment; 715 is never entered
STATES, ACTIONS, LEVELS = 716, 25, 5


@dataclass(frozen=True)
class Tables:
    """The process, what clinicians do in it, which actions were taken often enough to be known, and severity.

    An action that is not `admissible` leads where the admissible ones of its state lead on average.
    """

    mdp: Mdp
    clinician: Float[np.ndarray, "live a"]
    admissible: Bool[np.ndarray, "live a"]
    sofa: Float[np.ndarray, " n"]


@functools.cache
def tables() -> Tables:
    """The published tables. Raises BadInput where the package icu-sepsis is not installed or holds other tables.

    Source: Choudhary et al. 2024, arXiv:2406.05646.
    """
    folder = _folder()
    file = folder / "dynamics.npz"
    with np.load(file) as found:
        rows, start, clinician, sofa = (
            found[name].astype(float) for name in ("tx_mat", "d_0", "expert_policy", "sofa_scores")
        )
    if rows.shape != (STATES, ACTIONS, STATES):
        raise BadInput(f"file {file}: found tables of shape {rows.shape}, expected {(STATES, ACTIONS, STATES)}")
    state, action = np.divmod(np.arange(LIVE * ACTIONS), ACTIONS)
    reward = (np.arange(STATES) == SURVIVAL).astype(float)
    live = rows[:LIVE]
    mdp = Mdp(state, action, live.reshape(-1, STATES), live.mean(1), start, reward, ACTIONS)
    return Tables(mdp, clinician[:LIVE], _admissible(folder / "admissible_actions.txt"), sofa)


def _folder() -> Path:
    spec = importlib.util.find_spec("icu_sepsis")  # finds it without importing it: it would import an old gym
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            "the tables of ICU-Sepsis: found no package icu-sepsis, expected it beside this one: "
            "pip install --no-deps icu-sepsis"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "envs" / "assets"


def _admissible(file: Path) -> Bool[np.ndarray, "live a"]:
    """One line of numbers a state, after a line that counts them."""
    found = np.zeros((LIVE, ACTIONS), bool)
    for state, line in enumerate(file.read_text(encoding="utf-8").splitlines()[1 : LIVE + 1]):
        found[state, [int(word) for word in line.split()]] = True
    return found
