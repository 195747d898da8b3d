"""Mini-batches on least squares: their noise depends on the state, yet second moments obey a linear recursion."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from theory.moments.budget import FREE, Budget
from theory.moments.linear import LEFT_OUT

EXACT = 2e-13  # relative residual of a stationary covariance that is called exact
SOLVED = 1e-13  # relative residual of the covariances at the gradient points
EIGENVECTORS = 45  # s³ multiplications in whose time a matrix is deflated, diagonalized and its eigenvectors applied
INVERSE = 8  # the same for the inverse of the complex eigenvectors
DEFINITE = 1e-4  # least over largest eigenvalue of noise that is surely positive definite


def second_moment(
    dense: Any, noise: Spreads, at_limit: np.ndarray, budget: Budget = FREE, residual_to: float = EXACT
) -> np.ndarray | None:
    """Stationary covariance S of the states, (s, s), or None where it diverges.

    S = TSTʹ + N blockdiag(Q_i + A_i(V_i)) Nʹ enters its own noise only by the n blocks V_i of YSYʹ, the covariances of
    the points where gradients are evaluated: V = K(Q + A(V)), with K(Q) the blocks that noise of covariance Q keeps up.
    GMRES solves this, with K in the eigenbasis of T; what is left of the full equation is then corrected. Where the
    eigenbasis is too ill-conditioned for that, K takes the doubling of `theory.moments.linear.Stein`.

    Parameters
    ----------
    dense : theory.moments.dense.Dense
        Of spectral radius below 1.
    noise : Noise
    at_limit : ndarray, shape (n, d, d)
        Q_i at the limit.
    budget : Budget, optional
        What may be spent.
    residual_to : float, optional
        Relative residual at which no more is corrected.

    Raises
    ------
    CostError
        The budget is spent: most likely the eigenvectors are ill-conditioned, and doubling takes a hundred times more.
    """
    reads, identity = dense.gradient_matrix, np.broadcast_to(np.eye(at_limit.shape[-1]), at_limit.shape)
    for inverse in (dense.eigenbasis, Doubling(dense)):
        if inverse is None:
            continue
        metered = Metered(inverse, budget)
        v = _solve(metered, noise, metered.blocks(at_limit))
        # K and A keep matrices positive semidefinite. So the recursion is stable if and only if positive definite noise
        # has a positive semidefinite solution (Collatz, Wielandt).
        least, largest = _extremes(at_limit)
        response = v if least > DEFINITE * largest else _solve(metered, noise, metered.blocks(identity))
        least, largest = _extremes(response)
        if least < -1e-9 * largest:
            return None
        s = metered.states(at_limit + noise.spread(v))
        for _ in range(6):
            budget.spend(residual_work(*dense.gradient_matrix.shape), RESIDUAL)
            q = at_limit + noise.spread(node_blocks(reads @ s, reads, at_limit.shape[:2]))
            residual = dense.kept @ s @ dense.kept.T + dense.forcing(q) - s
            if np.linalg.norm(residual) <= residual_to * np.linalg.norm(s):
                return s
            s = s + _correction(dense, metered, noise, residual)
        if np.linalg.norm(residual) <= 1e-9 * (1 - dense.rate) * np.linalg.norm(s):
            return s
    return None


def _extremes(blocks: np.ndarray) -> tuple[float, float]:
    """Least and absolutely largest eigenvalue of symmetric blocks (n, d, d)."""
    values = np.linalg.eigvalsh(blocks)
    return float(np.min(values)), float(np.max(np.abs(values)))


def node_blocks(left: np.ndarray, right: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The n diagonal blocks of Re LRʹ: (..., n d, s), (..., n d, s) -> (..., n, d, d)."""
    left, right = (side.reshape(*side.shape[:-2], *shape, side.shape[-1]) for side in (left, right))
    return _real_product(left, right)


