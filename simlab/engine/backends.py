"""Engines by the name that `simulate` knows them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simlab.network import AnyNetwork, Network
from simlab.network.network import DENSE_NODES
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.step.graph import Steps

Form = Any  #: str, int or None: how runs are advanced, which the last bits of their states depend on
RECORDED = 2**20  # numbers in x up to which a step on a GPU is recorded


def backend(
    problem: Problem, network: AnyNetwork, engine: str, *, dtype: np.dtype, sampled: bool, noisy: bool, threads: int
) -> Callable[[Any, Steps, Any, Form], Any]:
    """What makes the engine that advances runs of one algorithm: a function of the algorithm, its graph, the first
    state, and the `form` of an engine to be like, or None.

    Data that all engines read is moved here, once.
    """
    if engine == "numpy":
        from simlab.engine.array import ArrayEngine, together

        def on_host(algorithm: Algorithm, graph: Steps, state: Any, form: Any) -> ArrayEngine:
            width = together(np, len(state[0]), state[0][0].size) if form is None else form
            if _jits(problem, network, graph, dtype):
                from simlab.engine.jitted import JittedEngine

                return JittedEngine(problem, network, algorithm, width=width)
            return ArrayEngine(problem, network, algorithm, xp=np, dtype=dtype, width=width)

        return on_host
    if engine == "cupy":
        from simlab.engine import gpu
        from simlab.engine.array import ArrayEngine

        xp = gpu.cupy_namespace()
        moved = gpu.moved(problem, network, dtype)

        def on_gpu(algorithm: Algorithm, graph: Steps, state: Any, form: Any) -> ArrayEngine:
            # Of large states the kernels take longer than their launches; codes of messages count bits on the host.
            same = (
                problem.recordable and len(graph.graphs) == 1 and graph.first.outputs and not graph.first.count("steps")
            )
            moves = graph.compressions or graph.first.tables  # what is on the host, or as large as all samples
            pays = same and not moves and isinstance(network, Network) and state[0].size <= RECORDED
            record = gpu.cuda_graph if pays else None
            width, stream = len(state[0]) if form is None else form, gpu.new_stream()
            return ArrayEngine(moved, network, algorithm, xp=xp, dtype=dtype, stream=stream, record=record, width=width)

        return on_gpu
    from simlab.engine.compiled import CompiledEngine

    return lambda algorithm, graph, state, form: CompiledEngine(
        problem,
        network,
        algorithm,
        state=state,
        dtype=dtype,
        sampled=sampled,
        noisy=noisy,
        threads=threads,
        form=form,
    )


def _jits(problem: Problem, network: AnyNetwork, graph: Steps, dtype: np.dtype) -> bool:
    """Whether steps are compiled as a whole by JAX: on models in it, in their precision, where one step is like any."""
    model = (
        getattr(problem, "framework", None) == "jax" and getattr(problem, "precision", None) == dtype.name == "float32"
    )
    same = len(graph.graphs) == 1 and bool(graph.first.outputs) and not graph.first.count("steps")
    fixed = isinstance(network, Network) and network.n_nodes <= DENSE_NODES
    return model and same and fixed and not graph.compressions and not graph.first.networks
