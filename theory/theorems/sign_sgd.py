"""signSGD with majority vote: a neighbourhood that does not shrink with γ where nodes differ or gradients are noisy.

Setting: x⁺ = x − γ sign(Σ_i sign(g_i)) for K steps (SignSGD without momentum), all nodes starting at one point x⁰;
every f_i L-smooth; f >= f_inf; unbiased stochastic gradients, independent between nodes, of variance at most σ² on
average over nodes; (1/n)Σ‖∇f_i(x) − ∇f(x)‖² <= ς² for all x. For any γ and any distribution of the noise

    (1/K)ΣE‖∇f(x_k)‖₁ <= (f(x⁰) − f_inf)/(γK) + γLd/2 + 2√d(√(ς² + σ²) + σ/√n).

Constants: derived for this project. f(x⁺) <= f(x) − γ⟨∇f(x), s⟩ + γ²Ld/2, s the vote. Where the vote on an entry has
not the sign of the mean ḡ of the nodes' entries, at least half of the nodes are at least |ḡ| away from it, all to one
side, and deviations to both sides are equal in sum: |ḡ| <= (1/n)Σ|g_i − ḡ|. So ⟨ḡ, s⟩ >= ‖ḡ‖₁ − 2(1/n)Σ‖g_i − ḡ‖₁,
and the two expectations are at most √d√(ς² + σ²) and, of ‖ḡ − ∇f‖₁, which enters twice, √d σ/√n. Without differences
and noise it is attained by one step, at γ = |x|, f = Lx²/2. Verdicts measure ‖∇f‖, which is at most ‖∇f‖₁.

Reference: derived for this project; the method is of J. Bernstein, J. Zhao, K. Azizzadenesheli, A. Anandkumar, signSGD
with majority vote is communication efficient and fault tolerant, ICLR 2019, who assume equal nodes and unimodal
symmetric noise and get a bound that vanishes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.trace import Trace
from theory.theorems.dpsgd import bounded_dissimilarity, bounded_variance
from theory.theorems.error_feedback import ABOUT_RUN
from theory.theorems.local_updates import about_f
from theory.theorems.theorem import Check, Setting, Theorem, in_order


def assumptions(setting: Setting) -> list[Check]:
    """SignSGD without momentum, constant γ, no l1, f, dissimilarity and variance bounded, equal start, all recorded."""
    return in_order(setting, sign_sgd, *ABOUT_RUN, bounded_dissimilarity, bounded_variance)


def sign_sgd(setting: Setting) -> Check:
    """The algorithm is SignSGD without momentum."""
    plain = setting.kind is simlab.SignSGD and setting.value("momentum") == 0
    return Check("algorithm", plain, f"{setting.algorithm!r}; the theorem is about SignSGD(lr)")


def constants(setting: Setting) -> dict[str, Any]:
    """Those about f, and d."""
    return {**about_f(setting), "dim": setting.problem.dim}


def bound(
    lr: Any,
    smoothness: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
    dim: Any,
) -> Any:
    """Bound on (1/K)ΣE‖∇f(x_k)‖₁."""
    wrong = np.sqrt(dissimilarity + variance) + np.sqrt(variance / n_nodes)
    return initial_gap / (lr * steps) + lr * smoothness * dim / 2 + 2 * np.sqrt(dim) * wrong


def mean_gradient_length(trace: Trace) -> np.ndarray:
    """(1/K)Σ_{k<K} ‖∇f(x̄_k)‖ of each replicate."""
    rows = trace.frame[trace.frame["step"] < trace.provenance["steps"]]
    return np.sqrt(rows["squared_gradient_norm"]).groupby(rows["replicate"]).mean().to_numpy()


THEOREMS = (
    Theorem(
        "signSGD",
        "(1/K) sum E||∇f(x)||_1 <= (f(x^0)-f_inf)/(γK) + γLd/2 + 2√d(√(ς²+σ²) + σ/√n); measured: ||∇f(x)||",
        "Derived for this project; method of Bernstein et al., ICLR 2019",
        assumptions,
        constants,
        bound,
        mean_gradient_length,
        changing=True,
    ),
)
