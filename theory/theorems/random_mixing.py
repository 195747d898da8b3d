"""D1: gossip SGD whose mixing matrix is drawn anew at every step, on smooth, possibly nonconvex objectives.

Setting: X⁺ = W_k(X − γG(X)) (DSGD, ATC) or X⁺ = W_kX − γG(X) (CTA) for K steps, all nodes starting at one point x⁰;
every W_k doubly stochastic, independent of the past and of the step's gradients, E‖W_kX̃‖² <= (1 − p)‖X̃‖²; every f_i
L-smooth; f >= f_inf; unbiased stochastic gradients, independent between nodes, of variance at most σ² on average over
nodes; (1/n)Σ‖∇f_i(x) − ∇f(x)‖² <= ς² for all x. With r = √(1 − p) and

    q = r(1 + γL), u = rγς, v = rγσ (ATC)   or   q = r + γL, u = γς, v = γσ (CTA),   q < 1,

the disagreement of every step is bounded by the fixed point s of s² = (qs + u)² + v²:

    E(1/n)‖X̃_k‖² <= s²,   s = [qu + √(u² + (1 − q²)v²)]/(1 − q²),

and, with γL <= 1,

    (1/K)ΣE‖∇f(x̄_k)‖² <= 2(f(x⁰) − f_inf)/(γK) + γLσ²/n + L²s².

Explicitly, for γ <= min{1/L, p/(4Lr)} (ATC) or γ <= p/(4L) (CTA), s² <= c γ²(16ς²/p² + 4σ²/p), c = 1 − p or 1. It holds
for one fixed W, too, with p = 1 − ρ².

Constants: derived for this project. Descent on x̄⁺ = x̄ − γḡ gives f(x̄⁺) <= f(x̄) − (γ/2)‖∇f(x̄)‖² +
(γ/2)L²(1/n)‖X̃‖² + γ²Lσ²/(2n) in expectation as γL <= 1. Disagreement: ‖(I − J)F'(X)‖ <= L‖X̃‖ + √n ς; noise is
independent of what is there and of W_k; so s₊² <= (qs + u)² + v², which grows with s and starts at 0. The explicit
form: (qs + u)² <= qs² + u²/(1 − q) and 1 − q >= p/4. The consensus bound is attained by W fixed, gradients −Lx_i +
b_i.

Reference: derived for this project, in the setting of A. Koloskova et al., A unified theory of decentralized SGD with
changing topology and local updates, ICML 2020, whose constants are not explicit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from theory.mixing import mixing_parameter
from theory.theorems.dpsgd import (
    bounded_below,
    bounded_dissimilarity,
    bounded_variance,
    every_step_recorded,
    mean_gradient_norm,
    step_size,
)
from theory.theorems.suprema import gradient_dissimilarity, gradient_variance
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    in_order,
    independent_mixing,
    last,
    no_l1_term,
    smooth,
)


def consensus_assumptions(setting: Setting) -> list[Check]:
    """DSGD, constant γ, independent doubly stochastic W_k with p > 0, smooth, ς and σ bounded, equal start, q < 1."""
    return in_order(
        setting,
        gossip_sgd,
        constant_hyperparameters,
        independent_mixing,
        smooth,
        bounded_dissimilarity,
        bounded_variance,
        consensual_start,
        contracting,
    )


def sharper_assumptions(setting: Setting) -> list[Check]:
    """Those of the consensus bound; no l1 term, f bounded below, every step recorded, γL <= 1."""
    checks = consensus_assumptions(setting)
    if not all(check.holds for check in checks):
        return checks
    return [*checks, *in_order(setting, no_l1_term, bounded_below, every_step_recorded, step_size)]


def assumptions(setting: Setting) -> list[Check]:
    """Those of the sharper bound, and γ <= p/(4Lr) or p/(4L)."""
    checks = sharper_assumptions(setting)
    return [*checks, *in_order(setting, small_step)] if all(check.holds for check in checks) else checks


def gossip_sgd(setting: Setting) -> Check:
    """The algorithm is DSGD, in either form."""
    return Check("algorithm", setting.kind is simlab.DSGD, f"{setting.kind.__name__}; the theorem is about DSGD")


def contracting(setting: Setting) -> Check:
    """Q < 1."""
    c = consensus_constants(setting)
    factor = feedback(c["lr"], c["smoothness"], c["p"], c["atc"])
    return Check("contraction", factor < 1, f"q = {factor:.4g}, must be < 1: take a smaller γ")


def small_step(setting: Setting) -> Check:
    """γ is at most what the explicit form asks for."""
    c = consensus_constants(setting)
    most = largest_step(c["smoothness"], c["p"], c["atc"])
    return Check("small step", c["lr"] <= most, f"γ = {c['lr']:.4g}, must be <= {most:.4g}")


def consensus_constants(setting: Setting) -> dict[str, Any]:
    """γ, L, p, the form of the step, ς² and σ²; these suprema may be estimates, see `theory.theorems.suprema`."""
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "smoothness": problem.smoothness,
        "p": mixing_parameter(setting.network),
        "atc": setting.value("order") == "atc",
        "dissimilarity": gradient_dissimilarity(problem).value,
        "variance": gradient_variance(problem, setting.batch_size, setting.noise_std).value,
    }


def constants(setting: Setting) -> dict[str, Any]:
    """Those of the consensus bound, n, K and f(x⁰) − f_inf."""
    assert setting.start is not None  # consensual_start holds
    return {
        **consensus_constants(setting),
        "steps": setting.steps,
        "n_nodes": setting.problem.n_nodes,
        "initial_gap": setting.start.loss - setting.problem.lower_bound,
    }


def feedback(lr: Any, smoothness: Any, p: Any, atc: Any) -> Any:
    """The factor q."""
    r = np.sqrt(1 - p)
    return np.where(atc, r * (1 + lr * smoothness), r + lr * smoothness)


def largest_step(smoothness: Any, p: Any, atc: Any) -> Any:
    """γ up to which the explicit form holds."""
    with np.errstate(divide="ignore"):
        return np.where(atc, np.minimum(1, p / (4 * np.sqrt(1 - p))), p / 4) / smoothness


def consensus_bound(lr: Any, smoothness: Any, p: Any, atc: Any, dissimilarity: Any, variance: Any) -> Any:
    """Bound s² on E(1/n)‖X̃_k‖² of every step."""
    q = feedback(lr, smoothness, p, atc)
    scale = np.where(atc, 1 - p, 1.0) * lr**2
    u2, v2 = scale * dissimilarity, scale * variance
    return ((q * np.sqrt(u2) + np.sqrt(u2 + (1 - q**2) * v2)) / (1 - q**2)) ** 2


def explicit_consensus_bound(lr: Any, p: Any, atc: Any, dissimilarity: Any, variance: Any) -> Any:
    """Bound on s² for a small step."""
    return np.where(atc, 1 - p, 1.0) * lr**2 * (16 * dissimilarity / p**2 + 4 * variance / p)


def descent(lr: Any, smoothness: Any, steps: Any, n_nodes: Any, initial_gap: Any, variance: Any) -> Any:
    """2Δ/(γK) + γLσ²/n, to which every bound of this kind adds L² times a bound on the disagreement."""
    return 2 * initial_gap / (lr * steps) + lr * smoothness * variance / n_nodes


def sharper_bound(steps: Any, n_nodes: Any, initial_gap: Any, **about: Any) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖² by s²."""
    lr, smoothness = about["lr"], about["smoothness"]
    return descent(lr, smoothness, steps, n_nodes, initial_gap, about["variance"]) + smoothness**2 * consensus_bound(
        **about
    )


