"""Logistic regression with a ridge, and the loss that its nonconvex relative shares."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from simlab import checks
from simlab.kernel import LANES, Kernel
from simlab.problems.base import Array, constant, read_only
from simlab.problems.lanes import add_product, samples_kernel
from simlab.problems.linear_model import LinearModel, local_models
from simlab.problems.tilted import tilted_logistic


class LogisticLoss(LinearModel):
    """Linear models with phi(z, b) = log(1 + exp(-b z)), b in {-1, +1}."""

    def _set_labels(self, features: Any, labels: Any, weighting: str, test: Any) -> None:
        self._set_samples(features, labels, "labels", weighting)
        self._set(_targets=_signs("labels", self._targets))
        self._set_test(test, "labels")
        if self.test is not None:
            self._set(test=(self.test[0], read_only(_signs("test labels", self.test[1]))))

    _quality_name = "accuracy"

    def _quality(self, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The part of the samples on the right side; a prediction of 0 is on that of +1."""
        return np.mean(np.where(predictions >= 0, 1.0, -1.0) == targets, axis=1)

    @property
    def labels(self) -> Any:
        """Labels b_ij in {-1, +1}, of the shape of `targets`."""
        return self.targets

    def _phi(self, xp: Any, prediction: Array, target: Array) -> Array:
        return _loss_at(xp, *_tails(xp, prediction, target))

    def _slope(self, xp: Any, prediction: Array, target: Array) -> Array:
        return _slope_at(xp, *_tails(xp, prediction, target), target)

    def _phi_and_slope(self, xp: Any, prediction: Array, target: Array) -> tuple[Array, Array]:
        margin, tail = _tails(xp, prediction, target)
        return _loss_at(xp, margin, tail), _slope_at(xp, margin, tail, target)

    def _bend(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        tail = np.exp(-np.abs(prediction))
        return tail / (1 + tail) ** 2

    @constant
    def _data_smoothness(self) -> float:
        """Bound on the Hessians of the loss over a node's samples: max_i s_i lambda_max(A_i'A_i) / (4 m_i)."""
        return float(np.max(self.gram_norms)) / 4


def _tails(xp: Any, prediction: Array, target: Array) -> tuple[Array, Array]:
    """Margins m = b z and exp(-|m|)."""
    margin = target * prediction
    return margin, xp.exp(-xp.abs(margin))


def _loss_at(xp: Any, margin: Array, tail: Array) -> Array:
    return xp.log1p(tail) + (xp.abs(margin) - margin) / 2


def _slope_at(xp: Any, margin: Array, tail: Array, target: Array) -> Array:
    return -target * xp.where(margin >= 0, tail, xp.ones_like(tail)) / (1 + tail)


class LogisticRegression(LogisticLoss):
    """Logistic regression f_i(x) = (s_i/m_i) sum_j log(1 + exp(-b_ij a_ij'x)) + l2 ||x||^2 / 2.

    Parameters
    ----------
    features : array, shape (n, m, d), or n arrays, shape (m_i, d)
        a_ij.
    labels : array, shape (n, m), or n arrays, shape (m_i,)
        b_ij in {-1, +1}; labels in {0, 1} are taken as -1 and +1.
    l2 : float
        Ridge parameter, >= 0. With 0 the `minimizer` exists only if no hyperplane separates the labels.
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
        Wrong shapes, NaN, other labels, or a negative l2.
    """

    @checks.keywords
    def __init__(self, features: Any, labels: Any, l2: float, weighting: str = "nodes", test: Any = None) -> None:
        self._set_labels(features, labels, weighting, test)
        self._set(l2=checks.real("l2", l2, minimum=0.0))

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
        l2: float = 0.01,
        seed: int = 0,
    ) -> Self:
        """Random classification, each node with its own model.

        As `LeastSquares.synthetic`, with labels drawn from the logistic model: b_ij = 1 with probability
        1 / (1 + exp(-a_ij'x_i)).

        Parameters
        ----------
        n_nodes, n_samples, dim : int
            n, m, d.
        heterogeneity : float, default 1
            Size of the differences between the nodes' models, relative to the models themselves.
        l2 : float, default 0.01
        seed : int, default 0
        """
        return cls(*random_labels(n_nodes, n_samples, dim, heterogeneity, seed), l2)

    def kernel(self, sampled: bool) -> Kernel:
        data = *self._data, self.l2
        if sampled:
            return Kernel((add_logistic_gradient, logistic_sampled_row), data)
        lanes = samples_kernel(logistic_lanes, data, (add_logistic_lanes,))
        return Kernel((add_logistic_gradient, logistic_row), data, lanes=lanes)

    def tilted_kernel(self) -> Kernel:
        return tilted_logistic(*self._data, self.l2)

    def _minimize(self) -> np.ndarray:
        x = super()._minimize()
        if self.l2 == 0 and np.linalg.eigvalsh(np.mean(self.hessian(x), axis=0))[0] < 1e-8 * self.smoothness:
            raise ValueError(
                "l2 = 0.0 leaves f without a unique minimizer: a hyperplane separates the labels, or the features are "
                "linearly dependent; choose a positive l2"
            )
        return x

    @property
    def smoothness(self) -> float:
        """L = max_i s_i lambda_max(A_i'A_i) / (4 m_i) + l2, an upper bound."""
        return self._data_smoothness + self.l2

    @property
    def strong_convexity(self) -> float:
        """Mu = l2, a lower bound."""
        return self.l2


