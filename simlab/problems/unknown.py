"""Problems of data whose minimizer and curvature are not known."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from simlab.problems.samples import SampleProblem


class UnknownMinimizer(SampleProblem):
    """f is not convex: `minimizer` is None; constants that need it, or a bound on all Hessians, raise ValueError."""

    is_convex = False

    @property
    def minimizer(self) -> None:
        """None: not known."""
        return

    def _unknown(self, what: str) -> NoReturn:
        raise ValueError(f"{self!r} has no {what}: its loss is not convex and its curvature has no global bound")

    def hessian(self, x: np.ndarray) -> np.ndarray:
        self._unknown("hessian in closed form")

    @property
    def minimum(self) -> float:
        """ValueError: not known."""
        self._unknown("known minimum")

    @property
    def node_minimum(self) -> np.ndarray:
        """ValueError: not known."""
        self._unknown("known node_minimum")

    @property
    def lower_bound(self) -> float:
        """ValueError: not known."""
        self._unknown("known lower_bound")

    @property
    def smoothness(self) -> float:
        """ValueError: no bound holds everywhere."""
        self._unknown("smoothness constant")

    @property
    def strong_convexity(self) -> float:
        """ValueError: no bound holds everywhere."""
        self._unknown("strong_convexity constant")

    @property
    def heterogeneity(self) -> float:
        """ValueError: it is defined at the minimizer."""
        self._unknown("heterogeneity, which is defined at the minimizer")

    @property
    def gradient_variance(self) -> float:
        """ValueError: it is defined at the minimizer."""
        self._unknown("gradient_variance, which is defined at the minimizer")
