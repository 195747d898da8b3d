"""Row functions of kernels on the rows of arrays, by the very parts that the engine's programs call."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from simlab.engine.compiler import codegen
from simlab.kernel import LANES, Kernel
from simlab.programs import Part, contents, load, part_of


def gradient_part(kernel: Kernel, dtype: Any) -> Part:
    """That of a gradient, with fast math, for runs of this precision; of a compressor it is `part_of` itself."""
    return part_of(kernel, codegen.HEADER.format(real=np.dtype(dtype).name, lanes=LANES), "fastmath=FAST, ")


def call_rows(part: Part, arrays: tuple[np.ndarray, ...], extra: tuple[Any, ...]) -> None:
    """Call ``row(i, *(a[i] for a in arrays), *extra)`` for each i."""
    _driver(part, len(arrays), "")(arrays, extra, np.empty(len(arrays[0]), np.int64))


def bits_of_rows(part: Part, arrays: tuple[np.ndarray, ...], extra: tuple[Any, ...]) -> np.ndarray:
    """The same of a compressor: the whole numbers that it returns."""
    bits = np.empty(len(arrays[0]), np.int64)
    _driver(part, len(arrays), "bits[i] = ")(arrays, extra, bits)
    return bits


@cache
def _driver(part: Part, n_arrays: int, assigned: str) -> Any:
    rows = ", ".join(f"arrays[{k}][i]" for k in range(n_arrays))
    loop = "@njit(cache=True)\ndef rows(arrays, extra, bits):\n    for i in range(len(bits)):\n"
    text = ["from numba import njit\n", contents((part,)), f"{loop}        {assigned}{part.name}(i, {rows}, *extra)\n"]
    return load("\n\n".join(text), (part,)).rows
