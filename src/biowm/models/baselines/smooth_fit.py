"""The fit of smooth neighbours: closed form at each node, widths and noise by what is missed of subjects left out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import get_lapack_funcs

from biowm.core.buckets import bucket
from biowm.core.registry import register
from biowm.core.spec import WorldSpec

from ..candidate import Candidate, Material
from ..tracker import Frame
from .knn import looks_of
from .pairs import Pairs, evenly, pairs_of
from .smooth import DONORS, Library, Scales, Smooth

_MOST, _TUNED, _NODES = 1000, 400, 16
_LOOK, _DOSE, _NOISE = (0.3, 0.7, 1.5), (0.3, 1.0), (0.03, 0.1, 0.3, 1.0)  # in spreads among the situations
_MIDDLE = 0.1  # the noise under which widths are compared
_LEAST = 0.1  # of the mean dose: smaller differences tell nothing
_FEW, _FAR = 3, 1e4


@dataclass(frozen=True)
class _Situations:
    """Standardised looks and mean doses up to each node, what followed, and the subject; `live` looks differ."""

    subject: Int[np.ndarray, " n"]
    look: Float[np.ndarray, "n f"]
    dose: Float[np.ndarray, "n h a"]
    rise: Float[np.ndarray, "n h d"]
    valid: Bool[np.ndarray, "n h d"]
    live: int


def fit_smooth(spec: WorldSpec, frame: Frame, pairs: Pairs) -> Smooth:
    """Fit at most 1,000 situations: the first of every subject (new subjects are asked from there), others evenly."""
    keep = _kept(pairs.subject, _MOST)
    look, dose = looks_of(jax.tree.map(lambda v: v[keep], pairs.start)), _doses(pairs, keep)
    look_sd = np.where(look.std(0) > 1e-6, look.std(0), 1.0)
    dose_sd = np.maximum(dose.std(0), _LEAST * np.abs(dose).mean(0) + 1e-3)
    rise = pairs.z[keep] - np.asarray(pairs.start.z)[keep][:, None]
    s = _Situations(
        pairs.subject[keep], (look - look.mean(0)) / look_sd, (dose - dose.mean(0)) / dose_sd, rise, pairs.valid[keep],
        max(int((look.std(0) > 1e-6).sum()), 1),
    )  # fmt: skip
    precision, noise = _tuned(s)
    tables = _solved(s, precision, noise)
    more = max(bucket(len(keep)), DONORS) - len(keep)
    scales = Scales(*map(_f32, (look.mean(0), look_sd, dose.mean(0), dose_sd, precision)))
    flat = s.dose.reshape(len(keep), -1)
    library = (_padded(s.look, more, 0, _FAR), _padded(flat, more, 0), _padded(_squares(s), more, 1))
    linear, gaussian, missed = tables[0], _padded(tables[1], more, 1), _padded(tables[2], more, 0)
    return Smooth(
        spec, frame.spacing, frame, _f32(pairs.nodes), Library(*map(_f32, library)), scales,
        *map(_f32, (linear, gaussian, missed)),
    )  # fmt: skip


@register("candidates", "smooth")
def candidates() -> tuple[Candidate, ...]:
    """The one there is: not a rule that anybody would use for want of a model."""
    return (Candidate("smooth", False, _fit, thorough=True),)


def _fit(m: Material) -> Smooth:
    return fit_smooth(m.spec, m.frame, pairs_of(m.frame, m.paths, len(m.spec.actions), m.longest, _NODES))


def _kept(subject: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " k"]:
    first = np.unique(subject, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(subject)), first)
    few, left = first[evenly(len(first), most)], most - min(len(first), most)
    return np.sort(np.concatenate([few, rest[evenly(len(rest), left)]]))


def _doses(pairs: Pairs, keep: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n h a"]:
    """Mean doses up to each node; where nobody was read, those of the next node that was, else of the one before."""
    valid = pairs.valid[keep]
    dose = np.where(valid[..., None], pairs.dose[keep], 0.0).sum(2) / np.maximum(valid.sum(2), 1)[..., None]
    known = np.asarray(valid.any(2))
    for i in range(dose.shape[1] - 2, -1, -1):
        dose[:, i] = np.where(known[:, i, None], dose[:, i], dose[:, i + 1])
        known[:, i] |= known[:, i + 1]
    for i in range(1, dose.shape[1]):
        dose[:, i] = np.where(known[:, i, None], dose[:, i], dose[:, i - 1])
    return dose


def _tuned(s: _Situations) -> tuple[Float[np.ndarray, " 2"], float]:
    """Precisions, then noise (a share of the variance), that miss least of subjects left out, at three nodes."""
    few = evenly(len(s.subject), _TUNED)
    part = replace(s, **{k: getattr(s, k)[few] for k in ("subject", "look", "dose", "rise", "valid")})
    h, d = s.rise.shape[1:]
    cells = [c for c in itertools.product(sorted({0, h // 2, h - 1}), range(d)) if part.valid[:, *c].sum() >= _FEW]
    if not cells:  # hardly anybody is read twice: all follow what is missed of persistence
        return np.ones(2), 1.0

    def error(precision: Float[np.ndarray, " 2"], noise: float) -> float:
        found = [_solve(part, i, j, precision, noise) for i, j in cells]
        return float(np.mean([np.mean(missed**2) / variance for _, _, missed, variance in found]))

    widths = itertools.product(_LOOK, _DOSE if s.dose.shape[2] else _DOSE[:1])
    precisions = [np.array([1 / (2 * s.live * look**2), 1 / dose**2]) for look, dose in widths]
    precision = min(precisions, key=lambda p: error(p, _MIDDLE))
    return precision, min(_NOISE, key=lambda noise: error(precision, noise))


def _solved(s: _Situations, precision: Float[np.ndarray, " 2"], noise: float) -> tuple[np.ndarray, ...]:
    """Weights of the linear rows and of the Gaussian kernel, and what is missed of each subject left out."""
    (n, h, d), f = s.rise.shape, s.look.shape[1]
    linear, gaussian, missed = np.zeros((h, 1 + f + s.dose[0].size, d)), np.zeros((h, n, d)), np.zeros((n, h, d))
    for i, j in itertools.product(range(h), range(d)):
        ok = s.valid[:, i, j]
        if i:  # whoever was not read this far ahead, and where hardly anybody was: what holds at the node before
            missed[:, i, j] = missed[:, i - 1, j]
        if ok.sum() < _FEW:
            linear[i, :, j], gaussian[i, :, j] = linear[max(i - 1, 0), :, j], gaussian[max(i - 1, 0), :, j]
            continue
        mean, weights, missed[ok, i, j], _ = _solve(s, i, j, precision, noise)
        gaussian[i, ok, j] = weights
        rows, share = _rows(s, i)
        linear[i, : 1 + rows.shape[1], j] = [mean + weights.sum(), *(share * (rows[ok].T @ weights))]
    return linear, gaussian, missed


def _solve(
    s: _Situations, node: int, channel: int, precision: Float[np.ndarray, " 2"], noise: float
) -> tuple[float, Float[np.ndarray, " m"], Float[np.ndarray, " m"], float]:
    """Mean, weights of those read, what is missed of each with its subject left out (exactly), and their variance."""
    ok = s.valid[:, node, channel]
    y, subject = s.rise[ok, node, channel], s.subject[ok]
    mean, variance = float(y.mean()), max(float(y.var()), 1e-12)
    kernel = _kernel(s, node, precision)[np.ix_(ok, ok)]
    inverse = _inverse(kernel + noise * np.eye(len(y)))
    weights, missed = inverse @ (y - mean), np.empty(len(y))
    for who in np.unique(subject):
        own = np.flatnonzero(subject == who)
        missed[own] = np.linalg.solve(inverse[np.ix_(own, own)], weights[own])
    return mean, weights, missed, variance


def _inverse(positive: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The inverse of a positive definite matrix, from its Cholesky factor (half the work of solving for unit rows)."""
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (positive,))
    factor, failed = potrf(positive, lower=1)
    inverse, _ = potri(factor, lower=1)
    if failed:
        raise np.linalg.LinAlgError(f"row {failed} of a covariance of {len(positive)} situations is not positive")
    return np.tril(inverse) + np.tril(inverse, -1).T


