"""Prostate cancer under intermittent androgen suppression: stem-like cells keep what treatment leaves.

Stem-like cells S divide at rate lambda, ln 2 a day. A division yields two stem-like cells with probability
p S / (S + D), and else one and a differentiated cell D; treatment kills differentiated cells only, which make the
prostate-specific antigen P:

    S' = p S / (S + D) lambda S
    D' = (1 - p S / (S + D)) lambda S - alpha T D
    P' = rho D - phi P

with T = 1 on and 0 off treatment (Brady-Nicholls et al. 2020, doi:10.1038/s41467-020-15424-4). PSA does not say how
many cells there are: here S and D count in what their PSA would be in balance (cells times rho / phi), and rho is gone.

Cells move by a solution in closed form: the ratio r = D / S obeys r' = lambda (1 - p) - alpha T r, whatever S is, and
(log S)' = p lambda / (1 + r). PSA is then an integral over known cells, taken by Gauss and Legendre.
"""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, constant, parameter
from biowm.core.registry import register

_LEAST = 1e-12  # ng/mL: of stem-like cells there are always some
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)  # on (-1, 1)


@register("mechanisms", "androgen")
class Androgen(Mechanism):
    """PSA and the cells behind it, on and off treatment; each patient has its own renewal p, kill alpha and stem share.

    `decay` is phi, `division` lambda. It begins in balance: the differentiated cells are those that make the PSA that
    is read, and there are `stem` times as many stem-like ones. Source: doi:10.1038/s41467-020-15424-4.
    """

    clock = "d"
    states: ClassVar = {"stem": "ng/mL", "differentiated": "ng/mL", "psa": "ng/mL"}
    channels: ClassVar = {"psa": "ng/mL"}
    actions: ClassVar = {"on": "1"}
    renewal: Scalar = parameter("1", start=0.05, low=0.0, high=1.0, varies="subject")
    kill: Scalar = parameter("1/d", start=0.04, low=0.0, varies="subject")
    decay: Scalar = parameter("1/d", start=0.08, low=0.0)
    stem: Scalar = parameter("1", start=0.01, low=0.0, varies="subject")
    division: Scalar = constant("1/d", math.log(2))

    def start(self, reading: Float[Array, " c"]) -> tuple[Float[Array, ""], ...]:
        (psa,) = reading
        return self.stem * psa, psa, psa

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        (stem, cells, psa), (on,) = state, action
        renewed = self.renewal * stem / jnp.maximum(stem + cells, _LEAST)
        born = self.division * stem
        return renewed * born, (1 - renewed) * born - self.kill * on * cells, self.decay * (cells - psa)

    def flow(
        self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int
    ) -> tuple[Float[Array, ""], ...]:
        (stem, cells, psa), (on,) = state, action
        share = ((np.arange(steps)[:, None] + (1 + _NODES) / 2) / steps).ravel()
        weight = np.tile(_WEIGHTS / (2 * steps), steps)
        u = jnp.concatenate([dt * jnp.asarray(share, jnp.float32), jnp.reshape(dt, 1)])  # the end is the last of them
        k, made, least = self.kill * on, self.division * (1 - self.renewal), jnp.maximum(stem, _LEAST)
        ratio = cells / least
        gone = -jnp.expm1(-k * u)
        rest = jnp.where(k * u > 1e-6, gone / jnp.where(k > 0, k, 1.0), u)  # of the integral of exp(-k u)
        after = ratio * (1 - gone) + made * rest
        grown = self.renewal * self.division / (k + made) * (k * u + jnp.log1p(after) - jnp.log1p(ratio))
        stems = least * jnp.exp(grown)
        kept = self.decay * dt * jnp.asarray(weight, jnp.float32) * jnp.exp(-self.decay * (dt - u[:-1]))
        differentiated = stems * after
        return stems[-1], differentiated[-1], psa * jnp.exp(-self.decay * dt) + jnp.sum(kept * differentiated[:-1])
