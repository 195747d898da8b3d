"""SSDA and MSDA: the accelerated rate of decentralized dual methods.

Setting: x_i⁺ = ∇f_i*(z_i), Y⁺ = Z − η(I − W)X⁺, Z⁺ = Y⁺ + m(Y⁺ − Y) from Y = Z = 0; every f_i μ-strongly convex and
L-smooth; I − W with eigenvalues 0 (once) and in [λ_min, λ_max]; in MSDA (ChebyshevGossip around SSDA) I − P(W) for I −
W. Let θ = (1 − m)/(1 + m). If η <= μ/λ_max and θ² <= ηλ_min/L, then at every step k >= 1

    (1/n)Σ‖x_{i,k} − x*‖² <= (b²/μ)(1/μ + 1/L)(1 − θ)^(k−1)/(θ(1 + θ)).

The published parameters η = μ/λ_max, m = (√(κχ) − 1)/(√(κχ) + 1), κ = L/μ, χ = λ_max/λ_min, have θ = 1/√(κχ).

Constants: derived for this project; the rate is the paper's. In Y = √(I − W)U the iteration is Nesterov's with
constant momentum on G(U) = Σf_i*(y_i), which is 1/η-smooth and θ²/η-strongly convex, so that G(u) − G* + (θ²/(2η))‖v
− u*‖² contracts by 1 − θ, where the next gradient is taken at (u + θv)/(1 + θ): there, by convexity and smoothness, G
− G* is at most 1/(θ(1 + θ)) times that. Σf_i* being 1/μ-smooth and Y of mean zero, ‖X − X*‖² <= (2/μ)(G − G*), and at
the start G − G* <= nb²/(2μ), (θ²/(2η))‖u*‖² <= nb²/(2L).

Reference: K. Scaman, F. Bach, S. Bubeck, Y. T. Lee, L. Massoulié, Optimal algorithms for smooth and strongly convex
distributed optimization in networks, ICML 2017, Theorems 2 and 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import simlab
from simlab.problems.base import Problem
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    constant_hyperparameters,
    in_order,
    last,
    no_l1_term,
    smooth,
)


def assumptions(setting: Setting) -> list[Check]:
    """SSDA or MSDA, constant parameters, no l1, every f_i smooth and strongly convex, η and m small enough."""
    return in_order(
        setting,
        dual_accelerated,
        constant_hyperparameters,
        no_l1_term,
        smooth,
        each_strongly_convex,
        a_step,
        dual_step,
        momentum,
    )


def dual_accelerated(setting: Setting) -> Check:
    """The algorithm is SSDA, or ChebyshevGossip around it with the network's ρ or a bound on it."""
    one = setting.algorithm
    fits, name = isinstance(one, simlab.SSDA), type(one).__name__
    if isinstance(one, simlab.ChebyshevGossip):
        fits = isinstance(one.base, simlab.SSDA) and one.rho >= setting.network.rho * (1 - 1e-12)
        name = repr(one)
    return Check("algorithm", fits, f"{name}; the theorem is about SSDA and MSDA, with rho >= ρ")


def each_strongly_convex(setting: Setting) -> Check:
    """μ > 0 of every f_i."""
    mu = local_strong_convexity(setting.problem)
    return Check("strongly convex nodes", bool(mu > 1e-12 * setting.problem.smoothness), f"μ = {mu:.4g} of every f_i")


def a_step(setting: Setting) -> Check:
    """X⁰ is not used: there is a step."""
    return Check("a step", setting.steps >= 1, f"{setting.steps} steps, at least 1")


def dual_step(setting: Setting) -> Check:
    """η <= μ/λ_max."""
    lr, most = dual(setting).dual_lr, local_strong_convexity(setting.problem) / spectrum(setting)[1]
    return Check("dual step size", lr <= most * (1 + 1e-12), f"η = {lr:.4g}, must be <= μ/λ_max = {most:.4g}")


def momentum(setting: Setting) -> Check:
    """θ² <= ηλ_min/L."""
    found, most = theta(dual(setting).momentum) ** 2, dual(setting).dual_lr * spectrum(setting)[0]
    most /= setting.problem.smoothness
    return Check("momentum", found <= most * (1 + 1e-9), f"θ² = {found:.4g}, must be <= ηλ_min/L = {most:.4g}")


def dual(setting: Setting) -> Any:
    """The SSDA of the algorithm."""
    return getattr(setting.algorithm, "base", setting.algorithm)


def spectrum(setting: Setting) -> tuple[float, float]:
    """λ_min and λ_max of I − W, or bounds on those of I − P(W)."""
    one = setting.algorithm
    if not isinstance(one, simlab.ChebyshevGossip):
        return 1 - setting.network.second_eigenvalue, 1 - setting.network.smallest_eigenvalue
    reach = 1 / math.cosh(one.rounds * math.acosh(1 / float(one.rho)))
    return 1 - reach, 1 + reach


def local_strong_convexity(problem: Problem) -> float:
    """μ of every f_i: exact for quadratics, the weight of the l2 term for logistic regression; NaN elsewhere."""
    if problem.is_quadratic:
        return float(np.linalg.eigvalsh(problem.hessian(np.zeros(problem.dim)))[:, 0].min())
    return problem.strong_convexity if isinstance(problem, simlab.LogisticRegression) else float("nan")


def theta(momentum: Any) -> Any:
    """(1 − m)/(1 + m)."""
    return (1 - momentum) / (1 + momentum)


def constants(setting: Setting) -> dict[str, Any]:
    """K, m, μ of every f_i, L and b."""
    problem = setting.problem
    return {
        "steps": setting.steps,
        "momentum": float(dual(setting).momentum),
        "strong_convexity": local_strong_convexity(problem),
        "smoothness": problem.smoothness,
        "heterogeneity": problem.heterogeneity,
    }


def bound(steps: Any, momentum: Any, strong_convexity: Any, smoothness: Any, heterogeneity: Any) -> Any:
    """Bound on (1/n)Σ‖x_i − x*‖² after K steps."""
    rate = theta(momentum)
    start = heterogeneity**2 / strong_convexity * (1 / strong_convexity + 1 / smoothness)
    return start * (1 - rate) ** (steps - 1) / (rate * (1 + rate))


THEOREMS = (
    Theorem(
        "SSDA",
        "(1/n) sum ||x_i - x*||^2 <= (b²/μ)(1/μ + 1/L)(1-θ)^(K-1)/(θ(1+θ)), θ = (1-m)/(1+m) (= 1/√(κχ))",
        "Derived for this project; rate of Scaman et al., ICML 2017",
        assumptions,
        constants,
        bound,
        lambda trace: last(trace, "mse"),
        random=False,
    ),
)
