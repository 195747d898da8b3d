"""The table of algorithms, as the classes describe themselves."""

from __future__ import annotations

import inspect

import simlab.algorithms


def table() -> str:
    """Markdown: a row for each algorithm of the registry, its summary and its bias transfer function."""
    rows = [row(getattr(simlab.algorithms, name)) for name in sorted(names(), key=str.lower)]
    return "\n".join(["| class | algorithm | φ(λ) |", "|---|---|---|", *rows])


def names() -> list[str]:
    """The names in the registry."""
    return [name for name in dir(simlab.algorithms) if name[0].isupper()]


def row(algorithm: type) -> str:
    """One row: the first sentence of the class's docstring, and φ as the docstring of its `bias_transfer` gives it."""
    summary = (inspect.getdoc(algorithm) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
    transfer = inspect.getdoc(getattr(algorithm, "bias_transfer", None)) or ""
    return f"| `{algorithm.__name__}` | {summary} | {transfer.removeprefix('φ(λ) = ').rstrip('.')} |"
