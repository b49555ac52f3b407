"""Fit: race the candidates out of sample, blend, calibrate, refit on everybody, and score the held-out subjects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import Queries, forecast
from biowm.core.path import Path, take
from biowm.core.record import Record, digest, digest_arrays
from biowm.core.spec import WorldSpec, spec_to_json
from biowm.core.world import World
from biowm.models.blend import blend
from biowm.models.candidate import Candidate, Material, material

from .calibrate import Calibration, calibrate
from .candidates import entrants, spacing_of
from .envelope import envelope
from .fitted import Fitted
from .horizons import Asked, Horizons, ask
from .race import Race, run_race, score_sheet
from .stages import Stages

FOLDS, SMALL, MOST_ASKED = 4, 200, 400
ORIGINS, DRAWS = 6, 64
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Job:
    """What is fitted: the spec, stacked paths of the subjects to learn from, and the unit each belongs to."""

    spec: WorldSpec
    paths: Path
    units: tuple[str, ...]
    horizons: Horizons
    spacing: float
    seed: int


def fit_paths(
    spec: WorldSpec,
    paths: Path,
    horizons: Horizons,
    *,
    seed: int = 0,
    units: Sequence[str] | None = None,
    candidates: Sequence[Candidate] | None = None,
    halves: bool = True,
    stages: Stages | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the default world to stacked paths of training subjects.

    Args: `units` groups subjects that must stay together (default: each by itself); `horizons` where the race
    and the calibration are run; `candidates` who is raced (default: all that are registered); `halves` whether
    to fit the two half-blends that plans are promised by; `progress(text, share)`. The result has no held-out
    rows and no cohort: `fit_study` adds them.
    Raises: ValueError where no subject has two readings.
    """
    tell = progress or (lambda text, share: None)
    units = tuple(units) if units is not None else tuple(str(i) for i in range(paths.t.shape[0]))
    job = Job(spec, paths, units, horizons, spacing_of(paths, spec.targets), seed)
    stages = stages or Stages(None, "")
    candidates = entrants() if candidates is None else candidates
    folds = _folds(job)
    _check_channels(job, folds)
    asked, draws = _out_of_sample(job, candidates, folds, stages, tell)
    ready = material(spec, paths, job.spacing, horizons.longest(job.spacing))
    to_z = _to_z(ready)
    truth = np.asarray(to_z(asked.truth))[..., list(spec.targets)]
    in_z = {c.name: np.asarray(to_z(draws[c.name])) for c in candidates}
    sheet = score_sheet(
        tuple(c.name for c in candidates),
        tuple(c.is_rule for c in candidates),
        [in_z[c.name][..., list(spec.targets)] for c in candidates],
        truth,
        asked.horizon,
        asked.queries.subject,
    )
    race = run_race(sheet)
    scale = ready.frame.scale
    n_horizons = len(horizons.values)

    def trust(weights: dict[str, float]) -> Calibration:
        return calibrate(spec, scale, asked, mixture(in_z, weights), n_horizons)

    wanted = {c.name for c in candidates if c.is_rule} | set(race.weights()) | set(dict(race.rules_free))
    members = _fit_members([c for c in candidates if c.name in wanted], ready, tell, 0.75, 0.15)
    world = blend(spec, members, race.weights())
    whole = {name: members[name] for name in race.weights()}
    return Fitted(
        spec=spec,
        world=world,
        rules_free=blend(spec, members, dict(race.rules_free)),
        members=members,
        race=race,
        calibration=trust(race.weights()),
        rules_calibration={c.name: trust({c.name: 1.0}) for c in candidates if c.is_rule}
        | {"world:no-rules": trust(dict(race.rules_free))},
        horizons=horizons,
        envelope=envelope(spec, scale, paths, horizons.longest(job.spacing)),
        half_members=_halves(job, candidates, race, tell) if halves else (whole, whole),
        cohort=None,
        rows=(),
        record=_record(job, candidates, race),
    )


def mixture(draws: dict[str, Float[np.ndarray, "q n h d"]], weights: dict[str, float]) -> Float[np.ndarray, "q n h d"]:
    """Draws of the linear pool: from each member as many as its weight asks, largest remainders first."""
    n = next(iter(draws.values())).shape[1]
    share = {name: w * n for name, w in weights.items()}
    count = {name: int(s) for name, s in share.items()}
    short = n - sum(count.values())
    for name in sorted(share, key=lambda k: count[k] - share[k])[:short]:
        count[name] += 1
    return np.concatenate([draws[name][:, :k] for name, k in count.items() if k > 0], axis=1)


