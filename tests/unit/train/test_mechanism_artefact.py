"""Artefacts with a mechanism: kept by its registered name, never as code."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from tests.support.burden import Burden, burden_world
from tests.support.tiny import SPEC, tiny_cohort, tiny_material
from tests.support.trial import trial

from biowm import api
from biowm.core import registry
from biowm.core.errors import BadInput
from biowm.core.mechanism_units import Declared
from biowm.evaluate.reports.parameters import parameters_csv
from biowm.models.trunks.mechanism_found import estimates, spreads
from biowm.train.candidates import entrants
from biowm.train.checkpoint import load_fitted, save_fitted
from biowm.train.fitted import Cohort, Fitted


class Unnamed(Burden):
    """The same, not registered."""


def with_world(fitted: Fitted, world) -> Fitted:
    return dataclasses.replace(fitted, members={**fitted.members, "mechanism(test-burden)": world})


def test_a_mechanism_comes_back(fitted: Fitted, tmp_path: Path):
    world = burden_world()
    save_fitted(with_world(fitted, world), tmp_path)
    back = load_fitted(tmp_path).members["mechanism(test-burden)"]
    assert jax.tree.structure(back) == jax.tree.structure(world)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(world), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_mechanism_without_a_name_is_not_saved(fitted: Fitted, tmp_path: Path):
    world = eqx.tree_at(lambda w: w.mechanism, burden_world(), Unnamed())
    with pytest.raises(BadInput, match=r"mechanism Unnamed: found no name, expected @register\(\"mechanisms\""):
        save_fitted(with_world(fitted, world), tmp_path)


def test_a_mechanism_that_is_not_there_is_named(fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_fitted(with_world(fitted, burden_world()), tmp_path)
    monkeypatch.delitem(registry._found, ("mechanisms", "test-burden"))
    with pytest.raises(BadInput, match=r"no mechanism .*test-burden.*; there are: gompertz"):
        load_fitted(tmp_path)


def test_a_declared_mechanism_runs_beside_all_others():
    names = [c.name for c in entrants(SPEC, Declared(Burden()))]
    assert names[:2] == ["mechanism(test-burden)", "mechanism(test-burden) + kernel"]
    assert names[2:] == [c.name for c in entrants()]


def test_what_was_found_is_written_beside_the_report(fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every parameter, and nothing where no equations run: what an earlier fit left there is taken away."""
    paths = tiny_cohort(60, 10)
    names = tuple(map(str, range(60)))
    cohort = Cohort(names, paths, ("train",) * 50 + ("test",) * 10, (0.0,) * 60)
    whole = dataclasses.replace(with_world(fitted, burden_world()), cohort=cohort)
    monkeypatch.setattr(api, "held_out", lambda _: None)
    monkeypatch.setattr(api, "fit_report", lambda *_: "")
    monkeypatch.setattr(api, "fit_study", lambda *_, **__: whole)
    api.fit(trial(3), STUDY, out=tmp_path)
    rows = {r["parameter"]: r for r in csv.DictReader((tmp_path / "parameters.csv").read_text().splitlines())}
    monkeypatch.setattr(api, "fit_study", lambda *_, **__: fitted)
    api.fit(trial(3), STUDY, out=tmp_path)
    assert not (tmp_path / "parameters.csv").exists()
    growth, effect, kick = rows["growth"], rows["effect"], rows["kick"]
    assert {r["model"] for r in rows.values()} == {"mechanism(test-burden)"}
    assert (growth["unit"], growth["scale"], effect["scale"]) == ("1/d", "value", "log")
    assert float(effect["low95"]) < 0.15 < float(effect["high95"])
    found = {e.name: e for e in estimates(burden_world())}["effect"]
    # Normal on the logarithm: the interval is that of the standard error, which is itself in the unit.
    spread = 1.96 * float(effect["standard_error"]) / float(effect["estimate"])
    np.testing.assert_allclose(np.log(float(effect["high95"]) / found.value), spread, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(float(growth["between_subject_variance"])), 0.03, atol=0.015)
    assert 0 < float(growth["shrinkage"]) < 1
    assert (kick["between_subject_variance"], kick["shrinkage"], growth["between_batch_variance"]) == ("", "", "")
    bare = parameters_csv(dataclasses.replace(whole, cohort=None))
    assert bare.count("\n") == 4
    assert rows["growth"]["between_subject_variance"] not in bare


def test_shrinkage_is_all_of_it_where_nothing_was_read():
    """Subjects without a reading after the first are at the mean; the variance is then the prior's own."""
    world, paths = burden_world(), tiny_material().paths
    x = np.array(paths.x)
    x[:, 1:] = np.nan
    found = spreads(world, dataclasses.replace(paths, x=x))
    for i, name in enumerate(("growth", "effect")):
        np.testing.assert_allclose(found[name].variance, world.sd[i] ** 2, rtol=0.05)
        assert found[name].shrinkage > 0.9
