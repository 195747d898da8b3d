"""The array engine for models in JAX: a whole step, the model's gradients within it, as one compiled call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simlab.engine.array import ArrayEngine
from simlab.operations import Batch
from simlab.step.graph import with_values


class JittedEngine(ArrayEngine):
    """`ArrayEngine` whose arrays are JAX's, in float32; its parameters are those.

    Only for steps that can be traced, are the same at all times and compress nothing, on a network that does not change
    and whose W is dense.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, xp=jnp, dtype=np.dtype(np.float32), **options)
        self.network: Any = Held(self.network)
        self._compiled = jax.jit(self._plain)

    def _plain(self, state: Any, setting: list[Any], indices: Any, noise: Any) -> Any:
        algorithm = with_values(self.algorithm, dict(zip(self.names, setting, strict=True)))
        return algorithm.step(state, self.problem, self.network, Batch(indices, noise))

    def _one_by_one(self, current: Any, hyper: Any, draws: Any, first_step: int) -> Iterator[tuple[Any, Any]]:
        """State after each step; random numbers stay on the host until their step comes."""
        chunk = [None if a[0] is None else np.stack(a) for a in zip(*(drawn[:2] for drawn in draws), strict=True)]
        sent = np.zeros((*current[0].shape[:-1], 2), np.int64)
        table = np.stack(hyper, axis=-1)[..., None, None].astype(np.float32)
        if all(each is hyper[0] for each in hyper):
            table = table[:, :, 0, 0, 0]
        for k in range(len(table)):
            current = self._compiled(current, list(table[k]), *(None if a is None else a[:, k] for a in chunk))
            yield current, sent


class Held:
    """A network whose matrix is an array of JAX's already."""

    def __init__(self, network: Any) -> None:
        self._network, self.n_nodes = network, network.n_nodes
        weights = network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()
        self._weights = jnp.asarray(weights, jnp.float32)

    def mix(self, x: Any) -> Any:
        """W x: (..., n, d) -> (..., n, d)."""
        return jnp.matmul(self._weights, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)
