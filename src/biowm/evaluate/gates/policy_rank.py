"""Gate `policy-rank`: the world must put twenty policies in the order in which the simulator puts them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray
from scipy import stats

from biowm.core.interval import Interval
from biowm.core.path import Path, take
from biowm.core.registry import register
from biowm.core.rollout import assimilate, at, draw_states, resume
from biowm.core.schedule import Schedule
from biowm.core.spec import WorldSpec
from biowm.core.world import State, World
from biowm.engine.cohort import Policy, doses_of, random_policy

from ..exam import NO_TRANSITION, Exam, Verdict
from ..fresh import HISTORY, SUBJECTS, Fresh, fresh
from ..metrics import REPLICATES

_DRAWS = 4
_CONSTANT, _CYCLES, _THRESHOLDS = 8, 6, 6
_LONGEST = 4  # steps that a cycle is on or off
_LEAST = 0.9
_NONE = 1e-4  # training SDs: policies that differ no more have no order


@dataclass(frozen=True)
class Rule:
    """Doses in each step after the decision; with a `level`, only to whom the last reading is `above` it (or not)."""

    name: str
    doses: Float[np.ndarray, "g a"]
    level: float | None = None
    above: bool = True

    def give(self, last: Float[np.ndarray, " n"], step: int) -> Float[np.ndarray, "n a"]:
        """The doses of one step, from the last reading of the first target."""
        treated = np.ones(len(last), bool) if self.level is None else (last > self.level) == self.above
        return np.where(treated[:, None], self.doses[step][None, :], 0.0)


@register("gates", "policy-rank")
def check(exam: Exam) -> Verdict:
    """Spearman's correlation of the mean returns of 20 policies in the world and in the simulator is .9 or more (R14).

    Eight give constant shares of the full doses (switches are on that share of the time), six go on and off, six treat
    by the last reading. All start from the same fresh subjects, treated at random until then; the world goes on from
    its beliefs about them and lives on its own readings. The return is minus the last reading of the first target in
    link units, averaged over subjects. At .9, the bar of the benchmark `policy-rank`, about six of seven pairs are in
    order (of normal returns: Kendall's tau .73). The interval resamples subjects.
    """
    truth, world, spec = exam.truth, exam.dynamics, exam.world.spec
    if truth is None:
        return exam.skip("policy-rank", "no simulator that the data came from: what policies bring is not known")
    if not spec.actions:
        return exam.skip("policy-rank", "the world has no action: nothing to rank")
    if world is None:
        return exam.skip("policy-rank", NO_TRANSITION)
    start = fresh(exam, truth, random_policy(spec))
    rules = policies(spec, start, exam.seed)
    lived = [fresh(exam, truth, _then(spec, rule)).cohort.paths for rule in rules]
    last = HISTORY + int(start.ends[-1])
    true = _returns(exam, np.stack([path.x[:, last] for path in lived]))
    if float(np.ptp(true.mean(1))) <= _NONE:
        return exam.skip("policy-rank", "all policies bring the same in the simulator: nothing to rank")
    told = _returns(exam, _dreamt(world, start, rules, exam.seed)).reshape(len(rules), SUBJECTS, _DRAWS).mean(2)
    found = rank_correlation(told, true, exam.seed)
    detail = f"rank correlation {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] of what {len(rules)} policies"
    detail += f" bring in the world and in the simulator; {_LEAST:g} is asked"
    returns = {r.name: {"world": float(w), "truth": float(t)}
               for r, w, t in zip(rules, told.mean(1), true.mean(1), strict=True)}  # fmt: skip
    evidence = {"subjects": SUBJECTS, "draws": _DRAWS, "spearman": asdict(found), "mean_returns": returns}
    return exam.verdict("policy-rank", found.value >= _LEAST, found, detail, evidence)


def policies(spec: WorldSpec, start: Fresh, seed: int) -> list[Rule]:
    """Twenty policies: constant shares of the full doses, cycles, and thresholds on the last reading."""
    rng, steps, n = np.random.default_rng(seed), len(start.steps) - 1, len(spec.actions)
    top, step = doses_of(spec), np.arange(steps)[:, None]
    switch = np.array([card.kind == "switch" for card in spec.actions])

    def shares() -> Float[np.ndarray, "g a"]:
        share = rng.random(n)
        on = np.floor((step + 1) * share + 0.5) > np.floor(step * share + 0.5)  # evenly spread
        return top * np.where(switch, on, share)

    def cycle() -> Float[np.ndarray, "g a"]:
        on, off = rng.integers(1, _LONGEST + 1, (2, n))
        return top * (step % (on + off) < on)

    now = np.asarray(start.cohort.paths.x)[:, HISTORY - 1, spec.targets[0]]
    levels = np.quantile(now, (np.arange(_THRESHOLDS) + 1) / (_THRESHOLDS + 1)).tolist()
    return [
        *(Rule(f"constant {k + 1}", shares()) for k in range(_CONSTANT)),
        *(Rule(f"cycle {k + 1}", cycle()) for k in range(_CYCLES)),
        *(Rule(f"{'above' if k % 2 else 'up to'} {v:.3g}", shares(), v, bool(k % 2)) for k, v in enumerate(levels)),
    ]


def _then(spec: WorldSpec, rule: Rule) -> Policy:
    """At random until the decision, by the rule from there on."""
    before = random_policy(spec)

    def choose(readings: Float[np.ndarray, "n k d"], rng: np.random.Generator) -> Float[np.ndarray, "n a"]:
        step = readings.shape[1] - HISTORY
        return before(readings, rng) if step < 0 else rule.give(readings[:, -1, spec.targets[0]], step)

    return choose


@eqx.filter_jit
def _begin(world: World, paths: Path, keys: Key[Array, " m"]) -> State:
    def one(path: Path, key: PRNGKeyArray) -> State:
        return draw_states(world, at(assimilate(world, path), HISTORY - 1), key=key, draws=1)

    return jax.vmap(one)(paths, keys)


@eqx.filter_jit
def _go_on(
    world: World, states: State, doses: Float[Array, "m a"], now: Array, until: Array, keys: Key[Array, " m"]
) -> tuple[State, Float[Array, "m d"]]:
    cards = jnp.arange(doses.shape[1], dtype=jnp.int32)
    stop = jnp.where(jnp.array([card.kind == "bolus" for card in world.spec.actions]), now, until)

    def one(state: State, dose: Float[Array, " a"], key: PRNGKeyArray) -> tuple[State, Float[Array, " d"]]:
        plan = Schedule(cards, dose, jnp.full_like(dose, now), stop, jnp.zeros(dose.shape, bool))
        after, readings = resume(world, state, plan, until[None], key=key)
        return after, readings[0, 0]

    return jax.vmap(one)(states, doses, keys)


def _dreamt(world: World, start: Fresh, rules: list[Rule], seed: int) -> Float[np.ndarray, "p m d"]:
    """The last readings of every subject and draw under every rule, in the world; all rules meet the same chances."""
    who = np.repeat(np.arange(SUBJECTS), _DRAWS)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(len(who), dtype=jnp.uint32))
    paths, channel = take(start.cohort.paths, who), world.spec.targets[0]
    first = _begin(world, paths, keys)
    found = []
    for rule in rules:
        states, read = first, np.asarray(paths.x)[:, HISTORY - 1]
        for k in range(int(start.ends[-1]) + 1):
            doses = jnp.asarray(rule.give(read[:, channel], k), jnp.float32)
            now, until = (jnp.asarray(start.steps[j]) for j in (k, k + 1))
            states, after = _go_on(world, states, doses, now, until, keys)
            read = np.asarray(after)
        found.append(read)
    return np.stack(found)


def _returns(exam: Exam, last: Float[np.ndarray, "p m d"]) -> Float[np.ndarray, "p m"]:
    return -exam.scaled(last)[..., 0]


def rank_correlation(told: Float[np.ndarray, "p n"], true: Float[np.ndarray, "p n"], seed: int) -> Interval:
    """Spearman's correlation of P mean returns, with its interval over the N subjects; 0 where all are the same."""
    n = told.shape[1]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), REPLICATES)
    weights = np.concatenate([np.ones((1, n)), drawn]) / n
    one, two = (stats.rankdata(np.round(weights @ side.T, 6), axis=1) for side in (told, true))
    one, two = (ranks - ranks.mean(1, keepdims=True) for ranks in (one, two))
    size = np.sqrt((one**2).sum(1) * (two**2).sum(1))
    found = (one * two).sum(1) / np.where(size > 0, size, 1.0)
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Interval(float(found[0]), float(low), float(high), n)
