"""The semidefinite program: the largest error over all Gram matrices and values that functions of a class can have."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from theory.worst.symmetry import Blocks, automorphisms, blocks
from theory.worst.trajectory import Trajectory

# L = 1 in here, and lengths are in units of about the larger of R and b/L, which tolerances are for.
# Tolerance, and regularization of linear systems: the next where one is too much for the solver.
ATTEMPTS = ((1e-10, 1e-8), (1e-10, 1e-7), (1e-8, 1e-8), (1e-6, 1e-8))
ENOUGH = 1e-6  # relative: a gap that ends the attempts


class Solution(NamedTuple):
    """Of the program, in its units.

    Attributes
    ----------
    value, bound : float
        Of the primal and of the dual.
    gram : ndarray, shape (P, P)
    values : ndarray, shape (n, 1 + T)
        f_i − f_i(x*) at x* and at the points.
    interpolation : ndarray
        Multipliers of the conditions of one node of each orbit, (orbits, 1 + T, 1 + T); of quadratics (orbits, T, T).
    radius, heterogeneity : float
        Multipliers of the bounds.
    spectrum : ndarray, shape (E, E)
        Multipliers of what a spectrum says of exchanges.
    """

    value: float
    bound: float
    gram: np.ndarray
    values: np.ndarray
    interpolation: np.ndarray
    radius: float
    heterogeneity: float
    spectrum: np.ndarray

    @property
    def gap(self) -> float:
        """Between primal and dual, either way."""
        return abs(self.bound - self.value)


class Basis:
    """The space of the unknown vectors, in parts in which invariant Gram matrices are blocks.

    Parameters
    ----------
    path : Trajectory

    Attributes
    ----------
    parts : list of ndarrays, shape (c, P, s)
        G = Σ_parts Σ_copies B γ Bʹ, γ (s, s) positive semidefinite.
    orbit : int array (n,)
        Of each node the first one of its orbit.
    """

    def __init__(self, path: Trajectory) -> None:
        n, width = path.final.shape
        found: Blocks = blocks(_symmetries(path), n)
        self.orbit = found.orbit
        ones = np.ones(n) / np.sqrt(n)
        self.parts: list[np.ndarray] = []
        for copies in found.classes:
            _, _, m = copies.shape
            share = np.einsum("n,cnm->cm", ones, copies)
            trivial = len(copies) == 1 and np.linalg.norm(share) > 1 - 1e-6
            columns: list[np.ndarray] = []  # each (c, P, some)
            if trivial:
                first = np.zeros((1, width, 1))
                first[0, 0] = 1.0
                columns.append(first)
            for kind in range((width - 1) // n):
                some = copies
                if kind in path.apart and trivial:  # they add up to zero
                    rest = np.linalg.svd(share.reshape(1, m))[2][1:].T
                    some = copies @ rest
                placed = np.zeros((len(copies), width, some.shape[2]))
                placed[:, 1 + kind * n : 1 + (kind + 1) * n] = some
                columns.append(placed)
            part = np.concatenate(columns, axis=2)
            if part.shape[2]:
                self.parts.append(part)


def _symmetries(path: Trajectory) -> list[np.ndarray]:
    """Permutations of nodes after which the trajectory is the same one."""
    n, width = path.final.shape
    kept = []
    for p in automorphisms(path.weights):
        columns = np.concatenate([[0], *(1 + k * n + p for k in range((width - 1) // n))])
        moved = all(
            np.allclose(each[..., p, :][..., columns], each, rtol=0, atol=1e-9)
            for each in (path.points, path.final, *path.sent)
        )
        if moved:
            kept.append(p)
    return kept


def solve(
    path: Trajectory,
    *,
    ratio: float,
    radius: float,
    heterogeneity: float | None,
    measure: str,
    quadratic: bool,
    slack: float = 0.0,
) -> Solution:
    """Maximize the error.

    Parameters
    ----------
    path : Trajectory
        Whose last call is at the mean of the final states, where `measure` is "objective" and functions are general.
    ratio : float
        μ/L.
    radius : float
        Bound on the distance of x⁰ from x*; of no matter at rest.
    heterogeneity : float or None
        Bound on the root mean square of the gradients at x*.
    measure : {"mse", "consensus", "objective"}
    quadratic : bool
        Whether functions are quadratic.
    slack : float
        By which the conditions on general functions are to hold with more than equality.

    Raises
    ------
    ImportError
        Without CVXPY.
    ValueError
        There is no largest error.
    """
    try:
        import cvxpy as cp
    except ImportError as missing:
        raise ImportError("worst_case needs cvxpy and Clarabel; install simlab[worst-case]") from missing

    n = path.n_nodes
    basis = Basis(path)
    grams = [cp.Variable(2 * (part.shape[2],), PSD=True) for part in basis.parts]
    firsts = np.unique(basis.orbit)
    sizes = np.array([np.sum(basis.orbit == first) for first in firsts])
    star = np.zeros((n, path.final.shape[1]))
    star[:, 1 : 1 + n] = np.eye(n)
    zero = np.zeros_like(star)

    def form(matrices: Any) -> Any:
        """⟨A, G⟩ of several A, given as function of a copy's basis (P, s) -> (k, s, s)."""
        total: Any = 0
        for part, gram in zip(basis.parts, grams, strict=True):
            coefficients = sum(matrices(copy) for copy in part)
            total = total + coefficients.reshape(len(coefficients), -1) @ cp.vec(gram, order="C")
        return total

    def squares(rows: np.ndarray) -> Any:
        """The mean over nodes of the squared norms of rows (n, P)."""
        return form(lambda b: ((rows @ b).T @ (rows @ b) / n)[None])[0]

    def product(left: np.ndarray, right: np.ndarray) -> Any:
        """Inner products of rows (A, P) and (C, P), (A, C)."""
        parts = zip(basis.parts, grams, strict=True)
        return sum(left @ copy @ gram @ (right @ copy).T for part, gram in parts for copy in part)

    def operates(u: np.ndarray, v: np.ndarray, low: float, high: float) -> tuple[Any, list[Any]]:
        """That a symmetric matrix with spectrum in [low, high] takes rows u to v: an inequality, and equations."""
        cross = product(u, v)
        symmetric = [cp.upper_tri(cross) == cp.upper_tri(cross.T)] if len(u) > 1 else []
        inner = product(v - low * u, high * u - v)
        return (inner + inner.T) / 2 >> 0, symmetric

    limits: list[Any] = []
    x = np.concatenate([zero[None], path.points]) if not quadratic else path.points
    g = np.concatenate([star[None], path.gradients]) if not quadratic else path.gradients
    conditions: list[Any] = []
    values: list[Any] = []
    if quadratic:
        for i in firsts:
            bounded_by, symmetric = operates(path.points[:, i], path.gradients[:, i] - star[i], ratio, 1.0)
            conditions.append(bounded_by)
            limits += symmetric
    else:
        count = len(x)
        a, c = (k.ravel() for k in np.indices((count, count)))
        a, c = a[a != c], c[a != c]
        scale = 1 / (2 * (1 - ratio))
        for i in firsts:
            level = cp.Variable(count)
            values.append(level)
            limits.append(level[0] == 0)

            def matrices(b: np.ndarray, i: int = i) -> np.ndarray:
                xs, gs = x[:, i] @ b, g[:, i] @ b
                dx, dg = xs[a] - xs[c], gs[a] - gs[c]
                outer = lambda p, q: p[:, :, None] * q[:, None, :]  # noqa: E731
                whole = outer(gs[c], dx) + scale * (outer(dg, dg) + ratio * outer(dx, dx) - 2 * ratio * outer(dg, dx))
                return (whole + whole.swapaxes(1, 2)) / 2

            conditions.append(form(matrices) + level[c] - level[a] <= -slack)
    spectral = None
    if path.spectrum is not None and len(path.sent):
        spectral, symmetric = operates(path.sent[:, 0], path.received[:, 0], *path.spectrum)
        limits += [spectral, *symmetric]
    start = np.zeros((1, path.final.shape[1]))
    start[0, 0] = np.sqrt(n)
    near = None if path.at_rest else squares(start) <= radius**2
    limits += [] if near is None else [near]
    bounded = None
    if heterogeneity is not None and n > 1:
        bounded = squares(star) <= heterogeneity**2
        limits.append(bounded)
    mean = path.final.mean(axis=0)
    match measure:
        case "mse":
            error = squares(path.final)
        case "consensus":
            error = squares(path.final - mean)
        case _ if quadratic:
            # The mean of the f_i at the mean of the nodes, by the last call's gradients there.
            rows = np.broadcast_to(mean, path.final.shape)
            error = form(lambda b: _symmetric((rows @ b).T @ ((path.gradients[-1] - star) @ b) / (2 * n))[None])[0]
        case _:
            error = sum(size / n * level[-1] for size, level in zip(sizes, values, strict=True))
    problem = cp.Problem(cp.Maximize(error), [*limits, *conditions])

    def solution() -> Solution:
        parts = zip(basis.parts, grams, strict=True)
        place = {first: k for k, first in enumerate(firsts)}
        outer_radius = 0.0 if near is None else float(near.dual_value)
        outer = 0.0 if bounded is None else float(bounded.dual_value)
        duals = [np.asarray(each.dual_value) for each in conditions]
        return Solution(
            float(problem.value),
            outer_radius * radius**2 + outer * (heterogeneity or 0.0) ** 2,
            sum(copy @ gram.value @ copy.T for part, gram in parts for copy in part),
            np.array([values[place[o]].value for o in basis.orbit]) if values else np.zeros((n, 0)),
            np.array(duals) if quadratic else np.array([_square(dual, a, c) for dual in duals]),
            outer_radius,
            outer,
            np.zeros((0, 0)) if spectral is None else np.asarray(spectral.dual_value),
        )

    best: Solution | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inaccurate solutions, which the result tells
        for tolerance, regularization in ATTEMPTS:
            try:
                problem.solve(
                    solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance,
                    static_regularization_constant=regularization,
                )  # fmt: skip
            except cp.SolverError:
                continue
            if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
                break
            found = solution()
            if best is None or found.gap < best.gap:
                best = found
            if problem.status == cp.OPTIMAL or found.gap <= ENOUGH * abs(found.value):
                break
    if best is None:
        raise ValueError(_no_value(problem.status, heterogeneity, n))
    return best


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


def _square(dual: np.ndarray, a: np.ndarray, c: np.ndarray) -> np.ndarray:
    found = np.zeros((a.max() + 1, a.max() + 1))
    found[a, c] = dual
    return found


def _no_value(status: str | None, heterogeneity: float | None, n: int) -> str:
    if heterogeneity is None and n > 1:
        return (
            "no bound of the error was found over all functions of the class (heterogeneity = None); pass "
            "heterogeneity = b, the root mean square of the gradients at the minimizer"
        )
    outcome = "failed" if status is None else f"found the program {status.replace('_', ' ')}"
    return f"the solver {outcome}; take fewer steps, or another step size"
