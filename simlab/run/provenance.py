"""Everything that a result depends on, as plain data."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import simlab
from simlab.network import Network, NetworkProcess
from simlab.run.code import code
from simlab.run.settings import Settings

SCALARS = (bool, int, float, str)
PACKAGES = ("numpy", "scipy", "numba", "networkx", "pandas")


def describe(value: Any) -> Any:
    """A JSON-ready description of a hyperparameter, algorithm or schedule."""
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


def fingerprint(*values: Any) -> str:
    """Hash of the contents of arrays (dense or sparse), numbers, texts, and tuples, lists and mappings of them.

    It tells whether two runs saw the same data. Of functions it takes the code, of other objects the `repr`.
    """
    digest = hashlib.sha256()
    for part in _parts(values):
        digest.update(f"{part.dtype}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()[:16]


def _parts(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, Mapping):
        value = tuple(pair for name in sorted(value, key=str) for pair in (str(name), value[name]))
    if isinstance(value, Network):
        value = value.weights
    if isinstance(value, NetworkProcess):
        value = value.name, value.given
    if inspect.isfunction(value):
        value = code(value)
    if hasattr(value, "_fields"):
        value = type(value).__qualname__, *value
    if hasattr(value, "indptr"):
        value = value.data, value.indices, value.indptr
    if isinstance(value, tuple | list):
        yield np.asarray(len(value))
        for each in value:
            yield from _parts(each)
    else:
        array = value if isinstance(value, np.ndarray | np.generic | bool | int | float | str) else repr(value)
        array = np.asarray(array)
        yield array if array.dtype.kind in "biufcSU" else np.asarray(repr(array.tolist()))


def circumstances(problem: Any, network: Any, settings: Settings, start: np.ndarray) -> dict[str, Any]:
    """All but the algorithm that a run depends on, and where and when it was started."""
    return {
        "problem": {"repr": repr(problem), "data": fingerprint(problem.given), "code": code(type(problem))},
        "network": {
            "repr": repr(network),
            "data": fingerprint(network.given if isinstance(network, NetworkProcess) else network.weights),
            "code": code(type(network)),
        },
        "x0": fingerprint(start),
        **settings._asdict(),
        "cluster": None if settings.cluster is None else repr(settings.cluster),
        "dtype": settings.dtype.name,
        "record": {name: describe(function) for name, function in settings.record.items()},
        "stop_when": None if settings.stop_when is None else str(settings.stop_when),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
    }


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
