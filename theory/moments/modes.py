"""Exact moments where all Hessians are equal: modes of the network and of the Hessian, each a small recursion.

What the modes of this package's algorithms obey: docs/theory.md, "Equal Hessians".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simlab.network import Network
from theory.caching import remembered
from theory.moments.affine import AffineStep
from theory.moments.dense import INFINITE, NONE, ROUNDING, Spread, size_of
from theory.moments.linear import CONSERVED, deflate, spectral_radius, stein_of_many
from theory.moments.noise import Noise
from theory.transfer import LARGEST, modes

SAME = 1e-13  # eigenvalues of W nearer than this are one


class NetworkModes:
    """W in its eigenbasis.

    Attributes
    ----------
    eigenvalues : ndarray, shape (n,)
        The one of the mean over nodes is exactly 1, and the first.
    """

    eigenvalues: np.ndarray

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Coefficients of node states: (..., n, d) -> (..., n, d), norms kept."""
        raise NotImplementedError

    def backward(self, coefficients: np.ndarray) -> np.ndarray:
        """Node states of coefficients, the inverse of `forward`."""
        raise NotImplementedError


class _Characters(NetworkModes):
    """W that is invariant under translations of Z_p × Z_q × ... (rings, tori, hypercubes, circulant graphs): by FFT."""

    def __init__(self, kernel: np.ndarray) -> None:
        self._shape, self._axes = kernel.shape, tuple(range(-1 - kernel.ndim, -1))
        self.eigenvalues = np.fft.fftn(kernel).real.ravel()
        self.eigenvalues[0] = 1.0

    def forward(self, x: np.ndarray) -> np.ndarray:
        folded = x.reshape(*x.shape[:-2], *self._shape, x.shape[-1])
        return np.fft.fftn(folded, axes=self._axes, norm="ortho").reshape(x.shape)

    def backward(self, coefficients: np.ndarray) -> np.ndarray:
        folded = coefficients.reshape(*coefficients.shape[:-2], *self._shape, coefficients.shape[-1])
        return np.fft.ifftn(folded, axes=self._axes, norm="ortho").reshape(coefficients.shape).real


class _Eigenvectors(NetworkModes):
    """Any W, by its eigenvectors."""

    def __init__(self, network: Network) -> None:
        values, self._vectors = modes(network)
        self.eigenvalues, self._root = np.concatenate([[1.0], values]), np.sqrt(network.n_nodes)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([x.mean(axis=-2, keepdims=True) * self._root, self._vectors.T @ x], axis=-2)

    def backward(self, coefficients: np.ndarray) -> np.ndarray:
        return coefficients[..., :1, :] / self._root + self._vectors @ coefficients[..., 1:, :]


@remembered
def network_modes(network: Network) -> NetworkModes | None:
    """The eigenbasis of W, or None for large networks without symmetry."""
    kernel = _translation_kernel(network)
    if kernel is not None:
        return _Characters(kernel)
    return _Eigenvectors(network) if network.n_nodes <= LARGEST else None


