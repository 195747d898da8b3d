"""Sparsifiers: top-k, random-k, and rTop-k, which is both."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab import checks
from simlab.kernel import Kernel

Array = Any  #: an array of shape (..., d), of any namespace of the array API


class TopK(NamedTuple):
    """The k entries of largest absolute value as a float32, the others zero; of equal ones the first. What is not
    finite counts as largest.

    A contraction with omega = k/d. A message holds k values as float32 and k indices: k (32 + ceil(log2 d)) bits.

    Parameters
    ----------
    k : int
        1 <= k <= d.

    References
    ----------
    S. Stich, J.-B. Cordonnier, M. Jaggi, Sparsified SGD with memory, NeurIPS 2018.
    """

    k: int

    references = ("stich2018sparsified",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless 1 <= k <= dim."""
        checks.integer("TopK.k", self.k, minimum=1, maximum=dim)

    def contraction(self, dim: int) -> float:
        """Omega = k/d, in ||C(v) - v||^2 <= (1 - omega)||v||^2."""
        self.check(dim)
        return self.k / dim

    def compress(self, x: Array, dither: Array = None) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        self.check(x.shape[-1])
        return _compress(x, None, self.k, self.k, _indexed_bits(self.k, x.shape[-1]))

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        self.check(dim)
        return _kernel(dim, self.k, self.k, _indexed_bits(self.k, dim))


