"""Critical consensus distance: how far apart nodes may be, and SGD is as fast as with exact averages.

Setting: x̄⁺ = x̄ − γḡ (DSGD, or ConsensusControl, over a doubly stochastic W) for K steps; every f_i L-smooth; f >=
f_inf; unbiased stochastic gradients, independent between nodes, of variance at most σ² on average over nodes; γL <=
1. With Ξ² = (1/n)‖X̃‖², the consensus distance of a step,

    (1/K)ΣE(‖∇f(x̄_k)‖² − L²Ξ_k²) <= 2(f(x̄⁰) − f_inf)/(γK) + γLσ²/n.

So if Ξ_k² <= Γ_k² = γσ²/(Ln) + ‖∇f(x̄_k)‖²/(8L²) at every step, then (1/K)ΣE‖∇f(x̄_k)‖² <= (16/7)[(f(x̄⁰) −
f_inf)/(γK) + γLσ²/n]: that of parallel SGD, but for factors 8/7 and 16/7.

Constants: derived for this project. Descent on x̄⁺ = x̄ − γḡ, as of D1 (`theory.theorems.random_mixing`), before the
disagreement is bounded; attained by one step at γ = 1/L, f = Lx²/2.

Reference: L. Kong, T. Lin, A. Koloskova, M. Jaggi, S. U. Stich, Consensus control for decentralized deep learning,
ICML 2021, whose critical distance this is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.trace import Trace
from theory.theorems.dpsgd import bounded_below, bounded_variance, every_step_recorded, step_size
from theory.theorems.random_mixing import descent
from theory.theorems.suprema import gradient_variance
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    constant_hyperparameters,
    in_order,
    no_l1_term,
    nouns,
    smooth,
)


def assumptions(setting: Setting) -> list[Check]:
    """DSGD or ConsensusControl, constant γ <= 1/L, no l1, f smooth and bounded below, σ finite, all recorded."""
    return in_order(
        setting,
        gossip_sgd,
        constant_hyperparameters,
        no_l1_term,
        smooth,
        bounded_below,
        every_step_recorded,
        step_size,
        bounded_variance,
    )


def gossip_sgd(setting: Setting) -> Check:
    """The algorithm is DSGD or ConsensusControl."""
    fits = setting.kind in (simlab.DSGD, simlab.ConsensusControl)
    return Check("algorithm", fits, f"{setting.kind.__name__}; the theorem is about DSGD and ConsensusControl")


def constants(setting: Setting) -> dict[str, Any]:
    """γ, L, K, n, f(x̄⁰) − f_inf and σ²."""
    assert setting.start is not None
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "smoothness": problem.smoothness,
        "steps": setting.steps,
        "n_nodes": problem.n_nodes,
        "initial_gap": setting.start.loss - problem.lower_bound,
        "variance": gradient_variance(problem, setting.batch_size, setting.noise_std).value,
    }


def bound(lr: Any, smoothness: Any, steps: Any, n_nodes: Any, initial_gap: Any, variance: Any) -> Any:
    """Bound on (1/K)ΣE(‖∇f(x̄_k)‖² − L²Ξ_k²)."""
    return descent(lr, smoothness, steps, n_nodes, initial_gap, variance)


def critical_distance(lr: Any, smoothness: Any, n_nodes: Any, variance: Any, squared_gradient_norm: Any) -> Any:
    """Γ = √(γσ²/(Ln) + ‖∇f(x̄)‖²/(8L²))."""
    return np.sqrt(lr * variance / (smoothness * n_nodes) + squared_gradient_norm / (8 * smoothness**2))


def mean_excess(trace: Trace) -> np.ndarray:
    """(1/K)Σ_{k<K}(‖∇f(x̄_k)‖² − L²Ξ_k²) of each replicate."""
    rows = trace.frame[trace.frame["step"] < trace.provenance["steps"]]
    excess = rows["squared_gradient_norm"] - nouns(trace)[0].smoothness ** 2 * rows["consensus"]
    return excess.groupby(rows["replicate"]).mean().to_numpy()


THEOREMS = (
    Theorem(
        "critical consensus distance",
        "(1/K) sum E(||∇f(x̄)||^2 - L²||X - 1x̄'||^2/n) <= 2(f(x̄^0)-f_inf)/(γK) + γLσ²/n",
        "Derived for this project, after Kong et al., ICML 2021",
        assumptions,
        constants,
        bound,
        mean_excess,
    ),
)
