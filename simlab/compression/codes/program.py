"""Plain functions as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from simlab.kernel import source

HEADER = '''"""Source-coding loops of simlab.compression."""

import numpy as np
from numba import njit
'''


def program(helpers: tuple[Callable[..., object], ...], entries: tuple[Callable[..., object], ...]) -> ModuleType:
    """Compile functions that may use only one another, ``np`` and their arguments.

    Their texts become one program that the engine's loader keeps on disk under the
    hash of its text: an edited helper is another program, so that no stale one runs.
    No fast-math flag is set: the decoder must repeat the encoder's arithmetic exactly.

    Parameters
    ----------
    helpers, entries : tuples of functions
        Functions called from compiled code only, and those called from Python.

    Returns
    -------
    module
        With the compiled functions as attributes.
    """
    from simlab.programs import load

    texts = ["@njit(nogil=True)\n" + source(f) for f in helpers]
    texts += ["@njit(nogil=True, cache=True)\n" + source(f) for f in entries]
    return load("\n\n".join([HEADER, *texts]))
