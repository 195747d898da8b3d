"""Quadratics, given by their Hessians."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlab import checks
from simlab.kernel import LANES, Kernel
from simlab.problems.base import Array, Problem, constant, own, read_only
from simlab.problems.lanes import add_product
from simlab.problems.tilted import factors_kernel, tilted_diagonal_row, tilted_quadratics


class Quadratic(Problem):
    """Quadratic objectives f_i(x) = x'H_i x / 2 - c_i'x.

    Single nodes may be nonconvex: `minimizer` needs a positive semidefinite mean Hessian only, and is the one of least
    norm where that is singular; where f is unbounded below, asking for it raises ValueError.

    Parameters
    ----------
    hessians : array, shape (n, d, d) or (n, d)
        Symmetric Hessians H_i, or their diagonals: then nothing of shape (n, d, d) is formed unless asked for.
    linear : array, shape (n, d)
        Linear terms c_i.

    Attributes
    ----------
    diagonals : ndarray, shape (n, d), or None
        The Hessians' diagonals, if they were given so.

    Raises
    ------
    ValueError
        Wrong shapes, NaN, or a Hessian that is not symmetric.
    """

    is_quadratic = True
    linear: Array
    curvature: Array
    _mean_curvature: Array
    _mean_linear: Array

    @checks.keywords
    def __init__(self, hessians: Any, linear: Any) -> None:
        c = own(checks.array("linear", linear, shape=(None, None)))
        n, d = c.shape
        h = checks.array("hessians", hessians)
        h = own(checks.array("hessians", h, shape=(n, d) if h.ndim == 2 else (n, d, d)))
        if not c.size:
            raise ValueError(f"linear has shape {c.shape}; pass at least one node and one dimension")
        if h.ndim == 3:
            _check_symmetric(h)
            h = (h + h.swapaxes(1, 2)) / 2
        self._set(
            n_nodes=n, n_samples=None, dim=d,
            curvature=h, linear=c, _mean_curvature=h.mean(axis=0), _mean_linear=c.mean(axis=0),
        )  # fmt: skip

    @property
    def diagonals(self) -> Array | None:
        return self.curvature if self.curvature.ndim == 2 else None

    @property
    def hessians(self) -> np.ndarray:
        """Hessians H_i, shape (n, d, d)."""
        return self.curvature if self.curvature.ndim == 3 else self.curvature[:, :, None] * np.eye(self.dim)

    def local_losses(self, xp: Any, x: Array) -> Array:
        return xp.sum(x * (self._apply(xp, x) / 2 - self.linear[:, None, :]), axis=-1)

    def local_gradients(self, xp: Any, x: Array) -> Array:
        return self._apply(xp, x) - self.linear[:, None, :]

    def _apply(self, xp: Any, x: Array) -> Array:
        """Rows H_i x_i, nodes first."""
        return self.curvature[:, None, :] * x if self.curvature.ndim == 2 else xp.matmul(x, self.curvature)

    def global_loss(self, x: Array) -> Array:
        xp, points, lead = self._points(x)
        return xp.reshape(xp.sum(points * (self._apply_mean(xp, points) / 2 - self._mean_linear), axis=-1), lead)

    def global_gradient(self, x: Array) -> Array:
        xp, points, lead = self._points(x)
        return xp.reshape(self._apply_mean(xp, points) - self._mean_linear, (*lead, self.dim))

    def _apply_mean(self, xp: Any, x: Array) -> Array:
        mean = self._mean_curvature
        return mean * x if mean.ndim == 1 else xp.matmul(x, mean)

    def kernel(self, sampled: bool) -> Kernel:
        if sampled:
            _ = self.sample_count
        data = self.curvature, self.linear
        return Kernel((diagonal_quadratic_row,), data) if self.curvature.ndim == 2 else dense_quadratic(*data)

    def tilted_minimizers(self, xp: Any, y: Array, weights: Array) -> Array:
        if self.curvature.ndim == 3:
            return tilted_quadratics(xp, y, weights, self._factors, self.linear)
        return (self.linear[:, None, :] + y) / (self.curvature[:, None, :] + weights)

    def tilted_kernel(self) -> Kernel:
        if self.curvature.ndim == 2:
            return Kernel((tilted_diagonal_row,), (self.curvature, self.linear))
        return factors_kernel(self._factors, self.linear)

    @constant
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (n, d) and eigenvectors (n, d, d) of every H_i."""
        values, vectors = np.linalg.eigh(self.curvature)
        return values, vectors

    def hessian(self, x: np.ndarray) -> np.ndarray:
        return self.hessians

    def _minimize(self) -> np.ndarray:
        x, bounded = least_norm_minimizers(self._mean_curvature[None], self._mean_linear[None])
        if not bounded[0]:
            raise ValueError(
                "hessians have a mean that leaves f unbounded below, so that there is no minimizer; "
                "add a positive multiple of the identity to them"
            )
        return x[0]

    @constant
    def _eigenvalues(self) -> np.ndarray:
        """Eigenvalues of every H_i, shape (n, d), in no order."""
        return self.curvature if self.curvature.ndim == 2 else np.linalg.eigvalsh(self.curvature)

    @constant
    def is_convex(self) -> bool:
        """Whether every H_i is positive semidefinite, to rounding."""
        return bool(np.min(self._eigenvalues) >= -1e-12 * np.max(np.abs(self._eigenvalues)))

    @constant
    def smoothness(self) -> float:
        """L, exact: the largest spectral norm of an H_i."""
        return float(np.max(np.abs(self._eigenvalues)))

    @constant
    def strong_convexity(self) -> float:
        """mu, exact: the least eigenvalue of the mean Hessian; negative where f is not convex."""
        mean = self._mean_curvature
        return least_eigenvalue(mean if mean.ndim == 1 else np.linalg.eigvalsh(mean))

    @constant
    def node_minimum(self) -> np.ndarray:
        x, bounded = least_norm_minimizers(self.curvature, self.linear)
        return read_only(np.where(bounded, self.loss(x), -np.inf))


