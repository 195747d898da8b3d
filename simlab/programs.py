"""Programs on disk: texts written once, compiled once, and kept.

The file name of a program is the hash of its text, so a changed text is another program and a stale one cannot run.
What a lost power supply or a full disk leaves of the files is thrown away and made again.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

from simlab.kernel import LANES, Kernel, source as source_of

HEADER = f"import math\n\nimport numpy as np\nfrom numba import njit\n\nLANES = {LANES}\n"
FORMAT = b"sealed 1\n"  # of compiled forms on disk; those of another format have other names


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
    return directory if usable else _for_this_process()


def _for_this_process() -> Path:
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="simlab-")


class Part(NamedTuple):
    """A function that programs share: its name in them, the program whose last function it is, and that one's parts."""

    name: str
    source: str
    parts: tuple[Part, ...] = ()


def name_of(source: str) -> str:
    """The name of a program: a hash of its text."""
    return "program_" + hashlib.sha256(FORMAT + source.encode()).hexdigest()[:32]


def contents(parts: tuple[Part, ...]) -> str:
    """Lines of a program that hold the names of its parts, so that it changes with them."""
    lines = "\n".join(f"    {part.name!r}: {name_of(part.source)!r}," for part in parts)
    return f"PARTS = {{  # functions compiled once for all programs\n{lines}\n}}"


def part_of(kernel: Kernel, header: str = HEADER, flags: str = "") -> Part:
    """The row function of a kernel, by default without fast math, as a part; it alone is kept on disk."""
    flags += 'nogil=True, error_model="numpy", no_cfunc_wrapper=True, no_cpython_wrapper=True'
    parts = tuple(part_of(Kernel(group, ())) for group in kernel.shared)
    *helpers, row = dict.fromkeys(kernel.functions)
    texts = [f"@njit({flags})\n{source_of(helper)}" for helper in helpers]
    texts.append(f"@njit(cache=True, {flags})\n{source_of(row)}")
    return Part(row.__name__, "\n\n".join([header, *[contents(parts)] * bool(parts), *texts]), parts)


@cache
def load(source: str, parts: tuple[Part, ...] = ()) -> ModuleType:
    """Import the program `source` from its file in the cache directory, written first if it is new or damaged.

    Parameters
    ----------
    source : str
        Holds the `contents` of its parts.
    parts : tuple of Part
        Functions that it calls.
    """
    name = name_of(source)
    try:
        path = _written(cache_directory() / f"{name}.py", source)
    except OSError as error:
        path = _written(_for_this_process() / f"{name}.py", source)
        _warn_not_kept(error)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    vars(module).update({part.name: _last_function(load(part.source, part.parts)) for part in parts})
    # Not by an import, which would trust a damaged .pyc.
    exec(compile(source, path, "exec"), vars(module))
    for compiled in vars(module).values():
        if isinstance(getattr(compiled, "_cache", None), FunctionCache) and compiled.__module__ == name:
            compiled._cache = _SealedCache(compiled.py_func)
    return module


def _last_function(module: ModuleType) -> Any:
    return [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__][-1]


def _written(path: Path, source: str) -> Path:
    """`path`, which holds `source`: whole or not at all, whatever happens meanwhile."""
    content = source.encode()
    if not path.is_file() or path.read_bytes() != content:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            pass
        try:
            Path(file.name).write_bytes(content)
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    return path


class _Sealed(CompileResultCacheImpl):
    """Compiled forms with a checksum: machine code is not run on trust."""

    def reduce(self, cres: Any) -> tuple[bytes, bytes]:
        content = dumps(super().reduce(cres))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, payload: tuple[bytes, bytes]) -> Any:
        digest, content = payload
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("the checksum is wrong")
        return super().rebuild(target_context, pickle.loads(content))


class _SealedCache(FunctionCache):
    """Numba's cache of a function, which takes damaged files for missing ones and a full disk for no cache."""

    _impl_class = _Sealed

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever unpickling makes of damaged bytes
            program = Path(self._py_func.__code__.co_filename)
            self._purge(program.stem)
            warnings.warn(
                f"the compiled form of {program} is damaged ({type(error).__name__}: {error}); it is compiled again",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_not_kept(error)

    def _purge(self, program: str) -> None:
        """Remove the compiled forms of all functions of a program; those that cannot be are left."""
        for file in Path(self.cache_path).glob(f"{program}.*.nb[ic]"):
            with suppress(OSError):
                file.unlink()


def _warn_not_kept(error: OSError) -> None:
    warnings.warn(
        f"compiled programs cannot be kept ({error}), so that each process compiles them anew; "
        "make room, or set SIMLAB_CACHE_DIR to a directory that can be written",
        RuntimeWarning,
        stacklevel=3,
    )
