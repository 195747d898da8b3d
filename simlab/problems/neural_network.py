"""Classification by a neural network, with the cross-entropy loss."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from simlab import checks
from simlab.kernel import Kernel
from simlab.problems.base import Array, read_only
from simlab.problems.neural_kernels import KERNEL, SAMPLED_KERNEL
from simlab.problems.unknown import UnknownMinimizer

KERNEL_BLOCK = 64  # samples that a compiled gradient takes at once
ACTIVATIONS = ("tanh", "relu")


class NeuralNetwork(UnknownMinimizer):
    """A fully connected network that classifies samples; f_i is s_i times the mean cross-entropy, plus l2 ||x||^2 / 2.

    The parameters x hold, layer by layer from the input, the weights (outputs, inputs) row after row and then the
    biases. Zero is a saddle of every network with a hidden layer: start from `initial(seed)`, as in
    ``simulate(problem, ..., x0=problem.initial(seed))``.

    f is not convex and its minimizer is not known: `minimizer` is None, so that `mse` is recorded as NaN, and constants
    that need it, or a bound on all Hessians, raise ValueError.

    Parameters
    ----------
    layers : sequence of int
        Units of each hidden layer; the features and the classes are the ends. None: softmax regression.
    features : array, shape (n, m, p), or n arrays, shape (m_i, p)
        Samples of each node.
    labels : array of integers, shape (n, m), or n arrays, shape (m_i,)
        Classes 0, 1, ..., C - 1.
    activation : {"tanh", "relu"}, default "tanh"
    l2 : float, default 0
        Weight decay, >= 0, on weights and biases.
    test : tuple (features, labels), optional
        Held-out samples, of shapes (t, p) and (t,): traces then have columns `accuracy`, the part that the network with
        the mean parameters x̄ classifies correctly, and `test_loss`, its cross-entropy, and `worst_accuracy` and
        `worst_test_loss` of the worst node.
    weighting : {"nodes", "samples"}, default "nodes"
        Whether f weighs all nodes alike, s_i = 1, or all samples, s_i = n m_i / (m_1 + ... + m_n).

    Attributes
    ----------
    sizes : tuple of int
        Units of every layer, from p features to C classes.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes, NaN, labels that are no classes, an unknown activation, or a negative l2.

    Examples
    --------
    >>> import simlab
    >>> data = simlab.data.load("digits")
    >>> parts = simlab.data.partition(data.features, data.targets, 10, "sorted")
    >>> simlab.NeuralNetwork([32], parts.features, parts.targets)
    NeuralNetwork(n_nodes=10, n_samples=179, dim=2410, layers=64-32-10, activation='tanh', l2=0)
    """

    shares_passes = False  # each point has weights, and so matrix products, of its own
    _labels: np.ndarray  # (N,); _targets are (N, C): 1 for the class of a sample, 0 for the others
    sizes: tuple[int, ...]
    activation: str
    l2: float

    @checks.keywords
    def __init__(
        self,
        layers: Sequence[int],
        features: Any,
        labels: Any,
        activation: str = "tanh",
        l2: float = 0.0,
        test: tuple[Any, Any] | None = None,
        weighting: str = "nodes",
    ) -> None:
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise TypeError(f"layers = {layers!r} is not a sequence; pass the units of each hidden layer, as in [32]")
        hidden = [checks.integer(f"layers[{k}]", units, minimum=1) for k, units in enumerate(layers)]
        self._set_samples(features, labels, "labels", weighting)
        classes, p = _classes("labels", self._targets), self._features.shape[1]
        n_classes = int(classes.max()) + 1
        self._set_test(test, "labels")
        if self.test is not None:
            held_out = read_only(_classes("test labels", self.test[1]))
            self._set(test=(self.test[0], held_out))
            n_classes = max(n_classes, int(held_out.max()) + 1)
        sizes = (p, *hidden, max(n_classes, 2))
        self._set(
            dim=sum(q * (p + 1) for p, q in itertools.pairwise(sizes)),
            _labels=classes, _targets=np.eye(sizes[-1])[classes], sizes=sizes,
            activation=checks.one_of("activation", activation, ACTIVATIONS), l2=checks.real("l2", l2, minimum=0.0),
        )  # fmt: skip

    def __repr__(self) -> str:
        layers = "-".join(map(str, self.sizes))
        return super().__repr__()[:-1] + f", layers={layers}, activation={self.activation!r}, l2={self.l2:g})"

    @property
    def labels(self) -> Any:
        """Classes of each node's samples, (n, m), or n arrays (m_i,) where the m_i differ."""
        return self._by_nodes(self._labels)

    @property
    def blocks(self) -> dict[str, slice]:
        """Weights and biases of each layer, from the input."""
        found, start = {}, 0
        for layer, (p, q) in enumerate(itertools.pairwise(self.sizes)):
            for name, size in (("weights", q * p), ("biases", q)):
                found[f"{name} {layer}"] = slice(start, start + size)
                start += size
        return found

    def initial(self, seed: int = 0) -> np.ndarray:
        """Random parameters to start from, shape (d,): the same at every node.

        Weights are normal with variance 1/inputs, 2/inputs after relu (Glorot, Bengio 2010; He et al. 2015); biases 0.
        """
        random = np.random.default_rng(checks.seed(seed))
        parts = []
        for layer, (p, q) in enumerate(itertools.pairwise(self.sizes)):
            gain = 2.0 if self.activation == "relu" and layer else 1.0
            parts += [random.standard_normal(q * p) * np.sqrt(gain / p), np.zeros(q)]
        return np.concatenate(parts)

    def predict(self, x: Array, features: Array) -> Array:
        """Most likely classes of samples (t, p) under parameters (..., d): (..., t)."""
        xp, points, lead = self._points(x)
        checks.states(features, "features")
        if features.ndim != 2 or features.shape[1] != self.sizes[0]:
            raise ValueError(
                f"features has shape {tuple(features.shape)}, not (t, {self.sizes[0]}); pass a row a sample"
            )
        classes = lambda some: xp.argmax(self._forward(xp, some, features)[-1], axis=-1)  # noqa: E731
        width = features.shape[0] * max(self.sizes)
        return xp.reshape(self._in_blocks(xp, classes, points, width), (*lead, features.shape[0]))

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """`test_loss` and `accuracy` on the test data."""
        xp, points, lead = self._points(x)
        features, labels = self.test
        targets = np.eye(self.sizes[-1])[labels]

        def scored(some: np.ndarray) -> np.ndarray:
            logits, _, total = _odds(xp, self._forward(xp, some, features)[-1])
            right = np.mean(logits.argmax(axis=-1) == labels, axis=-1)
            return np.stack([_entropy(xp, logits, total, targets), right], axis=1)

        values = self._in_blocks(xp, scored, points, len(labels) * max(self.sizes)).reshape(*lead, 2)
        return {"test_loss": values[..., 0], "accuracy": values[..., 1]}

    # Values and gradients: parameters (..., d) on samples (..., S, p), leading axes broadcast.

    def _weights(self, xp: Any, x: Array) -> list[tuple[Array, Array]]:
        """Weights (..., outputs, inputs) and biases (..., 1, outputs) of each layer."""
        parts, start = [], 0
        for p, q in itertools.pairwise(self.sizes):
            w = xp.reshape(x[..., start : start + q * p], (*x.shape[:-1], q, p))
            parts.append((w, x[..., None, start + q * p : start + q * (p + 1)]))
            start += q * (p + 1)
        return parts

    def _forward(self, xp: Any, x: Array, features: Array) -> list[Array]:
        """Values of every layer: features, activations, logits."""
        values = [features]
        weights = self._weights(xp, x)
        for w, b in weights:
            z = xp.matmul(values[-1], xp.matrix_transpose(w)) + b
            last = len(values) == len(weights)
            values.append(z if last else xp.tanh(z) if self.activation == "tanh" else xp.where(z > 0, z, 0 * z))
        return values

    def _mean_loss(self, xp: Any, x: Array, features: Array, targets: Array) -> Array:
        logits, _, total = _odds(xp, self._forward(xp, x, features)[-1])
        return _entropy(xp, logits, total, targets)

    def _mean_gradient(self, xp: Any, x: Array, features: Array, targets: Array) -> Array:
        values = self._forward(xp, x, features)
        _, odds, total = _odds(xp, values[-1])
        return self._backward(xp, x, values, odds / total, targets)

    def _mean_both(self, xp: Any, x: Array, features: Array, targets: Array) -> Array:
        """Loss and gradient, one after the other, (..., 1 + d)."""
        values = self._forward(xp, x, features)
        logits, odds, total = _odds(xp, values[-1])
        loss = _entropy(xp, logits, total, targets)
        return xp.concat([loss[..., None], self._backward(xp, x, values, odds / total, targets)], axis=-1)

    def _backward(self, xp: Any, x: Array, values: list[Array], chances: Array, targets: Array) -> Array:
        """The gradient, from the values of every layer and the probabilities of the classes."""
        delta = (chances - targets) / chances.shape[-2]
        parts = []
        for (w, _), inputs in zip(self._weights(xp, x)[::-1], values[-2::-1], strict=True):
            by_weight = xp.matmul(xp.matrix_transpose(delta), inputs)
            lead = by_weight.shape[:-2]
            parts += [xp.sum(delta, axis=-2), xp.reshape(by_weight, (*lead, w.shape[-2] * w.shape[-1]))]
            slope = 1 - inputs * inputs if self.activation == "tanh" else xp.astype(inputs > 0, inputs.dtype)
            if inputs is not values[0]:
                delta = xp.matmul(delta, w) * slope
        return xp.concat(parts[::-1], axis=-1)

    def _decay(self, xp: Any, x: Array) -> Array:
        return self.l2 / 2 * xp.sum(x * x, axis=-1)

    def local_losses(self, xp: Any, x: Array) -> Array:
        means = lambda x, a, b: self._mean_loss(xp, x, a[:, None, ...], b[:, None, ...])  # noqa: E731
        return self.each_node(means, x) * self.shares[:, None] + self._decay(xp, x)

    def local_gradients(self, xp: Any, x: Array) -> Array:
        means = lambda x, a, b: self._mean_gradient(xp, x, a[:, None, ...], b[:, None, ...])  # noqa: E731
        return self.each_node(means, x) * self.shares[:, None, None] + self.l2 * x

    def sampled_gradients(self, xp: Any, x: Array, indices: Array) -> Array:
        samples = self.drawn(xp, indices, self._features, self._targets)
        return self._mean_gradient(xp, x, *samples) * self.shares[:, None] + self.l2 * x

    def global_loss(self, x: Array) -> Array:
        if not self._alike:
            return super().global_loss(x)
        xp, points, lead = self._points(x)
        return xp.reshape(self._on_all_samples(xp, self._mean_loss, points) + self._decay(xp, points), lead)

    def global_gradient(self, x: Array) -> Array:
        if not self._alike:
            return super().global_gradient(x)
        xp, points, lead = self._points(x)
        gradients = self._on_all_samples(xp, self._mean_gradient, points) + self.l2 * points
        return xp.reshape(gradients, (*lead, self.dim))

    def global_loss_and_gradient(self, x: Array) -> tuple[Array, Array]:
        if not self._alike:
            return super().global_loss_and_gradient(x)
        xp, points, lead = self._points(x)
        both = self._on_all_samples(xp, self._mean_both, points)
        loss, gradient = both[:, 0] + self._decay(xp, points), both[:, 1:] + self.l2 * points
        return xp.reshape(loss, lead), xp.reshape(gradient, (*lead, self.dim))

    def _on_all_samples(self, xp: Any, function: Any, points: Array) -> Array:
        """`function` of many points (R, d), so few at a time that their activations take little memory."""
        values = lambda some: function(xp, some, self._features, self._targets)  # noqa: E731
        return self._in_blocks(xp, values, points, self._width)

    @property
    def _alike(self) -> bool:
        """Whether all samples weigh the same."""
        return self.weighting == "samples" or isinstance(self.n_samples, int)

    @property
    def _width(self) -> int:
        return len(self._labels) * max(self.sizes)

    def kernel(self, sampled: bool) -> Kernel:
        weights = max(p * q for p, q in itertools.pairwise(self.sizes))
        values = np.empty(KERNEL_BLOCK * sum(self.sizes))
        return Kernel(
            SAMPLED_KERNEL if sampled else KERNEL,
            (
                np.array(self.sizes, np.int64),
                self._features,
                self._labels,
                self._starts,
                self.shares,
                self.l2,
                float(self.activation == "relu"),
            ),
            (values, np.empty_like(values), np.empty(weights), np.empty(KERNEL_BLOCK, np.int64)),
        )

    # Constants: what is known of them.

    @property
    def node_minimum(self) -> np.ndarray:
        """A lower bound on each f_i, shape (n,): 0."""
        return read_only(np.zeros(self.n_nodes))

    @property
    def lower_bound(self) -> float:
        """0: below it no f_i falls."""
        return 0.0


def _odds(xp: Any, logits: Array) -> tuple[Array, Array, Array]:
    """Logits less the largest, their exponentials, (..., S, C), and the sums of these, (..., S, 1)."""
    logits = logits - xp.max(logits, axis=-1, keepdims=True)
    odds = xp.exp(logits)
    return logits, odds, xp.sum(odds, axis=-1, keepdims=True)


def _entropy(xp: Any, logits: Array, total: Array, targets: Array) -> Array:
    """Mean cross-entropy, (...), of logits less the largest and the sums of their exponentials."""
    return xp.mean(xp.log(total[..., 0]) - xp.sum(targets * logits, axis=-1), axis=-1)


def _classes(name: str, values: np.ndarray) -> np.ndarray:
    """Labels as int64; ValueError unless they are whole numbers from 0 on."""
    classes = values.astype(np.int64)
    if np.any(classes != values) or classes.min(initial=0) < 0:
        raise ValueError(f"{name} holds values that are no classes; pass whole numbers 0, 1, ..., C - 1")
    return classes
