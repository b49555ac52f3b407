from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from tests.support.tiny import SPEC, tiny_cohort

from biowm.core.path import Path, stack
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.models.features import BLOCKS, columns_of
from biowm.models.holds import no_holds
from biowm.models.tracker import fit_frame
from biowm.models.trunks.em import LAMBDAS, MixedConfig, Moments, em, fit_mixed, moments

Rows = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def moments_of(rows: Rows) -> Moments:
    """The moments of plain regression rows (random row B, fixed row F, target y), one tuple a subject."""
    return Moments(
        n=np.array([float(len(y)) for _, _, y in rows]),
        BB=np.stack([B.T @ B for B, _, _ in rows]),
        BF=np.stack([B.T @ F for B, F, _ in rows]),
        By=np.stack([(B.T @ y)[None] for B, _, y in rows]),
        FF=sum(F.T @ F for _, F, _ in rows),
        Fy=np.stack([(F.T @ y)[None] for _, F, y in rows]),
        yy=np.stack([[y @ y] for _, _, y in rows]),
        jac=np.zeros(1),
        log_w=0.0,
    )


W = np.array([0.5, -1.0, 0.3])
D = np.array([[0.5, 0.2], [0.2, 0.3]])
S2 = 0.25


def known(seed: int, subjects: int = 600, readings: int = 12) -> Rows:
    """Rows of a mixed model with three fixed effects, of which the first two vary by subject."""
    rng = np.random.default_rng(seed)
    rows = []
    for theta in rng.multivariate_normal(np.zeros(2), D, subjects):
        F = np.column_stack([np.ones(readings), rng.normal(size=(readings, 2))])
        B = F[:, :2]
        rows.append((B, F, F @ W + B @ theta + np.sqrt(S2) * rng.normal(size=readings)))
    return rows


def fitted(rows: Rows, active: int = 2):
    q, p = rows[0][1].shape[1], rows[0][0].shape[1]
    return em(moments_of(rows), 0, np.ones(q, bool), np.arange(p) < active, 1e-3)


def test_what_was_put_in_comes_out():
    fits = [fitted(known(seed)) for seed in range(4)]
    w = np.stack([f.W for f in fits])
    n, rows = 600, 600 * 12
    error = np.sqrt(np.array([D[0, 0] / n, D[1, 1] / n, 0]) + S2 / rows)
    assert (np.abs(w - W) < 4 * error).all()
    assert (np.abs([f.s2 - S2 for f in fits]) < 4 * S2 * np.sqrt(2 / (rows - 2 * n))).all()
    # the covariance is shrunk by n / (n + 3); its entries err by sqrt((D_ii D_jj + D_ij^2) / n)
    spread = np.sqrt((np.outer(np.diag(D), np.diag(D)) + D**2) / n)
    for fit in fits:
        assert (np.abs(fit.D - D) < 4.5 * spread + 3 / n).all()


def test_generalised_least_squares_is_not_fooled_by_confounding():
    """Subjects who do well by themselves get more of x: pooled least squares credits x with it."""
    rng = np.random.default_rng(0)
    rows = []
    for theta in rng.normal(0, 1.0, 400):
        x = theta + rng.normal(size=15)
        F = np.column_stack([np.ones(15), x])
        rows.append((F[:, :1], F, 0.5 * x + theta + 0.3 * rng.normal(size=15)))
    pooled, mixed = fitted(rows, 0), fitted(rows, 1)
    assert abs(pooled.W[1] - 0.5) > 0.4
    assert abs(mixed.W[1] - 0.5) < 0.03


def test_the_likelihood_is_that_of_the_multivariate_normal():
    rows = known(1, subjects=12, readings=5)
    fit = fitted(rows)
    truth = sum(multivariate_normal.logpdf(y, F @ fit.W, B @ fit.D @ B.T + fit.s2 * np.eye(len(y))) for B, F, y in rows)
    assert fit.log_lik == pytest.approx(truth, abs=1e-6)
    plain = fitted(rows, 0)
    truth = sum(multivariate_normal.logpdf(y, F @ plain.W, plain.s2 * np.eye(len(y))) for _, F, y in rows)
    assert plain.log_lik == pytest.approx(truth, abs=1e-5)


def test_unused_and_dead_columns_get_nothing():
    rows = [(np.column_stack([B, np.zeros(len(y))]), F, y) for B, F, y in known(2, subjects=50)]
    fit = em(moments_of(rows), 0, np.array([True, True, False]), np.array([True, False, True]), 1e-3)
    assert fit.W[2] == 0
    assert fit.D[0, 0] > 0.1
    np.testing.assert_allclose(np.diag(fit.D)[1:], 1e-10)


def test_subjects_without_a_row_change_nothing():
    rows = known(3, subjects=40)
    nobody = (np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0))
    a, b = fitted(rows), fitted([*rows, nobody])
    np.testing.assert_allclose(a.D, b.D)
    assert a.log_lik == pytest.approx(b.log_lik)


