"""Who is held out: nobody of no unit, whoever has one of the units of a fold, as often as there are such folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.models.candidate import Candidate, material
from biowm.models.sets.fit import SetConfig, fit_sets
from biowm.train.calibrate import calibrate
from biowm.train.contest import Contest, Job, _folds, contest, silent
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


MEMBERS = "abcdefghij"
SETS = [*((m,) for m in MEMBERS), *zip(MEMBERS, MEMBERS[1:] + MEMBERS[:1], strict=True)]  # each alone, and in a ring
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
    def entrant(name: str, config: SetConfig) -> Candidate:
        return Candidate(name, name == "rule", lambda m: fit_sets(m.spec, m.frame, m.paths, config), origins=("start",))

    groups = {"alone": ("members",), "shared": ("members", "shared"), "rule": ("any",)}
    return tuple(entrant(name, SetConfig(g)) for name, g in groups.items())


def held(units: Sequence[tuple[str, ...]]) -> Contest:
    job = Job(SCREEN, screen(), tuple(units), START, 24.0, 0)
    return contest(job, candidates(), material(SCREEN, job.paths, 24.0, 24.0), Stages(None, ""), silent)


@pytest.fixture(scope="module")
def by_member() -> Contest:
    return held(SETS)


def test_who_has_several_units_is_held_out_with_each_of_them():
    folds = _folds(Job(SCREEN, screen(), tuple(SETS), START, 24.0, 0))
    assert len(folds) == 6  # one and a half units each: about as much is left to learn from as in four folds
    names = [set(fold.units) for fold in folds]
    assert sorted(name for some in names for name in some) == sorted(MEMBERS)
    for fold, out in zip(folds, names, strict=True):
        assert set(fold.subjects.tolist()) == {i for i, given in enumerate(SETS) if out & set(given)}
        assert all(unit in SETS[s] for s, unit in zip(fold.subjects, fold.units, strict=True))


def test_conditions_are_held_out_in_four_folds_until_a_fifth_of_their_units_is_many():
    for n, counts in ((1999, [500, 500, 500, 499]), (2000, [400])):
        units = tuple((f"unit {i}",) for i in range(n))
        folds = _folds(Job(SPEC, screen(), units, START, 1.0, 0))
        assert [len(fold.subjects) for fold in folds] == counts


def test_the_race_is_about_what_is_new(by_member: Contest):
    by_set = held([(str(i),) for i in range(len(SETS))])
    assert len(by_set.asked.queries.subject) == len(SETS)
    assert set(by_member.asked.queries.subject.tolist()) == set(range(len(SETS)))
    assert len(by_member.asked.queries.subject) > len(SETS)  # a pair is asked about for either of its members
    own, usual = (dict(zip(c.sheet.names, c.sheet.alone().mean(0), strict=True)) for c in (by_member, by_set))
    assert own["shared"] < 0.6 * own["alone"]
    assert own["alone"] > 1.5 * usual["alone"]
    assert len(by_member.sheet.to_truth) == len(MEMBERS)  # evidence is counted by member


def test_bands_count_members_where_members_are_new(by_member: Contest):
    scale = by_member.kept.frame.scale
    given = SCREEN, scale, by_member.asked, by_member.draws["shared"], 1
    assert calibrate(*given, by_member.unit).subjects == len(MEMBERS)
    assert calibrate(*given).subjects == len(SETS)
    assert calibrate(*given, by_member.unit // 2).subjects == len(SETS)  # five units are too few to promise by
