"""The trunk of `glioma-rt`: the radiotherapy mechanism, fitted to whole curves foretold from their first reading.

The loss of a curve is 1 - CCC plus half the mean squared error of log(area + .01): the metric trains well, and what is
asked is a whole curve. Campaigns may have their own growth, killing, clearance and sub-lethal damage; these shifts sum
to zero over the campaigns that were seen, so that a new one is an average one, and a single one is no campaign at all.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.mechanism import Mechanism, parameters, solve, vector, with_parameters
from biowm.core.mechanisms.radiotherapy import Radiotherapy
from biowm.core.path import take
from biowm.core.schedule import between
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World
from biowm.models.candidate import Candidate, Material
from biowm.models.residual import Corrected
from biowm.models.residuals.anchors import Anchors, anchors_of
from biowm.models.residuals.kernel import fit_kernel, left_out
from biowm.models.tracker import Frame

from ..concordance import concordance

SHIFTED = ("growth", "lethal", "clearance", "damage")
_CURVES, _STEPS, _RATE, _PENALTY, _EDGE = 60, 200, 0.06, 0.005, 0.01
_WIDTHS = {"near": 0.3, "wide": 3.0}  # of the doses, in spreads among the anchors
_SUBSTEPS = 2  # of the solver, to one step of the world


class LayerBelief(Belief):
    """The compartments, as far as they are known from the readings; `seen` counts these."""

    t: Float[Array, ""]
    s: Float[Array, " s"]
    seen: Float[Array, ""]
    shift: Float[Array, " e"]


class LayerState(State):
    """The compartments, the time since the last reading, and how far off this draw is (in spreads)."""

    t: Float[Array, ""]
    s: Float[Array, " s"]
    shift: Float[Array, " e"]
    lead: Float[Array, ""]
    off: Float[Array, ""]


class Layer(World):
    """The mechanism as a world: a reading rescales all compartments, and errors spread as they did in training.

    `spread` is the sd of the error (standardised link space) at the leads `nodes` (spacings).
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    mechanism: Mechanism
    shift: Float[Array, "l e"]
    nodes: Float[Array, " h"]
    spread: Float[Array, " h"]

    def begin(self, traits: Float[Array, " s"]) -> LayerBelief:
        usual = self.frame.scale.to_x(self.frame.start_mean)
        shift = jnp.where(jnp.isnan(traits), 0.0, traits) @ self.shift
        return LayerBelief(jnp.zeros(()), vector(self.mechanism.start(usual)), jnp.zeros(()), shift)

    def update(self, belief: LayerBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> LayerBelief:
        area = jnp.maximum(reading, 1e-4)
        s = jnp.where(belief.seen > 0, belief.s * area / jnp.sum(belief.s), vector(self.mechanism.start(area)))
        return LayerBelief(belief.t, jnp.where(mask[0], s, belief.s), belief.seen + mask[0], belief.shift)

    def predict(self, belief: LayerBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> LayerBelief:
        s = solve(self._own(belief.shift), belief.s, action, dt, _SUBSTEPS)
        return LayerBelief(belief.t + dt, s, belief.seen, belief.shift)

    def draw(self, belief: LayerBelief, *, key: PRNGKeyArray) -> LayerState:
        return LayerState(belief.t, belief.s, belief.shift, jnp.zeros(()), jax.random.normal(key, ()))

    def step(
        self, state: LayerState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> LayerState:
        s = solve(self._own(state.shift), state.s, action, dt, _SUBSTEPS)
        return LayerState(state.t + dt, s, state.shift, state.lead + dt / self.spacing, state.off)

    def impulse(self, state, dose: Float[Array, " a"]):
        return eqx.tree_at(lambda m: m.s, state, vector(self._own(state.shift).impulse(state.s, dose)))

    def observe(self, state: LayerState) -> Observation:
        scale = self.frame.scale
        error = state.off * jnp.interp(state.lead, self.nodes, self.spread)
        z = jnp.clip(scale.to_z(vector(self.mechanism.read(state.s))) + error, scale.lowest, scale.highest)
        x = scale.to_x(z)
        return Observation(x, jnp.zeros_like(x))

    def _own(self, shift: Float[Array, " e"]) -> Mechanism:
        return _shifted(self.mechanism, shift)


def candidate(campaigns: bool) -> Candidate:
    """The trunk alone, with or without campaign shifts."""
    return Candidate(_name(campaigns), False, lambda m: _spread(_fit(m, campaigns), m)[0])


def candidate_with_kernel(campaigns: bool, doses: str) -> Candidate:
    """The trunk with a kernel residual; errors spread as those that the kernel leaves on subjects left out.

    `doses`: "near" (only wells treated nearly alike are neighbours) or "wide" (the dose hardly counts).
    """

    def fit(m: Material) -> Corrected:
        trunk, anchors = _spread(_fit(m, campaigns), m)
        kernel = fit_kernel(anchors, (_WIDTHS[doses],))
        trunk = _with_spread(trunk, anchors, left_out(anchors, kernel))
        return Corrected(m.spec, trunk.spacing, m.frame, trunk, kernel)

    return Candidate(f"{_name(campaigns)} + {doses} kernel", False, fit)


def _name(campaigns: bool) -> str:
    return "radiotherapy(campaigns)" if campaigns else "radiotherapy"


def _shifted(mechanism: Mechanism, shift: Float[Array, " e"]) -> Mechanism:
    values = {n: getattr(mechanism, n) * jnp.exp(shift[i]) for i, n in enumerate(SHIFTED)}
    return with_parameters(mechanism, values)


def _spread(trunk: Layer, m: Material) -> tuple[Layer, Anchors]:
    anchors = anchors_of(trunk, m)
    return _with_spread(trunk, anchors, anchors.missed), anchors


def _with_spread(trunk: Layer, anchors: Anchors, missed: Float[np.ndarray, "n h d"]) -> Layer:
    sd = np.sqrt((missed[:, :, 0] ** 2).mean(0))
    arrays = (jnp.asarray(anchors.nodes, jnp.float32), jnp.asarray(sd, jnp.float32))
    return eqx.tree_at(lambda w: (w.nodes, w.spread), trunk, arrays)


def _fit(m: Material, campaigns: bool) -> Layer:
    """Parameters and campaign shifts by gradient, on 60 curves spread over schedules and first readings."""
    paths = take(m.paths, _chosen(m))
    start = Radiotherapy()
    free = jnp.stack([jnp.asarray(p.free(p.start), jnp.float32) for p in parameters(start).values()])
    member = np.asarray(paths.traits, np.float32)
    there = jnp.asarray(member.any(0), jnp.float32)
    values, shift = _train(free, paths, jnp.asarray(member), there, jnp.asarray(float(campaigns)))
    own = dict(zip(parameters(start), values, strict=True))
    nothing = jnp.zeros(2)
    return Layer(m.spec, m.frame.spacing, m.frame, with_parameters(start, own), shift, jnp.arange(2.0), nothing)


def _chosen(m: Material) -> np.ndarray:
    """Curves of every schedule, evenly by their first reading; repeated where there are too few."""
    kinds = [tuple(np.round(row, 3)) for row in np.concatenate([m.paths.plan.dose, m.paths.plan.onset], axis=1)]
    groups = sorted(set(kinds))
    first = np.asarray(m.paths.x)[:, 0, 0]
    share = _CURVES // len(groups)
    picked = []
    for g in groups:
        rows = np.flatnonzero([k == g for k in kinds])
        rows = rows[np.argsort(first[rows], kind="stable")]
        picked.append(rows[np.linspace(0, len(rows) - 1, share).round().astype(int)])
    picked = np.concatenate(picked)
    return np.concatenate([picked, picked[: _CURVES - len(picked)]])


@eqx.filter_jit
def _train(free, paths, member, there, campaigns):
    """The parameters' values and the shifts, after Adam on the mean loss of the curves."""
    kinds = parameters(Radiotherapy)

    def own(theta: Float[Array, " p"]) -> Mechanism:
        return with_parameters(Radiotherapy(), {n: p.value(theta[i]) for i, (n, p) in enumerate(kinds.items())})

    def centred(raw: Float[Array, "l e"]) -> Float[Array, "l e"]:
        mean = jnp.sum(raw * there[:, None], axis=0) / jnp.sum(there)
        return (raw - mean[None, :]) * there[:, None] * campaigns

    def loss(both: tuple[Array, Array]) -> Float[Array, ""]:
        theta, raw = both
        shift = centred(raw)
        each = jax.vmap(lambda path, who: _curve_loss(_shifted(own(theta), who @ shift), path))(paths, member)
        return jnp.mean(each) + _PENALTY * jnp.mean(jnp.sum(shift**2, axis=1))

    tune = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS)))

    def step(carry, _):
        both, state = carry
        change, state = tune.update(jax.grad(loss)(both), state)
        return (jax.tree.map(jnp.add, both, change), state), None

    begin = (free, jnp.zeros((member.shape[1], len(SHIFTED))))
    (best, _), _ = jax.lax.scan(step, (begin, tune.init(begin)), None, length=_STEPS)
    theta, raw = best
    return jnp.stack([p.value(theta[i]) for i, p in enumerate(kinds.values())]), centred(raw)


def _curve_loss(mechanism: Mechanism, path) -> Float[Array, ""]:
    """The loss of one curve, foretold from its first reading."""

    def body(carry, until):
        s, t = carry
        _, dose = between(path.plan, t, until, 1)
        after = solve(mechanism, vector(mechanism.impulse(s, dose)), jnp.zeros(1), until - t, _SUBSTEPS)
        s = jnp.where(until > t, after, s)
        return (s, until), jnp.sum(s)

    start = vector(mechanism.start(path.x[0]))
    area = jax.lax.scan(body, (start, path.t[0]), path.t)[1]
    seen = jnp.isfinite(path.x[:, 0])
    truth = jnp.where(seen, path.x[:, 0], 0.0)
    log = jnp.log(area + _EDGE) - jnp.log(truth + _EDGE)
    return 1 - concordance(area, truth, seen) + 0.5 * jnp.sum(seen * log**2) / jnp.sum(seen)
