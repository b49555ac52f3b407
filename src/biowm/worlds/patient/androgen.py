"""Prostate cancer under intermittent androgen suppression: PSA of virtual patients, on and off treatment.

Cells and PSA follow the equations of Brady-Nicholls et al. 2020 (`core/mechanisms/androgen.py`), exactly; readings err
by a factor. How patients differ is in `androgen_patients`.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, parameters, vector, with_parameters
from biowm.core.mechanisms.androgen import Androgen
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, WorldSpec

from ..virtual import Virtual

PATIENTS = 256
NOISE = 0.15  # sd of the logarithm of a reading about the true PSA: assumed
_STEPS = 2  # of the integral for PSA in a step of the world: good to 1e-5 over 120 d
_DIM = 1e-3  # ng/mL: no reading is taken as less

SPEC = WorldSpec(
    name="patient/androgen",
    clock="d",
    channels=(Channel("psa", "ng/mL", link="log", low=0.0, floor=0.1),),
    actions=(ActionCard("on", "", "switch", 0.0, 1.0),),
)

# Medians, and sd of the logarithms (of the logit of the renewal). Kill, decay and stem-like share: the mechanism fitted
# to 42 of the 72 men of the Canadian trial (doi:10.1002/cncr.21989); first PSA: of all. Those data do not hold the
# renewal: its values are assumed, so that under steady treatment stem-like cells double in about one to three years.
POPULATION = {"renewal": (0.02, 0.5), "kill": (0.07, 0.4), "decay": (0.26, 0.0), "stem": (0.006, 0.8)}
FIRST_PSA = (14.0, 0.55)


def androgen_patients(n: int = PATIENTS) -> Float[np.ndarray, "n p"]:
    """Parameters of virtual patients, in the mechanism's order, and the PSA (ng/mL) that each begins with."""
    luck = np.random.default_rng(0).standard_normal((n, len(POPULATION) + 1))
    columns = []
    for (name, p), z in zip(parameters(Androgen).items(), luck.T, strict=False):
        median, sd = POPULATION[name]
        columns.append(np.asarray(jax.vmap(p.value)(p.free(median) + jnp.asarray(sd * z, jnp.float32))))
    return np.stack([*columns, FIRST_PSA[0] * np.exp(FIRST_PSA[1] * luck[:, -1])], axis=1).astype(np.float32)


@register("worlds", "patient/androgen")
class AndrogenWorld(Virtual):
    """PSA while treatment is switched on and off.

    A new subject is one of `subjects`, each equally likely. Bodies follow equations, and each reading errs anew by a
    log-normal factor of sd `noise`, so the belief is exact: Bayes' rule over patients.
    Sources: doi:10.1038/s41467-020-15424-4, doi:10.1002/cncr.21989.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=28.0)
    noise: tuple[float, ...] = eqx.field(static=True, default=(NOISE,))
    dim: tuple[float, ...] = eqx.field(static=True, default=(_DIM,))
    steps: int = eqx.field(static=True, default=_STEPS)
    outlets: tuple[tuple[str, str], ...] = eqx.field(static=True, default=(("psa", "ng/mL"),))
    subjects: Float[Array, "k p"] = eqx.field(default_factory=lambda: jnp.asarray(androgen_patients()))

    def of(self, own: Float[Array, " p"]) -> Mechanism:
        return with_parameters(Androgen(), dict(zip(parameters(Androgen), own, strict=False)))

    def outlet(self, own: Float[Array, " p"], body: Float[Array, " s"]) -> Float[Array, "1"]:
        return self.levels(own, body)

    def born(self, own: Float[Array, " p"]) -> Float[Array, "3"]:
        """Cells in balance with the patient's first PSA."""
        return vector(self.of(own).start(own[-1:]))
