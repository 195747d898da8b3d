"""The array engine on a GPU, beside the compiled engine; left out, and said so, where CuPy sees none."""

from __future__ import annotations

from functools import partial

import numpy as np

import simlab
from benchmarks.measure import Row, ratio, seconds


def run() -> list[Row]:
    """Ratios of compiled to CuPy time: small mini-batch steps, full batches of many replicates, a large network."""
    from simlab.engine.gpu import cupy_namespace

    try:
        cupy_namespace()
    except RuntimeError as reason:
        print(f"GPU benchmark left out: {reason}")
        return []
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((16, 256, 256))
    dense = simlab.Quadratic(factors @ factors.swapaxes(1, 2) / 256 + np.eye(256), rng.standard_normal((16, 256)))
    wide = simlab.Quadratic(rng.uniform(0.5, 2.0, (10**6, 16)), rng.standard_normal((10**6, 16)))
    small = simlab.LeastSquares.synthetic(n_nodes=20, n_samples=1000, dim=40, seed=1)
    cases = {
        "64 replicates, n = 20, d = 40, batch 10": (small, simlab.topologies.grid(20), 2000, 64, 10),
        "64 replicates, n = 16, d = 256": (dense, simlab.topologies.ring(16), 500, 64, None),
        "ring of 10^6 nodes, d = 16": (wide, simlab.topologies.ring(10**6), 50, 1, None),
    }
    rows = []
    for name, (problem, network, steps, replicates, batch_size) in cases.items():
        options = {"steps": steps, "replicates": replicates, "batch_size": batch_size, "record_every": steps}
        runs = {
            engine: partial(
                simlab.simulate, problem, network, simlab.DecentLaM(lr=0.01), engine=engine, progress=False, **options
            )
            for engine in ("compiled", "cupy")
        }
        took = seconds(runs, 5)
        rows.append(ratio("gpu", f"{name}: compiled / CuPy time", took["compiled"] / took["cupy"]))
    return rows
