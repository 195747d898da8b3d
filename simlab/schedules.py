"""Hyperparameters: numbers, or schedules, which are functions of the step counter k = 0, 1, 2, ...

A hyperparameter of an algorithm may be a number or any callable of an integer array of step counters that returns the
values at these steps. The schedules here are NamedTuples, so they compare, print and are stored with a run.

A field of an algorithm's class says by its type which values it may take: `StepSize`, `Momentum`, `ConsensusStep`,
`Weight`, or ``Annotated[Scheduled, Range(...)]`` of one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

import numpy as np

from simlab import checks

__all__ = [
    "ConsensusStep",
    "Constant",
    "Cosine",
    "Inverse",
    "InverseSqrt",
    "Momentum",
    "Period",
    "Range",
    "Scheduled",
    "StepDecay",
    "StepSize",
    "WarmUp",
    "Weight",
]

Scheduled = float | Callable[[np.ndarray], np.ndarray]  #: a number or a schedule


class Range(NamedTuple):
    """Which values a hyperparameter may take: `minimum` and `maximum` included, `above` and `below` not."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None


StepSize = Annotated[Scheduled, Range(above=0.0)]  #: > 0
Momentum = Annotated[Scheduled, Range(minimum=0.0, below=1.0)]  #: in [0, 1)
ConsensusStep = Annotated[Scheduled, Range(above=0.0, maximum=1.0)]  #: in (0, 1]
Weight = Annotated[Scheduled, Range(minimum=0.0)]  #: >= 0
Period = Annotated[int, Range(minimum=1)]  #: steps, a whole number


def ranges(algorithm: type) -> dict[str, Range]:
    """The ranges that the fields of an algorithm's class declare by their types."""
    hints = _hints(algorithm)
    return {name: r for name, hint in hints.items() for r in get_args(hint)[1:] if isinstance(r, Range)}


def choices(algorithm: type) -> dict[str, tuple[str, ...]]:
    """The choices of the fields whose type is a ``Literal``."""
    hints = _hints(algorithm)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def whole_fields(algorithm: type) -> frozenset[str]:
    """The fields that are whole numbers by their type, ``int``: a step may count with them."""
    if algorithm not in _whole:
        _whole[algorithm] = _whole_fields(algorithm)
    return _whole[algorithm]


_whole: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def _whole_fields(algorithm: type) -> frozenset[str]:
    return frozenset(name for name, hint in _hints(algorithm).items() if _bare(hint) is int)


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _hints(algorithm: type) -> dict[str, Any]:
    """What the fields declare, looked up once a class."""
    if algorithm not in _declared:
        try:
            _declared[algorithm] = get_type_hints(algorithm, include_extras=True)
        except (NameError, TypeError):  # a class within a function, whose types cannot be looked up
            _declared[algorithm] = {}
    return _declared[algorithm]


_declared: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()


def check_fields(algorithm: Any, numeric: tuple[str, ...]) -> None:
    """TypeError or ValueError unless every field is what its type declares; schedules are checked at their values.

    Parameters
    ----------
    algorithm : NamedTuple
    numeric : tuple of str
        Its fields that are numbers or schedules.
    """
    kind = type(algorithm)
    for name, options in choices(kind).items():
        checks.one_of(f"{kind.__name__}.{name}", getattr(algorithm, name), options)
    for name, hint in _hints(kind).items():
        if hint is bool:
            checks.flag(f"{kind.__name__}.{name}", getattr(algorithm, name))
    whole = whole_fields(kind)
    for name in whole:
        least = ranges(kind).get(name, Range()).minimum
        checks.integer(
            f"{kind.__name__}.{name}", getattr(algorithm, name), minimum=None if least is None else int(least)
        )
    for name in ranges(kind).keys() - whole:
        if name not in numeric:
            raise TypeError(
                f"{kind.__name__}.{name} = {getattr(algorithm, name)!r} is not a real number or a schedule; "
                "pass a float, or a function of the step counter such as simlab.schedules.Cosine"
            )


@checks.fields
class Constant(NamedTuple):
    """γ_k = `value`."""

    value: float

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return np.full(np.shape(k), float(self.value))


@checks.fields
class InverseSqrt(NamedTuple):
    """γ_k = `initial` / sqrt(1 + k/`scale`)."""

    initial: float
    scale: float = 1.0

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return self.initial / np.sqrt(1 + np.asarray(k) / self.scale)


@checks.fields
class Inverse(NamedTuple):
    """γ_k = `initial` / (1 + k/`scale`)."""

    initial: float
    scale: float = 1.0

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return self.initial / (1 + np.asarray(k) / self.scale)


@checks.fields
class StepDecay(NamedTuple):
    """γ_k = `initial` * `factor` ** floor(k/`every`)."""

    initial: float
    every: int
    factor: float = 0.1

    def __call__(self, k: np.ndarray) -> np.ndarray:
        """Values at steps `k`."""
        return self.initial * self.factor ** (np.asarray(k) // self.every).astype(float)


@checks.fields
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


@checks.fields
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
    try:
        if callable(hyperparameter):
            return np.broadcast_to(np.asarray(hyperparameter(k), dtype=float), np.shape(k))
        return np.full(np.shape(k), float(hyperparameter))
    except OverflowError:
        raise ValueError(f"{hyperparameter!r} is beyond the numbers of float64; pass ordinary numbers") from None


def check_blocks(name: str, blocks: tuple[int, ...], problem: Any) -> None:
    """ValueError unless `blocks` of the algorithm `name` are none, or positive numbers that add up to the dimension."""
    if blocks and (min(blocks) < 1 or sum(blocks) != problem.dim):
        raise ValueError(
            f"{name}.blocks = {blocks} are {sum(blocks)} entries, and the problem has dim = {problem.dim}; "
            "pass problem.block_sizes"
        )
