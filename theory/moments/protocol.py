"""The face that the solvers of moments share: `Dense`, `Krylov` and `Modes` answer the same questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from theory.moments.affine import AffineStep

if TYPE_CHECKING:
    from theory.moments.dense import Spread
    from theory.moments.noise import Noise


class Moments(Protocol):
    """Moments of z⁺ = Tz + Nξ + u.

    Laws
    ----
    Where two solvers know a step, their answers must be identical to rounding. ``fixed_point()`` is a fixed point of
    the step, the one reached from its start; ``stationary`` is what ``transient`` tends to; without noise the transient
    is the path itself. `rate` below 1 without drift is what makes the path converge.
    """

    @property
    def step(self) -> AffineStep:
        """The step."""

    @property
    def rate(self) -> float:
        """Spectral radius of T without its conserved quantities."""

    @property
    def drifts(self) -> bool:
        """Whether the first step moves a quantity that T alone would conserve: then it grows without end."""

    @property
    def amplification(self) -> float:
        """How much the limit may magnify the rounding of one step."""

    def fixed_point(self) -> np.ndarray:
        """z_∞ reached from the start, (k, n, d)."""

    def stationary(self, noise: Noise, points: np.ndarray) -> Spread:
        """Stationary spread; `points` (n, d) are where the limit's gradients are evaluated."""

    def transient(self, noise: Noise, path: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x and spread at steps 0, 1, ..., along the mean `path` of states (k, n, d)."""
