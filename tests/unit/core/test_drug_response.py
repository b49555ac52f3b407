"""The drug-response mechanism: struck cells are not lost at once, limits are known, the effect has a memory."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.mechanism import solve, vector
from biowm.core.mechanism_units import Declared, wire
from biowm.core.mechanisms.drug_response import DrugResponse
from biowm.core.spec import ActionCard, Channel, WorldSpec

SPEC = WorldSpec("wells", "d", (Channel("confluence", "%"),), (ActionCard("olaparib", "uM", "rate", 0.0, 100.0),))


def after(m: DrugResponse, start: float, drug: float, days: float, state=None) -> np.ndarray:
    state = vector(m.start(jnp.asarray([start]))) if state is None else jnp.asarray(state)
    return np.asarray(solve(m, state, jnp.asarray([drug]), jnp.asarray(days), 64 * max(round(days), 1)))


def test_units_fit_any_size_dose_and_clock():
    assert wire(Declared(DrugResponse()), SPEC).action == (0,)


def test_without_drug_cells_grow_as_verhulst_has_it():
    m = DrugResponse(growth=0.5, capacity=2.0, resistant_growth=1.0)
    expected = 2.0 / (1 + (2.0 / 0.2 - 1) * np.exp(-0.5 * 6.0))
    assert float(m.read(jnp.asarray(after(m, 0.2, 0.0, 6.0)))[0]) == pytest.approx(expected, rel=1e-4)


def test_exposure_follows_the_drug_with_its_memory():
    m = DrugResponse(half=0.5, memory=2.0)
    on = after(m, 0.2, 0.5, 3.0)
    assert on[4] == pytest.approx(0.5 * (1 - np.exp(-1.5)), rel=1e-4)
    off = after(m, 0.2, 0.0, 1.0, on)
    assert off[4] == pytest.approx(on[4] * np.exp(-0.5), rel=1e-4)


def test_struck_cells_stop_growing_and_nothing_is_lost_from_sight_at_once():
    m = DrugResponse(growth=1e-9, death=0.4, clearance=1e-9, repair=0.3)
    held = after(m, 0.5, 1.0, 5.0)
    assert held[:4].sum() == pytest.approx(0.5, rel=1e-4)
    assert held[1] > 0.01
    assert held[2] > 0.01
    cleared = after(DrugResponse(growth=1e-9, death=0.4, clearance=2.0), 0.5, 1.0, 20.0)
    assert cleared[:4].sum() < 0.1


def test_longer_exposure_delays_regrowth():
    m = DrugResponse()
    sizes = []
    for days in (1.0, 4.0, 7.0):
        state = after(m, 0.3, 1.0, days)
        sizes.append(after(m, 0.3, 0.0, 10.0 - days, state)[:4].sum())
    assert sizes[0] > sizes[1] > sizes[2]


def test_resistant_cells_alone_feel_nothing():
    m = DrugResponse(spared=0.999999, resistant_growth=1.0)
    with_drug, without = after(m, 0.3, 1.0, 5.0), after(m, 0.3, 0.0, 5.0)
    np.testing.assert_allclose(with_drug[:4].sum(), without[:4].sum(), rtol=1e-4)