def _real_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Re LRʹ: the real and imaginary parts side by side, multiplied as real numbers."""
    left, right = (np.ascontiguousarray(side).view(float) for side in (left, right))
    return left @ right.swapaxes(-1, -2)


def _correction(dense: Any, inverse: _Inverse, noise: Spreads, residual: np.ndarray) -> np.ndarray:
    """Solution of the full equation with `residual` in place of the noise at the limit."""
    reads, s = dense.gradient_matrix, inverse.full(residual)
    v = _solve(inverse, noise, node_blocks(reads @ s, reads, dense.drives))
    return s + inverse.full(dense.forcing(noise.spread(v)))


def _solve(inverse: _Inverse, noise: Spreads, right: np.ndarray) -> np.ndarray:
    """V = K(A(V)) + right."""
    from scipy.sparse.linalg import LinearOperator, gmres

    def matvec(flat: np.ndarray) -> np.ndarray:
        return flat - inverse.blocks(noise.spread(flat.reshape(right.shape))).ravel()

    operator = LinearOperator((right.size, right.size), matvec=matvec, dtype=np.float64)
    return gmres(operator, right.ravel(), rtol=SOLVED, restart=100, maxiter=3)[0].reshape(right.shape)


RESIDUAL = "the stationary covariance"


def residual_work(drives: int, size: int) -> float:
    """Multiplications of S -> TSTʹ + N blockdiag(Q) Nʹ."""
    return 2.0 * size**2 * (size + drives)


def settling_work(drives: int, size: int) -> float:
    """Multiplications that two covariances usually take: a dozen products each by GMRES, one correction of the first.

    It is from below: what ill-conditioned eigenvectors or noise that nearly feeds on itself take more is noted as it
    comes up.
    """
    inside = 2.0 * drives * size**2
    states, full = inside + 3.0 * size**3, (INVERSE + 7.0) * size**3
    return EIGENVECTORS * float(size) ** 3 + 24 * 2 * inside + 2 * states + full + 3 * residual_work(drives, size)


class Spreads(Protocol):
    """Noise whose covariances are those at the mean and a linear function of the covariances of what it depends on."""

    def spread(self, v: np.ndarray) -> np.ndarray:
        """What covariances V_i add to the mean of Q_i: (n, d, d) -> (n, d, d)."""


class _Inverse(Protocol):
    """Solves S = TSTʹ + forcing; `work` is what each call multiplies, by its name."""

    @property
    def work(self) -> dict[str, float]:
        """Multiplications of one call of each method."""

    def full(self, forcing: np.ndarray) -> np.ndarray:
        """S for any symmetric forcing (s, s)."""

    def states(self, q: np.ndarray) -> np.ndarray:
        """S for forcing N blockdiag(Q) Nʹ."""

    def blocks(self, q: np.ndarray) -> np.ndarray:
        """K(Q): the blocks of YSYʹ for that S."""


class Metered:
    """An inverse whose every call is first paid for."""

    def __init__(self, inverse: _Inverse, budget: Budget) -> None:
        self.work, self._inverse, self._budget = inverse.work, inverse, budget

    def full(self, forcing: np.ndarray) -> np.ndarray:
        """S for any symmetric forcing (s, s)."""
        self._budget.spend(self.work["full"], RESIDUAL)
        return self._inverse.full(forcing)

    def states(self, q: np.ndarray) -> np.ndarray:
        """S for forcing N blockdiag(Q) Nʹ."""
        self._budget.spend(self.work["states"], RESIDUAL)
        return self._inverse.states(q)

    def blocks(self, q: np.ndarray) -> np.ndarray:
        """K(Q)."""
        self._budget.spend(self.work["blocks"], RESIDUAL)
        return self._inverse.blocks(q)


class Eigenbasis:
    """With T = UΛU⁻¹: a division entry by entry.

    Sums over all pairs of eigenvectors are real, so that one of two conjugate rows is enough, if it counts twice.
    """

    def __init__(self, dense: Any) -> None:
        self.shape = dense.drives
        self.values, self.vectors = np.linalg.eig(dense.kept)
        self.drive = np.linalg.solve(self.vectors, dense.noise_matrix)
        self.reads = dense.gradient_matrix @ self.vectors
        self.half = self.values.imag >= 0
        self.twice = np.where(self.values[self.half].imag > 0, 2.0, 1.0)
        self.half_drive = self.drive[self.half].reshape(-1, *self.shape).transpose(1, 0, 2)
        self.half_reads = self.reads[:, self.half] * self.twice
        self.weights = 1.0 / (1.0 - self.values[self.half, None] * self.values.conj())

    def scaled(self, factor: float) -> Eigenbasis:
        """That of `factor` T, for the same eigenvectors."""
        other = copy(self)
        other.values = factor * self.values
        other.weights = 1.0 / (1.0 - other.values[self.half, None] * other.values.conj())
        return other

    def only(self, sources: slice) -> Eigenbasis:
        """For some of the sources of noise, which then read only themselves."""
        other = copy(self)
        count, width = self.shape
        chosen = np.arange(count)[sources]
        rows = (chosen[:, None] * width + np.arange(width)).ravel()
        other.shape = (len(chosen), width)
        other.drive, other.reads = self.drive[:, rows], self.reads[rows]
        other.half_drive, other.half_reads = self.half_drive[chosen], self.half_reads[rows]
        return other

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.vectors)

    @property
    def work(self) -> dict[str, float]:
        """A complex product is four real ones, and half the rows are enough."""
        drives, size = self.reads.shape
        inverse = 0 if "_inverse" in self.__dict__ else INVERSE * size**3
        whole = 3.0 * size**3
        inside = 2.0 * drives * size**2
        return {"full": inverse + 4.0 * size**3 + whole, "states": inside + whole, "blocks": 2 * inside}

    def full(self, forcing: np.ndarray) -> np.ndarray:
        inverse = self._inverse
        return self._whole(self.weights * (inverse[self.half] @ forcing @ inverse.conj().T))

    def states(self, q: np.ndarray) -> np.ndarray:
        return self._whole(self._inside(q))

    def blocks(self, q: np.ndarray) -> np.ndarray:
        return node_blocks(self.half_reads @ self._inside(q), self.reads, self.shape)

    def _inside(self, q: np.ndarray) -> np.ndarray:
        """U⁻¹SU⁻ʹ, half its rows."""
        forced = (self.half_drive @ q).transpose(1, 0, 2).reshape(len(self.weights), -1) @ self.drive.conj().T
        return self.weights * forced

    def _whole(self, inside: np.ndarray) -> np.ndarray:
        return _real_product(self.vectors[:, self.half] * self.twice, self.vectors @ inside.conj().T)


class Doubling:
    """By T^k, k = 1, 2, 4, ...: slower, but for any T."""

    def __init__(self, dense: Any) -> None:
        self.dense = dense

    @property
    def work(self) -> dict[str, float]:
        """Two products for each power of T; all of them once more for the powers themselves."""
        drives, size = self.dense.gradient_matrix.shape
        powers = np.log2(max(np.log(LEFT_OUT) / np.log(self.dense.rate), 1.0)) + 1 if self.dense.rate > 0 else 1.0
        solve = (2.0 if "stein" in self.dense.__dict__ else 3.0) * powers * size**3
        forced = drives * size**2
        return {"full": solve, "states": solve + forced, "blocks": solve + 2 * forced}

    def full(self, forcing: np.ndarray) -> np.ndarray:
        return self.dense.stein.solve(forcing)

    def states(self, q: np.ndarray) -> np.ndarray:
        return self.full(self.dense.forcing(q))

    def blocks(self, q: np.ndarray) -> np.ndarray:
        reads = self.dense.gradient_matrix
        return node_blocks(reads @ self.states(q), reads, self.dense.drives)
