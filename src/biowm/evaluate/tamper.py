"""Schedules tampered with after an origin: no action, another subject's actions, actions that come late."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.schedule import Entry, Schedule, entries, schedule

Plans = Sequence[Sequence[Entry]]


def masked(given: Plans, origins: Float[np.ndarray, " q"]) -> list[list[Entry]]:
    """No action from the origin on."""
    return [
        [e._replace(stop=min(e.stop, now)) for e in plan if e.onset < now]
        for plan, now in zip(given, origins.tolist(), strict=True)
    ]


def shuffled(
    given: Plans, origins: Float[np.ndarray, " q"], subjects: Int[np.ndarray, " q"], seed: int = 0
) -> list[list[Entry]]:
    """From the origin on what another subject, drawn at random, was given at the same times since its origin."""
    rng = np.random.default_rng(seed)
    swapped = masked(given, origins)
    for q, subject in enumerate(subjects):
        r = rng.choice(np.flatnonzero(subjects != subject))
        now, then = float(origins[q]), float(origins[r])
        swapped[q] += [
            e._replace(onset=max(e.onset, then) - then + now, stop=e.stop - then + now)
            for e in given[r]
            if e.stop > then or e.onset >= then
        ]
    return swapped


def delayed(given: Plans, origins: Float[np.ndarray, " q"], step: float) -> list[list[Entry]]:
    """Every change of action from the origin on comes one step later."""

    def late(entry: Entry, now: float) -> Entry:
        begins = entry.onset >= now
        ends = begins or entry.stop > now
        return entry._replace(onset=entry.onset + step * begins, stop=entry.stop + step * ends)

    return [[late(e, now) for e in plan] for plan, now in zip(given, origins.tolist(), strict=True)]


def unpack(plans: Schedule) -> list[list[Entry]]:
    """The entries of stacked schedules."""
    return [entries(jax.tree.map(lambda leaf, q=q: leaf[q], plans)) for q in range(len(plans.card))]


def pack(plans: Plans, least: int = 0) -> Schedule:
    """Stacked schedules from their entries, padded to one size, not below `least`."""
    size = max(len(schedule(max(plans, key=len)).card), least)
    return jax.tree.map(lambda *rows: np.stack(rows), *(schedule(plan, size) for plan in plans))
