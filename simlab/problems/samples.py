"""What problems of data share: samples at nodes, equally many or not, and how the nodes are weighed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from simlab import checks
from simlab.arrays import aligned_copy, namespace_of
from simlab.problems.base import Array, Problem, gather, own, read_only

WEIGHTINGS = ("nodes", "samples")


class SampleProblem(Problem):
    """Objectives f_i(x) = (s_i/m_i) sum_j phi(x; a_ij, b_ij) + r(x), whose plain mean is f.

    With ``weighting="nodes"`` every s_i is 1. With ``weighting="samples"`` it is n m_i / N, N = m_1 + ... + m_n, so
    that f is the mean over all samples; the weights are part of the f_i, so that every method and every prediction,
    which know only the mean of the f_i, hold as they are. A node's mini-batch is drawn from its own samples, and its
    mean gradient multiplied by s_i.

    Attributes
    ----------
    features, targets : array, shape (n, m, ...); tuple of n arrays, shape (m_i, ...), where the m_i differ
        Samples of each node.
    weighting : {"nodes", "samples"}
    shares : ndarray, shape (n,)
        s_i, n times a node's weight in f.
    test : tuple (features, targets), or None
        Held-out samples, (t, ...) and (t,).
    """

    weighting: str
    shares: Array
    _features: Array  # (N, ...): those of all nodes, one after the other
    _targets: Array

    def _set_samples(self, features: Any, targets: Any, name: str, weighting: str) -> None:
        """Set samples of any lengths; targets, called `name`, are numbers."""
        a, lengths = samples("features", features, (None,))
        b, _ = samples(name, targets, (), lengths)
        self._set_placed(a, b, lengths, weighting)

    def _set_placed(self, a: np.ndarray, b: np.ndarray, lengths: np.ndarray, weighting: str) -> None:
        """Set samples that lie one after the other, (N, ...), so many at each node."""
        weighting = checks.one_of("weighting", weighting, WEIGHTINGS)
        n_samples = _common(lengths)
        shares = np.ones(len(lengths))
        if weighting == "samples":
            shares = lengths * len(lengths) / lengths.sum()
        self._set(
            n_nodes=len(lengths), n_samples=n_samples, weighting=weighting, shares=shares, _features=a, _targets=b
        )

    def _set_test(self, test: Any, name: str) -> None:
        """Set held-out samples of the shape of the others; targets, called `name`, are numbers."""
        if test is None:
            self._set(test=None)
            return
        if not isinstance(test, tuple | list) or len(test) != 2:
            raise TypeError(f"test = {test!r} is not a pair; pass (features, {name})")
        features = own(checks.array("test features", test[0], shape=(None, *self._features.shape[1:])))
        if not len(features):
            raise ValueError(f"test features has shape {features.shape}; pass at least one sample, or test=None")
        targets = own(checks.array(f"test {name}", test[1], shape=features.shape[:1]))
        self._set(test=(read_only(features), read_only(targets)))

    def metrics(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The `scores`, if there are test data."""
        return {} if self.test is None else self.scores(x)

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + (")" if self.weighting == "nodes" else f", weighting={self.weighting!r})")

    @property
    def given(self) -> dict[str, Any]:
        return {**super().given, "features": self.features, "targets": self.targets}

    @property
    def features(self) -> Any:
        return self._by_nodes(self._features)

    @property
    def targets(self) -> Any:
        return self._by_nodes(self._targets)

    def _by_nodes(self, flat: Array) -> Any:
        """An array of all samples (N, ...) as (n, m, ...), or where the m_i differ as n arrays (m_i, ...)."""
        if isinstance(self.n_samples, int):
            return namespace_of(flat).reshape(flat, (self.n_nodes, self.n_samples, *flat.shape[1:]))
        return tuple(flat[first:last, ...] for first, last in itertools.pairwise(self._starts.tolist()))

    def each_node(self, function: Callable[..., Array], *arrays: Array) -> Array:
        """``function(*arrays, features, targets)``, nodes first in all: at once, or where the m_i differ one by one."""
        if isinstance(self.n_samples, int):
            return function(*arrays, self.features, self.targets)
        parts = [
            function(*(array[i : i + 1, ...] for array in arrays), a[None, ...], b[None, ...])
            for i, (a, b) in enumerate(zip(self.features, self.targets, strict=True))
        ]
        return namespace_of(*parts).concat(parts)

    def drawn(self, xp: Any, indices: Array, *arrays: Array) -> list[Array]:
        """The drawn samples of arrays of all of them (N, ...): with indices (..., n, B), arrays (..., n, B, ...)."""
        return gather(xp, indices + self._first, arrays)

    @cached_property
    def _starts(self) -> np.ndarray:
        """Where a node's samples begin, and their end: (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def _first(self) -> Array:
        """The first sample of each node, (n, 1), where the data are."""
        return self._starts[:-1, None]

    def convert(self, xp: Any, dtype: Any = None) -> Self:
        twin = super().convert(xp, dtype)
        twin.__dict__["_first"] = xp.asarray(self._starts[:-1, None])
        return twin


def samples(
    name: str,
    values: Any,
    shape: tuple[int | None, ...] | None,
    lengths: np.ndarray | None = None,
    dtype: Any = np.float64,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of all nodes one after the other, (N, ...), and how many each node has, (n,).

    Parameters
    ----------
    name : str
        Of the argument.
    values : array (n, m, ...), or n arrays (m_i, ...)
    shape : tuple, or None
        Of one sample; None: any length, the same for all, or any shape.
    lengths : ndarray, optional
        How many there have to be.
    dtype : data type, default float64
        Of the result.

    Raises
    ------
    TypeError, ValueError
        Other shapes, a node without samples, NaN.
    """
    if not _is_ragged(values):
        array = checks.array(name, values)
        if shape is None:
            shape = (None,) * (array.ndim - 2)
        if shape and array.ndim == 2:
            raise ValueError(
                f"{name} has shape {array.shape}, not (any, any, any) = (nodes, samples, dim); "
                "split the samples over nodes with simlab.data.partition, or reshape them"
            )
        equal = (None, None) if lengths is None else (len(lengths), _common(lengths))
        if isinstance(equal[1], np.ndarray):
            raise ValueError(
                f"{name} has shape {array.shape}, and the nodes have {_shown(lengths)} samples; pass a list"
            )
        array = aligned_copy(checks.array(name, array, shape=(*equal, *shape)), dtype)
        if not array.size:
            raise ValueError(f"{name} has shape {array.shape}; pass at least one node, one sample and one dimension")
        return array.reshape(-1, *array.shape[2:]), np.full(len(array), array.shape[1])
    parts: list[np.ndarray] = []
    if shape is None:
        shape = (None,) * (np.ndim(values[0]) - 1)
    for i, part in enumerate(values):
        some = None if lengths is None or i >= len(lengths) else int(lengths[i])
        parts.append(checks.array(f"{name}[{i}]", part, shape=(some, *(parts[0].shape[1:] if parts else shape))))
        if not parts[-1].size:
            raise ValueError(f"{name}[{i}] has shape {parts[-1].shape}; every node needs at least one sample")
    if lengths is not None and len(lengths) != len(parts):
        raise ValueError(f"{name} holds the samples of {len(parts)} nodes, not of {len(lengths)}; pass an array a node")
    return aligned_copy(np.concatenate(parts), dtype), np.array([len(part) for part in parts])


def _is_ragged(values: Any) -> bool:
    """Whether these are arrays of unequal lengths, one a node."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "O" and values.ndim == 1:
        values = list(values)
    if not isinstance(values, Sequence) or isinstance(values, str):
        return False
    return len({len(part) for part in values if hasattr(part, "__len__") and not hasattr(part, "indptr")}) > 1


def _common(lengths: np.ndarray) -> Any:
    """The number that all are, or all of them."""
    return int(lengths[0]) if np.all(lengths == lengths[0]) else lengths


def _shown(lengths: np.ndarray | None) -> str:
    return "" if lengths is None else f"{lengths.min()} to {lengths.max()}"
