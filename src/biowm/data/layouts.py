"""Keys of a study file that say how a table is laid out: plates of wells, plate maps, tracks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from .columns import Columns
from .keys import Keys


class PlateMap(Keys):
    """A table of what each well was given and holds: grids, or a row a well (`well`, and `plate` where they differ).

    `well` and `plate` name columns of the readings, too.
    """

    table: str
    well: str = "well"
    plate: str = "plate"

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return {"table": data} if isinstance(data, str) else data


class Tracks(Keys):
    """How objects of one frame are linked to those of the next, and what a track that splits or merges is.

    `node` and `parent` are columns (TrackMate and GEFF files say it themselves); `node: [well, id]` where names come
    again in every well. `refuse`: an error with the place;
    `cut`: the path ends there (`fate`: divided, merged), and each that goes on is a path of its own, with its `parent`.
    """

    node: Columns | None = None
    parent: str | None = None
    divisions: Literal["refuse", "cut"] = "refuse"

    @model_validator(mode="after")
    def _both(self) -> Tracks:
        if (self.node is None) != (self.parent is None):
            raise ValueError("expected both node and parent, the columns that link objects, or neither")
        return self
