"""Minimizers of f_i(u) + (w/2)||u||^2 - <y, u>, of which proximal and dual steps are made.

Of quadratics by the factors of their Hessians, which are kept; of logistic regression by Newton's method.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simlab.kernel import Kernel

Array = Any  #: an array of any namespace of the array API


def tilted_quadratics(
    xp: Any, y: Array, weights: Array, factors: tuple[np.ndarray, np.ndarray], linear: Array
) -> Array:
    """(H_i + w)^-1 (c_i + y), by H_i = Q diag(h) Qʹ: (n, R, d) and weights (n, R, 1) -> (n, R, d).

    Parameters
    ----------
    xp : array namespace
    y, weights : arrays (n, R, d), (n, R, 1)
    factors : arrays
        h (n, d), and Q (n, d, d).
    linear : array (n, d)
        c_i.
    """
    values, vectors = (xp.asarray(a, dtype=y.dtype) for a in factors)
    right = xp.asarray(linear, dtype=y.dtype)[:, None, :] + y
    rotated = xp.matmul(right, vectors) / (values[:, None, :] + weights)
    return xp.matmul(rotated, xp.matrix_transpose(vectors))


def factors_kernel(factors: tuple[np.ndarray, np.ndarray], linear: np.ndarray) -> Kernel:
    """The same as a row function."""
    values, vectors = factors
    return Kernel((tilted_quadratic_row,), (values, vectors, linear), (np.empty(linear.shape[1]),))


def tilted_quadratic_row(
    i: int,
    y: np.ndarray,
    weight: float,
    out: np.ndarray,
    rotated: np.ndarray,
    values: np.ndarray,
    vectors: np.ndarray,
    linear: np.ndarray,
) -> None:
    """(H_i + w)^-1 (c_i + y), by the factors of H_i."""
    rotated[:] = 0
    for j in range(y.shape[0]):
        right = linear[i, j] + y[j]
        for k in range(y.shape[0]):
            rotated[k] += vectors[i, j, k] * right
    for k in range(y.shape[0]):
        rotated[k] /= values[i, k] + weight
    for j in range(y.shape[0]):
        total = y.dtype.type(0)
        for k in range(y.shape[0]):
            total += vectors[i, j, k] * rotated[k]
        out[j] = total


def tilted_diagonal_row(
    i: int, y: np.ndarray, weight: float, out: np.ndarray, diagonals: np.ndarray, linear: np.ndarray
) -> None:
    """(H_i + w)^-1 (c_i + y), H_i diagonal."""
    for k in range(y.shape[0]):
        out[k] = (linear[i, k] + y[k]) / (diagonals[i, k] + weight)


def tilted_logistic(
    features: np.ndarray, labels: np.ndarray, starts: np.ndarray, shares: np.ndarray, l2: float
) -> Kernel:
    """That of logistic regression with a ridge."""
    d = features.shape[1]
    work = np.empty((3, d)), np.empty((2, d)), np.empty((d, d))
    return Kernel((logistic_terms, solve_definite, tilted_logistic_row), (features, labels, starts, shares, l2), work)


def logistic_terms(
    i: int,
    x: np.ndarray,
    y: np.ndarray,
    weight: float,
    gradient: np.ndarray,
    hessian: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """Gradient and Hessian of f_i(x) + (w/2)||x||^2 - <y, x>."""
    d = x.shape[0]
    scale = x.dtype.type(shares[i] / (starts[i + 1] - starts[i]))
    hessian[:] = 0
    for k in range(d):
        gradient[k] = (l2 + weight) * x[k] - y[k]
        hessian[k, k] = l2 + weight
    for s in range(starts[i], starts[i + 1]):
        margin = x.dtype.type(0)
        for k in range(d):
            margin += features[s, k] * x[k]
        margin *= labels[s]
        tail = math.exp(-abs(margin))
        slope = x.dtype.type(-labels[s] * scale * (tail if margin >= 0 else 1.0) / (1.0 + tail))
        bend = x.dtype.type(scale * tail / (1.0 + tail) ** 2)
        for k in range(d):
            gradient[k] += slope * features[s, k]
            for j in range(d):
                hessian[k, j] += bend * features[s, k] * features[s, j]


def solve_definite(matrix: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """Solve by Cholesky's factor, which overwrites the lower half of the matrix."""
    d = right.shape[0]
    for k in range(d):
        total = right[k]
        for j in range(k + 1):
            entry = matrix[k, j]
            for s in range(j):
                entry -= matrix[k, s] * matrix[j, s]
            matrix[k, j] = math.sqrt(entry) if j == k else entry / matrix[j, j]
        for j in range(k):
            total -= matrix[k, j] * out[j]
        out[k] = total / matrix[k, k]
    for k in range(d - 1, -1, -1):
        for j in range(k + 1, d):
            out[k] -= matrix[j, k] * out[j]
        out[k] /= matrix[k, k]


def tilted_logistic_row(
    i: int,
    y: np.ndarray,
    weight: float,
    out: np.ndarray,
    points: np.ndarray,
    gradients: np.ndarray,
    hessian: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """Newton steps from y/w or 0, halved until the gradient is smaller, as long as it becomes smaller."""
    x, trial, direction = points[0], points[1], points[2]
    g, after = gradients[0], gradients[1]
    for k in range(y.shape[0]):
        x[k] = y[k] / weight if weight > 0 else 0
    logistic_terms(i, x, y, weight, g, hessian, features, labels, starts, shares, l2)
    for _ in range(100):
        size = np.sum(g * g)
        if not size > 0:
            break
        solve_definite(hessian, g, direction)
        length = 1.0
        smaller = False
        while length > 1e-6 and not smaller:
            for k in range(y.shape[0]):
                trial[k] = x[k] - length * direction[k]
            logistic_terms(i, trial, y, weight, after, hessian, features, labels, starts, shares, l2)
            smaller = np.sum(after * after) < size
            length /= 2
        if not smaller:
            break
        for k in range(y.shape[0]):  # an assignment of arrays takes seconds to compile: what it says if shapes differ
            x[k], g[k] = trial[k], after[k]
    for k in range(y.shape[0]):
        out[k] = x[k]