def random_labels(
    n_nodes: int, n_samples: int, dim: int, heterogeneity: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, m, d) and labels (n, m) of `LogisticRegression.synthetic`."""
    random = np.random.default_rng(checks.seed(seed))
    features, predictions = local_models(random, n_nodes, n_samples, dim, heterogeneity)
    return features, np.where(random.logistic(size=predictions.shape) < predictions, 1.0, -1.0)


def _signs(name: str, labels: np.ndarray) -> np.ndarray:
    kinds = set(np.unique(labels).tolist())
    if kinds <= {-1.0, 1.0}:
        return labels
    if kinds <= {0.0, 1.0}:
        return 2 * labels - 1
    shown = ", ".join(f"{k:g}" for k in sorted(kinds)[:5]) + (", ..." if len(kinds) > 5 else "")
    raise ValueError(f"{name} holds the values {shown}; pass labels in {{-1, +1}} or in {{0, 1}}")


def add_logistic_gradient(x: np.ndarray, out: np.ndarray, features: np.ndarray, label: float, scale: float) -> None:
    """Add scale times the gradient of log(1 + exp(-label features'x)) to out; no exponential overflows."""
    margin = x.dtype.type(0)
    for k in range(x.shape[0]):
        margin += features[k] * x[k]
    margin *= label
    tail = math.exp(-abs(margin))
    weight = x.dtype.type(-label * scale * (tail if margin >= 0 else 1.0) / (1.0 + tail))
    for k in range(x.shape[0]):
        out[k] += weight * features[k]


def add_logistic_lanes(
    x: np.ndarray, out: np.ndarray, margins: np.ndarray, features: np.ndarray, labels: np.ndarray, share: float
) -> None:
    """Add the mean gradients over all samples of a node, times its share, to out, for runs side by side.

    A block of samples at a time.
    """
    scale = x.dtype.type(share / features.shape[0])
    block = margins.shape[0] // LANES
    for first in range(0, features.shape[0], block):
        a = features[first : first + block]
        margins[:] = 0
        add_product(a, x, margins)
        for s in range(a.shape[0]):
            label = labels[first + s]
            for q in range(s * LANES, (s + 1) * LANES):
                margin = label * margins[q]
                tail = math.exp(-abs(margin))
                margins[q] = -label * scale * (tail if margin >= 0 else 1.0) / (1.0 + tail)
        add_product(a.T, margins, out)


def logistic_row(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """The gradient of node i."""
    for k in range(x.shape[0]):
        out[k] = l2 * x[k]
    a, b = features[starts[i] : starts[i + 1]], labels[starts[i] : starts[i + 1]]
    scale = shares[i] / a.shape[0]
    for s in range(a.shape[0]):
        add_logistic_gradient(x, out, a[s], b[s], scale)


def logistic_sampled_row(
    i: int,
    indices: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """The gradient of node i on the drawn samples."""
    for k in range(x.shape[0]):
        out[k] = l2 * x[k]
    a, b = features[starts[i] : starts[i + 1]], labels[starts[i] : starts[i + 1]]
    scale = shares[i] / indices.shape[0]
    for j in range(indices.shape[0]):
        add_logistic_gradient(x, out, a[indices[j]], b[indices[j]], scale)


def logistic_lanes(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    margins: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    shares: np.ndarray,
    l2: float,
) -> None:
    """The gradients of runs side by side."""
    for q in range(out.shape[0]):
        out[q] = l2 * x[q]
    mine = slice(starts[i], starts[i + 1])
    add_logistic_lanes(x, out, margins, features[mine], labels[mine], shares[i])
