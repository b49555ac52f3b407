"""Artefacts with residuals: a kernel on equations, a network on a mixed trunk and a recurrent one come back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.burden import burden_world
from tests.support.tiny import SPEC, learned, tiny_material

from biowm.core.world import World
from biowm.models.residual import Corrected
from biowm.models.residuals.anchors import Anchors
from biowm.models.residuals.kernel import fit_kernel
from biowm.models.residuals.network import Net, Refined
from biowm.models.residuals.recurrent import Recurrent, Span
from biowm.models.residuals.recurrent_fit import Training, blank
from biowm.models.trunks.mixed import Mixed
from biowm.train.checkpoint import load_fitted, save_fitted
from biowm.train.fitted import Fitted

pytestmark = pytest.mark.slow


def corrected() -> Corrected:
    """Equations, and a kernel on six anchors."""
    rng = np.random.default_rng(0)
    nodes = np.array([0.0, 1.0, 3.0])
    anchors = Anchors(
        nodes, np.arange(6), rng.normal(size=(6, 2)), np.zeros(6), rng.normal(size=(6, 1)),
        rng.normal(size=(6, 3, 4)), rng.normal(size=(6, 3, 2)),
    )  # fmt: skip
    return Corrected(SPEC, 1.0, tiny_material().frame, burden_world(), fit_kernel(anchors))


def refined() -> Refined:
    """A mixed trunk, and a network of one hidden layer with numbers in it."""
    rng = np.random.default_rng(1)
    trunk = learned("mixed(full)")
    assert isinstance(trunk, Mixed)
    inputs, outputs = 5, 4
    shapes = ((inputs,), (inputs,), (inputs,), (inputs,), (inputs, 3), (3, outputs), (3,), (outputs,))
    mean, sd, low, high, *layers = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return Refined(SPEC, trunk.spacing, trunk, Net(mean, sd, low, high, tuple(layers[:2]), tuple(layers[2:])))


def recurrent() -> Recurrent:
    """Two members that have learned nothing."""
    rng = np.random.default_rng(2)
    span = Span(*(jnp.asarray(rng.normal(size=20), jnp.float32) for _ in range(4)))
    cells = [blank(20, 26, 2, Training(hidden=4, trait=2, width=3), rng) for _ in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cells)
    return Recurrent(SPEC, 1.0, tiny_material().frame, span, stacked)


@pytest.mark.parametrize("make", [corrected, refined, recurrent])
def test_a_world_with_a_residual_comes_back(fitted: Fitted, tmp_path: Path, make):
    world: World = make()
    save_fitted(dataclasses.replace(fitted, members={**fitted.members, "mine": world}), tmp_path)
    back = load_fitted(tmp_path).members["mine"]
    assert jax.tree.structure(back) == jax.tree.structure(world)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(world), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
