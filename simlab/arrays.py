"""Arrays of any namespace: theirs, on the host, aligned so that few vector loads straddle two cache lines; BLAS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

LINE = 64  # bytes
KEPT = 31 * 2**20  # bytes; glibc counts no larger ones

_substitute: ContextVar[Any] = ContextVar("_substitute", default=None)
_limiting = Lock()


def keep_freed_memory() -> None:
    """Have the allocator keep what arrays leave behind for the arrays to come.

    glibc gives freed blocks back to the system, which clears every page that it hands out again: a large part of the
    time that arrays of a MiB take. From the largest block that was ever mapped and freed it learns up to which size not
    to (mallopt(3), M_MMAP_THRESHOLD). The block is never touched and so costs nothing; elsewhere this does nothing.
    """
    np.empty(KEPT, np.uint8)


keep_freed_memory()


def namespace_of(*arrays: Any) -> Any:
    """The array-API namespace of `arrays`, or, within `substituted`, the one given there."""
    import array_api_compat.numpy

    substitute = _substitute.get()
    if substitute is None and arrays and all(type(array) is np.ndarray for array in arrays):
        return array_api_compat.numpy  # what `array_namespace` would find in ten times the time
    return substitute or array_api_compat.array_namespace(*arrays)


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


@contextmanager
def one_thread_of_blas() -> Iterator[None]:
    """Within, or within the function that it decorates, BLAS has one thread.

    Eigenvalues of a few thousand states, or of large sparse matrices, gain nothing from a second one, and where
    another process has its core they wait for it, seconds at a time (1,280 states: 10 s to 37 s of processor time with
    two threads, 2.5 s with one; a path of 50,000 nodes: 4 s and 0.5 s).

    Their number is the process's: within another one, in this thread of Python or in any, it is left alone, as who
    came second would later restore the one thread that it found.
    """
    if not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with _blas().limit(limits=1):
            yield
    finally:
        _limiting.release()


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401  it brings a BLAS of its own, to be limited too
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