class RandomK(NamedTuple):
    """k entries chosen uniformly at random, the others zero.

    In expectation a contraction with omega = k/d; `unbiased`, times d/k, E||C(v) - v||^2 = (d/k - 1)||v||^2. A message
    holds k values as float32 and the 32-bit seed from which sender and receivers draw the same indices: 32 (k + 1)
    bits.

    Parameters
    ----------
    k : int
        1 <= k <= d.
    unbiased : bool, default False
        Whether what is kept is multiplied by d/k, by the receivers.

    References
    ----------
    S. Stich, J.-B. Cordonnier, M. Jaggi, Sparsified SGD with memory, NeurIPS 2018.
    """

    k: int
    unbiased: bool = False

    references = ("stich2018sparsified",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless 1 <= k <= dim."""
        checks.integer("RandomK.k", self.k, minimum=1, maximum=dim)
        checks.flag("RandomK.unbiased", self.unbiased)

    def contraction(self, dim: int) -> float:
        """Omega = k/d, in E||C(v) - v||^2 = (1 - omega)||v||^2; unbiased 2 - d/k, which may be negative."""
        self.check(dim)
        return 2 - dim / self.k if self.unbiased else self.k / dim

    def variance_factor(self, dim: int) -> float:
        """The q = d/k - 1 in E||C(v) - v||^2 = q||v||^2 of the unbiased form; ValueError for the other one."""
        self.check(dim)
        if not self.unbiased:
            raise ValueError(f"compressor = {self!r} is biased; use RandomK(k, unbiased=True)")
        return dim / self.k - 1

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        dim = x.shape[-1]
        self.check(dim)
        return _compress(x, _needed(dither), self.k, dim, 32 * (self.k + 1), self._factor(dim))

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        self.check(dim)
        return _kernel(dim, self.k, dim, 32 * (self.k + 1), self._factor(dim))

    def _factor(self, dim: int) -> float:
        return dim / self.k if self.unbiased else 1.0


class RTopK(NamedTuple):
    """k entries chosen uniformly at random among the r of largest absolute value, the others zero.

    In expectation a contraction with omega = k/d: the r entries hold at least r/d of ||v||^2, of which k/r is kept. A
    message holds k values as float32 and k indices: k (32 + ceil(log2 d)) bits.

    Parameters
    ----------
    k : int
        1 <= k <= r.
    r : int
        r <= d; r = k is `TopK`, r = d draws as `RandomK` does.

    References
    ----------
    L. P. Barnes, H. A. Inan, B. Isik, A. Özgür, rTop-k: a statistical estimation approach to distributed SGD, IEEE
    JSAIT 2020.
    """

    k: int
    r: int

    references = ("barnes2020rtopk",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless 1 <= k <= r <= dim."""
        checks.integer("RTopK.r", self.r, minimum=1, maximum=dim)
        checks.integer("RTopK.k", self.k, minimum=1, maximum=self.r)

    def contraction(self, dim: int) -> float:
        """Omega = k/d, in E||C(v) - v||^2 <= (1 - omega)||v||^2."""
        self.check(dim)
        return self.k / dim

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        self.check(x.shape[-1])
        return _compress(x, _needed(dither), self.k, self.r, _indexed_bits(self.k, x.shape[-1]))

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        self.check(dim)
        return _kernel(dim, self.k, self.r, _indexed_bits(self.k, dim))


def _indexed_bits(k: int, dim: int) -> int:
    return k * (32 + (dim - 1).bit_length())


def _needed(dither: Array) -> Array:
    if dither is None:
        raise ValueError("dither = None, but entries are chosen at random; pass uniform numbers of the shape of x")
    return dither


def _compress(x: Array, dither: Array, k: int, r: int, bits: int, factor: float = 1.0) -> tuple[Array, np.ndarray]:
    """Keep k random ones of the r largest entries of each row; what is not finite first."""
    xp = array_namespace(x)
    with np.errstate(over="ignore"):
        values = xp.astype(x, xp.float32)
    # What is not finite is kept first, and all of it alike, so that a run that diverges is seen to.
    finite = xp.isfinite(values)
    size = xp.where(finite, xp.abs(values), math.inf * xp.ones_like(values))
    kept = _ranks(xp, -size) < r if r < x.shape[-1] else xp.ones(x.shape, dtype=xp.bool)
    if k < r:
        keys = xp.where(finite, dither, xp.zeros_like(dither))
        kept = _ranks(xp, xp.where(kept, keys, 2 * xp.ones_like(dither))) < k
    received = xp.astype(values, x.dtype) * factor
    return xp.where(kept, received, xp.zeros_like(x)), np.full(x.shape[:-1], bits, np.int64)


def _ranks(xp: Any, keys: Array) -> Array:
    """Place of each entry in its sorted row, equal ones in their order."""
    return xp.argsort(xp.argsort(keys, axis=-1, stable=True), axis=-1, stable=True)


def _kernel(dim: int, k: int, r: int, bits: int, factor: float = 1.0) -> Kernel:
    work = np.empty(dim, np.int32), np.empty(dim, np.int64), np.empty(2048, np.int64)
    return Kernel((keep_least, r_top_k_row), (np.array([k, r, bits]), factor), work)


def keep_least(keys: np.ndarray, chosen: np.ndarray, count: int, bins: np.ndarray) -> None:
    """Move to the front of `chosen`, in their order, those with the `count` least keys; of equal ones the first.

    Keys are of 31 bits; the limit is found in three passes over them, a group of digits each.
    """
    limit, spare, width = 0, count, 11
    for shift in (20, 10, 0):
        bins[:] = 0
        for key in keys:
            if key >> (shift + width) == limit:
                bins[(key >> shift) & ((1 << width) - 1)] += 1
        digits = 0
        while spare > bins[digits]:
            spare -= bins[digits]
            digits += 1
        limit = (limit << 10 if shift < 20 else 0) + digits
        width = 10
    kept = 0
    for c in range(keys.size):
        tied = keys[c] == limit and spare > 0
        if tied or keys[c] < limit:
            chosen[kept] = chosen[c]
            kept += 1
            spare -= tied


def r_top_k_row(
    i: int,
    v: np.ndarray,
    dither: np.ndarray,
    out: np.ndarray,
    keys: np.ndarray,
    chosen: np.ndarray,
    bins: np.ndarray,
    sizes: np.ndarray,
    factor: float,
) -> int:
    """Keep k random ones of the r largest entries, what is not finite first, times factor; sizes = (k, r, bits)."""
    k, r = sizes[0], sizes[1]
    singles = keys.view(np.float32)  # non-negative ones are in the order of their bits
    for j in range(v.size):
        chosen[j] = j
        out[j] = 0
    if r < v.size:
        for j in range(v.size):
            singles[j] = abs(np.float32(v[j]))
            keys[j] = 0x7FFFFFFF - min(keys[j], 0x7F800000)  # NaN as infinity
        keep_least(keys, chosen, r, bins)
    if k < r:
        for c in range(r):
            singles[c] = dither[chosen[c]] if np.isfinite(np.float32(v[chosen[c]])) else 0
        keep_least(keys[:r], chosen[:r], k, bins)
    for c in range(k):
        out[chosen[c]] = v.dtype.type(np.float32(v[chosen[c]])) * factor
    return sizes[2]
