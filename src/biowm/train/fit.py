"""Fit: race the candidates out of sample, blend, calibrate; the world that is kept is the one that was calibrated.

With 200 subjects or more that one learned from all but a fifth of them (at most 400), and a band's promise is that of
split conformal prediction (doi:10.1080/01621459.2017.1307116). With fewer, four folds calibrate and the kept world
learns from everybody.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.mechanism_units import Declared
from biowm.core.path import Path, take
from biowm.core.record import Record, digest, digest_arrays
from biowm.core.spec import WorldSpec, spec_to_json
from biowm.core.world import World
from biowm.models.blend import blend
from biowm.models.candidate import Candidate, Material, material
from biowm.models.trunks.mechanism_fit import named
from biowm.models.trunks.mechanism_found import summary

from .calibrate import Calibration, calibrate
from .candidates import eligible, spacing_of
from .contest import DRAWS, ORIGINS, Job, Progress, contest, mixture, silent
from .envelope import envelope
from .fitted import Fitted
from .horizons import Asked, Horizons
from .race import Race, run_race
from .stages import Stages
from .workers import side_by_side


class Answers(NamedTuple):
    """What was asked in the race, and the kept blend's out-of-sample draws (channels' units) at so many horizons."""

    asked: Asked
    draws: Float[np.ndarray, "q n h d"]
    horizons: int


def fit_paths(
    spec: WorldSpec,
    paths: Path,
    horizons: Horizons,
    *,
    seed: int = 0,
    units: Sequence[str | Sequence[str]] | None = None,
    known: Sequence[int] = (),
    mechanism: Declared | None = None,
    candidates: Sequence[Candidate] | None = None,
    thorough: bool = False,
    halves: bool = True,
    stages: Stages | None = None,
    progress: Progress | None = None,
    heard: Callable[[Answers], None] | None = None,
) -> Fitted:
    """Fit the default world to stacked paths of training subjects.

    Args: `units` groups subjects that must stay together (default: each by itself), as what is asked about is new: a
    subject of several units (the members of its set) is held out with each; `known` are subjects (indices) that all
    learn from and that nobody is asked about: what will always be known when the world is asked; `horizons` where the
    race and the calibration are run; `mechanism` equations that enter the race; `candidates` who is raced (default: the
    mechanism and all that are registered and find enough readings to learn from); `thorough` whether those of them run
    that take long; `halves` whether to fit the two half-blends that plans are promised by; `progress(text, share)`;
    `heard` is given what the promise was made by. The result has no held-out rows and no cohort: `fit_study` adds them.
    Raises: ValueError where no subject has two readings.
    """
    tell = progress or silent
    given = units if units is not None else [str(i) for i in range(paths.t.shape[0])]
    each = [(name,) if isinstance(name, str) else tuple(name) for name in given]
    belongs = tuple(() if i in set(known) else names for i, names in enumerate(each))
    job = Job(spec, paths, belongs, horizons, spacing_of(paths, spec.targets), seed)
    stages = stages or Stages(None, "")
    candidates = eligible(spec, paths, mechanism, thorough, horizons.origins) if candidates is None else candidates
    ready = material(spec, paths, job.spacing, horizons.longest(job.spacing))
    scale = ready.frame.scale
    held = contest(job, candidates, ready, stages, lambda text, share: tell(text, 0.75 * share))
    race = run_race(held.sheet)
    n_horizons = len(horizons.values)

    def trust(weights: dict[str, float]) -> Calibration:
        return calibrate(spec, scale, held.asked, mixture(held.draws, weights), n_horizons, held.unit)

    wanted = {c.name for c in candidates if c.is_rule} | set(race.weights()) | set(dict(race.rules_free))
    equations = set() if mechanism is None else {named(mechanism)}  # what was found of its parameters is asked for
    wanted |= equations
    members = _fit_members([c for c in candidates if c.name in wanted], held.kept, tell, 0.75, 0.15)
    world = blend(spec, members, race.weights())
    whole = {name: members[name] for name in race.weights()}
    fitted = Fitted(
        spec=spec,
        world=world,
        rules_free=blend(spec, members, dict(race.rules_free)),
        members=members,
        race=race,
        calibration=trust(race.weights()),
        rules_calibration={c.name: trust({c.name: 1.0}) for c in candidates if c.is_rule or c.name in equations}
        | {"world:no-rules": trust(dict(race.rules_free))},
        horizons=horizons,
        envelope=envelope(spec, scale, paths, horizons.longest(job.spacing), horizons.origins),
        half_members=_halves(job, candidates, race, tell) if halves else (whole, whole),
        cohort=None,
        rows=(),
        record=_record(job, candidates, race, members, thorough),
    )
    if heard is not None:
        heard(Answers(held.asked, np.asarray(scale.to_x(mixture(held.draws, race.weights()))), n_horizons))
    return fitted


def _fit_members(
    chosen: Sequence[Candidate], ready: Material, tell: Progress, at: float, share: float
) -> dict[str, World]:
    """The chosen candidates, fitted side by side, in their order."""
    ended = itertools.count(1)

    def told(i: int) -> None:
        tell(f"fit of the blend: {chosen[i].name}", at + share * next(ended) / len(chosen))

    worlds = side_by_side([functools.partial(ready.fitted, c) for c in chosen], told)
    return {c.name: world for c, world in zip(chosen, worlds, strict=True)}


def _halves(
    job: Job, candidates: Sequence[Candidate], race: Race, tell: Progress
) -> tuple[dict[str, World], dict[str, World]]:
    """The members of the blend, fitted on each half of the units; who belongs to units of both is in neither."""
    names = sorted({name for units in job.units for name in units})
    order = np.random.default_rng([job.seed, 2]).permutation(len(names))
    first = {names[u] for u in order[: len(names) // 2]}
    side, other = (
        np.array([all((name in first) == mine for name in units) for units in job.units]) for mine in (True, False)
    )
    chosen = [c for c in candidates if c.name in race.weights()]
    worlds = []
    for i, mask in enumerate((side, other)):
        ready = material(
            job.spec, take(job.paths, np.flatnonzero(mask)), job.spacing, job.horizons.longest(job.spacing)
        )
        worlds.append(_fit_members(chosen, ready, tell, 0.9 + 0.04 * i, 0.04))
    return worlds[0], worlds[1]


def _record(job: Job, candidates: Sequence[Candidate], race: Race, members: dict[str, World], thorough: bool) -> Record:
    return Record(
        kind="fit",
        inputs={"paths": digest_arrays(jax.tree.leaves(job.paths)), "spec": digest(spec_to_json(job.spec))},
        config={
            "horizons": list(job.horizons.values),
            "horizon_kind": job.horizons.kind,
            "candidates": [c.name for c in candidates],
            "thorough": thorough,
            "origins": ORIGINS if job.horizons.origins == "spread" else 1,
            "asked_from": job.horizons.origins,
            "draws": DRAWS,
        },
        seed=job.seed,
        metrics={
            "weights": race.weights(),
            "rules_weight": race.rules_weight,
            "best_rule": race.best_rule,
            "equations": summary(members),
        },
    )
