"""The environment of the package icu-sepsis, to compare with: how long its steps take."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import numpy as np


def icu_sepsis() -> type | None:
    """Its environment; None where the package is not installed.

    The package as a whole imports an old gym, which nothing here needs, so that its own first file is left out.
    """
    spec = importlib.util.find_spec("icu_sepsis")
    if spec is None:
        return None
    sys.modules.setdefault("icu_sepsis", importlib.util.module_from_spec(spec))
    return importlib.import_module("icu_sepsis.envs.sepsis").ICUSepsisEnv


def steps(env: Any, n: int, seed: int) -> int:
    """Take `n` random steps, one after the other, each episode followed by a new one; returns the last state."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(5, size=(n, 2))
    state, _ = env.reset(seed=seed)
    for action in actions:
        state, _, ended, _, _ = env.step(action)
        if ended:
            state, _ = env.reset()
    return int(state)
