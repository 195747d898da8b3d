"""Exact moments of an affine step with its matrices formed: up to a few thousand states, any quadratics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from simlab.arrays import one_thread_of_blas
from theory.moments.affine import AffineStep
from theory.moments.budget import FREE, Budget
from theory.moments.linear import Stein, changes, deflate, spectral_radius
from theory.moments.minibatches import EIGENVECTORS, Eigenbasis, node_blocks, second_moment, settling_work
from theory.moments.noise import Noise

ROUNDING = 1e-14  # relative change a step of what has come to rest
SETTLED = 1e-8  # relative, what a transient may lack of the stationary state to be called that


class Spread(NamedTuple):
    """(1/n) tr of the covariance of X, and of its consensus part X − 1x̄ʹ."""

    variance: float
    consensus: float


INFINITE = Spread(np.inf, np.inf)
NONE = Spread(0.0, 0.0)


class Dense:
    """Moments of z⁺ = Tz + Nξ + u.

    Parameters
    ----------
    step : AffineStep
    sampled : bool, default False
        Whether mini-batches are meant, which ask for eigenvectors: then `rate` is read off them too.
    transition : ndarray, shape (s, s), optional
        Another T than that of the step.

    Attributes
    ----------
    rate : float
        Spectral radius of T without its conserved quantities.
    drifts : bool
        Whether the first step moves a quantity that T alone would conserve: then it grows without end.
    """

    def __init__(self, step: AffineStep, sampled: bool = False, transition: np.ndarray | None = None) -> None:
        self.step, self.sampled = step, sampled
        self.transition = step.matrix() if transition is None else transition

    @cached_property
    def _deflated(self) -> tuple[np.ndarray, np.ndarray]:
        return deflate(self.transition)

    @property
    def drives(self) -> tuple[int, int]:
        """How many independent sources of noise there are, and of how many numbers each: the nodes' gradients."""
        n, d = self.step.shape[1:]
        return n, d

    @property
    def kept(self) -> np.ndarray:
        """T without what it conserves, see `theory.moments.linear.deflate`."""
        return self._deflated[0]

    @property
    def conserved(self) -> np.ndarray:
        """The conserved quantities L, shape (s, r)."""
        return self._deflated[1]

    @cached_property
    @one_thread_of_blas()
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

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        from scipy.linalg import lu_factor

        return lu_factor(np.eye(self.step.size) - self.kept)

    @property
    def amplification(self) -> float:
        """Norm of (I − T_E)⁻¹, by which an error of one step is multiplied in the fixed point."""
        from scipy.linalg.lapack import dgecon

        norm = np.linalg.norm(np.eye(self.step.size) - self.kept, 1)
        return float(1 / (dgecon(self._factors[0], norm)[0] * norm))

    @one_thread_of_blas()
    def fixed_point(self) -> np.ndarray:
        """z_∞ reached from the start, (k, n, d): z_0 + (I − T_E)⁻¹(z_1 − z_0), with iterative refinement."""
        from scipy.linalg import lu_solve

        step, factors = self.step, self._factors
        z = step.start
        for _ in range(3):
            move = (step(z) - z).ravel()
            move -= self.conserved @ (self.conserved.T @ move)
            z = z + lu_solve(factors, move).reshape(step.shape)
        return z

    def is_driven(self, covariances: np.ndarray) -> bool:
        """Whether noise of these covariances (n, d, d) enters a conserved quantity, which then walks at random."""
        n, d = self.drives
        driven = self.noise_matrix.reshape(-1, n, d).transpose(1, 0, 2) @ covariances
        flat = driven.transpose(1, 0, 2).reshape(self.step.size, n * d)
        return changes(self.conserved, flat, size_of(driven))

    @one_thread_of_blas()
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
        n, d = self.drives
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
        """Mean x and spread at steps 0, 1, ..., by S⁺ = TSTʹ + N E[Q] Nʹ along the mean `path` of states (k, n, d).

        A covariance that changes by no more than rounding is kept from then on.
        """
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
            if np.linalg.norm(response) <= ROUNDING * np.sqrt(total):
                break
            response = self._advanced(response)
        for mean in path:
            yield mean[0], Spread(total / n, disagreement / n)

    def _sampled_transient(self, noise: Noise, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        s, before, spread = np.zeros((self.step.size, self.step.size)), None, NONE
        for mean in path:
            yield mean[0], spread
            new = self._after(s, noise, mean)
            spread = self.spread(new)
            if before is not None and are_equal(mean, before) and are_equal(new, s):
                break
            s, before = new, mean
        for mean in path:
            yield mean[0], spread

    @one_thread_of_blas()
    def _advanced(self, columns: np.ndarray) -> np.ndarray:
        return self._reached @ columns

    @one_thread_of_blas()
    def _after(self, s: np.ndarray, noise: Noise, mean: np.ndarray) -> np.ndarray:
        """The covariance after one more step, from S (s, s) and a mean state (k, n, d)."""
        covariances = noise.covariance(self.step.gradient_points(mean))
        if noise.depends_on_state:
            reads = self.gradient_matrix
            covariances = covariances + noise.spread(node_blocks(reads @ s, reads, self.step.shape[1:]))
        return self._reached @ s @ self._reached.T + self.forcing(covariances)

    @cached_property
    def _reached(self) -> np.ndarray:
        """T as it acts on covariances: where noise never enters what T conserves, rounding must not walk there."""
        n, d = self.step.shape[1:]
        return self.transition if self.is_driven(np.tile(np.eye(d), (n, 1, 1))) else self.kept

    @one_thread_of_blas()
    def additive_spread(self, std: float, steps: int) -> Spread:
        """Spread after `steps` steps with additive noise, by S_2k = S_k + T^k S_k T^kʹ."""
        n, d = self.step.shape[1:]
        forcing = self.forcing(np.tile(std**2 * np.eye(d), (n, 1, 1)))
        s, power = np.zeros_like(forcing), np.eye(len(forcing))
        for bit in f"{steps:b}":
            s, power = s + power @ s @ power.T, power @ power
            if bit == "1":
                s, power = self._reached @ s @ self._reached.T + forcing, self._reached @ power
        return self.spread(s)

    @one_thread_of_blas()
    def settled_spread(
        self, noise: Noise, path: Iterator[np.ndarray], steps: int, budget: Budget = FREE
    ) -> Spread | None:
        """Stationary spread under mini-batches if after `steps` steps it is reached, to `SETTLED`; None if not surely.

        With the maps L(S) = TSTʹ + N A(YSYʹ) Nʹ and F(R) = N blockdiag(R_i) Nʹ, let P = Σ_j r⁻ʲ L^j(F(R)) for a number
        r < 1 and R >= Q at the limit, positive definite: it solves P = L(P)/r + F(R), and L^j(F(R)) <= r^j P. So the
        transient from S = 0 lacks at most r^k P; noise that exceeds Q by δR at step j leaves at most δ r^(k−1−j) P.

        Raises
        ------
        CostError
            It would cost more than `budget`. None comes first where the rate alone forbids: P is at least S.
        """
        n, d = self.step.shape[1:]
        budget.check(settling_work(n * d, self.step.size), "the stationary covariance")
        budget.spend(EIGENVECTORS * float(self.step.size) ** 3, "the rate of the step")
        decay = max(self.rate, 0.5)
        if not self.rate < 1.0 or decay**steps > SETTLED or self.drifts:
            return None
        at_limit = noise.covariance(self.step.gradient_points(self.fixed_point()))
        size = float(np.max(np.linalg.eigvalsh(at_limit)))
        if size == 0 or self.is_driven(np.broadcast_to(np.eye(at_limit.shape[-1]), at_limit.shape)):
            return None
        reference = at_limit + size * np.eye(at_limit.shape[-1])
        stationary = second_moment(self, noise, at_limit, budget)
        slowed = None if stationary is None else self._slowed(noise, reference, budget)
        if stationary is None or slowed is None:
            return None
        found, bound = self.spread(stationary), self.spread(slowed)
        scale = Spread(found.variance, max(found.consensus, SETTLED * found.variance))

        def is_close(slack: float) -> bool:
            return all(slack * most <= SETTLED * whole for most, whole in zip(bound, scale, strict=True))

        if not is_close(decay**steps):  # the slack below is never less
            return None
        slack, before = 1.0, None
        for k, mean in enumerate(islice(path, steps)):
            moved = noise.covariance(self.step.gradient_points(mean)) - at_limit
            excess = float(np.max(np.abs(np.linalg.eigvalsh(moved)))) / size
            slack = decay * slack + excess
            if before is not None and are_equal(mean, before):  # and so from here on
                rest = decay ** (steps - 1 - k)
                slack = rest * slack + excess * (1 - rest) / (1 - decay)
                break
            before = mean
        return found if is_close(slack) else None

    def _slowed(self, noise: Noise, reference: np.ndarray, budget: Budget) -> np.ndarray | None:
        """P of `settled_spread` for r = rate, or 1/2: the covariance of T/√r and A/r; None where there is none."""
        assert noise.batch_size is not None  # the covariance of additive noise is found by doubling
        r = max(self.rate, 0.5)
        slowed = Dense(self.step, True, self.kept / np.sqrt(r))
        slowed.eigenbasis = None if self.eigenbasis is None else self.eigenbasis.scaled(1 / np.sqrt(r))
        slower = Noise(noise.problem, noise.batch_size * r, noise.std)
        return second_moment(slowed, slower, reference, budget, residual_to=1e-6 * (1 - self.rate))  # it is a bound


def are_equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays differ by no more than rounding of their largest entries."""
    return size_of(a - b) <= ROUNDING * size_of(b)


def size_of(x: np.ndarray) -> float:
    """Largest absolute entry."""
    return float(np.max(np.abs(x), initial=0.0))
