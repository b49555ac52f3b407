"""What the trunks of sets learn from: every reading of a screen with the course it was read in."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.path import Path
from biowm.core.spec import WorldSpec
from biowm.core.world import Observation

from ..tracker import Frame
from .course import Course, SetFrame, courses, fit_set_frame


class Readings(NamedTuple):
    """Rows with a reading (standardised; NaN: channel not read), the course and number of their condition.

    `control` is the known level without any member (standardised; NaN: not known by definition).
    """

    frame: SetFrame
    course: Course
    z: Float[np.ndarray, "n d"]
    condition: Int[np.ndarray, " n"]
    control: Float[np.ndarray, " d"]


def readings_of(spec: WorldSpec, frame: Frame, paths: Path) -> Readings:
    """All readings of stacked training conditions."""
    scales = fit_set_frame(spec, paths)
    along, x = courses(scales, paths, len(spec.actions)), np.asarray(paths.x)
    b, t = np.nonzero(np.isfinite(x).any(-1))
    known = np.array([np.nan if c.control is None else c.control for c in spec.channels], np.float32)
    z, control = (np.asarray(frame.scale.to_z(a)) for a in (x[b, t], known[None]))
    return Readings(scales, jax.tree.map(lambda leaf: leaf[b, t], along), z, b, control[0])


def reading(frame: Frame, z: Float[Array, " d"], noise: Float[Array, " d"]) -> Observation:
    """What a reading would be at a standardised response, with the variance of its `noise` there."""
    low, high = frame.scale.to_x(z - jnp.sqrt(noise)), frame.scale.to_x(z + jnp.sqrt(noise))
    return Observation(frame.scale.to_x(z), jnp.abs(high - low) / 2)
