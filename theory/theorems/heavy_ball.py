"""Heavy ball on quadratics: rate √β at every step, best rate (√κ−1)/(√κ+1).

Setting: x⁺ = x − γ∇f(x) + β(x − x⁻), x⁻ = x⁰ at first (PmSGD from equal initial states and an empty buffer); f
quadratic with eigenvalues in [μ, L], μ > 0; (1−√β)²/μ <= γ <= (1+√β)²/L. Then for all k

    ‖x_k − x*‖ <= β^{k/2} (1 + k(1 + √β)) ‖x⁰ − x*‖.

The least √β for which such a γ exists is (√κ−1)/(√κ+1), at γ = 4/(√L+√μ)²; and where μ and L are both eigenvalues, no
(γ, β) whatever has an asymptotic rate below it.

Constants: derived for this project (the rate is Polyak's). In the eigenbasis x_k = β^{k/2}y_k with y_{k+1} = 2c y_k −
y_{k−1}, 2c = (1 + β − γh)/√β, |c| <= 1 by the assumption on γ; so y_k = U_k(c) − √β U_{k−1}(c), and |U_k| <= k + 1.
It is tight: equality at c = −1, for x⁰ − x* along the eigenvector of L with γ = (1+√β)²/L. Lower bound: all roots of
a mode are smaller than s in size only if β < s² and |1 + β − γh| < s + β/s; at h = μ and at h = L this says
(1−s)(1−β/s) < γμ and γL < (1+s)(1+β/s), so that κ < ((1+s)/(1−s))².

Reference: B. T. Polyak, Some algorithms of speeding up the convergence of iteration algorithms, 1964.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.problems.base import Problem
from simlab.trace import Trace
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    exact_gradients,
    in_order,
    no_l1_term,
    nouns,
    quadratic,
    strongly_convex,
)


def assumptions(setting: Setting) -> list[Check]:
    """PmSGD, exact gradients, constant γ and β, every mode underdamped, quadratic f with μ > 0, no l1, equal start."""
    return in_order(
        setting,
        parallel_momentum,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        quadratic,
        strongly_convex,
        consensual_start,
        underdamped,
    )


def parallel_momentum(setting: Setting) -> Check:
    """The algorithm is PmSGD, heavy ball on the mean objective."""
    name = type(setting.algorithm).__name__
    return Check("algorithm", setting.kind is simlab.PmSGD, f"{name}; the theorem is about PmSGD")


def underdamped(setting: Setting) -> Check:
    """(1−√β)²/μ <= γ <= (1+√β)²/L, with μ and L of the mean Hessian."""
    least, largest = extreme_eigenvalues(setting.problem)
    lr, root = float(setting.value("lr")), np.sqrt(float(setting.value("momentum")))
    low, high = (1 - root) ** 2 / least, (1 + root) ** 2 / largest
    holds = low * (1 - 1e-12) <= lr <= high * (1 + 1e-12)
    return Check("underdamped", bool(holds), f"γ = {lr:.6g}, must be in [{low:.6g}, {high:.6g}]")


def extreme_eigenvalues(problem: Problem) -> tuple[float, float]:
    """μ and L of the mean Hessian of a quadratic problem."""
    values = np.linalg.eigvalsh(problem.hessian(np.zeros(problem.dim)).mean(axis=0))
    return float(values[0]), float(values[-1])


def constants(setting: Setting) -> dict[str, Any]:
    """None: what is measured is already relative to the bound at each step."""
    return {}


def bound() -> float:
    """‖x_k − x*‖² never exceeds once the envelope times ‖x⁰ − x*‖²."""
    return 1.0


def envelope(steps: Any, momentum: Any) -> Any:
    """β^{k/2}(1 + k(1 + √β)), the bound on ‖x_k − x*‖/‖x⁰ − x*‖."""
    root = np.sqrt(momentum)
    return root**steps * (1 + steps * (1 + root))


def best_rate(condition_number: Any) -> Any:
    """(√κ−1)/(√κ+1)."""
    root = np.sqrt(condition_number)
    return (root - 1) / (root + 1)


def best_parameters(strong_convexity: float, smoothness: float) -> tuple[float, float]:
    """γ and β of the best rate."""
    lr = 4 / (np.sqrt(smoothness) + np.sqrt(strong_convexity)) ** 2
    return float(lr), float(best_rate(smoothness / strong_convexity) ** 2)


def largest_relative_error(trace: Trace) -> np.ndarray:
    """Largest mse_k/(mse_0 envelope_k²) over the recorded steps k >= 1, down to rounding."""
    problem, _, algorithm = nouns(trace)
    rows = trace.frame
    start = rows.groupby("replicate")["mse"].transform("first")
    allowed = start * envelope(rows["step"], float(getattr(algorithm, "momentum", 0.0))) ** 2
    finest = 1e-24 * (start + float(np.sum(problem.known_minimizer**2)))
    ratio = (rows["mse"] / allowed).where((rows["step"] >= 1) & (allowed > finest), 0.0)
    return ratio.groupby(rows["replicate"]).max().to_numpy()


ENVELOPE = Theorem(
    "heavy ball",
    "||x_k - x*||^2 <= β^k (1 + k(1 + √β))^2 ||x_0 - x*||^2 at every step; measured relative to it",
    "Derived for this project; rate of Polyak, 1964",
    assumptions,
    constants,
    bound,
    largest_relative_error,
)

THEOREMS = (ENVELOPE,)
