"""`biowm/TumourPKPD-v0`: a lung tumour under chemotherapy and radiotherapy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from biowm.core.schedule import Schedule, schedule
from biowm.core.world import World
from biowm.worlds.patient.tumour import DEATH, Tumour, TumourState

from .game import Game, Verdict
from .world import WorldEnv


class _Course(Game):
    world: World = eqx.field(default_factory=Tumour)
    every: float = eqx.field(static=True, default=1.0)
    steps: int = eqx.field(static=True, default=60)
    controls: tuple[int, ...] = eqx.field(static=True, default=(0, 1))

    def start(self, *, key: PRNGKeyArray) -> tuple[TumourState, Schedule]:
        k_type, k_draw = jax.random.split(key)
        belief = self.world.begin(jax.nn.one_hot(jax.random.randint(k_type, (), 0, 3), 3))
        return self.world.draw(belief, key=k_draw), jax.tree.map(jnp.asarray, schedule([]))  # type: ignore[return-value]

    def judge(self, before: TumourState, after: TumourState, given: Float[Array, "2"]) -> Verdict:
        return Verdict(1 - after.volume / DEATH, jnp.sum(given), after.volume >= DEATH)


class TumourPKPD(WorldEnv):
    """Data sheet of `biowm/TumourPKPD-v0`: keep a lung tumour small with little treatment.

    - Patient: drawn from the prior of the benchmark `tumour-cf`; its type (1, 2 or 3, equally likely), its
      sensitivities and its growth are hidden.
    - Decision: once a day, 60 of them.
    - Observation: Box(1), volume of the tumour, cm^3, 0 to 1150.35, read exactly.
    - Action: Box(2), from 0 to 1: chemotherapy (1: 5 mg/m^3 of drug that day), radiotherapy (1: one fraction of 2 Gy; a
      share of it is that share of its effect).
    - Reward: 1 - volume / 1150.35 cm^3 at the end of each day, from 0 to 1: days of life, weighed by the burden.
    - Cost: `info["cost"]`, treatments given that day, 0 to 2.
    - End: terminated by death (a tumour of 13 cm, 1150.35 cm^3); truncated after 60 d. A recovered patient (volume 0)
      stays so and is followed to the end.

    Source: doi:10.1038/s41598-017-13646-z, arXiv:2002.04083.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(_Course(), render_mode)
