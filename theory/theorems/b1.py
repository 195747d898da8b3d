"""Bound B1 on the limiting bias, by monotonicity.

If every f_i is convex and L-smooth, f is μ-strongly convex and φ > 0 on the eigenvalues of W other than 1, then with
r = max φ and b the heterogeneity the limit X with exact gradients satisfies

    (1/n)‖X̃‖² <= γ²r²b²   and   (1/n)Σ‖x_i − x*‖² <= (1 + κ²/4) γ²r²b² <= (1 + κ²) γ²r²b².

Constants: derived for this project. Let P = φ(W)⁻¹ on the complement of 1 and 0 on 1, so that PX̃ + γF'(X) = 0. Its
inner product with X − 1x*ᵀ is ⟨PX̃, X̃⟩ + γ⟨F'(X) − F'(X*), X − X*⟩ = −γ⟨F'(X*), X̃⟩; the second term is not
negative, P >= 1/r, and ‖F'(X*)‖ = √n b: ‖X̃‖ <= γr√n b. From Σ∇f_i(x_i) = 0: μ‖x̄ − x*‖ <= ‖∇f(x̄)‖ = ‖(1/n)Σg_i‖
with g_i = ∇f_i(x_i) − ∇f_i(x̄), at most L‖X̃‖/√n: the form (1 + κ²). As the f_i are convex, ‖g_i − (L/2)x̃_i‖ <=
(L/2)‖x̃_i‖ (cocoercivity), and Σx̃_i = 0 removes the subtracted part: at most (L/2)‖X̃‖/√n, the sharper form. The
consensus bound is tight as γ → 0 where the gradients at the optimum lie along the mode of largest φ, and the sharper
bias bound is then tight where half of the nodes are flat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    at_limit,
    constant_hyperparameters,
    convex,
    exact_gradients,
    has_transfer,
    in_order,
    last,
    no_l1_term,
    smooth,
    strongly_convex,
)
from theory.transfer import transfer_on


def assumptions(setting: Setting) -> list[Check]:
    """Convex smooth f_i, strongly convex f without l1 term, exact gradients, constant γ and β, φ > 0, at the limit."""
    return in_order(
        setting,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        convex,
        smooth,
        strongly_convex,
        has_transfer,
        positive_transfer,
        at_limit,
    )


def positive_transfer(setting: Setting) -> Check:
    """φ > 0 on the spectrum without 1; ATC algorithms need W positive definite, CTA algorithms have it always."""
    transfer = transfer_on(setting.network, setting.algorithm)
    least = float(np.min(transfer, initial=np.inf))
    reason = f"min φ = {least:.4g}; a lazy network makes W positive definite" if transfer.any() else "φ = 0: no bias"
    return Check("positive bias transfer", least > 0, reason)


def constants(setting: Setting) -> dict[str, Any]:
    """γ, r = max φ and b."""
    return {
        "lr": float(setting.value("lr")),
        "transfer": float(np.max(transfer_on(setting.network, setting.algorithm), initial=0.0)),
        "heterogeneity": setting.problem.heterogeneity,
    }


def mse_constants(setting: Setting) -> dict[str, Any]:
    """Those of the consensus bound, and κ."""
    problem = setting.problem
    return {**constants(setting), "condition_number": problem.smoothness / problem.strong_convexity}


def consensus_bound(lr: Any, transfer: Any, heterogeneity: Any) -> Any:
    """Bound γ²r²b² on (1/n)‖X̃‖²."""
    return (lr * transfer * heterogeneity) ** 2


def mse_bound(lr: Any, transfer: Any, heterogeneity: Any, condition_number: Any) -> Any:
    """Bound (1 + κ²)γ²r²b² on (1/n)Σ‖x_i − x*‖²."""
    return (1 + condition_number**2) * consensus_bound(lr, transfer, heterogeneity)


def sharper_mse_bound(lr: Any, transfer: Any, heterogeneity: Any, condition_number: Any) -> Any:
    """Bound (1 + κ²/4)γ²r²b² on (1/n)Σ‖x_i − x*‖²."""
    return (1 + condition_number**2 / 4) * consensus_bound(lr, transfer, heterogeneity)


REFERENCE = "Derived for this project (bound B1)"

CONSENSUS = Theorem(
    "B1, consensus",
    "(1/n)||X - 1x̄'||^2 <= (γ r b)^2 at the limit, r = max φ(λ)",
    REFERENCE,
    assumptions,
    constants,
    consensus_bound,
    lambda trace: last(trace, "consensus"),
)

MSE = Theorem(
    "B1, bias",
    "(1/n) sum ||x_i - x*||^2 <= (1 + κ^2)(γ r b)^2 at the limit, r = max φ(λ)",
    REFERENCE,
    assumptions,
    mse_constants,
    mse_bound,
    lambda trace: last(trace, "mse"),
)

SHARPER_MSE = Theorem(
    "B1, bias, sharper",
    "(1/n) sum ||x_i - x*||^2 <= (1 + κ^2/4)(γ r b)^2 at the limit, r = max φ(λ)",
    REFERENCE,
    assumptions,
    mse_constants,
    sharper_mse_bound,
    lambda trace: last(trace, "mse"),
)

THEOREMS = (CONSENSUS, MSE, SHARPER_MSE)
