"""What a world is made of: channels that are read, actions that can be taken, traits that stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from . import units

Link = Literal["log", "logit", "real", "ordinal"]
ActionKind = Literal["bolus", "rate", "switch", "set-member"]


@dataclass(frozen=True)
class Channel:
    """One measured variable, in `unit`; `floor` is the level below which readings carry no information.

    `resolution` is the smallest step of the instrument: no band is narrower. An ordinal channel takes the levels from
    `low` to `high` in steps of `resolution`. `below` names a channel of the same unit that this one never exceeds
    (diastolic below systolic). `role` is "target" for a channel that is forecast and scored and "covariate" for one
    that only informs the others. `control` is what it is by definition where nothing is given (0 for a log ratio to the
    control), where that is known. Below `lloq` and above `uloq` the instrument tells nothing apart: readings there are
    the limit.
    """

    name: str
    unit: str
    link: Link = "real"
    low: float | None = None
    high: float | None = None
    floor: float = 0.0
    resolution: float = 0.0
    lloq: float | None = None
    role: Literal["target", "covariate"] = "target"
    code: str | None = None
    below: str | None = None
    control: float | None = None
    vector: str | None = None
    uloq: float | None = None


@dataclass(frozen=True)
class ActionCard:
    """One admissible intervention; a bolus is in `unit`, a rate in `unit` (per time), a switch is 0 or 1.

    A set-member is held as a rate is, in `unit` (a concentration, or nothing: there or not). What is held together
    makes a set: its response has no order, and members never seen together, or at all, are still asked about. `effect`
    is what it does to its `target`: up, down, knock-out. `known` are numbers that are known of it beforehand (gene
    sets, a fingerprint; all cards of a world have as many): members with like numbers are expected to act alike.
    """

    name: str
    unit: str
    kind: ActionKind = "rate"
    low: float = 0.0
    high: float | None = None
    target: str | None = None
    evidence: str | None = None
    effect: str | None = None
    known: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trait:
    """A property of a subject that does not change; a category is coded over `levels`."""

    name: str
    unit: str = ""
    kind: Literal["real", "category"] = "real"
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorldSpec:
    """Channels, actions, traits and the unit of time (`clock`) of one world.

    In a screen of cells (regime "cloud") a gene that is read and the perturbation of it go by one name.
    """

    name: str
    clock: str
    channels: tuple[Channel, ...]
    actions: tuple[ActionCard, ...] = ()
    traits: tuple[Trait, ...] = ()
    regime: Literal["path", "cloud"] = "path"

    def __post_init__(self) -> None:
        channels, actions = [c.name for c in self.channels], [a.name for a in self.actions]
        kinds = (channels, actions) if self.regime == "cloud" else (channels + actions,)
        twice = sorted({name for names in kinds for name, n in Counter(names).items() if n > 1})
        if twice:
            raise ValueError(f"names used twice in world {self.name!r}: {', '.join(twice)}")
        if not self.channels:
            raise ValueError(f"world {self.name!r} has no channel")
        for item in (*self.channels, *self.actions):
            units.parse(item.unit)
        units.parse(self.clock)
        chains(self.channels)
        if len({len(a.known) for a in self.actions}) > 1:
            raise ValueError(
                f"world {self.name!r}: found actions of which different numbers are known, expected as many"
            )
        for c in self.channels:
            if c.link == "ordinal" and (c.low is None or c.high is None or c.resolution <= 0):
                raise ValueError(
                    f"ordinal channel {c.name!r}: expected low, high and resolution, the step of its levels"
                )

    @property
    def targets(self) -> tuple[int, ...]:
        """Indices of the channels that are forecast and scored."""
        return tuple(i for i, c in enumerate(self.channels) if c.role == "target")

    @property
    def trait_width(self) -> int:
        """Length of the trait vector: one number a real trait, one per level of a category."""
        return self.trait_places[-1].stop if self.traits else 0

    @property
    def trait_places(self) -> tuple[slice, ...]:
        """Where each trait is in the trait vector."""
        found, start = [], 0
        for trait in self.traits:
            found.append(slice(start, start + (1 if trait.kind == "real" else len(trait.levels))))
            start = found[-1].stop
        return tuple(found)

    @property
    def chains(self) -> tuple[tuple[int, ...], ...]:
        """Indices of channels that keep an order, lowest first, one tuple for each chain of `below`."""
        return chains(self.channels)

    def channel(self, name: str) -> int:
        """Index of a channel by name; KeyError names the channels there are."""
        return _find(name, [c.name for c in self.channels], "channel")

    def action(self, name: str) -> int:
        """Index of an action card by name; KeyError names the actions there are."""
        return _find(name, [a.name for a in self.actions], "action")


def chains(channels: Sequence[Channel]) -> tuple[tuple[int, ...], ...]:
    """Indices of the channels that `below` puts in order, lowest first; ValueError where it does not make chains."""
    index = {c.name: j for j, c in enumerate(channels)}
    above = {c.name: c.below for c in channels if c.below is not None}
    for name, other in above.items():
        if other not in index or other == name:
            raise ValueError(f"{name} below {other!r}: expected another channel, one of {', '.join(index)}")
        a, b = channels[index[name]].unit, channels[index[other]].unit
        if units.factor(a, b) != 1:
            raise ValueError(f"{name} [{a}] below {other} [{b}]: expected one unit for both")
        kinds = [(c.link, c.low, c.high, c.resolution) for c in (channels[index[n]] for n in (name, other))]
        if kinds[0] != kinds[1] and any(kind[0] in ("ordinal", "logit") for kind in kinds):
            raise ValueError(
                f"{name} below {other}: expected one link, range and resolution for both, as they are swapped"
            )
        rivals = [n for n, o in above.items() if o == other]
        if len(rivals) > 1:
            raise ValueError(f"{' and '.join(rivals)} below {other}: expected one, and the other below that")
    found = []
    for name in above.keys() - above.values():
        chain = [name]
        while chain[-1] in above:
            chain.append(above[chain[-1]])
        found.append(tuple(index[n] for n in chain))
    if sum(len(chain) - 1 for chain in found) < len(above):
        raise ValueError(f"below goes round in a circle among {', '.join(above)}")
    return tuple(sorted(found))


def _find(name: str, names: list[str], what: str) -> int:
    if name not in names:
        raise KeyError(f"unknown {what} {name!r}; this world has: {', '.join(names) or 'none'}")
    return names.index(name)


def spec_to_json(spec: WorldSpec) -> dict:
    """The spec as plain JSON data."""
    return asdict(spec)


def spec_from_json(data: dict) -> WorldSpec:
    """The inverse of `spec_to_json`."""
    return WorldSpec(
        name=data["name"],
        clock=data["clock"],
        channels=tuple(Channel(**c) for c in data["channels"]),
        actions=tuple(ActionCard(**{**a, "known": tuple(a.get("known", ()))}) for a in data["actions"]),
        traits=tuple(Trait(**{**t, "levels": tuple(t["levels"])}) for t in data["traits"]),
        regime=data["regime"],
    )
