"""Newton's method with backtracking, for many small independent objectives at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]
UNSEEN = 1e-8  # relative fall of a loss from which on its gradient is trusted more


def newton(
    loss: Function,
    gradient: Function,
    hessian: Function,
    x: np.ndarray,
    *,
    size: np.ndarray | float = 1.0,
    tolerance: float = 1e-12,
    max_steps: int = 300,
) -> np.ndarray:
    """Minimize k independent objectives from the rows of `x`.

    Directions use the absolute eigenvalues of the Hessian, so that they descend on nonconvex objectives too. The
    iteration goes on below `tolerance` while it still gains a factor 2, and keeps the best point of each row.

    Parameters
    ----------
    loss, gradient, hessian : functions
        (k, d) -> (k,), (k, d), (k, d, d); rows are independent.
    x : ndarray, shape (k, d)
        Starting points.
    size : float or array (k,), default 1
        Of the terms that gradients are sums of, where it is known: they round by it.
    tolerance : float
        On the gradient norm; relative to `size` or to the gradient norm at the start where one of them exceeds 1.

    Raises
    ------
    ValueError
        Not reached: the objective has no minimizer, or an ill-conditioned one.
    """
    best = x
    best_norm = np.full(len(x), np.inf)
    value = np.full(len(x), np.inf)
    stalled = 0
    for step in range(max_steps):
        g = gradient(x)
        norm = np.linalg.norm(g, axis=-1)
        if step == 0:
            target = tolerance * np.maximum(np.maximum(norm, size), 1.0)
        gained = bool(np.any(norm < 0.5 * best_norm))
        best = np.where((norm < best_norm)[:, None], x, best)
        best_norm = np.minimum(norm, best_norm)
        previous, value = value, loss(x)
        stalled = 0 if gained or np.any(value < previous - 1e-12 * np.abs(value)) else stalled + 1
        if np.all(best_norm <= target) and (not gained or not np.any(best_norm)):
            return best
        if stalled > 10:
            break
        x = _descend(loss, gradient, value, x, g, _direction(hessian(x), g))
    if np.all(best_norm <= target):
        return best
    raise ValueError(
        f"no minimizer found: gradient norm {best_norm.max():.3g} after {step + 1} Newton steps, more than "
        f"{target.min():.3g}; "
        "the loss may have no minimizer (pass a positive l2) or be ill-conditioned (standardize the features)"
    )


def _direction(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(hessian)
    values = np.abs(values)
    floor = 1e-14 * values.max(axis=-1, keepdims=True) + np.finfo(float).tiny
    return np.einsum("kij,kj,klj,kl->ki", vectors, 1 / np.maximum(values, floor), vectors, gradient, optimize=True)


def _descend(
    loss: Function, gradient: Function, value: np.ndarray, x: np.ndarray, g: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    """The points x - t * direction, each row's t halved until its loss falls (Armijo), rounding allowed for.

    Where the fall is so small that the loss, a sum of larger terms maybe, cannot show it, a smaller gradient will do.
    """
    slope = np.sum(g * direction, axis=-1)
    rounding = 8 * np.finfo(float).eps * np.abs(value)
    near = slope <= UNSEEN * np.maximum(np.abs(value), 1.0)
    t = np.ones(len(x))
    for _ in range(60):
        trial = x - t[:, None] * direction
        too_long = ~(loss(trial) <= value - 1e-4 * t * slope + rounding)
        if np.any(too_long & near):
            too_long &= ~(near & (np.linalg.norm(gradient(trial), axis=-1) < np.linalg.norm(g, axis=-1)))
        if not too_long.any():
            break
        t = np.where(too_long, 0.5 * t, t)
    return trial
