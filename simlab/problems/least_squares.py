"""Linear least squares, with or without ridge."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from simlab import checks
from simlab.kernel import LANES, Kernel
from simlab.problems.base import Array, constant, read_only
from simlab.problems.lanes import add_product, samples_kernel
from simlab.problems.linear_model import LinearModel, local_models
from simlab.problems.quadratic import dense_quadratic, least_eigenvalue, least_norm_minimizers
from simlab.problems.tilted import factors_kernel, tilted_quadratics


class LeastSquares(LinearModel):
    """Least squares f_i(x) = s_i ||A_i x - b_i||^2 / (2 m_i) + l2 ||x||^2 / 2, every s_i = 1 unless weighted.

    Full gradients use H_i = s_i A_i'A_i/m_i + l2 I, formed once, where that is cheaper than passing over the samples
    (d <= 2m, m the mean of the m_i). Losses are computed from residuals, or as a rise above the minimum, so that small
    ones keep their accuracy. The `minimizer` is in closed form, and is the one of least norm where it is not unique.

    Parameters
    ----------
    features : array, shape (n, m, d), or n arrays, shape (m_i, d)
        A_i.
    targets : array, shape (n, m), or n arrays, shape (m_i,)
        b_i.
    l2 : float, default 0
        Ridge parameter, >= 0.
    weighting : {"nodes", "samples"}, default "nodes"
        Whether f weighs all nodes alike, s_i = 1, or all samples, s_i = n m_i / (m_1 + ... + m_n): the same where
        nodes have equally many.
    test : tuple (features, targets), optional
        Held-out samples, of shapes (t, d) and (t,): traces then have columns `test_loss` (the mean loss of a sample,
        without the regularizer) and `r2` of the mean state, and `worst_test_loss` and `worst_r2` of the worst node.

    Raises
    ------
    ValueError
        Wrong shapes, NaN, or a negative l2.
    """

    is_quadratic = True
    _hessians: Array  # these four: None where d > 2m
    _linear: Array
    _mean_hessian: Array
    _mean_linear: Array

    @checks.keywords
    def __init__(
        self, features: Any, targets: Any, l2: float = 0.0, weighting: str = "nodes", test: Any = None
    ) -> None:
        self._set_samples(features, targets, "targets", weighting)
        self._set_test(test, "targets")
        self._set(l2=checks.real("l2", l2, minimum=0.0))
        if self.dim * self.n_nodes <= 2 * len(self._features):
            h, c = self._hessians_and_linear()
            self._set(_hessians=h, _linear=c, _mean_hessian=h.mean(axis=0), _mean_linear=c.mean(axis=0))
        else:
            self._set(_hessians=None, _linear=None, _mean_hessian=None, _mean_linear=None)

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + f", l2={self.l2:g})"

    @classmethod
    @checks.keywords
    def synthetic(
        cls,
        n_nodes: int,
        n_samples: int,
        dim: int,
        heterogeneity: float = 1.0,
        noise: float = 0.1,
        seed: int = 0,
    ) -> Self:
        """Random regression, each node with its own model.

        Features are standard normal; targets are b_i = A_i x_i + noise * N(0, I) with x_i = x0 + heterogeneity * z_i,
        the entries of x0 and z_i drawn from N(0, 1/d). So signals are of size 1 and b is about `heterogeneity`.
        With n * m well above d the mean Hessian is close to the identity.

        Parameters
        ----------
        n_nodes, n_samples, dim : int
            n, m, d.
        heterogeneity : float, default 1
            Size of the differences between the nodes' models, relative to the models themselves.
        noise : float, default 0.1
            Standard deviation of the noise in the targets.
        seed : int, default 0
        """
        noise = checks.real("noise", noise, minimum=0.0)
        random = np.random.default_rng(checks.seed(seed))
        features, predictions = local_models(random, n_nodes, n_samples, dim, heterogeneity)
        return cls(features, predictions + noise * random.standard_normal(predictions.shape))

    def _phi(self, xp: Any, prediction: Array, target: Array) -> Array:
        return (prediction - target) ** 2 / 2

    def _slope(self, xp: Any, prediction: Array, target: Array) -> Array:
        return prediction - target

    _quality_name = "r2"

    def _quality(self, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The part of the targets' variance that is explained; NaN where they have none."""
        variance = np.var(targets)
        return 1 - np.mean((predictions - targets) ** 2, axis=1) / (variance if variance > 0 else np.nan)

    def local_gradients(self, xp: Any, x: Array) -> Array:
        if self._hessians is None:
            return super().local_gradients(xp, x)
        return xp.matmul(x, self._hessians) - self._linear[:, None, :]

    def global_loss(self, x: Array) -> Array:
        if self._mean_hessian is None:
            return super().global_loss(x)
        xp, points, lead = self._points(x)
        vertex, least = self._vertex
        offsets = points - xp.asarray(vertex, dtype=self._mean_hessian.dtype)
        rise = xp.sum(offsets * xp.matmul(offsets, self._mean_hessian), axis=-1) / 2
        return xp.reshape(least + rise, lead)

    def global_gradient(self, x: Array) -> Array:
        if self._mean_hessian is None:
            return super().global_gradient(x)
        xp, points, lead = self._points(x)
        return xp.reshape(xp.matmul(points, self._mean_hessian) - self._mean_linear, (*lead, self.dim))

    def global_loss_and_gradient(self, x: Array) -> tuple[Array, Array]:
        if self._mean_hessian is None:
            return super().global_loss_and_gradient(x)
        return self.global_loss(x), self.global_gradient(x)

    def kernel(self, sampled: bool) -> Kernel:
        if not sampled and self._hessians is not None:
            return dense_quadratic(self._hessians, self._linear)
        data = *self._data, self.l2
        if sampled:
            return Kernel((least_squares_sampled_row,), data)
        return Kernel((least_squares_row,), data, lanes=samples_kernel(least_squares_lanes, data))

    def tilted_minimizers(self, xp: Any, y: Array, weights: Array) -> Array:
        return tilted_quadratics(xp, y, weights, self._factors, self.linear)

    def tilted_kernel(self) -> Kernel:
        return factors_kernel(self._factors, self.linear)

    @constant
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (n, d) and eigenvectors (n, d, d) of every H_i."""
        values, vectors = np.linalg.eigh(self.hessians)
        return values, vectors

    def _hessians_and_linear(self) -> tuple[np.ndarray, np.ndarray]:
        h = self.each_node(lambda a, b: a.swapaxes(1, 2) @ a / a.shape[1]) * self.shares[:, None, None]
        h += self.l2 * np.eye(self.dim)
        c = self.each_node(lambda a, b: (a.swapaxes(1, 2) @ b[:, :, None])[:, :, 0] / a.shape[1])
        return (h + h.swapaxes(1, 2)) / 2, c * self.shares[:, None]

    @constant
    def hessians(self) -> np.ndarray:
        """Hessians H_i = s_i A_i'A_i/m_i + l2 I, shape (n, d, d)."""
        return self._hessians_and_linear()[0] if self._hessians is None else self._hessians

    @constant
    def linear(self) -> np.ndarray:
        """Linear terms c_i = s_i A_i'b_i/m_i, shape (n, d)."""
        return self._hessians_and_linear()[1] if self._linear is None else self._linear

    def hessian(self, x: np.ndarray) -> np.ndarray:
        return self.hessians

    def _minimize(self) -> np.ndarray:
        if self._hessians is None:
            a, b = self._pooled
            x = _ridge(a[None], b[None], self.l2)
        else:
            x = least_norm_minimizers(self._mean_hessian[None], self._mean_linear[None])[0]
        return x[0]

    @property
    def _pooled(self) -> tuple[np.ndarray, np.ndarray]:
        """All samples (N, d), (N,), scaled so that the f of N unweighted ones is this one."""
        weights = np.sqrt(np.repeat(self.shares * len(self._features) / (self.n_nodes * self.counts), self.counts))
        return self._features * weights[:, None], self._targets * weights

    @constant
    def _vertex(self) -> tuple[np.ndarray, float]:
        """Minimizer of f without an l1 term, and f there."""
        x = self._minimize()
        return x, float(super().global_loss(x))

    @constant
    def node_minimum(self) -> np.ndarray:
        if self._hessians is None:
            share = self.shares[:, None]
            return read_only(self.loss(self.each_node(lambda s, a, b: _ridge(a, b, self.l2 / s), share)))
        return read_only(self.loss(least_norm_minimizers(self._hessians, self._linear)[0]))

    @constant
    def smoothness(self) -> float:
        """L, exact: the largest eigenvalue of an H_i."""
        return float(np.max(self.gram_norms)) + self.l2

    @constant
    def strong_convexity(self) -> float:
        """mu, exact: the least eigenvalue of the mean Hessian."""
        samples = self._pooled[0]
        if len(samples) < self.dim:
            return self.l2
        return max(least_eigenvalue(np.linalg.eigvalsh(samples.T @ samples / len(samples))), 0.0) + self.l2


