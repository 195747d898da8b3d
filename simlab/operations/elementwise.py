"""What a node does with its own rows: elementwise functions and norms."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from simlab.operations.language import Array, namespace, operation
from simlab.step.graph import Expression
from simlab.step.operation import Operation, add


def zeros_like(x: Array) -> Array:
    """Zeros of the shape and type of `x`.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    if isinstance(x, Expression):
        return Expression("where", (x == x, 0, 0))  # NaN or not
    return namespace(x).zeros_like(x)


@operation("where", "elementwise", "{1} if {0} else {2}")
def where(condition: Array, if_true: Array, if_false: Array) -> Array:
    """Elementwise choice; a step uses it in place of `if` on array and hyperparameter values.

    Parameters
    ----------
    condition, if_true, if_false : arrays (..., n, d) or numbers

    Returns
    -------
    array (..., n, d)
        A number if all three are.
    """
    three = condition, if_true, if_false
    if all(isinstance(value, numbers.Real | np.bool_) for value in three):
        return if_true if condition else if_false
    xp = namespace(*three)
    if all(isinstance(value, numbers.Real) for value in (if_true, if_false)):
        if_true = xp.asarray(if_true)  # one of them an array, as the array API asks
    return xp.where(xp.asarray(condition), if_true, if_false)


@operation("abs", "elementwise", "abs({})")
def absolute(x: Array) -> Array:
    """Elementwise absolute value.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return namespace(x).abs(x)


@operation("sign", "elementwise", "real({0} > 0) - real({0} < 0) if {0} == {0} else {0}")  # NaN stays NaN
def sign(x: Array) -> Array:
    """Elementwise sign, 0 at 0.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return namespace(x).sign(x)


@operation("sqrt", "elementwise", "math.sqrt({})")
def sqrt(x: Array) -> Array:
    """Elementwise square root; NaN of negative numbers.

    Parameters
    ----------
    x : array (..., n, d) or number

    Returns
    -------
    array (..., n, d)
    """
    if isinstance(x, numbers.Real):
        return math.sqrt(x) if float(x) >= 0 else math.nan
    return namespace(x).sqrt(x)


def maximum(x: Array, y: Array) -> Array:
    """Elementwise larger one; NaN where either is.

    Parameters
    ----------
    x, y : arrays (..., n, d) or numbers

    Returns
    -------
    array (..., n, d)
    """
    return where(x > y, x, where(x == x, y, x))


def minimum(x: Array, y: Array) -> Array:
    """Elementwise smaller one; NaN where either is.

    Parameters
    ----------
    x, y : arrays (..., n, d) or numbers

    Returns
    -------
    array (..., n, d)
    """
    return where(x < y, x, where(x == x, y, x))


NORM_ROW = """
def norm_row(row, out, lanes):
    for r in range(lanes):
        total = real(0)
        for j in range(r, row.shape[0], lanes):
            total += row[j] * row[j]
        out[r::lanes] = math.sqrt(total)
"""


@operation("norm", "row call", "norm_row({row}, {out}, {lanes})", helper=NORM_ROW)
def norm(x: Array) -> Array:
    """Euclidean norm of each row, in every entry of the row, as clipped and normalized steps need it.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    xp = namespace(x)
    return xp.zeros_like(x) + xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))


BLOCK_NORMS_ROW = """
def block_norms_row(row, out, sizes, lanes):
    for r in range(lanes):
        start = 0
        for size in sizes:
            total, end = real(0), start + size
            for j in range(start * lanes + r, end * lanes, lanes):
                total += row[j] * row[j]
            for j in range(start * lanes + r, end * lanes, lanes):
                out[j] = math.sqrt(total)
            start = end
"""
add(Operation("block_norms", "row call", "block_norms_row({row}, {out}, {by}, {lanes})", BLOCK_NORMS_ROW))


def block_norms(x: Array, sizes: tuple[int, ...]) -> Array:
    """Euclidean norms of the blocks of each row, in every entry of a block, as layer-wise rates need them.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.
    sizes : tuple of int
        Entries of each block, one after the other, d in all: `Problem.block_sizes`. Empty: the row is one block.

    Returns
    -------
    array (..., n, d)
    """
    if not sizes:
        return norm(x)
    if isinstance(x, Expression):
        return Expression("block_norms", (x,), tuple(sizes), narrow=x.narrow)
    xp, ends = namespace(x), np.cumsum([0, *sizes]).tolist()
    blocks = [x[..., ends[k] : ends[k + 1]] for k in range(len(sizes))]
    return xp.concat([norm(block) for block in blocks], axis=-1)


def soft_threshold(x: Array, threshold: Any) -> Array:
    """Proximal operator of `threshold` * ||.||_1: ``sign(x) max(|x| - threshold, 0)``.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.
    threshold : float
        At least 0.

    Returns
    -------
    array (..., n, d)
    """
    shrunk = absolute(x) - threshold
    return sign(x) * where(shrunk > 0, shrunk, 0 * shrunk)
