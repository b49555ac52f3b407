"""The array types of the signatures, and functions that serve both NumPy and JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

if TYPE_CHECKING:
    # pyright cannot follow one signature through NumPy, jit and vmap; the tests check every call at run time.
    AnyArray = Any
else:
    AnyArray = Array | np.ndarray


def space(*values: object) -> Any:
    """The array module of the arguments: jax.numpy where any of them is a JAX array, else numpy."""
    return jnp if any(isinstance(v, jax.Array) for v in values) else np
