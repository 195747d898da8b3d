"""Push-sum: how fast the ratios agree, on any strongly connected digraph.

Setting: U⁺ = PU, w⁺ = Pw, Z = U/w, from w = 1; P column stochastic with positive right Perron vector π, Pπ = π, Σπ_i
= 1, and x̄ the mean of U⁰'s rows. Let s be the second largest singular value of D^(−½)PD^(½), D = diag(π). Then

    Σ_iπ_i‖z_i,k − x̄‖² <= π_max² s^(2k) Σ_i‖u_i⁰ − x̄‖²/π_i.

For a doubly stochastic P it is the usual (1/n)‖X̃_k‖² <= s^(2k)(1/n)‖X̃_0‖², attained.

Constants: derived for this project. Y = U − wx̄ keeps a zero sum and Y⁺ = PY; in the norm Σ‖y_i‖²/π_i, P contracts
such Y by s, since √π is the singular vector of the singular value 1 on both sides. z_i − x̄ = y_i/w_i, and w_k = Pᵏ1
>= Pᵏπ/π_max = π/π_max, entry by entry.

Reference: derived for this project; push-sum is of D. Kempe, A. Dobra, J. Gehrke, Gossip-based computation of aggregate
information, FOCS 2003.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from theory.theorems.theorem import Check


def assumptions(weights: np.ndarray) -> list[Check]:
    """Columns that sum to 1, a positive Perron vector, and s < 1.

    Parameters
    ----------
    weights : ndarray, shape (n, n)
        P.
    """
    sums = weights.sum(axis=0)
    stochastic = bool(np.allclose(sums, 1, atol=1e-10) and np.all(weights >= 0))
    checks = [Check("column stochastic", stochastic, f"columns sum to {sums.min():.6g} ... {sums.max():.6g}")]
    if not stochastic:
        return checks
    components = connected_components(weights, connection="strong")[0]
    checks.append(Check("strongly connected", components == 1, f"{components} strong components"))
    if not checks[-1].holds:
        return checks
    s = second_singular_value(weights)
    return [*checks, Check("contraction", s < 1, f"s = {s:.6g}, must be < 1")]


def perron(weights: np.ndarray) -> np.ndarray:
    """π, (..., n), of one P or many, (..., n, n)."""
    n = weights.shape[-1]
    ones = np.ones((*weights.shape[:-2], 1, n))
    system = np.concatenate([weights - np.eye(n), ones], axis=-2)
    return np.linalg.pinv(system)[..., -1]  # the right-hand side is 0, ..., 0, 1


def second_singular_value(weights: np.ndarray) -> Any:
    """s, (...), of one P or many, (..., n, n)."""
    root = np.sqrt(perron(weights))
    column, row = root[..., :, None], root[..., None, :]
    return np.linalg.norm(weights * row / column - column * row, ord=2, axis=(-2, -1))


def bound(weights: np.ndarray, start: np.ndarray, steps: Any) -> Any:
    """Bound on Σπ_i‖z_i − x̄‖² after `steps` from rows `start` (..., n, d), for one P or many; steps come last."""
    pi, later = perron(weights), (..., *(None,) * np.ndim(steps))
    spread = np.sum((start - start.mean(axis=-2, keepdims=True)) ** 2 / pi[..., None], axis=(-2, -1))
    s = second_singular_value(weights)
    return (np.max(pi, axis=-1) ** 2 * spread)[later] * s[later] ** (2 * np.asarray(steps))


def measured(weights: np.ndarray, ratios: np.ndarray, mean: np.ndarray) -> Any:
    """Σπ_i‖z_i − x̄‖² of `ratios` (..., n, d), for one P or many."""
    return np.sum(perron(weights)[..., None] * (ratios - mean) ** 2, axis=(-2, -1))
