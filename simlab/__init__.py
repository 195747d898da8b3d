"""Simulate decentralized optimization over networks.

One verb, `simulate(problem, network, algorithm, ...)`, takes the nouns of this package and returns a `Trace`.
Names load when they are first used (Scientific Python SPEC 1); `algorithms/__init__.pyi` and `public.pyi` list them,
for Python and for type checkers.
"""

from pathlib import Path
from typing import Any

import lazy_loader

from simlab import algorithms

__version__ = "0.2.0"

_load, _, _public = lazy_loader.attach_stub(__name__, str(Path(__file__).with_name("public.pyi")))
__all__ = sorted([*algorithms.__all__, *_public])


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Any:
    try:
        return getattr(algorithms, name) if name in algorithms.__all__ else _load(name)
    except AttributeError:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}") from None
