"""Snapshots of cells, as sequencing takes them: each cell is read once, as counts, in one of several batches.

Counts are Poisson about size of the library x share of the transcript among all that the cell holds. Libraries are
log-normal; batches differ in depth and, gene by gene, in what they catch. Both belong to the reading: what happens in a
cell never depends on its batch. Counts may be lost besides, the more likely the lower they are expected (dropout, as in
ZIFA, Pierson and Yau 2015, doi:10.1186/s13059-015-0805-z); counts of molecules need none (Svensson 2020,
doi:10.1038/s41587-019-0379-5), so that there is none unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ..langevin import Langevin, LangevinState


@dataclass(frozen=True)
class Reading:
    """How cells are read. `library`: median counts of a cell; `spread`: sd of its logarithm.

    `others` are transcripts of genes that are not simulated, in every cell. With `batches` come factors of depth (sd of
    the log `depth`) and of each gene (`bias`). An expected count m is lost with probability exp(-dropout log(1 + m)^2)
    (infinite: none is).
    """

    library: float = 2000.0
    spread: float = 0.3
    others: float = 500.0
    batches: int = 1
    depth: float = 0.3
    bias: float = 0.1
    dropout: float = float("inf")


@dataclass(frozen=True, eq=False)
class Conditions:
    """What c groups of cells were given: names, doses, one-hot lines, and hours from the set to the reading."""

    names: tuple[str, ...]
    dose: Float[np.ndarray, "c a"]
    traits: Float[np.ndarray, "c l"]
    hours: Float[np.ndarray, " c"]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Counts of n cells of each condition, with the batch and the library (expected counts) of each.

    `transcripts` is what was truly in the cells.
    """

    conditions: Conditions
    genes: tuple[str, ...]
    counts: Int[np.ndarray, "c n g"]
    transcripts: Float[np.ndarray, "c n g"]
    batch: Int[np.ndarray, "c n"]
    library: Float[np.ndarray, "c n"]

    def rows(self) -> tuple[Int[np.ndarray, "m g"], Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """All cells below each other: counts, the condition of each and its batch."""
        c, n, g = self.counts.shape
        return self.counts.reshape(c * n, g), np.repeat(np.arange(c), n), self.batch.ravel()


def conditions(
    world: Langevin, sets: Sequence[Mapping[str, float]], *, lines: Sequence[str] = (), hours: float = 48.0
) -> Conditions:
    """Every set (action -> dose; empty: control) in each of `lines` (default: all), read after `hours`.

    Raises: KeyError for an action that the world does not have, ValueError for a line.
    """
    levels = world.spec.traits[0].levels
    lines = tuple(lines or levels)
    strange = [line for line in lines if line not in levels]
    if strange:
        raise ValueError(f"lines {', '.join(strange)}, expected some of {', '.join(levels)}")
    rows = [(members, line) for line in lines for members in sets]
    dose = np.zeros((len(rows), len(world.spec.actions)), np.float32)
    for row, (members, _) in enumerate(rows):
        for name, given in members.items():
            dose[row, world.spec.action(name)] = given
    said = [f"{'+'.join(f'{k} {v:g}' for k, v in m.items()) or 'control'}, line={line}" for m, line in rows]
    traits = np.eye(len(levels), dtype=np.float32)[[levels.index(line) for _, line in rows]]
    return Conditions(tuple(said), dose, traits, np.full(len(rows), hours))


def snapshot(
    world: Langevin, asked: Conditions, cells: int, key: PRNGKeyArray, reading: Reading | None = None
) -> Snapshot:
    """Read `cells` new cells of every condition once: each has settled, got its set, and is read `hours` later.

    No cell of one condition is a cell of another. States of the world are taken as transcripts.
    """
    how = reading or Reading()
    k_live, k_batch, k_count = jax.random.split(key, 3)
    steps = max(1, int(np.ceil(np.max(asked.hours) / world.spacing)))
    c, n = len(asked.names), cells
    keys = jax.random.split(k_live, (c, n))
    dose, traits, hours = (jnp.asarray(v, jnp.float32) for v in (asked.dose, asked.traits, asked.hours))
    x = _live(world, dose, traits, hours, keys, steps)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(k_batch)))
    batch = rng.integers(how.batches, size=(c, n))
    several = how.batches > 1
    depth = np.exp(several * how.depth * rng.standard_normal(how.batches))
    caught = np.exp(several * how.bias * rng.standard_normal((how.batches, x.shape[2])))
    library = how.library * depth[batch] * np.exp(how.spread * rng.standard_normal((c, n)))
    share = np.asarray(x) / (how.others + np.asarray(x).sum(-1, keepdims=True))
    mean = library[..., None] * caught[batch] * share
    counts = np.random.default_rng(np.asarray(jax.random.key_data(k_count))).poisson(mean)
    if np.isfinite(how.dropout):
        counts = np.where(rng.random(mean.shape) < np.exp(-how.dropout * np.log1p(mean) ** 2), 0, counts)
    names = tuple(channel.name for channel in world.spec.channels)
    return Snapshot(asked, names, counts.astype(np.int32), np.asarray(x), batch, library)


@eqx.filter_jit
def _live(
    world: Langevin,
    dose: Float[Array, "c a"],
    traits: Float[Array, "c l"],
    hours: Float[Array, " c"],
    keys: Key[Array, "c n"],
    steps: int,
) -> Float[Array, "c n g"]:
    """States of cells at their reading."""
    none = jnp.zeros(dose.shape[1])

    def one(
        dose: Float[Array, " a"], traits: Float[Array, " l"], hours: Float[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " g"]:
        born, alone, given = jax.random.split(key, 3)
        start = world.draw(world.begin(traits), key=born)

        def body(
            state: LangevinState, now: tuple[PRNGKeyArray, Float[Array, " a"], Float[Array, ""]]
        ) -> tuple[LangevinState, None]:
            luck, action, dt = now
            return world.step(state, action, dt, key=luck), None

        # The belief is normal, cells are not: a while without a set, as long as cells take to settle, makes them so.
        pieces = max(1, round(world.settling / world.spacing))
        luck = jnp.concatenate([jax.random.split(alone, pieces), jax.random.split(given, steps)])
        action = jnp.concatenate([jnp.tile(none, (pieces, 1)), jnp.tile(dose, (steps, 1))])
        dt = jnp.concatenate([jnp.full(pieces, world.spacing), jnp.full(steps, hours / steps)])
        return jax.lax.scan(body, start, (luck, action, dt))[0].x

    over_cells = jax.vmap(one, in_axes=(None, None, None, 0))
    return jax.vmap(over_cells)(dose, traits, hours, keys)
