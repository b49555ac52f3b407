"""What if: the futures of one subject under interventions, with a calibrated band and the verdict on support."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from biowm.core import do as interventions
from biowm.core.buckets import bucket
from biowm.core.forecast import forecast
from biowm.core.futures import Futures, Support
from biowm.core.path import lengths, stack
from biowm.core.queries import Queries
from biowm.core.record import Record
from biowm.core.rollout import time_grid
from biowm.core.schedule import Entry, Schedule, entries, schedule
from biowm.core.spec import WorldSpec
from biowm.safety.support import future, judge
from biowm.train.calibrate import band, level_at
from biowm.train.fitted import Fitted

from .contrast import contrast
from .held import hold
from .question import Question, inputs_of

Others = Literal["observed", "hold", "zero"]
PRESETS = ("observed", "hold", "zero")
_ROOM = 32  # interventions: questions of one size share one compiled forecast


def what_if(
    fitted: Fitted,
    asked: Question,
    *,
    do: Sequence[str] = (),
    against: Sequence[str] = (),
    others: Others = "observed",
    horizon: float,
    draws: int = 200,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Futures:
    """Futures under `do`, and under `against` where that is given: the two share their noise, and make a contrast.

    Args: texts such as "cpa=200 mg/d@0:28 d", times after the last reading used; `against` may also be one of
    observed, hold, zero; `others` what the actions not named do: as recorded after that reading and then held,
    held as they were, or zero; `horizon` in the world's clock; `progress` hears of the share of all draws made.
    """
    parts = 2 if against else 1
    main = _future(fitted, asked, do, others, horizon, draws, seed, lambda share: progress(share / parts))
    if not against:
        return main
    preset = len(against) == 1 and against[0] in PRESETS
    mode: Others = against[0] if preset else others  # type: ignore[assignment]
    instead = () if preset else against
    names = _named(do, others), _named(instead, mode)
    other = _future(
        fitted, asked, instead, mode, horizon, draws, seed, lambda share: progress((1 + share) / parts), "--against"
    )
    return dataclasses.replace(main, against=other, contrast=contrast(fitted, asked, main, other, names))


def _named(do: Sequence[str], others: Others) -> str:
    """A schedule in words: what is asked for, and what the actions do that are not named."""
    rest = {"observed": "as recorded", "hold": "held as they were", "zero": "stopped"}[others]
    return f"{'; '.join(do)}, other actions {rest}" if do else f"all actions {rest}"


def schedule_of(futures: Futures, now: float) -> Schedule:
    """The interventions a future was simulated under, in the absolute times of the history."""
    return schedule(futures.entries(now))


def _future(
    fitted: Fitted,
    asked: Question,
    do: Sequence[str],
    others: Others,
    ahead: float,
    draws: int,
    seed: int,
    progress: Callable[[float], None],
    option: str = "--do",
) -> Futures:
    spec = fitted.spec
    chosen = _schedule(fitted, asked, do, others, ahead, option)
    grid, _ = time_grid(asked.now, np.array([asked.now + ahead]), fitted.world.spacing)
    support = judge(spec, fitted.calibration.scale, fitted.envelope, asked.path, asked.origin, chosen, ahead)
    got = forecast(
        fitted.world,
        stack([asked.path]),
        Queries(np.zeros(1, int), np.array([asked.origin]), grid[None]),
        key=jax.random.key(seed),
        draws=draws,
        plans=jax.tree.map(lambda leaf: leaf[None], schedule(chosen, size=bucket(len(chosen), _ROOM))),
        progress=progress,
    )[0]
    promised = support.verdict != "outside" and _as_asked(fitted, asked)
    times = grid - asked.now
    median, low, high = band(fitted.calibration, spec, got, times, "joint")
    config = {
        "do": list(do),
        "others": others,
        "horizon": ahead,
        "draws": draws,
        "subject": asked.subject,
        "now": asked.now,
    }
    return Futures(
        spec=spec, times=times, draws=got, median=median, low=low, high=high,
        level=level_at(fitted.calibration, ahead) if promised else None,
        band="joint", support=_said(support, fitted, asked),
        record=Record("simulate", inputs_of(asked), config, seed, (fitted.record.id,)),
        plan=tuple(_entry(spec, e, asked.now) for e in chosen),
    )  # fmt: skip


def _as_asked(fitted: Fitted, asked: Question) -> bool:
    """Whether the bands were calibrated on questions like this one: all from the first reading, or from any."""
    earlier = np.isfinite(np.asarray(asked.path.x)[: asked.origin]).any()
    return fitted.horizons.origins == "spread" or not bool(earlier)


def _said(support: Support, fitted: Fitted, asked: Question) -> Support:
    if not _as_asked(fitted, asked):
        late = "no 90 % promise: bands were calibrated from first readings alone (origins: first)"
        return Support(support.verdict, (*support.reasons, late))
    if fitted.calibration.level is not None:
        return support
    few = f"no 90 % promise: {fitted.calibration.subjects} calibration subjects, at least nine are needed"
    return Support(support.verdict, (*support.reasons, few))


def _schedule(
    fitted: Fitted, asked: Question, do: Sequence[str], others: Others, ahead: float, option: str
) -> list[Entry]:
    """What is given after the last reading used: what `do` says, and the other actions as `others` says."""
    spec, now, end = fitted.spec, asked.now, asked.now + ahead
    read = interventions.parse_do(do, spec, ahead, option=option)
    wanted = [e._replace(onset=e.onset + now, stop=e.stop + now) for e in read]
    named = {e.card for e in wanted} | {
        spec.action(text.split("=")[0].strip()) for line in do for text in line.split(";")
    }
    if others == "zero":
        return wanted
    past = entries(asked.path.plan)
    known = max([float(asked.path.t[int(lengths(stack([asked.path]))[0]) - 1]), *(e.stop for e in past)], default=now)
    going_on = entries(hold(asked.path.plan, spec, now, ahead))
    if others == "observed" and known > now:
        recorded = [e._replace(onset=max(e.onset, now), stop=min(e.stop, end)) for e in future(asked.path, now, end)]
        held = hold(asked.path.plan, spec, known, max(end - known, 0.0)) if end > known else schedule([])
        going_on = [*recorded, *(e for e in entries(held) if e.onset >= known)]
    return [*wanted, *(e for e in going_on if e.card not in named)]


def _entry(spec: WorldSpec, e: Entry, now: float) -> dict[str, Any]:
    card = spec.actions[e.card]
    return {
        "action": card.name,
        "dose": e.dose,
        "unit": card.unit,
        "onset": e.onset - now,
        "stop": e.stop - now,
        "assigned": e.assigned,
    }
