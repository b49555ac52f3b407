"""Side information: what is known of interventions beforehand, from a table to an answer about an unseen one."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest

from biowm.core.errors import BadInput
from biowm.core.forecast import forecast
from biowm.core.path import stack, take
from biowm.core.queries import Queries
from biowm.core.schedule import entries
from biowm.core.spec import spec_from_json, spec_to_json
from biowm.data import study
from biowm.data.screens import load_screen
from biowm.data.side import Side, known_of
from biowm.models.sets.fit import fit_sets
from biowm.models.sets.variants import VARIANTS
from biowm.models.tracker import fit_frame
from biowm.safety.support import judge_schedule
from biowm.train.envelope import envelope

from ...support import cells as planted

MEMBERS = 24
UNSEEN = 20  # an effect of -3.4


def written(folder, text: str):
    file = folder / "targets.csv"
    file.write_text(text)
    return file


def test_numbers_are_standardised_and_sets_become_columns(tmp_path):
    file = written(tmp_path, "gene,score,sets\nA,1,kinase; MAPK\nB,2,kinase\nC,3,\n")
    found = known_of(Side(table=str(file), name="gene"), file)
    values = np.array(list(found.values()))
    assert list(found) == ["A", "B", "C"]
    assert values.shape == (3, 3)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose((values**2).mean(0), 1 / 3)
    assert values[0, 0] < values[1, 0] < values[2, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gen,score\nA,1\nB,2\n", "column gene: found no such column"),
        ("gene,score\nA,1\nA,2\n", "row 3, column gene: found 'A', expected each intervention once"),
        ("gene,score\nA,1\nB,1\n", "found no column in which rows differ"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path, text, found):
    file = written(tmp_path, text)
    with pytest.raises(BadInput, match=found):
        known_of(Side(table=str(file), name="gene"), file)


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> tuple[study.Study, np.ndarray]:
    """Members whose effects are what two numbers say of them; one was never given."""
    rng = np.random.default_rng(0)
    known = rng.normal(0, 1, (MEMBERS, 2))
    effect = known @ np.array([1.5, -1.0])
    folder = tmp_path_factory.mktemp("side")
    names = [f"m{a}" for a in range(MEMBERS)]
    pd.DataFrame({"drug": names, "x": known[:, 0], "y": known[:, 1]}).to_csv(folder / "targets.csv", index=False)
    rows = [
        {"condition": 2 * a + r, "z": effect[a] + rng.normal(0, 0.1)} | {n: float(n == names[a]) for n in names}
        for a in range(MEMBERS)
        if a != UNSEEN
        for r in range(2)
    ]
    config = {
        "subject": "condition", "time": {"at": 1, "unit": "d"}, "channels": {"z": {"unit": "1", "control": 0}},
        "actions": {n: {"kind": "set-member"} for n in names},
        "side": {"table": str(folder / "targets.csv"), "name": "drug"},
    }  # fmt: skip
    return study.load(pd.DataFrame(rows), config), effect


def test_a_member_that_was_never_given_is_answered_by_what_is_known_of_it(screen):
    found, effect = screen
    assert spec_from_json(spec_to_json(found.spec)) == found.spec
    paths = stack(found.paths)
    frame = fit_frame(found.spec, paths, 1.0)
    asked = take(paths, [0])
    asked.plan.card[asked.plan.card >= 0] = UNSEEN
    said = {}
    for name in ("sets(additive)", "sets(shared)"):
        world = fit_sets(found.spec, frame, paths, VARIANTS[name])
        queries = Queries(np.zeros(1, int), np.zeros(1, int), np.ones((1, 1), np.float32))
        said[name] = forecast(world, asked, queries, key=jax.random.key(0), draws=256).mean()
    assert abs(said["sets(shared)"] - effect[UNSEEN]) < 0.3 < abs(said["sets(additive)"] - effect[UNSEEN])


def test_support_says_by_what_it_was_answered(screen):
    found, _ = screen
    paths = stack(found.paths)
    seen = envelope(found.spec, fit_frame(found.spec, paths, 1.0).scale, paths, 1.0, "start")
    plan = [e._replace(card=UNSEEN) for e in entries(found.paths[0].plan)]
    told = judge_schedule(found.spec, seen, plan, 1.0)
    assert told.verdict == "edge"
    assert "known of it beforehand" in told.reasons[0]


def test_targets_of_the_side_table_can_be_asked_of_a_screen_of_cells(tmp_path):
    rows = "\n".join(f"M{a},{a}" for a in range(planted.MEMBERS + 2))
    file = written(tmp_path, f"gene,score\n{rows}\n")
    side = {"table": str(file), "name": "gene"}
    found = load_screen(planted.screen_of_cells(), {**planted.CONFIG, "side": side})
    assert [a.name for a in found.spec.actions][-2:] == ["M6", "M7"]
    assert found.dose.shape[1] == planted.MEMBERS + 2
    assert not found.dose[:, -2:].any()
    assert all(len(a.known) == 1 and a.effect == "up" for a in found.spec.actions)
