"""What is known of the responses to sets before they are read: their means, and how they hang together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import Path
from biowm.core.world import World

from ..scale import Scale
from .course import Course, SetFrame, courses


class Known(NamedTuple):
    """Gaussian knowledge of n responses at h times in d channels (standardised link space; NumPy, float64).

    The covariance of all responses of a channel is half @ half.T, to which each condition adds what is not known of it
    in particular, of standard deviation `apart` at each time (moving together in time), and how that hangs together
    with other conditions is not said. `noise` is the covariance over the times of one more reading about its response:
    that of readings, and of a condition's own departure from what its set says.
    """

    mean: Float[np.ndarray, "n h d"]
    half: Float[np.ndarray, "d n h q"]
    apart: Float[np.ndarray, "d n h"]
    noise: Float[np.ndarray, "d h h"]

    def variance(self) -> Float[np.ndarray, "n h d"]:
        """What is not known of each response, the noise of readings left out."""
        return np.moveaxis((self.half**2).sum(-1) + self.apart**2, 0, -1)

    def of(self, rows: Int[np.ndarray, " m"] | slice, channels: Sequence[int] | slice = slice(None)) -> Known:
        """Some of the conditions, and some of the channels."""
        half, apart = self.half[channels], self.apart[channels]
        return Known(self.mean[rows][..., channels], half[:, rows], apart[:, rows], self.noise[channels])


class SetWorld(World):
    """A world that says in closed form what it knows of the responses to sets."""

    @abstractmethod
    def scale_of(self) -> Scale:
        """Links and scales of its standardised link space."""

    @abstractmethod
    def known(self, paths: Path, at: Int[np.ndarray, "n h"]) -> Known:
        """What it knows of conditions (stacked paths of which nothing was read) at the times numbered `at`."""


def courses_at(frame: SetFrame, paths: Path, n_actions: int, at: Int[np.ndarray, "n h"]) -> Course:
    """The courses of conditions at some of the times of their paths (leading axes n, h)."""
    rows = np.arange(len(at))[:, None]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows, at], courses(frame, paths, n_actions))


def pooled(parts: Sequence[tuple[Known, float]]) -> Known:
    """A linear pool, by its first two moments: members' spread, and that of their means about the common one."""
    total = sum(weight for _, weight in parts)
    shares = [(known, weight / total) for known, weight in parts]
    mean = np.sum([w * k.mean for k, w in shares], axis=0)
    halves = [np.sqrt(w) * k.half for k, w in shares]
    if len(shares) > 1:
        halves += [np.sqrt(w) * np.moveaxis(k.mean - mean, -1, 0)[..., None] for k, w in shares]
    apart = np.sqrt(np.sum([w * k.apart**2 for k, w in shares], axis=0))
    return Known(mean, np.concatenate(halves, -1), apart, np.sum([w * k.noise for k, w in shares], axis=0))