def _ridge(features: np.ndarray, targets: np.ndarray, l2: Any) -> np.ndarray:
    """Least-norm minimizers of each node's loss, by the singular value decomposition: (k, m, d) -> (k, d)."""
    u, s, vt = np.linalg.svd(features, full_matrices=False)
    keep = s > max(features.shape[1:]) * np.finfo(float).eps * s[:, :1]
    inverse = np.where(keep, s, 0.0) / np.where(keep, s**2 + l2 * features.shape[1], 1.0)
    return ((inverse * (targets[:, None, :] @ u)[:, 0])[:, None, :] @ vt)[:, 0]


def least_squares_row(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    features: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """(s_i/m_i) A_i'(A_i x - b_i) + l2 x, sample by sample."""
    a, b = features[starts[i] : starts[i + 1]], targets[starts[i] : starts[i + 1]]
    scale = x.dtype.type(shares[i] / a.shape[0])
    for k in range(x.shape[0]):
        out[k] = l2 * x[k]
    for s in range(a.shape[0]):
        residual = -b[s]
        for k in range(x.shape[0]):
            residual += a[s, k] * x[k]
        residual *= scale
        for k in range(x.shape[0]):
            out[k] += residual * a[s, k]


def least_squares_sampled_row(
    i: int,
    indices: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    features: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """The mean of a_s (a_s'x - b_s) over the drawn samples times s_i, plus l2 x."""
    a, b = features[starts[i] : starts[i + 1]], targets[starts[i] : starts[i + 1]]
    scale = x.dtype.type(shares[i] / indices.shape[0])
    for k in range(x.shape[0]):
        out[k] = l2 * x[k]
    odd = indices.shape[0] % 2
    if odd:
        s = indices[0]
        first = -b[s]
        for k in range(x.shape[0]):
            first += a[s, k] * x[k]
        first *= scale
        for k in range(x.shape[0]):
            out[k] += first * a[s, k]
    for j in range(odd, indices.shape[0], 2):  # two at a time: half the traffic of the sum
        s, t = indices[j], indices[j + 1]
        first, second = -b[s], -b[t]
        for k in range(x.shape[0]):
            first += a[s, k] * x[k]
            second += a[t, k] * x[k]
        first *= scale
        second *= scale
        for k in range(x.shape[0]):
            out[k] += first * a[s, k] + second * a[t, k]


def least_squares_lanes(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    residuals: np.ndarray,
    features: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """The gradients of runs side by side, a block of samples at a time."""
    for q in range(out.shape[0]):
        out[q] = l2 * x[q]
    scale = x.dtype.type(shares[i] / (starts[i + 1] - starts[i]))
    block = residuals.shape[0] // LANES
    for first in range(starts[i], starts[i + 1], block):
        a = features[first : min(first + block, starts[i + 1])]
        for s in range(a.shape[0]):
            for r in range(LANES):
                residuals[s * LANES + r] = -targets[first + s]
        add_product(a, x, residuals)
        for q in range(a.shape[0] * LANES):
            residuals[q] *= scale
        add_product(a.T, residuals, out)