def _translation_kernel(network: Network) -> np.ndarray | None:
    """The first row of W, folded to the shape of the group under which W is invariant; None if there is none."""
    n = network.n_nodes
    indptr, columns, values = network.csr
    degrees = np.diff(indptr)
    if degrees.min() != degrees.max():
        return None
    rows = np.repeat(np.arange(n), degrees)
    row = np.zeros(n)
    row[columns[: degrees[0]]] = values[: degrees[0]]
    shapes: list[tuple[int, ...]] = [(r, n // r) for r in range(1, n + 1) if n % r == 0]
    if n > 1 and n & (n - 1) == 0:
        shapes.append((2,) * (n.bit_length() - 1))
    for shape in shapes:
        offsets = tuple(
            (c - r) % side
            for c, r, side in zip(np.unravel_index(columns, shape), np.unravel_index(rows, shape), shape, strict=True)
        )
        if np.max(np.abs(row[np.ravel_multi_index(offsets, shape)] - values)) <= 1e-14:
            return row.reshape(shape)
    return None


class Modes:
    """Moments of z⁺ = Tz + Nξ + u where every node has the Hessian H: as `theory.moments.dense.Dense`, mode by mode.

    Parameters
    ----------
    step : AffineStep
        Its surrogate has one curvature for all nodes.
    graph : NetworkModes

    Attributes
    ----------
    rate : float
        Largest over the modes (λ, h).
    drifts : bool
        See `Dense`.
    transition : ndarray, shape (distinct eigenvalues of W, d, k, k)
        T on each mode.
    """

    def __init__(self, step: AffineStep, graph: NetworkModes) -> None:
        self.step, self.graph = step, graph
        curvature = step.surrogate.curvature[0]
        if curvature.ndim == 1:
            self._hessian_values, self._hessian_vectors = curvature, None
        else:
            self._hessian_values, self._hessian_vectors = np.linalg.eigh(curvature)
        # One row for the mean over nodes, then one for each distinct eigenvalue of W.
        distinct, inverse, counts = _distinct(graph.eigenvalues[1:])
        self._group = np.concatenate([[0], 1 + inverse])
        self._counts = np.concatenate([[1], counts])
        self._eigenvalues = np.concatenate([[1.0], distinct])
        consensus = np.arange(len(self._eigenvalues)) == 0
        transition, drive = step.modes(self._eigenvalues[:, None], self._hessian_values[None, :], consensus[:, None])
        self.transition, self._drive = transition, drive  # (groups, d, k, k), (groups, d, k)
        self._kept, self._conserved = deflate(transition)
        self.rate = spectral_radius(self._kept)
        first = self._forward(step(step.start) - step.start)
        moved = np.einsum("ndkr,ndk->ndr", self._conserved[self._group], first)
        self.drifts = bool(
            np.max(np.abs(moved), initial=0.0)
            > CONSERVED * np.sqrt(step.shape[1]) * (size_of(step.start) + size_of(step(step.start)))
        )

    def agree(self) -> bool:
        """Whether the modes are the step: not of one that treats nodes differently, which two nodes do not show."""
        random = np.random.default_rng(0)
        z, noise = random.standard_normal(self.step.shape), random.standard_normal(self.step.shape[1:])
        by_mode = np.einsum("ndkl,ndl->ndk", self.transition[self._group], self._forward(z))
        driven = self._forward(noise[None]) * self._drive[self._group]
        pairs = (self._backward(by_mode), self.step.linear(z)), (self._backward(driven), self.step.drive(noise))
        return all(size_of(one - two) <= 1e-9 * (size_of(two) + size_of(z)) for one, two in pairs)

    @property
    def amplification(self) -> float:
        """See `theory.moments.dense.Dense`."""
        return float(np.max(np.linalg.norm(self._inverse(), 2, axis=(-2, -1))))

    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(np.eye(self.step.shape[0]) - self._kept)

    def fixed_point(self) -> np.ndarray:
        """z_∞ reached from the start, (k, n, d)."""
        inverse = self._inverse()
        projector = inverse - inverse @ self._conserved @ self._conserved.swapaxes(-1, -2)
        z = self.step.start
        for _ in range(3):
            move = self._forward(self.step(z) - z)
            z = z + self._backward(np.einsum("ndkl,ndl->ndk", projector[self._group], move))
        return z

    def stationary(self, noise: Noise, points: np.ndarray) -> Spread:
        """Stationary spread under additive noise."""
        forcing = self._forcing(noise)
        if np.max(np.abs(np.einsum("gdkr,gdk->gdr", self._conserved, self._drive)), initial=0.0) > CONSERVED * size_of(
            self._drive
        ):
            return INFINITE
        return self._spread(stein_of_many(self._kept, forcing))

    def transient(self, noise: Noise, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x and spread at steps 0, 1, ..., along the mean `path` of states (k, n, d)."""
        forcing = self._forcing(noise)
        s, spread = np.zeros_like(forcing), NONE
        for mean in path:
            yield mean[0], spread
            new = self.transition @ s @ self.transition.swapaxes(-1, -2) + forcing
            spread = self._spread(new)
            if np.all(np.abs(new - s) <= ROUNDING * np.abs(new)):
                break
            s = new
        for mean in path:
            yield mean[0], spread

    def _forcing(self, noise: Noise) -> np.ndarray:
        return noise.std**2 * self._drive[..., :, None] * self._drive[..., None, :]

    def _spread(self, covariances: np.ndarray) -> Spread:
        by_group = covariances[..., 0, 0].sum(axis=1)
        disagreement = float(self._counts[1:] @ by_group[1:])
        n = self.step.shape[1]
        return Spread((float(by_group[0]) + disagreement) / n, disagreement / n)

    def _forward(self, z: np.ndarray) -> np.ndarray:
        """Mode coefficients (n, d, k) of states (k, n, d)."""
        rotated = z if self._hessian_vectors is None else z @ self._hessian_vectors
        return np.moveaxis(self.graph.forward(rotated), 0, -1)

    def _backward(self, coefficients: np.ndarray) -> np.ndarray:
        rotated = self.graph.backward(np.moveaxis(coefficients, -1, 0))
        return rotated if self._hessian_vectors is None else rotated @ self._hessian_vectors.T


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct values but for rounding, which of them each value is, and how often each occurs."""
    order = np.argsort(values)
    steps = np.diff(values[order]) > SAME
    group = np.concatenate([np.zeros(min(len(values), 1), dtype=int), np.cumsum(steps)])
    inverse = np.empty(len(values), dtype=int)
    inverse[order] = group
    counts = np.bincount(group)
    return np.bincount(inverse, weights=values) / counts, inverse, counts
