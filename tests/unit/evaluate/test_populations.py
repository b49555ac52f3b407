"""Deltas of means: known answers, the trap of shared controls, ceilings by split halves, and tests of a signal."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.evaluate.populations import cosine, halves, means_by, pearson, pearson_delta, split_half
from biowm.evaluate.signal import Context, Signal, prediction_signal, replicate_signal

G = 60


def noise(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, G)).astype(np.float32)


def line(shifts: np.ndarray, seed: int = 0, n: int = 40) -> Context:
    """A context of noise, 40 cells of each label, whose conditions are shifted."""
    labels = np.repeat(np.arange(len(shifts) + 1), n)
    moved = np.concatenate([np.zeros((1, G)), shifts])[labels]
    return Context((noise(len(labels), seed) + moved).astype(np.float32), labels)


def own(k: int, size: float, seed: int = 9) -> np.ndarray:
    return size * np.random.default_rng(seed).normal(size=(k, G))


NONE = np.zeros((4, G))


def test_pearson_and_cosine_keep_their_sign_and_a_constant_foretells_nothing():
    a, b = noise(1, 0)[0].astype(float), noise(1, 1)[0].astype(float)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, -2 * a + 3) == pytest.approx(-1.0)
    assert cosine(a, -2 * a) == pytest.approx(-1.0)
    assert pearson(np.full(G, 0.3), b) == 0.0
    batch = pearson(np.stack([a, b]), np.stack([b, b]))
    np.testing.assert_allclose(batch, [np.corrcoef(a, b)[0, 1], 1.0])


def test_delta_is_to_real_controls_of_each_side_and_no_change_scores_nothing():
    control, other = noise(1, 0)[0], noise(1, 1)[0]
    up = np.zeros(G)
    up[:5] = 1.0
    sides = {"predicted_control": control, "true_control": other}
    assert pearson_delta(control + up, other + 2 * up, **sides) == pytest.approx(1.0, abs=1e-5)
    assert pearson_delta(control - up, other + 2 * up, **sides) == pytest.approx(-1.0, abs=1e-5)
    assert pearson_delta(control, other + up, **sides) == 0.0


def test_shared_controls_make_noise_agree_and_split_controls_do_not():
    """Correlation of (x - c) and (y - c) is one half for cells of one kind, of (x - c) and (y - c') nothing."""
    x, y, c, d = (noise(4000, seed).reshape(4000, G) for seed in range(4))
    shared = pearson_delta(x, y, predicted_control=c, true_control=c).mean()
    split = pearson_delta(x, y, predicted_control=c, true_control=d).mean()
    assert shared == pytest.approx(0.5, abs=0.02)
    assert split == pytest.approx(0.0, abs=0.01)


def test_halves_take_half_of_every_label_and_means_are_of_each_group():
    labels = np.array([0] * 7 + [1] * 4 + [5] * 2)
    chosen = halves(labels, np.random.default_rng(0))
    assert [int(chosen[labels == k].sum()) for k in (0, 1, 5)] == [3, 2, 1]
    assert (chosen != halves(labels, np.random.default_rng(1))).any()
    cells = noise(13, 0)
    groups = np.stack([(labels == 1).astype(int), np.zeros(13, int)])
    means = means_by(cells, groups, 2)
    np.testing.assert_allclose(means[0, 1], cells[labels == 1].mean(0), rtol=1e-5)
    np.testing.assert_allclose(means[1, 0], cells.mean(0), rtol=1e-4, atol=1e-6)
    assert np.isnan(means[1, 1]).all()


def test_split_halves_agree_as_much_as_signal_and_noise_say():
    """A shift of variance s2 a gene, n cells of unit noise in condition and control: r = s2 / (s2 + 2 / (n / 2))."""
    context = line(own(3, 0.5), n=200)
    found = split_half(context.cells, context.labels, splits=40)
    variance = own(3, 0.5).var(1)
    np.testing.assert_allclose(found.mean(0), variance / (variance + 2 / 100), atol=0.03)
    nothing = line(NONE, n=60)
    assert abs(split_half(nothing.cells, nothing.labels, splits=60).mean()) < 0.1
    assert split_half(context.cells, context.labels, splits=3, centred=False).shape == (3, 3)
    with pytest.raises(ValueError, match="at least two cells"):
        split_half(context.cells[:5], np.array([0, 0, 1, 1, 2]))


def test_planted_signal_is_found_and_noise_is_not():
    planted = replicate_signal([line(own(4, 0.4), 0), line(own(4, 0.4, 3), 1)])
    assert planted.found
    assert planted.agreement > 0.3
    assert planted.p_control == planted.p_others == pytest.approx(1 / 200)
    nothing = replicate_signal([line(NONE, 2), line(NONE, 3)])
    assert not nothing.found


def test_a_shift_that_all_conditions_share_is_no_signal_of_any_of_them():
    common = replicate_signal([line(np.tile(own(1, 0.5), (4, 1)), 4)])
    assert common.p_control == pytest.approx(1 / 200)
    assert common.p_others > 0.05
    assert not common.found


def test_agreement_that_is_certain_and_below_the_noise_is_no_signal():
    """Shifts of variance .01 a gene: beyond chance in 24 conditions, but a replicate says less than the others do."""
    faint = replicate_signal([line(own(4, 0.1, seed), seed, n=60) for seed in range(6)], permutations=99)
    assert faint.p_control <= 0.05
    assert faint.p_others <= 0.05
    half, others = 2 / 30, 0.01 * 4 / 3 + 1 / 180 + 1 / 30
    assert faint.gains.mean() == pytest.approx(np.log(others / half), abs=0.1)
    assert not faint.found


def test_the_tests_hold_their_level():
    """Without signal p is uniform: of 60 screens about 3 are below .05 (11 or more: one in ten thousand)."""
    found = [replicate_signal([line(NONE, s, n=12)], splits=2, permutations=39, seed=s) for s in range(60)]
    for p in ([f.p_control for f in found], [f.p_others for f in found]):
        assert sum(v <= 0.05 for v in p) <= 10
        assert 0.3 < np.mean(p) < 0.7


def test_a_prediction_is_tested_against_cells_it_does_not_know():
    shifts = own(4, 0.4)
    context, control = line(shifts, 0), noise(40, 77).mean(0)
    right = prediction_signal(context, control + shifts, control)
    assert right.found
    assert right.agreement > 0.6
    mixed = prediction_signal(context, control + shifts[[1, 2, 3, 0]], control)
    assert mixed.p_others > 0.05
    assert not prediction_signal(context, control - shifts, control).found
    still = prediction_signal(context, np.tile(control, (4, 1)), control)
    assert (still.agreement, still.p_control, still.p_others) == (0.0, 1.0, 1.0)
    one = np.tile(control + shifts.mean(0), (4, 1))  # the mean of all, for each of them
    assert prediction_signal(context, one, control).p_others == 1.0


def test_one_condition_has_no_others():
    found = replicate_signal([line(own(1, 0.5), 0)])
    assert found.found
    assert np.isnan(found.p_others)
    assert not Signal(0.0, 0.2, float("nan"), np.zeros(0)).found
    with pytest.raises(ValueError, match="at least two of each, control first"):
        Context(noise(4, 0), np.array([1, 1, 2, 2]))
