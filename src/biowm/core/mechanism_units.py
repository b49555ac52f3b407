"""What of a study a mechanism moves: channels, actions and the clock, matched by name and checked by unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import units
from .errors import BadInput
from .mechanism import ANY, Mechanism, constants, parameters, vector, with_parameters
from .spec import WorldSpec

_CLOCK = "clock"


@dataclass(frozen=True, eq=False)
class Declared:
    """A mechanism that a study declares: what the study calls its channels and actions, where names differ.

    An action that is never given is None. `batch` is the category trait whose levels share the shifts of parameters
    that vary by batch. Names may be left out where there is one channel, or one action, on both sides.
    """

    mechanism: Mechanism
    channels: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, str | None] = field(default_factory=dict)
    batch: str | None = None


class Wiring(eqx.Module):
    """Where each channel and action of a mechanism is in a study (-1: never given).

    `batch` is the slice of the trait vector that codes the batches; it is empty where there are none.
    """

    channel: tuple[int, ...] = eqx.field(static=True)
    action: tuple[int, ...] = eqx.field(static=True)
    batch: tuple[int, int] = eqx.field(static=True)


class Factors(eqx.Module):
    """A number of the mechanism is the study's times the factor: of each channel, each action and the clock."""

    channel: Float[Array, " c"]
    action: Float[Array, " a"]
    clock: Float[Array, ""]


def wire(declared: Declared, spec: WorldSpec) -> Wiring:
    """Match a mechanism to a study and check every unit.

    Raises: BadInput naming the channel, action or parameter, the unit found and the unit expected.
    """
    mechanism = declared.mechanism
    name = type(mechanism).__name__
    for what in ("clock", "states", "channels", "actions"):
        if what not in dir(mechanism):
            raise BadInput(f"mechanism {name}: found no {what}, expected {what} = ... with its unit")
    own, cards = [c.name for c in spec.channels], [a.name for a in spec.actions]
    channel = _match(name, "channel", list(mechanism.channels), own, declared.channels)
    action = _match(name, "action", list(mechanism.actions), cards, declared.actions) if cards else ()
    wiring = Wiring(channel, action or (-1,) * len(mechanism.actions), _batch(name, spec, declared.batch))
    _check_factors(mechanism, spec, wiring)
    _check_dimensions(mechanism, resolved(mechanism, spec, wiring))
    _check_doses(mechanism, spec, wiring)
    return wiring


def factors(
    mechanism: Mechanism,
    spec: WorldSpec,
    wiring: Wiring,
    typical: Float[np.ndarray, " d"],
    doses: Float[np.ndarray, " a"],
    spacing: float,
) -> Factors:
    """How numbers of the study become numbers of the mechanism; `ANY` counts in typical readings, doses and gaps."""

    def one(unit: str, study: str, usual: float) -> float:
        return 1 / usual if unit == ANY else units.factor(study, unit)

    channel = [
        one(unit, spec.channels[j].unit, float(typical[j]))
        for unit, j in zip(mechanism.channels.values(), wiring.channel, strict=True)
    ]
    action = [
        0.0 if a < 0 else one(unit, spec.actions[a].unit, float(doses[a]))
        for unit, a in zip(mechanism.actions.values(), wiring.action, strict=True)
    ]
    clock = one(mechanism.clock, spec.clock, spacing)
    return Factors(*(jnp.asarray(x, jnp.float32) for x in (channel, action, clock)))


def resolved(mechanism: Mechanism, spec: WorldSpec, wiring: Wiring) -> dict[str, str]:
    """The unit of the clock and of each channel and action, by name: the study's own where the mechanism says `ANY`."""
    found = {_CLOCK: spec.clock if mechanism.clock == ANY else mechanism.clock}
    for (name, unit), j in zip(mechanism.channels.items(), wiring.channel, strict=True):
        found[name] = spec.channels[j].unit if unit == ANY else unit
    for (name, unit), a in zip(mechanism.actions.items(), wiring.action, strict=True):
        found[name] = ("" if a < 0 else spec.actions[a].unit) if unit == ANY else unit
    return found


