"""Gate `support`: questions like those of training are answered, and questions unlike them are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float

from biowm.core.interval import Interval
from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.sampled import evenly
from biowm.core.schedule import Entry
from biowm.safety.support import future, judge

from ..exam import Exam, Training, Verdict
from ..metrics import METRICS, interval, tally

_ALPHA, _POWER = 0.05, 0.9  # false alarms and power that the issue of this suite demands
_QUESTIONS = 64
_NAMED = 4  # untested shifts that the verdict names; all are in its evidence
_DOSES, _UNITS, _SDS, _GAPS = 10.0, 1000.0, 10.0, 3.0  # the declared shifts


@dataclass(frozen=True)
class Question:
    """A question as support is judged: a history up to its reading `origin`, a plan, and how far it looks."""

    path: Path
    origin: int
    plan: tuple[Entry, ...]
    start: float
    ahead: float


@register("gates", "support")
def check(exam: Exam) -> Verdict:
    """False alarms at most 5 %, power at least 90 % on every declared shift (R29 of the ladder).

    An alarm is the verdict "outside", by which a promise is withdrawn. It passes if the exact 95 % interval (by
    subject) of the false alarms on the exam's own questions, asked no further than was validated, reaches down to 5 %
    or less, and that of each shift's alarms reaches up to 90 % or more. Shifts of the same questions: an action that
    nobody was given in training; a tenfold dose; one channel in a wrong unit (log and logit: readings times 1,000 and
    by 1,000, others 10 SD higher); three times as long between readings. A tenfold dose or a longer gap that is still
    one of those of training is no shift and not asked. What no question can be made of is said not to be tested.
    """
    training = exam.training
    if training is None:
        return exam.skip("support", "what the model learned from is not known: histories were left out")
    rows = evenly(len(exam.asked.queries.subject), _QUESTIONS)
    asked = [_question(exam, training, q) for q in rows.tolist()]

    def alarms(questions: Sequence[Question | None]) -> Interval:
        said = [np.nan if q is None else float(_outside(exam, training, q)) for q in questions]
        return interval(tally(METRICS["coverage90"], np.array(said), exam.units[rows]))

    false = alarms(asked)
    power = {name: alarms(questions) for name, questions in _shifts(exam, training, asked)}
    return _judge(exam, false, power)


def _question(exam: Exam, training: Training, row: int) -> Question:
    """A question of the exam, asked up to its last reading and no further than the model was validated."""
    path, start = exam.path(row), float(exam.asked.start[row])
    ahead = min(float(exam.asked.leads[row].max()), training.envelope.longest)
    origin = int(exam.asked.queries.origin[row])
    return Question(path, origin, tuple(future(path, start, start + ahead)), start, ahead)


def _outside(exam: Exam, training: Training, q: Question) -> bool:
    return judge(
        exam.world.spec, training.scale, training.envelope, q.path, q.origin, q.plan, q.ahead
    ).verdict == "outside"  # fmt: skip


def _shifts(exam: Exam, training: Training, asked: Sequence[Question]) -> Iterator[tuple[str, list[Question | None]]]:
    """Every declared shift with its questions; None where a question cannot be shifted so."""
    spec, seen = exam.world.spec, training.envelope
    for action, card in enumerate(spec.actions):
        if seen.given[action] == 0:
            yield f"{card.name}, never given", [_with_new(q, action) for q in asked]
        else:
            yield f"{card.name} x {_DOSES:g}", [_with_dose(q, action, float(seen.dose_top[action])) for q in asked]
    for channel, c in enumerate(spec.channels):
        if c.link in ("log", "logit"):
            for name, factor in ((f"{c.name} x {_UNITS:g}", _UNITS), (f"{c.name} / {_UNITS:g}", 1 / _UNITS)):
                yield name, [_with_readings(q, channel, factor, 0.0) for q in asked]
        else:
            sd = float(np.asarray(training.scale.sd)[channel])
            yield f"{c.name} + {_SDS:g} SD", [_with_readings(q, channel, 1.0, _SDS * sd) for q in asked]
    yield f"gaps x {_GAPS:g}", [_with_gaps(q, float(seen.gaps[2])) for q in asked]


def _with_new(q: Question, action: int) -> Question:
    return replace(q, plan=(*q.plan, Entry(action, 1.0, q.start, q.start + q.ahead)))


def _with_dose(q: Question, action: int, top: float) -> Question | None:
    more = tuple(e._replace(dose=_DOSES * e.dose) if e.card == action else e for e in q.plan)
    most = max((e.dose for e in more if e.card == action), default=0.0)
    return replace(q, plan=more) if most > top else None


def _with_readings(q: Question, channel: int, factor: float, offset: float) -> Question | None:
    x = np.array(q.path.x)
    if not _read(x[: q.origin + 1, channel]).any():
        return None
    x[:, channel] = factor * x[:, channel] + offset
    return replace(q, path=eqx.tree_at(lambda p: p.x, q.path, x))


def _with_gaps(q: Question, longest: float) -> Question | None:
    t = np.asarray(q.path.t)
    read = t[: q.origin + 1][_read(np.asarray(q.path.x)[: q.origin + 1]).any(-1)]
    if len(read) < 2 or _GAPS * float(np.median(np.diff(read))) <= longest:
        return None
    return replace(q, path=eqx.tree_at(lambda p: p.t, q.path, t[0] + _GAPS * (t - t[0])))


def _read(x: Float[np.ndarray, "*b"]) -> Bool[np.ndarray, "*b"]:
    return np.asarray(np.isfinite(x))


def _judge(exam: Exam, false: Interval, power: Mapping[str, Interval]) -> Verdict:
    tested = {name: p for name, p in power.items() if p.n}
    missed = [name for name, p in tested.items() if p.high < _POWER]
    noisy = not false.low <= _ALPHA
    untested = [name for name in power if name not in tested]
    if not any(name.endswith("never given") for name in power):
        untested.append("a new action (there is none that was not given in training)")
    detail = f"alarm at {100 * false.value:.2g} % [{100 * false.low:.2g}, {100 * false.high:.2g}] of the exam's own "
    detail += f"questions{', clearly more than 5 %' if noisy else ''}"
    if missed:
        found = ", ".join(f"{name}: {100 * tested[name].value:.0f} %" for name in missed)
        detail += f"; shifts that it clearly tells in less than 90 %: {found}"
    else:
        detail += f"; {len(tested)} shifts are told apart as they should be, in 90 % or more"
    more = f", ... ({len(untested) - _NAMED} more)" if len(untested) > _NAMED else ""
    detail += f"; not tested: {', '.join(untested[:_NAMED])}{more}" if untested else ""
    evidence = {
        "alpha": _ALPHA,
        "false_alarms": asdict(false),
        "power_demanded": _POWER,
        "power": {name: asdict(p) for name, p in tested.items()},
        "not_tested": untested,
    }
    return exam.verdict("support", not (noisy or missed), false, detail, evidence)
