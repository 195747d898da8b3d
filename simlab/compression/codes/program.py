"""Plain functions as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from simlab.kernel import Kernel, source

HEADER = '''"""Source-coding loops of simlab.compression."""

import numpy as np
from numba import njit
'''


def program(
    helpers: tuple[Callable[..., object], ...],
    entries: tuple[Callable[..., object], ...],
    shared: tuple[tuple[Callable[..., object], ...], ...] = (),
) -> ModuleType:
    """Compile functions that may use only one another, ``np`` and their arguments.

    Their texts become one program that the engine's loader keeps on disk under the
    hash of its text: an edited helper is another program, so that no stale one runs.
    No fast-math flag is set: the decoder must repeat the encoder's arithmetic exactly.

    Parameters
    ----------
    helpers, entries : tuples of functions
        Functions called from compiled code only, and those called from Python.
    shared : tuple of tuples of functions
        Groups as in `simlab.kernel.Kernel`, whose last functions they may call.

    Returns
    -------
    module
        With the compiled functions as attributes.
    """
    from simlab.programs import contents, load, part_of

    parts = tuple(part_of(Kernel(group, ())) for group in shared)
    texts = ["@njit(nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)\n" + source(f) for f in helpers]
    texts += ["@njit(nogil=True, no_cfunc_wrapper=True, cache=True)\n" + source(f) for f in entries]
    return load("\n\n".join([HEADER, contents(parts), *texts]), parts)
