"""Asynchronous nodes of unequal speed minimize a weighted sum: each f_i counts as often as its node computes.

Setting: AD-PSGD with exact gradients of quadratics, nodes computing at rates r_i > 0 (exponential times), constant γ
for which it converges in the mean. In the stationary state the points y_i = E read_i at which gradients are taken
satisfy

    Σ_i r_i ∇f_i(y_i) = 0,

so that, with h the Hessian of f_r = Σr_if_i/Σr_i, whose minimizer is x_r*,

    ‖ȳ_r − x_r*‖ <= (1/λ_min(h)) max_i‖H_i‖ Σ_i (r_i/Σr)‖y_i − ȳ_r‖,   ȳ_r = Σr_iy_i/Σr.

What nodes disagree by is of order γ: as γ goes to 0 all of them go to x_r*, not to the minimizer of the mean of f_i.

Constants: derived for this project. An event averages two rows, which keeps the sum of all, and subtracts
γ∇f_i(read_i) with probability r_i/Σr: the stationary mean of the sum does not move only if the identity holds. The
bound is Σr_iH_i(y_i − ȳ_r) + (Σr)h(ȳ_r − x_r*) = 0.

Reference: derived for this project; the method is of X. Lian, W. Zhang, C. Zhang, J. Liu, Asynchronous decentralized
parallel stochastic gradient descent, ICML 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.theorems.theorem import Check


def assumptions(rates: np.ndarray, hessians: np.ndarray) -> list[Check]:
    """Positive rates, and a weighted objective that is strongly convex.

    Parameters
    ----------
    rates : ndarray, shape (n,)
        r_i.
    hessians : ndarray, shape (n, d, d)
        H_i.
    """
    positive = bool(np.all(rates > 0))
    checks = [Check("positive rates", positive, f"from {np.min(rates):.4g} to {np.max(rates):.4g}")]
    if positive:
        mu = float(strong_convexity(rates, hessians))
        checks.append(Check("strongly convex", mu > 0, f"λ_min of Σr_iH_i/Σr = {mu:.4g}"))
    return checks


def strong_convexity(rates: Any, hessians: np.ndarray) -> Any:
    """λ_min of Σr_iH_i/Σr, for one network or many: rates (..., n) and H_i (..., n, d, d)."""
    return np.linalg.eigvalsh(_average(rates, hessians))[..., 0]


def weighted_minimizer(rates: Any, hessians: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """x_r*, the minimizer of Σr_i(x'H_ix/2 − c_i'x), (..., d), from c_i (..., n, d)."""
    return np.linalg.solve(_average(rates, hessians), _average(rates, linear)[..., None])[..., 0]


def bound(rates: Any, hessians: np.ndarray, points: np.ndarray) -> Any:
    """Bound on ‖ȳ_r − x_r*‖ for mean points y_i (..., n, d)."""
    largest = np.max(np.linalg.norm(hessians, ord=2, axis=(-2, -1)), axis=-1)
    spread = points - _average(rates, points)[..., None, :]
    return largest / strong_convexity(rates, hessians) * _average(rates, np.linalg.norm(spread, axis=-1))


def _average(rates: Any, values: np.ndarray) -> np.ndarray:
    """Means over nodes, weighted by the rates (..., n): of values (..., n, *), whatever a node has."""
    shares = np.asarray(rates) / np.sum(rates, axis=-1, keepdims=True)
    return np.sum(shares.reshape(*shares.shape, *(1,) * (values.ndim - shares.ndim)) * values, axis=shares.ndim - 1)
