"""The array engine on a GPU, beside the compiled engine; left out, and said so, where CuPy sees none."""

from __future__ import annotations

from functools import partial

import numpy as np

import simlab
from benchmarks.measure import Row, ratio, seconds

REPEATS = 3


def run() -> list[Row]:
    """Ratios of compiled to CuPy time of one more step, and what a run on CuPy takes beside its steps.

    Small mini-batches, full batches of many replicates, many samples at once, and a large network.
    """
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
    features = rng.standard_normal((64, 500, 200))
    logistic = simlab.LogisticRegression(features, np.sign(features @ rng.standard_normal(200)), l2=1e-3)
    cases = {  # network, steps of a short and of a long run, replicates, batch size
        "64 replicates, n = 20, d = 40, batch 10": (small, simlab.topologies.grid(20), (200, 2200), 64, 10),
        "64 replicates, n = 16, d = 256": (dense, simlab.topologies.ring(16), (100, 600), 64, None),
        "logistic, n = 64, m = 500, d = 200": (logistic, simlab.topologies.ring(64), (100, 600), 1, None),
        "ring of 10^6 nodes, d = 16": (wide, simlab.topologies.ring(10**6), (20, 120), 1, None),
    }
    rows = []
    for name, (problem, network, steps, replicates, batch_size) in cases.items():
        options = {"replicates": replicates, "batch_size": batch_size, "progress": False}
        runs = {
            f"{engine} {count}": partial(
                simlab.simulate, problem, network, simlab.DecentLaM(lr=0.01), engine=engine,
                steps=count, record_every=count, **options,
            )
            for engine in ("compiled", "cupy") for count in steps
        }  # fmt: skip
        took = seconds(runs, REPEATS)
        short, long = steps
        step = {e: (took[f"{e} {long}"] - took[f"{e} {short}"]) / (long - short) for e in ("compiled", "cupy")}
        rows.append(ratio("gpu", f"{name}: compiled / CuPy, one step more", step["compiled"] / step["cupy"]))
        rows.append(ratio("gpu", f"{name}: microseconds a step on CuPy", 1e6 * step["cupy"]))
        beside = took[f"cupy {short}"] - short * step["cupy"]
        rows.append(ratio("gpu", f"{name}: seconds beside the steps on CuPy", beside))
    return rows
