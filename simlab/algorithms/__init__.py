"""One file an algorithm: hyperparameters, state, init and step.

`__init__.pyi` is the registry: whatever is listed there is found as ``simlab.Name``, cited, drawn, tabulated
(``python -m simlab.algorithms``) and tested like the others.
"""

from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    from simlab.checks import fields

    found = _load(name)
    return fields(found) if hasattr(found, "_fields") and isinstance(found, type) else found
