"""The array engine on a GPU, beside the compiled engine; left out, and said so, where CuPy sees none."""

from __future__ import annotations

import numpy as np

import simlab
from benchmarks.measure import Row, ratio, seconds

STEPS = 50


def run() -> list[Row]:
    """Ratios of compiled to CuPy time on full-batch work over many replicates, and on a large network."""
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
    cases = {
        "64 replicates, n = 16, d = 256": (dense, simlab.topologies.ring(16), 64),
        "ring of 10^6 nodes, d = 16": (wide, simlab.topologies.ring(10**6), 1),
    }
    rows = []
    for name, (problem, network, replicates) in cases.items():

        def call(engine: str, problem=problem, network=network, replicates=replicates) -> object:  # type: ignore[no-untyped-def]
            return simlab.simulate(
                problem,
                network,
                simlab.DecentLaM(lr=0.01),
                steps=STEPS,
                replicates=replicates,
                record_every=STEPS,
                engine=engine,
                progress=False,
            )

        took = seconds({"compiled": lambda c=call: c("compiled"), "cupy": lambda c=call: c("cupy")}, 5)
        rows.append(ratio("gpu", f"{name}: compiled / CuPy time", took["compiled"] / took["cupy"]))
    return rows
