"""What conditions of a screen are called."""

from __future__ import annotations

from collections.abc import Sequence

from .screen_config import Filled
from .screen_obs import Kind
from .screen_sets import Given


def plain(kind: Kind) -> str:
    """The set of a condition, 'control' where nothing was given."""
    return "+".join(g.target for g in kind.given) or "control"


def condition_names(found: Sequence[Kind], config: Filled) -> tuple[str, ...]:
    """Readable names of conditions, each its own: the set, its context, its time where times vary."""
    timed = len({kind.hours for kind in found}) > 1
    for told in (False, True):  # effects only where names would not be told apart without
        names = []
        for kind in found:
            parts = ["+".join(_member(g, told) for g in kind.given) or "control"]
            parts += [f"{name}={word}" for name, word in zip(config.traits, kind.levels, strict=True)]
            parts += [f"{kind.hours:g} {config.time.unit}"] if timed else []
            names.append(", ".join(parts))
        if len(set(names)) == len(names):
            break
    return tuple(names)


def _member(member: Given, told: bool) -> str:
    if member.unit:
        return f"{member.target}={member.dose:g} {member.unit}"
    return f"{member.target} {member.effect or 'given'}" if told else member.target
