"""Compression of messages: quantizers, sparsifiers, and source coding of quantized vectors.

Names load when they are first used; `__init__.pyi` lists them.
"""

from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    from simlab.checks import fields

    found = _load(name)
    return fields(found) if hasattr(found, "_fields") and isinstance(found, type) else found
