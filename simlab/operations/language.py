"""The step language: how an operation is known to the graph of a step, and who listens to its calls."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from simlab.arrays import namespace_of
from simlab.protocols import Mixing
from simlab.step.graph import Expression
from simlab.step.operation import Kind, Operation, add

Array = Any  #: an array of shape (..., n, d): one row a node; leading axes are independent runs

F = TypeVar("F", bound=Callable[..., Any])


def operation(name: str, kind: Kind, printed: str = "", helper: str = "") -> Callable[[F], F]:
    """A row of the step language: the decorated function is its array form.

    Called on symbols, it becomes a node of the step's graph. Adding an operation is writing one function here.

    Parameters
    ----------
    name, kind, printed, helper
        See ``simlab.step.operation.Operation``.
    """
    add(Operation(name, kind, printed, helper))

    def decorate(function: F) -> F:
        @wraps(function)
        def apply(*args: Any) -> Any:
            return Expression(name, args) if any(isinstance(a, Expression) for a in args) else function(*args)

        return cast("F", apply)

    return decorate


_tally: ContextVar[list[tuple[str, int, Any]] | None] = ContextVar("tally", default=None)


@contextmanager
def tally() -> Iterator[list[tuple[str, int, Any]]]:
    """What is called on arrays within the block, in the order of the calls: the operation, the numbers a node that it
    is given (of a phase, its period), and the network of an exchange.
    """
    calls: list[tuple[str, int, Any]] = []
    token = _tally.set(calls)
    try:
        yield calls
    finally:
        _tally.reset(token)


def note(operation: str, width: int, network: Mixing | None = None) -> None:
    """Tell the `tally`, if there is one, of a call on arrays."""
    calls = _tally.get()
    if calls is not None:
        calls.append((operation, width, network))


def namespace(*values: Array) -> Any:
    """Of the arrays among the values."""
    return namespace_of(*(value for value in values if not isinstance(value, numbers.Real | np.bool_)))
