"""The leading constant of the bias, and how far it can be off at a finite step size.

With C = lim mse/γ² (`theory.transfer.leading_constant`), quadratic f_i, a strongly convex f and a = γrL√(1+κ²) as in
B2, the limit with exact gradients satisfies

    γ²C/(1 + a)² <= mse,   and   mse <= γ²C/(1 − a)² where a < 1.

Constants: derived for this project. Let E = X − X*. The mean of the gradients is zero, so that E = A X̃ with A X̃ =
X̃ − 1(H̄⁻¹(1/n)ΣH_i x̃_i)ᵀ, ‖A‖ <= √(1+κ²). With X̃ = −γφ(W)(F'(X*) + HE) this is E = γAY − γAφ(W)HE, Y =
−φ(W)F'(X*), where ‖AY‖² = nC and ‖γAφ(W)H‖ <= a: |‖E‖ − γ√(nC)| <= a‖E‖. For other twice differentiable objectives
only the limit γ → 0 is claimed.
"""

from __future__ import annotations

from typing import Any

from theory import transfer
from theory.theorems import b2
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
    quadratic,
    strongly_convex,
)


def lower_assumptions(setting: Setting) -> list[Check]:
    """Quadratic f_i, strongly convex f without l1 term, exact gradients, constant γ and β, limit reached."""
    return in_order(
        setting,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        quadratic,
        strongly_convex,
        has_transfer,
        at_limit,
    )


def upper_assumptions(setting: Setting) -> list[Check]:
    """Those of the lower bound, and a < 1."""
    return in_order(
        setting,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        quadratic,
        strongly_convex,
        has_transfer,
        b2.small_step,
        at_limit,
    )


def constants(setting: Setting) -> dict[str, Any]:
    """γ, C and a."""
    return {
        "lr": float(setting.value("lr")),
        "constant": transfer.leading_constant(setting.problem, setting.network, setting.algorithm),
        "feedback": b2.feedback(**b2.feedback_constants(setting)),
    }


def lower_bound(lr: Any, constant: Any, feedback: Any) -> Any:
    """γ²C/(1 + a)²."""
    return lr**2 * constant / (1 + feedback) ** 2


def upper_bound(lr: Any, constant: Any, feedback: Any) -> Any:
    """γ²C/(1 − a)², for a < 1."""
    return lr**2 * constant / (1 - feedback) ** 2


REFERENCE = "Derived for this project (leading constant, with its error at finite γ)"

UPPER = Theorem(
    "leading constant, above",
    "mse <= γ^2 C/(1 - a)^2 at the limit, C = lim mse/γ^2",
    REFERENCE,
    upper_assumptions,
    constants,
    upper_bound,
    lambda trace: last(trace, "mse"),
)

LOWER = Theorem(
    "leading constant, below",
    "mse >= γ^2 C/(1 + a)^2 at the limit, C = lim mse/γ^2",
    REFERENCE,
    lower_assumptions,
    constants,
    lower_bound,
    lambda trace: last(trace, "mse"),
    ">=",
)

THEOREMS = (UPPER, LOWER)
