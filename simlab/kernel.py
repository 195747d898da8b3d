"""What a problem or a compressor hands to the compiled engine: a row function and its data."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from simlab import checks

LANES = 16  # runs side by side: entry j of run r is x[LANES * j + r]


@checks.fields
class Kernel(NamedTuple):
    """A function of one node's row, written as loops that Numba compiles.

    That of a gradient is called as ``row(i, x, out, *work, *data)``, of a mini-batch's gradient as
    ``row(i, indices, x, out, *work, *data)``, of a compressor as ``row(i, v, dither, out, *work, *data)``, which
    returns the bits of the message. `i` is the node; `x`, `v`, `dither` and `out`, which it fills, are of shape (d,),
    `indices` of shape (B,).

    Attributes
    ----------
    functions : tuple of functions
        Plain Python functions, helpers first, the row function last. Their source
        text enters the generated program, so they may use only each other, ``np``,
        ``math``, ``LANES`` and their arguments.
    data : tuple of arrays and floats
        Trailing arguments of the row function. Floating-point ones take the precision of the run.
    work : tuple of arrays
        Templates of working memory that each thread gets, uninitialized: arguments of the row function just before
        `data`. Floating ones take the precision of the run.
    lanes : Kernel, optional
        The same for `LANES` runs side by side, ``x`` and ``out`` of shape (d * LANES,), so that a node's work is
        matrix products; None if there is no such form.
    shared : tuple of tuples of functions
        Groups, helpers first, whose last functions `functions` may call. Each is compiled once for all programs, in
        whatever precision, and without fast math.
    """

    functions: tuple[Callable[..., object], ...]
    data: tuple[np.ndarray | float, ...]
    work: tuple[np.ndarray, ...] = ()
    lanes: Kernel | None = None
    shared: tuple[tuple[Callable[..., object], ...], ...] = ()


def check_row(owner: str, kernel: Any, leading: str) -> None:
    """TypeError unless the row function of `owner` takes the arguments `leading` (names), then work and data."""
    if not isinstance(kernel, Kernel):
        raise TypeError(f"{owner} returned a {type(kernel).__name__}; return a simlab.Kernel")
    if not _is_group(kernel.functions):
        raise TypeError(
            f"{owner} returned functions = {kernel.functions!r}; pass a tuple, helpers first: (helper, row)"
        )
    if not isinstance(kernel.shared, tuple) or not all(map(_is_group, kernel.shared)):
        raise TypeError(
            f"{owner} returned shared = {kernel.shared!r}; pass a tuple of tuples of functions: ((helper, entry),)"
        )
    row, signature = kernel.functions[-1], inspect.signature(kernel.functions[-1])
    names, given = ", ".join(signature.parameters), len(leading.split(", ")) + len(kernel.work) + len(kernel.data)
    try:
        signature.bind(*range(given))
    except TypeError:
        raise TypeError(
            f"{owner} returned the row function {row.__name__}({names}), but the engine calls it with {given} "
            f"arguments, row({leading}, *work, *data) with {len(kernel.work)} of work and {len(kernel.data)} of data; "
            "make them agree"
        ) from None


def _is_group(functions: Any) -> bool:
    return isinstance(functions, tuple) and bool(functions) and all(map(inspect.isfunction, functions))


def source(function: Callable[..., object]) -> str:
    """The text of a kernel function, which must be the one that this process imported.

    Raises
    ------
    ValueError
        If there is no text, or if it has changed since, or if it depends on more than its arguments.
    """
    return _source(function.__code__)


@lru_cache(1024)  # a text that was found to be that of this code stays so
def _source(imported: CodeType) -> str:
    name = imported.co_name
    try:
        text = textwrap.dedent(inspect.getsource(imported))
        # Python compiles np.f() in two ways, by whether it sees np imported.
        modules = [compile(header + text, "kernel", "exec") for header in ("import math, numpy as np\n", "")]
    except (OSError, SyntaxError):
        modules = []
    written = [code for module in modules for code in module.co_consts if getattr(code, "co_name", None) == name]
    parts = ("co_code", "co_consts", "co_names")
    if any(all(getattr(code, part) == getattr(imported, part) for part in parts) for code in written):
        return text
    raise ValueError(
        f"the source of the kernel {name} cannot be read, has changed since it was imported, or uses variables of an "
        "enclosing function; define it at the top of a file and import that file again, or run with engine='numpy'"
    )
