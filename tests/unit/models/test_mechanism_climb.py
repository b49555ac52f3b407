"""Standard errors: the inverse of an information, however unlike what is known of each parameter."""

from __future__ import annotations

import numpy as np

from biowm.models.trunks.mechanism_climb import _inverse


def test_the_inverse_is_the_inverse_across_scales_and_its_variances_are_positive():
    scale = np.array([1e7, 1.0, 1e-4])
    shared = np.array([[1.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 1.0]])
    found = _inverse(shared * np.outer(scale, scale))
    np.testing.assert_allclose(found * np.outer(scale, scale), np.linalg.inv(shared), rtol=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(20):  # gradients of two subjects tell of no more than two of four
        each = rng.standard_normal((2, 4)) * np.array([1e8, 1e4, 1.0, 1e-3])
        doubt = np.diag(_inverse(each.T @ each + np.eye(4) * 1e-6))
        assert np.isfinite(doubt).all()
        assert (doubt > 0).all()
    assert np.isnan(_inverse(np.array([[1.0, np.nan], [np.nan, 1.0]]))).all()
