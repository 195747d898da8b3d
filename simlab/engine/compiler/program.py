"""Programs: a step printed once, for `simlab.programs` to compile and keep.

The file name of a program is the hash of its text, and the text holds the traced step and the source of every kernel.
So a changed step, helper or kernel is another program, and a stale one cannot run.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from simlab.engine.compiler.codegen import Form, Text, foreign_networks, generate
from simlab.engine.compiler.layout import Layout, lay_out
from simlab.kernel import Kernel, check_row
from simlab.problems.base import Problem
from simlab.protocols import Algorithm, Compressor
from simlab.step.graph import Steps, step_graphs


class Program(NamedTuple):
    """A step, ready to be compiled.

    Attributes
    ----------
    text : Text
        Its source, and the row functions that it calls.
    steps : Steps
        What it does.
    layouts : list of Layout
        The stages and storage of each kind of step.
    kernels : list of Kernel
        The gradients, then each compression.
    networks : list of Network
        Those that the step mixes over besides the one that is simulated.
    """

    text: Text
    steps: Steps
    layouts: list[Layout]
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
    received: bool = False,
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
    received : bool
        Whether the network, one that changes, adds noise to what is received.
    form : {"alone", "side by side", "by nodes", "changing"}
        How runs lie in rows, see `Kernel`, whether threads share the nodes, and whether the network changes.
    """
    steps = step_graphs(algorithm, state, sampled=sampled, noisy=noisy, received=received)
    layouts = [lay_out(graph) for graph in steps.graphs]
    taken = dict.fromkeys(kind for graph in steps.graphs for kind in graph.oracles)
    gradients = {kind: _oracle_kernel(problem, kind) for kind in taken}
    if form == "side by side":
        gradients = {kind: kernel.lanes for kind, kernel in gradients.items() if kernel.lanes is not None}
    compressors = [
        [_message_kernels(each.compressor, 1 if narrow else problem.dim) for each, narrow in graph.compressors]
        for graph in steps.graphs
    ]
    words = [
        "mini-batch" if sampled else "full",
        "gradients",
        *["with noise"] * noisy,
        *["of runs side by side"] * (form == "side by side"),
        *["by nodes"] * (form == "by nodes"),
        *["on a network that changes"] * (form == "changing"),
        *["with noise on what is received"] * received,
    ]
    title = f"{steps.first.algorithm} on {type(problem).__name__}: {' '.join(words)}, {dtype.name}."
    text = generate(steps, layouts, gradients, compressors, title=title, real=dtype.name, form=form)
    of_blocks = itertools.chain(*itertools.chain(*compressors))
    kernels = [*gradients.values(), *(kernel for kernel, _ in of_blocks)]
    return Program(text, steps, layouts, kernels, foreign_networks(steps))


def _oracle_kernel(problem: Problem, kind: bool | str) -> Kernel:
    return _tilted_kernel(problem) if isinstance(kind, str) else _gradient_kernel(problem, kind)


def _tilted_kernel(problem: Problem) -> Kernel:
    kernel, name = problem.tilted_kernel(), type(problem).__name__
    if not kernel.functions:
        raise NotImplementedError(
            f"{name}.tilted_kernel is not written, and the compiled engine needs it; run with engine='numpy'"
        )
    check_row(f"{name}.tilted_kernel", kernel, "i, y, weight, out")
    return kernel


def _gradient_kernel(problem: Problem, sampled: bool) -> Kernel:
    kernel, name = problem.kernel(sampled), type(problem).__name__
    if isinstance(kernel, Kernel) and not kernel.functions:
        raise NotImplementedError(
            f"{name}.kernel is not written, and the compiled engine needs it; "
            "write it (docs/own_problem.md), or run with engine='numpy'"
        )
    check_row(f"{name}.kernel(sampled={sampled})", kernel, "i, indices, x, out" if sampled else "i, x, out")
    return kernel


def _message_kernels(compressor: Compressor, dim: int) -> list[tuple[Kernel, int]]:
    """The kernel of a message, or of each of its blocks, and the length of the block."""
    parts = compressor.parts(dim) if hasattr(compressor, "parts") else [(compressor, dim)]
    return [(_compressor_kernel(each, size), size) for each, size in parts]


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
