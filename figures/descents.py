"""Exact worst cases of theorems whose start is a gap of values: the program of `theory.worst_case` without a minimizer.

L-smooth functions with inf f >= f* through given points, gradients and values exist if and only if each two points
satisfy the interpolation condition with μ = −L and each f_a >= f* + ‖g_a‖²/(2L) (Y. Drori, O. Shamir, The complexity of
finding stationary points with stochastic gradient descent, ICML 2020). L = 1 and f* = 0 in here.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from theory.worst.trajectory import trajectory

TOLERANCES = (1e-9, 1e-8, 1e-7)  # the next where one is too much for the solver


class Data(NamedTuple):
    """Points and gradients of one smooth function, rows (A, P) over unknown vectors; the first is x⁰."""

    points: np.ndarray
    gradients: np.ndarray


def largest(functions: list[Data], error: np.ndarray, gap: float, bounds: list[tuple[np.ndarray, float]]) -> float:
    """Largest ⟨error, G⟩ over smooth functions with Σ(f_i(x⁰) − f_i*) <= gap and ⟨A, G⟩ <= b for `bounds` (A, b)."""
    import cvxpy as cp

    gram = cp.Variable(error.shape, PSD=True)
    limits, total = [cp.trace(matrix @ gram) <= most for matrix, most in bounds], 0
    for x, g in functions:
        level = cp.Variable(len(x))
        total = total + level[0]
        a, c = (k.ravel() for k in np.indices((len(x), len(x))))
        a, c = a[a != c], c[a != c]
        dx, dg = x[a] - x[c], g[a] - g[c]
        outer = lambda p, q: (p[:, :, None] * q[:, None, :] + q[:, :, None] * p[:, None, :]) / 2  # noqa: E731
        conditions = outer(g[c], dx) + (outer(dg, dg) - outer(dx, dx) + 2 * outer(dg, dx)) / 4
        flat = cp.vec(gram, order="C")
        limits.append(level[a] - level[c] >= conditions.reshape(len(a), gram.size) @ flat)
        limits.append(level >= outer(g, g).reshape(len(x), gram.size) @ flat / 2)
    limits.append(total <= gap)
    problem = cp.Problem(cp.Maximize(cp.trace(error @ gram)), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tolerance in TOLERANCES:
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
            if problem.status == cp.OPTIMAL:
                break
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):  # to 1e-4 where steps are tiny
        raise ValueError(f"the solver found the program {problem.status}; take fewer steps")
    return float(problem.value)


def own_functions(network: Any, algorithm: Any, steps: int, measure: str) -> float:
    """Any smooth f_i, Σ(f_i(x⁰) − f_i*) <= 1: Σ‖∇f_i(x_i)‖² ("gradients") or (1/n)‖X̃‖² ("consensus") after K steps."""
    path = trajectory(network, algorithm, steps + 1)  # whose last call is at the states after K steps
    n = path.n_nodes
    points, gradients = path.points[..., 1 + n :], path.gradients[..., 1 + n :]  # from x⁰ on
    last = points[-1] - points[-1].mean(axis=0) if measure == "consensus" else np.sqrt(n) * gradients[-1]
    functions = [Data(points[:, i], gradients[:, i]) for i in range(n)]
    return largest(functions, last.T @ last / n, 1.0, [])


def tilted_function(network: Any, algorithm: Any, steps: int, dissimilarity: float, measure: str) -> float:
    """f_i = f + ⟨a_i, x⟩, Σa_i = 0, (1/n)Σ‖a_i‖² <= ς², f(x⁰) − f* <= 1.

    The method takes gradients at its states. The measure is (1/K)Σ‖∇f(x̄_k)‖² over k < K ("gradients"), that less
    (1/n)‖X̃_k‖² ("excess"), or (1/n)‖X̃_K‖² ("consensus").
    """
    path = trajectory(network, algorithm, steps + (measure == "consensus"))
    calls, n, _ = path.points.shape
    shared = [bool(np.allclose(each, each[:1], rtol=0, atol=1e-12)) for each in path.points]  # as x⁰ is
    sizes = [1 if same else n + 1 for same in shared]  # gradients of f at x̄_k, and at the x_i
    width = n + sum(sizes)
    fresh = np.split(np.eye(width)[n:], np.cumsum(sizes)[:-1])
    at_means = np.stack([vectors[0] for vectors in fresh])
    pure = np.stack([np.broadcast_to(vectors[-n:], (n, width)) for vectors in fresh])
    tilts = np.eye(n, width) - np.eye(n, width).sum(axis=0) / n
    points = path.points[..., 1 + n :] @ (pure + tilts).reshape(n * calls, width)
    means = points.mean(axis=1)
    apart = [k for k in range(calls) if not shared[k]]
    function = Data(
        np.concatenate([means, points[apart].reshape(-1, width)]),
        np.concatenate([at_means, pure[apart].reshape(-1, width)]),
    )
    away = points - means[:, None]
    spread = np.einsum("knp,knq->kpq", away, away) / n
    error = spread[-1] if measure == "consensus" else at_means.T @ at_means / calls
    if measure == "excess":
        error = error - spread.mean(axis=0)
    return largest([function], error, 1.0, [(tilts.T @ tilts / n, dissimilarity)])
