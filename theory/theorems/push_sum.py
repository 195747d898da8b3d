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
    pi = perron(weights)
    checks.append(Check("strongly connected", bool(np.all(pi > 0)), f"least entry of π {pi.min():.3g}"))
    if not checks[-1].holds:
        return checks
    s = second_singular_value(weights)
    return [*checks, Check("contraction", s < 1, f"s = {s:.6g}, must be < 1")]


def perron(weights: np.ndarray) -> np.ndarray:
    """π, (n,)."""
    n = len(weights)
    system = np.vstack([weights - np.eye(n), np.ones(n)])
    return np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0]


def second_singular_value(weights: np.ndarray) -> float:
    """S."""
    root = np.sqrt(perron(weights))
    scaled = weights * root / root[:, None]
    return float(np.linalg.norm(scaled - np.outer(root, root), ord=2))


def bound(weights: np.ndarray, start: np.ndarray, steps: Any) -> Any:
    """Bound on Σπ_i‖z_i − x̄‖² after `steps` from rows `start` (n, d)."""
    pi = perron(weights)
    spread = np.sum((start - start.mean(axis=0)) ** 2 / pi[:, None])
    return np.max(pi) ** 2 * second_singular_value(weights) ** (2 * np.asarray(steps)) * spread


def measured(weights: np.ndarray, ratios: np.ndarray, mean: np.ndarray) -> float:
    """Σπ_i‖z_i − x̄‖² of `ratios` (n, d)."""
    return float(np.sum(perron(weights)[:, None] * (ratios - mean) ** 2))
