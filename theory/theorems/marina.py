"""MARINA: compressed changes of gradients, and now and then, by a coin, the gradients.

Setting: x⁺ = x − γv; with probability p v⁺ = ∇f(x⁺), else v⁺ = v + (1/n)ΣC_i(∇f_i(x⁺) − ∇f_i(x)); v⁰ = ∇f(x⁰), all
nodes starting at one point x⁰; E C(u) = u, E‖C(u) − u‖² <= q‖u‖²; every f_i L-smooth; f >= f_inf. For K steps at

    γ <= 1/(L(1 + √((1 − p)a/p))),   a = q/n where nodes compress independently, else q,

    (1/K)ΣE‖∇f(x_k)‖² <= 2(f(x⁰) − f_inf)/(γK).

Constants: re-derived. f(x⁺) <= f(x) − (γ/2)‖∇f(x)‖² − (1/(2γ) − L/2)‖x⁺ − x‖² + (γ/2)‖v − ∇f(x)‖², and by unbiasedness
E‖v⁺ − ∇f(x⁺)‖² <= (1 − p)(‖v − ∇f(x)‖² + aL²‖x⁺ − x‖²); the sum of the first and γ/(2p) times the second telescopes if
γL + γ²L²(1 − p)a/p <= 1, which the step size ensures. Attained by one step at γ = 1/L, f = Lx²/2.

Reference: E. Gorbunov, K. Burlachenko, Z. Li, P. Richtárik, MARINA: faster non-convex distributed learning with
compression, ICML 2021, Theorem 2.1, with L for the mean square of the nodes' constants.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.compression import check_unbiased
from theory.theorems.dpsgd import mean_gradient_norm
from theory.theorems.error_feedback import ABOUT_RUN
from theory.theorems.theorem import Check, Setting, Theorem, in_order


def assumptions(setting: Setting) -> list[Check]:
    """MARINA, constant γ and p, no l1, f smooth and bounded below, equal start, every step recorded, small γ."""
    return in_order(setting, marina, *ABOUT_RUN, step_size)


def marina(setting: Setting) -> Check:
    """The algorithm is MARINA."""
    return Check("algorithm", setting.kind is simlab.MARINA, f"{setting.kind.__name__}; the theorem is about MARINA")


def step_size(setting: Setting) -> Check:
    """γ <= 1/(L(1 + √((1 − p)a/p)))."""
    compressor, probability = setting.value("compressor"), float(setting.value("probability"))
    variance = check_unbiased(compressor, setting.problem.dim)
    averaged = variance if getattr(compressor, "shared", False) else variance / setting.problem.n_nodes
    lr, most = float(setting.value("lr")), float(largest_step(setting.problem.smoothness, averaged, probability))
    return Check("step size", lr <= most * (1 + 1e-12), f"γ = {lr:.4g}, must be <= {most:.4g}")


def largest_step(smoothness: Any, averaged_variance: Any, probability: Any) -> Any:
    """1/(L(1 + √((1 − p)a/p)))."""
    return 1 / (smoothness * (1 + np.sqrt((1 - probability) * averaged_variance / probability)))


def constants(setting: Setting) -> dict[str, Any]:
    """γ, K and f(x⁰) − f_inf."""
    assert setting.start is not None  # consensual_start holds
    gap = setting.start.loss - setting.problem.lower_bound
    return {"lr": float(setting.value("lr")), "steps": setting.steps, "initial_gap": gap}


def bound(lr: Any, steps: Any, initial_gap: Any) -> Any:
    """Bound on (1/K)ΣE‖∇f(x_k)‖²."""
    return 2 * initial_gap / (lr * steps)


THEOREMS = (
    Theorem(
        "MARINA",
        "(1/K) sum E||∇f(x)||^2 <= 2(f(x^0)-f_inf)/(γK)",
        "Gorbunov et al., ICML 2021, Theorem 2.1; re-derived",
        assumptions,
        constants,
        bound,
        mean_gradient_norm,
        changing=True,
    ),
)
