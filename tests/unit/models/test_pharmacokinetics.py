"""From a NONMEM table to the parameters that it was simulated with."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.trial import trial

from biowm.core.mechanism_units import Declared, wire
from biowm.core.mechanisms.pharmacokinetics import OneCompartmentOral
from biowm.core.path import Path, stack
from biowm.data.study import from_frame
from biowm.models.candidate import material
from biowm.models.trunks.mechanism import Mechanistic
from biowm.models.trunks.mechanism_fit import fit_mechanism
from biowm.models.trunks.mechanism_found import estimates, spreads

pytestmark = pytest.mark.slow


def fitted(seed: int) -> tuple[Mechanistic, Path]:
    study = from_frame(trial(60, seed), STUDY)
    paths = stack(study.paths)
    ready = material(study.spec, paths, study.spacing, 12.0)
    wiring = wire(Declared(OneCompartmentOral()), study.spec)
    return fit_mechanism(study.spec, ready.frame, paths, OneCompartmentOral(), wiring), paths


def test_intervals_of_a_drug_by_mouth_cover_the_truth():
    """Six trials of sixty subjects, three parameters each: 95 % intervals hold most of the 18; so do variances."""
    inside, variances = [], []
    for seed in range(6):
        world, paths = fitted(seed)
        assert not world.notes
        inside += [e.interval[0] <= TRUTH[e.name] <= e.interval[1] for e in estimates(world) if e.interval]
        found = spreads(world, paths)
        variances.append([found[name].variance for name in VARIANCE])
        assert all(0 < found[name].shrinkage < 0.5 for name in VARIANCE)
    assert len(inside) == 18
    assert np.mean(inside) > 0.8, inside
    np.testing.assert_allclose(np.mean(variances, axis=0), list(VARIANCE.values()), rtol=0.25)
