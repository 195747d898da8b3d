"""The cheapest exact way to the moments of a step over a network that changes, or of several steps in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from simlab.network import AnyNetwork, NetworkProcess
from simlab.network.law import Cycle, Law, Switches, Toggles, sure
from simlab.network.weights import matrix
from simlab.protocols import Algorithm
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.changing import Changing, NoPolynomialError, base_step, phases_of
from theory.moments.dense import Spread
from theory.moments.noise import Noise
from theory.moments.pushed import Pushed, given_path
from theory.moments.toggled import SeveralExchangesError, Toggled

FEW = 5  # links or nodes that fail, whose outcomes are listed


class ChangingMoments(Protocol):
    """The face that `Changing`, `Toggled`, `Pushed` and `Decoupled` share.

    Laws
    ----
    Where two of them know a step, their answers must be identical to rounding. `walk` tends to ``means()`` and
    ``settled()``, phase by phase, where `mean_square_rate` is below 1 and nothing drifts or walks.
    """

    @property
    def period(self) -> int:
        """Steps after which all is the same again."""

    @property
    def step_work(self) -> float:
        """Multiplications of a step of the second moments."""

    @property
    def gradient_calls(self) -> int:
        """Gradients that one step asks for."""

    @property
    def mean_rate(self) -> float:
        """Asymptotic factor a step of the mean."""

    @property
    def drifts(self) -> bool:
        """Whether the first steps move a quantity that every step would conserve."""

    def walks(self, noise: Noise) -> bool:
        """Whether chance enters such a quantity."""

    def mean_square_rate(self, noise: Noise) -> float:
        """Root of the asymptotic factor a step of second moments."""

    def rescaled(self, algorithm: Algorithm, units: np.ndarray) -> ChangingMoments:
        """Those of an algorithm with other parameters, fields `units` times as large."""

    @property
    def unknowns(self) -> int:
        """Rows of the largest matrix of `lift`."""

    def lift(self, noise: Noise) -> list[np.ndarray]:
        """The step of second moments, as matrices whose spectral radii have ``mean_square_rate ** 2`` as the largest.

        Of a period P > 1 they are cyclic, and hold the radius of one step on average.
        """

    def means(self) -> list[np.ndarray]:
        """Stationary mean of x before each phase of a period, (n, d) each."""

    def settled(self, noise: Noise) -> list[Spread]:
        """Stationary spread of x before each phase."""

    def walk(self, noise: Noise) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x (n, d), and its spread, at steps 0, 1, ..."""


class Decoupled:
    """Equal Hessians: each of their eigenvectors is a problem of one number a node, all over the same network."""

    def __init__(self, parts: list[ChangingMoments], vectors: np.ndarray) -> None:
        self.parts, self.vectors = parts, vectors
        self.period = parts[0].period
        self.step_work = sum(part.step_work for part in parts)
        self.gradient_calls = parts[0].gradient_calls

    @property
    def mean_rate(self) -> float:
        """The largest."""
        return max(part.mean_rate for part in self.parts)

    @property
    def drifts(self) -> bool:
        """Any."""
        return any(part.drifts for part in self.parts)

    def walks(self, noise: Noise) -> bool:
        """Any."""
        return any(part.walks(noise) for part in self.parts)

    def mean_square_rate(self, noise: Noise) -> float:
        """The largest."""
        found = self.mean_rate
        for part in sorted(self.parts, key=lambda part: -part.mean_rate):
            if isinstance(part, Toggled):
                found = part.rate_above(noise, found)
            else:
                found = max(found, part.mean_square_rate(noise))
        return found

    def rescaled(self, algorithm: Algorithm, units: np.ndarray) -> Decoupled:
        """Each."""
        return Decoupled([part.rescaled(algorithm, units) for part in self.parts], self.vectors)

    @property
    def unknowns(self) -> int:
        """The most of any."""
        return max(part.unknowns for part in self.parts)

    def lift(self, noise: Noise) -> list[np.ndarray]:
        """Those of all."""
        return [matrix for part in self.parts for matrix in part.lift(noise)]

    def _together(self, columns: Any) -> np.ndarray:
        return np.hstack(list(columns)) @ self.vectors.T

    def means(self) -> list[np.ndarray]:
        """Side by side."""
        return [self._together(columns) for columns in zip(*(part.means() for part in self.parts), strict=True)]

    def settled(self, noise: Noise) -> list[Spread]:
        """Summed."""
        return [_sum(spreads) for spreads in zip(*(part.settled(noise) for part in self.parts), strict=True)]

    def walk(self, noise: Noise) -> Iterator[tuple[np.ndarray, Spread]]:
        """Side by side, summed."""
        for states in zip(*(part.walk(noise) for part in self.parts), strict=True):
            yield self._together(x for x, _ in states), _sum(spread for _, spread in states)


def _sum(spreads: Any) -> Spread:
    return Spread(*(float(sum(values)) for values in zip(*spreads, strict=True)))


def law_of(network: AnyNetwork) -> Law:
    """The law of a network; one that does not change is its own only outcome."""
    return network.law() if isinstance(network, NetworkProcess) else Cycle((sure(matrix(network)),))


def changing_moments(
    surrogate: Surrogate, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray, additive: bool
) -> ChangingMoments:
    """Moments over a network that changes; `additive`: noise is the same at all nodes and states.

    Raises
    ------
    ValueError
        The step is not affine, the law is not known, or there are more outcomes or states than are followed.
    """
    law, phases = law_of(network), phases_of(algorithm, start)
    dim = start.shape[1]
    if not (additive and len(surrogate.curvature) == 1 and dim > 1):
        return _moments(surrogate, network, law, algorithm, start, phases)
    shared = surrogate.curvature[0]
    values, vectors = np.linalg.eigh(shared) if shared.ndim == 2 else (shared, np.eye(dim))
    linear, start = surrogate.linear @ vectors, start @ vectors
    parts = [
        _moments(
            Surrogate(values[None, a : a + 1], linear[:, a : a + 1]),
            network,
            law,
            algorithm,
            start[:, a : a + 1],
            phases,
        )
        for a in range(dim)
    ]
    return Decoupled(parts, vectors)


def _moments(
    surrogate: Surrogate, network: AnyNetwork, law: Law, algorithm: Algorithm, start: np.ndarray, phases: int
) -> ChangingMoments:
    step: AffineStep = base_step(surrogate, network, law, algorithm, start)
    if isinstance(law, Toggles):
        try:
            if phases == 1 and not step.given:
                return Toggled(step, network, law)
        except SeveralExchangesError:
            pass
    if isinstance(law, Toggles | Switches):
        if len(law.probabilities) > FEW and not step.given:
            try:
                return Changing(step, network, law, phases)
            except NoPolynomialError as error:
                reason = f" ({error})"
        else:
            reason = ""
        try:
            law = Cycle((law.outcomes(),))
        except ValueError as error:
            raise ValueError(f"{error}{reason}") from None
    if not step.given:
        return Changing(step, network, law, phases)
    early, late = given_path(step, network, law, phases)
    if not early:
        return Changing(step, network, law, phases, late)
    assert isinstance(law, Cycle)  # over a Markov chain nothing is given that changes
    return Pushed(step, network, law, phases, early, late)
