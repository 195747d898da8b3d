"""Checks at the public boundary: each error names the argument, its value and the remedy."""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

BOUND = ("self", "cls", "_cls")
EXACT = 2**53  # up to here all whole numbers are floats
P = ParamSpec("P")
R = TypeVar("R")


def integer(name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """Return `value` as an int; TypeError unless it is whole, ValueError outside the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} = {value!r} is not an integer; pass a whole number such as {minimum or 1}")
    _bounds(name, value, minimum, EXACT if maximum is None else maximum)
    return int(value)


def seed(value: Any) -> int:
    """Return a seed as an int, of any size, as NumPy takes it; TypeError unless it is whole, ValueError if negative."""
    size = abs(int(value)) if isinstance(value, numbers.Integral) else 0
    return integer("seed", value, minimum=0, maximum=size)


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
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise ValueError(f"{name} = {value!r} is not finite; pass an ordinary number")
    if above is not None and not number > above:
        raise ValueError(f"{name} = {value!r} must be greater than {above}; choose a larger {name}")
    if below is not None and not number < below:
        raise ValueError(f"{name} = {value!r} must be less than {below}; choose a smaller {name}")
    _bounds(name, value, minimum, maximum)
    return number


def states(x: Any, name: str = "x") -> None:
    """TypeError unless `x` is an array of numbers, of any namespace, without a mask."""
    if isinstance(x, np.ndarray):
        numbers_only = x.dtype.kind in "biufc" and not isinstance(x, np.ma.MaskedArray)
    else:
        from array_api_compat import is_array_api_obj

        numbers_only = is_array_api_obj(x)
    if not numbers_only:
        raise TypeError(f"{name} = {x!r} is not an array of numbers; pass them as numpy.asarray gives them")


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


def instance(name: str, value: Any, kind: Any, remedy: str) -> Any:
    """Return `value`; TypeError unless it is a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} = {value!r} is not a {getattr(kind, '__name__', kind)}; pass {remedy}")
    return value


def each(name: str, values: Any, kind: Any, remedy: str) -> tuple[Any, ...]:
    """Return `values` as a tuple; TypeError unless each is a `kind`."""
    if getattr(values, "ndim", None) == 0:  # iterable by its type alone
        raise TypeError(f"{name} = {values!r} is a single number; pass {remedy}")
    found = tuple(instance(name, values, Iterable, remedy))
    for value in found:
        if not isinstance(value, kind):
            called = getattr(kind, "__name__", kind)
            raise TypeError(f"{name} holds {value!r}, which is not a {called}; pass {remedy}")
    return found


def frame(name: str, value: Any) -> Any:
    """Return `value`; TypeError unless it is a pandas.DataFrame."""
    if not (hasattr(value, "columns") and hasattr(value, "groupby")):
        raise TypeError(f"{name} = {value!r} is no pandas.DataFrame; pass one, such as simlab.sweep returns")
    return value


def array(name: str, value: Any, *, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Return `value` as a finite NumPy array of `shape` (None: any length), float32 if it is that, else float64."""
    for part in value if isinstance(value, list | tuple) else [value]:
        if hasattr(part, "indptr") or hasattr(part, "tocsr"):
            raise TypeError(
                f"{name} is a sparse matrix of shape {part.shape}, and problems compute with dense ones; "
                f"pass {name}.toarray(), with fewer columns (hashed, projected) where that is too large"
            )
        if np.ma.is_masked(part):
            masked = np.ma.count_masked(part)
            raise ValueError(f"{name} has {masked} masked value(s); impute them (.filled(...)) or drop their samples")
    try:
        result = np.asarray(value)
    except (TypeError, ValueError):
        which = _which(name, value)
        raise TypeError(f"{name} has rows of unequal length{which}; pass equal-length rows of numbers") from None
    if result.dtype.kind == "c" or any(isinstance(entry, complex) for entry in _objects(result)):
        raise TypeError(f"{name} is complex; pass real numbers, for example {name}.real")
    texts = [entry for entry in _objects(result) if isinstance(entry, str | bytes)]
    if result.dtype.kind not in "biufO" or texts:
        shown = repr(texts[0] if texts else result.flat[0].item()) if result.size else result.dtype
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


def _which(name: str, value: Any) -> str:
    """Two arrays of a list that are not of one shape, if it holds such."""
    parts = value if isinstance(value, list | tuple) else []
    shapes = [part.shape for part in parts if isinstance(part, np.ndarray)]
    other = next((k for k, shape in enumerate(shapes) if shape != shapes[0]), None)
    if len(shapes) < len(parts) or other is None:
        return ""
    return f", {name}[0] of shape {shapes[0]} and {name}[{other}] of {shapes[other]}"


def _objects(values: np.ndarray) -> Iterable[Any]:
    return values.flat if values.dtype.kind == "O" else ()


def one_of(name: str, value: Any, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`; else ValueError that names the nearest one."""
    choices = list(options)
    if isinstance(value, str) and value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"{name} = {value!r} is unknown; {hint}choose one of {', '.join(map(repr, choices))}")


