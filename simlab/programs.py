"""Programs on disk: texts written once, compiled once, and kept.

The file name of a program is the hash of its text, so a changed text is another program and a stale one cannot run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any


def cache_directory() -> Path:
    """Where programs and their compiled forms are kept: $SIMLAB_CACHE_DIR, or the user's cache directory."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("SIMLAB_CACHE_DIR")
    directory = Path(chosen) if chosen else user_cache_path("simlab", appauthor=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        usable = os.access(directory, os.W_OK)
    except OSError:
        usable = False
    return directory if usable else Path(_for_this_process().name)


@cache
def _for_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="simlab-")


@cache
def load(source: str) -> Any:
    """Import the program `source` from its file in the cache directory, written first if it is new."""
    name = "program_" + hashlib.sha256(source.encode()).hexdigest()[:32]
    path = cache_directory() / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != source:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
            file.write(source)
        os.replace(file.name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
