"""DoubleSqueeze: error feedback on both ways through a server.

Setting: Q_i = C(g_i + e_i), S = (1/n)ΣQ_i + E, x⁺ = x − γC(S); e_i⁺ = g_i + e_i − Q_i, E⁺ = S − C(S); all else as of
error feedback (`theory.theorems.error_feedback`), r = √(1 − ω). With D = 1 − γL − 4γ²L²r²/(1 − r)⁴ > 0,

    (1/K)ΣE‖∇f(x_k)‖² <= [2(f(x⁰) − f_inf)/(γK) + γLσ²/n + 4γ²L²r²(ς²/(1 − r)⁴ + σ²/(1 − r)³)]/D.

Constants: derived for this project. x̃ = x − γ(E + (1/n)Σe_i) moves as x̃⁺ = x̃ − γḡ, so that descent is that of
error feedback with E + ē for ē/γ. Memories, as root mean squares over nodes, steps and outcomes: s of the nodes' is
that of error feedback, s² <= r²[h²/(1 − r)² + σ²/(1 − r)] =: s₀², and their messages' is at most (1 + r) that of g +
e, which is at most s₀/r. So the server's is at most r(its own + (1 + r)s₀/r), hence (1 + r)s₀/(1 − r); both together
2s₀/(1 − r).

Reference: derived for this project; the method is of H. Tang, C. Yu, X. Lian, T. Zhang, J. Liu, DoubleSqueeze:
parallel stochastic gradient descent with double-pass error-compensated compression, ICML 2019, who assume bounded
errors of C.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from theory.theorems.dpsgd import bounded_dissimilarity, bounded_variance, mean_gradient_norm
from theory.theorems.error_feedback import ABOUT_RUN
from theory.theorems.local_updates import about_f
from theory.theorems.random_mixing import descent
from theory.theorems.theorem import Check, Setting, Theorem, in_order


def assumptions(setting: Setting) -> list[Check]:
    """DoubleSqueeze, constant γ with D > 0, no l1, f, dissimilarity and variance bounded, equal start, all recorded."""
    return in_order(setting, double_squeeze, *ABOUT_RUN, bounded_dissimilarity, bounded_variance, positive_factor)


def double_squeeze(setting: Setting) -> Check:
    """The algorithm is DoubleSqueeze."""
    fits = setting.kind is simlab.DoubleSqueeze
    return Check("algorithm", fits, f"{setting.kind.__name__}; the theorem is about DoubleSqueeze")


def positive_factor(setting: Setting) -> Check:
    """D > 0."""
    c = constants(setting)
    found = float(factor(c["lr"], c["smoothness"], c["compression"]))
    return Check("positive D", found > 0, f"D = {found:.4g}; take a smaller γ")


def constants(setting: Setting) -> dict[str, Any]:
    """Those about f, and ω of the compressor."""
    return {**about_f(setting), "compression": float(setting.value("compressor").contraction(setting.problem.dim))}


def memory_bound(dissimilarity: Any, variance: Any, compression: Any) -> Any:
    """4r²(ς²/(1 − r)⁴ + σ²/(1 − r)³), what is remembered at both ends."""
    r = np.sqrt(1 - compression)
    return 4 * r**2 * (dissimilarity / (1 - r) ** 4 + variance / (1 - r) ** 3)


def factor(lr: Any, smoothness: Any, compression: Any) -> Any:
    """D = 1 − γL − 4γ²L²r²/(1 − r)⁴."""
    return 1 - lr * smoothness - memory_bound((lr * smoothness) ** 2, 0.0, compression)


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
    left_out = (lr * smoothness) ** 2 * memory_bound(dissimilarity, variance, compression)
    right = descent(lr, smoothness, steps, n_nodes, initial_gap, variance) + left_out
    return right / factor(lr, smoothness, compression)


THEOREMS = (
    Theorem(
        "DoubleSqueeze",
        "(1/K) sum E||∇f(x)||^2 <= [2(f(x^0)-f_inf)/(γK) + γLσ²/n + 4γ²L²r²(ς²/(1-r)^4 + σ²/(1-r)^3)]/D, r = √(1-ω)",
        "Derived for this project; method of Tang et al., ICML 2019",
        assumptions,
        constants,
        bound,
        mean_gradient_norm,
        changing=True,
    ),
)
