"""LAG: gradients that have hardly changed are not uploaded, at the rate of gradient descent.

Setting: x⁺ = x − (γ/n)Σĝ_i with exact gradients, all nodes starting at one point x⁰; every f_i L-smooth, f >= f_inf.
ĝ_i is the last uploaded gradient of node i; it is renewed, before the step, where it may be off by more than the last
D moves allow: by ‖g_i(x) − ĝ_i‖² > (ξ/γ²)Σ_d‖x^(k+1−d) − x^(k−d)‖² (LAGWK), or L_i²‖x̂_i − x‖² in place of the left
(LAGPS).

Gradients: if γL + Dξ <= 1, then (1/K)Σ‖∇f(x_k)‖² <= 2(f(x⁰) − f_inf)/(γK). Rate: if f is μ-strongly convex and γL +
ξΣ_{j=1..D}(1 − γμ)^(−j) <= 1, then f(x_K) − f* <= (1 − γμ)^K (f(x⁰) − f*). Messages: node i, of gradient
L_i-Lipschitz, uploads at most once in d_i + 1 successive steps, d_i the largest whole number of at most D with
d_iγ²L_i² <= ξ: at most ⌈K/(d_i + 1)⌉ times. LAGWK sends the mean down at every step, hence K + Σ⌈K/(d_i + 1)⌉
messages; LAGPS asks for each upload, hence at most 2Σ⌈K/(d_i + 1)⌉. They are equalities where ξ = 0.

Constants: re-derived. With e = (1/n)Σ(ĝ_i − g_i), f(x⁺) <= f(x) − (γ/2)‖∇f(x)‖² − (1/(2γ) − L/2)‖x⁺ − x‖² +
(γ/2)‖e‖², and by the rule ‖e‖² <= (ξ/γ²)Σ of the last D squared moves. Summed over k, every move is charged at most D
times. For the rate, V = f(x) − f* + Σ_d c_d‖x^(k+1−d) − x^(k−d)‖² with c_D = ξ/(2γ(1 − γμ)), c_d = (ξ/(2γ) +
c_{d+1})/(1 − γμ) has V⁺ <= (1 − γμ)V where c_1 <= 1/(2γ) − L/2, the condition on γ. Messages: s <= d_i steps after an
upload at x̂_i, L_i²‖x − x̂_i‖² <= sL_i² times the sum of the s squared moves since, which is below the threshold.

Reference: T. Chen, G. Giannakis, T. Sun, W. Yin, LAG: lazily aggregated gradient for communication-efficient
distributed learning, NeurIPS 2018, Lemmas 3 and 4, whose γ = (1 − √(Dξ))/L is allowed wherever Σ_{j=1..D}(1 −
γμ)^(−j) <= √(D/ξ).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.problems.base import Problem
from simlab.trace import Trace
from theory.theorems.dpsgd import bounded_below, mean_gradient_norm
from theory.theorems.error_feedback import ABOUT_RUN
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    constant_hyperparameters,
    exact_gradients,
    in_order,
    last,
    no_l1_term,
    nouns,
    smooth,
    strongly_convex,
)


def assumptions(setting: Setting) -> list[Check]:
    """LAG, exact gradients, constants that bound those of the nodes, f smooth and bounded below; γL + Dξ <= 1."""
    return in_order(setting, lag, *ABOUT_RUN, exact_gradients, node_constants, small_step)


def rate_assumptions(setting: Setting) -> list[Check]:
    """LAG, exact gradients, constants that bound those of the nodes, f strongly convex; γ as the rate asks for."""
    about_f = constant_hyperparameters, no_l1_term, smooth, strongly_convex, consensual_start
    return in_order(setting, lag, *about_f, exact_gradients, node_constants, small_step_of_rate)


def message_assumptions(setting: Setting) -> list[Check]:
    """LAG, exact gradients, smooth, equal start; and what is compared is no rounding."""
    about_f = constant_hyperparameters, smooth, consensual_start
    return in_order(setting, lag, *about_f, exact_gradients, bounded_below, above_rounding)


def lag(setting: Setting) -> Check:
    """The algorithm is LAGWK or LAGPS."""
    fits = setting.kind in (simlab.LAGWK, simlab.LAGPS)
    return Check("algorithm", fits, f"{setting.kind.__name__}; the theorem is about LAGWK and LAGPS")


def node_constants(setting: Setting) -> Check:
    """LAGPS was given L_i that bound those of the nodes."""
    name = "constants of the nodes"
    if setting.kind is simlab.LAGWK:
        return Check(name, True, "LAGWK compares gradients")
    given, known = np.array(setting.value("smoothness")), node_smoothness(setting.problem)
    worst = float(np.min(given / known))
    return Check(name, worst >= 1 - 1e-9, f"least given L_i over what is known of the node's: {worst:.6g}")


def small_step(setting: Setting) -> Check:
    """γL + Dξ <= 1."""
    return _small(setting, 0.0)


def small_step_of_rate(setting: Setting) -> Check:
    """γL + ξΣ(1 − γμ)^(−j) <= 1."""
    return _small(setting, setting.problem.strong_convexity)


def _small(setting: Setting, strong_convexity: float) -> Check:
    lr, trigger, memory = (setting.value(name) for name in ("lr", "trigger", "memory"))
    found = float(budget(lr, setting.problem.smoothness, trigger, memory, strong_convexity))
    return Check("small step", found <= 1 + 1e-12, f"γL + ξΣ(1 − γμ)^(−j) = {found:.4g}, must be <= 1")


def above_rounding(setting: Setting) -> Check:
    """The rule compares moves with changes of gradients: neither may be rounding."""
    name = "above rounding"
    if float(setting.value("trigger")) == 0:
        return Check(name, True, "ξ = 0: every gradient is uploaded")
    if setting.final is None or not np.all(np.isfinite(setting.final)):
        return Check(name, False, "no finite final states: pass a run")
    x = setting.final.astype(np.float64)
    gradients = setting.problem.gradient(x)
    finest = np.finfo(setting.final.dtype).eps * np.sqrt(np.max(np.sum(gradients**2, axis=-1)))
    last_move = float(np.sqrt(float(setting.value("trigger")) * np.min(np.sum(gradients.mean(axis=-2) ** 2, axis=-1))))
    return Check(name, last_move >= 1e4 * finest, f"√ξ‖∇f(x_K)‖ = {last_move:.3g}, rounding of gradients {finest:.3g}")


def node_smoothness(problem: Problem) -> np.ndarray:
    """L_i of each node: exact for quadratics, L of all elsewhere; shape (n,)."""
    if problem.is_quadratic:
        return np.asarray(np.linalg.norm(problem.hessian(np.zeros(problem.dim)), ord=2, axis=(-2, -1)))
    return np.full(problem.n_nodes, problem.smoothness)


def budget(lr: Any, smoothness: Any, trigger: Any, memory: int, strong_convexity: Any = 0.0) -> Any:
    """γL + ξΣ_{j=1..D}(1 − γμ)^(−j), infinite where γμ >= 1; with μ = 0 it is γL + Dξ."""
    keep = 1 - np.asarray(lr * strong_convexity, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = sum(keep ** -float(j) for j in range(1, memory + 1))
        return np.where(
            keep > 0, lr * smoothness + trigger * total, np.where(np.equal(trigger, 0), lr * smoothness, np.inf)
        )


def constants(setting: Setting) -> dict[str, Any]:
    """γ, K and f(x⁰) − f_inf."""
    assert setting.start is not None  # consensual_start holds
    gap = setting.start.loss - setting.problem.lower_bound
    return {"lr": float(setting.value("lr")), "steps": setting.steps, "initial_gap": gap}


def rate_constants(setting: Setting) -> dict[str, Any]:
    """Those, and μ."""
    return {**constants(setting), "strong_convexity": setting.problem.strong_convexity}


def message_constants(setting: Setting) -> dict[str, Any]:
    """γ, ξ, D, K, L_i (those that LAGPS was given), and whether the server asks."""
    asks = setting.kind is simlab.LAGPS
    return {
        **{name: setting.value(name) for name in ("lr", "trigger", "memory")},
        "steps": setting.steps,
        "smoothness": np.array(setting.value("smoothness")) if asks else node_smoothness(setting.problem),
        "asks": asks,
    }


def bound(lr: Any, steps: Any, initial_gap: Any) -> Any:
    """Bound on (1/K)Σ‖∇f(x_k)‖²."""
    return 2 * initial_gap / (lr * steps)


def rate_bound(lr: Any, steps: Any, initial_gap: Any, strong_convexity: Any) -> Any:
    """Bound on f(x_K) − f*."""
    return (1 - lr * strong_convexity) ** steps * initial_gap


def message_bound(lr: Any, trigger: Any, memory: int, steps: Any, smoothness: Any, asks: bool = False) -> Any:
    """Bound on the messages of all nodes and the server; `smoothness` (..., n) of the nodes."""
    idle = np.minimum(np.floor(trigger / (lr * smoothness) ** 2 * (1 - 1e-9)), memory)  # ties may round either way
    uploads = np.sum(np.ceil(steps / (idle + 1)), axis=-1)
    return 2 * uploads if asks else uploads + steps


def last_gap(trace: Trace) -> np.ndarray:
    """f(x̄_K) − f* of each replicate, 0 where it is rounding of f."""
    problem = nouns(trace)[0]
    gap = last(trace, "loss") - problem.minimum
    finest = 1e-13 * (abs(problem.minimum) + abs(float(trace.frame["loss"].iloc[0])))
    return np.where(gap > finest, gap, 0.0)


def messages(trace: Trace) -> np.ndarray:
    """Vectors sent since the start, in each replicate."""
    assert trace.x0 is not None and trace.x is not None
    return last(trace, "payload_bits") / (8 * trace.x.dtype.itemsize * trace.x.shape[-1])


THEOREMS = (
    Theorem(
        "LAG, gradients",
        "(1/K) sum ||∇f(x)||^2 <= 2(f(x^0)-f_inf)/(γK)",
        "Chen et al., NeurIPS 2018; re-derived",
        assumptions,
        constants,
        bound,
        mean_gradient_norm,
        random=False,
        changing=True,
    ),
    Theorem(
        "LAG, rate",
        "f(x_K) - f* <= (1-γμ)^K (f(x^0)-f*)",
        "Chen et al., NeurIPS 2018; re-derived",
        rate_assumptions,
        rate_constants,
        rate_bound,
        last_gap,
        random=False,
        changing=True,
    ),
    Theorem(
        "LAG, messages",
        "messages <= K + sum ⌈K/(d_i+1)⌉ (LAGWK) or 2 sum ⌈K/(d_i+1)⌉ (LAGPS), d_i <= D largest with d_iγ²L_i² <= ξ",
        "Chen et al., NeurIPS 2018, Lemma 4; re-derived",
        message_assumptions,
        message_constants,
        message_bound,
        messages,
        random=False,
        changing=True,
    ),
)
