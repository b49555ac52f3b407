"""Held-out subjects, folds as the published protocol draws them, and what the leakage audit finds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biowm.core.errors import BadInput
from biowm.data.audit import audit
from biowm.data.report import describe
from biowm.data.splits import Split, folds, split
from biowm.data.study import Study, load

CONFIG = {"subject": "id", "time": {"column": "t", "unit": "d"}, "channels": {"x": {"unit": "mg"}}}


def cohort(n: int = 30, config: dict | None = None, **columns: object) -> Study:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.repeat(np.arange(n), 4), "t": np.tile(np.arange(4), n), "x": rng.normal(size=4 * n)})
    return load(frame.assign(**columns), CONFIG | (config or {}))


def test_folds_are_every_kth_of_a_seeded_permutation_in_the_order_given():
    ids = [str(i) for i in (5, 3, 9, 1, 7, 2)]
    order = np.random.default_rng(0).permutation(6)
    found = folds(ids, 3, 0)
    for j in range(3):
        assert found[j].tolist() == sorted(order[j::3].tolist())


def test_more_folds_than_units_are_refused():
    with pytest.raises(BadInput, match="5 folds asked of 2 units"):
        folds(["a", "b", "a"], 5, 0)


def test_the_words_of_a_split_column_are_kept():
    part = np.repeat(["train"] * 20 + ["calibrate"] * 6 + ["test"] * 4, 4)
    found = split(cohort(config={"split": {"column": "part"}}, part=part), seed=3)
    assert found == Split(tuple(range(20)), tuple(range(20, 26)), tuple(range(26, 30)))


@pytest.mark.parametrize(
    ("test", "calibrate", "counts"), [(0.2, 0.1, (21, 3, 6)), (0.1, 0.3, (18, 9, 3)), (0.4, 0.0, (18, 0, 12))]
)
def test_shares_are_those_of_the_subjects(test: float, calibrate: float, counts: tuple[int, int, int]):
    found = split(cohort(config={"split": {"test": test, "calibrate": calibrate}}), seed=1)
    assert (len(found.train), len(found.calibrate), len(found.test)) == counts
    assert sorted((*found.train, *found.calibrate, *found.test)) == list(range(30))
    assert found != split(cohort(config={"split": {"test": test, "calibrate": calibrate}}), seed=2)


def test_a_screen_split_by_member_is_tested_on_members_that_were_never_given():
    drugs = ["a", "b", "c", "d", "e"]
    sets = [{d} for d in drugs] + [{d, e} for d in drugs for e in drugs if d < e] + [set()]
    table = pd.DataFrame({"id": range(len(sets)), "x": 1.0, **{d: [float(d in s) for s in sets] for d in drugs}})
    actions = {d: {"kind": "set-member"} for d in drugs}
    config = CONFIG | {"time": {"at": 24, "unit": "h"}, "actions": actions}
    study = load(table, config | {"split": {"by": "member", "test": 0.2, "calibrate": 0.2}})
    found = split(study, seed=0)
    out, spare = (
        {d for d in drugs if all(i in part for i, s in enumerate(sets) if s == {d})}
        for part in (found.test, found.calibrate)
    )
    assert (len(out), len(spare)) == (1, 1)
    assert set(found.test) == {i for i, s in enumerate(sets) if s & out}
    assert set(found.calibrate) == {i for i, s in enumerate(sets) if s & spare and not s & out}
    assert len(sets) - 1 in found.train  # nothing is given: known to all
    parts = folds(study, 5, 0)
    assert [len(part) for part in parts] == [5] * 5
    with pytest.raises(BadInput, match="member"):
        cohort(config={"split": {"by": "member"}})


def test_groups_are_split_whole_and_shares_are_those_of_the_groups():
    site = np.repeat([f"site {i % 10}" for i in range(30)], 4)
    config = {"groups": {"site": "site"}, "split": {"by": "site", "test": 0.2, "calibrate": 0.1}}
    found = split(cohort(config=config, site=site), seed=1)
    assert (len(found.train), len(found.calibrate), len(found.test)) == (21, 3, 6)
    for part in (found.train, found.calibrate, found.test):
        assert sorted(part) == sorted(i for i in range(30) if i % 10 in {k % 10 for k in part})


def test_some_subjects_of_known_groups_are_tested_beside_those_of_unknown_ones():
    site = np.repeat(np.repeat(["a", "b", "c", "d", "e", "f"], 5), 4)
    config = {"groups": {"site": "site"}, "split": {"by": "site", "test": 1 / 3, "calibrate": 0.0}}
    alone = split(cohort(config=config, site=site), seed=0)
    found = split(cohort(config=config | {"split": {**config["split"], "within": 0.2}}, site=site), seed=0)
    assert (len(alone.test), len(found.test)) == (10, 14)  # a fifth of the other twenty
    assert set(alone.test) < set(found.test), "whole sites are those they were"
    assert sorted((*found.train, *found.test)) == list(range(30))


def test_a_split_without_training_subjects_is_refused():
    with pytest.raises(BadInput, match="no subject is left to train on"):
        split(cohort(config={"split": {"column": "part"}}, part="test"), seed=0)


def test_audit_finds_one_patient_under_two_names():
    study = cohort()
    first = study.paths[0]
    frame = pd.DataFrame({
        "id": ["a"] * 4 + ["b"] * 4 + ["c"] * 4, "t": [0, 1, 2, 3, 10, 11, 12, 13, 0, 1, 2, 3],
        "x": [*first.x[:, 0], *first.x[:, 0], 1, 2, 3, 4.5],
    })  # fmt: skip
    doubled = load(frame, CONFIG)
    (finding,) = audit(doubled, split(doubled, 0))
    assert finding.kind == "identical paths"
    assert finding.subjects == ("a", "b")


def test_audit_finds_a_group_and_a_subject_on_both_sides():
    study = cohort(config={"groups": {"site": "site"}}, site=np.repeat(np.arange(30) // 15, 4))
    clean = Split(tuple(range(15)), tuple(range(15, 22)), tuple(range(22, 30)))
    assert audit(study, clean) == ()
    (finding,) = audit(study, Split(tuple(range(16)), tuple(range(16, 22)), tuple(range(22, 30))))
    assert (finding.kind, len(finding.subjects)) == ("group in two parts", 15)
    assert "site" in finding.message
    (twice,) = audit(study, Split(tuple(range(15)), (*range(15, 22), 22), tuple(range(22, 30))))
    assert (twice.kind, twice.subjects) == ("subject in two parts", ("22",))


def planted(leak: str, seed: int) -> tuple[Study, Split]:
    """A clean cohort of 24 subjects on two plates of two donors each, with one leak of the kind between the parts."""
    rng = np.random.default_rng(seed)
    n, train, test = 24, tuple(range(16)), tuple(range(16, 24))
    x = rng.lognormal(size=(n, 6, 2))
    donor = np.repeat(["d0", "d1", "d2"], 8)
    plate = np.repeat(["p0", "p0", "p1"], 8)
    a, b = int(rng.choice(train)), int(rng.choice(test))
    if leak == "subject":
        x[b] = x[a]
    elif leak == "time":  # the later half of a training subject, under another name
        x[b, :3] = x[a, 3:]
    elif leak == "first":  # one measurement at t = 0 stands for both
        x[b, 0] = x[a, 0]
    elif leak == "donor":
        donor[b] = donor[a]
    elif leak == "plate":
        plate[b] = plate[a]
    frame = pd.DataFrame({
        "id": np.repeat(np.arange(n), 6), "t": np.tile(np.arange(6), n), "x": x[..., 0].ravel(), "y": x[..., 1].ravel(),
        "donor": np.repeat(donor, 6), "plate": np.repeat(plate, 6),
    })  # fmt: skip
    channels = {"x": {"unit": "mg"}, "y": {"unit": "mg"}}
    study = load(frame, CONFIG | {"channels": channels, "groups": {"donor": "donor", "plate": "plate"}})
    return study, Split(train, (), test)


@pytest.mark.parametrize(
    ("leak", "kind"),
    [
        ("subject", "identical paths"),
        ("time", "shared stretch"),
        ("first", "shared first reading"),
        ("donor", "group in two parts"),
        ("plate", "group in two parts"),
    ],
)
def test_audit_finds_every_planted_leak(leak: str, kind: str):
    for seed in range(20):
        assert audit(*planted("none", seed)) == ()
        assert kind in {finding.kind for finding in audit(*planted(leak, seed))}, seed


def test_values_that_come_up_by_themselves_are_no_copies():
    rng = np.random.default_rng(0)
    rough = rng.integers(1, 6, size=120)  # five levels: first readings are bound to meet
    study = cohort(x=rough.astype(float))
    assert "shared first reading" not in {f.kind for f in audit(study, split(study, 0))}


def test_describe_says_what_was_understood_and_every_repair():
    rng = np.random.default_rng(1)
    n = 12
    frame = pd.DataFrame({
        "id": np.repeat([f"P{i}" for i in range(n)], 4), "t": np.tile([0, 7, 14, 28], n),
        "x": [f"{v:.2f}" for v in rng.lognormal(size=4 * n)], "dose": np.tile([10, 10, "", 0], n),
        "sex": np.repeat(["f", "m"], 2 * n), "site": np.repeat(["A", "B"], 2 * n),
        "bmi": np.repeat(rng.normal(25, 2, n), 4),
        "status": "alive",
    })  # fmt: skip
    frame.loc[5, "x"] = "<0.05"
    frame.loc[47, "status"] = "dead"
    frame = pd.concat([frame, frame.iloc[[0]]], ignore_index=True)
    study = load(
        frame,
        {**CONFIG, "study": "trial", "actions": {"dose": {"unit": "mg/d"}}, "horizons": ["14 d", "90 d"],
         "traits": {"sex": {"kind": "category"}, "bmi": {"unit": "kg/m^2"}}, "groups": {"site": "site"},
         "end": {"column": "status", "ended": ["dead"]}, "use": {"licence": "CC0-1.0"},
         "limits": [{"name": "ceiling", "rule": "dose <= 20"}]},
    )  # fmt: skip
    text = describe(study)
    for part in (
        "Study trial: 12 subjects (P0, P1, P2, P3, ...)",
        "readings a subject: median 4, from 4 to 4",
        "gap between readings: median 7 d, widest 14",
        "ended 1, censored 0",
        "licence CC0-1.0",
        "x [mg], real: 48 readings",
        "dose [mg/d], rate (held): 12 for 12 subjects",
        "for example subject P0: 10 mg/d at 0 d to 14 d",
        "assignment: observed",
        "sex: f 6, m 6",
        "bmi: [kg/m^2] median",
        "site: 2 (A, B)",
        "14 d: 12 of 12 subjects have readings that far",
        "90 d: 0 of 12 subjects have readings that far",
        "by subject, seed 0: train 8, calibrate 2, test 2",
        "site in training and held out: A, B",
        "ceiling: dose <= 20 (hard)",
        "left-censored cells read as their limit: 1 (first: file the data frame, row 5, column x: found '<0.05')",
        "blank dose cells read as 0: 12",
        "exact duplicate rows dropped: 1 (first: file the data frame, row 48)",
    ):
        assert part in text, f"{part!r} not in:\n{text}"
