"""Decentralized parallel SGD on smooth, possibly nonconvex objectives.

Setting: X⁺ = WX − γG(X) (DSGD in CTA form) for K steps, all nodes starting at one point x⁰; every f_i L-smooth; f >=
f_inf; unbiased stochastic gradients, independent between nodes, of variance at most σ² on average over nodes;
(1/n)Σ‖∇f_i(x) − ∇f(x)‖² <= ς² for all x; ρ' = ρ². Theorem 1 of the paper:

    (1/K)[(1−γL)/2 ΣE‖ḡ_k‖² + D₁ΣE‖∇f(x̄_k)‖²]
        <= (f(x⁰)−f_inf)/(γK) + γLσ²/(2n) + γ²L²nσ²/((1−ρ')D₂) + 9γ²L²nς²/((1−√ρ')²D₂),

ḡ_k = (1/n)Σ∇f_i(x_{i,k}), D₂ = 1 − 18γ²nL²/(1−√ρ')², D₁ = ½ − 9γ²L²n/((1−√ρ')²D₂), both positive.

Constants: cross-checked by deriving a sharper bound of the same form,

    (1/K)[(1−γL)/2 ΣE‖ḡ_k‖² + ½ΣE‖∇f(x̄_k)‖²]
        <= (f(x⁰)−f_inf)/(γK) + γLσ²/(2n) + [γ²L²σ²/(1−ρ') + 2γ²L²ς²/(1−√ρ')²]/D,   D = 1 − 4γ²L²/(1−√ρ')² > 0,

whose every term is at most the cited one's. Descent: f(x̄_{k+1}) <= f(x̄_k) − γ/2‖∇f(x̄_k)‖² − γ(1−γL)/2‖ḡ_k‖² +
γ²Lσ²/(2n) + (γL²/2)Q_k in expectation, Q_k = (1/n)‖X̃_k‖². Disagreement: X̃_k = −γΣ_j (W^{k−1−j} − J)G_j, whose noise
has expected square at most γ²nσ²/(1−ρ') and whose drift, by ‖(I−J)F'(X)‖² <= 2nL²Q + 2nς² and Young's inequality for
convolutions, adds up over k to at most γ²(2nL²ΣQ + 2nς²K)/(1−√ρ')²; with ‖a+b‖² <= 2‖a‖² + 2‖b‖², solve for ΣQ.

A trace holds ‖∇f(x̄_k)‖² of each step, so verdicts drop the term in ḡ_k, which takes γL <= 1.

Reference: X. Lian et al., Can decentralized algorithms outperform centralized algorithms?, NeurIPS 2017, Theorem 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simlab.trace import Trace
from theory.theorems.dgd import combine_then_adapt
from theory.theorems.suprema import gradient_dissimilarity, gradient_variance
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    in_order,
    known_constant,
    no_l1_term,
    smooth,
)


def assumptions(setting: Setting) -> list[Check]:
    """Those of the sharper bound, and D₁, D₂ > 0."""
    checks = sharper_assumptions(setting)
    return [*checks, *in_order(setting, positive_factors)] if all(check.holds for check in checks) else checks


def sharper_assumptions(setting: Setting) -> list[Check]:
    """DSGD (CTA), constant γ <= 1/L, D > 0, no l1, f, dissimilarity and variance bounded, equal start, all recorded."""
    return in_order(
        setting,
        combine_then_adapt,
        constant_hyperparameters,
        no_l1_term,
        smooth,
        bounded_below,
        consensual_start,
        every_step_recorded,
        step_size,
        positive_sharper_factor,
        bounded_dissimilarity,
        bounded_variance,
    )


def bounded_below(setting: Setting) -> Check:
    """F has a known lower bound."""
    least = known_constant(setting.problem, "lower_bound")
    return Check("bounded below", bool(np.isfinite(least)), f"f >= {least:.4g}")


def every_step_recorded(setting: Setting) -> Check:
    """The theorem averages over all steps."""
    recorded = setting.record_every == 1 and setting.steps >= 1
    detail = f"record_every = {setting.record_every}, steps = {setting.steps}; the average is over every step"
    return Check("every step recorded", recorded, detail)


def step_size(setting: Setting) -> Check:
    """γL <= 1."""
    product = float(setting.value("lr")) * setting.problem.smoothness
    return Check("step size", product <= 1, f"γL = {product:.4g}, must be <= 1")


def positive_sharper_factor(setting: Setting) -> Check:
    """D > 0."""
    factor = sharper_factor(float(setting.value("lr")), setting.problem.smoothness, setting.network.rho)
    return Check("positive D", factor > 0, f"D = {factor:.4g}; take a smaller γ")


def positive_factors(setting: Setting) -> Check:
    """D₁, D₂ > 0."""
    problem = setting.problem
    first, second = factors(float(setting.value("lr")), problem.smoothness, setting.network.rho, problem.n_nodes)
    return Check(
        "positive D1 and D2", first > 0 and second > 0, f"D1 = {first:.4g}, D2 = {second:.4g}; take a smaller γ"
    )


def bounded_dissimilarity(setting: Setting) -> Check:
    """ς² is finite."""
    value, how = gradient_dissimilarity(setting.problem)
    return Check("bounded dissimilarity", bool(np.isfinite(value)), f"ς² = {value:.4g} ({how})")


def bounded_variance(setting: Setting) -> Check:
    """σ² is finite."""
    value, how = gradient_variance(setting.problem, setting.batch_size, setting.noise_std)
    return Check("bounded variance", bool(np.isfinite(value)), f"σ² = {value:.4g} ({how})")


def constants(setting: Setting) -> dict[str, Any]:
    """All that the bounds need; the suprema ς² and σ² may be estimates, see `theory.theorems.suprema`."""
    assert setting.start is not None  # consensual_start holds
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "steps": setting.steps,
        "smoothness": problem.smoothness,
        "n_nodes": problem.n_nodes,
        "rho": setting.network.rho,
        "initial_gap": setting.start.loss - problem.lower_bound,
        "dissimilarity": gradient_dissimilarity(problem).value,
        "variance": gradient_variance(problem, setting.batch_size, setting.noise_std).value,
    }


def factors(lr: Any, smoothness: Any, rho: Any, n_nodes: Any) -> tuple[Any, Any]:
    """D₁ and D₂; √ρ' = ρ."""
    feedback = 9 * (lr * smoothness) ** 2 * n_nodes / (1 - rho) ** 2
    second = 1 - 2 * feedback
    return 0.5 - feedback / second, second


