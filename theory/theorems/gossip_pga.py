"""Gossip SGD with a periodic exact average: the better of what gossip and what the averages alone give.

Setting: X⁺ = J(X − γG) at every H-th step, W(X − γG) at the others (GossipPGA), all else as of D1. An exact average
contracts more than W does, so that D1 holds with p of W; and gossip does not expand a disagreement, so that the bound
of local SGD holds with τ = H. The smaller of those whose step size is allowed bounds (1/K)ΣE‖∇f(x̄_k)‖².

Constants: derived for this project, see `theory.theorems.random_mixing` (its sharper form) and
`theory.theorems.local_updates`.

Reference: derived for this project; the method is of Y. Chen et al., Accelerating gossip SGD with periodic global
averaging, ICML 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from theory.mixing import mixing_parameter
from theory.theorems import local_updates, random_mixing
from theory.theorems.dpsgd import mean_gradient_norm
from theory.theorems.local_updates import ABOUT_F, about_f
from theory.theorems.theorem import Check, Setting, Theorem, in_order, independent_mixing


def assumptions(setting: Setting) -> list[Check]:
    """GossipPGA with constant γ that one of the two bounds allows, independent W_k; as D1 of f and the run."""
    return in_order(setting, gossip_pga, independent_mixing, *ABOUT_F, allowed_step)


def gossip_pga(setting: Setting) -> Check:
    """The algorithm is GossipPGA."""
    fits = setting.kind is simlab.GossipPGA
    return Check("algorithm", fits, f"{setting.kind.__name__}; the theorem is about GossipPGA")


def allowed_step(setting: Setting) -> Check:
    """γ <= 1/L with q < 1, or γ <= 1/(2HL)."""
    c = constants(setting)
    allowed = bool(np.isfinite(bound(**c)))
    return Check("step size", allowed, f"γL = {c['lr'] * c['smoothness']:.4g}; take a smaller γ")


def constants(setting: Setting) -> dict[str, Any]:
    """Those about f, H and p of the network."""
    return {**about_f(setting), "period": setting.value("period"), "p": mixing_parameter(setting.network)}


def bound(
    lr: Any,
    smoothness: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
    period: Any,
    p: Any,
) -> Any:
    """The smaller bound of those that hold; infinite if none does."""
    start = {"lr": lr, "smoothness": smoothness, "steps": steps, "n_nodes": n_nodes, "initial_gap": initial_gap}
    spread = {"dissimilarity": dissimilarity, "variance": variance}
    with np.errstate(invalid="ignore", divide="ignore"):
        gossip = random_mixing.sharper_bound(**start, **spread, p=p, atc=True)
    averages = local_updates.average_bound(**start, **spread, window=period)
    mixes = (lr * smoothness <= 1) & (random_mixing.feedback(lr, smoothness, p, True) < 1)
    short = lr <= 1 / (2 * period * smoothness)
    return np.minimum(np.where(mixes, gossip, np.inf), np.where(short, averages, np.inf))


THEOREMS = (
    Theorem(
        "Gossip-PGA",
        "(1/K) sum E||∇f(x̄)||^2 <= the smaller of D1, sharper, with p of W and D2 for local SGD, with τ = H",
        "Derived for this project; method of Chen et al., ICML 2021",
        assumptions,
        constants,
        bound,
        mean_gradient_norm,
        changing=True,
    ),
)
