"""Simulate decentralized optimization over networks.

One verb, `simulate(problem, network, algorithm, ...)`, takes the nouns of this package and returns a `Trace`.
Names load when they are first used (Scientific Python SPEC 1); `__init__.pyi` lists them, for Python and for type
checkers.
"""

from typing import Any

import lazy_loader

__version__ = "0.1.0"

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _load(name)
    except AttributeError:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}") from None
