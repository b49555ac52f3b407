"""Calls of functions that others wrote: whole batches of NumPy rows, with errors that say what was wrong."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.arrays import AnyArray
from biowm.core.errors import BadInput, place

Rows = Float[np.ndarray, "b _"]
Encode = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Rows]
"""Latent [B, W] from times [B, T], readings [B, T, D], actions [B, T, A] and traits [B, S]: see `Histories`."""
Step = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Rows]
"""Latent [B, W] from latent, action [B, A] given in the next dt [B] (> 0, world clock), and noise [B, N]."""
Decode = Callable[[np.ndarray], "Rows | tuple[Rows, Rows]"]
"""What is read of a latent: the mean [B, D] in the channels' units, or (mean, sd)."""


def called(name: str, function: Callable, *given: object) -> object:
    """What the function returns; BadInput with its own message, file and line where it raises."""
    try:
        return function(*given)
    except Exception as error:
        said = " ".join(str(error).split())  # one line: all that comes through a compiled program
        raise BadInput(f"{name} raised {type(error).__name__}: {said}{_line(error)}") from error


def _line(error: Exception) -> str:
    """Where in the function's own file it was when it failed; nothing where it was not even begun."""
    frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if not f.filename.startswith("<")]
    own = [f.lineno for f in frames if f.filename == frames[0].filename]
    return f" ({frames[0].filename}, line {own[-1]})" if own else ""


def checked(name: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    """The value as float32 numbers of this shape (-1: any); BadInput says what was found instead."""
    try:
        array = np.array(value, np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"{name} returned {type(value).__name__}, expected an array of numbers ({error})") from error
    fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = "(" + ", ".join("any" if n == -1 else str(n) for n in shape) + ")"
        raise BadInput(place(column=f"what {name} returned", found=f"shape {array.shape}", expected=f"shape {wanted}"))
    bad = int((~np.isfinite(array)).sum())
    if bad:
        expected = "finite numbers for every row it was given"
        raise BadInput(
            place(column=f"what {name} returned", found=f"{bad} NaN or infinite of {array.size}", expected=expected)
        )
    return array


@dataclass(frozen=True, eq=False)
class Functions:
    """The three functions of one foreign model, called on rows with any leading axes."""

    model: str
    encode: Encode
    step: Step
    decode: Decode
    latent: int
    channels: int
    spacing: float

    def encoded(self, times: AnyArray, readings: AnyArray, actions: AnyArray, traits: AnyArray) -> np.ndarray:
        """Latents [*B, W] of histories."""
        lead = np.shape(times)[:-1]
        rows = (_flat(a, k) for a, k in ((times, 1), (readings, 2), (actions, 2), (traits, 1)))
        return self._latents("encode", lead, called(self._name("encode"), self.encode, *rows))

    def stepped(self, latent: AnyArray, action: AnyArray, dt: AnyArray, noise: AnyArray) -> np.ndarray:
        """Latents [*B, W] after `dt`; those with no time to pass stay, and the function sees one spacing there."""
        passes = _flat(dt, 0) > 0
        before = _flat(latent, 1)
        if not passes.any():
            return before.reshape(np.shape(latent))
        rows = (
            before.copy(),
            _flat(action, 1),
            np.where(passes, _flat(dt, 0), np.float32(self.spacing)),
            _flat(noise, 1),
        )
        value = called(self._name("step"), self.step, *rows)
        after = self._latents("step", (len(before),), value)
        return np.where(passes[:, None], after, before).reshape(np.shape(latent))

    def decoded(self, latent: AnyArray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd [*B, D] of readings."""
        rows, name = _flat(latent, 1), self._name("decode")
        value = called(name, self.decode, rows.copy())
        mean, sd = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        shape, out = (len(rows), self.channels), (*np.shape(latent)[:-1], self.channels)
        mean = checked(name, mean, shape)
        sd = np.zeros_like(mean) if sd is None else checked(f"{name} (sd)", sd, shape)
        if (sd < 0).any():
            raise BadInput(place(column=f"what {name} returned", found=f"an sd of {sd.min():g}", expected="sd >= 0"))
        return mean.reshape(out), sd.reshape(out)

    def _latents(self, what: str, lead: tuple[int, ...], value: object) -> np.ndarray:
        array = checked(self._name(what), value, (int(np.prod(lead)), self.latent))
        return array.reshape(*lead, array.shape[1])

    def _name(self, what: str) -> str:
        return f"{what} of {self.model}"


def _flat(a: AnyArray, rank: int) -> np.ndarray:
    """A copy that may be written to, with one leading axis."""
    array = np.array(a, np.float32)
    keep = array.shape[array.ndim - rank :]
    return array.reshape(int(np.prod(array.shape[: array.ndim - rank])), *keep)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Inside a compiled program every error is the program's: raise what a foreign function did wrong, as BadInput."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        said = re.findall(r"BadInput: (.*)", str(error))
        if not said:
            raise
        raise BadInput(said[-1]) from None
