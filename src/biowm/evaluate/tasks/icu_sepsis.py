"""Task `icu-sepsis`: treatment of sepsis planned from logged episodes of clinicians, and what the plan is worth.

ICU-Sepsis (Choudhary et al. 2024, arXiv:2406.05646) is known exactly, so that every policy is: `value` is the chance to
survive under it, by a linear solve. What a plan promises comes from episodes that had no part in it: planned on one
half, valued in the model of the other, averaged both ways; `overpromise` is that less the value, `overpromise_own` what
the plan's own model promises less the value. Splits are numbers of episodes. Planned with:

- `likelihood`: frequencies as they are; `support`: the same, by choices made 50 times or more, else as clinicians do;
- `spibb`: choices made less than 100 times as often as clinicians make them (Laroche et al. 2019, arXiv:1712.06924);
- `dirichlet`: frequencies shrunk to the mean of the state, which weighs 80 visits (taken after true values were seen);
- `world`: shrunk to "this action does nothing", as far as the evidence says (`models/tabular.py`); nothing is raced
  here, so that there is no `world:no-rules`;
- `oracle`: the true value of every state after the next, and which actions are admissible, are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.interval import Interval, Role, Row, row
from biowm.core.registry import register
from biowm.core.tabular import Log, Mdp
from biowm.models.tabular import Counts, behaviour, count, dirichlet, likeliest, shrunk
from biowm.plan.tabular import best, returns, top, values, worth
from biowm.train.contest import Progress
from biowm.worlds.patient.sepsis import log
from biowm.worlds.patient.sepsis_tables import ACTIONS, LIVE, STATES, Tables, tables

from ..metrics import Metric, Tally, given
from ..task import Answer, Pooled, Setting, Task

SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
ENOUGH, SAFE, WEIGHT = 50, 100, 80.0  # visits: of `support`, of `spibb`, of the mean of `dirichlet`
Policy = Float[np.ndarray, "live a"]
_METRIC = Metric(given)


@dataclass(frozen=True)
class Problem:
    """Logged episodes, by split; none is in two."""

    seed: int
    logs: Mapping[str, Log]


@dataclass(frozen=True)
class Planned:
    """A policy, and what was promised for it by its own model and by episodes that did not make it."""

    policy: Policy
    own: float | None = None
    promise: float | None = None


Prediction = Mapping[str, Planned]  # by split
Recipe = Callable[[Counts], tuple[Mdp, Policy]]


@register("tasks", "icu-sepsis")
class IcuSepsis(Task[Problem, Prediction]):
    """Treatment of sepsis, planned from logged episodes of clinicians."""

    version = "1"
    primary = "value"
    higher = True

    def make(self, seed: int, setting: Setting) -> Problem:
        """Fresh logs of all sizes. Raises BadInput where the package with the tables is missing."""
        keys = jax.random.split(jax.random.key(seed), len(SIZES))
        return Problem(
            seed, {split: log(tables().clinician, n, key=k) for (split, n), k in zip(SIZES.items(), keys, strict=True)}
        )

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """What needs no log, then the ways to plan from one, then what knows more than a log can say."""
        known = tables()
        alike = np.full((LIVE, ACTIONS), 1 / ACTIONS)
        for name, policy in (("random", alike), ("clinician", known.clinician)):
            yield Answer(name, "baseline", {split: Planned(policy) for split in problem.logs})
        halves = {split: _halves(own, problem.seed) for split, own in problem.logs.items()}
        recipes: dict[str, Recipe] = {
            "likelihood": _likelihood, "support": _support, "spibb": _spibb, "dirichlet": _dirichlet, "world": _world,
        }  # fmt: skip
        for i, (name, recipe) in enumerate(recipes.items()):
            tell(name, (i + 1) / (len(recipes) + 1))
            role: Role = "ours" if name == "world" else "baseline"
            yield Answer(name, role, {split: _planned(recipe, *parts) for split, parts in halves.items()})
        truth = best(known.mdp)
        oracle = {split: Planned(_oracle(whole, known, truth)) for split, (whole, *_) in halves.items()}
        yield Answer("oracle", "ceiling", oracle)
        yield Answer("optimal", "ceiling", {split: Planned(truth) for split in problem.logs})

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """One number a seed: seeds are what the intervals are over."""
        found, unit, one = {}, np.array([str(problem.seed)]), np.ones(1)
        for split, planned in prediction.items():
            true = worth(tables().mdp, planned.policy)
            found[split, "value"] = Tally(_METRIC, unit, one * true, one)
            for metric, said in (("overpromise", planned.promise), ("overpromise_own", planned.own)):
                if said is not None:
                    found[split, metric] = Tally(_METRIC, unit, one * (said - true), one)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """The worst seed of each contender."""
        for (name, role, split, metric), counted in pooled.items():
            if metric == "value":
                worst = float(np.min(counted.total / counted.count))
                yield row(name, role, split, "worst_value", Interval(worst, worst, worst, len(counted.units)))


def _halves(whole: Log, seed: int) -> tuple[Counts, Counts, Counts]:
    """Counts of all episodes, and of two random halves of them."""
    episodes = len(whole.first)
    second = np.random.default_rng(seed).permutation(episodes) % 2 == 1
    return tuple(_counts(whole, keep) for keep in (np.ones(episodes, bool), ~second, second))  # type: ignore[return-value]


def _counts(whole: Log, keep: np.ndarray) -> Counts:
    step = keep[whole.episode]
    part = Log(whole.episode[step], whole.state[step], whole.action[step], whole.after[step], whole.first[keep])
    return count(part, STATES, LIVE, ACTIONS)


def _planned(recipe: Recipe, whole: Counts, first: Counts, second: Counts) -> Planned:
    model, policy = recipe(whole)
    (a, plan_a), (b, plan_b) = recipe(first), recipe(second)
    return Planned(policy, worth(model, policy), (worth(b, plan_a) + worth(a, plan_b)) / 2)


def _reward() -> Float[np.ndarray, " n"]:
    return tables().mdp.reward  # what is wanted is known to whoever plans


def _likelihood(counts: Counts) -> tuple[Mdp, Policy]:
    model = likeliest(counts, _reward())
    return model, best(model)


def _support(counts: Counts) -> tuple[Mdp, Policy]:
    model, enough = likeliest(counts, _reward()), counts.visits >= ENOUGH
    able = np.isin(np.arange(LIVE), counts.state[enough])
    return model, best(model, enough, np.where(able[:, None], 0.0, behaviour(counts)))


def _spibb(counts: Counts) -> tuple[Mdp, Policy]:
    model, safe, fixed = likeliest(counts, _reward()), counts.visits >= SAFE, behaviour(counts)
    fixed[counts.state[safe], counts.action[safe]] = 0.0
    return model, best(model, safe, fixed)


def _dirichlet(counts: Counts) -> tuple[Mdp, Policy]:
    model = dirichlet(counts, _reward(), WEIGHT)
    return model, best(model)


def _world(counts: Counts) -> tuple[Mdp, Policy]:
    model = shrunk(counts, _reward())
    return model, best(model)


def _oracle(counts: Counts, known: Tables, truth: Policy) -> Policy:
    """Greedy in the shrunk frequencies, the true values behind them; any admissible action where none was made."""
    model = dirichlet(counts, _reward(), WEIGHT)
    gain = np.where(known.admissible[model.state, model.action], returns(model, values(known.mdp, truth)), -np.inf)
    chosen = top(model, gain)
    policy = known.admissible / known.admissible.sum(1, keepdims=True)
    policy[chosen >= 0] = 0.0
    policy[chosen >= 0, model.action[chosen[chosen >= 0]]] = 1.0
    return policy
