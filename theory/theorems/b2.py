"""Bound B2 on the limiting bias, for any symmetric W.

If every f_i is L-smooth and f is μ-strongly convex, then with r = max|φ| and a = γrL√(1+κ²) < 1 the limit X with
exact gradients satisfies

    (1/n)Σ‖x_i − x*‖² <= (1 + κ²)(γrb/(1 − a))².

Constants: derived for this project. ‖X̃‖ <= γr‖F'(X)‖ <= γr(√n b + L‖X − X*‖), and Σ∇f_i(x_i) = 0 gives ‖X − X*‖ <=
√(1+κ²)‖X̃‖ as in B1; solve for ‖X̃‖. Single f_i need not be convex.
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
    """Smooth f_i, strongly convex f without l1 term, exact gradients, constant γ and β, a < 1, limit reached."""
    return in_order(
        setting,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        smooth,
        strongly_convex,
        has_transfer,
        small_step,
        at_limit,
    )


def small_step(setting: Setting) -> Check:
    """The feedback a = γrL√(1+κ²) of the bias on the gradients is below 1."""
    a = feedback(**feedback_constants(setting))
    return Check("small step", a < 1, f"a = γ r L √(1+κ²) = {a:.4g}, must be < 1")


def feedback_constants(setting: Setting) -> dict[str, Any]:
    """γ, r = max|φ|, L and κ."""
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "transfer": float(np.max(np.abs(transfer_on(setting.network, setting.algorithm)), initial=0.0)),
        "smoothness": problem.smoothness,
        "condition_number": problem.smoothness / problem.strong_convexity,
    }


def constants(setting: Setting) -> dict[str, Any]:
    """Those of `feedback`, and b."""
    return {**feedback_constants(setting), "heterogeneity": setting.problem.heterogeneity}


def feedback(lr: Any, transfer: Any, smoothness: Any, condition_number: Any) -> Any:
    """A = γrL√(1+κ²)."""
    return lr * transfer * smoothness * np.sqrt(1 + condition_number**2)


def bound(lr: Any, transfer: Any, smoothness: Any, condition_number: Any, heterogeneity: Any) -> Any:
    """Bound (1+κ²)(γrb/(1−a))² on (1/n)Σ‖x_i − x*‖²."""
    a = feedback(lr, transfer, smoothness, condition_number)
    return (1 + condition_number**2) * (lr * transfer * heterogeneity / (1 - a)) ** 2


MSE = Theorem(
    "B2, bias",
    "(1/n) sum ||x_i - x*||^2 <= (1 + κ^2)(γ r b/(1 - a))^2 at the limit, r = max |φ(λ)|, a = γ r L √(1+κ^2) < 1",
    "Derived for this project (bound B2)",
    assumptions,
    constants,
    bound,
    lambda trace: last(trace, "mse"),
)

THEOREMS = (MSE,)
