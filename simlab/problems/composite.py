"""Minimizers of f + nu ||x||_1: accelerated proximal gradient steps find the signs, Newton steps the digits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simlab.operations import soft_threshold

SIZES = 0.5 ** np.arange(12)  # of a Newton step, one after the other

Function = Callable[[np.ndarray], np.ndarray]


def minimize_composite(
    gradient: Function,
    hessian: Function,
    smoothness: float,
    l1: float,
    x: np.ndarray,
    *,
    tolerance: float = 1e-12,
    max_steps: int = 50_000,
) -> np.ndarray:
    """Minimize f + l1 ||x||_1 from `x`; for a nonconvex f, a stationary point.

    Rounds of proximal gradient steps with momentum, restarted where it points uphill (O'Donoghue, Candes 2015), each
    followed by semismooth Newton steps on the optimality condition x = prox(x - grad f(x)/L). It goes on below
    `tolerance` while it still gains a factor 2.

    Parameters
    ----------
    gradient, hessian : functions
        (d,) -> (d,) and (d, d).
    smoothness : float
        L > 0.
    l1 : float
        nu > 0.
    x : ndarray, shape (d,)
        Starting point.
    tolerance : float
        On L ||x - prox(x - grad f(x)/L)||; relative to the gradient norm at `x` where that exceeds 1.

    Raises
    ------
    ValueError
        Not reached: the objective is unbounded below, or ill-conditioned.
    """
    step = 1 / smoothness if smoothness > 0 else 1.0
    target = tolerance * max(1.0, float(np.linalg.norm(gradient(x))))
    point, momentum, taken, steps = x, 1.0, 0, 50
    best, best_norm, gained = x, np.inf, False
    while taken < max_steps:
        with np.errstate(over="ignore", invalid="ignore"):  # unbounded below
            for _ in range(steps):
                new = soft_threshold(point - step * gradient(point), step * l1) + 0.0  # no negative zeros
                if np.dot(point - new, new - x) > 0:
                    point, momentum = x, 1.0
                    continue
                faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
                x, point, momentum = new, new + (momentum - 1) / faster * (new - x), faster
        taken += steps
        if not np.linalg.norm(x) < 1e100:
            break
        for candidate in (x, _newton(gradient, hessian, step, l1, x)):
            norm = _residual(candidate, gradient(candidate), step, l1)
            if norm < best_norm:
                gained, best, best_norm = norm < 0.5 * best_norm, candidate, norm
        if best_norm <= target and not (gained and best_norm > 0):
            return best
        gained = False
        steps = min(2 * steps, 10_000)
    if best_norm <= target:
        return best
    raise ValueError(
        f"no minimizer of f + {l1:g} ||x||_1 found: residual {best_norm:.3g} after {taken} steps, more than "
        f"{target:.3g}; f may be unbounded below, or ill-conditioned (standardize the features, or raise l2)"
    )


def _residual(x: np.ndarray, gradient: np.ndarray, step: float, l1: float) -> float:
    """||x - prox(x - step * gradient)|| / step."""
    return float(np.linalg.norm(x - soft_threshold(x - step * gradient, step * l1)) / step)


def _newton(
    gradient: Function, hessian: Function, step: float, l1: float, x: np.ndarray, max_steps: int = 30
) -> np.ndarray:
    """Newton steps with the signs that the proximal map gives, halved until the residual falls."""
    g = gradient(x)
    norm = _residual(x, g, step, l1)
    for _ in range(max_steps):
        shifted = x - step * g
        free = np.abs(shifted) > step * l1
        h = hessian(x)[free]
        right = h[:, ~free] @ x[~free] - g[free] - l1 * np.sign(shifted[free])
        direction = -x
        direction[free] = np.linalg.lstsq(h[:, free], right, rcond=None)[0]
        for size in SIZES:
            new = x + size * direction  # exactly zero where x is to be, after a whole step
            g = gradient(new)
            found = _residual(new, g, step, l1)
            if found < norm:
                break
        else:
            break
        x, norm = new, found
    return x
