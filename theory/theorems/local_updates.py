"""D2: SGD with local steps, exchanging only now and then, on smooth, possibly nonconvex objectives.

Setting: as of D1, but in windows of τ steps: mixing comes anywhere in a window, no factor expands a disagreement, and
the product P over each window (from the run's first step on) has E‖PX̃‖² <= (1 − p)‖X̃‖². For γ <= p/(8τL),

    (1/K)ΣE‖∇f(x̄_k)‖² <= 2(f(x⁰) − f_inf)/(γK) + γLσ²/n + γ²L²(46τ²ς²/p² + 12τσ²/p).

Where each window ends in an exact average (Local SGD; Gossip-PGA of period τ, whose gossip between only helps), for
γ <= 1/(2τL)

    (1/K)ΣE‖∇f(x̄_k)‖² <= 2(f(x⁰) − f_inf)/(γK) + γLσ²/n + γ²L²((4/3)(τ−1)(2τ−1)ς² + 2(τ−1)σ²),

which is parallel SGD at τ = 1.

Constants: derived for this project. Let e_t² = E(1/n)‖X̃_t‖², v = γ√τσ, u = γτς. Within a window e_t <= √(e₀² + v²) +
u + γLΣe_j, so that max e <= (8/7)(√(e₀² + v²) + u); at its end e_τ <= √((1 − p)e₀² + v²) + (8/7)u + (p/7)√(e₀² + v²),
as noise is orthogonal to the disagreement before it. Minkowski's inequality in R² and (√y + u)² <= y/θ + u²/(1 − θ),
θ = 1 − 5p/28, give e₀² <= 3.6v²/p + 16.6u²/p² at the start of every window.

Reference: derived for this project, in the setting of A. Koloskova et al., A unified theory of decentralized SGD with
changing topology and local updates, ICML 2020, whose constants are not explicit.
"""

from __future__ import annotations

from typing import Any

import simlab
from theory.mixing import mixing_window
from theory.theorems.dpsgd import (
    bounded_below,
    bounded_dissimilarity,
    bounded_variance,
    every_step_recorded,
    mean_gradient_norm,
)
from theory.theorems.random_mixing import SOURCE, descent, gossip_sgd
from theory.theorems.suprema import gradient_dissimilarity, gradient_variance
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    in_order,
    no_l1_term,
    periodic_mixing,
    smooth,
)

ABOUT_F = (
    constant_hyperparameters,
    no_l1_term,
    smooth,
    bounded_below,
    bounded_dissimilarity,
    bounded_variance,
    consensual_start,
    every_step_recorded,
)


def assumptions(setting: Setting) -> list[Check]:
    """DSGD on a periodic network whose windows have p > 0, constant γ <= p/(8τL); as D1 of f and the run."""
    return in_order(setting, gossip_sgd, periodic_mixing, *ABOUT_F, small_step)


def average_assumptions(setting: Setting) -> list[Check]:
    """LocalSGD without momentum, constant γ <= 1/(2τL); as D1 of f and the run."""
    return in_order(setting, local_sgd, *ABOUT_F, average_small_step)


def local_sgd(setting: Setting) -> Check:
    """The algorithm is LocalSGD without momentum."""
    plain = setting.kind is simlab.LocalSGD and setting.value("momentum") == 0
    return Check("algorithm", plain, f"{setting.algorithm!r}; the theorem is about LocalSGD(lr, local_steps)")


def small_step(setting: Setting) -> Check:
    """γ <= p/(8τL)."""
    window = mixing_window(setting.network)
    lr, most = float(setting.value("lr")), window.p / (8 * window.steps * setting.problem.smoothness)
    return Check("small step", lr <= most, f"γ = {lr:.4g}, must be <= p/(8τL) = {most:.4g}")


def average_small_step(setting: Setting) -> Check:
    """γ <= 1/(2τL)."""
    return between_averages(setting, setting.value("local_steps"))


def between_averages(setting: Setting, steps: int) -> Check:
    """γ <= 1/(2τL) with τ `steps`."""
    lr, most = float(setting.value("lr")), 1 / (2 * steps * setting.problem.smoothness)
    return Check("small step", lr <= most, f"γ = {lr:.4g}, must be <= 1/(2τL) = {most:.4g}")


def about_f(setting: Setting) -> dict[str, Any]:
    """γ, L, K, n, f(x⁰) − f_inf, ς² and σ²."""
    assert setting.start is not None  # consensual_start holds
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "smoothness": problem.smoothness,
        "steps": setting.steps,
        "n_nodes": problem.n_nodes,
        "initial_gap": setting.start.loss - problem.lower_bound,
        "dissimilarity": gradient_dissimilarity(problem).value,
        "variance": gradient_variance(problem, setting.batch_size, setting.noise_std).value,
    }


def constants(setting: Setting) -> dict[str, Any]:
    """Those about f, p and τ of the network's windows."""
    window = mixing_window(setting.network)
    return {**about_f(setting), "window": window.steps, "p": window.p}


def average_constants(setting: Setting) -> dict[str, Any]:
    """Those about f, and τ."""
    return {**about_f(setting), "window": setting.value("local_steps")}


def bound(
    lr: Any,
    smoothness: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
    window: Any,
    p: Any,
) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖²."""
    spread = 46 * window**2 * dissimilarity / p**2 + 12 * window * variance / p
    return descent(lr, smoothness, steps, n_nodes, initial_gap, variance) + (lr * smoothness) ** 2 * spread


def average_bound(
    lr: Any,
    smoothness: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
    window: Any,
) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖² where each window ends in an exact average."""
    spread = (window - 1) * ((4 / 3) * (2 * window - 1) * dissimilarity + 2 * variance)
    return descent(lr, smoothness, steps, n_nodes, initial_gap, variance) + (lr * smoothness) ** 2 * spread


LOCAL_UPDATES = Theorem(
    "D2",
    "(1/K) sum E||∇f(x̄)||^2 <= 2(f(x^0)-f_inf)/(γK) + γLσ²/n + γ²L²(46τ²ς²/p² + 12τσ²/p)",
    SOURCE,
    assumptions,
    constants,
    bound,
    mean_gradient_norm,
    changing=True,
)

LOCAL_SGD = Theorem(
    "D2 for local SGD",
    "(1/K) sum E||∇f(x̄)||^2 <= 2(f(x^0)-f_inf)/(γK) + γLσ²/n + γ²L²((4/3)(τ-1)(2τ-1)ς² + 2(τ-1)σ²)",
    SOURCE,
    average_assumptions,
    average_constants,
    average_bound,
    mean_gradient_norm,
    changing=True,
)

THEOREMS = (LOCAL_UPDATES, LOCAL_SGD)
