"""Gate `skill`: free-running error at every horizon against the last value and the best simple rule."""

from __future__ import annotations

from dataclasses import asdict

from biowm.core.registry import register

from ..exam import Exam, Verdict
from ..metrics import ratio

MARGIN = 1.02  # what counts as not worse than a rule


@register("gates", "skill")
def check(exam: Exam) -> Verdict:
    """Not worse than the best simple rule by more than 2 % in CRPS at any horizon (R23, R24 of the ladder).

    The best rule is chosen on the very subjects of the exam, by the area under its error curve: the hardest to beat.
    """
    best = exam.best_rule()
    curves = {name: exam.curve(exam.answer(name)) for name in ("world", "persistence", best)}
    against = {
        rule: {
            label: ratio(ours, theirs, seed=exam.seed)
            for label, ours, theirs in zip(exam.horizons.labels(), curves["world"], curves[rule], strict=True)
            if len(ours.units)
        }
        for rule in ("persistence", best)
    }
    areas = {
        rule: ratio(exam.area(curves["world"]), exam.area(curves[rule]), seed=exam.seed)
        for rule in ("persistence", best)
    }
    behind = [label for label, r in against[best].items() if r.value > MARGIN]
    lost = [label for label, r in against["persistence"].items() if r.value > 1]
    detail = f"error over the horizon {areas[best].value:.3f} of the best simple rule ({best})"
    detail += f" and {areas['persistence'].value:.3f} of the last value"
    detail += f"; more than 2 % worse than {best} at {', '.join(behind)}" if behind else ""
    detail += f"; the last value wins at {', '.join(lost)}" if lost else ""
    evidence = {
        "metric": "crps",
        "best_rule": best,
        "ratio": {rule: {label: asdict(r) for label, r in rows.items()} for rule, rows in against.items()},
        "area_ratio": {rule: asdict(r) for rule, r in areas.items()},
    }
    return exam.verdict("skill", not behind, areas[best], detail, evidence)
