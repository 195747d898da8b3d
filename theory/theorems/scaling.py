"""Scaled gradients: where each node scales its own, the bias stays however small γ is; where all scale alike, it goes.

Setting: a method that comes to rest, with exact gradients, where the method without scaling does whose gradients are
D_i∇f_i, D_i a positive diagonal matrix: X̃ = −γφ(W)(D_i∇f_i(x_i))_i and Σ D_i∇f_i(x_i) = 0. Trust ratios (LARS) are
such D_i, one number a block, and so are Adam's 1/(|∇f_i(x_i)| + ε), as at rest its moments are the gradient and its
square. An algorithm says its D by `scaling(x, gradients)`, and the method without it by `unscaled()`.

*Node-wise.* As γ → 0 the nodes agree, on an x with Σ D_i∇f_i(x) = 0 (`resting_point`), which is x* only if ΣD_i∇f_i(x*)
is 0, too. For nodes f_i(x) = ‖x − c_i‖²/2 whose trust ratio is ‖x_i‖/‖∇f_i(x_i)‖ it is the geometric median of the c_i,
for Adam with ε → 0 the median of each coordinate, and x* is the mean. For any γ and any W with columns of sum 1, every
f_i L-smooth, d_i the largest entry of D_i,

    (1/n)Σ‖x_i − x*‖² >= ‖(1/n)Σ D_i∇f_i(x*)‖² / (L² (1/n)Σ d_i²).

*Common.* If all D_i are one D, of largest entry d, all f_i convex and L-smooth, f μ-strongly convex and φ > 0 on the
eigenvalues of W other than 1, then with r = max φ and b the heterogeneity

    (1/n)‖X̃‖² <= (γdrb)²   and   (1/n)Σ‖x_i − x*‖² <= (1 + κ²/4)(γdrb)².

Constants: derived for this project. Node-wise: Σ D_i∇f_i(x*) = −Σ D_i(∇f_i(x_i) − ∇f_i(x*)), of which each term is at
most d_iL‖x_i − x*‖; Cauchy and Schwarz. It is attained as the D_i near one another, on nodes of equal curvature.
Common: with P = φ(W)⁻¹, PX̃D⁻¹ + γF'(X) = 0, and B1's proof goes through with P ⊗ D⁻¹ >= 1/(rd) in place of P >= 1/r;
as Σ∇f_i(x_i) = 0, so does its second half.

Reference: derived for this project. That adaptive rates of the nodes' own move the limit was seen by X. Chen, B.
Karimi, W. Zhao, P. Li, On the convergence of decentralized adaptive gradient methods, ACML 2022, who track common ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import root

from simlab.network import Network
from simlab.problems.base import Problem
from theory.theorems import b1
from theory.theorems.theorem import (
    Check,
    Setting,
    Theorem,
    constant_hyperparameters,
    convex,
    exact_gradients,
    has_transfer,
    in_order,
    last,
    no_l1_term,
    smooth,
    strongly_convex,
)
from theory.transfer import apply_transfer

RESIDUAL = 1e-9  # of a state at rest, over the size of what adds up to 0


def assumptions(setting: Setting) -> list[Check]:
    """Constant hyperparameters, no l1, exact gradients, a known minimizer, smooth f_i, a scaling, mean step zero."""
    return in_order(
        setting, constant_hyperparameters, no_l1_term, exact_gradients, known_minimizer, smooth, has_scaling, balanced
    )


def common_assumptions(setting: Setting) -> list[Check]:
    """B1's, of the method without scaling, one scaling at all nodes, and a state at rest."""
    return in_order(
        setting,
        constant_hyperparameters,
        no_l1_term,
        exact_gradients,
        convex,
        smooth,
        strongly_convex,
        has_scaling,
        common_scaling,
        lambda setting: has_transfer(unscaled(setting)),
        lambda setting: b1.positive_transfer(unscaled(setting)),
        at_rest,
    )


def known_minimizer(setting: Setting) -> Check:
    """The problem knows its minimizer."""
    found = getattr(setting.problem, "minimizer", None)
    return Check("known minimizer", found is not None, f"minimizer of {type(setting.problem).__name__}")


