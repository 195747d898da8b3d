"""One-peer exponential networks: a few steps average exactly, and what that does to a disagreement.

Setting: at step k each of n = 2^τ nodes averages with what it receives from i − 2^(k mod τ), weights ½. The product
of any τ consecutive matrices is J, in any order of the hops: 2^τ paths lead from one node to each other one exactly
once.

DSGD in ATC form, every f_i L-smooth, all else as of D1, then forgets every gradient after τ − 1 steps. With
γ(τ − 1)L < 1, at every step

    E(1/n)‖X̃_k‖² <= [(γ(τ − 1)ς + γ√(τ − 1) σ)/(1 − γ(τ − 1)L)]².

Nothing in it is a spectral gap; τ = log₂n. One step reaches J on two nodes: the bound is 0.

Constants: derived for this project. X̃_k = −γΣ_j P_jG̃_{k−j}, P_j the product of the last j matrices, 1 <= j < τ,
since P_τ = J; none expands a disagreement, nor depends on chance. ‖(I − J)F'(X)‖ <= L‖X̃‖ + √n ς; noise of different
steps is orthogonal; so e <= γ(τ − 1)(Le + ς) + γ√(τ − 1)σ at the largest e.

Reference: derived for this project; the exact average is of B. Ying et al., Exponential graph is provably efficient for
decentralized deep training, NeurIPS 2021, Lemma 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simlab import dynamics
from theory.theorems.dpsgd import bounded_dissimilarity, bounded_variance
from theory.theorems.random_mixing import gossip_sgd
from theory.theorems.suprema import gradient_dissimilarity, gradient_variance
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    in_order,
    last,
    smooth,
)


def assumptions(setting: Setting) -> list[Check]:
    """DSGD (ATC) on a one-peer exponential network of 2^τ nodes, constant γ(τ − 1)L < 1; as D1 of f and the start."""
    return in_order(
        setting,
        gossip_sgd,
        adapt_then_combine,
        one_peer,
        constant_hyperparameters,
        smooth,
        bounded_dissimilarity,
        bounded_variance,
        consensual_start,
        small_step,
    )


def adapt_then_combine(setting: Setting) -> Check:
    """The gradient step is sent."""
    order = setting.value("order")
    return Check("form", order == "atc", f"order = {order!r}; the theorem is about 'atc'")


def one_peer(setting: Setting) -> Check:
    """The network is one-peer exponential, of a power of 2 nodes."""
    network, n = setting.network, setting.network.n_nodes
    fits = isinstance(network, dynamics.tables.OnePeer) and n & (n - 1) == 0
    return Check("one-peer exponential", fits, f"{network.name}; one_peer_exponential(n), n a power of 2")


def small_step(setting: Setting) -> Check:
    """γ(τ − 1)L < 1."""
    c = constants(setting)
    product = c["lr"] * (c["hops"] - 1) * c["smoothness"]
    return Check("small step", product < 1, f"γ(τ − 1)L = {product:.4g}, must be < 1")


def constants(setting: Setting) -> dict[str, Any]:
    """γ, L, τ, ς² and σ²."""
    problem = setting.problem
    return {
        "lr": float(setting.value("lr")),
        "smoothness": problem.smoothness,
        "hops": max(1, setting.network.n_nodes.bit_length() - 1),
        "dissimilarity": gradient_dissimilarity(problem).value,
        "variance": gradient_variance(problem, setting.batch_size, setting.noise_std).value,
    }


def bound(lr: Any, smoothness: Any, hops: Any, dissimilarity: Any, variance: Any) -> Any:
    """Bound on E(1/n)‖X̃_k‖² of every step."""
    left = hops - 1
    return (lr * (left * np.sqrt(dissimilarity) + np.sqrt(left * variance)) / (1 - lr * left * smoothness)) ** 2


def hop(n_nodes: int, k: int) -> np.ndarray:
    """W_k, (n, n)."""
    return (np.eye(n_nodes) + np.roll(np.eye(n_nodes), 2 ** (k % (n_nodes - 1).bit_length()), axis=0)) / 2


THEOREMS = (
    Theorem(
        "one-peer, consensus",
        "E (1/n)||X_K - 1x̄'||^2 <= [(γ(τ-1)ς + γ sqrt(τ-1) σ)/(1 - γ(τ-1)L)]^2, n = 2^τ",
        "Derived for this project; exact averages of Ying et al., NeurIPS 2021",
        assumptions,
        constants,
        bound,
        lambda trace: last(trace, "consensus"),
        changing=True,
    ),
)
