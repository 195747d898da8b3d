"""A model in JAX: losses and gradients of all nodes and runs by one compiled call each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

Array = Any


class Model:
    """Losses and gradients at rows of parameters, which come and go as arrays of any namespace.

    Parameters
    ----------
    loss : function
        Of a pytree, features (B, ...) and targets (B, ...).
    parameters : pytree
    samples : tuple
        Features and targets of all nodes (N, ...), the first sample of each node (n,), and how many each has (n,).
    scorers : mapping of functions
        Like `loss`, of the test data.
    test : tuple or None
    dtype : numpy dtype
        In which everything is computed.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Any,
        samples: tuple[np.ndarray, ...],
        scorers: Mapping[str, Callable[..., Any]],
        test: tuple[np.ndarray, np.ndarray] | None,
        dtype: np.dtype,
    ) -> None:
        self.dtype = dtype
        features, targets, first, counts = samples
        with self._precision():
            leaves = jax.tree_util.tree_leaves_with_path(parameters)
            for path, leaf in leaves:
                if np.asarray(leaf).dtype.kind != "f":
                    name = jax.tree_util.keystr(path)
                    raise TypeError(
                        f"parameters{name} is of type {np.asarray(leaf).dtype}; pass floating-point numbers"
                    )
            flat, self._unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters))
            self.initial = np.asarray(flat, np.float64)
            self.blocks = _blocks([(jax.tree_util.keystr(path), np.size(leaf)) for path, leaf in leaves])
            self._data = tuple(map(jnp.asarray, (features, targets)))
            self._first = jnp.asarray(first)[:, None]
            self._all, self._weights = self._of_nodes(first, counts)
            self._test: Any = None if test is None else tuple(map(jnp.asarray, test))

        def at(x: Array, a: Array, b: Array) -> Array:
            return loss(self._unravel(x), a, b)

        def weighed(x: Array, a: Array, b: Array, weights: Array) -> Array:
            each = jax.vmap(lambda one, its: at(x, one[None], its[None]))(a, b)
            return jnp.sum(weights * each)

        def sampled(x: Array, indices: Array, features: Array, targets: Array) -> Array:
            rows = x.reshape(-1, x.shape[-1])
            places = (indices + self._first).reshape(len(rows), -1)
            return jax.vmap(jax.grad(at))(rows, features[places], targets[places]).reshape(x.shape)

        def over_nodes(function: Callable[..., Any], of: Callable[..., Any]) -> Callable[..., Any]:
            data = (None,) * (2 if self._weights is None else 3)
            return jax.jit(jax.vmap(jax.vmap(of(function), (0, *data)), 0))

        def both(function: Callable[..., Any]) -> Callable[..., Any]:
            def joined(*arguments: Array) -> Array:
                value, slope = jax.value_and_grad(function)(*arguments)
                return jnp.concatenate([value[None], slope])

            return joined

        whole = at if self._weights is None else weighed
        self._losses = over_nodes(whole, lambda function: function)
        self._gradients = over_nodes(whole, jax.grad)
        self._both = over_nodes(whole, both)
        self._sampled = jax.jit(sampled)
        scored = {"test_loss": loss, **scorers}
        self._scores = jax.jit(
            lambda x, a, b: jax.lax.map(
                lambda row: {name: function(self._unravel(row), a, b) for name, function in scored.items()}, x
            )
        )

    def _precision(self) -> AbstractContextManager[Any]:
        return jax.enable_x64(self.dtype == np.float64)

    def _of_nodes(self, first: np.ndarray, counts: np.ndarray) -> tuple[tuple[Array, Array], Array | None]:
        """Samples by node, (n, m, ...): where amounts differ the last of each repeated, with weights (n, m)."""
        if np.all(counts == counts[0]):
            shape = len(counts), int(counts[0])
            a, b = (array.reshape(*shape, *array.shape[1:]) for array in self._data)
            return (a, b), None
        order = np.arange(counts.max())
        places = first[:, None] + np.minimum(order, counts[:, None] - 1)
        weights = (order < counts[:, None]) / counts[:, None]
        a, b = (array[places] for array in self._data)
        return (a, b), jnp.asarray(weights, self.dtype)

    def sees_gpu(self) -> bool:
        return any(device.platform == "gpu" for device in jax.devices())

    def unravel(self, x: np.ndarray) -> Any:
        with self._precision():
            return self._unravel(jnp.asarray(x, self.dtype))

    def losses(self, xp: Any, x: Array) -> Array:
        """Mean losses, (n, R, d) -> (n, R)."""
        return self._call(xp, self._losses, x, *self._by_node)

    def gradients(self, xp: Any, x: Array) -> Array:
        """Their gradients, (n, R, d) -> (n, R, d)."""
        return self._call(xp, self._gradients, x, *self._by_node)

    def losses_and_gradients(self, xp: Any, x: Array) -> Array:
        """Both, the loss first, by one pass: (n, R, d) -> (n, R, 1 + d)."""
        return self._call(xp, self._both, x, *self._by_node)

    @property
    def _by_node(self) -> tuple[Array, ...]:
        return self._all if self._weights is None else (*self._all, self._weights)

    def sampled(self, xp: Any, x: Array, indices: Array) -> Array:
        """Gradients of mini-batches, (..., n, d) and (..., n, B) -> (..., n, d)."""
        places = indices if isinstance(indices, np.ndarray | jax.Array) else _taken(xp, indices, np.int64)
        return self._call(xp, self._sampled, x, places, *self._data)

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the test data say of points (R, d), (R,) each."""
        with self._precision():
            found = self._scores(jnp.asarray(x, self.dtype), *self._test)
            return {name: np.asarray(values, np.float64) for name, values in found.items()}

    def _call(self, xp: Any, function: Callable[..., Any], x: Array, *others: Array) -> Array:
        if isinstance(x, np.ndarray):
            with self._precision():
                return np.asarray(function(x.astype(self.dtype, copy=False), *others)).astype(x.dtype, copy=False)
        if isinstance(x, jax.Array):  # within a step that JAX compiles
            return function(x, *others)
        with self._precision():
            result = function(_taken(xp, x, self.dtype), *others)
        return xp.astype(xp.from_dlpack(result), x.dtype)  # where it is: nothing comes to the host


def _taken(xp: Any, x: Array, dtype: Any) -> Array:
    """An array of another library, where it is. Copied first: JAX takes no slices and no broadcast arrays."""
    return jnp.from_dlpack(xp.astype(x, getattr(xp, np.dtype(dtype).name), copy=True))


def _blocks(leaves: list[tuple[str, int]]) -> dict[str, slice]:
    ends = np.cumsum([0, *(size for _, size in leaves)]).tolist()
    return {name: slice(ends[k], ends[k + 1]) for k, (name, _) in enumerate(leaves)}
