"""Quantizers with random rounding: QSGD, and the dithered uniform quantizer of Malcom-PSGD."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab import checks
from simlab.arrays import to_host
from simlab.compression.codes.code import CODES, source_code
from simlab.compression.quantizer_kernels import ROW_TABLE_ROWS, ROWS
from simlab.kernel import Kernel

Array = Any  #: an array of shape (..., d), of any namespace of the array API

MAX_LEVELS = 2**20


class QSGD(NamedTuple):
    """QSGD: random rounding of s|v|/||v|| to an integer.

    C(v) = (||v||/s) sign(v) round(s|v|/||v||), where round(y) is floor(y), or one more if a uniform number on [0, 1) is
    less than y - floor(y); unbiased, with E||C(v) - v||^2 <= q||v||^2, q = min(d/s^2, sqrt(d)/s). `scaled` divides it
    by tau = 1 + q: a contraction with omega = 1/tau, for every s.

    The norm goes over the wire as a float32, rounded up, by 2e-7 at most, so that no level exceeds s; the receiver
    multiplies with that.

    Parameters
    ----------
    levels : int
        s >= 1: the integers sent are in -s..s.
    scaled : bool, default False
    code : {"fixed", "elias", "level", "adaptive", "float32"}, default "fixed"
        Source code of the integers, see `source_code`.

    References
    ----------
    D. Alistarh et al., QSGD: communication-efficient SGD via gradient quantization and encoding, NeurIPS 2017.
    """

    levels: int
    scaled: bool = False
    code: str = "fixed"

    references = ("alistarh2017qsgd",)  # type: ignore[misc]

    @property
    def norm(self) -> str:
        """Which norm is sent."""
        return "l2"

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless the parameters are possible."""
        _check(self)

    def variance_factor(self, dim: int) -> float:
        """The (cited) q = min(d/s^2, sqrt(d)/s) in E||C(v) - v||^2 <= q||v||^2 of the unscaled quantizer."""
        self.check(dim)
        return min(dim / self.levels**2, math.sqrt(dim) / self.levels)

    def contraction(self, dim: int) -> float:
        """Omega in E||C(v) - v||^2 <= (1 - omega)||v||^2: 1/(1 + q) if scaled, else 1 - q, negative for few levels."""
        return _contraction(self, dim)

    def quantize(self, x: Array, dither: Array) -> tuple[Array, Array]:
        """The integers and norms that are sent: int32 (..., d), float32 (...)."""
        return _quantize(self, x, dither)

    def reconstruct(self, levels: Array, norm: Array, dtype: Any = np.float64) -> Array:
        """What the receivers compute from integers (..., d) and norms (...)."""
        return _reconstruct(self, levels, norm, dtype)

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        return _compress(self, x, dither)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        return _kernel(self, dim)


