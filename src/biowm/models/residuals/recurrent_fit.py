"""Training the recurrent network: multi-step CRPS of free-running futures from many readings of many subjects.

In a free run every channel is read at every step, so only the last readings and their averages depend on what was
drawn: the tracker's clocks and doses along each window are computed once. One step of the optimiser encodes the whole
histories of a few subjects and follows futures from eight of their readings each. Small batches and narrow layers, and
two members, were chosen among nine recipes on two folds of real wells (docs/findings.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from biowm.core.path import Path, take
from biowm.core.registry import register
from biowm.core.schedule import between

from ..baselines.pairs import traces
from ..candidate import Candidate, Material
from ..tracker import Frame, Trace, Tracker, advance, give, read
from .descent import averaged, chosen, descended, fair_crps
from .recurrent import Cell, Recurrent, Span, entered, inputs, landing, news

_MOST, _EACH = 256, 8  # subjects at most, windows a subject
_SPREAD = 0.1  # least sd of an input: smaller differences tell nothing


@dataclass(frozen=True)
class Training:
    """Widths of the hidden state, the trait and the layers; members; steps, and subjects, draws, readings ahead a step.

    `rate` and `decay` are AdamW's.
    """

    hidden: int = 32
    trait: int = 8
    width: int = 32
    members: int = 2
    steps: int = 600
    subjects: int = 12
    draws: int = 4
    ahead: int = 6
    rate: float = 3e-3
    decay: float = 1e-2


class Windows(eqx.Module):
    """B subjects with E windows each: `v` what the recurrent unit sees at each time, `heard` where anything was read.

    A window begins at time `origin` with tracker `start`; `ahead` are the trackers just before each of the next K
    times, as if every channel had been read at all of them, `z` and `mask` the readings that came.
    """

    v: Float[Array, "*b t v"]
    heard: Bool[Array, "*b t"]
    origin: Int[Array, "*b e"]
    start: Tracker
    ahead: Tracker
    z: Float[Array, "*b e k d"]
    mask: Bool[Array, "*b e k d"]


def fit_recurrent(m: Material, training: Training = Training()) -> Recurrent:
    """Train every member; the same material gives the same world."""
    span, windows = windows_of(m, training.ahead)
    d = len(m.spec.channels)
    targets = jnp.asarray(np.isin(np.arange(d), m.spec.targets))
    cells = []
    for i in range(training.members):
        rng = np.random.default_rng(i)
        who = rng.integers(0, _MOST, (training.steps, training.subjects))
        cell = blank(len(span.mean), windows.v.shape[-1], d, training, rng)
        keys = jax.random.split(jax.random.key(i), training.steps)
        cells.append(train(cell, m.frame, span, windows, targets, training, jnp.asarray(who, jnp.int32), keys)[0])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cells)
    return Recurrent(m.spec, m.frame.spacing, m.frame, span, stacked)


@register("candidates", "recurrent")
def candidates() -> tuple[Candidate, ...]:
    """The network as it is, where time is given; a few readings would not repay the training."""
    return (Candidate("recurrent", False, fit_recurrent, least=500, thorough=True),)


def windows_of(m: Material, ahead: int) -> tuple[Span, Windows]:
    """Eight windows of each of 256 subjects (again and again the same where there are fewer), and the inputs' range."""
    subjects, origins = chosen(m.paths, _MOST, _EACH)
    paths = take(m.paths, subjects)
    trace = traces(m.frame, paths, len(m.spec.actions))
    seen = np.isfinite(np.asarray(paths.x)).any(-1)
    known = np.asarray(_inputs(trace.before))[seen]
    mean, sd = known.mean(0), np.maximum(known.std(0), _SPREAD)
    z = (known - mean) / sd
    span = Span(*(jnp.asarray(a, jnp.float32) for a in (mean, sd, z.min(0), z.max(0))))
    return span, _windows(m.frame, span, paths, trace, jnp.asarray(origins, jnp.int32), ahead)


_inputs = eqx.filter_jit(jax.vmap(jax.vmap(inputs)))


@eqx.filter_jit
def _windows(frame: Frame, span: Span, paths: Path, trace: Trace, origins: Int[Array, "b e"], ahead: int) -> Windows:
    n_actions = frame.action_scale.shape[0]

    def subject(path: Path, trace: Trace, origins: Int[Array, " e"]) -> Windows:
        mask = jnp.isfinite(path.x)
        z = jax.vmap(frame.scale.to_z)(jnp.where(mask, path.x, 1.0))
        v = jax.vmap(lambda before, z, mask: news(frame, span, before, z, mask))(trace.before, z, mask)
        before = jnp.concatenate([path.t[:1], path.t[:-1]])
        rates, boluses = jax.vmap(lambda a, b: between(path.plan, a, b, n_actions))(before, path.t)

        def window(origin: Int[Array, ""]) -> tuple[Tracker, Tracker, Array, Array]:
            place = origin + 1 + jnp.arange(ahead)
            there = place < path.t.shape[0]
            place = jnp.minimum(place, path.t.shape[0] - 1)
            start = jax.tree.map(lambda leaf: leaf[origin], trace.after)

            def body(tracker: Tracker, now: tuple[Array, ...]) -> tuple[Tracker, Tracker]:
                rate, bolus, gap = now
                due = advance(give(tracker, frame, bolus), frame, rate, gap)
                return read(due, due.z, jnp.ones_like(due.z, bool)), due

            moves = rates[place], boluses[place], (path.t - before)[place]
            due = jax.lax.scan(body, entered(frame, start, jnp.zeros_like(start.z)), moves)[1]
            return start, due, z[place], mask[place] & there[:, None]

        return Windows(v, jnp.any(mask, axis=-1), origins, *jax.vmap(window)(origins))

    return jax.vmap(subject)(paths, trace, origins)


