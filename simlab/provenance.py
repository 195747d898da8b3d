"""Everything that a result depends on, as plain data."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import simlab

SCALARS = (bool, int, float, str)
PACKAGES = ("numpy", "scipy", "numba", "networkx", "pandas")


def describe(value: Any) -> Any:
    """A JSON-ready description of a hyperparameter, method or schedule."""
    if value is None or isinstance(value, SCALARS):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "_fields"):
        return {"name": type(value).__name__, **{f: describe(v) for f, v in zip(value._fields, value, strict=True)}}
    if inspect.isfunction(value):  # a schedule of the user's
        try:
            return {"name": value.__qualname__, "source": inspect.getsource(value).strip()}
        except OSError:
            return value.__qualname__
    return getattr(value, "__qualname__", None) or repr(value)


def fingerprint(*arrays: Any) -> str:
    """Hash of shapes and contents of arrays (dense or sparse), to tell whether two runs saw the same data."""
    digest = hashlib.sha256()
    for array in arrays:
        parts = (array.data, array.indices, array.indptr) if hasattr(array, "indptr") else (array,)
        for part in map(np.ascontiguousarray, parts):
            digest.update(f"{part.dtype}{np.shape(part)}".encode())
            digest.update(part.data)
    return digest.hexdigest()[:16]


def fingerprint_of(problem: Any) -> str:
    """Hash of the arrays and numbers that a problem was built from."""
    known = [(name, value) for name, value in problem.given.items() if isinstance(value, (np.ndarray, *SCALARS))]
    return fingerprint(*(np.asarray(part) for pair in known for part in pair))


@cache
def environment() -> dict[str, Any]:
    """Versions, host and git commit of this process."""
    return {
        "simlab": simlab.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "system": platform.platform(),
        "host": platform.node(),
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
