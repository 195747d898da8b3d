"""Arrays of any namespace: theirs, on the host, and aligned so that few vector loads straddle two cache lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

LINE = 64  # bytes

_substitute: ContextVar[Any] = ContextVar("_substitute", default=None)


def namespace_of(*arrays: Any) -> Any:
    """The array-API namespace of `arrays`, or, within `substituted`, the one given there."""
    from array_api_compat import array_namespace

    return _substitute.get() or array_namespace(*arrays)


@contextmanager
def substituted(namespace: Any) -> Iterator[None]:
    """Operations, problems and networks compute in `namespace`, another form of that of their arrays."""
    token = _substitute.set(namespace)
    try:
        yield
    finally:
        _substitute.reset(token)


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