def has_scaling(setting: Setting) -> Check:
    """The algorithm says how it scales gradients at rest."""
    found = hasattr(setting.kind, "scaling") and hasattr(setting.kind, "unscaled")
    return Check("scaling", found, f"{setting.kind.__name__} has {'' if found else 'no '}scaling(x, gradients)")


def balanced(setting: Setting) -> Check:
    """The scaled gradients of the final states add up to zero."""
    name = "mean step zero"
    if (states := finite_states(setting)) is None:
        return Check(name, False, "no finite final states: pass a run")
    steps = scaled_gradients(setting, states)
    left = float(np.max(np.linalg.norm(steps.mean(axis=-2), axis=-1)))
    size = float(np.max(np.mean(np.linalg.norm(steps, axis=-1), axis=-1)))
    tolerance = (RESIDUAL + 100 * float(np.finfo(setting.final.dtype).eps)) * size  # type: ignore[union-attr]
    return Check(name, left <= tolerance, f"‖mean of D_i∇f_i‖ = {left:.3g} against {tolerance:.3g}; run more steps")


def common_scaling(setting: Setting) -> Check:
    """All nodes scale alike at the final states."""
    name = "common scaling"
    if (states := finite_states(setting)) is None:
        return Check(name, False, "no finite final states: pass a run")
    scaling = scalings(setting, states)
    apart = float(np.max(np.ptp(scaling, axis=-2) / scaling.mean(axis=-2)))
    return Check(name, apart <= 1e-9, f"scalings of the nodes differ by {apart:.3g} of their mean")


def at_rest(setting: Setting) -> Check:
    """The final states solve the equations of a state at rest, to rounding."""
    states = finite_states(setting)
    assert states is not None  # `common_scaling` has looked
    one = unscaled(setting).algorithm
    left = left_over(setting.network, one, states, scaled_gradients(setting, states))
    residual = float(np.max(np.linalg.norm(left, axis=(-2, -1)))) / np.sqrt(setting.problem.n_nodes)
    finest = 100 * np.finfo(setting.final.dtype).eps * (1 + float(np.abs(states).max()))  # type: ignore[union-attr]
    tolerance = 1e-6 * float(np.max(np.std(states, axis=-2))) + finest
    detail = f"residual {residual:.3g} against {tolerance:.3g}; run more steps"
    return Check("limit reached", residual <= tolerance, detail)


def finite_states(setting: Setting) -> np.ndarray | None:
    """Final states (replicates, n, d) in float64, if there are some."""
    if setting.final is None or not np.all(np.isfinite(setting.final)):
        return None
    return setting.final.astype(np.float64)


def scalings(setting: Setting, states: np.ndarray) -> np.ndarray:
    """D_i as rows, (replicates, n, d)."""
    algorithm: Any = setting.algorithm
    return np.broadcast_to(algorithm.scaling(states, setting.problem.gradient(states)), states.shape)


def scaled_gradients(setting: Setting, states: np.ndarray) -> np.ndarray:
    """Rows D_i∇f_i(x_i)."""
    return scalings(setting, states) * setting.problem.gradient(states)


def unscaled(setting: Setting) -> Setting:
    """The setting of the method without scaling."""
    algorithm: Any = setting.algorithm
    return setting._replace(algorithm=algorithm.unscaled())


