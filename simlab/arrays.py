"""Arrays in memory: starting with a cache line, so that no vector load straddles two more often than it must."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LINE = 64  # bytes


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialized array in C order; `np.empty` aligns to 16 bytes only."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def aligned_copy(values: Any, dtype: Any) -> np.ndarray:
    """A copy of `values` in C order."""
    copy = aligned(np.shape(values), dtype)
    copy[...] = values
    return copy


def to_host(x: Any) -> np.ndarray:
    """`x` as a NumPy array."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "get"):  # CuPy
        return x.get()
    return np.from_dlpack(x)
