"""A PyTorch model goes through the suite that ours go through: `make test-torch`."""

from __future__ import annotations

import numpy as np
import pytest

import biowm
from biowm.adapters import Histories
from biowm.cli.demo.cohort import simulate_cohort, write_study
from biowm.core.spec import Channel, WorldSpec

pytestmark = pytest.mark.slow
pytest.importorskip("torch", reason="PyTorch is not installed: make test-torch")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return biowm.load(write_study(simulate_cohort(0), tmp_path_factory.mktemp("tumour")))


def test_a_gru_is_certified_as_any_world_is(study):
    from examples.torch_gru import make

    report = biowm.certify(make, study)
    found = {name: verdict.status for name, verdict in report.verdicts.items()}
    print(*(f"{name}: {v.status}: {v.detail}" for name, v in report.verdicts.items()), sep="\n")
    assert report.world == "torch-gru"
    assert found["state"] == found["action"] == "passed", found
    assert all(verdict.detail for verdict in report.verdicts.values())
    assert {row.name for row in report.rows} > {"world", "persistence", "ridge", "knn"}


def test_what_was_not_read_is_no_trouble():
    """Nothing was read of a channel or a subject: what is encoded is finite, and the same when asked again."""
    from examples.torch_gru import fit_gru

    rng = np.random.default_rng(0)
    readings = rng.normal(size=(6, 5, 2)).astype(np.float32)
    readings[0], readings[1, :, 1], readings[2:, 3, 1] = np.nan, np.nan, np.nan
    times = np.tile(np.arange(5, dtype=np.float32), (6, 1))
    told = Histories(times, readings, np.zeros((6, 5, 0), np.float32), np.zeros((6, 0), np.float32))
    spec = WorldSpec("two", "d", (Channel("x", "1"), Channel("y", "1")))
    functions = fit_gru(spec, 1.0, told, epochs=2).functions
    once, again = (functions.encode(told.times, told.readings, told.actions, told.traits) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.isfinite(functions.decode(once)).all()