def spelled(unit: str, names: Mapping[str, str]) -> str:
    """A unit with the names in braces replaced by their units; KeyError for a name that is none."""
    return unit.format(**{name: f"({text or 'dimensionless'})" for name, text in names.items()})


def _match(
    mechanism: str, what: str, names: list[str], own: list[str], given: Mapping[str, str | None]
) -> tuple[int, ...]:
    """Index in the study of each of a mechanism's channels or actions."""
    strange = [g for g in given if g not in names]
    if strange:
        raise BadInput(f"mechanism {mechanism}: found {what} {strange[0]!r}, expected one of {', '.join(names)}")
    found = []
    for name in names:
        wanted = given.get(name, own[0] if len(own) == len(names) == 1 else name)
        if wanted is None and what == "action":
            found.append(-1)
            continue
        if wanted not in own:
            raise BadInput(
                f"mechanism {mechanism}, {what} {name!r}: found no {what} {wanted!r} in the study, "
                f"expected one of {', '.join(own)} (say which: {what}s: {{{name}: ...}})"
            )
        found.append(own.index(wanted))
    return tuple(found)


def _batch(mechanism: str, spec: WorldSpec, batch: str | None) -> tuple[int, int]:
    if batch is None:
        return 0, 0
    for trait, place in zip(spec.traits, spec.trait_places, strict=True):
        if trait.name == batch and trait.kind == "category":
            return place.start, place.stop
    there = [t.name for t in spec.traits if t.kind == "category"]
    raise BadInput(f"mechanism {mechanism}: found batch {batch!r}, expected a category: {', '.join(there) or 'none'}")


def _check_factors(mechanism: Mechanism, spec: WorldSpec, wiring: Wiring) -> None:
    """Every declared unit can be turned into the study's."""
    name = type(mechanism).__name__
    pairs = [("clock", "", mechanism.clock, spec.clock)]
    pairs += [
        ("channel", c, unit, spec.channels[j].unit)
        for (c, unit), j in zip(mechanism.channels.items(), wiring.channel, strict=True)
    ]
    pairs += [
        ("action", a, unit, spec.actions[i].unit)
        for (a, unit), i in zip(mechanism.actions.items(), wiring.action, strict=True)
        if i >= 0
    ]
    for what, item, unit, study in pairs:
        if unit == ANY:
            continue
        try:
            units.factor(study, unit)
        except units.UnitError:
            label = f"{what} {item!r}" if item else what
            raise BadInput(f"mechanism {name}, {label}: found {study!r} in the study, expected {unit!r}") from None


def _check_dimensions(mechanism: Mechanism, names: Mapping[str, str]) -> None:
    """The equations must not depend on the units they are written in.

    In other units every number changes by a known factor; a slope that then changes by any other is no rate of its
    state. That shows, without symbols, what a parameter with a wrong unit does.
    """
    name, declared = type(mechanism).__name__, parameters(mechanism) | constants(mechanism)
    kinds = {"clock": names[_CLOCK]}
    kinds |= {f"state {s}": u for s, u in mechanism.states.items()} | {
        f"parameter {n}": p.unit for n, p in declared.items()
    }
    kinds |= {f"channel {c}": names[c] for c in mechanism.channels} | {
        f"action {a}": names[a] for a in mechanism.actions
    }
    power = {what: _dimension(name, what, unit, names) for what, unit in kinds.items()}
    before = _probe(mechanism, {})
    for basis in sorted({b for p in power.values() for b in p}):
        factor = {what: 2.0 ** p.get(basis, 0.0) for what, p in power.items()}
        after = _probe(mechanism, factor)
        for what, value in after.items():
            if not np.isclose(value, before[what], rtol=1e-3, atol=1e-6 * abs(before[what]) + 1e-30):
                mixed = ", ".join(f"{n} ({p.unit})" for n, p in declared.items())
                raise BadInput(
                    f"mechanism {name}: found a {what} that depends on the unit of {basis.strip('[]')}, expected none "
                    f"that does; check the units of {mixed or 'its states'}"
                )


