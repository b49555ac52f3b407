"""What a whole is joined of: parts, and joints from an outlet of one to an action of another."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx

from biowm.core.units import UnitError, factor

from .open import Open


class Part(eqx.Module):
    """A world under a name, which takes `steps` steps of its own in each exchange."""

    name: str = eqx.field(static=True)
    world: Open
    steps: int = eqx.field(static=True, default=1)


@dataclass(frozen=True)
class Joint:
    """`outlet` of the part `source` drives `action` of the part `target`; the unit may be another of the same kind."""

    source: str
    outlet: str
    target: str
    action: str


class Wire(eqx.Module):
    """A joint by number, with the factor from the unit of its outlet to that of its action."""

    source: int = eqx.field(static=True)
    outlet: int = eqx.field(static=True)
    target: int = eqx.field(static=True)
    action: int = eqx.field(static=True)
    factor: float = eqx.field(static=True)


def wire(parts: tuple[Part, ...], joint: Joint) -> Wire:
    """A joint by number, with units checked.

    Raises: ValueError for a part, outlet or action that is not there and for a bolus, which cannot be held; UnitError
    naming the joint where the unit of the outlet cannot be that of the action.
    """
    names = [part.name for part in parts]
    source, target = _find(joint.source, names, "part"), _find(joint.target, names, "part")
    outlets, spec = parts[source].world.outlets, parts[target].world.spec
    outlet = _find(joint.outlet, [name for name, _ in outlets], f"outlet of {joint.source}")
    action = _find(joint.action, [card.name for card in spec.actions], f"action of {joint.target}")
    card = spec.actions[action]
    where = f"{joint.source}.{joint.outlet} to {joint.target}.{joint.action}"
    if card.kind == "bolus":
        raise ValueError(f"{where}: found a bolus, expected an action that is held")
    try:
        return Wire(source, outlet, target, action, factor(outlets[outlet][1], card.unit))
    except UnitError as error:
        raise UnitError(f"{where}: {error}") from None


def _find(name: str, names: list[str], what: str) -> int:
    if name not in names:
        raise ValueError(f"found {what} {name!r}, expected one of {', '.join(names)}")
    return names.index(name)
