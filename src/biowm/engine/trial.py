"""An in-silico trial: two arms, one outcome, virtual patients who live through both, and power by size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core.buckets import bucket
from biowm.core.contrast import Assignment, Reach, Word, claim, reach_json
from biowm.core.errors import Abstention
from biowm.core.futures import Support
from biowm.core.interval import Interval
from biowm.core.record import Record
from biowm.core.rollout import time_grid
from biowm.core.schedule import Schedule, between, schedule
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.plan.contrast import assignment_of, reach_of, wording
from biowm.plan.course import Course, Quantity, value
from biowm.safety.support import judge_schedule
from biowm.train.fitted import Fitted

from .design import Design
from .newcomers import Newcomers, of_fitted, of_simulator
from .power import Power, power
from .virtual import live

_REPLICATES = 1000


@dataclass(frozen=True)
class Trial:
    """What came of it; everything in it is simulated.

    `x` are the readings of every virtual patient under both arms at `times`, `outcome` what the design asks of them.
    `means` are the arms' means and `difference` the mean of second minus first in the same patients, with 95 %
    bootstrap intervals over patients. `support` and `overlap` are the arms' (none in a simulator).
    """

    spec: WorldSpec
    design: Design
    newcomers: Newcomers
    times: Float[np.ndarray, " t"]
    x: Float[np.ndarray, "n a t d"]
    outcome: Float[np.ndarray, "n a"]
    means: tuple[Interval, Interval]
    difference: Interval
    powers: tuple[Power, ...]
    word: Word
    why: tuple[str, ...]
    assignment: Assignment | None
    support: tuple[Support, ...]
    overlap: tuple[Reach, ...]
    record: Record

    @property
    def said(self) -> str:
        """What the difference may be called, and why not more."""
        return claim(self.word, self.why)

    def to_json(self) -> dict[str, Any]:
        """The object that `biowm engine cohort --json` prints."""
        arms = zip(self.design.arms, self.means, strict=True)
        return {
            "simulated": True,
            "arms": [{"name": a.name, "schedule": a.text, "mean": asdict(mean)} for a, mean in arms],
            "outcome": {"text": str(self.design.outcome), "unit": self.design.outcome.unit},
            "difference": {
                "of": f"{self.design.arms[1].name} minus {self.design.arms[0].name}, in the same virtual patients",
                **asdict(self.difference),
            },
            "word": self.word,
            "why": list(self.why),
            "assignment": None if self.assignment is None else asdict(self.assignment),
            "alpha": self.design.alpha,
            "sizes": [{**asdict(p), "size_per_arm": p.size} for p in self.powers],
            "patients": len(self.outcome),
            "population": self.newcomers.source,
            "given": [g.text for g in self.design.given],
            "support": [{"verdict": s.verdict, "reasons": list(s.reasons)} for s in self.support],
            "overlap": [reach_json(r) for r in self.overlap],
            "record": self.record.to_json(),
        }


def trial(
    model: Fitted | World, asked: Design, *, seed: int = 0, progress: Callable[[float], None] = lambda share: None
) -> Trial | Abstention:
    """Run the design on a fitted world or a simulator; an Abstention where an arm lies outside the training data.

    `progress` hears of the share of virtual patients that have lived.
    """
    spec = model.spec
    supports: tuple[Support, ...] = ()
    if isinstance(model, Fitted):
        supports = tuple(judge_schedule(spec, model.envelope, arm.entries, asked.horizon) for arm in asked.arms)
        outside = tuple(f"arm {arm.name!r} is outside the data: {reason}"
                        for arm, found in zip(asked.arms, supports, strict=True) if found.verdict == "outside"
                        for reason in found.reasons)  # fmt: skip
        if outside:
            return Abstention(outside)
        newcomers = of_fitted(model, asked.patients, asked.given, seed=seed)
        if isinstance(newcomers, Abstention):
            return newcomers
    else:
        newcomers = of_simulator(spec, asked.patients, asked.given, seed=seed)
    world = model.world if isinstance(model, Fitted) else model
    end = asked.horizon if asked.outcome.window is None else asked.outcome.window
    boluses = [e.onset for arm in asked.arms for e in arm.entries if e.onset == e.stop and 0 < e.onset < asked.horizon]
    times, _ = time_grid(0.0, np.unique([0.0, end, asked.horizon, *boluses]), world.spacing)  # each in its own time
    size = bucket(max(len(arm.entries) for arm in asked.arms))
    plans = [schedule(arm.entries, size=size) for arm in asked.arms]
    x = live(world, newcomers, plans, times, seed=seed, progress=progress)
    first = newcomers.reading[:, None, :]
    x[:, :, 0] = np.where(np.isnan(first), x[:, :, 0], first)  # what was read at the start is not read again
    outcome = np.stack([_outcome(asked.outcome, times, x[:, a], plan, spec) for a, plan in enumerate(plans)], axis=1)
    return _told(model, asked, newcomers, times, x, outcome, supports, seed)


def _outcome(
    quantity: Quantity, times: Float[np.ndarray, " t"], x: Float[np.ndarray, "n t d"], plan: Schedule, spec: WorldSpec
) -> Float[np.ndarray, " n"]:
    """The quantity of every patient; the reading at the start is not to come and does not count."""
    starts, stops = jnp.asarray(times[:-1], jnp.float32), jnp.asarray(times[1:], jnp.float32)
    held = jax.tree.map(jnp.asarray, plan)
    rate, bolus = jax.vmap(lambda a, b: between(held, a, b, len(spec.actions)))(starts, stops)
    course = Course(stops, stops - starts, jnp.asarray(x[:, 1:]), rate + bolus)
    return np.asarray(value(quantity, course), np.float64)


def _told(
    model: Fitted | World, asked: Design, newcomers: Newcomers, times: Float[np.ndarray, " t"],
    x: Float[np.ndarray, "n a t d"], outcome: Float[np.ndarray, "n a"], supports: tuple[Support, ...], seed: int,
) -> Trial:  # fmt: skip
    control, treated = outcome.T
    powers = tuple(power(control, treated, n, trials=asked.trials, alpha=asked.alpha, seed=seed) for n in asked.sizes)
    reaches, assignment = (), None
    word, why = "simulation", ("the patients and their responses are a simulator's equations",)
    if isinstance(model, Fitted):
        typical = np.array(
            [np.median(r[np.isfinite(r)]) if np.isfinite(r).any() else np.nan for r in newcomers.reading.T]
        )
        reaches = tuple(reach_of(model, a.entries, 0.0, asked.horizon, typical, a.name) for a in asked.arms)
        assignment = assignment_of(model.study)
        word, why = wording(assignment, reaches, ())
    config = {
        "arms": [f"{a.name}: {a.text}" for a in asked.arms], "outcome": str(asked.outcome), "horizon": asked.horizon,
        "given": [g.text for g in asked.given], "sizes": list(asked.sizes), "trials": asked.trials,
        "patients": asked.patients, "alpha": asked.alpha, "world": model.spec.name,
    }  # fmt: skip
    parents = (model.record.id,) if isinstance(model, Fitted) else ()
    rng = np.random.default_rng([seed, 6])
    weight = rng.multinomial(len(outcome), np.full(len(outcome), 1 / len(outcome)), _REPLICATES) / len(outcome)
    return Trial(
        spec=model.spec, design=asked, newcomers=newcomers, times=times, x=x, outcome=outcome,
        means=(_mean(control, weight), _mean(treated, weight)), difference=_mean(treated - control, weight),
        powers=powers, word=word, why=why, assignment=assignment, support=supports, overlap=reaches,
        record=Record("simulate", {}, config, seed, parents),
    )  # fmt: skip


def _mean(values: Float[np.ndarray, " n"], weight: Float[np.ndarray, "r n"]) -> Interval:
    low, high = np.quantile(weight @ values, (0.025, 0.975)).tolist()
    return Interval(float(values.mean()), low, high, len(values))
