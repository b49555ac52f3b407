"""What all environments of the library have besides Gymnasium's own: names and units of what is seen and given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np

Seen = TypeVar("Seen")
Act = TypeVar("Act")
Policy = Callable[[np.random.Generator], Callable[[Any], Any]]  # from its own randomness to: action, given what is seen


class Quantity(NamedTuple):
    """A number with its unit ("" has none)."""

    name: str
    unit: str


class SubjectEnv(gymnasium.Env[Seen, Act]):
    """One subject: `shows` names the entries of an observation, `gives` the doses in `info["given"]`.

    An episode has `steps` decisions at most; `clock` is the unit of `info["t"]`, `info["cost"]` a cost in safety.
    Death is `terminated`, the end of the horizon `truncated`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (gymnasium's own form)
    steps: int
    clock: str
    shows: tuple[Quantity, ...]
    gives: tuple[Quantity, ...]

    @abstractmethod
    def policies(self) -> Mapping[str, Policy]:
        """Simple policies by name, besides `random`; `none` gives as little as can be given."""
