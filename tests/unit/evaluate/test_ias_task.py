"""Task `ias` on small made-up patients: what a visit is, what the treatment is, what is scored."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from biowm.core.mechanism_units import Declared
from biowm.core.path import Path
from biowm.core.queries import Queries
from biowm.core.schedule import entries
from biowm.core.spec import WorldSpec
from biowm.evaluate.metrics import interval
from biowm.evaluate.tasks import _ar, ias
from biowm.evaluate.tasks.ias import SPEC, Fold, Ias, Problem, _path, _queries, _stacked, _visits
from biowm.train.contest import Progress, silent
from biowm.train.fitted import Fitted
from biowm.train.race import Race, RaceRow

MECHANISM = "mechanism(androgen)"


def table(patient: int, psa: list[float], on: list[float], day: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"patient": patient, "psa": psa, "on": on, "day": day})


GAPPED = table(7, [1.0, np.nan, 2.0, np.nan, 4.0, 8.0], [1, 1, 0, 1, 0, 0], [16.0, 20, 30, 40, 60, 90])


def test_rows_without_psa_count_for_the_treatment():
    visits = _visits(GAPPED)
    np.testing.assert_allclose(visits.t, [16, 30, 60, 90])
    np.testing.assert_allclose(visits.y, np.log(np.array([1.0, 2, 4, 8]) + 0.1))
    np.testing.assert_allclose(visits.on, [1.0, 20 / 30, 0.0])
    path = _path(GAPPED)
    np.testing.assert_allclose(path.t, [0, 14, 44, 74])
    assert [(e.onset, e.stop, e.dose) for e in entries(path.plan)] == [(0.0, 14.0, 1.0), (24.0, 44.0, 1.0)]


def test_truths_and_queries_speak_of_the_same_visits():
    visits, path = _visits(GAPPED), _path(GAPPED)
    truth = _ar.truths(visits)
    assert truth.shape == (2, 12)
    np.testing.assert_allclose(truth[0, :2], visits.y[2:])
    assert np.isnan(truth[0, 2:]).all()
    problem = Problem((visits,), (path,), (), 0, 1)
    queries = _queries([visits], _stacked(problem, [0], SPEC))
    np.testing.assert_array_equal(queries.origin, [1, 2])
    np.testing.assert_allclose(queries.times[0, :3], [44, 74, 74])


def made_up(n: int = 12) -> list[_ar.Visits]:
    """Patients whose next visit is an exact linear function of the features of `ridge`."""
    rng = np.random.default_rng(0)
    patients = []
    for i in range(n):
        gap, on, y = rng.uniform(20, 40, 16), rng.uniform(0, 1, 16), [1.0, 1.2]
        for k in range(1, 16):
            y.append(0.3 + 0.6 * y[k] + 0.2 * y[k - 1] - 0.8 * on[k] + 0.1 * on[k] * y[k] + 0.02 * np.log(gap[k]))
        patients.append(_ar.Visits(str(i), np.concatenate([[0.0], np.cumsum(gap)]), np.array(y), on))
    return patients


def test_a_rule_that_holds_the_truth_forecasts_it_free_running():
    patients = made_up()
    weights = _ar.fit(_ar.ridge, patients[:8])
    for visits in patients[8:]:
        found, truth = _ar.run(_ar.ridge, weights, visits), _ar.truths(visits)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(truth))
        np.testing.assert_allclose(found, truth, atol=1e-3)
    blind = _ar.run(_ar.ar, _ar.fit(_ar.ar, patients[:8]), patients[9])
    assert np.nanmax(np.abs(blind - _ar.truths(patients[9]))) > 0.1


def test_readings_after_the_origin_are_never_looked_at():
    visits = made_up(1)[0]
    weights = _ar.fit(_ar.ridge_previous, made_up())
    later = visits.y.copy()
    later[6:] += 5.0
    changed = _ar.run(_ar.ridge_previous, weights, _ar.Visits("0", visits.t, later, visits.on))
    np.testing.assert_array_equal(changed[:5], _ar.run(_ar.ridge_previous, weights, visits)[:5])


def test_scores_are_the_errors_of_the_forecast_by_patient():
    patients = made_up()
    problem = Problem(tuple(patients), (), (Fold(tuple(range(8)), (8, 9, 10, 11)),), 0, 1)
    answer = (_ar.foretell("persistence", patients[:8], patients[8:], (1, 3, 6, 12)),)
    scores = Ias().score(answer, problem)
    assert {split for split, _ in scores} == {"next", "h3", "h6", "h12"}
    assert {metric for _, metric in scores} == {"rmse", "mae", "crps", "coverage90", "joint90", "interval_score"}
    apart = np.concatenate([v.y[4:] - v.y[1:-3] for v in patients[8:]])
    got = interval(scores["h3", "rmse"])
    assert got.value == pytest.approx(np.sqrt(np.mean(apart**2)))
    assert got.n == len(apart)


def test_only_the_blend_is_drawn_where_only_the_blend_is_shown(monkeypatch: pytest.MonkeyPatch):
    """Rules without weight are drawn under the treatment given, for their own rows, and not again."""
    drawn: list[str] = []

    def draw(world: str, tests: Path, queries: Queries, **how: object) -> np.ndarray:
        drawn.append(world)
        return np.ones((len(queries.subject), 2, queries.times.shape[1], 1))

    class Fake(Fitted):
        def __init__(
            self, problem: Problem, fold: Fold, spec: WorldSpec, tell: Progress, equations: Declared | None = None
        ):
            suffix = "" if spec.actions else " blind"
            names = ("mean", "ridge", "mixed") if equations is None else (MECHANISM, MECHANISM + " + kernel", "mixed")
            rows = tuple(RaceRow(n, False, 1.0, 1.0, 1.0, w) for n, w in zip(names, (0.0, 0.3, 0.7), strict=True))
            race = Race(rows, 0.0, "mean", 1.0, ())
            known = {"spec": spec, "race": race, "members": {n: n + suffix for n in names}}
            for name, value in known.items():
                object.__setattr__(self, name, value)

    monkeypatch.setattr(ias, "forecast", draw)
    monkeypatch.setattr(ias, "fit_world", Fake)
    monkeypatch.setattr(ias, "_reference", lambda *args: ())
    monkeypatch.setattr(ias, "_forecasts", lambda answers, name: ())
    problem = Problem((_visits(GAPPED),) * 3, (_path(GAPPED),) * 3, (Fold((0,), (1, 2)),), 0, 2)
    list(Ias().contend(problem, silent))
    assert drawn == ["mean", "ridge", "mixed", "ridge", "mixed", "ridge blind", "mixed blind"]
    drawn.clear()
    answers = list(Ias().contend(replace(problem, equations=True), silent))
    assert drawn == ["mean", "ridge", "mixed", MECHANISM, MECHANISM + " + kernel", "mixed"]  # no world without action
    assert [a.name for a in answers[-3:]] == ["world:equations", "mechanism:androgen", "mechanism:androgen"]
    found = Ias().score(answers[-1].prediction, problem)
    assert interval(found["race", "weight"]).value == pytest.approx(0.3)  # with the kernel's, without the others'
