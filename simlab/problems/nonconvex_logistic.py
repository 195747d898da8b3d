"""Logistic regression with a bounded, nonconvex regularizer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from simlab import checks
from simlab.kernel import Kernel
from simlab.problems.base import Array, constant, read_only
from simlab.problems.lanes import samples_kernel
from simlab.problems.logistic import LogisticLoss, add_logistic_gradient, add_logistic_lanes, random_labels


class NonconvexLogistic(LogisticLoss):
    """Nonconvex logistic regression: s_i times the mean over j of log(1 + exp(-b_ij a_ij'x)), plus a regularizer.

    The regularizer, which is bounded, is penalty * sum_k x_k^2 / (1 + x_k^2).

    `minimizer` is the stationary point that damped Newton reaches from zero: a local minimizer, not always the global
    one, and `minimum`, `heterogeneity` and `gradient_variance` are those there. `node_minimum` and `lower_bound` are
    0, below which no f_i falls.

    Parameters
    ----------
    features : array, shape (n, m, d), or n arrays, shape (m_i, d)
        a_ij.
    labels : array, shape (n, m), or n arrays, shape (m_i,)
        b_ij in {-1, +1}; labels in {0, 1} are taken as -1 and +1.
    penalty : float
        Weight of the regularizer, >= 0.
    weighting : {"nodes", "samples"}, default "nodes"
        Whether f weighs all nodes alike, s_i = 1, or all samples, s_i = n m_i / (m_1 + ... + m_n): the same where
        nodes have equally many.
    test : tuple (features, labels), optional
        Held-out samples, of shapes (t, d) and (t,): traces then have columns `test_loss` (the mean loss of a sample,
        without the regularizer) and `accuracy` of the mean state, and `worst_test_loss` and `worst_accuracy` of the
        worst node.

    Raises
    ------
    ValueError
        Wrong shapes, NaN, other labels, or a negative penalty.
    """

    is_convex = False
    penalty: float

    @checks.keywords
    def __init__(self, features: Any, labels: Any, penalty: float, weighting: str = "nodes", test: Any = None) -> None:
        self._set_labels(features, labels, weighting, test)
        self._set(penalty=checks.real("penalty", penalty, minimum=0.0))

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + f", penalty={self.penalty:g})"

    @classmethod
    @checks.keywords
    def synthetic(
        cls,
        n_nodes: int,
        n_samples: int,
        dim: int,
        heterogeneity: float = 1.0,
        penalty: float = 0.01,
        seed: int = 0,
    ) -> Self:
        """Random classification with the data of `LogisticRegression.synthetic`."""
        return cls(*random_labels(n_nodes, n_samples, dim, heterogeneity, seed), penalty)

    def _regularizer(self, xp: Any, x: Array) -> Array:
        return self.penalty * xp.sum(1 - 1 / (1 + x * x), axis=-1)

    def _regularizer_gradient(self, x: Array) -> Array:
        return 2 * self.penalty * x / (1 + x * x) ** 2

    def _regularizer_bend(self, x: np.ndarray) -> np.ndarray:
        return 2 * self.penalty * (1 - 3 * x * x) / (1 + x * x) ** 3

    def kernel(self, sampled: bool) -> Kernel:
        data = *self._data, self.penalty
        if sampled:
            return Kernel((add_logistic_gradient, nonconvex_logistic_sampled_row), data)
        lanes = samples_kernel(nonconvex_logistic_lanes, data, (add_logistic_lanes,))
        return Kernel((add_logistic_gradient, nonconvex_logistic_row), data, lanes=lanes)

    @property
    def smoothness(self) -> float:
        """L = max_i s_i lambda_max(A_i'A_i) / (4 m_i) + 2 penalty, an upper bound."""
        return self._data_smoothness + 2 * self.penalty

    @property
    def strong_convexity(self) -> float:
        """Mu = -penalty / 2, a lower bound: the least second derivative of x^2 / (1 + x^2) is -1/2, at x = 1."""
        return -self.penalty / 2

    @constant
    def node_minimum(self) -> np.ndarray:
        """A lower bound on each f_i, shape (n,): 0."""
        return read_only(np.zeros(self.n_nodes))

    @property
    def lower_bound(self) -> float:
        return 0.0


def nonconvex_logistic_row(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    penalty: float,
) -> None:
    """The gradient of node i."""
    for k in range(x.shape[0]):
        square = 1 + x[k] * x[k]
        out[k] = 2 * penalty * x[k] / (square * square)
    a, b = features[starts[i] : starts[i + 1]], labels[starts[i] : starts[i + 1]]
    scale = shares[i] / a.shape[0]
    for s in range(a.shape[0]):
        add_logistic_gradient(x, out, a[s], b[s], scale)


def nonconvex_logistic_sampled_row(
    i: int,
    indices: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    penalty: float,
) -> None:
    """The gradient of node i on the drawn samples."""
    for k in range(x.shape[0]):
        square = 1 + x[k] * x[k]
        out[k] = 2 * penalty * x[k] / (square * square)
    a, b = features[starts[i] : starts[i + 1]], labels[starts[i] : starts[i + 1]]
    scale = shares[i] / indices.shape[0]
    for j in range(indices.shape[0]):
        add_logistic_gradient(x, out, a[indices[j]], b[indices[j]], scale)


def nonconvex_logistic_lanes(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    margins: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    penalty: float,
) -> None:
    """The gradients of runs side by side."""
    for q in range(out.shape[0]):
        square = 1 + x[q] * x[q]
        out[q] = 2 * penalty * x[q] / (square * square)
    mine = slice(starts[i], starts[i + 1])
    add_logistic_lanes(x, out, margins, features[mine], labels[mine], shares[i])
