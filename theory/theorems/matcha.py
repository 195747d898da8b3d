"""MATCHA: what random matchings do to a disagreement, and that every budget mixes.

Setting: a connected graph whose links are M disjoint matchings with Laplacians L_j; at each step matching j is on with
probability p_j > 0, independently; W = I − αΣ_j a_jL_j. With L = Σp_jL_j and S = Σp_j(1 − p_j)L_j,

    E[W'W] = I − 2αL + α²(L² + 2S),

so that p = 1 − λ_max(E[W'W] − J), E‖WX̃‖² <= (1 − p)‖X̃‖², attained. For 0 < α < 2/(λ_max(L) + 2) it is positive:

    p >= αλ₂(L)(2 − α(λ_max(L) + 2)).

Constants: derived. E[W'W] = (I − αL)² + α²Σp_j(1 − p_j)L_j², and L_j² = 2L_j for a matching. 2S <= 2L in the order of
symmetric matrices, and on a mode of L of eigenvalue ℓ: 1 − 2αℓ + α²(ℓ² + 2ℓ) = 1 − αℓ(2 − α(ℓ + 2)); bound one ℓ from
below, the other from above.

Reference: J. Wang, A. K. Sahu, Z. Yang, G. Joshi, S. Kar, MATCHA: speeding up decentralized SGD via matching
decomposition sampling, ICC 2019, whose Theorem 2 says that a positive α exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.theorems.theorem import Check


def assumptions(laplacians: np.ndarray, probabilities: np.ndarray, weight: float) -> list[Check]:
    """Matchings, probabilities in (0, 1], a connected union, and a weight that is not too large.

    Parameters
    ----------
    laplacians : ndarray, shape (M, n, n)
        L_j.
    probabilities : ndarray, shape (M,)
        p_j.
    weight : float
        α.
    """
    projections = bool(np.allclose(laplacians @ laplacians, 2 * laplacians, atol=1e-12))
    checks = [Check("matchings", projections, "L_j² = 2L_j of every matching")]
    inside = bool(np.all((probabilities > 0) & (probabilities <= 1)))
    checks.append(Check("probabilities", inside, f"from {np.min(probabilities):.4g} to {np.max(probabilities):.4g}"))
    values = np.linalg.eigvalsh(np.tensordot(probabilities, laplacians, 1))
    checks.append(Check("connected", bool(values[1] > 1e-12), f"λ₂(L) = {values[1]:.4g}, must be positive"))
    most = largest_weight(laplacians, probabilities)
    return [*checks, Check("weight", 0 < weight < most, f"α = {weight:.4g}, must be in (0, {most:.4g})")]


def second_moment(laplacians: Any, probabilities: Any, weight: Any) -> np.ndarray:
    """E[W'W], (..., n, n), for one choice of p_j and α or many, (..., M) and (...)."""
    p, alpha = np.asarray(probabilities), np.asarray(weight)[..., None, None]
    mean, rest = np.tensordot(p, laplacians, 1), np.tensordot(p * (1 - p), laplacians, 1)
    return np.eye(mean.shape[-1]) - 2 * alpha * mean + alpha**2 * (mean @ mean + 2 * rest)


def parameter(laplacians: Any, probabilities: Any, weight: Any) -> Any:
    """The parameter p, (...)."""
    second = second_moment(laplacians, probabilities, weight)
    return 1 - np.linalg.eigvalsh(second - 1 / second.shape[-1])[..., -1]


def largest_weight(laplacians: Any, probabilities: Any) -> Any:
    """2/(λ_max(L) + 2), which α must be below, (...)."""
    return 2 / (np.linalg.eigvalsh(np.tensordot(probabilities, laplacians, 1))[..., -1] + 2)


def bound(laplacians: Any, probabilities: Any, weight: Any) -> Any:
    """Lower bound αλ₂(L)(2 − α(λ_max(L) + 2)) on p, (...)."""
    values = np.linalg.eigvalsh(np.tensordot(probabilities, laplacians, 1))
    return weight * values[..., 1] * (2 - weight * (values[..., -1] + 2))
