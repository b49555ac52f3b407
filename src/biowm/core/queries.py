"""Questions about the future of many subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Origins = Literal["spread", "first", "start"]


@dataclass(frozen=True)
class Queries:
    """Q questions: from reading `origin` (index in time) of path `subject`, what at `times` (absolute)?

    `times` may repeat its last value as padding; readings after the origin are never looked at.
    """

    subject: Int[np.ndarray, " q"]
    origin: Int[np.ndarray, " q"]
    times: Float[np.ndarray, "q h"]
