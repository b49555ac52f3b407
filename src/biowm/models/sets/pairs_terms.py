"""What pairs are compared by: symmetrised products of two kernels between members, and the features that make them.

The kernel of a term is v sym(P, Q), sym((i, j), (k, l)) = P_ik Q_jl + P_il Q_jk + P_jk Q_il + P_jl Q_ik: it does not
know in which order two members are listed. With P = A A' and Q = B B' it is the inner product of the features
a_i b_j' + a_j b_i'. Here A says who a member is (one column each) or what it aims at, and B is of low rank, so that a
pair has few features that are not zero, and all of them together are as many as there are members, up to a factor:
what is solved for does not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

WIDTH, _CUT = 0.7, 1e-3  # of the kernel between single responses (standardised); eigenvalues left out, over the largest


@dataclass(frozen=True)
class Term:
    """One symmetrised product: features of each member on either side (P = left left', Q = right right')."""

    name: str
    left: Float[np.ndarray, "n r"]
    right: Float[np.ndarray, "n q"]

    @property
    def width(self) -> int:
        """The number of its features."""
        return self.left.shape[1] * self.right.shape[1]


@dataclass(frozen=True)
class Members:
    """Side information: the `single` response of each member (standardised), and which of them aim at one `target`."""

    single: Float[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]


def terms(members: Members) -> tuple[Term, ...]:
    """Effects of members and targets: a level, a slope and a curve in the partner's single response; a smooth surface.

    Where no two members share a target, what is said of targets alone would be said twice and is left out.
    """
    s = members.single[:, None]
    one, who = np.ones_like(s), np.eye(len(s))
    aim = np.eye(int(members.target.max()) + 1)[members.target]
    curve = _root(s)
    found = (
        Term("member", who, one), Term("target", aim, one), Term("member slope", who, s), Term("target slope", aim, s),
        Term("target curve", aim, curve), Term("surface", curve, curve),
    )  # fmt: skip
    alone = len(np.unique(members.target)) == len(s)
    said = [t for t in found if not (alone and t.name in ("target", "target slope"))]
    return tuple(t for t in said if t.left.any() and t.right.any())


def trend(members: Members, pairs: Int[np.ndarray, "p 2"]) -> Float[np.ndarray, "p 6"]:
    """What the singles alone explain, as polynomials that do not know the order of the two, and the lesser one."""
    a, b = members.single[pairs[:, 0]], members.single[pairs[:, 1]]
    both, product = a + b, a * b
    return np.stack([np.ones_like(a), both, product, both**2, np.minimum(a, b), product * both], 1)


def kernel(term: Term, one: Int[np.ndarray, "p 2"], other: Int[np.ndarray, "q 2"]) -> Float[np.ndarray, "p q"]:
    """The dense kernel of a term (weight 1) between two lists of pairs."""
    p, q = term.left @ term.left.T, term.right @ term.right.T
    (i, j), (k, l) = one.T[:, :, None], other.T[:, None, :]  # noqa: E741
    return p[i, k] * q[j, l] + p[i, l] * q[j, k] + p[j, k] * q[i, l] + p[j, l] * q[i, k]


def rows(found: Sequence[Term], pairs: Int[np.ndarray, "p 2"]) -> sparse.csr_array:
    """The features of pairs [p, all widths], term after term; inner products of a term's are its kernel (weight 1)."""
    parts = []
    for term in found:
        left, right = (sparse.csr_array(side) for side in (term.left, term.right))
        parts.append(sum(_products(left[i], right[j]) for i, j in (pairs.T, pairs.T[::-1])))
    return sparse.csr_array(sparse.hstack(parts, format="csr"))


def _products(a: sparse.csr_array, b: sparse.csr_array) -> sparse.csr_array:
    """Products of every feature of `a` with every one of `b`, row by row."""
    dense = b.toarray()
    return sparse.csr_array(
        sparse.hstack([a.multiply(dense[:, k : k + 1]).tocsr() for k in range(dense.shape[1])], format="csr")
    )


def _root(s: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n r"]:
    """Features whose inner products make the Gaussian kernel between single responses."""
    value, vector = np.linalg.eigh(np.exp(-0.5 * ((s - s.T) / WIDTH) ** 2))
    kept = value > _CUT * value.max()
    return vector[:, kept] * np.sqrt(value[kept])
