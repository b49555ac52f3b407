"""What each cell of a screen was given: labels of sets such as 'KLF1+MAP2K6' become members, doses and effects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from biowm.core import units
from biowm.core.errors import BadInput

from .faults import fault
from .keys import closest
from .locate import natural
from .screen_config import Effect

CONTROLS = (
    "control", "ctrl", "non-targeting", "nontargeting", "non_targeting", "ntc", "dmso", "vehicle", "untreated",
    "unperturbed", "mock", "safe-targeting", "negative control",
)  # fmt: skip
_WORDS: dict[Effect, tuple[str, ...]] = {
    "up": ("crispra", "activation", "overexpression", "oe", "up"),
    "down": ("crispri", "knock-down", "knockdown", "interference", "shrna", "sirna", "rnai", "down"),
    "knock-out": ("crispr", "crispr-cas9", "crispr-ko", "crisprko", "knock-out", "knockout", "ko"),
}
_EFFECTS: dict[str, Effect] = {word: effect for effect, words in _WORDS.items() for word in words}


@dataclass(frozen=True)
class Given:
    """One member of a set: its target, a signed 1 (genetic) or a dose in `unit`, and what it does."""

    target: str
    dose: float
    unit: str = ""
    effect: Effect | None = None


@dataclass(frozen=True)
class Grammar:
    """How labels are read: the mark between members, the words of the control, and the unit of all doses, if one."""

    split: str | None
    control: tuple[str, ...]
    file: str
    column: str

    def parts(self, label: str) -> tuple[str, ...]:
        """The words between the marks of a label."""
        return tuple(part.strip() for part in ([label] if self.split is None else label.split(self.split)))

    def members(self, label: str, row: object) -> tuple[str, ...]:
        """The members that a label names, in its order, without the words of the control ('A+ctrl' is 'A')."""
        if label in self.control:
            return ()
        parts = self.parts(label)
        if not all(parts):
            raise self.bad(row, repr(label), "the name of a perturbation on each side of the mark, or the control")
        found = [part for part in parts if part not in self.control]
        for part in found if len(parts) > 1 else []:
            if part.casefold() in CONTROLS:
                raise self.bad(
                    row,
                    f"{part!r} as a member of {label!r}",
                    f"perturbations, or the control {self.control[0]!r} "
                    f"(key control: value: [{', '.join((*self.control, part))}] where both mean control)",
                )
        return tuple(found)

    def doses(self, text: object, label: str, row: object, column: str) -> tuple[float | None, ...]:
        """The dose of each member that a label names ('1+0.5' of sets); None where the cell is blank."""
        words = self.parts(label)
        kept = [i for i, word in enumerate(words) if word not in self.control]
        blank = text is None or str(text).strip() in ("", "nan", "None", "NA")
        parts = [] if blank else str(text).split(self.split) if self.split else [str(text)]
        if blank:
            return (None,) * len(kept)
        if len(parts) == 1:
            parts = parts * len(words)
        if len(parts) != len(words):
            raise self.bad(row, f"{len(parts)} doses of {len(words)} members ({label!r})", "one each", column)
        return tuple(self._dose(parts[i], row, column) for i in kept)

    def _dose(self, text: str, row: object, column: str) -> float:
        try:
            dose = float(text)
        except ValueError:
            raise self.bad(row, repr(text), "a number", column) from None
        if not math.isfinite(dose) or dose <= 0:
            raise self.bad(row, f"a dose of {dose:g}", "a dose above 0 (cells given nothing are the control)", column)
        return dose

    def bad(self, row: object, found: str, expected: str, column: str | None = None) -> BadInput:
        """The message that a cell's annotation is wrong."""
        return fault(found, expected, file=self.file, row=row, column=column or self.column)


def no_control(words: Sequence[str], seen: Iterable[str], file: str, column: str) -> BadInput:
    """The message that no cell has a word of the control, with the likely one among those seen."""
    seen = sorted(set(seen), key=natural)
    like = [word for word in seen if word.casefold() in CONTROLS]
    guess = f" (did you mean {like[0]!r}?)" if like else closest(words[0], seen)
    found = f"no cell with {' or '.join(map(repr, words))}{guess}"
    return fault(found, "control cells (key control: {obs: COLUMN, value: WORD})", file=file, column=column)


def effect_of(word: object) -> Effect | None:
    """What a type of perturbation does to its target (CRISPRa: up), None where the word does not say."""
    return _EFFECTS.get(str(word).strip().casefold())


def given(targets: Sequence[str], doses: Sequence[float | None], unit: str, effect: Effect | None) -> tuple[Given, ...]:
    """The members of one set; those without a dose are genetic: 1, or -1 where they turn their target down."""
    sign = -1.0 if effect in ("down", "knock-out") else 1.0
    return tuple(
        Given(target, sign, "", effect) if dose is None else Given(target, dose, unit)
        for target, dose in zip(targets, doses, strict=True)
    )


def in_unit(member: Given, unit: str) -> Given:
    """The same with its dose in `unit`."""
    if member.unit == unit:
        return member
    dose = member.dose * units.factor(member.unit, unit)
    return replace(member, dose=float(f"{dose:.12g}"), unit=unit)  # 1000 nM is 1 uM, not 1.0000000000000002