def _check_symmetric(h: np.ndarray) -> None:
    asymmetry = np.max(np.abs(h - h.swapaxes(1, 2)), axis=(1, 2))
    worst = int(np.argmax(asymmetry - 1e-10 * np.max(np.abs(h), axis=(1, 2))))
    if asymmetry[worst] > 1e-10 * np.max(np.abs(h[worst])):
        raise ValueError(
            f"hessians[{worst}] is not symmetric: it differs from its transpose by {asymmetry[worst]:.3g}; "
            "pass (hessians + transpose) / 2"
        )


def least_eigenvalue(values: np.ndarray) -> float:
    """The least of a matrix's eigenvalues; 0 if that is all rounding leaves of it."""
    least = float(np.min(values))
    return 0.0 if abs(least) <= len(values) * np.finfo(float).eps * np.max(np.abs(values)) else least


def least_norm_minimizers(hessians: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-norm minimizers of x'H_k x/2 - c_k'x, and which of these are bounded below.

    Parameters
    ----------
    hessians : ndarray, shape (k, d, d), or (k, d) for diagonals
    linear : ndarray, shape (k, d)

    Returns
    -------
    minimizers : ndarray, shape (k, d)
        Meaningless where not bounded.
    bounded : ndarray of bool, shape (k,)
    """
    if hessians.ndim == 2:
        values, vectors = hessians, None
        rotated = linear
    else:
        values, vectors = np.linalg.eigh(hessians)
        rotated = (linear[:, None, :] @ vectors)[:, 0]
    rounding = linear.shape[-1] * np.finfo(float).eps * np.max(np.abs(values), axis=-1, keepdims=True)
    flat = values <= rounding
    scale = np.linalg.norm(linear, axis=-1, keepdims=True)
    bounded = np.all((values >= -rounding) & (~flat | (np.abs(rotated) <= 1e-10 * scale)), axis=-1)
    inverse = np.where(flat, 0.0, 1 / np.where(flat, 1.0, values))
    if vectors is None:
        return inverse * rotated, bounded
    x = np.zeros_like(linear)
    for _ in range(3):  # two rounds of iterative refinement
        residual = linear - (x[:, None, :] @ hessians)[:, 0]
        x = x + (vectors @ (inverse * (residual[:, None, :] @ vectors)[:, 0])[:, :, None])[:, :, 0]
    return x, bounded


def quadratic_row(i: int, x: np.ndarray, out: np.ndarray, hessians: np.ndarray, linear: np.ndarray) -> None:
    """H_i x - c_i."""
    for k in range(x.shape[0]):
        total = -linear[i, k]
        for j in range(x.shape[0]):
            total += hessians[i, k, j] * x[j]
        out[k] = total


def diagonal_quadratic_row(i: int, x: np.ndarray, out: np.ndarray, diagonals: np.ndarray, linear: np.ndarray) -> None:
    """H_i x - c_i, H_i diagonal."""
    for k in range(x.shape[0]):
        out[k] = diagonals[i, k] * x[k] - linear[i, k]


def quadratic_lanes(i: int, x: np.ndarray, out: np.ndarray, hessians: np.ndarray, linear: np.ndarray) -> None:
    """H_i X - c_i 1' for runs side by side."""
    for k in range(linear.shape[1]):
        for r in range(LANES):
            out[k * LANES + r] = -linear[i, k]
    add_product(hessians[i], x, out)


def dense_quadratic(hessians: np.ndarray, linear: np.ndarray) -> Kernel:
    """The gradient of a quadratic with Hessians (n, d, d) and linear terms (n, d)."""
    data = hessians, linear
    return Kernel((quadratic_row,), data, lanes=Kernel((add_product, quadratic_lanes), data))