def left_over(network: Network, one: Any, x: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """X̃ + γφ(W)S + γs̄, zero at rest, of states X with scaled gradients S and φ that of `one`: (..., n, d)."""
    mean = steps.mean(axis=-2, keepdims=True)
    return x - x.mean(axis=-2, keepdims=True) + one.lr * (apply_transfer(network, one, steps) + mean)


def node_wise_constants(setting: Setting) -> dict[str, Any]:
    """L, ‖(1/n)ΣD_i∇f_i(x*)‖ and the root mean square of the d_i, of the replicate with the least bound."""
    states = finite_states(setting)
    assert states is not None
    scaling = scalings(setting, states)
    at_minimizer = setting.problem.gradient(np.broadcast_to(setting.problem.minimizer, states.shape[-2:]))
    pulls = np.linalg.norm(np.mean(scaling * at_minimizer, axis=-2), axis=-1)
    sizes = np.sqrt(np.mean(scaling.max(axis=-1) ** 2, axis=-1))
    least = int(np.argmin(pulls / sizes))
    return {"smoothness": setting.problem.smoothness, "pull": float(pulls[least]), "scaling": float(sizes[least])}


def common_constants(setting: Setting) -> dict[str, Any]:
    """Those of B1 for the method without scaling, γ times the largest entry of D."""
    states = finite_states(setting)
    assert states is not None
    given = b1.constants(unscaled(setting))
    return given | {"lr": given["lr"] * float(scalings(setting, states).max())}


def common_mse_constants(setting: Setting) -> dict[str, Any]:
    """Those of the consensus bound, and κ."""
    problem = setting.problem
    return {**common_constants(setting), "condition_number": problem.smoothness / problem.strong_convexity}


def node_wise_bound(smoothness: Any, pull: Any, scaling: Any) -> Any:
    """Lower bound on (1/n)Σ‖x_i − x*‖²."""
    return (pull / (smoothness * scaling)) ** 2


def resting_point(problem: Problem, algorithm: Any) -> np.ndarray:
    """Where a method that scales gradients comes to rest as γ → 0: x with Σ D_i(x)∇f_i(x) = 0, found from x*.

    Parameters
    ----------
    problem : Problem
        With a known minimizer.
    algorithm : algorithm
        With `scaling`.

    Returns
    -------
    ndarray, shape (d,)

    Raises
    ------
    ValueError
        No such point is found: the scaling is too steep, as Adam's with a tiny ε.
    """

    def mean_step(x: np.ndarray) -> np.ndarray:
        states = np.broadcast_to(x, (problem.n_nodes, problem.dim))
        gradients = problem.gradient(states)
        return np.mean(algorithm.scaling(states, gradients) * gradients, axis=0)

    return _solved(mean_step, problem.minimizer)


def resting_state(problem: Problem, network: Network, algorithm: Any) -> np.ndarray:
    """Where a method that scales gradients comes to rest: X̃ = −γφ(W)(D_i∇f_i(x_i))_i and Σ D_i∇f_i(x_i) = 0.

    Parameters
    ----------
    problem, network, algorithm
        As for `resting_point`; `algorithm.unscaled()` has a bias transfer function.

    Returns
    -------
    ndarray, shape (n, d)

    Raises
    ------
    ValueError
        No such state is found.
    """
    shape, one = (problem.n_nodes, problem.dim), algorithm.unscaled()

    def equations(flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(shape)
        gradients = problem.gradient(x)
        return left_over(network, one, x, algorithm.scaling(x, gradients) * gradients).ravel()

    return _solved(equations, np.tile(resting_point(problem, algorithm), (shape[0], 1)).ravel()).reshape(shape)


def _solved(equations: Any, start: np.ndarray) -> np.ndarray:
    found = root(equations, start, tol=1e-13)
    if np.abs(found.fun).max() > 1e-8 * (1 + np.abs(equations(start)).max()):
        raise ValueError(f"no state at rest was found ({found.message}); take a larger epsilon, or simulate it")
    return np.asarray(found.x)


REFERENCE = "Derived for this project"

THEOREMS = (
    Theorem(
        "node-wise scaling",
        "(1/n) sum ||x_i - x*||^2 >= (||(1/n) sum D_i ∇f_i(x*)||/(L d))^2 at rest, d^2 = (1/n) sum max(D_i)^2",
        REFERENCE,
        assumptions,
        node_wise_constants,
        node_wise_bound,
        lambda trace: last(trace, "mse"),
        ">=",
    ),
    Theorem(
        "common scaling, consensus",
        "(1/n)||X - 1x̄'||^2 <= (γ d r b)^2 at rest, d = max(D), r = max φ(λ)",
        REFERENCE,
        common_assumptions,
        common_constants,
        b1.consensus_bound,
        lambda trace: last(trace, "consensus"),
    ),
    Theorem(
        "common scaling, bias",
        "(1/n) sum ||x_i - x*||^2 <= (1 + κ^2/4)(γ d r b)^2 at rest, d = max(D), r = max φ(λ)",
        REFERENCE,
        common_assumptions,
        common_mse_constants,
        b1.sharper_mse_bound,
        lambda trace: last(trace, "mse"),
    ),
)
