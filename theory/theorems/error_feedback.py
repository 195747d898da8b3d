"""Error feedback (EF-SGD): SGD whose compressed messages remember what they left out.

Setting: P = γG + E, X⁺ = X − JC(P), E⁺ = P − C(P) at every node (EFSignSGD without momentum, C its scaled sign) for K
steps, all nodes starting at one point x⁰ with E = 0, so that they stay together; E‖C(v) − v‖² <= (1 − ω)‖v‖², r =
√(1 − ω); every f_i L-smooth; f >= f_inf; unbiased stochastic gradients, independent between nodes, of variance at most
σ² on average over nodes; (1/n)Σ‖∇f_i(x) − ∇f(x)‖² <= ς² for all x. With D = 1 − γL − γ²L²r²/(1 − r)² > 0,

    (1/K)ΣE‖∇f(x_k)‖² <= [2(f(x⁰) − f_inf)/(γK) + γLσ²/n + γ²L²r²(ς²/(1 − r)² + σ²/(1 − r))]/D.

Where stochastic gradients have a second moment of at most G² on average over nodes, at all x,

    (1/K)ΣE‖∇f(x_k)‖² <= 2(f(x⁰) − f_inf)/(γK) + γLG² + γ²L²r²G²/(1 − r)²,

for any γ. As r/(1 − r) <= 2√(1 − ω)/ω, the last term is at most the published 4γ²L²(1 − ω)G²/ω².

Constants: derived for this project. With ē = (1/n)Σe_i, x̃ = x − ē moves as x̃⁺ = x̃ − γḡ, whatever C is; f(x̃⁺) <=
f(x̃) − (γ/2)‖∇f(x)‖² + (γ/2)L²‖ē‖² + (γ²L/2)E‖ḡ‖², E‖ḡ‖² <= ‖∇f(x)‖² + σ²/n. Memory: let s² be the mean of E‖e_i‖²
over nodes and steps, h² = (1/K)ΣE‖∇f(x_k)‖² + ς². Noise is independent of what is remembered, and E = 0 at the start,
so that s² <= r²[(s + γh)² + γ²σ²] by Minkowski's inequality over nodes, steps and outcomes at once; (s + γh)² <= s²/r
+ γ²h²/(1 − r) gives s² <= γ²r²[h²/(1 − r)² + σ²/(1 − r)]. With the second moment, s <= r(s + γG) at every step. That
is attained: C(v) = (1 − r)v and equal gradients (`memory_bound`).

Reference: derived for this project; the method is of S. P. Karimireddy, Q. Rebjock, S. Stich, M. Jaggi, Error feedback
fixes SignSGD and other gradient compression schemes, ICML 2019, whose Theorem II is the form with G².
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.compression import Sign
from theory.theorems.dpsgd import (
    bounded_below,
    bounded_dissimilarity,
    bounded_variance,
    every_step_recorded,
    mean_gradient_norm,
)
from theory.theorems.local_updates import about_f
from theory.theorems.random_mixing import descent
from theory.theorems.suprema import gradient_second_moment
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    in_order,
    no_l1_term,
    smooth,
)

ABOUT_RUN = (constant_hyperparameters, no_l1_term, smooth, bounded_below, consensual_start, every_step_recorded)


def assumptions(setting: Setting) -> list[Check]:
    """EFSignSGD without momentum, constant γ with D > 0, no l1, f, dissimilarity, variance bounded, equal start."""
    return in_order(setting, ef_sgd, *ABOUT_RUN, bounded_dissimilarity, bounded_variance, positive_factor)


def moment_assumptions(setting: Setting) -> list[Check]:
    """EFSignSGD without momentum, constant γ, no l1, f and second moment bounded, equal start, all recorded."""
    return in_order(setting, ef_sgd, *ABOUT_RUN, bounded_second_moment)


def ef_sgd(setting: Setting) -> Check:
    """The algorithm is EFSignSGD without momentum."""
    plain = setting.kind is simlab.EFSignSGD and setting.value("momentum") == 0
    return Check("algorithm", plain, f"{setting.algorithm!r}; the theorem is about EFSignSGD(lr)")


def bounded_second_moment(setting: Setting) -> Check:
    """G² is finite."""
    value, how = gradient_second_moment(setting.problem, setting.batch_size, setting.noise_std)
    return Check("bounded second moment", bool(np.isfinite(value)), f"G² = {value:.4g} ({how})")


def positive_factor(setting: Setting) -> Check:
    """D > 0."""
    c = constants(setting)
    found = float(factor(c["lr"], c["smoothness"], c["compression"]))
    return Check("positive D", found > 0, f"D = {found:.4g}; take a smaller γ")


def compression(setting: Setting) -> float:
    """ω of scaled signs of d numbers."""
    return float(Sign().contraction(setting.problem.dim))  # type: ignore[call-arg]


def constants(setting: Setting) -> dict[str, Any]:
    """Those about f, and ω of scaled signs of d numbers."""
    return {**about_f(setting), "compression": compression(setting)}


def moment_constants(setting: Setting) -> dict[str, Any]:
    """γ, L, K, f(x⁰) − f_inf, G² and ω."""
    assert setting.start is not None  # consensual_start holds
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "smoothness": problem.smoothness,
        "steps": setting.steps,
        "initial_gap": setting.start.loss - problem.lower_bound,
        "second_moment": gradient_second_moment(problem, setting.batch_size, setting.noise_std).value,
        "compression": compression(setting),
    }


def memory_bound(second_moment: Any, compression: Any) -> Any:
    """Bound r²G²/(1 − r)² on E(1/n)Σ‖e_i‖² where messages are of gradients (γ = 1); attained."""
    r = np.sqrt(1 - compression)
    return r**2 * second_moment / (1 - r) ** 2


def factor(lr: Any, smoothness: Any, compression: Any) -> Any:
    """D = 1 − γL − γ²L²r²/(1 − r)²."""
    return 1 - lr * smoothness - memory_bound((lr * smoothness) ** 2, compression)


def bound(
    lr: Any,
    smoothness: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
    compression: Any,
) -> Any:
    """Bound on (1/K)ΣE‖∇f(x_k)‖²."""
    r = np.sqrt(1 - compression)
    left_out = r**2 * (dissimilarity / (1 - r) ** 2 + variance / (1 - r))
    right = descent(lr, smoothness, steps, n_nodes, initial_gap, variance) + (lr * smoothness) ** 2 * left_out
    return right / factor(lr, smoothness, compression)


def moment_bound(lr: Any, smoothness: Any, steps: Any, initial_gap: Any, second_moment: Any, compression: Any) -> Any:
    """Bound on (1/K)ΣE‖∇f(x_k)‖² by the second moment."""
    left_out = memory_bound(second_moment, compression)
    return descent(lr, smoothness, steps, 1, initial_gap, second_moment) + (lr * smoothness) ** 2 * left_out


THEOREMS = (
    Theorem(
        "EF-SGD",
        "(1/K) sum E||∇f(x)||^2 <= [2(f(x^0)-f_inf)/(γK) + γLσ²/n + γ²L²r²(ς²/(1-r)² + σ²/(1-r))]/D, r = √(1-ω)",
        "Derived for this project; method of Karimireddy et al., ICML 2019",
        assumptions,
        constants,
        bound,
        mean_gradient_norm,
        changing=True,
    ),
    Theorem(
        "EF-SGD, bounded gradients",
        "(1/K) sum E||∇f(x)||^2 <= 2(f(x^0)-f_inf)/(γK) + γLG² + γ²L²r²G²/(1-r)², r = √(1-ω)",
        "Karimireddy et al., ICML 2019, Theorem II; derived, with a smaller constant",
        moment_assumptions,
        moment_constants,
        moment_bound,
        mean_gradient_norm,
        changing=True,
    ),
)
