"""PermK: the coordinates dealt out to the nodes, by one permutation that all of them draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab import checks
from simlab.kernel import Kernel

Array = Any  #: an array of shape (..., n, d), of any namespace of the array API


class PermK(NamedTuple):
    """Permutation compressor: node i sends the i-th of n blocks of randomly permuted coordinates.

    C_i(v)_j = n v_j where coordinate j is in the block of node i, else 0. Where all nodes send the same v, the mean of
    what they send is v itself. Unbiased, with E||C_i(v) - v||^2 = (n - 1)||v||^2: a block's rank among the nodes is
    shifted at random, too, so that blocks of unequal length, where n does not divide d, change nothing. With fewer
    coordinates than nodes, d < n, each node sends one, times d, several nodes the same; then (d - 1)||v||^2.

    The permutation is drawn from a seed that all share from the start: a message holds the block's values as float32,
    32 bits for each.

    Parameters
    ----------
    n_nodes : int
        n >= 1, that of the network.

    References
    ----------
    R. Szlendak, A. Tyurin, P. Richtárik, Permutation compressors for provably faster distributed nonconvex
    optimization, ICLR 2022.
    """

    n_nodes: int

    references = ("szlendak2022permutation",)  # type: ignore[misc]
    shared = True  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless the number of nodes is possible."""
        checks.integer("PermK.n_nodes", self.n_nodes, minimum=1)

    def variance_factor(self, dim: int) -> float:
        """The q = min(n, d) - 1 in E||C(v) - v||^2 = q||v||^2."""
        self.check(dim)
        return min(self.n_nodes, dim) - 1.0

    def contraction(self, dim: int) -> float:
        """2 - min(n, d), a contraction for one node alone."""
        return 1 - self.variance_factor(dim)

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., n, d), and the bits of each message, (..., n)."""
        n, dim = self.n_nodes, x.shape[-1]
        self.check(dim)
        if x.ndim < 2 or x.shape[-2] != n:
            raise ValueError(f"PermK.n_nodes = {n}, but there are {x.shape[-2] if x.ndim > 1 else 1} rows; pass theirs")
        xp = array_namespace(x)
        rank = xp.argsort(xp.argsort(dither, axis=-1, stable=True), axis=-1, stable=True)
        # The sum of uniform numbers modulo 1 is uniform, and does not depend on their order: another random number.
        total = xp.sum(xp.astype(dither, xp.float64), axis=-1)
        mine = (xp.arange(n) + xp.astype(xp.floor(n * (total - xp.floor(total))), xp.int64)) % n
        kept = rank * n // dim == mine[..., None] if dim >= n else rank == (mine * dim // n)[..., None]
        values = xp.astype(xp.astype(x, xp.float32), x.dtype) * float(min(n, dim))
        return xp.where(kept, values, xp.zeros_like(x)), 32 * xp.sum(xp.astype(kept, xp.int64), axis=-1)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        self.check(dim)
        return Kernel((permutation_row,), (np.array([self.n_nodes]),))


def permutation_row(i: int, v: np.ndarray, dither: np.ndarray, out: np.ndarray, nodes: np.ndarray) -> int:
    """The block of node i, times the smaller of n and d."""
    n, dim, total = nodes[0], v.size, 0.0
    order = np.argsort(dither, kind="mergesort")
    for j in range(dim):
        total += np.float64(dither[j])
        out[j] = 0
    mine = (i + int(np.floor(n * (total - np.floor(total))))) % n
    factor = v.dtype.type(min(n, dim))
    count = 0
    for rank in range(dim):
        if (rank * n // dim == mine) if dim >= n else (rank == mine * dim // n):
            out[order[rank]] = v.dtype.type(np.float32(v[order[rank]])) * factor
            count += 1
    return 32 * count
