"""Mechanisms: differential equations with units, written as a paper prints them.

    @register("mechanisms", "gompertz")
    class Gompertz(Mechanism):
        clock = "d"
        states = {"volume": "cm^3"}
        channels = {"volume": "cm^3"}
        actions = {"drug": "mg/d"}
        growth: Scalar = parameter("1/d", start=0.05, low=0.0, varies="subject")
        capacity: Scalar = parameter("cm^3", start=100.0, low=0.0)
        kill: Scalar = parameter("1/mg", start=0.01, low=0.0)

        def slope(self, state, action):
            (volume,), (drug,) = state, action
            return (self.growth * volume * jnp.log(self.capacity / volume) - self.kill * drug * volume,)

Any method may return a tuple of scalars or an array. A unit may be `ANY`: then the study decides, and numbers are
relative to what is typical there. Other units may name it: "1/{drug}/{clock}" is per whatever the drug is given in.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ANY = "any"
Scalar: TypeAlias = float | Float[Array, ""]
Values: TypeAlias = Array | tuple[Any, ...]


@dataclass(frozen=True)
class Parameter:
    """What is known of a parameter before any data, in `unit`: where to start, its bounds, and how it varies.

    `varies`: "no" (one value for all), "subject" (each subject has its own, normal on the unbounded scale) or
    "batch" (besides, the subjects of one batch share a shift).
    """

    unit: str
    start: float
    low: float | None = None
    high: float | None = None
    varies: Literal["no", "subject", "batch"] = "no"

    def __post_init__(self) -> None:
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        if not low < self.start < high:
            raise ValueError(f"a parameter starts at {self.start:g}, expected a value between {low:g} and {high:g}")

    def free(self, value: Scalar) -> Float[Array, ""]:
        """The value on the unbounded scale: logarithm above a bound, logit between two."""
        if self.low is not None and self.high is not None:
            share = (jnp.asarray(value) - self.low) / (self.high - self.low)
            return jnp.log(share) - jnp.log1p(-share)
        if self.low is not None:
            return jnp.log(jnp.asarray(value) - self.low)
        if self.high is not None:
            return jnp.log(self.high - jnp.asarray(value))
        return jnp.asarray(value) / self._unit_step

    def value(self, free: Float[Array, ""]) -> Float[Array, ""]:
        """The inverse of `free`."""
        if self.low is not None and self.high is not None:
            return self.low + (self.high - self.low) * jax.nn.sigmoid(free)
        if self.low is not None:
            return self.low + jnp.exp(free)
        if self.high is not None:
            return self.high - jnp.exp(free)
        return free * self._unit_step

    @property
    def _unit_step(self) -> float:
        """One unit of the unbounded scale: the size of the start."""
        return abs(self.start) or 1.0


def parameter(
    unit: str,
    *,
    start: float,
    low: float | None = None,
    high: float | None = None,
    varies: Literal["no", "subject", "batch"] = "no",
) -> Any:
    """A field of a mechanism that is fitted; see `Parameter`. Bounds are open."""
    what = Parameter(unit, start, low, high, varies)
    return eqx.field(default=start, metadata={"parameter": what})


@dataclass(frozen=True)
class Constant:
    """A number that the equations take as known, in `unit`."""

    unit: str
    value: float


def constant(unit: str, value: float) -> Any:
    """A field of a mechanism that is known and never fitted; its unit is checked as any other."""
    return eqx.field(default=value, metadata={"constant": Constant(unit, value)})


class Mechanism(eqx.Module):
    """Equations of motion dx/dt = slope(x, action); its fields are its parameters and constants (see the module).

    `clock` is the unit of time of the equations; `states`, `channels` and `actions` give the unit of each by name, in
    the order of the vectors that the methods take. States are not negative, but for those in `signed`. `substep` is the
    longest step, in `clock`, with which the equations may be solved (0: a quarter of the usual gap between readings).
    States of an `exact` mechanism move by the equations alone, as pharmacometrics has it: what readings miss is their
    own noise and the subject's parameters. States of others wander besides.
    """

    clock: ClassVar[str]
    states: ClassVar[Mapping[str, str]]
    channels: ClassVar[Mapping[str, str]]
    actions: ClassVar[Mapping[str, str]]
    signed: ClassVar[tuple[str, ...]] = ()
    substep: ClassVar[float] = 0.0
    exact: ClassVar[bool] = False

    @abstractmethod
    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> Values:
        """Change of each state per unit of time, under the rates in force (0 for actions given as boluses)."""

    def start(self, reading: Float[Array, " c"]) -> Values:
        """The states when the channels read `reading`: those named like a channel are what it reads, others 0."""
        names = list(self.channels)
        return tuple(reading[names.index(s)] if s in names else jnp.zeros_like(reading[0]) for s in self.states)

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> Values:
        """The states just after boluses (0 for actions given as rates); unchanged unless the mechanism says more."""
        return state

    def flow(self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int) -> Values:
        """The state after `dt` under constant rates: by `steps` of a solver, unless a mechanism knows the solution."""
        return runge_kutta(lambda x: vector(self.slope(x, action)), state, jnp.asarray(dt), steps)

    def read(self, state: Float[Array, " s"]) -> Values:
        """What the channels would read, without noise: the states of their names."""
        names = list(self.states)
        return tuple(state[names.index(channel)] for channel in self.channels)


def parameters(mechanism: Mechanism | type[Mechanism]) -> dict[str, Parameter]:
    """The parameters of a mechanism, by name, in the order they are declared.

    Raises: ValueError for a field that was declared neither by `parameter` nor by `constant` (it could be neither
    fitted nor saved).
    """

    def read(field: Field) -> Parameter:
        if "parameter" not in field.metadata or field.default is MISSING:
            raise ValueError(
                f"field {field.name!r} of a mechanism: found no declaration, expected parameter(unit, ...)"
            )
        return field.metadata["parameter"]

    return {field.name: read(field) for field in fields(mechanism) if "constant" not in field.metadata}


def constants(mechanism: Mechanism | type[Mechanism]) -> dict[str, Constant]:
    """What a mechanism takes as known, by name."""
    return {f.name: f.metadata["constant"] for f in fields(mechanism) if "constant" in f.metadata}


def vector(values: Values) -> Float[Array, " n"]:
    """A tuple of scalars as one array."""
    return (
        values if isinstance(values, jax.Array) else jnp.stack([jnp.asarray(v, jnp.result_type(float)) for v in values])
    )


def solve(
    mechanism: Mechanism, state: Float[Array, " s"], action: Float[Array, " a"], dt: Float[Array, ""], steps: int
) -> Float[Array, " s"]:
    """The state after `dt` (in the mechanism's clock) under constant rates.

    Doses and readings lie on ends of steps, because whoever calls splits time there.
    """
    return vector(mechanism.flow(state, action, dt, steps))


def runge_kutta(
    slope: Callable[[Float[Array, " s"]], Float[Array, " s"]],
    state: Float[Array, " s"],
    dt: Float[Array, ""],
    steps: int,
) -> Float[Array, " s"]:
    """The state after `dt` of x' = slope(x): the classical method of order 4.

    A plain loop: several steps as straight code compile ten times as long under a gradient, and run no faster.
    """
    h = dt / steps

    def body(x: Float[Array, " s"], _: None) -> tuple[Float[Array, " s"], None]:
        a = slope(x)
        b = slope(x + h / 2 * a)
        c = slope(x + h / 2 * b)
        d = slope(x + h * c)
        return x + h / 6 * (a + 2 * b + 2 * c + d), None

    return jax.lax.scan(body, state, None, length=steps)[0]


def with_parameters(mechanism: Mechanism, values: Mapping[str, Scalar]) -> Mechanism:
    """The mechanism with some of its parameters at other values."""
    names = list(values)
    return eqx.tree_at(lambda m: [getattr(m, n) for n in names], mechanism, [values[n] for n in names])
