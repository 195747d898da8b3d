"""Printed programs run as plain Python, in milliseconds, on work arrays full of NaN."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import simlab
from simlab.engine import compiled
from simlab.engine.compiler import codegen
from simlab.programs import Part

#: For `simulate` below; what they tell apart is the text of a program, whatever compiles it.
ENGINES = ("numpy", "interpreted")


def simulate(problem: Any, network: Any, algorithm: Any, *, engine: str, **options: Any) -> Any:
    """`simlab.simulate`, of which ``engine="interpreted"`` is the compiled engine within `interpreted`."""
    if engine != "interpreted":
        return simlab.simulate(problem, network, algorithm, engine=engine, **options)
    with interpreted():
        return simlab.simulate(problem, network, algorithm, engine="compiled", **options)


@contextmanager
def interpreted() -> Iterator[None]:
    """Within, the compiled engine interprets its programs; what is read before it is written is NaN."""

    def load(source: str, parts: tuple[Part, ...] = ()) -> Any:
        module = types.ModuleType("interpreted")
        for part in parts:
            functions = [f for f in vars(load(part.source, part.parts)).values() if isinstance(f, types.FunctionType)]
            setattr(module, part.name, functions[-1])
        source = source.replace("from numba import njit", "njit = lambda **_: lambda function: function")
        source = source.replace("from simlab.engine.prefetch import prefetch", "prefetch = lambda *_: None")
        exec(source, module.__dict__)
        return module

    poisoned = types.SimpleNamespace(**vars(np))
    poisoned.empty = lambda shape, dtype=float: np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -7, dtype)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Compiled arithmetic does not warn; NumPy's own state would be that of this thread alone.
        warnings.filterwarnings("ignore", "(invalid value|overflow|underflow|divide by zero) encountered")
        patch.setattr(compiled, "load", load)
        patch.setattr(compiled, "np", poisoned)
        patch.setattr(compiled, "aligned", poisoned.empty)
        patch.setattr(compiled, "SIDE_BY_SIDE", 2)
        for module in (codegen, compiled):
            patch.setattr(module, "LANES", 4)  # five runs fill one group of lanes and a part of another
        yield
