"""Natural compression: numbers rounded to powers of two."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab.kernel import Kernel

Array = Any  #: an array of shape (..., d), of any namespace of the array API

SMALLEST, LARGEST = 2.0**-126, 2.0**127  # the powers of two that eight bits of exponent hold, besides 0


class Natural(NamedTuple):
    """Natural compression: every number is rounded at random to one of the two nearest powers of two, or to 0.

    Unbiased, with E||C(v) - v||^2 <= ||v||^2/8: at v = p(1 + t), p a power of two, the variance is p^2 t(1 - t), and
    t(1 - t)/(1 + t)^2 is at most 1/8, at t = 1/3. Below 2^-126 numbers are rounded to 0 or that; from 2^127 on they
    become infinite; the bound is for numbers between. A message holds a sign and eight bits of exponent a number: 9 d
    bits.

    References
    ----------
    S. Horváth et al., Natural compression for distributed deep learning, MSML 2022, arXiv:1905.10988.
    """

    references = ("horvath2022natural",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """Nothing can be wrong."""

    def variance_factor(self, dim: int) -> float:
        """The q = 1/8 in E||C(v) - v||^2 <= q||v||^2."""
        return 1 / 8

    def contraction(self, dim: int) -> float:
        """Omega = 7/8, in E||C(v) - v||^2 <= (1 - omega)||v||^2."""
        return 7 / 8

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        xp = array_namespace(x)
        size = xp.abs(xp.astype(x, xp.float64))
        power = 2.0 ** xp.floor(xp.log2(xp.where(size >= SMALLEST, size, SMALLEST * xp.ones_like(size))))
        power = xp.where(power > size, power / 2, power)  # the logarithm may be rounded across a whole number
        power = xp.where(2 * power <= size, 2 * power, power)
        small = size < SMALLEST
        low, step = xp.where(small, 0 * size, power), xp.where(small, SMALLEST * xp.ones_like(size), power)
        rounded = xp.where(xp.astype(dither, xp.float64) < (size - low) / step, low + step, low)
        rounded = xp.where(size < LARGEST, rounded, size + np.inf)  # NaN stays NaN
        return xp.astype(xp.where(x < 0, -rounded, rounded), x.dtype), np.full(x.shape[:-1], 9 * x.shape[-1], np.int64)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        return Kernel((natural_row,), (np.array([SMALLEST, LARGEST]),))


def natural_row(i: int, v: np.ndarray, dither: np.ndarray, out: np.ndarray, range_: np.ndarray) -> int:
    """Each number rounded to a power of two."""
    smallest, largest = np.float64(range_[0]), np.float64(range_[1])
    for j in range(v.size):
        size = abs(np.float64(v[j]))
        if size < smallest:
            rounded = smallest if dither[j] < size / smallest else 0.0
        elif size < largest:
            power = 2.0 ** np.floor(np.log2(size))
            if power > size:
                power /= 2
            if 2 * power <= size:
                power *= 2
            rounded = 2 * power if dither[j] < (size - power) / power else power
        else:
            rounded = size + np.inf
        out[j] = -rounded if v[j] < 0 else rounded
    return 9 * v.size