def some_number(name: str, column: Any) -> None:
    """ValueError if a column of a trace is NaN throughout."""
    if np.isnan(column).all():
        raise ValueError(
            f"{name} is NaN throughout, as mse is where no minimizer is known; choose another column, such as 'loss'"
        )


def nearest(name: str, known: Sequence[str], *, cutoff: float = 0.5) -> str:
    """The hint at what of `known` may have been meant by `name`, abbreviated or misspelled; empty if none is near."""
    initials = "".join(word[:1] for word in name.split("_"))
    near = [initials] if initials in known else difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}? " if near else ""


def keywords(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose errors for arguments that it misses or does not take say which those are, and what it takes."""
    signature = inspect.signature(function)
    called = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        _check_call(called, signature, function, args, options)
        return function(*args, **options)

    return checked


def fields(kind: Any) -> Any:
    """A NamedTuple class, changed so that its constructor's errors are those of `keywords`."""
    create = kind.__new__
    if hasattr(create, "__wrapped__"):
        return kind
    signature = inspect.signature(create)

    @functools.wraps(create)
    def checked(cls: Any, *args: Any, **values: Any) -> Any:
        _check_call(cls.__name__, signature, cls, (cls, *args), values)
        return create(cls, *args, **values)

    kind.__new__ = checked
    return kind


def _check_call(
    called: str, signature: inspect.Signature, described: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """TypeError, in words, unless `signature` takes these arguments."""
    try:
        signature.bind(*args, **options)
        return
    except TypeError:
        pass
    named = {k: p for k, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    known = [name for name in named if name not in BOUND]
    in_order = [name for name, p in named.items() if p.kind is not p.KEYWORD_ONLY]
    takes = f"it takes {_list(known)}"
    for name, value in options.items():
        if name not in known and len(named) == len(signature.parameters):
            raise TypeError(f"{called} takes no {name} = {value!r}; {nearest(name, known)}{takes}")
        if name in in_order[: len(args)]:
            raise TypeError(f"{called} gets {name} by its place and as {name} = {value!r}; pass it once")
    if len(args) > len(in_order):
        raise TypeError(f"{called} does not take {args[len(in_order)]!r} without a name; {takes}")
    given = {*in_order[: len(args)], *options}
    missing = [name for name in known if name not in given and named[name].default is inspect.Parameter.empty]
    raise TypeError(f"{called} misses {'; '.join(_described(name, described) for name in missing)}; {takes}")


def _described(name: str, owner: Any) -> str:
    """`name`, and in parentheses what the docstring of `owner`, or of the class whose method it is, says of it."""
    within = vars(inspect.getmodule(owner)).get(owner.__qualname__.split(".")[0])
    for text in filter(None, map(inspect.getdoc, (owner, within))):
        found = re.search(rf"^(?:\w+, )*{name}(?:, \w+)* : (.+)\n((?: +.*\n?)*)", text, re.MULTILINE)
        if found:
            sentence = re.split(r"(?<=[.:;]) ", " ".join(found[2].split()))[0].rstrip(".:;")
            return f"{name} ({found[1]}{': ' * bool(sentence)}{sentence})"
    return name


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