def sharper_factor(lr: Any, smoothness: Any, rho: Any) -> Any:
    """D = 1 − 4γ²L²/(1−ρ)²."""
    return 1 - 4 * (lr * smoothness / (1 - rho)) ** 2


def weighted_bound(
    lr: Any,
    steps: Any,
    smoothness: Any,
    n_nodes: Any,
    rho: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
) -> Any:
    """Right-hand side of the cited theorem."""
    _, second = factors(lr, smoothness, rho, n_nodes)
    scale = (lr * smoothness) ** 2 * n_nodes / second
    return (
        initial_gap / (lr * steps)
        + lr * smoothness * variance / (2 * n_nodes)
        + scale * variance / (1 - rho**2)
        + 9 * scale * dissimilarity / (1 - rho) ** 2
    )


def sharper_weighted_bound(
    lr: Any,
    steps: Any,
    smoothness: Any,
    n_nodes: Any,
    rho: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
) -> Any:
    """Right-hand side of the sharper bound."""
    scale = (lr * smoothness) ** 2 / sharper_factor(lr, smoothness, rho)
    return (
        initial_gap / (lr * steps)
        + lr * smoothness * variance / (2 * n_nodes)
        + scale * (variance / (1 - rho**2) + 2 * dissimilarity / (1 - rho) ** 2)
    )


def bound(**constants: Any) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖²: the cited right-hand side over D₁."""
    first, _ = factors(constants["lr"], constants["smoothness"], constants["rho"], constants["n_nodes"])
    return weighted_bound(**constants) / first


def sharper_bound(**constants: Any) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖²: twice the sharper right-hand side."""
    return 2 * sharper_weighted_bound(**constants)


def mean_gradient_norm(trace: Trace) -> np.ndarray:
    """(1/K)Σ_{k<K} ‖∇f(x̄_k)‖² of each replicate."""
    rows = trace.frame[trace.frame["step"] < trace.provenance["steps"]]
    return rows.groupby("replicate")["squared_gradient_norm"].mean().to_numpy()


CITED = Theorem(
    "D-PSGD",
    "(1/K) sum E||∇f(x̄)||^2 <= [(f(x^0)-f_inf)/(γK) + γLσ²/(2n) + γ²L²nσ²/((1-ρ²)D2) + 9γ²L²nς²/((1-ρ)²D2)]/D1",
    "Lian et al., NeurIPS 2017, Theorem 1; cross-checked by the sharper bound",
    assumptions,
    constants,
    bound,
    mean_gradient_norm,
)

SHARPER = Theorem(
    "D-PSGD, sharper",
    "(1/K) sum E||∇f(x̄)||^2 <= 2[(f(x^0)-f_inf)/(γK) + γLσ²/(2n) + γ²L²(σ²/(1-ρ²) + 2ς²/(1-ρ)²)/D]",
    "Derived for this project, after Lian et al., NeurIPS 2017",
    sharper_assumptions,
    constants,
    sharper_bound,
    mean_gradient_norm,
)

THEOREMS = (CITED, SHARPER)