def bound(
    lr: Any,
    smoothness: Any,
    p: Any,
    atc: Any,
    dissimilarity: Any,
    variance: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖², explicitly."""
    disagreement = explicit_consensus_bound(lr, p, atc, dissimilarity, variance)
    return descent(lr, smoothness, steps, n_nodes, initial_gap, variance) + smoothness**2 * disagreement


SOURCE = "Derived for this project, in the setting of Koloskova et al., ICML 2020"

EXPLICIT = Theorem(
    "D1",
    "(1/K) sum E||∇f(x̄)||^2 <= 2(f(x^0)-f_inf)/(γK) + γLσ²/n + cγ²L²(16ς²/p² + 4σ²/p), c = 1-p (ATC) or 1 (CTA)",
    SOURCE,
    assumptions,
    constants,
    bound,
    mean_gradient_norm,
    changing=True,
)

SHARPER = Theorem(
    "D1, sharper",
    "(1/K) sum E||∇f(x̄)||^2 <= 2(f(x^0)-f_inf)/(γK) + γLσ²/n + L²s²",
    SOURCE,
    sharper_assumptions,
    constants,
    sharper_bound,
    mean_gradient_norm,
    changing=True,
)

CONSENSUS = Theorem(
    "D1, consensus",
    "E (1/n)||X_K - 1x̄'||^2 <= s², the fixed point of s² = (qs + u)² + v²",
    SOURCE,
    consensus_assumptions,
    consensus_constants,
    consensus_bound,
    lambda trace: last(trace, "consensus"),
    changing=True,
)

THEOREMS = (EXPLICIT, SHARPER, CONSENSUS)
