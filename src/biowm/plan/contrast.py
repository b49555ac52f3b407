"""What two simulated schedules say together: the paired difference, the words it may be given, overlap, tipping."""

from __future__ import annotations

import json
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.contrast import SHARE, Assignment, Contrast, Reach, Tipping, Word
from biowm.core.futures import Futures
from biowm.core.interval import Interval
from biowm.core.path import Path, take
from biowm.core.schedule import Entry, schedule
from biowm.core.scores import rank_quantile
from biowm.safety.overlap import ENOUGH, alike, likeness
from biowm.safety.tipping import e_value, marginal_gamma
from biowm.train.fitted import Cohort, Fitted

from .question import Question

_NEAREST = 3
_TAIL = (1 - SHARE) / 2


def contrast(fitted: Fitted, asked: Question, main: Futures, other: Futures, names: tuple[str, str]) -> Contrast:
    """How `main` differs from `other`, by the same chances; `names` say in words what is given in each."""
    apart = main.draws - other.draws
    both = tuple(zip((main, other), names, strict=True))
    reaches = None
    if fitted.cohort is not None and fitted.spec.actions:
        reaches = _reach(fitted, asked, *both[0]), _reach(fitted, asked, *both[1])
    assignment = assignment_of(fitted.study)
    outside = [f"{name!r} is outside the data" for f, name in both if f.support.verdict == "outside"]
    word, why = wording(assignment, reaches or (), outside)
    return Contrast(
        spec=main.spec,
        word=word,
        why=why,
        estimand=_estimand(main, asked, names),
        assignment=assignment,
        median=np.median(apart, axis=0),
        low=rank_quantile(apart, _TAIL),
        high=rank_quantile(apart, 1 - _TAIL),
        overlap=reaches,
        tipping=tuple(_tipping(fitted, main, other, j) for j in main.spec.targets),
    )


def assignment_of(study: str | None) -> Assignment:
    """What the description of a study (JSON; None: there is none) declares of its actions."""
    declared = {} if study is None else json.loads(study).get("assignment", {})
    kind, given = declared.get("kind", "observed"), tuple(declared.get("given", ()))
    if kind == "randomised":
        return Assignment(kind, given, "Assumed: the training subjects' actions were assigned at random, as declared.")
    if not given:
        return Assignment(kind if declared else "not declared", given, "")
    beside = f"beside the recorded history of {', '.join(given)} nothing moved both actions and readings, as declared."
    return Assignment(kind, given, f"Assumed: {beside} The data cannot show it.")


def wording(assignment: Assignment, reaches: Sequence[Reach], outside: Sequence[str]) -> tuple[Word, tuple[str, ...]]:
    """The word a difference may be given: a causal one needs an assumption, overlap of all sides and support."""
    if not assignment.assumption:
        return "association", ("the study does not say by what its actions were assigned (assignment: given)",)
    if not reaches:
        return "simulation", ("the training subjects are not known, so neither is overlap",)
    thin = [
        f"fewer than {ENOUGH:g} training subjects were treated like {r.schedule!r}" for r in reaches if not r.enough
    ]
    return ("simulation", (*thin, *outside)) if thin or outside else ("effect", ())


def _reach(fitted: Fitted, asked: Question, futures: Futures, name: str) -> Reach:
    reading = np.asarray(asked.path.x)[asked.origin]
    return reach_of(fitted, futures.entries(asked.now), asked.now, float(futures.times[-1]), reading, name)


def reach_of(
    fitted: Fitted, rows: Sequence[Entry], start: float, length: float, reading: Float[np.ndarray, " d"], name: str
) -> Reach:
    """How the training subjects stand to `rows`, given from `start` over `length` to somebody with this `reading`.

    Raises ValueError where the artefact holds no training subjects.
    """
    if fitted.cohort is None:
        raise ValueError("no training subjects in this artefact: overlap is not known")
    who, paths = trained_on(fitted.cohort)
    plan = jax.tree.map(lambda leaf: leaf[None], schedule(rows))
    like = likeness(fitted.spec, fitted.calibration.scale, paths, plan, start, length, reading)
    order = np.argsort(like.distance, kind="stable")[:_NEAREST]
    subjects = float(alike(like.distance))
    return Reach(
        schedule=name,
        subjects=subjects,
        enough=subjects >= ENOUGH,
        nearest=tuple((who[u], float(like.distance[u])) for u in order if np.isfinite(like.distance[u])),
        propensity=tuple((card.name, float(p) if np.isfinite(p) else None)
                         for card, p in zip(fitted.spec.actions, like.propensity, strict=True)),
    )  # fmt: skip


def trained_on(cohort: Cohort) -> tuple[tuple[str, ...], Path]:
    """The subjects of a cohort that were learned from, and their stacked paths."""
    return tuple(cohort.subjects[i] for i in cohort.known), take(cohort.paths, cohort.known)


def _estimand(main: Futures, asked: Question, names: tuple[str, str]) -> str:
    channels = ", ".join(main.spec.channels[j].name for j in main.spec.targets)
    return (
        f"{channels} of subject {asked.subject} under {names[0]!r} minus under {names[1]!r}, from one state and by the "
        f"same chances, up to {float(main.times[-1]):g} {main.spec.clock} after the last reading used"
    )


def _tipping(fitted: Fitted, main: Futures, other: Futures, channel: int) -> Tipping:
    """On the channel's link, where means are not made by a few draws; the difference itself is in its unit."""
    card = main.spec.channels[channel]
    ours, theirs = (fitted.calibration.scale.to_z(f.draws[:, -1])[:, channel].astype(np.float64) for f in (main, other))
    apart = (main.draws - other.draws)[:, -1, channel]
    spread = float(theirs.std())
    low, high = (float(rank_quantile(apart, q)) for q in (_TAIL, 1 - _TAIL))
    return Tipping(
        channel=card.name,
        unit=card.unit,
        difference=Interval(float(apart.mean()), low, high, len(apart)),
        gamma=marginal_gamma(ours[None], theirs[None]),
        e_value=e_value(float((ours - theirs).mean()) / spread) if spread > 1e-6 else None,
    )
