"""BibTeX of what was used."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from simlab import checks


@checks.keywords
def cite(method_or_trace: Any) -> str:
    """BibTeX entries of an algorithm, or of all that a trace used.

    Parameters
    ----------
    method_or_trace : algorithm (class or instance), network that changes, Trace, or a list of them

    Returns
    -------
    str
        BibTeX entries, each once.

    Raises
    ------
    TypeError
        If the argument names no references.
    ValueError
        If an algorithm names a reference that is neither a key of simlab/references.bib nor a BibTeX entry.
    """
    keys: dict[str, None] = {}
    for item in method_or_trace if isinstance(method_or_trace, list) else [method_or_trace]:
        for key in _references(item):
            keys.setdefault(key)
    return "\n\n".join(_entry(key) for key in keys)


def references(algorithm: Any) -> list[str]:
    """What an algorithm (class or instance) and its parts, such as a compressor, name in their `references`."""
    parts = algorithm if hasattr(algorithm, "_fields") and not isinstance(algorithm, type) else ()
    return [key for item in (algorithm, *parts) for key in getattr(item, "references", ())]


def _references(item: Any) -> list[str]:
    found = item.provenance.get("references", []) if hasattr(item, "provenance") else references(item)
    if not found:
        raise TypeError(
            f"method_or_trace = {item!r} names no references; pass an algorithm or a trace that simulate returned, and "
            'give one of your own a class attribute references = ("@article{...}",)'
        )
    return found


def _entry(key: str) -> str:
    if key.lstrip().startswith("@"):
        return key
    if key not in _bibliography():
        raise ValueError(f"references name {key!r}, which is not in simlab/references.bib; name a BibTeX entry in full")
    return _bibliography()[key]


@cache
def _bibliography() -> dict[str, str]:
    entries = files("simlab").joinpath("references.bib").read_text(encoding="utf-8").strip().split("\n\n")
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}
