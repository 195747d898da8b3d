"""Programs: a step printed once, compiled once, kept on disk.

The file name of a program is the hash of its text, and the text holds the traced step and the source of every kernel.
So a changed step, helper or kernel is another program, and a stale one cannot run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simlab.engine.codegen import generate
from simlab.engine.graph import trace
from simlab.engine.kernel import Kernel, check_row
from simlab.engine.layout import Layout, lay_out


class Program(NamedTuple):
    """A step, ready to be compiled.

    Attributes
    ----------
    source : str
        The text.
    layout : Layout
        Its stages and storage.
    kernels : list of Kernel
        The gradient, then each compression.
    """

    source: str
    layout: Layout
    kernels: list[Kernel]


def program(
    problem: Any, algorithm: Any, state: Any, *, dtype: np.dtype, sampled: bool, noisy: bool, lanes: bool = False
) -> Program:
    """Trace and print the step of `algorithm`.

    Parameters
    ----------
    problem, algorithm
        What is simulated.
    state : NamedTuple
        Any state of the algorithm (its type and field names).
    dtype : numpy dtype
        Precision.
    sampled, noisy : bool
        Whether gradients take mini-batches, whether noise is added to them.
    lanes : bool
        Whether runs lie side by side, see `Kernel`.
    """
    graph = trace(algorithm, state)
    layout = lay_out(graph)
    gradient = _gradient_kernel(problem, sampled)
    if lanes:
        assert gradient.lanes is not None
        gradient = gradient.lanes
    kernels = [gradient, *(_compressor_kernel(compressor, problem.dim) for compressor in graph.compressors)]
    words = [
        "mini-batch" if sampled else "full",
        "gradients",
        *["with noise"] * noisy,
        *["of runs side by side"] * lanes,
    ]
    title = f"{graph.method} on {type(problem).__name__}: {' '.join(words)}, {dtype.name}."
    choices = {"real": dtype.name, "sampled": sampled, "noisy": noisy, "lanes": lanes}
    source = generate(graph, layout, kernels[0], kernels[1:], title=title, **choices)  # type: ignore[arg-type]
    return Program(source, layout, kernels)


def _gradient_kernel(problem: Any, sampled: bool) -> Kernel:
    kernel, name = problem.kernel(sampled), type(problem).__name__
    if isinstance(kernel, Kernel) and not kernel.functions:
        raise NotImplementedError(
            f"{name}.kernel is not written, and the compiled engine needs it; "
            "write it (docs/own_problem.md), or run with engine='numpy'"
        )
    check_row(f"{name}.kernel(sampled={sampled})", kernel, "i, indices, x, out" if sampled else "i, x, out")
    return kernel


def _compressor_kernel(compressor: Any, dim: int) -> Kernel:
    if not hasattr(compressor, "kernel"):
        raise TypeError(
            f"compressor = {compressor!r} has no `kernel`, and the compiled engine needs it; "
            "write it (docs/own_compressor.md), or run with engine='numpy'"
        )
    kernel = compressor.kernel(dim)
    if isinstance(kernel, Kernel) and not kernel.functions:
        raise TypeError(f"{type(compressor).__name__}.kernel returned no functions; add the row function")
    check_row(f"{type(compressor).__name__}.kernel", kernel, "i, v, dither, out")
    return kernel


def generated_source(problem: Any, network: Any, algorithm: Any, *, sampled: bool = False, noisy: bool = False) -> str:
    """The program that the compiled engine runs for this method and problem.

    Parameters
    ----------
    problem, network, algorithm
        As for `simulate`.
    sampled, noisy : bool
        Whether gradients take mini-batches, whether noise is added to them.

    Returns
    -------
    str
        Python source; every loop is the one that Numba compiles.

    Raises
    ------
    TypeError, ValueError
        As `simlab.simulate` raises for the same problem, network and algorithm.
    """
    from simlab.inputs import check_nouns

    check_nouns(problem, network, [algorithm])
    state = algorithm.init(np.zeros((network.n_nodes, problem.dim)))
    return program(problem, algorithm, state, dtype=np.dtype(np.float64), sampled=sampled, noisy=noisy).source


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
