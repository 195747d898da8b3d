"""CuPy: its array namespace, and steps recorded as CUDA graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from simlab.arrays import substituted
from simlab.cuda import Recordable
from simlab.network import AnyNetwork, Network
from simlab.problems.base import Problem


def cupy_namespace() -> Any:
    """CuPy's array namespace, if there is a GPU that it can use.

    Raises
    ------
    RuntimeError
        Without CuPy or a GPU; the message says what to install.
    """
    try:
        import cupy
        from array_api_compat import cupy as namespace
    except ImportError as error:
        raise RuntimeError(
            f"engine = 'cupy' needs CuPy, which cannot be imported ({error}); "
            "install it with pip install 'simlab[cuda13]', or 'simlab[cuda12]' where nvidia-smi shows CUDA 12, or use "
            "engine='compiled'"
        ) from None
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"engine = 'cupy' finds no usable GPU ({error}); use engine='compiled'") from None
    if not devices:
        raise RuntimeError("engine = 'cupy' finds no GPU; use engine='compiled'")
    return namespace


def moved(problem: Problem, network: AnyNetwork, dtype: Any) -> Any:
    """`problem` with its data on the GPU, and W there too: done, before any stream reads them.

    Parameters
    ----------
    problem, network : Problem, Network
    dtype : numpy dtype
        Of the data.

    Returns
    -------
    Problem
    """
    import cupy

    xp = cupy_namespace()
    kind = getattr(xp, np.dtype(dtype).name)
    there = problem.convert(xp, kind)
    if isinstance(network, Network):
        network.mix(xp.zeros((network.n_nodes, 1), dtype=kind))  # which keeps its W
    cupy.cuda.get_current_stream().synchronize()
    return there


def new_stream() -> Any:
    """A stream of its own: work on the default stream cannot be recorded."""
    import cupy

    return cupy.cuda.Stream(non_blocking=True)


def cuda_graph(body: Callable[[], None]) -> Callable[[], None]:
    """`body`, which does the same work on the same arrays at each call, as one launch of a CUDA graph.

    It is called once to compile its kernels and to fill a memory pool, and once more on the current stream to be
    recorded. Memory that it allocates belongs to the graph, from a pool that nothing else uses. Products of matrices
    are taken by our own kernels meanwhile, since CuPy's cannot be recorded.
    """
    import cupy

    stream, pool = cupy.cuda.get_current_stream(), cupy.cuda.MemoryPool()
    try:
        with cupy.cuda.using_allocator(pool.malloc), substituted(Recordable()):
            body()
            stream.begin_capture()
            try:
                body()
            finally:
                graph = stream.end_capture()
    except Exception as error:  # of whichever library cannot be recorded; the step itself would raise it again
        warnings.warn(f"the step cannot be recorded as a CUDA graph ({error}); it runs kernel by kernel", stacklevel=2)
        return body

    def replay(kept: Any = pool) -> None:
        graph.launch(stream=stream)

    return replay
