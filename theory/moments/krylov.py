"""Moments of an affine step without its matrices: Arnoldi, GMRES and iterations of the step itself, for many states."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from theory.moments.affine import BLOCK, AffineStep
from theory.moments.dense import INFINITE, Spread, size_of
from theory.moments.linear import CONSERVED
from theory.moments.noise import Noise, factors

LARGEST = 3 * 10**8  # numbers held at once
TAIL = 1e-12  # of a sum that is cut off, relative


class Krylov:
    """As `theory.moments.dense.Dense`; each product with T is one step of the algorithm.

    What is conserved is found among combinations of fields, of the mean over nodes and of the disagreement, which
    covers the algorithms of this package where the mean Hessian is regular.

    Parameters
    ----------
    step : AffineStep
    """

    def __init__(self, step: AffineStep) -> None:
        self.step = step
        self._conserved = _conserved_fields(step)

    def _conserve(self, z: np.ndarray) -> np.ndarray:
        """Projection onto the conserved quantities: (..., k, n, d)."""
        mean = np.broadcast_to(z.mean(axis=-2, keepdims=True), z.shape)
        of_mean, of_rest = self._conserved
        return np.einsum("kr,lr,...lnd->...knd", of_mean, of_mean, mean) + np.einsum(
            "kr,lr,...lnd->...knd", of_rest, of_rest, z - mean
        )

    def _advance(self, z: np.ndarray) -> np.ndarray:
        """T_E z, see `theory.moments.linear.deflate`."""
        return self.step.linear(z - self._conserve(z))

    @cached_property
    def rate(self) -> float:
        """Spectral radius of T without its conserved quantities, by Arnoldi's method.

        Where that does not converge, because many modes are equally slow (the oscillating ones of heavy-ball momentum
        all decay as √β), it is the mean growth over a long run of random states, good to some 1e-6.
        """
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

        size, shape = self.step.size, self.step.shape

        def matvec(v: np.ndarray) -> np.ndarray:
            return self._advance(v.reshape(shape)).ravel()

        operator = LinearOperator((size, size), matvec=matvec, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(size)
        basis = min(60, size - 1)
        try:
            values = eigs(
                operator, k=min(4, size - 3), v0=start, ncv=basis, maxiter=40, tol=1e-11, return_eigenvectors=False
            )
        except ArpackNoConvergence:
            return self._growth()
        return float(np.max(np.abs(values)))

    def _growth(self, steps: int = 4000) -> float:
        z = np.random.default_rng(1).standard_normal((4, *self.step.shape))
        logarithms = 0.0
        for k in range(2 * steps):
            z = self._advance(z)
            if k % 20 == 19 or k == steps - 1:
                size = float(np.linalg.norm(z))
                if size == 0:
                    return 0.0
                z = z / size
                logarithms = logarithms + np.log(size) if k >= steps else 0.0
        return float(np.exp(logarithms / steps))

    @cached_property
    def drifts(self) -> bool:
        """See `theory.moments.dense.Dense`."""
        start, first = self.step.start, self.step(self.step.start)
        return size_of(self._conserve(first - start)) > CONSERVED * (size_of(start) + size_of(first))

    @property
    def amplification(self) -> float:
        """See `theory.moments.dense.Dense`; here that of a normal T, which is the least that it can be."""
        return 1 / (1 - self.rate)

    def fixed_point(self) -> np.ndarray:
        """z_∞ reached from the start, (k, n, d)."""
        from scipy.sparse.linalg import LinearOperator, gmres

        step = self.step

        def matvec(v: np.ndarray) -> np.ndarray:
            z = v.reshape(step.shape)
            return (z - self._advance(z)).ravel()

        operator = LinearOperator((step.size, step.size), matvec=matvec, dtype=np.float64)
        z = step.start
        for _ in range(4):
            move = step(z) - z
            move = move - self._conserve(move)
            if size_of(move) <= 1e-15 * size_of(z):
                break
            z = z + gmres(operator, move.ravel(), rtol=1e-9, restart=80, maxiter=40)[0].reshape(step.shape)
        return z

    def stationary(self, noise: Noise, points: np.ndarray) -> Spread:
        """Stationary spread; noise that depends on the state is iterated to its fixed point."""
        at_limit = noise.covariance(points)
        covariances = at_limit
        for _ in range(100):
            response = self._sum_responses(factors(covariances), noise.depends_on_state)
            if response is None:
                return INFINITE
            spread, blocks = response
            if not noise.depends_on_state:
                return spread
            before, covariances = covariances, at_limit + noise.spread(blocks)
            if np.linalg.norm(covariances - before) <= 1e-10 * np.linalg.norm(covariances):
                return spread
        return INFINITE

    def _sum_responses(self, roots: np.ndarray, with_blocks: bool) -> tuple[Spread, np.ndarray] | None:
        """S = Σ_j T^jNF (T^jNF)ʹ, F = blockdiag(F_i) (n, d, d): its spread, and the blocks of YSYʹ."""
        n, d = self.step.shape[1:]
        total, disagreement, blocks = 0.0, 0.0, np.zeros((n, d, d))
        width = max(1, BLOCK // self.step.size)
        for first in range(0, n * d, width):
            columns = np.arange(first, min(first + width, n * d))
            noise = np.zeros((len(columns), n, d))
            noise[np.arange(len(columns)), columns // d] = roots[columns // d, :, columns % d]
            z = self.step.drive(noise)
            if size_of(self._conserve(z)) > CONSERVED * size_of(z):
                return None
            start = float(np.vdot(z, z))
            while start > 0 and float(np.vdot(z, z)) > TAIL * (1 - self.rate) * start:
                x = z[:, 0]
                total += float(np.vdot(x, x))
                rest = x - x.mean(axis=1, keepdims=True)
                disagreement += float(np.vdot(rest, rest))
                if with_blocks:
                    y = self.step.gradient_points(z) - self.step.gradient_points(0 * z[0])
                    blocks += y.transpose(1, 2, 0) @ y.transpose(1, 0, 2)
                z = self._advance(z)
        return Spread(total / n, disagreement / n), blocks

    def transient(self, noise: Noise, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x and spread at steps 0, 1, ..., along the mean `path` of states (k, n, d).

        It carries T^jN on, whose sum of squares is the covariance under additive noise; mini-batches need all of S.
        """
        n, d = self.step.shape[1:]
        if noise.batch_size is not None or n * d * self.step.size > LARGEST:
            raise ValueError(
                f"transient: the covariance of {self.step.size} states is too large to carry from step to step; ask "
                "for the transient of a smaller problem, or without noise"
            )
        return self._additive_transient(noise.std, path)

    def _additive_transient(self, std: float, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        n, d = self.step.shape[1:]
        z = self.step.drive(std * np.eye(n * d).reshape(n * d, n, d))
        total = disagreement = 0.0
        for mean in path:
            yield mean[0], Spread(total / n, disagreement / n)
            x = z[:, 0]
            total += float(np.vdot(x, x))
            rest = x - x.mean(axis=1, keepdims=True)
            disagreement += float(np.vdot(rest, rest))
            z = self.step.linear(z)


def _conserved_fields(step: AffineStep) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal combinations of fields, (k, r) each: those every mode of the mean, and of the rest, conserves."""
    k = step.shape[0]
    nothing = np.zeros((k, 0))
    if not step.has_modes:
        return nothing, nothing
    found = []
    for mean in (True, False):
        # ℓ'T = ℓ' for all of them.
        change = step.typical_modes(mean) - np.eye(k)
        _, s, vt = np.linalg.svd(change.transpose(0, 2, 1).reshape(-1, k))
        found.append(vt[np.flatnonzero(s <= 1e-12 * max(s[0], 1.0))].T)
    return found[0], found[1]
