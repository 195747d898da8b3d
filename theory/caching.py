"""What is computed once for each problem or network, and forgotten with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

P = ParamSpec("P")
T = TypeVar("T")


def remembered(function: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Compute a function once for each of its arguments; its values last as long as its first argument does.

    The values must not refer to that argument, nor the others be unhashable.
    """
    values: WeakKeyDictionary[Any, dict[Any, T]] = WeakKeyDictionary()

    @wraps(function)
    def known(subject: Any, *rest: P.args, **named: P.kwargs) -> T:
        of_subject = values.setdefault(subject, {})
        key = (rest, *sorted(named.items()))
        if key not in of_subject:
            of_subject[key] = function(subject, *rest, **named)
        return of_subject[key]

    return cast("Callable[Concatenate[Any, P], T]", known)
