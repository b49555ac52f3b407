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
from tests.support.tiny import SPEC, tiny_cohort

from biowm.core import registry
from biowm.core.errors import BadInput
from biowm.core.mechanism_units import Declared
from biowm.evaluate.reports.folder import write_reports
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
    with pytest.raises(BadInput, match=r"no mechanism .*test-burden.*; there are: androgen, .*gompertz"):
        load_fitted(tmp_path)


def test_a_declared_mechanism_runs_beside_all_others():
    names = [c.name for c in entrants(SPEC, Declared(Burden()))]
    assert names[:2] == ["mechanism(test-burden)", "mechanism(test-burden) + kernel"]
    assert names[2:] == [c.name for c in entrants()]


def test_what_was_found_is_written_beside_the_report(fitted: Fitted, tmp_path: Path):
    """Every parameter and the check of the population; nothing where no equations run, also of an earlier fit."""
    cohort = Cohort(tuple(map(str, range(60))), tiny_cohort(60, 10), ("train",) * 50 + ("test",) * 10, (0.0,) * 60)
    whole = dataclasses.replace(with_world(fitted, burden_world()), cohort=cohort)
    write_reports(whole, [], tmp_path, seed=0)
    rows = {r["parameter"]: r for r in csv.DictReader((tmp_path / "parameters.csv").read_text().splitlines())}
    checked = list(csv.DictReader((tmp_path / "vpc.csv").read_text().splitlines()))
    page = (tmp_path / "report.html").read_text()
    assert "60 subjects (10 of them held out" in page
    assert {(r["model"], r["channel"]) for r in checked} == {("mechanism(test-burden)", "burden")}
    assert (tmp_path / "vpc.png").read_bytes().startswith(b"\x89PNG")
    write_reports(fitted, [], tmp_path, seed=0)
    assert not [name for name in ("parameters.csv", "vpc.csv", "vpc.png") if (tmp_path / name).exists()]
    growth, effect, kick, noise = (rows[n] for n in ("growth", "effect", "kick", "noise of burden"))
    assert {r["model"] for r in rows.values()} == {"mechanism(test-burden)"}
    assert (growth["unit"], growth["scale"], effect["scale"], noise["scale"]) == ("1/d", "value", "log", "log")
    assert float(effect["low95"]) < float(effect["estimate"]) < float(effect["high95"])
    # Normal on the logarithm: the interval is that of the standard error, which is itself in the unit.
    spread = 1.96 * float(effect["standard_error"]) / float(effect["estimate"])
    np.testing.assert_allclose(np.log(float(effect["high95"]) / float(effect["estimate"])), spread, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(float(growth["between_subject_variance"])), 0.03, atol=0.015)
    # The variance is in (1/d)^2: its relative error is twice that of the sd, whatever the unit.
    world = burden_world()
    relative = float(growth["variance_standard_error"]) / float(growth["between_subject_variance"])
    np.testing.assert_allclose(relative, 2 * float(world.doubt[3]), rtol=1e-4)
    assert 0 < float(growth["shrinkage"]) < 1
    assert (kick["between_subject_variance"], kick["shrinkage"], growth["between_batch_variance"]) == ("", "", "")
    link = float(world.noise[0] * world.frame.scale.sd[0])
    np.testing.assert_allclose(float(noise["estimate"]), link, rtol=1e-4)
