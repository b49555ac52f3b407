"""The array types of the signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array

if TYPE_CHECKING:
    # pyright cannot follow one signature through NumPy, jit and vmap; the tests check every call at run time.
    AnyArray = Any
else:
    AnyArray = Array | np.ndarray
