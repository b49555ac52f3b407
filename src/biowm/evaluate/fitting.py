"""A fit from data to an artefact: the world, its held-out scores, its reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as File

from biowm.core.errors import BadInput
from biowm.core.interval import Row
from biowm.core.mechanism import Mechanism
from biowm.core.mechanism_units import Declared, fingerprint
from biowm.core.record import digest, versions
from biowm.data.screens import Screen
from biowm.data.study import Study
from biowm.train.checkpoint import save_fitted
from biowm.train.contest import Progress
from biowm.train.fitted import Fitted
from biowm.train.screens import fit_screen
from biowm.train.stages import Stages
from biowm.train.study import fit_study

from .heldout import held_out, heldout_rows
from .heldout_cells import cell_rows
from .reports.examples import Example, examples
from .reports.folder import write_reports


def fit_and_keep(
    data: Study | Screen, folder: File | None, *, mechanism: Mechanism | Declared | None, thorough: bool, seed: int,
    keep_data: bool, tell: Progress,
) -> Fitted:  # fmt: skip
    """Fit, score on who was held out and, where there is a folder, write the artefact with its reports.

    Raises: BadInput for data that cannot be learned from.
    """
    what = "screen" if isinstance(data, Screen) else "study"
    if isinstance(data, Screen):
        if mechanism is not None:
            raise BadInput(
                f"screen {data.config.study}: found a mechanism, expected none: cells have no equations here"
            )
        stages = _stages(folder, [data.sha256, thorough, seed])
        with _plain(f"{what} {data.config.study}"):
            fitted = fit_screen(
                data, seed=seed, thorough=thorough, stages=stages, progress=lambda text, share: tell(text, 0.9 * share)
            )
    else:
        declared = Declared(mechanism) if isinstance(mechanism, Mechanism) else mechanism
        equations = None if declared is None else fingerprint(declared)
        stages = _stages(folder, [data.sha256, data.horizons, equations, seed])
        with _plain(f"{what} {data.config.study}"):
            fitted = fit_study(data, mechanism=declared, thorough=thorough, seed=seed, stages=stages, progress=tell)
    rows = _scored(fitted, data, seed, tell)
    fitted = dataclasses.replace(fitted, rows=rows)
    if folder is not None:
        tell("reports", 0.98)
        shown: Sequence[Example] = examples(fitted, seed) if keep_data and fitted.cells is None else []
        write_reports(fitted, shown, folder, seed=seed)
        save_fitted(fitted, folder, keep_data=keep_data)
        stages.clear()
    return fitted


def _scored(fitted: Fitted, data: Study | Screen, seed: int, tell: Progress) -> tuple[Row, ...]:
    part = held_out(fitted)
    if part is None:
        return ()
    if not isinstance(data, Screen):
        tell("scoring the held-out subjects", 0.96)
        return heldout_rows(fitted, part.paths, part.subjects, seed=seed)
    tell("scoring the held-out conditions", 0.9)
    rows = heldout_rows(fitted, part.paths, part.subjects, seed=seed)
    return (*rows, *cell_rows(fitted, data, seed=seed, progress=lambda s: tell("held-out cells", 0.93 + 0.05 * s)))


def _stages(folder: File | None, key: Sequence[object]) -> Stages:
    return Stages(None if folder is None else folder / ".stages", digest([*key, versions()]))


@contextmanager
def _plain(what: str) -> Iterator[None]:
    """Say of data that cannot be learned from whose they are."""
    try:
        yield
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{what}: {error}") from error
