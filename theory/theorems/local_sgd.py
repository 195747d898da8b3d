"""Local SGD with decaying steps on one strongly convex objective.

Setting: n workers hold copies x_t^k and step x^k − γ_t g^k, averaging exactly at least every H steps; E g^k = ∇f(x^k)
with variance at most σ² and second moment at most G², independent between workers; f L-smooth and μ-strongly convex;
γ_t = 4/(μ(a + t)), a > max(16κ, H); weights w_t = (a + t)², S = Σ_{t<T} w_t; x̂ = (1/(nS))Σ_kΣ_t w_t x_t^k. Then

    E f(x̂) − f* <= μa³‖x⁰ − x*‖²/(2S) + 4T(T + 2a)σ²/(μSn) + 256TG²H²L/(μ²S).

Constants: re-derived. For γ <= 1/(4L), one step gives E‖x̄⁺ − x*‖² <= (1 − μγ)E‖x̄ − x*‖² + γ²σ²/n − (γ/2)E(f(x̄) −
f*) + 2γL V_t, V_t the workers' mean squared deviation, at most 4γ²G²H² as γ at the last average was at most 2γ_t (a
>= H). Multiply by w_t/γ_t, which telescopes as (a+t)²(a+t−4) <= (a+t−1)³; Σw_tγ_t <= 2T(T + 2a)/μ and Σw_tγ_t² =
16T/μ²; convexity of f. G need only bound the gradients along the iterates. What is proved before the last step is a
bound on (1/S)Σ_t w_t E(f(x̄_t) − f*), which a trace holds: verdicts are about that. Along a run, E(1/n)Σ‖x_t^k − x*‖²
never exceeds D = max{‖x⁰ − x*‖², γ_0σ²/μ}, as a step contracts by 1 − μγ_t, adds γ_t²σ², and an average does not
expand; so G² = L²D + σ² will do.

Reference: S. Stich, Local SGD converges fast and communicates little, ICLR 2019, Theorem 2.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from simlab.schedules import values
from simlab.trace import Trace
from theory.theorems.dpsgd import bounded_variance, every_step_recorded
from theory.theorems.suprema import gradient_dissimilarity, gradient_variance
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    consensual_start,
    in_order,
    no_l1_term,
    smooth,
    strongly_convex,
)


def assumptions(
    smoothness: float,
    strong_convexity: float,
    shift: float,
    local_steps: int,
    second_moment: float,
    largest_second_moment: float,
    variance: float,
    largest_variance: float,
) -> list[Check]:
    """Strong convexity, a shift a > max(16κ, H), and constants that bound what occurs.

    Parameters
    ----------
    smoothness, strong_convexity : float
        L and μ of f.
    shift : float
        a.
    local_steps : int
        H, the most steps between two averages.
    second_moment, largest_second_moment : float
        G², and the largest E‖g‖² along the iterates.
    variance, largest_variance : float
        σ², and the largest E‖g − ∇f‖² along the iterates.
    """
    strongly_convex = Check("strongly convex", strong_convexity > 0, f"mu = {strong_convexity:.4g}")
    checks = [strongly_convex, Check("local steps", local_steps >= 1, f"H = {local_steps}, must be >= 1")]
    if strongly_convex.holds:
        least = max(16 * smoothness / strong_convexity, local_steps)
        checks.append(Check("shift", shift > least, f"a = {shift:.4g}, must be > max(16κ, H) = {least:.4g}"))
    return [
        *checks,
        _covers("bounded second moment", "G²", second_moment, largest_second_moment),
        _covers("bounded variance", "σ²", variance, largest_variance),
    ]


def _covers(name: str, symbol: str, constant: float, largest: float) -> Check:
    return Check(name, largest <= constant, f"{symbol} = {constant:.4g}, must be >= {largest:.4g}")


def step_sizes(t: Any, strong_convexity: Any, shift: Any) -> Any:
    """γ_t = 4/(μ(a + t)), t = 0, 1, ..."""
    return 4 / (strong_convexity * (shift + t))


def weight_sum(steps: Any, shift: Any) -> Any:
    """S = Σ_{t<T}(a + t)²."""
    last = np.asarray(steps, dtype=float) - 1
    return (last + 1) * (shift**2 + shift * last + last * (2 * last + 1) / 6)


def bound(
    steps: Any,
    n_nodes: Any,
    shift: Any,
    local_steps: Any,
    smoothness: Any,
    strong_convexity: Any,
    initial_distance: Any,
    variance: Any,
    second_moment: Any,
) -> Any:
    """Bound on E f(x̂) − f*; `initial_distance` is ‖x⁰ − x*‖²."""
    s = weight_sum(steps, shift)
    return (
        strong_convexity * shift**3 * initial_distance / (2 * s)
        + 4 * steps * (steps + 2 * shift) * variance / (strong_convexity * s * n_nodes)
        + 256 * steps * second_moment * local_steps**2 * smoothness / (strong_convexity**2 * s)
    )


def run_assumptions(setting: Setting) -> list[Check]:
    """LocalSGD without momentum, its step sizes, one smooth, strongly convex f at all nodes, large a."""
    return in_order(
        setting,
        local_sgd,
        no_l1_term,
        smooth,
        strongly_convex,
        one_objective,
        bounded_variance,
        consensual_start,
        every_step_recorded,
        decaying_steps,
        large_shift,
    )


def local_sgd(setting: Setting) -> Check:
    """The algorithm is LocalSGD without momentum."""
    plain = (
        setting.kind is simlab.LocalSGD and not callable(setting.value("momentum")) and setting.value("momentum") == 0
    )
    return Check("algorithm", plain, f"{setting.algorithm!r}; the theorem is about LocalSGD(lr, local_steps)")


def one_objective(setting: Setting) -> Check:
    """All f_i are one function."""
    value = gradient_dissimilarity(setting.problem).value
    same = value <= 1e-20 * setting.problem.smoothness**2
    return Check("one objective", bool(same), f"ς² = {value:.3g}; every node must have the same f_i")


def decaying_steps(setting: Setting) -> Check:
    """γ_t = 4/(μ(a + t)) for the a that γ_0 says."""
    t = np.arange(setting.steps)
    gamma = values(setting.value("lr"), t)
    expected = step_sizes(t, setting.problem.strong_convexity, _shift(setting))
    worst = float(np.max(np.abs(gamma / expected - 1)))
    detail = f"a = {_shift(setting):.4g}, γ_t differs from 4/(μ(a + t)) by {worst:.2g}; schedules.Inverse(4/(μa), a)"
    return Check("decaying step sizes", worst < 1e-9, detail)


def large_shift(setting: Setting) -> Check:
    """A > max(16κ, H), of `assumptions`; the others hold by how the constants are chosen."""
    c = run_constants(setting)
    names = ("smoothness", "strong_convexity", "shift", "local_steps", "second_moment", "variance")
    largest = {"largest_second_moment": c["second_moment"], "largest_variance": c["variance"]}
    return next(check for check in assumptions(**{name: c[name] for name in names}, **largest) if check.name == "shift")


def _shift(setting: Setting) -> float:
    first = float(values(setting.value("lr"), np.zeros(1, dtype=int))[0])
    return 4 / (setting.problem.strong_convexity * first)


def run_constants(setting: Setting) -> dict[str, Any]:
    """The arguments of `bound`."""
    assert setting.start is not None  # consensual_start holds
    problem, shift = setting.problem, _shift(setting)
    mu, smoothness = problem.strong_convexity, problem.smoothness
    variance = gradient_variance(problem, setting.batch_size, setting.noise_std).value
    farthest = max(setting.start.mse, step_sizes(0, mu, shift) * variance / mu)
    return {
        "steps": setting.steps,
        "n_nodes": problem.n_nodes,
        "shift": shift,
        "local_steps": setting.value("local_steps"),
        "smoothness": smoothness,
        "strong_convexity": mu,
        "initial_distance": setting.start.mse,
        "variance": variance,
        "second_moment": smoothness**2 * farthest + variance,
    }


def weighted_error(trace: Trace) -> np.ndarray:
    """(1/S)Σ_{t<T} w_t (f(x̄_t) − f*) of each replicate."""
    setting = Setting.of(trace)
    rows = trace.frame[trace.frame["step"] < setting.steps]
    least = float(setting.problem.objective(setting.problem.minimizer))
    weights = (_shift(setting) + rows["step"]) ** 2
    summed = (weights * (rows["loss"] - least)).groupby(rows["replicate"]).sum()
    return (summed / weight_sum(setting.steps, _shift(setting))).to_numpy()


THEOREMS = (
    Theorem(
        "local SGD",
        "(1/S) sum w_t E(f(x̄_t)-f*) <= μ a^3 ||x^0-x*||²/(2S) + 4T(T+2a)σ²/(μSn) + 256TG²H²L/(μ²S)",
        "Stich, ICLR 2019, Theorem 2.2; re-derived",
        run_assumptions,
        run_constants,
        bound,
        weighted_error,
        changing=True,
    ),
)
