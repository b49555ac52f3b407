"""One way in for all data: a study of paths, or a screen of single cells, told apart by `regime`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import study as studies
from .keys import read_yaml
from .screen_config import is_screen
from .screen_file import is_anndata
from .screens import Screen, load_screen
from .study import Study

if TYPE_CHECKING:
    from anndata import AnnData


def load(
    source: str | Path | pd.DataFrame | AnnData,
    config: Mapping[str, Any] | None = None,
    *,
    data: str | Path | None = None,
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> Study | Screen:
    """A study of paths, or of `regime: cloud` (and of AnnData objects) a screen.

    Args: a study file, or a table (file, data frame, AnnData) and its description. Raises BadInput for bad data.
    """
    if is_anndata(source):
        return load_screen(source, config, data=data)
    if isinstance(source, pd.DataFrame):
        return studies.load(source, config, data=data, progress=progress)
    if is_screen(read_yaml(Path(source)) if config is None else config):
        return load_screen(source, config, data=data)
    return studies.load(source, config, data=data, progress=progress)