def _kernel(s: _Situations, node: int, precision: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "n n"]:
    rows, share = _rows(s, node)
    f = s.look.shape[1]
    look, dose = _apart(rows[:, :f]), _apart(rows[:, f:]) / max(rows.shape[1] - f, 1)
    return 1.0 + (rows * share) @ rows.T + np.exp(-0.5 * (look * precision[0] + dose * precision[1]))


def _rows(s: _Situations, node: int) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, " q"]]:
    """Looks and the mean doses up to a node, and the share of each in the linear kernel."""
    dose = s.dose[:, : node + 1].reshape(len(s.look), -1)
    width = (s.look.shape[1], dose.shape[1])
    return np.concatenate([s.look, dose], axis=1), np.repeat([1.0, 1.0 / max(width[1], 1)], width) / s.live


def _apart(rows: Float[np.ndarray, "n q"]) -> Float[np.ndarray, "n n"]:
    square = (rows * rows).sum(1)
    return np.maximum(square[:, None] + square[None] - 2 * rows @ rows.T, 0.0)


def _squares(s: _Situations) -> Float[np.ndarray, "h n"]:
    """Squares of the mean doses, summed up to each node."""
    return np.cumsum((s.dose**2).sum(2), axis=1).T


def _padded(table: np.ndarray, more: int, axis: int, fill: float = 0.0) -> np.ndarray:
    """Situations too far away to be anybody's neighbour, without weight."""
    widths = [(0, more if k == axis else 0) for k in range(table.ndim)]
    return np.pad(table, widths, constant_values=fill)


def _f32(table: np.ndarray) -> jax.Array:
    return jnp.asarray(table, jnp.float32)
