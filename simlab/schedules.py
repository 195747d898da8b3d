"""Step sizes that change: functions of the step counter k = 0, 1, 2, ...

A hyperparameter of an algorithm may be a number or any callable of an integer array of step counters that returns the
values at these steps. The schedules here are NamedTuples, so they compare, print and are stored with a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

StepSize = float | Callable[[np.ndarray], np.ndarray]


class Constant(NamedTuple):
    """γ_k = `value`."""

    value: float

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return np.full(np.shape(k), float(self.value))


class InverseSqrt(NamedTuple):
    """γ_k = `initial` / sqrt(1 + k/`scale`)."""

    initial: float
    scale: float = 1.0

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return self.initial / np.sqrt(1 + np.asarray(k) / self.scale)


class Inverse(NamedTuple):
    """γ_k = `initial` / (1 + k/`scale`)."""

    initial: float
    scale: float = 1.0

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return self.initial / (1 + np.asarray(k) / self.scale)


class StepDecay(NamedTuple):
    """γ_k = `initial` * `factor` ** floor(k/`every`)."""

    initial: float
    every: int
    factor: float = 0.1

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return self.initial * self.factor ** (np.asarray(k) // self.every).astype(float)


class Cosine(NamedTuple):
    """Half a cosine from `initial` at step 0 to `final` at step `steps`, constant afterwards.

    A step size has to stay positive, so a run longer than `steps` needs `final` > 0.
    """

    initial: float
    steps: int
    final: float = 0.0

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        k = np.asarray(k)
        angle = np.pi / 2 * k / max(self.steps, 1)
        falling = self.final + (self.initial - self.final) * np.cos(angle) ** 2  # without cancellation near the end
        return np.where(k < self.steps, falling, self.final)


class WarmUp(NamedTuple):
    """Linear rise over the first `steps` steps to the values of `schedule` (a number or a schedule of its own clock).

    γ_k = (k + 1)/`steps` * γ'_0 for k < `steps`, then γ'_{k − steps}.
    """

    schedule: StepSize
    steps: int

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        k = np.asarray(k)
        after = values(self.schedule, np.maximum(k - self.steps, 0))
        return np.where(k < self.steps, (k + 1) / max(self.steps, 1), 1.0) * after


def values(hyperparameter: Any, k: np.ndarray) -> np.ndarray:
    """Values of a number or schedule at steps `k`."""
    if callable(hyperparameter):
        return np.broadcast_to(np.asarray(hyperparameter(k), dtype=float), np.shape(k))
    return np.full(np.shape(k), float(hyperparameter))
