"""Exact moments of steps that divide by what they know: push-sum, whose weights do not depend on the states.

Given w_k, x is affine in what a node holds, and the step is a linear one that changes with k until the weights repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import numpy as np

from simlab.network.law import Chain, Cycle
from simlab.protocols import Algorithm
from simlab.step.graph import Counter
from theory.moments.affine import AffineStep
from theory.moments.budget import CostError
from theory.moments.changing import Changing, Current, Given
from theory.moments.dense import Spread
from theory.moments.noise import Noise

RESTS = 1e-14  # relative: a period moves the weights no farther
FOLLOWED = 5000  # steps until then


class Passing(Changing):
    """Steps that are taken once: what they all conserve is followed with the rest."""

    @property
    def conserved(self) -> np.ndarray:
        """Nothing is set apart."""
        return np.zeros((self.step.size, 0))


class Pushed:
    """Moments where fields of one number a node are given at each step, and repeat after a while.

    Parameters
    ----------
    step : AffineStep
        From `base_step`.
    network : NetworkProcess or Network
    law : Cycle
    phases : int
        Of the algorithm.
    early, late : lists of dict
        From `given_path`, `early` not empty.
    """

    def __init__(
        self, step: AffineStep, network: Any, law: Cycle, phases: int, early: list[Given], late: list[Given]
    ) -> None:
        self.step, self.network, self.law, self.phases, self.gradient_calls = step, network, law, phases, 1
        self.gradient_calls = step.gradient_calls
        self.given = early, late
        first = Cycle(tuple(law.steps[k % len(law.steps)] for k in range(len(early))))
        self.early = Passing(step, network, first, phases, early)
        silent = Noise(step.surrogate, None, 0.0)  # type: ignore[arg-type]
        mean = next(islice(self.early.path(silent), len(early), None))[0]
        self.late = Changing(step.from_(step.start + mean.reshape(step.shape)), network, law, phases, late)
        self.period = self.late.period

    @property
    def mean_rate(self) -> float:
        """That of the states, or of the weights if they are slower."""
        return max(self.late.mean_rate, _rate(self.step, self.network, self.law, self.phases, self.given[1][0]))

    @property
    def drifts(self) -> bool:
        """Once the weights repeat."""
        return self.late.drifts

    def walks(self, noise: Noise) -> bool:
        """Once the weights repeat."""
        return self.late.walks(noise)

    def mean_square_rate(self, noise: Noise) -> float:
        """Once the weights repeat."""
        return self.late.mean_square_rate(noise)

    def rescaled(self, algorithm: Algorithm, units: np.ndarray) -> Pushed:
        """See `AffineStep.rescaled`."""
        return Pushed(self.step.rescaled(algorithm, units), self.network, self.law, self.phases, *self.given)

    @property
    def unknowns(self) -> int:
        """Rows of `lift`."""
        return self.late.unknowns

    def lift(self, noise: Noise) -> list[np.ndarray]:
        """Once the weights repeat."""
        return self.late.lift(noise)

    def means(self) -> list[np.ndarray]:
        """Once the weights repeat, from where they begin to."""
        return self.late.means()

    def settled(self, noise: Noise) -> list[Spread]:
        """Once the weights repeat."""
        return self.late.settled(noise)

    def walk(self, noise: Noise) -> Iterator[tuple[np.ndarray, Spread]]:
        """Mean x (n, d), and its spread, at steps 0, 1, ..."""
        second = None
        for k, (means, second) in enumerate(self.early.path(noise)):
            if k == self.early.period:
                break
            yield self._seen(self.early, means, second)
        for means, later in self.late.path(noise, second):
            yield self._seen(self.late, means, later)

    def _seen(self, part: Changing, means: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, Spread]:
        return part.step.start[0] + means.sum(axis=0).reshape(self.step.shape)[0], part.spread(second)

    @property
    def step_work(self) -> float:
        """Multiplications of a step of the second moments."""
        return self.late.step_work


def given_path(step: AffineStep, network: Any, law: Cycle | Chain, phases: int) -> tuple[list[Given], list[Given]]:
    """What is given at each step until it repeats, and then in a period of the network and the phases.

    Raises
    ------
    ValueError
        Chance decides it.
    CostError
        It takes too many steps to repeat.
    """
    period = int(np.lcm(len(law.steps) if isinstance(law, Cycle) else 1, phases))
    path = [step.given]
    for k in count(1):
        path.append(_after(step, network, law, k - 1, phases, path[-1]))
        if k % period == 0 and _distance(path[k], path[k - period]) <= RESTS:
            return path[: k - period], path[k - period : k]
        if k == FOLLOWED:
            raise CostError(
                f"cost: the weights of {type(step.algorithm).__name__} do not repeat in {k} steps; simulate it"
            )
    raise AssertionError


def _after(step: AffineStep, network: Any, law: Cycle | Chain, k: int, phases: int, given: Given) -> Given:
    listed = (law.steps[k % len(law.steps)],) if isinstance(law, Cycle) else law.modes
    found = []
    for outcome in (outcome for outcomes in listed for outcome in outcomes):
        here = Current(outcome, network.stochastic)
        found.append(step.at(here, Counter(k % phases), (here.awake, here.fires), given).given_after())
    if any(_distance(found[0], other) > 1e-12 for other in found[1:]):
        name, field = type(step.algorithm).__name__, next(iter(given))
        raise ValueError(
            f"network = {network!r} makes {name}.{field} random, by which the step divides; predict it on a network "
            "whose steps are sure (a fixed one or a cycle) or doubly stochastic, or simulate it"
        )
    return found[0]


def _distance(one: Given, other: Given) -> float:
    return max((float(np.max(np.abs(one[f] - other[f])) / np.max(np.abs(one[f]))) for f in one), default=0.0)


def _rate(step: AffineStep, network: Any, law: Cycle, phases: int, given: Given) -> float:
    """The factor a step by which what is given, of linear steps, comes to rest."""
    period = int(np.lcm(len(law.steps), phases))

    def after(now: Given) -> np.ndarray:
        for k in range(period):
            now = _after(step, network, law, k, phases, now)
        return np.concatenate([value.ravel() for value in now.values()])

    rest = after(given)
    columns = [after({**given, f: given[f] + unit[:, None]}) - rest for f in given for unit in np.eye(step.shape[1])]
    sizes = np.abs(np.linalg.eigvals(np.stack(columns, axis=1)))
    return float(np.max(sizes[sizes < 1 - 1e-9], initial=0.0)) ** (1 / period)
