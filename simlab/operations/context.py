"""What a step knows of the moment: its number, who is awake and fires, who has how many neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from simlab import checks
from simlab.operations.language import Array, namespace, note
from simlab.protocols import Mixing
from simlab.step.batch import Batch
from simlab.step.graph import Counter, Expression, ForeignNounError, Unseen


def phase(batch: Batch, period: int) -> int:
    """The steps taken so far modulo `period`, a Python number: a step may use it in an ``if``.

    A compiled step is traced once for each phase, so that what a phase does not send costs nothing.

    Parameters
    ----------
    batch : Batch
        What `step` was given.
    period : int
        At least 1.

    Returns
    -------
    int
        0, ..., period − 1.

    Raises
    ------
    TypeError
        The batch does not know the step: one of one's own, or in a prediction, which has one step for all times.
    """
    period = checks.integer("period", period, minimum=1)
    if isinstance(batch.step, Counter):
        return batch.step.phase(period)
    note("phase", period)
    return int(_step_of(batch, "phase")) % period


def steps_taken(batch: Batch) -> Any:
    """The number k of steps taken before this one, as a number to calculate with.

    Parameters
    ----------
    batch : Batch
        What `step` was given.

    Returns
    -------
    number

    Raises
    ------
    TypeError
        As `phase`.
    """
    return Expression("steps", ()) if isinstance(batch.step, Counter) else _step_of(batch, "steps_taken")


def _step_of(batch: Batch, name: str) -> int:
    if batch.step is None:
        raise ForeignNounError(
            f"{name} was given a batch without the number of its step; in a simulation pass the batch that step was "
            "given; a prediction knows steps only that are the same at all times: simulate this one"
        )
    return batch.step


def fires(network: Mixing) -> Any:
    """Which nodes compute a gradient in this step: all, but for the passive partners of asynchronous pairs.

    Those that do not get zeros from `gradient`. Nodes that sleep take no step at all.

    Parameters
    ----------
    network : Network
        What `step` was given.

    Returns
    -------
    array (..., n, 1) of truth values, or True
    """
    if isinstance(network, Unseen):
        return Expression("fires", (), narrow=True)
    return getattr(network, "fires", True)


def degrees(network: Any, x: Array) -> Array:
    """How many neighbours each node has, itself not counted: a column (n, 1) for arrays like `x`.

    Parameters
    ----------
    network : Network
        What `step` was given; one that does not change.
    x : array (..., n, d)
        Says of which kind the column is.

    Returns
    -------
    array (n, 1)
    """
    if isinstance(x, Expression):
        return Expression("degrees", (), narrow=True)
    return namespace(x).asarray(network.degrees[:, None], dtype=x.dtype)


def per_node(x: Array, value: float = 0.0) -> Array:
    """One number a node, (..., n, 1), as states may hold: push-sum weights, triggers.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.
    value : float, default 0

    Returns
    -------
    array (..., n, 1)
    """
    if isinstance(x, Expression):
        raise TypeError("per_node makes a state in init; in a step, calculate with the state's own arrays (n, 1)")
    return 0 * namespace(x).zeros_like(x)[..., :1] + value


presence: ContextVar[tuple[Array, Array] | None] = ContextVar("present", default=None)


@contextmanager
def present(awake: Array, fires: Array) -> Iterator[None]:
    """Within, `average` is over the nodes that are `awake`, and `gradient` is zero at those that do not fire.

    Both are arrays (..., n, 1) of truth values.
    """
    token = presence.set((awake, fires))
    try:
        yield
    finally:
        presence.reset(token)
