"""The ends of the scale: the message as it is, and one bit a number, with a scale or without."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab.kernel import Kernel

Array = Any  #: an array of shape (..., d), of any namespace of the array API


class Identity(NamedTuple):
    """C(v) = v: every number in the run's precision, 32 d or 64 d bits; a contraction with omega = 1."""

    def check(self, dim: int) -> None:
        """Nothing can be wrong."""

    def contraction(self, dim: int) -> float:
        """Omega = 1."""
        return 1.0

    def variance_factor(self, dim: int) -> float:
        """The q = 0 of what loses nothing."""
        return 0.0

    def compress(self, x: Array, dither: Array = None) -> tuple[Array, np.ndarray]:
        """The rows of `x` (..., d), and the bits of each message, (...)."""
        bits = array_namespace(x).finfo(x.dtype).bits
        return x, np.full(x.shape[:-1], x.shape[-1] * bits, np.int64)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        return Kernel((identity_row,), ())


class Sign(NamedTuple):
    """Scaled sign: C(v) = (||v||_1/d) sign(v), with sign(0) = 1.

    ||C(v) - v||^2 = ||v||^2 - ||v||_1^2/d, so a contraction with omega = ||v||_1^2/(d ||v||^2) >= 1/d. A message holds
    the scale as a float32 and a bit a number: 32 + d bits.

    References
    ----------
    S. P. Karimireddy, Q. Rebjock, S. Stich, M. Jaggi, Error feedback fixes SignSGD and other gradient compression
    schemes, ICML 2019.
    """

    references = ("karimireddy2019error",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """Nothing can be wrong."""

    def contraction(self, dim: int) -> float:
        """Omega = 1/d, in ||C(v) - v||^2 <= (1 - omega)||v||^2."""
        return 1 / dim

    def compress(self, x: Array, dither: Array = None) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        xp = array_namespace(x)
        mean = xp.sum(xp.abs(xp.astype(x, xp.float64)), axis=-1, keepdims=True) / x.shape[-1]
        with np.errstate(over="ignore"):
            scale = xp.astype(xp.astype(mean, xp.float32), x.dtype)
        return xp.where(x < 0, -scale, scale), np.full(x.shape[:-1], 32 + x.shape[-1], np.int64)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        return Kernel((sign_row,), ())


class OneBit(NamedTuple):
    """The signs alone: C(v)_j = -1 where v_j < 0, else 1, so that zeros and ties are 1; d bits.

    Not a contraction: what it decodes is of size sqrt(d) whatever is sent.

    References
    ----------
    J. Bernstein, Y.-X. Wang, K. Azizzadenesheli, A. Anandkumar, signSGD: compressed optimisation for non-convex
    problems, ICML 2018.
    """

    references = ("bernstein2018signsgd",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """Nothing can be wrong."""

    def contraction(self, dim: int) -> float:
        """ValueError: its error is not bounded by the message."""
        raise ValueError("compressor = OneBit() is no contraction: it sends no size; use Sign(), which does")

    def compress(self, x: Array, dither: Array = None) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...); NaN stays NaN."""
        xp = array_namespace(x)
        signs = xp.where(x < 0, -xp.ones_like(x), xp.ones_like(x))
        return xp.where(xp.isnan(x), x, signs), np.full(x.shape[:-1], x.shape[-1], np.int64)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        return Kernel((one_bit_row,), ())


def one_bit_row(i: int, v: np.ndarray, dither: np.ndarray, out: np.ndarray) -> int:
    """-1 or 1 for each number."""
    for j in range(v.size):
        out[j] = -1 if v[j] < 0 else 1
        if v[j] != v[j]:
            out[j] = v[j]
    return v.size


def identity_row(i: int, v: np.ndarray, dither: np.ndarray, out: np.ndarray) -> int:
    """A copy."""
    for j in range(v.size):
        out[j] = v[j]
    return 8 * v.size * v.itemsize


def sign_row(i: int, v: np.ndarray, dither: np.ndarray, out: np.ndarray) -> int:
    """The mean absolute value, with the signs of `v`."""
    total = 0.0
    for j in range(v.size):
        total += abs(np.float64(v[j]))
    scale = np.float32(total / v.size)
    for j in range(v.size):
        out[j] = -scale if v[j] < 0 else scale
    return 32 + v.size
