"""Checks at the public boundary: each error names the argument, its value and the remedy."""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

BOUND = ("self", "cls")
P = ParamSpec("P")
R = TypeVar("R")


def integer(name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """Return `value` as an int; TypeError unless it is whole, ValueError outside the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} = {value!r} is not an integer; pass a whole number such as {minimum or 1}")
    _bounds(name, value, minimum, maximum)
    return int(value)


def real(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value` as a float; `minimum`/`maximum` are inclusive bounds, `above`/`below` strict ones."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} = {value!r} is not a real number; pass an int or a float")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{name} = {value!r} is not finite; pass an ordinary number")
    if above is not None and not number > above:
        raise ValueError(f"{name} = {value!r} must be greater than {above}; choose a larger {name}")
    if below is not None and not number < below:
        raise ValueError(f"{name} = {value!r} must be less than {below}; choose a smaller {name}")
    _bounds(name, value, minimum, maximum)
    return number


def flag(name: str, value: Any) -> bool:
    """Return `value` as a bool; TypeError unless it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} = {value!r} is not a truth value; pass True or False")
    return bool(value)


def _bounds(name: str, value: Any, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} = {value!r} must be at least {minimum}; choose a larger {name}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} = {value!r} must be at most {maximum}; choose a smaller {name}")


def array(name: str, value: Any, *, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Return `value` as a finite NumPy array of `shape` (None: any length), float32 if it is that, else float64."""
    for part in value if isinstance(value, list | tuple) else [value]:
        if np.ma.is_masked(part):
            masked = np.ma.count_masked(part)
            raise ValueError(f"{name} has {masked} masked value(s); impute them (.filled(...)) or drop their samples")
    try:
        result = np.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} has rows of unequal length; pass equal-length rows of numbers") from None
    if result.dtype.kind == "c" or any(isinstance(entry, complex) for entry in _objects(result)):
        raise TypeError(f"{name} is complex; pass real numbers, for example {name}.real")
    if result.dtype.kind not in "biufO" or any(isinstance(entry, str | bytes) for entry in _objects(result)):
        shown = repr(result.flat[0].item()) if result.size else result.dtype
        raise TypeError(f"{name} is not an array of numbers: it holds {shown}; convert it first")
    if result.dtype != np.float32:
        try:
            result = result.astype(np.float64, copy=False)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"{name} of type {type(value).__name__} is not an array of numbers; pass equal-length rows of numbers"
            ) from None
    if shape is not None and (
        result.ndim != len(shape) or any(s is not None and s != r for s, r in zip(shape, result.shape, strict=True))
    ):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise ValueError(f"{name} has shape {result.shape}, not {wanted}; reshape it or check the other arguments")
    bad = np.argwhere(~np.isfinite(result))
    if bad.size:
        where = tuple(int(k) for k in bad[0])
        raise ValueError(
            f"{name} holds {len(bad)} value(s) that are NaN or infinite, the first {float(result[where])} at "
            f"index {where}; remove or impute them"
        )
    return result


def _objects(values: np.ndarray) -> Iterable[Any]:
    return values.flat if values.dtype.kind == "O" else ()


def one_of(name: str, value: Any, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`; else ValueError that names the nearest one."""
    choices = list(options)
    if value in choices:
        return str(value)
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"{name} = {value!r} is unknown; {hint}choose one of {', '.join(map(repr, choices))}")


def nearest(name: str, known: Sequence[str]) -> str:
    """The hint at what of `known` may have been meant by `name`, abbreviated or misspelled; empty if none is near."""
    initials = "".join(word[:1] for word in name.split("_"))
    near = [initials] if initials in known else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def keywords(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose error for a keyword that it does not take names the nearest one that it does."""
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        for name in options:
            if name not in known:
                hint = nearest(name, known)
                called, taken = function.__qualname__.removesuffix(".__init__"), [k for k in known if k not in BOUND]
                raise TypeError(f"{called} takes no {name} = {options[name]!r}; {hint}it takes {_list(taken)}")
        return function(*args, **options)

    return checked


def fields(kind: Any) -> Any:
    """A NamedTuple class, changed so that its constructor's error for an unknown field names the nearest one."""
    create, known = kind.__new__, list(kind._fields)
    if hasattr(create, "__wrapped__"):
        return kind

    @functools.wraps(create)
    def checked(cls: Any, *args: Any, **values: Any) -> Any:
        for name in values:
            if name not in known:
                hint = nearest(name, known)
                raise TypeError(f"{cls.__name__} takes no {name} = {values[name]!r}; {hint}it takes {_list(known)}")
        return create(cls, *args, **values)

    kind.__new__ = checked
    return kind


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
