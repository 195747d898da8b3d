"""D3: decentralized SGD with a momentum that stays with its node, without a bound on gradients.

Setting: M⁺ = βM + G, M⁰ = 0, and X⁺ = W_k(X − γM⁺) (DmSGD) or W_kX − γM⁺ (AWC-DmSGD), where W_k mixes at every τ-th
step and is I between (PD-SGDM; LocalSGD with momentum, whose W_k is J, p = 1); W_k as of D1, all else as of D1. For γ
<= min{(1−β)²/(4L), (1−β)p/(6τL)},

    (1/K)ΣE‖∇f(x̄_k)‖² <= 2(1−β)(f(x⁰) − f_inf)/(γK) + 2γLσ²/((1−β)n) + (72γ²L²/(p²(1−β)²))[τ²ς² + (τ + 1/(1−β²))σ²].

The term in ς² has the factor 1/(1−β)², by which momentum amplifies the bias of DmSGD.

Constants: derived for this project. z̄ = x̄ − (γβ/(1−β))m̄ obeys z̄⁺ = z̄ − (γ/(1−β))ḡ; ‖∇f(z̄) − ∇f(x̄)‖ <=
L(γβ/(1−β))‖m̄‖ is absorbed by −‖(1/n)Σ∇f_i(x_i)‖² of the descent of f(z̄); the disagreement is bounded by Minkowski's
inequality at its largest over the steps.

Reference: derived for this project; H. Gao, H. Huang, Periodic stochastic gradient descent with momentum for
decentralized training, arXiv 2008.10435, has a theorem of this kind for bounded gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import simlab
from theory.mixing import mixing_window
from theory.theorems.dpsgd import mean_gradient_norm
from theory.theorems.local_updates import ABOUT_F, about_f
from theory.theorems.theorem import Check, Setting, Theorem, in_order, periodic_mixing


class Window(NamedTuple):
    """Every how many steps the nodes mix, and p of that mixing."""

    steps: int
    p: float


def assumptions(setting: Setting) -> list[Check]:
    """Local momentum, mixing every τ steps with p > 0, constant γ that is small; as D1 of f and the run."""
    return in_order(setting, local_momentum, mixing, *ABOUT_F, small_step)


def local_momentum(setting: Setting) -> Check:
    """The algorithm keeps its momentum at each node."""
    fits = setting.kind in (simlab.DmSGD, simlab.AWCDmSGD, simlab.LocalSGD)
    return Check("algorithm", fits, f"{setting.kind.__name__}; the theorem is about DmSGD, AWCDmSGD and LocalSGD")


def mixing(setting: Setting) -> Check:
    """Exact averages, a network that mixes independently at every step, or one that does so every few steps."""
    if setting.kind is simlab.LocalSGD:
        return Check("mixing", True, f"exact average every {setting.value('local_steps')} steps")
    return in_order(setting, periodic_mixing, at_the_end)[-1]


def at_the_end(setting: Setting) -> Check:
    """A network that repeats is silent but for the last step of its period."""
    window, quiet = mixing_window(setting.network), True
    if window.steps > 1:
        path = setting.network.sample(window.steps)
        quiet = all(np.array_equal(path[k], np.eye(setting.network.n_nodes)) for k in range(window.steps - 1))
    return Check("mixing", quiet, f"p = {window.p:.4g}, every {window.steps} step(s); silent between: {quiet}")


def window(setting: Setting) -> Window:
    """Of a setting whose mixing is as assumed."""
    if setting.kind is simlab.LocalSGD:
        return Window(setting.value("local_steps"), 1.0)
    return Window(*mixing_window(setting.network)[:2])


def small_step(setting: Setting) -> Check:
    """γ <= min{(1−β)²/(4L), (1−β)p/(6τL)}."""
    c = constants(setting)
    most = largest_step(c["smoothness"], c["momentum"], c["window"], c["p"])
    return Check("small step", c["lr"] <= most, f"γ = {c['lr']:.4g}, must be <= {most:.4g}")


def constants(setting: Setting) -> dict[str, Any]:
    """Those about f, β, τ and p."""
    steps, p = window(setting)
    return {**about_f(setting), "momentum": float(setting.value("momentum")), "window": steps, "p": p}


def largest_step(smoothness: Any, momentum: Any, window: Any, p: Any) -> Any:
    """γ up to which the bound holds."""
    return np.minimum((1 - momentum) ** 2 / 4, (1 - momentum) * p / (6 * window)) / smoothness


def bound(
    lr: Any,
    smoothness: Any,
    steps: Any,
    n_nodes: Any,
    initial_gap: Any,
    dissimilarity: Any,
    variance: Any,
    momentum: Any,
    window: Any,
    p: Any,
) -> Any:
    """Bound on (1/K)ΣE‖∇f(x̄_k)‖²."""
    rest = 1 - momentum
    spread = window**2 * dissimilarity + (window + 1 / (1 - momentum**2)) * variance
    return (
        2 * rest * initial_gap / (lr * steps)
        + 2 * lr * smoothness * variance / (rest * n_nodes)
        + 72 * (lr * smoothness / (p * rest)) ** 2 * spread
    )


THEOREMS = (
    Theorem(
        "D3",
        "(1/K) sum E||∇f(x̄)||^2 <= 2(1-β)(f(x^0)-f_inf)/(γK) + 2γLσ²/((1-β)n) + 72(γL/(p(1-β)))²(τ²ς²+(τ+1/(1-β²))σ²)",
        "Derived for this project; with bounded gradients: Gao, Huang, arXiv 2008.10435",
        assumptions,
        constants,
        bound,
        mean_gradient_norm,
        changing=True,
    ),
)
