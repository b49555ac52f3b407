"""How much a batch of experiments would tell: information about all responses, pick after pick.

A reading of a condition tells .5 log det(I + N^-1 C) nats about what is not known of responses, C being the covariance
of its responses over its times and N that of its readings about them (doi:10.1214/aoms/1177728069). The next pick is
told what those before it would have told: exactly, by the Gaussian posterior given them (which does not depend on what
will be read), in so far as it is known how responses hang together; what is known set by set alone is taken to shrink
by a discount for every pick that shares a member.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from biowm.models.sets.known import Known

DISCOUNT = 0.15  # of the log-variance, for each pick of a member in the batch (RECIPES: section 3)


class Batch:
    """What candidates would tell, given those that were taken; the noise is whitened to 1.

    `members` are the members of each candidate (padded with -1).
    """

    def __init__(self, known: Known, members: Int[np.ndarray, "n k"], discount: float = DISCOUNT) -> None:
        white = np.linalg.inv(np.linalg.cholesky(known.noise))  # [d h h]
        self._half = np.einsum("dgh,dnhq->dngq", white, known.half)
        self._apart = np.einsum("dgh,dnh->dng", white, known.apart)
        self._members, self._discount = members, discount
        self._picks = np.zeros(members.max(initial=0) + 2)  # the last stands for no member

    def nats(self) -> Float[np.ndarray, " n"]:
        """What each candidate would tell now, summed over channels."""
        apart = self._shrunk()
        if self._half.shape[2] == 1:
            return 0.5 * np.log1p(np.einsum("dnhq,dnhq->dn", self._half, self._half) + apart[..., 0] ** 2).sum(0)
        gram = np.einsum("dngq,dnhq->dngh", self._half, self._half) + apart[..., :, None] * apart[..., None, :]
        return 0.5 * np.linalg.slogdet(np.eye(gram.shape[-1]) + gram)[1].sum(0)

    def take(self, i: int) -> None:
        """Condition on a reading of candidate `i`, whatever it will say."""
        apart = self._shrunk()[:, i]
        noise = np.eye(apart.shape[1]) + apart[:, :, None] * apart[:, None, :]
        rows = np.linalg.solve(np.linalg.cholesky(noise), self._half[:, i])  # of noise 1, one after the other
        for t in range(rows.shape[1]):
            v = rows[:, t]
            power = np.einsum("dq,dq->d", v, v)
            share = (1 - 1 / np.sqrt(1 + power)) / np.maximum(power, 1e-300)
            for whole in (self._half, rows):
                whole -= np.einsum("d...q,dq->d...", whole, share[:, None] * v)[..., None] * _between(v, whole.ndim)
        mine = self._members[i]
        np.add.at(self._picks, mine[mine >= 0], 1.0)

    def _shrunk(self) -> Float[np.ndarray, "d n h"]:
        picked = np.where(self._members >= 0, self._picks[self._members], 0.0).sum(1)
        return self._apart * np.exp(-0.5 * self._discount * picked)[:, None]


def _between(v: Float[np.ndarray, "d q"], ndim: int) -> np.ndarray:
    """[d 1 .. 1 q], of `ndim` axes."""
    return v.reshape(len(v), *([1] * (ndim - 2)), v.shape[1])


def most_informative(
    batch: Batch, count: int, told: Callable[[float], None] = lambda share: None
) -> tuple[Int[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Greedily the candidate that tells most, then the one that tells most besides; and how many nats each tells.

    Where it is all known how responses hang together, this is at least 1 - 1/e of what any batch of its size could tell
    (doi:10.1007/BF01588971).
    """
    order, nats, free = np.empty(count, int), np.empty(count), np.zeros(len(batch.nats()))
    for k in range(count):
        now = batch.nats()
        order[k] = best = int(np.argmax(now + free))
        nats[k], free[best] = now[best], -np.inf
        batch.take(best)
        told((k + 1) / count)
    return order, nats


def in_order(batch: Batch, order: Int[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """How many nats each of some candidates tells, taken in this order."""
    nats = np.empty(len(order))
    for k, i in enumerate(order):
        nats[k] = batch.nats()[i]
        batch.take(int(i))
    return nats