@pytest.mark.parametrize("seed", range(3))
def test_a_bigger_model_is_never_much_less_likely(seed: int):
    """The trap of RECIPES 5.2; the slack is what the shrinkage of D by n / (n + 3) and few EM steps cost."""
    varied = known(seed, subjects=100)
    rng = np.random.default_rng(seed)
    alike = [(B, F, F @ W + np.sqrt(S2) * rng.normal(size=len(F))) for B, F, _ in varied]
    for rows in (varied, alike):
        levels = [fitted(rows, active).log_lik for active in (0, 1, 2)]
        assert levels[1] > levels[0] - 3
        assert levels[2] > levels[1] - 3


# ---------------------------------------------------------------------------------- the same from paths


ONE = WorldSpec("one", "d", (Channel("x", "mg/L", link="log"),))


def walks(lam: float, subjects: int = 200, readings: int = 12) -> Path:
    """Log channels whose Box-Cox increments of power `lam` are normal, with a subject's own mean."""
    rng = np.random.default_rng(0)
    paths = []
    for _ in range(subjects):
        theta, rise = rng.normal(0, 0.05), [rng.normal()]
        for _ in range(readings - 1):
            y = 0.02 + theta + 0.25 * rng.normal()
            rise.append(rise[-1] + (np.log(max(1 + lam * y, 0.05)) / lam if lam else y))
        x = np.exp(np.array(rise, np.float32))[:, None]
        t = np.arange(readings, dtype=np.float32)
        paths.append(Path(t, x, schedule([]), np.zeros(0, np.float32), np.int32(0)))
    return stack(paths)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_the_power_of_the_increments_is_found(lam: float):
    paths = walks(lam)
    world = fit_mixed(ONE, fit_frame(ONE, paths, 1.0), paths, MixedConfig(("one",), "full"))
    assert float(world.lam[0]) == lam


def test_a_real_channel_and_a_plain_variant_are_not_transformed():
    paths = walks(1.0, subjects=64)
    plain = MixedConfig(("one",), "none", transform=False)
    assert float(fit_mixed(ONE, fit_frame(ONE, paths, 1.0), paths, plain).lam[0]) == 0.0
    real = WorldSpec("one", "d", (Channel("x", "mg/L"),))
    assert float(fit_mixed(real, fit_frame(real, paths, 1.0), paths, MixedConfig(("one",), "none")).lam[0]) == 0.0


def test_the_likelihood_of_paths_is_in_link_units():
    """Brute force over irregular gaps, missing readings, a Box-Cox power and exponents of the gaps."""
    paths = tiny_cohort(8, 6)
    frame = fit_frame(SPEC, paths, 1.3)
    config = MixedConfig(("one", "gap"), "full", pace=0.8, power=1.4)
    used = columns_of(config.blocks, 2, 2)
    fixed = np.concatenate([used, np.zeros(11, bool)])  # the trait times (1, doses, exposures) is left out
    lam = 2
    fit = em(moments(frame, no_holds(2, 2), np.zeros(2), paths, config, 2)[1], lam, fixed, used, config.penalty)
    columns = np.flatnonzero(used)
    total = 0.0
    for s in range(8):
        seen = np.isfinite(paths.x[s, :, 1])
        gap = np.diff(paths.t[s, seen].astype(np.float64)) / 1.3
        rise = np.diff(paths.x[s, seen, 1].astype(np.float64))
        power = LAMBDAS[lam]
        y = np.expm1(power * rise) / power
        row = np.column_stack([np.ones(len(gap)), np.log(gap)])
        cov = row @ fit.D[np.ix_(columns, columns)] @ row.T + np.diag(fit.s2 * gap ** (1.4 - 1.6))
        total += multivariate_normal.logpdf(y / gap**0.8, row @ fit.W[columns], cov)
        total += np.sum(power * rise - 0.8 * np.log(gap))
    assert fit.log_lik == pytest.approx(total, rel=1e-4)


def test_longer_gaps_weigh_as_their_noise_says():
    """With pace 1 and power 1 an increment over a gap g, divided by g, has noise s2 / g: its weight is g."""
    paths = tiny_cohort(8, 6)
    frame = fit_frame(SPEC, paths, 1.0)
    found = moments(frame, no_holds(2, 2), np.zeros(2), paths, MixedConfig(BLOCKS, "none", pace=1.0, power=1.0), 2)[0]
    t = paths.t.astype(np.float64)
    first, last = np.log(paths.x[:, 0, 0]), np.log(paths.x[:, 5, 0])
    np.testing.assert_allclose(found.n, 5)
    np.testing.assert_allclose(found.BB[:, 0, 0], t[:, 5] - t[:, 0], rtol=1e-4)  # sum of the gaps
    np.testing.assert_allclose(found.By[:, 0, 0], last - first, rtol=1e-3, atol=1e-5)  # sum of the increments
