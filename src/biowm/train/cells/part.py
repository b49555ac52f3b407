"""What a world of cells has beside its race: how cells are encoded and decoded, where they start, who answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.errors import BadInput
from biowm.core.interval import Interval
from biowm.core.path import Path
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.models.cells.decoder import CellDecoder, CellEncoder
from biowm.models.cells.pool import CellPool, Escape
from biowm.models.cells.population import Population

from ..calibrate import Calibration
from ..fitted import Fitted

NO_SIGNAL = "no signal above split-half noise"


@dataclass(frozen=True)
class CellPart:
    """The cells of a fitted screen: axes g genes, k latent, c contexts with control cells, s traits.

    `spec` has the genes as channels; the first columns of the latent cell are the `loadings` of the response;
    `controls` are the mean log1p expression of each context's control cells, `left` the spread of a condition's mean
    around what the loadings say, `trust` the calibration of genes' means. `counted`: readings are counts or scaled
    counts. `reproducible` directions of the response are agreed on by independent halves of the cells (0: no signal),
    by how much is in `agreement`; `replicate` is how much closer halves are to each other than to the other conditions
    (`Signal.gain`). `gain` is what escaping cells took off the energy distance of held-out conditions.
    """

    spec: WorldSpec
    kind: Literal["counts", "log1p"]
    counted: bool
    encoder: CellEncoder
    decoder: CellDecoder
    pool: CellPool
    escape: Escape
    loadings: Float[np.ndarray, "g k"]
    controls: Float[np.ndarray, "c g"]
    traits: Float[np.ndarray, "c s"]
    left: Float[np.ndarray, " g"]
    trust: Calibration
    reproducible: int
    agreement: tuple[float, ...]
    replicate: Interval
    gain: Interval | None

    @property
    def verdict(self) -> str:
        """Whether there is anything to foresee, in words."""
        n = self.reproducible
        directions = f"{n} direction{'s' if n > 1 else ''} of the response"
        if self.replicate.low > 0 or (n > 0 and self.replicate.n == 0):  # of a lone condition there are no others
            return f"{directions} above split-half noise" if n else NO_SIGNAL
        return f"{NO_SIGNAL} ({directions} can be told from it)" if n else NO_SIGNAL

    def log1p(self, x: Float[np.ndarray, "n g"], size: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n g"]:
        """Readings as they are pooled (counts where there are any), as log1p expression."""
        return np.log1p(x * size[:, None]).astype(np.float32) if self.counted else x

    def written(self, x: Float[np.ndarray, "n g"], size: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n g"]:
        """Readings as they are pooled, in the matrix's own kind."""
        return x if self.kind == "counts" else self.log1p(x, size)

    def context(self, traits: Float[np.ndarray, "n s"]) -> Int[np.ndarray, " n"]:
        """The context of each row of traits; BadInput where it has no control cells. Without traits there is one."""
        apart = np.abs(np.nan_to_num(np.asarray(traits)[:, None] - self.traits[None], nan=1.0)).sum(-1)
        lone = len(self.traits) == 1 and not np.isfinite(np.asarray(traits)).any()
        if not lone and (apart.min(1) > 1e-6).any():
            raise BadInput(
                "found a context without control cells, expected one that was screened: see biowm data check"
            )
        return np.asarray(apart.argmin(1))


def population(fitted: Fitted) -> Fitted:
    """The same fit, seen as mean log1p expression of every gene; the fit itself where it is not of cells."""
    cells = fitted.cells
    if cells is None:
        return fitted

    def seen(world: World) -> World:
        arrays = (jnp.asarray(a, jnp.float32) for a in (cells.loadings, cells.controls, cells.traits, cells.left))
        return Population(cells.spec, world.spacing, world, *arrays)

    cohort = None
    if fitted.cohort is not None:
        paths = fitted.cohort.paths
        genes = (
            cells.controls[cells.context(np.asarray(paths.traits))][:, None] + np.asarray(paths.x) @ cells.loadings.T
        )
        cohort = replace(
            fitted.cohort, paths=Path(paths.t, genes.astype(np.float32), paths.plan, paths.traits, paths.event)
        )
    return replace(
        fitted, spec=cells.spec, world=seen(fitted.world), rules_free=seen(fitted.rules_free), members={},
        calibration=cells.trust, cohort=cohort, cells=None,
    )  # fmt: skip
