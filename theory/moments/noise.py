"""The covariance of stochastic gradients: additive noise and mini-batches drawn with replacement."""

from __future__ import annotations

import numpy as np

import simlab
from simlab.problems.base import Problem


class Noise:
    """What chance adds to the gradients; the nodes' draws are independent.

    Given x_i, the noise of node i has covariance Q_i(x_i) = std² I + (1/B) [(1/m) Σ_j g_ij g_ijʹ − g_i g_iʹ], g_ij the
    gradient of sample j, and m the samples of node i. On least squares Q_i is a quadratic function of x_i: if x_i has
    mean μ_i and covariance V_i, then E Q_i(x_i) = Q_i(μ_i) + A_i(V_i), with
    A_i(V) = (s²/B) [(1/m) Σ_j (a_jʹVa_j) a_ja_jʹ − ĀVĀ], Ā = (1/m) Σ_j a_ja_jʹ, and s the share of node i.

    Parameters
    ----------
    problem : Problem
    batch_size : float or None
        B; not necessarily whole here, so that B can be solved for. None: full batches.
    std : float
        Standard deviation of the additive noise of each coordinate.
    """

    def __init__(self, problem: Problem, batch_size: float | None, std: float) -> None:
        self.problem, self.batch_size, self.std = problem, batch_size, std
        self.is_exact = batch_size is None or isinstance(problem, simlab.LeastSquares)
        self.depends_on_state = batch_size is not None and isinstance(problem, simlab.LeastSquares)

    @property
    def is_zero(self) -> bool:
        """Nothing is random."""
        return self.batch_size is None and self.std == 0

    def covariance(self, x: np.ndarray) -> np.ndarray:
        """Q_i at the rows of `x`: (n, d) -> (n, d, d)."""
        n, d = x.shape
        result = np.tile(self.std**2 * np.eye(d), (n, 1, 1))
        return result if self.batch_size is None else result + self._samples(x) / self.batch_size

    def spread(self, v: np.ndarray) -> np.ndarray:
        """A_i(V_i), what the covariance V_i of x_i adds to the mean of Q_i: (n, d, d) -> (n, d, d)."""
        assert isinstance(self.problem, simlab.LeastSquares) and self.batch_size is not None

        def of_nodes(v: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:  # a (n, m, d)
            m = a.shape[1]
            gram = a.swapaxes(1, 2) @ a / m
            weights = np.einsum("nmd,nmd->nm", a @ v, a) / m
            return a.swapaxes(1, 2) @ (weights[:, :, None] * a) - gram @ v @ gram

        return self.problem.each_node(of_nodes, v) * (self.problem.shares**2 / self.batch_size)[:, None, None]

    def _samples(self, x: np.ndarray) -> np.ndarray:
        """Covariance of one sample's gradient: (n, d) -> (n, d, d)."""
        if isinstance(self.problem, simlab.LeastSquares):
            return self.problem.each_node(_residual_covariance, x) * self.problem.shares[:, None, None] ** 2
        n, d = x.shape
        mean, total = self.problem.gradient(x), np.zeros((n, d, d))
        for gradients, real in self.problem.sample_gradients(x):
            g = (gradients - mean) * real[:, :, None]
            total += g.transpose(1, 2, 0) @ g.transpose(1, 0, 2)
        return total / self.problem.counts[:, None, None]


def _residual_covariance(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Covariance over the samples of (a_jʹx − b_j) a_j: (n, d), (n, m, d), (n, m) -> (n, d, d)."""
    g = (a @ x[:, :, None] - b[:, :, None]) * a
    g -= g.mean(axis=1, keepdims=True)
    return g.swapaxes(1, 2) @ g / a.shape[1]


def factors(covariances: np.ndarray) -> np.ndarray:
    """F_i with F_iF_iʹ = Q_i: (n, d, d) -> (n, d, d)."""
    values, vectors = np.linalg.eigh(covariances)
    return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
