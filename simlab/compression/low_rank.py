"""Rank one: a message as a matrix, of which two vectors are sent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab import checks
from simlab.kernel import Kernel

Array = Any  #: an array of shape (..., d), of any namespace of the array API


class RankOne(NamedTuple):
    """The message, a matrix M of r rows, projected onto one direction: one step of the power method.

    p = Mq/||Mq||,  s = M'p,  C(M) = p s', with q of random signs. As ||M'Mq|| ||q|| >= ||Mq||^2, ||s||^2 is at least
    ||Mq||^2/c for c columns, in expectation ||M||^2/c: a contraction with omega = 1/c. A message holds p and s as
    float32, 32 (r + c) bits; the signs are drawn from a seed that is known. Entry j of a message is in row j // c, and
    what is missing from r c entries is zero.

    PowerGossip sends such vectors of the differences over each edge, and starts from its last direction; this one is
    for messages to all neighbours alike.

    Parameters
    ----------
    rows : int
        1 <= r <= d, and c = ceil(d/r).

    References
    ----------
    T. Vogels, S. P. Karimireddy, M. Jaggi, Practical low-rank communication compression in decentralized deep learning,
    NeurIPS 2020.
    """

    rows: int

    references = ("vogels2020practical",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless 1 <= rows <= dim."""
        checks.integer("RankOne.rows", self.rows, minimum=1, maximum=dim)

    def columns(self, dim: int) -> int:
        """Columns c = ceil(d/r)."""
        self.check(dim)
        return -(-dim // self.rows)

    def contraction(self, dim: int) -> float:
        """Omega = 1/c, in E||C(v) - v||^2 <= (1 - omega)||v||^2."""
        return 1 / self.columns(dim)

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        if dither is None:
            raise ValueError(
                "dither = None, but a direction is drawn at random; pass uniform numbers of the shape of x"
            )
        xp, dim, r, c = array_namespace(x), x.shape[-1], self.rows, self.columns(x.shape[-1])
        lead = x.shape[:-1]
        missing = xp.zeros((*lead, r * c - dim), dtype=xp.float64)
        matrix = xp.reshape(xp.concat([xp.astype(x, xp.float64), missing], axis=-1), (*lead, r, c))
        signs = xp.where(dither[..., :c] < 0.5, -xp.ones((*lead, c)), xp.ones((*lead, c)))
        p = xp.sum(matrix * signs[..., None, :], axis=-1)
        size = xp.sqrt(xp.sum(p * p, axis=-1, keepdims=True))
        p = xp.where(size == 0, 0 * p, p / xp.where(size == 0, 1 + 0 * size, size))
        s = xp.sum(matrix * p[..., :, None], axis=-2)
        p, s = (xp.astype(xp.astype(each, xp.float32), xp.float64) for each in (p, s))
        product = xp.reshape(p[..., :, None] * s[..., None, :], (*lead, r * c))
        return xp.astype(product[..., :dim], x.dtype), np.full(lead, 32 * (r + c), np.int64)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        c = self.columns(dim)
        return Kernel((rank_one_row,), (np.array([self.rows, c]),), (np.empty(self.rows + c, np.int64),))


def rank_one_row(
    i: int, v: np.ndarray, dither: np.ndarray, out: np.ndarray, memory: np.ndarray, shape: np.ndarray
) -> int:
    """One step of the power method: p s'."""
    r, c, dim = shape[0], shape[1], v.size
    work = memory.view(np.float64)  # in every precision
    size = 0.0
    for a in range(r):
        total = 0.0
        for b in range(min(c, dim - a * c)):
            total += -np.float64(v[a * c + b]) if dither[b] < 0.5 else np.float64(v[a * c + b])
        work[a] = total
        size += total * total
    size = np.sqrt(size)
    for a in range(r):
        work[a] = work[a] / size if size != 0 else 0.0
    for b in range(c):
        total = 0.0
        for a in range(r):
            if a * c + b < dim:
                total += np.float64(v[a * c + b]) * work[a]
        work[r + b] = np.float32(total)
    for j in range(dim):
        out[j] = np.float64(np.float32(work[j // c])) * np.float64(work[r + j % c])
    return 32 * (r + c)