def blank(x: int, v: int, d: int, training: Training, rng: np.random.Generator) -> Cell:
    """A member that has learned nothing, for `x` inputs of the rates, `v` of the recurrent unit, `d` channels."""

    def dense(i: int, o: int, gain: float = 1.0) -> Float[Array, "i o"]:
        return jnp.asarray(gain * rng.normal(size=(i, o)) / np.sqrt(i), jnp.float32)

    n, q, w = training.hidden, training.trait, training.width
    return Cell(
        hear=dense(v, 3 * n),
        keep=dense(n, 3 * n),
        bias=jnp.zeros(3 * n),
        tell=dense(n, 2 * q, 0.5),
        tell_bias=jnp.concatenate([jnp.zeros(q), jnp.full(q, -1.0, jnp.float32)]),
        weights=(dense(x + q, w), dense(w, w), dense(w, 2 * d, 0.1)),
        biases=(jnp.zeros(w), jnp.zeros(w), jnp.zeros(2 * d)),
        skip=jnp.zeros((x, 2 * d)),
        log_sd=jnp.full(d, -1.0, jnp.float32),
    )


def encoded(cell: Cell, windows: Windows) -> Float[Array, "b e n"]:
    """The hidden state at the origin of every window."""

    def subject(v: Float[Array, "t v"], heard: Bool[Array, " t"], origin: Int[Array, " e"]) -> Float[Array, "e n"]:
        def body(h: Float[Array, " n"], now: tuple[Array, Array]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
            h = jnp.where(now[1], cell.listen(h, now[0]), h)
            return h, h

        return jax.lax.scan(body, jnp.zeros(cell.keep.shape[0]), (jax.vmap(cell.heard)(v), heard))[1][origin]

    return jax.vmap(subject)(windows.v, windows.heard, windows.origin)


def futures(
    cell: Cell, frame: Frame, span: Span, h: Float[Array, " n"], start: Tracker, ahead: Tracker,
    noise: Float[Array, " r"],
) -> Float[Array, "k d"]:  # fmt: skip
    """The readings of one free-running future (standardised link space), by standard normal `noise`."""
    q, d = cell.tell.shape[1] // 2, start.z.shape[0]
    theta = cell.trait(h, noise[:q])

    def own(tracker: Tracker) -> tuple:  # of arrays, or of what `tree_at` puts in their place
        return tracker.z, tracker.prev, tracker.mean

    def body(now: tuple[Array, ...], step: tuple[Tracker, Array]) -> tuple[tuple[Array, ...], Float[Array, " d"]]:
        due = eqx.tree_at(own, step[0], now)
        z = landing(frame, due, *cell.rates(span, due, theta), step[1])
        return own(read(due, z, jnp.ones_like(z, bool))), z

    first = own(entered(frame, start, noise[q : q + d]))
    return jax.lax.scan(body, first, (ahead, noise[q + d :].reshape(-1, d)))[1]


def loss(
    cell: Cell, frame: Frame, span: Span, windows: Windows, targets: Bool[Array, " d"], draws: int, key: Key[Array, ""]
) -> Float[Array, ""]:
    """Fair CRPS of the windows' futures, averaged over the readings of the target channels."""
    b, e, k, d = windows.z.shape
    noise = jax.random.normal(key, (b, e, draws, cell.tell.shape[1] // 2 + (1 + k) * d))
    many = jax.vmap(futures, in_axes=(None, None, None, None, None, None, 0))
    many = jax.vmap(jax.vmap(many, in_axes=(None, None, None, 0, 0, 0, 0)), in_axes=(None, None, None, 0, 0, 0, 0))
    drawn = many(cell, frame, span, encoded(cell, windows), windows.start, windows.ahead, noise)
    score = fair_crps(jnp.moveaxis(drawn, 2, 0), windows.z)
    return averaged(score, windows.mask & targets[None, None, None, :])


@eqx.filter_jit
def train(
    cell: Cell, frame: Frame, span: Span, windows: Windows, targets: Bool[Array, " d"], training: Training,
    who: Int[Array, "steps b"], keys: Key[Array, " steps"],
) -> tuple[Cell, Float[Array, " steps"]]:  # fmt: skip
    """Fit one member by AdamW, with subjects `who` at each step; returns it and the loss of every step.

    A step whose loss or gradient is not finite changes nothing.
    """
    flat, whole = ravel_pytree(cell)  # one array: little for the compiler to do

    def miss(flat: Float[Array, " w"], now: tuple[Array, Array]) -> Float[Array, ""]:
        batch = jax.tree.map(lambda leaf: leaf[now[0]], windows)
        return loss(whole(flat), frame, span, batch, targets, training.draws, now[1])

    flat, losses = descended(miss, flat, (who, keys), rate=training.rate, decay=training.decay)
    return whole(flat), losses
