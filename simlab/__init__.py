"""Simulate decentralized optimization over networks.

One verb, `simulate(problem, network, algorithm, ...)`, takes the nouns of this package and returns a `Trace`.
Names load when they are first used (Scientific Python SPEC 1); `algorithms/__init__.pyi` and `public.pyi` list them,
for Python and for type checkers.
"""

from pathlib import Path
from typing import Any

import lazy_loader

__version__ = "0.1.0"

_room = Path(__file__).parent
_algorithm, _, _algorithms = lazy_loader.attach_stub(f"{__name__}.algorithms", str(_room / "algorithms/__init__.pyi"))
_load, _, _public = lazy_loader.attach_stub(__name__, str(_room / "public.pyi"))
__all__ = sorted([*_algorithms, *_public])


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Any:
    try:
        if name not in _algorithms:
            return _load(name)
        from simlab.checks import fields

        return fields(_algorithm(name))
    except AttributeError:
        from difflib import get_close_matches

        near = get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}") from None
