"""Decentralized gradient descent with a constant step: bounded gradients, bounded disagreement.

Setting: X⁺ = WX − γF'(X) (DSGD in CTA form), exact gradients, every f_i L-smooth with f_i >= f_i*, all nodes starting
at one point x⁰, γ <= (1 + λₙ)/L. Then for all k, with D² = 2L Σ(f_i(x⁰) − f_i*),

    ‖F'(X_k)‖² = Σ‖∇f_i(x_i)‖² <= D²   and   ‖X̃_k‖ <= γD/(1 − ρ),   so that (1/n)‖X̃_k‖² <= γ²D²/(n(1 − ρ)²).

Constants: re-derived. The algorithm is gradient descent with step γ on ξ(X) = Σf_i(x_i) + ⟨X, (I − W)X⟩/(2γ), which is
(L + (1 − λₙ)/γ)-smooth, so that γ <= (1 + λₙ)/L makes ξ decrease: Σf_i(x_i) <= ξ(X_k) <= ξ(X_0) = Σf_i(x⁰), and
‖∇f_i‖² <= 2L(f_i − f_i*). The disagreement is −γΣ_j (W^{k−1−j} − J)F'(X_j), a geometric sum. The derivation needs
less than the paper states and gives more: the f_i need not be convex, x⁰ need not be 0, and the bound holds for the
norm of all rows together, not only for each row.

Reference: K. Yuan, Q. Ling, W. Yin, On the convergence of decentralized gradient descent, SIAM J. Optim. 26, 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
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
    smooth,
)


def assumptions(setting: Setting) -> list[Check]:
    """DSGD in CTA form, exact gradients, constant γ <= (1 + λₙ)/L, smooth f_i bounded below, no l1, equal start."""
    return in_order(
        setting,
        combine_then_adapt,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        smooth,
        bounded_below,
        consensual_start,
        step_size,
    )


def combine_then_adapt(setting: Setting) -> Check:
    """The algorithm is DSGD in its combine-then-adapt form."""
    matches = setting.kind is simlab.DSGD and setting.value("order") == "cta"
    return Check("algorithm", matches, f"{setting.kind.__name__}; the theorem is about DSGD(order='cta')")


def bounded_below(setting: Setting) -> Check:
    """Every f_i has a finite infimum."""
    try:
        least = float(np.min(setting.problem.node_minimum))
    except (AttributeError, NotImplementedError, ValueError, np.linalg.LinAlgError) as error:
        return Check("bounded below", False, f"no infimum of every f_i is known: {error}")
    return Check("bounded below", bool(np.isfinite(least)), f"least infimum of an f_i {least:.4g}")


def step_size(setting: Setting) -> Check:
    """γ <= (1 + λₙ)/L."""
    largest = (1 + setting.network.smallest_eigenvalue) / setting.problem.smoothness
    lr = float(setting.value("lr"))
    return Check("step size", lr <= largest * (1 + 1e-12), f"γ = {lr:.4g}, must be <= (1 + λₙ)/L = {largest:.4g}")


def gradient_constants(setting: Setting) -> dict[str, Any]:
    """L and Σ(f_i(x⁰) − f_i*)."""
    assert setting.start is not None  # consensual_start holds
    problem = setting.problem
    return {
        "smoothness": problem.smoothness,
        "initial_gap": problem.n_nodes * setting.start.loss - float(np.sum(problem.node_minimum)),
    }


def consensus_constants(setting: Setting) -> dict[str, Any]:
    """Those of the gradients, γ, n and ρ."""
    return {
        **gradient_constants(setting),
        "lr": float(setting.value("lr")),
        "n_nodes": setting.problem.n_nodes,
        "rho": setting.network.rho,
    }


def gradient_bound(smoothness: Any, initial_gap: Any) -> Any:
    """Bound D² = 2LΣ(f_i(x⁰) − f_i*) on Σ‖∇f_i(x_i)‖²."""
    return 2 * smoothness * initial_gap


def consensus_bound(smoothness: Any, initial_gap: Any, lr: Any, n_nodes: Any, rho: Any) -> Any:
    """Bound γ²D²/(n(1−ρ)²) on (1/n)‖X̃_k‖²."""
    return lr**2 * gradient_bound(smoothness, initial_gap) / (n_nodes * (1 - rho) ** 2)


def final_gradients(trace: Trace) -> np.ndarray:
    """Σ‖∇f_i(x_i)‖² at the final states; those of other steps are not recorded."""
    problem, _, _ = nouns(trace)
    return np.sum(problem.gradient(trace.x.astype(np.float64)) ** 2, axis=(-2, -1))


def largest_consensus(trace: Trace) -> np.ndarray:
    """Largest recorded (1/n)‖X̃_k‖² of each replicate."""
    return trace.frame.groupby("replicate")["consensus"].max().to_numpy()


REFERENCE = "Yuan, Ling, Yin, SIAM J. Optim. 26, 2016; re-derived"

GRADIENTS = Theorem(
    "DGD, gradients",
    "sum ||∇f_i(x_i)||^2 <= D^2 = 2L sum (f_i(x^0) - f_i*) at every step",
    REFERENCE,
    assumptions,
    gradient_constants,
    gradient_bound,
    final_gradients,
)

CONSENSUS = Theorem(
    "DGD, consensus",
    "(1/n)||X - 1x̄'||^2 <= (γ D/(1 - ρ))^2/n at every step",
    REFERENCE,
    assumptions,
    consensus_constants,
    consensus_bound,
    largest_consensus,
)

THEOREMS = (CONSENSUS, GRADIENTS)