def _folds(job: Job) -> list[Int[np.ndarray, " _"]]:
    """Held-out subjects of each fold, by unit: four folds below 200 subjects, else one of a fifth (at most 400)."""
    names = sorted(set(job.units))
    order = np.random.default_rng([job.seed, 1]).permutation(len(names))
    place = {names[u]: i for i, u in enumerate(order)}
    rank = np.array([place[u] for u in job.units])
    if len(job.units) < SMALL:
        k = min(FOLDS, len(names))
        if k < 2:
            raise ValueError(f"found {len(names)} subject or group, expected at least 2 to hold some out")
        return [np.flatnonzero(rank % k == f) for f in range(k)]
    cut = max(1, min(len(names) // 5, int(len(names) * MOST_ASKED / len(job.units))))
    return [np.flatnonzero(rank < cut)]


def _check_channels(job: Job, folds: list[Int[np.ndarray, " _"]]) -> None:
    """Every fold must leave, for every channel, somebody with two readings to learn from; ValueError if not."""
    repeated = np.isfinite(np.asarray(job.paths.x)).sum(1) >= 2
    for j, channel in enumerate(job.spec.channels):
        if any(not np.delete(repeated[:, j], held).any() for held in folds):
            raise ValueError(
                f"channel {channel.name!r} is read twice in {int(repeated[:, j].sum())} of {len(repeated)} training "
                f"subjects, expected enough that every fold has one: too few to learn from, leave the channel out"
            )


def _out_of_sample(
    job: Job, candidates: Sequence[Candidate], folds: list, stages: Stages, tell: Progress
) -> tuple[Asked, dict[str, Float[np.ndarray, "q n h d"]]]:
    """Every candidate's draws for the held-out subjects of every fold (stages; float32, in units)."""
    everyone = np.arange(job.paths.t.shape[0])
    asked = ask(job.paths, np.concatenate(folds), job.horizons, origins=ORIGINS, targets=job.spec.targets)
    shape = (len(asked.queries.subject), DRAWS, asked.queries.times.shape[1], len(job.spec.channels))
    out = {c.name: np.empty(shape, np.float32) for c in candidates}
    done, total = 0, len(folds) * len(candidates)
    for f, held in enumerate(folds):
        ready: Material | None = None
        rows = np.flatnonzero(np.isin(asked.queries.subject, held))
        part = Queries(asked.queries.subject[rows], asked.queries.origin[rows], asked.queries.times[rows])
        for c in candidates:
            tell(f"race: fold {f + 1} of {len(folds)}, {c.name}", 0.75 * done / total)

            def compute(c: Candidate = c, held=held, part=part, f: int = f) -> np.ndarray:
                nonlocal ready
                if ready is None:
                    kept = take(job.paths, np.setdiff1d(everyone, held))
                    ready = material(job.spec, kept, job.spacing, job.horizons.longest(job.spacing))
                key = jax.random.fold_in(jax.random.key(job.seed), f)
                return forecast(c.fit(ready), job.paths, part, key=key, draws=DRAWS)

            out[c.name][rows] = stages.get(f"race/{f}/{c.name}", compute)
            done += 1
    return asked, out


def _fit_members(
    chosen: Sequence[Candidate], ready: Material, tell: Progress, at: float, share: float
) -> dict[str, World]:
    members = {}
    for i, c in enumerate(chosen):
        tell(f"refit on all subjects: {c.name}", at + share * i / len(chosen))
        members[c.name] = c.fit(ready)
    return members


def _halves(
    job: Job, candidates: Sequence[Candidate], race: Race, tell: Progress
) -> tuple[dict[str, World], dict[str, World]]:
    """The members of the blend, fitted on each half of the units."""
    names = sorted(set(job.units))
    order = np.random.default_rng([job.seed, 2]).permutation(len(names))
    first = {names[u] for u in order[: len(names) // 2]}
    side = np.array([u in first for u in job.units])
    chosen = [c for c in candidates if c.name in race.weights()]
    worlds = []
    for i, mask in enumerate((side, ~side)):
        ready = material(
            job.spec, take(job.paths, np.flatnonzero(mask)), job.spacing, job.horizons.longest(job.spacing)
        )
        worlds.append(_fit_members(chosen, ready, tell, 0.9 + 0.04 * i, 0.04))
    return worlds[0], worlds[1]


def _to_z(ready: Material):
    scale = ready.frame.scale
    return eqx.filter_jit(lambda x: scale.to_z(jnp.asarray(x)))


def _record(job: Job, candidates: Sequence[Candidate], race: Race) -> Record:
    return Record(
        kind="fit",
        inputs={"paths": digest_arrays(jax.tree.leaves(job.paths)), "spec": digest(spec_to_json(job.spec))},
        config={
            "horizons": list(job.horizons.values),
            "horizon_kind": job.horizons.kind,
            "candidates": [c.name for c in candidates],
            "origins": ORIGINS,
            "draws": DRAWS,
        },
        seed=job.seed,
        metrics={"weights": race.weights(), "rules_weight": race.rules_weight, "best_rule": race.best_rule},
    )
