"""A PyTorch model goes through the suite that ours go through: `make test-torch`."""

from __future__ import annotations

import numpy as np
import pytest

import biowm
from biowm.adapters import histories
from biowm.cli.demo.cohort import simulate_cohort, write_study
from biowm.core.path import stack, take
from biowm.data.splits import split

pytestmark = pytest.mark.slow
pytest.importorskip("torch", reason="PyTorch is not installed: make test-torch")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return biowm.load(write_study(simulate_cohort(0), tmp_path_factory.mktemp("tumour")))


@pytest.fixture(scope="module")
def world(study):
    from tests.torch.gru import fit_gru

    learn = take(stack(study.paths), list(split(study, 0).train))
    return fit_gru(study.spec, study.spacing, histories(study.spec, learn))


def test_a_gru_is_certified_as_any_world_is(world, study):
    report = biowm.certify(world, study)
    found = {name: verdict.status for name, verdict in report.verdicts.items()}
    print(*(f"{name}: {v.status}: {v.detail}" for name, v in report.verdicts.items()), sep="\n")
    assert report.world == "torch-gru"
    assert found["state"] == found["action"] == "passed", found
    assert all(verdict.detail for verdict in report.verdicts.values())
    assert {row.name for row in report.rows} > {"world", "persistence", "ridge", "knn"}


def test_what_was_not_read_is_no_trouble(world, study):
    """Nothing was read of channel or subject: the network says something finite all the same."""
    told = histories(study.spec, take(stack(study.paths), [0, 1]))
    nothing = np.full_like(told.readings, np.nan)
    latent = world.functions.encode(told.times, nothing, told.actions, told.traits)
    assert np.isfinite(world.functions.decode(latent)).all()
