"""Randomized gossip: how many random averages of pairs bring all nodes near their mean.

Setting: X⁺ = W_kX with W_k drawn independently, each an average of disjoint pairs or groups, so that W_k is a symmetric
projection; λ₂ the second largest eigenvalue of E W. The averaging time T(ε) is the least t with P(‖X̃_t‖ >= ε‖X⁰‖) <= ε
for every start X⁰, and from then on. Then, for 0 < ε < 1/2,

    log(1/(2ε))/log(1/λ₂) <= T(ε) <= 3 log(1/ε)/log(1/λ₂),   rounded up,

where for ε <= 1/4 the lower bound is at least the published ½ log(1/ε)/log(1/λ₂).

Constants: re-derived. E[W'W] = E[W] as W is a projection, so E‖X̃_t‖² <= λ₂ᵗ‖X̃_0‖², and Markov's inequality gives P <=
λ₂ᵗ/ε² <= ε. From the second eigenvector v of E W, E‖X̃_t‖ >= ‖E X̃_t‖ = λ₂ᵗ‖v‖, and P(‖X̃_t‖ >= ε‖v‖) <= ε makes E‖X̃_t‖ at
most (ε + ε)‖v‖, as no W_k expands a disagreement.

Reference: S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, Randomized gossip algorithms, IEEE Trans. Information Theory 52,
2006, Theorem 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.theorems.theorem import Check


def assumptions(accuracy: float, second_eigenvalue: float) -> list[Check]:
    """0 < ε < 1/2, and a network that mixes.

    Parameters
    ----------
    accuracy : float
        ε.
    second_eigenvalue : float
        λ₂ of E W.
    """
    return [
        Check("accuracy", 0 < accuracy < 0.5, f"ε = {accuracy:.4g}, must be in (0, 1/2)"),
        Check("network mixes", 0 <= second_eigenvalue < 1, f"λ₂ = {second_eigenvalue:.6g}, must be in [0, 1)"),
    ]


def lower_bound(accuracy: Any, second_eigenvalue: Any) -> Any:
    """log(1/(2ε))/log(1/λ₂)."""
    with np.errstate(divide="ignore"):
        return np.log(2 * np.asarray(accuracy)) / np.log(second_eigenvalue)


def bound(accuracy: Any, second_eigenvalue: Any) -> Any:
    """3 log(1/ε)/log(1/λ₂)."""
    with np.errstate(divide="ignore"):
        return 3 * np.log(accuracy) / np.log(second_eigenvalue)
