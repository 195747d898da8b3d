"""Programs: a step printed once, for `simlab.programs` to compile and keep.

The file name of a program is the hash of its text, and the text holds the traced step and the source of every kernel.
So a changed step, helper or kernel is another program, and a stale one cannot run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simlab.engine.compiler.codegen import Form, Text, generate
from simlab.engine.compiler.layout import Layout, lay_out
from simlab.kernel import Kernel, check_row
from simlab.problems.base import Problem
from simlab.protocols import Algorithm, Compressor
from simlab.step.graph import step_graph


class Program(NamedTuple):
    """A step, ready to be compiled.

    Attributes
    ----------
    text : Text
        Its source, and the row functions that it calls.
    layout : Layout
        Its stages and storage.
    kernels : list of Kernel
        The gradients, then each compression.
    networks : list of Network
        Those that the step mixes over besides the one that is simulated.
    """

    text: Text
    layout: Layout
    kernels: list[Kernel]
    networks: list[Any]


def program(
    problem: Problem,
    algorithm: Algorithm,
    state: Any,
    *,
    dtype: np.dtype,
    sampled: bool,
    noisy: bool,
    form: Form = "alone",
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
    form : {"alone", "side by side", "by nodes"}
        How runs lie in rows, see `Kernel`, and whether threads share the nodes.
    """
    graph = step_graph(algorithm, state, sampled=sampled, noisy=noisy)
    layout = lay_out(graph)
    gradients = {kind: _gradient_kernel(problem, kind) for kind in graph.gradients}
    if form == "side by side":
        gradients = {kind: kernel.lanes for kind, kernel in gradients.items() if kernel.lanes is not None}
    compressors = [_compressor_kernel(compressor, problem.dim) for compressor in graph.compressors]
    words = [
        "mini-batch" if sampled else "full",
        "gradients",
        *["with noise"] * noisy,
        *["of runs side by side"] * (form == "side by side"),
        *["by nodes"] * (form == "by nodes"),
    ]
    title = f"{graph.algorithm} on {type(problem).__name__}: {' '.join(words)}, {dtype.name}."
    text = generate(graph, layout, gradients, compressors, title=title, real=dtype.name, form=form)
    return Program(text, layout, [*gradients.values(), *compressors], graph.networks)


def _gradient_kernel(problem: Problem, sampled: bool) -> Kernel:
    kernel, name = problem.kernel(sampled), type(problem).__name__
    if isinstance(kernel, Kernel) and not kernel.functions:
        raise NotImplementedError(
            f"{name}.kernel is not written, and the compiled engine needs it; "
            "write it (docs/own_problem.md), or run with engine='numpy'"
        )
    check_row(f"{name}.kernel(sampled={sampled})", kernel, "i, indices, x, out" if sampled else "i, x, out")
    return kernel


def _compressor_kernel(compressor: Compressor, dim: int) -> Kernel:
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
