"""What `biowm data check` prints: how a study was understood, everything that was repaired, and what leaks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from biowm.core.path import CENSORED, ENDED
from biowm.core.schedule import entries
from biowm.core.spec import Channel

from .audit import audit
from .paths import read_at
from .splits import split as draw_split
from .study import Study

_TOP = 0.05  # of a declared range: above it a reading tells little more
_AGAIN = 0.01  # of the readings at the very largest value: a counter that is over
_HELD = {"bolus": "given at once", "rate": "held", "switch": "on or off", "set-member": "held in sets"}


def describe(study: Study, seed: int = 0) -> str:
    """Subjects, readings, actions, covariates, traits, splits, repairs, leakage and feasible horizons, as text."""
    parts = {
        "": _overview(study),
        "Channels": _channels(study),
        "Actions": _actions(study),
        "Traits": _traits(study),
        "Groups": [f"{name}: {len(set(values))} ({_some(values)})" for name, values in study.groups.items()],
        "Horizons": _horizons(study),
        "Split": _split(study, seed),
        "Leakage": _leaks(study, seed),
        "Limits": [f"{limit.name}: {limit.rule} ({limit.severity})" for limit in study.limits],
        "Repairs": [str(repair) for repair in study.repairs] or ["none: the table was read as it is"],
    }
    return "\n\n".join(_block(title, lines) for title, lines in parts.items() if lines)


def _block(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)] if title else lines)


def _overview(study: Study) -> list[str]:
    clock = study.spec.clock
    spans = np.array([float(p.t[-1]) for p in study.paths])
    counts = np.array([len(read_at(p)) for p in study.paths])
    events = np.array([int(p.event) for p in study.paths])
    use = study.config.use
    lines = [
        f"Study {study.config.study}: {len(study.subjects)} subjects ({_some(study.subjects)})",
        f"readings a subject: median {np.median(counts):g}, from {counts.min()} to {counts.max()}",
        f"follow-up: median {np.median(spans):g} {clock}, longest {spans.max():g} {clock}",
        f"gap between readings: median {study.spacing:g} {clock}{_widest(study)}",
        f"use: {use.purpose}, licence {use.licence or 'not stated'}, cite {use.cite or 'not stated'}",
        f"sha256 {study.sha256}",
    ]
    if study.config.end is not None:
        lost = study.config.end.lost
        why = "" if lost is None else f" (last read before others of their {lost}: lost, or left)"
        lines.insert(3, f"ended {np.sum(events == ENDED)}, censored {np.sum(events == CENSORED)}{why}")
    return lines


def _widest(study: Study) -> str:
    read = zip(study.subjects, map(read_at, study.paths), strict=True)
    gaps = [(float(np.max(np.diff(t))), name) for name, t in read if len(t) > 1]
    return f", widest {max(gaps)[0]:g} (subject {max(gaps)[1]})" if gaps else ""


def _channels(study: Study) -> list[str]:
    lines = []
    for j, channel in enumerate(study.spec.channels):
        value = np.concatenate([np.asarray(p.x)[:, j] for p in study.paths])
        value = value[np.isfinite(value)]
        low, middle, high = np.quantile(value, [0, 0.5, 1])
        role = "" if channel.role == "target" else ", covariate"
        lines.append(
            f"{channel.name} [{channel.unit}], {channel.link}{role}: {len(value)} readings, "
            f"median {middle:g}, from {low:g} to {high:g}"
        )
        lines += _full(study, j, channel)
    return lines


def _full(study: Study, j: int, channel: Channel) -> list[str]:
    """That readings are at the end of what the instrument can tell, if they are: a full well, a counter that is over.

    That is the upper limit of quantification; without one the top of the declared range, or a largest value that comes
    again and again.
    """
    if channel.link == "ordinal":
        return []
    readings = [np.asarray(p.x)[:, j] for p in study.paths]
    value = np.concatenate(readings)
    top = float(np.nanmax(value))
    if channel.uloq is not None:
        top, what = channel.uloq, "its upper limit of quantification"
    elif channel.high is not None and channel.low is not None:
        top, what = channel.high - _TOP * (channel.high - channel.low), f"the top {100 * _TOP:g} % of its range"
    elif np.mean(value[np.isfinite(value)] >= top) > _AGAIN:
        what = "its largest value, again and again"
    else:
        return []
    at = [int(np.sum(x >= np.float32(top))) for x in readings]
    if not sum(at):
        return []
    told = "" if channel.uloq is not None else f"; uloq: {top:g} reads them as that limit"
    return [
        f"  saturated: {sum(at)} readings of {np.sum(np.array(at) > 0)} subjects are at {what} (from {top:g} "
        f"{channel.unit} on), a limit of the reading and not of what is read{told}"
    ]


def _actions(study: Study) -> list[str]:
    """Each action, and its first interventions for the subject that got most."""
    lines = []
    listed = [entries(p.plan) for p in study.paths]
    for card, action in enumerate(study.spec.actions):
        mine = [[e for e in plan if e.card == card] for plan in listed]
        count, treated = sum(len(m) for m in mine), sum(bool(m) for m in mine)
        held = _HELD[action.kind]
        lines.append(
            f"{action.name} [{action.unit or 'on/off'}], {action.kind} ({held}): {count} for {treated} subjects"
        )
        if count:
            most = int(np.argmax([len(m) for m in mine]))
            shown = "; ".join(_entry(e, action.unit, study.spec.clock) for e in mine[most][:3])
            lines.append(
                f"  for example subject {study.subjects[most]}: {shown}{' ...' if len(mine[most]) > 3 else ''}"
            )
    if lines:
        lines.append(f"assignment: {study.config.assignment.kind}")
    return lines


def _entry(entry, unit: str, clock: str) -> str:
    until = "" if entry.stop == entry.onset else f" to {entry.stop:g} {clock}"
    return f"{entry.dose:g} {unit} at {entry.onset:g} {clock}{until}".replace("  ", " ")


def _traits(study: Study) -> list[str]:
    lines = []
    table = np.stack([np.asarray(p.traits) for p in study.paths])
    for trait, place in zip(study.spec.traits, study.spec.trait_places, strict=True):
        block = table[:, place]
        unknown = int(np.isnan(block).any(axis=1).sum())
        known = block[~np.isnan(block).any(axis=1)]
        if trait.kind == "category":
            said = ", ".join(f"{level} {int(n)}" for level, n in zip(trait.levels, known.sum(axis=0), strict=True))
        else:
            said = (
                f"[{trait.unit}] median {np.median(known):g}, from {known.min():g} to {known.max():g}"
                if len(known)
                else "-"
            )
        lines.append(f"{trait.name}: {said}" + (f"; unknown for {unknown}" if unknown else ""))
    return lines


def _horizons(study: Study) -> list[str]:
    """How many subjects have a reading as far ahead of their second reading as each horizon."""
    wanted = study.horizons or tuple(n * study.spacing for n in (1, 3, 6, 12))
    ahead = np.array([float(t[-1] - t[min(1, len(t) - 1)]) for t in map(read_at, study.paths)])
    lost = np.array([int(p.event) == CENSORED for p in study.paths])
    clock = study.spec.clock
    lines = [
        f"{h:g} {clock}: {int(np.sum(ahead >= h - 1e-6))} of {len(ahead)} subjects have readings that far"
        + (f", {int(np.sum(lost & (ahead < h - 1e-6)))} were lost before" if lost.any() else "")
        for h in wanted
    ]
    return lines if study.horizons else ["not declared: 1, 3, 6 and 12 readings, about", *lines]


def _split(study: Study, seed: int) -> list[str]:
    parts = draw_split(study, seed)
    by = f"column {study.config.split.column}" if study.given_split else f"{study.config.split.by}, seed {seed}"
    sizes = f"train {len(parts.train)}, calibrate {len(parts.calibrate)}, test {len(parts.test)}"
    short = len(parts.train) + len(parts.calibrate) < 9  # bands are calibrated out of sample on both
    return [
        f"by {by}: {sizes}",
        *(["fewer than 9 subjects outside the test part: no 90 % promise will be made"] if short else []),
    ]


def _leaks(study: Study, seed: int) -> list[str]:
    findings = audit(study, draw_split(study, seed))
    return [f.message for f in findings] or ["none found: no subject or group in two parts, no identical paths"]


def _some(names: Iterable[str], most: int = 4) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
