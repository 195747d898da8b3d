"""Exact moments of an affine step with its matrices formed: up to a few thousand states, any quadratics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, cached_property, wraps
from typing import Any, NamedTuple

import numpy as np

from theory.affine import AffineStep
from theory.moments import Stein, changes, deflate, spectral_radius
from theory.noise import Noise
from theory.sampling import Eigenbasis, node_blocks, second_moment

THREADED = 1000  # states; up to here more threads of BLAS wait for each other longer than they save


class Spread(NamedTuple):
    """(1/n) tr of the covariance of X, and of its consensus part X − 1x̄ʹ."""

    variance: float
    consensus: float


INFINITE = Spread(np.inf, np.inf)
NONE = Spread(0.0, 0.0)


def _unthreaded(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `Dense` with one thread of BLAS where the matrices are small.

    Eigenvalues of a few hundred states gain nothing from a second thread, and where another process has its core they
    wait for it, seconds at a time.
    """

    @wraps(method)
    def limited(self: Dense, *args: Any) -> Any:
        if self.step.size > THREADED:
            return method(self, *args)
        with _blas().limit(limits=1):
            return method(self, *args)

    return limited


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401  it brings a BLAS of its own, to be limited too
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


class Dense:
    """Moments of z⁺ = Tz + Nξ + u.

    Parameters
    ----------
    step : AffineStep
    sampled : bool, default False
        Whether mini-batches are meant, which ask for eigenvectors: then `rate` is read off them too.

    Attributes
    ----------
    rate : float
        Spectral radius of T without its conserved quantities.
    drifts : bool
        Whether the first step moves a quantity that T alone would conserve: then it grows without end.
    """

    def __init__(self, step: AffineStep, sampled: bool = False) -> None:
        self.step, self.sampled = step, sampled
        self.transition = step.matrix()

    @cached_property
    def _deflated(self) -> tuple[np.ndarray, np.ndarray]:
        return deflate(self.transition)

    @property
    def kept(self) -> np.ndarray:
        """T without what it conserves, see `theory.moments.deflate`."""
        return self._deflated[0]

    @property
    def conserved(self) -> np.ndarray:
        """The conserved quantities L, shape (s, r)."""
        return self._deflated[1]

    @cached_property
    @_unthreaded
    def rate(self) -> float:
        """See `Dense`."""
        if self.sampled and self.eigenbasis is not None:
            return float(np.max(np.abs(self.eigenbasis.values), initial=0.0))
        return spectral_radius(self.kept)

    @cached_property
    def drifts(self) -> bool:
        """See `Dense`."""
        start, first = self.step.start, self.step(self.step.start)
        return changes(self.conserved, (first - start).ravel(), size_of(start) + size_of(first))

    @cached_property
    def noise_matrix(self) -> np.ndarray:
        """N, shape (s, n d)."""
        return self.step.noise_matrix()

    @cached_property
    def gradient_matrix(self) -> np.ndarray:
        """Y, shape (n d, s)."""
        return self.step.gradient_matrix()

    @cached_property
    def eigenbasis(self) -> Eigenbasis | None:
        """T_E diagonalized; None if it has no eigenbasis."""
        try:
            return Eigenbasis(self)
        except np.linalg.LinAlgError:
            return None

    @cached_property
    def stein(self) -> Stein:
        """Solver of S = T_E S T_Eʹ + Q."""
        return Stein(self.kept)

    @_unthreaded
    def fixed_point(self) -> np.ndarray:
        """z_∞ reached from the start, (k, n, d): z_0 + (I − T_E)⁻¹(z_1 − z_0), with iterative refinement."""
        from scipy.linalg import lu_factor, lu_solve

        step = self.step
        factors = lu_factor(np.eye(step.size) - self.kept)
        z = step.start
        for _ in range(3):
            move = (step(z) - z).ravel()
            move -= self.conserved @ (self.conserved.T @ move)
            z = z + lu_solve(factors, move).reshape(step.shape)
        return z

    def is_driven(self, covariances: np.ndarray) -> bool:
        """Whether noise of these covariances (n, d, d) enters a conserved quantity, which then walks at random."""
        n, d = self.step.shape[1:]
        driven = self.noise_matrix.reshape(-1, n, d).transpose(1, 0, 2) @ covariances
        flat = driven.transpose(1, 0, 2).reshape(self.step.size, n * d)
        return changes(self.conserved, flat, size_of(driven))

    @_unthreaded
    def stationary(self, noise: Noise, points: np.ndarray) -> Spread:
        """Stationary spread; `points` (n, d) are where the limit's gradients are evaluated.

        Infinite where noise drives a conserved quantity, or where state-dependent noise feeds on itself.
        """
        covariances = noise.covariance(points)
        if self.is_driven(covariances):
            return INFINITE
        if not noise.depends_on_state:
            return self.spread(self.stein.solve(self.forcing(covariances)))
        if self.is_driven(noise.spread(np.broadcast_to(np.eye(points.shape[1]), covariances.shape))):
            return INFINITE
        found = second_moment(self, noise, covariances)
        return INFINITE if found is None else self.spread(found)

    def forcing(self, covariances: np.ndarray) -> np.ndarray:
        """N blockdiag(Q_i) Nʹ, shape (s, s)."""
        n, d = self.step.shape[1:]
        by_node = self.noise_matrix.reshape(-1, n, d).transpose(1, 0, 2)
        left = (by_node @ covariances).transpose(1, 0, 2).reshape(self.step.size, n * d)
        return left @ self.noise_matrix.T

    def spread(self, covariance: np.ndarray) -> Spread:
        """Of a state covariance (s, s)."""
        n, d = self.step.shape[1:]
        of_x = covariance[: n * d, : n * d].reshape(n, d, n, d)
        total = float(np.einsum("iaia->", of_x))
        mean = float(np.einsum("iaja->", of_x)) / n
        return Spread(total / n, max(total - mean, 0.0) / n)

    def transient(self, noise: Noise, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x and spread at steps 0, 1, ..., by S⁺ = TSTʹ + N E[Q] Nʹ along the mean `path` of states (k, n, d)."""
        if noise.batch_size is None:
            return self._additive_transient(noise.std, path)
        return self._sampled_transient(noise, path)

    def _additive_transient(self, std: float, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        """S_k = std² Σ_{j<k} T^jN(T^jN)ʹ: only T^jN is carried on."""
        n, d = self.step.shape[1:]
        response = std * self.noise_matrix
        total = disagreement = 0.0
        for mean in path:
            yield mean[0], Spread(total / n, disagreement / n)
            of_x = response[: n * d].reshape(n, -1)
            total += float(np.vdot(of_x, of_x))
            of_x = of_x - of_x.mean(axis=0)
            disagreement += float(np.vdot(of_x, of_x))
            response = self.transition @ response

    def _sampled_transient(self, noise: Noise, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        s = np.zeros((self.step.size, self.step.size))
        for mean in path:
            yield mean[0], self.spread(s)
            covariances = noise.covariance(self.step.gradient_points(mean))
            if noise.depends_on_state:
                reads = self.gradient_matrix
                covariances = covariances + noise.spread(node_blocks(reads @ s, reads, self.step.shape[1:]))
            s = self.transition @ s @ self.transition.T + self.forcing(covariances)


def size_of(x: np.ndarray) -> float:
    """Largest absolute entry."""
    return float(np.max(np.abs(x), initial=0.0))
