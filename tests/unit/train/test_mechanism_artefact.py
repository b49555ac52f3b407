"""Artefacts with a mechanism: kept by its registered name, never as code."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from tests.support.burden import Burden, burden_world
from tests.support.tiny import SPEC

from biowm.core import registry
from biowm.core.errors import BadInput
from biowm.core.mechanism_units import Declared
from biowm.train.candidates import entrants
from biowm.train.checkpoint import load_fitted, save_fitted
from biowm.train.fitted import Fitted


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
