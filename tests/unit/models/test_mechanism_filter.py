"""A reading that is only known to be below a limit, and the likelihood of a subject, against closed forms."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy.stats import truncnorm

from biowm.models.trunks.mechanism_filter import FREE, Normal, absorb


def test_what_is_below_a_limit_moves_belief_as_the_lower_part_of_a_normal_does():
    """Mean and covariance of w, given w_0 + w_1 + noise < -0.4, by the law of total variance."""
    m, P = np.array([0.3, 0.1]), np.array([[0.5, 0.2], [0.2, 0.4]])
    h, noise, limit = np.array([1.0, 1.0]), 0.3, -0.4
    s, centre = h @ P @ h + noise**2, h @ m
    part = truncnorm(-np.inf, (limit - centre) / np.sqrt(s), loc=centre, scale=np.sqrt(s))
    gain = P @ h / s
    now = Normal(jnp.asarray(m), jnp.asarray(P))
    found = absorb(now, jnp.asarray(h), jnp.asarray(limit), jnp.asarray(noise), jnp.asarray(True), jnp.full(2, FREE))
    np.testing.assert_allclose(found[0].m, m + gain * (part.mean() - centre), rtol=1e-4)
    np.testing.assert_allclose(found[0].P, P - np.outer(gain, gain) * (s - part.var()), rtol=1e-4)


def test_a_limit_far_above_says_nothing_and_one_far_below_as_much_as_a_reading():
    now = Normal(jnp.zeros(1), jnp.eye(1))
    for off, spread in ((9.0, 1.0), (-9.0, 0.1)):
        below = (jnp.asarray(off), jnp.asarray(0.3), jnp.asarray(True))
        after = absorb(now, jnp.ones(1), *below, jnp.full(1, FREE))[0]
        np.testing.assert_allclose(jnp.sqrt(after.P[0, 0]) < 0.5, spread < 0.5)
        np.testing.assert_allclose(after.m[0], 0.0 if off > 0 else off / 1.09, atol=0.15)