class DitheredUniform(NamedTuple):
    """Uniform quantizer with dither: random rounding to s levels a side, sent by a source code.

    C(v) = (r/s) sign(v) round(s|v|/r) with r = ||v|| or ``max_i |v_i|``, where round(y) is floor(y), or one more if a
    uniform number on [0, 1), the dither, is less than y - floor(y). Unbiased, with
    E||C(v) - v||^2 <= q||v||^2: a coordinate's error has variance p(1 - p)(r/s)^2, p the fractional part of
    ``s|v_i|/r``, and p(1 - p) is at most 1/4 and at most ``s|v_i|/r``. Summed, q = min(d/(4s^2), sqrt(d)/s) for the
    norm and q = min(d/(4s^2), (1 + sqrt(d))/(2s)) for the maximum, as ||v||_1 ``max_i |v_i|`` <= (1 + sqrt(d))/2
    ||v||^2 (derived).
    `scaled` divides by tau = 1 + q: a contraction with omega = 1/tau, for every s.

    The norm goes over the wire as a float32, rounded up, by 2e-7 at most, so that no level exceeds s; the receiver
    multiplies with that.

    Parameters
    ----------
    levels : int
        s >= 1: the integers sent are in -s..s.
    norm : {"l2", "max"}, default "l2"
        r. With "l2" most integers of a long vector are zero, with "max" the error is smaller.
    scaled : bool, default False
    code : {"level", "adaptive", "elias", "fixed", "float32"}, default "level"
        Source code of the integers, see `source_code`.

    References
    ----------
    A. Campbell, H. Liu, L. Woldemariam, A. Scaglione, MALCOM-PSGD: inexact proximal stochastic gradient descent for
    communication-efficient decentralized machine learning, arXiv:2311.05760, 2023.
    """

    levels: int
    norm: str = "l2"
    scaled: bool = False
    code: str = "level"

    references = ("campbell2023malcom",)  # type: ignore[misc]

    def check(self, dim: int) -> None:
        """TypeError or ValueError unless the parameters are possible."""
        checks.one_of("DitheredUniform.norm", self.norm, ("l2", "max"))
        _check(self)

    def variance_factor(self, dim: int) -> float:
        """The q in E||C(v) - v||^2 <= q||v||^2 of the unscaled quantizer."""
        self.check(dim)
        linear = math.sqrt(dim) if self.norm == "l2" else (1 + math.sqrt(dim)) / 2
        return min(dim / (4 * self.levels**2), linear / self.levels)

    def contraction(self, dim: int) -> float:
        """Omega in E||C(v) - v||^2 <= (1 - omega)||v||^2: 1/(1 + q) if scaled, else 1 - q, negative for few levels."""
        return _contraction(self, dim)

    def quantize(self, x: Array, dither: Array) -> tuple[Array, Array]:
        """The integers and norms that are sent: int32 (..., d), float32 (...)."""
        return _quantize(self, x, dither)

    def reconstruct(self, levels: Array, norm: Array, dtype: Any = np.float64) -> Array:
        """What the receivers compute from integers (..., d) and norms (...)."""
        return _reconstruct(self, levels, norm, dtype)

    def compress(self, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        return _compress(self, x, dither)

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function."""
        return _kernel(self, dim)


Quantizer = QSGD | DitheredUniform


def _check(quantizer: Quantizer) -> None:
    name = type(quantizer).__name__
    checks.integer(f"{name}.levels", quantizer.levels, minimum=1, maximum=MAX_LEVELS)
    checks.one_of(f"{name}.code", quantizer.code, CODES)
    checks.flag(f"{name}.scaled", quantizer.scaled)


def _contraction(quantizer: Quantizer, dim: int) -> float:
    q = quantizer.variance_factor(dim)
    return 1 / (1 + q) if quantizer.scaled else 1 - q


def _unit(quantizer: Quantizer, dim: int) -> float:
    """What a level stands for, in units of the norm."""
    tau = 1 + quantizer.variance_factor(dim) if quantizer.scaled else 1.0
    return 1 / (quantizer.levels * tau)


def _quantize(quantizer: Quantizer, x: Array, dither: Array) -> tuple[Array, Array]:
    quantizer.check(x.shape[-1])
    if dither is None:
        raise ValueError("dither = None, but the quantizer rounds at random; pass uniform numbers of the shape of x")
    xp = array_namespace(x)
    size = xp.abs(xp.astype(x, xp.float64))
    with np.errstate(over="ignore"):
        exact = xp.max(size, axis=-1) if quantizer.norm == "max" else xp.sqrt(xp.sum(size * size, axis=-1))
        single = xp.astype(exact * 1.0000000834, xp.float32)  # see wire_norm
    norm = xp.astype(single, xp.float64)[..., None]
    sendable = (norm > 0) & (norm < math.inf)
    ratio = xp.where(sendable, size, xp.zeros_like(size)) / xp.where(sendable, norm, xp.ones_like(norm))
    position = xp.minimum(ratio, xp.ones_like(ratio)) * float(quantizer.levels)
    whole = xp.floor(position)
    magnitude = whole + xp.astype(xp.astype(dither, xp.float64) < position - whole, xp.float64)
    return xp.astype(xp.where(x < 0, -magnitude, magnitude), xp.int32), single


def _reconstruct(quantizer: Quantizer, levels: Array, norm: Array, dtype: Any) -> Array:
    xp = array_namespace(levels, norm)
    step = xp.astype(norm, dtype) * _unit(quantizer, levels.shape[-1])
    with np.errstate(invalid="ignore"):  # an infinite norm makes NaN
        return xp.astype(levels, dtype) * step[..., None]


def _compress(quantizer: Quantizer, x: Array, dither: Array) -> tuple[Array, np.ndarray]:
    levels, norm = _quantize(quantizer, x, dither)
    bits = source_code(quantizer.code, quantizer.levels).count_bits(to_host(levels))
    return _reconstruct(quantizer, levels, norm, x.dtype), np.asarray(bits, np.int64)


def _kernel(quantizer: Quantizer, dim: int) -> Kernel:
    quantizer.check(dim)
    code = source_code(quantizer.code, quantizer.levels)
    scale = float(quantizer.levels), _unit(quantizer, dim), float(quantizer.norm == "max")
    levels = np.empty(dim, np.int32)
    if code.count_row:
        table = np.empty((ROW_TABLE_ROWS, 2 * quantizer.levels + 1 if quantizer.code == "level" else 1), np.int64)
        return Kernel(ROWS[quantizer.code], scale, (levels, table), shared=(code.count_row,))
    bits = np.array([code.count_bits(np.zeros(dim, np.int32))], np.int64)
    return Kernel(ROWS[quantizer.code], (bits, *scale), (levels,))
