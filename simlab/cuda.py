"""What CuPy cannot record in a CUDA graph, in another way: products (cuBLAS, cuSPARSE) and assignments by a mask."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

DENSE = """
const ptrdiff_t column = i % columns, row = i / columns % rows, lead = i / columns / rows;
const T* left = &a[0] + lead * a_lead + row * a_row;
const T* right = &b[0] + lead * b_lead + column * b_column;
T total = 0;
for (ptrdiff_t k = 0; k < inner; ++k) total += left[k * a_column] * right[k * b_row];
out = total;
"""
SPARSE = """
const ptrdiff_t column = i % columns, row = i / columns % rows, lead = i / columns / rows;
const T* from = &x[0] + lead * x_lead + column * x_column;
T total = 0;
for (ptrdiff_t k = indptr[row]; k < indptr[row + 1]; ++k) total += values[k] * from[indices[k] * x_row];
out = total;
"""


class Recordable:
    """CuPy's array namespace; but `matmul` is our own kernel, a thread a number, and `sign`, `clip` use no mask."""

    def __getattr__(self, name: str) -> Any:
        from array_api_compat import cupy

        return getattr(cupy, name)

    @staticmethod
    def sign(x: Any) -> Any:
        """Signs, NaN of NaN."""
        import cupy

        return cupy.where(cupy.isnan(x), x, cupy.sign(x))

    @staticmethod
    def clip(x: Any, min: Any = None, max: Any = None) -> Any:
        """`x` within bounds, NaN where it is NaN."""
        import cupy

        x = x if min is None else cupy.where(x < min, min, x).astype(x.dtype)
        return x if max is None else cupy.where(x > max, max, x).astype(x.dtype)

    @staticmethod
    def matmul(a: Any, b: Any) -> Any:
        """The product of stacks of matrices (..., i, k) and (..., k, j) of one data type."""
        import cupy

        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
        out = cupy.empty((*lead, rows, columns), a.dtype)
        a, b = _one_lead(a, lead), _one_lead(b, lead)
        return _kernel(
            f"raw T a, raw T b, {_integers('rows columns inner a_lead a_row a_column b_lead b_row b_column')}", DENSE
        )(a, b, rows, columns, inner, *_strides(a), *_strides(b), out)


def sparse_product(matrix: tuple[Any, Any, Any], x: Any) -> Any:
    """The product of a CSR matrix (indptr, indices, values) and x (..., n, d), on the GPU.

    Parameters
    ----------
    matrix : three CuPy arrays
    x : CuPy array, shape (..., n, d)

    Returns
    -------
    CuPy array, shape (..., n, d)
    """
    import cupy

    *lead, rows, columns = x.shape
    out = cupy.empty(x.shape, x.dtype)
    x = _one_lead(x, tuple(lead))
    return _kernel(
        "raw int64 indptr, raw int32 indices, raw T values, raw T x, "
        + _integers("rows columns x_lead x_row x_column"),
        SPARSE,
    )(*matrix, x, rows, columns, *_strides(x), out)


def _one_lead(x: Any, lead: tuple[int, ...]) -> Any:
    """`x` as (leads, i, j), or as it is where it has two axes; copied only where strides cannot say it."""
    return x if x.ndim == 2 else _broadcast(x, lead).reshape(math.prod(lead), *x.shape[-2:])


def _broadcast(x: Any, lead: tuple[int, ...]) -> Any:
    import cupy

    return cupy.broadcast_to(x, (*lead, *x.shape[-2:]))


def _strides(x: Any) -> list[int]:
    """Strides in numbers, of lead, row and column."""
    strides = [stride // x.itemsize for stride in x.strides]
    return strides if x.ndim == 3 else [0, *strides]


def _integers(names: str) -> str:
    return ", ".join(f"int64 {name}" for name in names.split())


@functools.cache
def _kernel(arguments: str, body: str) -> Any:
    import cupy

    return cupy.ElementwiseKernel(arguments, "T out", body, "simlab_product")
