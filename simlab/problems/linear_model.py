"""What linear models share: the loss of a sample depends on a_ij'x and a target."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlab import checks
from simlab.problems.base import Array, constant
from simlab.problems.samples import SampleProblem


class LinearModel(SampleProblem):
    """Objectives f_i(x) = (s_i/m_i) sum_j phi(a_ij'x, b_ij) + r(x).

    A subclass writes phi and its first two derivatives in the prediction a_ij'x, and those of the regularizer r where
    that is not the ridge l2 ||x||^2 / 2.
    """

    l2: float

    def _set_samples(self, features: Any, targets: Any, name: str, weighting: str) -> None:
        super()._set_samples(features, targets, name, weighting)
        self._set(dim=self._features.shape[1])

    @property
    def _data(self) -> tuple[Any, Any, Any, Any]:
        """What row functions take first: samples of all nodes, where those of each begin, and the s_i."""
        return self._features, self._targets, self._starts, self.shares

    def _phi(self, xp: Any, prediction: Array, target: Array) -> Array:
        raise self._not_written("_phi", "it is the loss of a sample")

    def _slope(self, xp: Any, prediction: Array, target: Array) -> Array:
        """First derivative of phi in the prediction."""
        raise self._not_written("_slope", "gradients are made of it")

    def _phi_and_slope(self, xp: Any, prediction: Array, target: Array) -> tuple[Array, Array]:
        """Both, where one shares with the other what takes long."""
        return self._phi(xp, prediction, target), self._slope(xp, prediction, target)

    def _bend(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Second derivative of phi in the prediction; NumPy only."""
        raise self._not_written("_bend", "Hessians are made of it")

    def _regularizer(self, xp: Any, x: Array) -> Array:
        """r: (..., d) -> (...)."""
        return self.l2 / 2 * xp.sum(x * x, axis=-1)

    def _regularizer_gradient(self, x: Array) -> Array:
        return self.l2 * x

    def _regularizer_bend(self, x: np.ndarray) -> np.ndarray:
        """Diagonal of the Hessian of r: (n, d) -> (n, d)."""
        return np.full_like(x, self.l2)

    def local_losses(self, xp: Any, x: Array) -> Array:
        def means(x: Array, a: Array, b: Array) -> Array:
            return xp.mean(self._phi(xp, xp.matmul(x, xp.matrix_transpose(a)), b[:, None, :]), axis=-1)

        return self.each_node(means, x) * self.shares[:, None] + self._regularizer(xp, x)

    def local_gradients(self, xp: Any, x: Array) -> Array:
        def means(x: Array, a: Array, b: Array) -> Array:
            slopes = self._slope(xp, xp.matmul(x, xp.matrix_transpose(a)), b[:, None, :])
            return xp.matmul(slopes, a) / a.shape[1]

        return self.each_node(means, x) * self.shares[:, None, None] + self._regularizer_gradient(x)

    def global_loss_and_gradient(self, x: Array) -> tuple[Array, Array]:
        xp, points, lead = self._points(x)

        def means(x: Array, a: Array, b: Array) -> Array:
            phi, slopes = self._phi_and_slope(xp, xp.matmul(x, xp.matrix_transpose(a)), b[:, None, :])
            return xp.concat([xp.mean(phi, axis=-1)[..., None], xp.matmul(slopes, a) / a.shape[1]], axis=-1)

        def over_nodes(some: Array) -> Array:
            return xp.mean(self.each_node(means, self._at_every_node(xp, some)) * self.shares[:, None, None], axis=0)

        found = self._in_blocks(xp, over_nodes, points, self._width)
        loss = found[:, 0] + self._regularizer(xp, points)
        gradient = found[:, 1:] + self._regularizer_gradient(points)
        return xp.reshape(loss, lead), xp.reshape(gradient, (*lead, self.dim))

    def sampled_gradients(self, xp: Any, x: Array, indices: Array) -> Array:
        rows, targets = self.drawn(xp, indices, self._features, self._targets)
        slopes = self._slope(xp, xp.matmul(rows, x[..., None])[..., 0], targets)
        sums = xp.matmul(slopes[..., None, :], rows)[..., 0, :]
        return sums / indices.shape[-1] * self.shares[:, None] + self._regularizer_gradient(x)

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """On the test data: `test_loss`, their mean phi, without the regularizer, and how good predictions are."""
        xp, points, lead = self._points(x)
        features, targets = self.test

        def scored(some: np.ndarray) -> np.ndarray:
            predictions = some @ features.T
            return np.stack(
                [self._phi(xp, predictions, targets).mean(axis=1), self._quality(predictions, targets)], axis=1
            )

        values = self._in_blocks(xp, scored, points, len(targets)).reshape(*lead, 2)
        return {"test_loss": values[..., 0], self._quality_name: values[..., 1]}

    _quality_name = ""

    def _quality(self, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """How good predictions (R, t) are, (R,)."""
        raise self._not_written("_quality", "there are test data")

    def hessian(self, x: np.ndarray) -> np.ndarray:
        def means(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            bends = self._bend((a @ x[:, :, None])[:, :, 0], b) / a.shape[1]
            return a.swapaxes(1, 2) @ (bends[:, :, None] * a)

        x = np.broadcast_to(x, (self.n_nodes, self.dim))
        result = self.each_node(means, x) * self.shares[:, None, None]
        diagonal = np.arange(self.dim)
        result[:, diagonal, diagonal] += self._regularizer_bend(x)
        return result

    @constant
    def gram_norms(self) -> np.ndarray:
        """Largest eigenvalue of s_i A_i'A_i / m_i for each node, shape (n,)."""
        return self.each_node(lambda a, b: largest_gram_eigenvalues(a)) * self.shares


def largest_gram_eigenvalues(features: np.ndarray) -> np.ndarray:
    """Largest eigenvalue of A_i'A_i / m for each node: (n, m, d) -> (n,)."""
    _, m, d = features.shape
    transposed = features.swapaxes(1, 2)
    gram = transposed @ features if d <= m else features @ transposed
    return np.linalg.eigvalsh(gram)[:, -1] / m


def local_models(
    random: np.random.Generator, n_nodes: int, n_samples: int, dim: int, heterogeneity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal features A_i (n, m, d) and their noiseless predictions A_i x_i (n, m).

    x_i = x0 + heterogeneity * z_i, with the entries of x0 and of every z_i drawn from N(0, 1/d).
    """
    shape = (
        checks.integer("n_nodes", n_nodes, minimum=1),
        checks.integer("n_samples", n_samples, minimum=1),
        checks.integer("dim", dim, minimum=1),
    )
    spread = checks.real("heterogeneity", heterogeneity, minimum=0.0)
    center = random.standard_normal(dim)
    offsets = random.standard_normal((n_nodes, dim))
    features = random.standard_normal(shape)
    models = (center + spread * offsets) / np.sqrt(dim)
    return features, (features @ models[:, :, None])[:, :, 0]
