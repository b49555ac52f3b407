"""One small fit, shared by the tests of fitting and of artefacts."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.tiny import SPEC, few, tiny_cohort

from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons
from biowm.train.stages import Stages

HORIZONS = Horizons("clock", (1.0, 4.0), "d")
CANDIDATES = few("mixed(action)", "mixed(full)", "persistence", "mean", "direct", "ridge", "knn")


def fit_tiny(seed: int = 3, stages: Stages | None = None, progress=None, units=None, candidates=CANDIDATES) -> Fitted:
    """Fit 24 subjects of 8 readings."""
    return fit_paths(
        SPEC, tiny_cohort(24, 8), HORIZONS, seed=seed, stages=stages, progress=progress, units=units,
        candidates=candidates,
    )  # fmt: skip


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    """The uninterrupted fit."""
    return fit_tiny()


def arrays(fitted: Fitted) -> list[np.ndarray]:
    """Every array of the models of a fit."""
    import jax

    parts = (fitted.world, fitted.rules_free, dict(fitted.members), fitted.half_members)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(parts)]
