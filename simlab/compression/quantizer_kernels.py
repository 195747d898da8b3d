"""Random rounding of one row as loops: plain functions that Numba compiles, without fast math.

The arithmetic is that of the array form, operation by operation, in float64; only the norm's sum may be taken in
another order.
"""

from __future__ import annotations

import math

import numpy as np

from simlab.compression.codes.adaptive_code import count_adaptive_row
from simlab.compression.codes.elias_code import count_elias_row
from simlab.compression.codes.level_count import ROW_TABLE_ROWS, count_row

__all__ = ["ROWS", "ROW_TABLE_ROWS"]


def wire_norm(v: np.ndarray, largest: float) -> np.float32:
    """Norm of `v`, or its largest entry if `largest`, as a float32 above it; NaN for NaN."""
    norm = 0.0
    if largest:
        lanes = np.zeros(8)  # so that a comparison need not wait for the one before it
        for j in range(v.size):
            size = abs(np.float64(v[j]))
            if size > lanes[j & 7] or size != size:
                lanes[j & 7] = size
        for size in lanes:
            if size > norm or size != size:
                norm = size
    else:
        for j in range(v.size):
            norm += np.float64(v[j]) * np.float64(v[j])
        norm = math.sqrt(norm)
    # 0.7 to 1.4 units of the last place more: never rounds to less than the norm. And a norm that a float32 holds, as
    # residuals of float32 numbers often have, is not where the last bit of a float64 decides.
    return np.float32(norm * 1.0000000834)


def quantize_row(
    v: np.ndarray, dither: np.ndarray, out: np.ndarray, levels: np.ndarray, s: float, unit: float, largest: float
) -> None:
    """Fill `levels` with the integers that are sent and `out` with what they stand for."""
    norm = wire_norm(v, largest)
    step = norm * unit
    sendable = norm > 0 and norm < np.inf
    for j in range(v.size):
        level = 0
        if sendable:
            position = min(abs(np.float64(v[j])) / np.float64(norm), 1.0) * s
            level = int(position)
            if dither[j] < position - level:
                level += 1
            if v[j] < 0:
                level = -level
        levels[j] = level
        out[j] = level * step


def level_coded_row(
    i: int,
    v: np.ndarray,
    dither: np.ndarray,
    out: np.ndarray,
    levels: np.ndarray,
    table: np.ndarray,
    s: float,
    *scale: float,
) -> int:
    """Quantize; bits of the level-by-level code."""
    quantize_row(v, dither, out, levels, s, *scale)
    return count_row(levels, table, int(s))


def adaptive_coded_row(
    i: int,
    v: np.ndarray,
    dither: np.ndarray,
    out: np.ndarray,
    levels: np.ndarray,
    table: np.ndarray,
    s: float,
    *scale: float,
) -> int:
    """Quantize; bits of the adaptive code."""
    quantize_row(v, dither, out, levels, s, *scale)
    return count_adaptive_row(levels, table, int(s))


def elias_coded_row(
    i: int,
    v: np.ndarray,
    dither: np.ndarray,
    out: np.ndarray,
    levels: np.ndarray,
    table: np.ndarray,
    s: float,
    *scale: float,
) -> int:
    """Quantize; bits of QSGD's own code."""
    quantize_row(v, dither, out, levels, s, *scale)
    return count_elias_row(levels, table, int(s))


def fixed_length_row(
    i: int,
    v: np.ndarray,
    dither: np.ndarray,
    out: np.ndarray,
    levels: np.ndarray,
    bits: np.ndarray,
    s: float,
    *scale: float,
) -> int:
    """Quantize; what the length alone decides."""
    quantize_row(v, dither, out, levels, s, *scale)
    return bits[0]


ROWS = {
    "level": (wire_norm, quantize_row, level_coded_row),
    "adaptive": (wire_norm, quantize_row, adaptive_coded_row),
    "elias": (wire_norm, quantize_row, elias_coded_row),
    "fixed": (wire_norm, quantize_row, fixed_length_row),
    "float32": (wire_norm, quantize_row, fixed_length_row),
}
"""Functions that follow the source code's `count_row`, by the code's name."""
