"""Which sets to measure next, so that a fitted screen learns most: what it knows of each, and the order of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.errors import BadInput, place
from biowm.core.path import Path
from biowm.core.record import Record, digest_arrays
from biowm.core.spec import WorldSpec
from biowm.core.world import Mixture
from biowm.models.scale import Scale
from biowm.models.sets.known import Known, SetWorld, pooled
from biowm.models.sets.pairs_entry import targets
from biowm.safety.support import judge_schedule
from biowm.train.fitted import Fitted

from .balanced import balanced
from .conditions import (
    Condition,
    Measured,
    Sets,
    as_paths,
    conditions,
    contexts_of,
    in_words,
    measured,
    members_of,
    named_levels,
    usual_levels,
)
from .information import DISCOUNT, Batch, in_order, most_informative
from .proposal import By, Proposal, Proposed
from .question import question

_ROOM, _PROBE = 25_000_000, 4  # numbers that the covariance of all candidates may take; candidates that tell how many


def propose(
    fitted: Fitted,
    *,
    count: int,
    candidates: Sets = "pairs",
    members: Sequence[str] | None = None,
    context: Sequence[str] = (),
    channels: Sequence[str] = (),
    by: By = "balanced",
    discount: float = DISCOUNT,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Proposal:
    """The next `count` sets to measure, of those that were not; `biowm.api.propose` says what the arguments mean."""
    spec, cohort = fitted.spec, fitted.cohort
    members_of(spec)  # or it is no screen
    _check(count, discount)
    if cohort is None:
        raise BadInput("this artefact holds no conditions (it was made with --no-data): what was measured is not known")
    wanted = _channels(spec, channels)
    worlds, notes = _worlds(fitted)
    times = [v * (fitted.world.spacing if fitted.horizons.kind == "readings" else 1.0) for v in fitted.horizons.values]
    seen = measured(spec, cohort.paths)
    new, considered = _unmeasured(fitted, cohort.paths, seen, members, context, candidates, times[-1])
    fresh = len(new)
    if fresh < count:
        kind = {"pairs": "pairs", "singles": "singles", "all": "singles and pairs"}[candidates]
        expected = f"at most {fresh}: of {considered} {kind} {considered - fresh} were measured already"
        raise BadInput(place(column="--experiments", found=count, expected=expected))
    new = [new[i] for i in np.random.default_rng(seed).permutation(fresh)]  # of equals any comes first

    kin = targets(spec)  # members that aim at one target count as one
    groups, times_read = _groups(new, kin), np.bincount(kin, seen.times)

    def know(rows: Int[np.ndarray, " m"]) -> Known:
        return _known(worlds, spec, [new[i] for i in rows], times).of(slice(None), wanted)

    batch, kept, said = _weighed(know, groups, discount, count, times_read if by == "balanced" else None)
    if by == "balanced":
        order, nats = np.arange(count), in_order(batch, np.arange(count))
    else:
        order, nats = most_informative(batch, count, progress)
    order = kept[order]
    chosen = [new[i] for i in order]
    idle = [Condition((), one.context, one.traits) for one in chosen]
    control = _known(worlds, spec, idle, times).of(slice(None), wanted)
    scale = worlds[0][0].scale_of()
    response, unit, mean, sd = _response(spec, scale, know(order), control, wanted)
    rows = [
        _row(fitted, seen, one, k, float(mean[k]), float(sd[k]), float(nats[k]), times[-1])
        for k, one in enumerate(chosen)
    ]
    config = {
        "count": count, "candidates": candidates, "members": None if members is None else list(members),
        "context": list(context), "channels": list(channels), "by": by, "discount": discount,
    }  # fmt: skip
    return Proposal(
        spec, tuple(rows), by, tuple(spec.channels[j].name for j in wanted), response, unit, times[-1],
        considered, considered - fresh, (*notes, *said),
        Record("plan", {"measured": digest_arrays(jax.tree.leaves(cohort.paths))}, config, seed, (fitted.record.id,)),
    )  # fmt: skip


def _check(count: int, discount: float) -> None:
    if count < 1:
        raise BadInput(place(column="--experiments", found=count, expected="at least 1"))
    if not discount >= 0:
        raise BadInput(place(column="--per-member-discount", found=discount, expected="0 or more"))


def _unmeasured(
    fitted: Fitted,
    paths: Path,
    seen: Measured,
    members: Sequence[str] | None,
    context: Sequence[str],
    sets: Sets,
    until: float,
) -> tuple[list[Condition], int]:
    """The sets that could be measured and were not, and how many there are with those that were."""
    spec = fitted.spec
    levels = usual_levels(spec, seen) if members is None else named_levels(members, spec, seen, until)
    traits = question(fitted, context=context).path.traits if context else None
    where = contexts_of(spec, paths) if traits is None else [(in_words(spec, traits), np.asarray(traits))]
    every = conditions(spec, seen, levels, where, sets)
    return [one for one in every if not seen.has(one)], len(every)


def _channels(spec: WorldSpec, names: Sequence[str]) -> list[int]:
    """The channels that are named, or all that are forecast."""
    there = {spec.channels[j].name: j for j in spec.targets}
    for name in names:
        if name not in there:
            raise BadInput(place(column="--channel", found=name, expected=f"one of {', '.join(there)}"))
    return [there[name] for name in names] or list(spec.targets)


def _worlds(fitted: Fitted) -> tuple[list[tuple[SetWorld, float]], list[str]]:
    """The members of the blend that know of sets before they are read, with their weights, and what is left out."""
    world = fitted.world
    every = world.members() if isinstance(world, Mixture) else [(world, 1.0)]
    found = [(one, share) for one, share in every if isinstance(one, SetWorld)]
    share = sum(s for _, s in found)
    if not found:
        names = ", ".join(f"{name} {w:.2f}" for name, w in fitted.race.weights().items())
        raise BadInput(f"the race gave all weight to what says nothing of a set before it is read ({names})")
    left = f"{1 - share:.0%} of the blend's weight is with members that say nothing of a set before it is read"
    return found, [left] if share < 0.995 else []


def _groups(new: Sequence[Condition], kin: Int[np.ndarray, " a"]) -> Int[np.ndarray, "n k"]:
    """What the members of every set aim at, padded with -1."""
    width = max(len(one.levels) for one in new)
    return np.array([[int(kin[x.card]) for x in one.levels] + [-1] * (width - len(one.levels)) for one in new])


def _known(
    worlds: Sequence[tuple[SetWorld, float]], spec: WorldSpec, wanted: Sequence[Condition], times: Sequence[float]
) -> Known:
    """What the blend knows of conditions that were not read."""
    paths, at = as_paths(spec, wanted, times)
    return pooled([(world.known(paths, at), share) for world, share in worlds])


def _weighed(
    know: Callable[[Int[np.ndarray, " m"]], Known],
    groups: Int[np.ndarray, "n k"],
    discount: float,
    count: int,
    times: Float[np.ndarray, " g"] | None,
) -> tuple[Batch, Int[np.ndarray, " m"], list[str]]:
    """The candidates that are weighed against each other: by a balanced design (`times` measured), in its order.

    Otherwise all, or as many as there is room for, those that tell most by themselves.
    """
    n = len(groups)
    d, _, h, q = know(np.arange(min(n, _PROBE))).half.shape
    room = max(_ROOM // max(d * h * q, 1), count)
    chunks = [np.arange(at, min(at + room, n)) for at in range(0, n, room)]
    if times is None and len(chunks) == 1:
        return Batch(know(chunks[0]), groups, discount), chunks[0], []
    alone = np.concatenate([Batch(know(rows), groups[rows], discount).nats() for rows in chunks])
    best = np.argsort(-alone, kind="stable")
    said = f"of {n} sets the {room} that tell most by themselves were weighed against each other"
    kept = np.sort(best[:room]) if times is None else best[balanced(groups[best], times, count)]
    return Batch(know(kept), groups[kept], discount), kept, [said] if times is None else []


def _response(
    spec: WorldSpec, scale: Scale, known: Known, control: Known, wanted: Sequence[int]
) -> tuple[str, str, Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """What mean and sd are of, their unit, and both, at the last time.

    Of one channel its value; of several the size of the response, the root mean square of what it is away from the
    context without the set, in standard deviations of training readings.
    """
    z, sd = known.mean[:, -1], np.sqrt(known.variance()[:, -1])
    if len(wanted) > 1:
        size = np.sqrt(((z - control.mean[:, -1]) ** 2).mean(1))
        name = f"size of the response in {len(wanted)} channels"
        return name, "SD of training readings", size, np.sqrt((sd**2).mean(1))

    def to_x(value: np.ndarray) -> np.ndarray:
        full = np.zeros((len(value), len(spec.channels)), np.float32)
        full[:, wanted] = value
        return np.asarray(scale.to_x(full), float)[:, wanted[0]]

    channel = spec.channels[wanted[0]]
    return channel.name, channel.unit, to_x(z), np.abs(to_x(z + sd) - to_x(z - sd)) / 2


def _row(
    fitted: Fitted, seen: Measured, one: Condition, k: int, mean: float, sd: float, nats: float, until: float
) -> Proposed:
    cards = [fitted.spec.actions[x.card] for x in one.levels]
    return Proposed(
        rank=k + 1,
        members=tuple(card.name for card in cards),
        doses=tuple(f"{x.dose:g} {card.unit}".strip() for x, card in zip(one.levels, cards, strict=True)),
        context=one.context,
        mean=mean,
        sd=sd,
        information=nats,
        measured=tuple(int(seen.times[x.card]) for x in one.levels),
        support=judge_schedule(fitted.spec, fitted.envelope, one.entries(until), until),
    )
