"""How time and memory grow: fitted exponents.

Times are those of the steps: of each run is taken away what the same run takes with no steps. Sizes start where the
part of a step that grows outweighs the rest of it.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import simlab
from benchmarks.measure import Row, exponent, seconds

SIZES = (1, 2, 4, 8, 16)
REPEATS = 5


def run() -> list[Row]:
    """Exponents of time in edges, dimension, batch and replicates, and of memory in n d."""
    ring, grid = simlab.topologies.ring(64), simlab.topologies.grid(20)
    wide = _quadratic(1024, 64)
    samples = simlab.LeastSquares.synthetic(n_nodes=20, n_samples=1000, dim=40, seed=1)
    # Networks of growing degree on the same nodes, so that mixing is all that grows.
    circulants = {k: _circulant(1024, 32 * k) for k in SIZES}
    nodes, dims = [2**k for k in range(14, 19)], [2**k for k in range(6, 11)]
    in_nodes = pd.DataFrame([[_peak(_quadratic(n, 16), simlab.topologies.ring(n)) for n in nodes]])
    in_dim = pd.DataFrame([[_peak(_quadratic(4096, d), simlab.topologies.ring(4096)) for d in dims]])
    return [
        _time("edges (degree 32 to 512, n = 1024, d = 64)", lambda k: (wide, circulants[k]), 60),
        _time("d (128 to 2048, ring of 64)", lambda k: (_quadratic(64, 128 * k), ring), 2000),
        _time("batch (32 to 512)", lambda k: (samples, grid), 20_000, lambda k: {"batch_size": 32 * k}),
        _time("replicates (4 to 64)", lambda k: (samples, grid), 4000,
              lambda k: {"batch_size": 10, "replicates": 4 * k}),
        exponent("scaling", "memory in n (2^14 to 2^18, d = 16)", nodes, in_nodes),
        exponent("scaling", "memory in d (2^6 to 2^10, n = 4096)", dims, in_dim),
    ]  # fmt: skip


def _time(
    name: str,
    case: Callable[[int], tuple[simlab.Problem, simlab.Network]],
    steps: int,
    choices: Callable[[int], dict[str, int]] = lambda k: {},
) -> Row:
    """Exponent of the time of `steps` steps in the size k."""
    runs = {}
    for k in SIZES:
        problem, network = case(k)
        runs[f"all {k}"] = _run(problem, network, steps, **choices(k))
        runs[f"start {k}"] = _run(problem, network, 0, **choices(k))
    took = seconds(runs, REPEATS)
    growing = pd.DataFrame({k: took[f"all {k}"] - took[f"start {k}"] for k in SIZES})
    return exponent("scaling", f"time in {name}", SIZES, growing)


def _run(problem: simlab.Problem, network: simlab.Network, steps: int, **choices: Any) -> Callable[[], object]:
    options = {"steps": steps, "record_every": max(1, steps), "progress": False, **choices}
    return lambda: simlab.simulate(problem, network, simlab.DSGD(lr=0.01), **options)


def _quadratic(n_nodes: int, dim: int) -> simlab.Quadratic:
    rng = np.random.default_rng(0)
    return simlab.Quadratic(rng.uniform(0.5, 2.0, (n_nodes, dim)), rng.standard_normal((n_nodes, dim)))


def _circulant(n_nodes: int, degree: int) -> simlab.Network:
    import networkx as nx

    return simlab.Network.from_graph(nx.circulant_graph(n_nodes, range(1, degree // 2 + 1)))


def _peak(problem: simlab.Problem, network: simlab.Network) -> float:
    run = _run(problem, network, 2)
    run()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak)
