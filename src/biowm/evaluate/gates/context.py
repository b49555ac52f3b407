"""Gate `context`: error on subjects of contexts (site, plate, kind of subject) never met in training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from biowm.core.interval import Interval
from biowm.core.registry import register

from ..exam import Exam, Verdict
from ..metrics import REPLICATES, Tally, add, interval

_WORSE = 1.1
_LEAST = 6  # subjects: of fewer, even a result that all of them share is chance in one case of 2 / 2^5


@register("gates", "context")
def check(exam: Exam) -> Verdict:
    """Subjects of contexts never met in training are not clearly forecast worse than those of known ones (R7).

    For every grouping and category trait the area of CRPS over the horizon on subjects of unseen contexts is divided by
    that on subjects of met ones; it fails where the 95 % interval of a ratio lies wholly above 1.1, the worst that a
    context split may cost unnoticed. The same ratio of the last value tells whether those contexts are harder for
    anybody. Errors and coverage in each context are always in the evidence.
    """
    if not exam.contexts:
        return exam.skip("context", "the data declare no grouping and no category among the traits: nothing to test")
    areas = {name: exam.area(exam.curve(exam.answer(name))) for name in ("world", "persistence")}
    table = _table(exam, areas["world"])
    tested, reasons = {}, []
    for grouping in exam.contexts:
        new = _new(exam, grouping, areas["world"])
        if new is None:
            reasons.append(f"which {grouping} training met is not known")
        elif min(new[0].sum(), new[1].sum()) < _LEAST:
            reasons.append(f"{grouping}: {new[0].sum()} subjects of unseen and {new[1].sum()} of met ones")
        else:
            tested[grouping] = {name: _unpaired(area, *new, exam.seed) for name, area in areas.items()}
    if not tested:
        why = f"no context is held out with {_LEAST} subjects on both sides ({'; '.join(reasons)})"
        evidence = {"reason": why, "contexts": table}
        return Verdict("not_applicable", None, why, exam.record("context", evidence))
    return _judge(exam, tested, reasons, table)


def _judge(exam: Exam, tested: dict[str, dict[str, Interval]], reasons: list[str], table: dict[str, Any]) -> Verdict:
    worse = [name for name, found in tested.items() if found["world"].low > _WORSE]
    worst = max((found["world"] for found in tested.values()), key=lambda r: r.low)
    parts = [
        f"unseen {name}: error {r['world'].value:.2f} [{r['world'].low:.2f}, {r['world'].high:.2f}] of that in met ones"
        f" (the last value: {r['persistence'].value:.2f}){', clearly worse' if name in worse else ''}"
        for name, r in tested.items()
    ]
    parts += [f"not tested: {'; '.join(reasons)}"] if reasons else []
    ratios = {name: {rule: asdict(r) for rule, r in found.items()} for name, found in tested.items()}
    evidence = {"metric": "crps", "unseen_to_met": ratios, "not_tested": reasons, "contexts": table}
    return exam.verdict("context", not worse, worst, "; ".join(parts), evidence)


def _values(exam: Exam, grouping: str, units: Iterable[str]) -> np.ndarray:
    """The context of each unit; empty where it is not known."""
    of = dict(zip(exam.subjects, exam.contexts[grouping], strict=True))
    return np.array([of[u] for u in units])


def _new(exam: Exam, grouping: str, area: Tally) -> tuple[Bool[np.ndarray, " u"], Bool[np.ndarray, " u"]] | None:
    """Which scored subjects are of an unseen context, and which of a met one; None where that is not known."""
    if grouping not in exam.trained_on:
        return None
    values = _values(exam, grouping, area.units)
    met = np.isin(values, sorted(exam.trained_on[grouping]))
    return ~met & (values != ""), met & (values != "")


def _part(whole: Tally, of: Bool[np.ndarray, " u"]) -> Tally:
    return Tally(whole.metric, whole.units[of], whole.total[of], whole.count[of])


def _unpaired(area: Tally, new: Bool[np.ndarray, " u"], met: Bool[np.ndarray, " u"], seed: int) -> Interval:
    """The ratio of two errors of different subjects, each side resampled by itself."""
    rng = np.random.default_rng(seed)

    def error(of: Bool[np.ndarray, " u"]) -> Float[np.ndarray, " r"]:
        n = int(of.sum())
        weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), REPLICATES)])
        return weights @ area.total[of] / (weights @ area.count[of])

    ratios = error(new) / error(met)
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    return Interval(float(ratios[0]), float(low), float(high), round(area.count[new | met].sum()))


def _table(exam: Exam, area: Tally) -> dict[str, dict[str, Any]]:
    """Subjects, error and coverage in every context of every grouping."""
    level, cover = exam.calibrations["world"].level, None
    if level is not None:
        cover = add(exam.by_horizon("coverage90", exam.hits("world")))
    return {g: _rows(exam, g, area, cover) for g in exam.contexts}


def _rows(exam: Exam, grouping: str, area: Tally, cover: Tally | None) -> dict[str, Any]:
    """One row a context; one that nobody knows is called unknown."""
    met = exam.trained_on.get(grouping)
    rows = {}
    for value in sorted(set(exam.contexts[grouping])):
        here = [_part(t, _values(exam, grouping, t.units) == value) for t in (area, cover) if t is not None]
        numbers = [asdict(interval(t, seed=exam.seed)) for t in here]
        rows[value or "unknown"] = {
            "subjects": len(here[0].units), "met_in_training": None if met is None else value in met,
            "crps": numbers[0], "coverage": numbers[1] if len(numbers) > 1 else None,
        }  # fmt: skip
    return rows
