"""A screen from its fit to its artefact and back: the race, the bands, support, and somebody new."""

from __future__ import annotations

from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
import pytest

from biowm import api
from biowm.core.forecast import forecast
from biowm.core.queries import Queries
from biowm.models.sets.pairs import PairTrunk
from biowm.models.sets.trunk import SetTrunk
from biowm.train.fitted import Fitted

pytestmark = pytest.mark.slow

MEMBERS, NOISE = 7, 0.1


def screen(seed: int = 0) -> pd.DataFrame:
    """All singles twice and all pairs, effects that add up; every condition in one of two lines."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(0, 1, MEMBERS)
    sets = [{a} for a in range(MEMBERS)] * 2 + [{a, b} for a in range(MEMBERS) for b in range(a)]
    rows = [
        {"condition": i, "line": "AB"[i % 2], "y": sum(effects[list(s)]) + rng.normal(0, NOISE)}
        | {f"g{a}": float(a in s) for a in range(MEMBERS)}
        for i, s in enumerate(sets)
    ]
    return pd.DataFrame(rows)


CONFIG = {
    "subject": "condition",
    "time": {"at": 5, "unit": "d"},
    "channels": {"y": {"unit": "1", "control": 0}},
    "actions": {f"g{a}": {"kind": "set-member"} for a in range(MEMBERS)},
    "traits": {"line": {"kind": "category"}},
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Fitted, Fitted]:
    folder = tmp_path_factory.mktemp("screen")
    made = api.fit(screen(), CONFIG, out=folder)
    return made, api.open_fitted(File(folder))


def test_the_trunks_race_and_beat_no_change(fitted):
    made, _ = fitted
    found = {r.name: r for r in made.race.rows}
    assert {"sets(full)", "pairs", "persistence", "mean", "additive", "ridge"} <= found.keys()
    assert made.race.blend_crps < 0.5 * found["persistence"].crps
    assert made.envelope.origins == "start"
    rows = {(r.name, r.metric): r.value for r in made.rows}
    assert rows["world", "rmse"] < 0.5 * rows["persistence", "rmse"]


def test_an_artefact_says_what_the_fit_said(fitted):
    made, again = fitted
    paths, queries = made.cohort.paths, Queries(np.array([0, 20]), np.array([0, 0]), np.full((2, 1), 5.0, np.float32))
    for name in ("sets(full)", "pairs", "ridge"):
        if name in made.members:
            assert isinstance(again.members[name], SetTrunk | PairTrunk)
            one, other = (forecast(f.members[name], paths, queries, key=jax.random.key(0), draws=16) for f in fitted)
            np.testing.assert_array_equal(one, other)
    assert again.envelope.together.tolist() == made.envelope.together.tolist()


def test_somebody_new_is_asked_about_by_context(fitted):
    _, again = fitted
    ask = {"context": ["line=A"], "horizon": "5 d", "draws": 50}
    both = api.simulate(again, do=["g1=1", "g4=on"], **ask)
    assert both.times.tolist() == [5.0]
    assert both.support.verdict in ("inside", "edge")
    data = screen()
    alone = [data[(data.filter(like="g").sum(axis=1) == 1) & (data[g] == 1)]["y"].mean() for g in ("g1", "g4")]
    assert abs(both.median[0, 0] - sum(alone)) < 0.5
    anybody = api.simulate(again, do=["g1=1"], horizon="5 d", draws=50)  # of a line that is not known
    assert abs(anybody.median[0, 0] - alone[0]) < 0.5
    against = api.simulate(again, do=["g1=1"], against=["g4=1"], **ask)
    assert against.contrast is not None
