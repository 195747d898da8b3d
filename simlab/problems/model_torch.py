"""A model in PyTorch: losses and gradients of all nodes and runs by one vectorized call each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, grad_and_value, vmap

Array = Any


class Model:
    """Losses and gradients at rows of parameters, which come and go as arrays of any namespace.

    Parameters
    ----------
    loss : function
        Of a function that calls the module, features (B, ...) and targets (B, ...).
    parameters : torch.nn.Module
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
        if not isinstance(parameters, torch.nn.Module):
            raise TypeError(
                f"parameters is a {type(parameters).__name__}; with framework='torch' pass a torch.nn.Module"
            )
        self.dtype = getattr(torch, dtype.name)
        self._module = copy.deepcopy(parameters).to(self.dtype)
        named = {name: p.detach() for name, p in self._module.named_parameters() if p.requires_grad}
        if not named:
            raise ValueError("parameters holds none that requires a gradient; set requires_grad of those to be trained")
        self._shapes = {name: p.shape for name, p in named.items()}
        self._fixed = self._all_fixed()
        ends = np.cumsum([0, *(p.numel() for p in named.values())]).tolist()
        self.blocks = {name: slice(ends[k], ends[k + 1]) for k, name in enumerate(named)}
        self.initial = torch.cat([p.reshape(-1) for p in named.values()]).cpu().numpy().astype(np.float64)
        features, targets, first, counts = samples
        self._host = tuple(map(torch.tensor, (features, targets, first[:, None])))
        self._counts, self._weights = counts, None
        order = np.arange(counts.max())
        self._places = torch.tensor(first[:, None] + np.minimum(order, counts[:, None] - 1))
        if np.any(counts != counts[0]):
            self._weights = torch.tensor((order < counts[:, None]) / counts[:, None], dtype=self.dtype)
        self._moved: dict[Any, tuple[Any, ...]] = {}
        self._test: Any = None if test is None else tuple(map(torch.tensor, test))
        self._scorers = {"test_loss": loss, **scorers}

        def at(named: dict[str, Array], a: Array, b: Array) -> Array:
            return loss(self._call(named), a, b)

        def weighed(named: dict[str, Array], a: Array, b: Array, weights: Array) -> Array:
            each = vmap(lambda one, its: at(named, one[None], its[None]))(a, b)
            return torch.sum(weights * each)

        data = (None,) * (2 if self._weights is None else 3)
        whole = at if self._weights is None else weighed
        self._losses = vmap(vmap(whole, (0, *data)), 0)
        self._gradients = vmap(vmap(grad(whole), (0, *data)), 0)
        self._both = vmap(vmap(grad_and_value(whole), (0, *data)), 0)
        self._sampled = vmap(grad(at))

    def sees_gpu(self) -> bool:
        return torch.cuda.is_available()

    def unravel(self, x: Any) -> dict[str, Any]:
        """Parameters by their names."""
        return self._named(torch.tensor(x, dtype=self.dtype) if isinstance(x, np.ndarray) else x)

    def _all_fixed(self) -> dict[str, Any]:
        """What no step changes, by name: buffers, and parameters that require no gradient."""
        frozen = {name: p for name, p in self._module.named_parameters() if not p.requires_grad}
        return {**dict(self._module.named_buffers()), **frozen}

    def _call(self, named: dict[str, Array]) -> Callable[..., Any]:
        return lambda *inputs: functional_call(self._module, {**named, **self._fixed}, inputs)

    # Rows are cut and joined outside of what is differentiated: a gradient through the cuts took twice as long.

    def _named(self, rows: Array) -> dict[str, Array]:
        """Parameters by their names, (..., d) -> (..., *shape) each."""
        lead = rows.shape[:-1]
        return {name: rows[..., block].reshape(*lead, *self._shapes[name]) for name, block in self.blocks.items()}

    def _joined(self, named: dict[str, Array], lead: tuple[int, ...]) -> Array:
        """Back to rows, (*lead, d)."""
        return torch.cat([named[name].reshape(*lead, -1) for name in self.blocks], dim=-1)

    def losses(self, xp: Any, x: Array) -> Array:
        """Mean losses, (n, R, d) -> (n, R)."""
        return self._back(xp, self._losses(self._named(self._in(x)), *self._data(x)[1]), x)

    def gradients(self, xp: Any, x: Array) -> Array:
        """Their gradients, (n, R, d) -> (n, R, d)."""
        found = self._gradients(self._named(self._in(x)), *self._data(x)[1])
        return self._back(xp, self._joined(found, x.shape[:-1]), x)

    def losses_and_gradients(self, xp: Any, x: Array) -> Array:
        """Both, the loss first, by one pass: (n, R, d) -> (n, R, 1 + d)."""
        found, losses = self._both(self._named(self._in(x)), *self._data(x)[1])
        joined = torch.cat([losses[..., None], self._joined(found, x.shape[:-1])], dim=-1)
        return self._back(xp, joined, x)

    def sampled(self, xp: Any, x: Array, indices: Array) -> Array:
        """Gradients of mini-batches, (..., n, d) and (..., n, B) -> (..., n, d)."""
        (features, targets, first), _ = self._data(x)
        rows = self._in(x).reshape(-1, x.shape[-1])
        there = torch.tensor(indices) if isinstance(indices, np.ndarray) else torch.from_dlpack(indices)
        places = (there + first).reshape(len(rows), -1)
        found = self._sampled(self._named(rows), features[places], targets[places])
        return self._back(xp, self._joined(found, x.shape[:-1]), x)

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the test data say of points (R, d), (R,) each."""
        rows = torch.tensor(x, dtype=self.dtype)
        with torch.no_grad():
            return {
                name: np.array([float(function(self._call(self._named(row)), *self._test)) for row in rows])
                for name, function in self._scorers.items()
            }

    def _data(self, x: Array) -> tuple[Any, ...]:
        """All samples and where a node's begin; those of each node, (n, m, ...), and weights where amounts differ."""
        device = "cpu" if isinstance(x, np.ndarray) else self._in(x).device
        if device not in self._moved:
            self._module.to(device)
            self._fixed = self._all_fixed()
            features, targets, first = (part.to(device) for part in self._host)
            places = self._places.to(device)
            weights = () if self._weights is None else (self._weights.to(device),)
            self._moved[device] = (features, targets, first), (features[places], targets[places], *weights)
        return self._moved[device]

    def _in(self, x: Array) -> Any:
        there = torch.tensor(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else torch.from_dlpack(x)
        return there.to(self.dtype)

    def _back(self, xp: Any, result: Any, x: Array) -> Array:
        if isinstance(x, np.ndarray):
            return result.detach().numpy().astype(x.dtype, copy=False)
        return xp.astype(xp.from_dlpack(result.detach()), x.dtype)