def _dimension(mechanism: str, what: str, unit: str, names: Mapping[str, str]) -> dict[str, float]:
    try:
        powers = dict[str, Any](units.parse(spelled(unit, names)).dimensionality)
        return {base: float(power) for base, power in powers.items()}
    except (units.UnitError, KeyError) as error:
        raise BadInput(
            f"mechanism {mechanism}, {what}: found the unit {unit!r}, expected one that can be read: {error}"
        ) from None


def _probe(mechanism: Mechanism, factor: Mapping[str, float]) -> dict[str, float]:
    """Slopes, impulses, readings and starts at a point, measured in units changed by `factor`, in the old units."""

    def scale(what: str) -> float:
        return factor.get(what, 1.0)

    def point(kind: str, names: Mapping[str, str], first: float) -> Array:
        return jnp.asarray([(first + 0.3 * i) * scale(f"{kind} {n}") for i, n in enumerate(names)], jnp.float32)

    values = {n: p.start for n, p in parameters(mechanism).items()}
    values |= {n: c.value for n, c in constants(mechanism).items()}
    moved = with_parameters(mechanism, {n: v * scale(f"parameter {n}") for n, v in values.items()})
    state, action = point("state", mechanism.states, 0.7), point("action", mechanism.actions, 0.4)
    found = {
        "slope of state": (moved.slope(state, action), mechanism.states, scale("clock")),
        "impulse on state": (moved.impulse(state, action), mechanism.states, 1.0),
        "start of state": (moved.start(point("channel", mechanism.channels, 0.9)), mechanism.states, 1.0),
        "reading of channel": (moved.read(state), mechanism.channels, 1.0),
    }
    out = {}
    for what, (values, names, per) in found.items():
        for n, v in zip(names, np.asarray(vector(values)), strict=True):
            out[f"{what} {n!r}"] = float(v) * per / scale(f"{what.split()[-1]} {n}")
    return out


def _check_doses(mechanism: Mechanism, spec: WorldSpec, wiring: Wiring) -> None:
    """A bolus must move the state at once, a rate must change its slope: else the action would be lost in silence."""
    state = jnp.full(len(mechanism.states), 0.7, jnp.float32)
    for i, (a, action) in enumerate(zip(mechanism.actions, wiring.action, strict=True)):
        if action < 0:
            continue
        some, none = jnp.zeros(len(mechanism.actions), jnp.float32).at[i].set(0.4), jnp.zeros(len(mechanism.actions))
        bolus = spec.actions[action].kind == "bolus"
        felt = mechanism.impulse if bolus else mechanism.slope
        if np.array_equal(vector(felt(state, some)), vector(felt(state, none))):
            kind, where = ("boluses", "impulse") if bolus else ("a rate", "slope")
            raise BadInput(
                f"mechanism {type(mechanism).__name__}, action {a!r}: found {kind} in the study "
                f"({spec.actions[action].name}), expected an action that {where}() uses"
            )


def fingerprint(declared: Declared) -> str:
    """What a declared mechanism computes, as text: the same for the same equations, starts and names."""
    m = declared.mechanism
    state, action, reading = (jnp.ones(len(names)) for names in (m.states, m.actions, m.channels))
    calls = [(m.slope, state, action), (m.impulse, state, action), (m.read, state), (m.start, reading)]
    calls += [(lambda x, a: m.flow(x, a, 1.0, 1), state, action)]
    traced = [jax.make_jaxpr(lambda *x, method=method: vector(method(*x)))(*args) for method, *args in calls]
    names = (m.clock, m.states, m.channels, m.actions, m.exact, declared.channels, declared.actions, declared.batch)
    values = [(n, p, float(jnp.asarray(getattr(m, n)))) for n, p in parameters(m).items()]
    return "\n".join(map(str, (type(m).__name__, *names, *values, *traced)))
