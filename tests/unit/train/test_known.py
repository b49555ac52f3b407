"""Who is held out: nobody of no unit, whoever has one of the units of a fold, as often as there are such folds."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.models.candidate import Candidate, material
from biowm.models.sets.fit import SetConfig, fit_sets
from biowm.train.contest import Contest, Job, _folds, contest, silent
from biowm.train.fit import fit_paths
from biowm.train.horizons import Horizons
from biowm.train.stages import Stages

SPEC = WorldSpec("w", "d", (Channel("y", ""),))


@pytest.mark.parametrize("n", [20, 300])
def test_known_subjects_are_never_held_out(n: int):
    one = Path(np.zeros(1, np.float32), np.zeros((1, 1), np.float32), schedule([]), np.zeros(0, np.float32), 0)
    units = [(f"unit {i // 2}",) for i in range(n)]
    horizons = Horizons("clock", (1.0,), "d")
    known = tuple(range(0, n, 5))
    some = tuple(() if i in known else names for i, names in enumerate(units))
    folds = _folds(Job(SPEC, stack([one] * n), some, horizons, 1.0, 0))
    held = np.concatenate([fold.subjects for fold in folds])
    assert len(set(held.tolist())) == len(held)
    assert not set(held.tolist()) & set(known)
    if n == 20:  # four folds that ask everybody else once
        assert sorted(held.tolist()) == sorted(set(range(n)) - set(known))
    everybody = _folds(Job(SPEC, stack([one] * n), tuple(units), horizons, 1.0, 0))
    assert set(np.concatenate([fold.subjects for fold in everybody]).tolist()) & set(known)


MEMBERS = "abcdefgh"
SETS = [(m,) for m in MEMBERS] * 2 + [(m, n) for m in MEMBERS for n in MEMBERS if m < n]
SCREEN = WorldSpec(
    "screen", "h", (Channel("y", "", control=0.0),), tuple(ActionCard(m, "", "set-member") for m in MEMBERS)
)
START = Horizons("clock", (24.0,), "h", "start")


def screen() -> Path:
    """Every member does about 1, a little more or less each."""
    rng = np.random.default_rng(0)
    effects = dict(zip(MEMBERS, rng.normal(1.0, 0.2, len(MEMBERS)), strict=True))
    conditions = []
    for given in SETS:
        y = sum(effects[m] for m in given) + rng.normal(0, 0.05)
        plan = schedule([Entry(MEMBERS.index(m), 1.0, 0.0, 24.0, True) for m in given])
        x = np.array([[np.nan], [y]], np.float32)
        conditions.append(Path(np.array([0.0, 24.0], np.float32), x, plan, np.zeros(0, np.float32), 0))
    return stack(conditions)


def candidates() -> tuple[Candidate, ...]:
    groups = {"alone": ("members",), "shared": ("members", "shared"), "rule": ()}
    return tuple(
        Candidate(
            name, name == "rule", lambda m, g=g: fit_sets(m.spec, m.frame, m.paths, SetConfig(g)), origins=("start",),
            sets=True,
        )
        for name, g in groups.items()
    )  # fmt: skip


def held(units: tuple[tuple[str, ...], ...]) -> Contest:
    job = Job(SCREEN, screen(), units, START, 24.0, 0)
    return contest(job, candidates(), material(SCREEN, job.paths, 24.0, 24.0), Stages(None, ""), silent)


def test_who_has_several_units_is_held_out_with_each_of_them():
    several = 2 * 28 / len(SETS) + 16 / len(SETS)
    folds = _folds(Job(SCREEN, screen(), tuple(SETS), START, 24.0, 0))
    assert len(folds) == round(4 * several)  # about as much is left to learn from as of four folds of one unit
    names = [set(fold.units) for fold in folds]
    assert sorted(n for some in names for n in some) == sorted(MEMBERS)
    for fold, out in zip(folds, names, strict=True):
        assert set(fold.subjects.tolist()) == {i for i, given in enumerate(SETS) if out & set(given)}
        assert all(unit in SETS[s] for s, unit in zip(fold.subjects, fold.units, strict=True))


def test_conditions_are_held_out_in_four_folds_until_a_fifth_of_their_units_is_many():
    one = Path(np.zeros(1, np.float32), np.zeros((1, 1), np.float32), schedule([]), np.zeros(0, np.float32), 0)
    for n, count in ((1999, 4), (2000, 1)):
        units = tuple((f"unit {i}",) for i in range(n))
        folds = _folds(Job(SPEC, stack([one] * n), units, Horizons("clock", (1.0,), "d", "start"), 1.0, 0))
        assert len(folds) == count
        if count == 1:
            assert len(folds[0].subjects) == 400


def test_the_race_is_about_what_is_new():
    by_member, by_set = held(tuple(SETS)), held(tuple((str(i),) for i in range(len(SETS))))
    assert len(by_member.asked.queries.subject) == sum(len(given) for given in SETS) - _twice()
    assert len(by_set.asked.queries.subject) == len(SETS)
    assert set(by_member.unit.tolist()) == set(range(len(MEMBERS)))
    crps = {name: dict(zip(c.sheet.names, c.sheet.alone().mean(0), strict=True)) for name, c in
            (("member", by_member), ("set", by_set))}  # fmt: skip
    assert crps["member"]["shared"] < 0.5 * crps["member"]["alone"]
    assert crps["set"]["shared"] > 0.7 * crps["set"]["alone"]
    assert len(by_member.sheet.to_truth) == len(MEMBERS)  # evidence is counted by member


def _twice() -> int:
    """Conditions both of whose members are in one fold, where they are asked once."""
    folds = _folds(Job(SCREEN, screen(), tuple(SETS), START, 24.0, 0))
    return sum(len(set(SETS[s]) & set(f.units)) - 1 for f in folds for s in f.subjects)


def test_bands_count_members_where_members_are_new():
    fitted = fit_paths(SCREEN, screen(), START, units=SETS, candidates=candidates(), halves=False)
    assert fitted.calibration.subjects == len(SETS)  # eight members are too few to count by
    fitted = fit_paths(SCREEN, screen(), START, known=range(16), candidates=candidates(), halves=True)
    assert fitted.calibration.subjects == len(SETS) - 16
