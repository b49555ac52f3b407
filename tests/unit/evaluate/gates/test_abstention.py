"""The gate `abstention`: uncertainty that says where the errors are, that says nothing, and that misleads."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.cohort import cohort
from tests.support.decay import Decay
from tests.support.sitting import Told, bands, sit, sitters

from biowm.evaluate.gates import abstention


class Unsure(Told):
    """Errs by much or by little from question to question, and says where by its spread (or the contrary)."""

    def __init__(self, honest: bool):
        self.honest = honest

    def answer(self, paths, queries, plans, *, seed, draws):
        rng = np.random.default_rng(seed)
        hard = rng.random(len(queries.subject)) < 0.5
        began = np.asarray(paths.x)[queries.subject, 0, 0].tolist()
        truth = np.stack([_came(x, t) for x, t in zip(began, queries.times, strict=True)])
        error = np.where(hard, 2.0, 0.2)[:, None] * rng.normal(size=truth.shape)
        said = np.where(hard == self.honest, 2.0, 0.2)[:, None, None]
        noise = said * rng.normal(size=(len(truth), draws, truth.shape[1]))
        return ((truth + error)[:, None] + noise)[..., None]


def _came(began, times):
    """What the subject with this first reading will read: no model could know."""
    whole, _ = sitters()
    who = int(np.abs(whole.x[:, 0, 0] - began).argmin())
    return np.interp(times, whole.t[who], whole.x[who, :, 0])


def test_a_model_that_knows_where_it_errs_passes():
    verdict = abstention.check(sit(Unsure(honest=True)))
    assert verdict.status == "passed"
    assert "errs clearly less" in verdict.detail
    risk = [i["value"] for i in verdict.evidence.metrics["selective_risk"].values()]
    assert risk[3] < 0.5 * risk[0]
    assert verdict.value is not None
    assert verdict.value.high < 0.8


def test_a_model_that_is_sure_where_it_errs_fails():
    verdict = abstention.check(sit(Unsure(honest=False)))
    assert verdict.status == "failed"
    assert "the surer answers are clearly worse" in verdict.detail
    assert verdict.value is not None
    assert verdict.value.low > 1


def test_the_true_world_is_equally_sure_of_everything_and_passes():
    verdict = abstention.check(sit(Decay()))
    assert verdict.status == "passed"
    assert "does not clearly depend" in verdict.detail
    assert list(verdict.evidence.metrics["selective_risk"]) == ["1", "0.8", "0.6", "0.4", "0.2"]


@pytest.mark.parametrize("n", [1, 7])
def test_the_area_is_the_mean_of_the_selective_risks(n):
    rng = np.random.default_rng(n)
    loss, rank = rng.random(n), (rng.permutation(n) + 0.5) / n
    weights = abstention._area_weights(rank)
    kept = [loss[rank.argsort()[: j + 1]].mean() for j in range(n)]
    np.testing.assert_allclose((weights * loss).sum() / weights.sum(), np.mean(kept))


def test_without_a_band_nothing_is_refused():
    verdict = abstention.check(sit(Decay(), cohort(n=10), promised=replace(bands(), level=None)))
    assert verdict.status == "not_applicable"
    assert "too few" in verdict.detail
