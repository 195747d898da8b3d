"""The code that a result depends on, as a hash: functions by what they do, not by their names or places."""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Any

LIBRARIES = {"builtins", "simlab", "theory", *sys.stdlib_module_names}  # known by their versions
PLAIN = (bool, int, float, complex, str, bytes)


def code(value: Any) -> str:
    """Hash of the code of a function or class: of its own, and of all of the user's that it refers to.

    It holds the bytecode and the constants of functions, the values that they close over or read from their modules
    (numbers, texts, tuples), and the functions and classes that these are. Libraries are left to their versions.

    Parameters
    ----------
    value : function or class

    Returns
    -------
    str
        16 hexadecimal digits; they depend on the version of Python, as bytecode does.
    """
    return _code(value)


@lru_cache(maxsize=1024)
def _code(value: Hashable) -> str:
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for text in _class(value, set()) if isinstance(value, type) else _function(value, set()):
        digest.update(text.encode())
    return digest.hexdigest()[:16]


def _class(kind: type, seen: set[int]) -> Iterator[str]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in LIBRARIES - {"simlab"} or id(base) in seen:
            continue
        seen.add(id(base))
        yield base.__qualname__
        for name, value in sorted(vars(base).items()):
            written = not (name.startswith("__") and name.endswith("__")) or isinstance(value, types.FunctionType)
            if written and name != "__new__":
                yield from _value(name, value, seen)


def _value(name: str, value: Any, seen: set[int]) -> Iterator[str]:
    """What a name stands for, where that is code or a plain value."""
    for holder in ("fget", "func", "__func__", "__wrapped__"):
        value = inspect.getattr_static(value, holder, value) if not isinstance(value, types.FunctionType) else value
    if isinstance(value, types.FunctionType):
        yield name
        yield from _function(value, seen)
    elif isinstance(value, type):
        if not _in_library(value):
            yield name
            yield from _class(value, seen)
    elif isinstance(value, tuple | list):
        yield f"{name}: {type(value).__qualname__} of {len(value)}"
        for each in value:
            yield from _value(name, each, seen)
    elif isinstance(value, frozenset | set):
        yield f"{name} in {sorted(map(repr, value))}"
    elif value is None or isinstance(value, PLAIN):
        yield f"{name} = {value!r}"
    elif hasattr(value, "__array__"):
        import numpy as np

        array = np.asarray(value)
        yield f"{name} = {array.dtype}{array.shape}{hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def _function(function: Any, seen: set[int]) -> Iterator[str]:
    function = inspect.unwrap(function)
    if not isinstance(function, types.FunctionType):  # an object that is called
        yield from _class(type(function), seen)
        return
    if id(function) in seen:
        return
    seen.add(id(function))
    yield from _bytecode(function.__code__)
    for name, default in zip(function.__code__.co_varnames, function.__defaults__ or (), strict=False):
        yield from _value(name, default, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield from _value(name, cell.cell_contents, seen)
        except ValueError:  # not yet filled
            continue
    if _in_library(function):
        return
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            value = function.__globals__[name]
            if not _in_library(value):
                yield from _value(name, value, seen)


def _in_library(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    root = str(module).partition(".")[0]
    if root in LIBRARIES:
        return True
    path = getattr(sys.modules.get(str(module)), "__file__", None) or ""
    return "site-packages" in path


def _bytecode(code: types.CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _bytecode(constant)
        else:
            yield from _value("constant", constant, set())


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)
