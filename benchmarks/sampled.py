"""Sampled mini-batches, n = 20, m = 1000, d = 40, batch 10: against a hand-fused loop and two plainer simulators."""

from __future__ import annotations

import sys

import numpy as np

import simlab
from benchmarks.baselines import hand_fused, numpy_matrix, object_per_node
from benchmarks.measure import Row, ratio, seconds
from benchmarks.object_library import INSTALLED, decent_bench

STEPS = 50_000
FEW = 400  # steps of the slow baselines
CASE = {"batch_size": 10}


def run() -> list[Row]:
    """Ratios of time a step."""
    problem = simlab.LeastSquares.synthetic(n_nodes=20, n_samples=1000, dim=40, seed=1)
    network = simlab.topologies.grid(20)
    weights = np.asarray(network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray())

    def compiled(algorithm: object, steps: int = STEPS, replicates: int = 1) -> np.ndarray:
        trace = simlab.simulate(
            problem, network, algorithm, steps=steps, replicates=replicates, record_every=steps, progress=False, **CASE
        )
        return trace.x[0]

    dsgd, decentlam = simlab.DSGD(lr=0.01), simlab.DecentLaM(lr=0.01)
    few = hand_fused(problem, weights, lr=0.01, momentum=None, steps=FEW, **CASE)
    for slow in (numpy_matrix, object_per_node):
        np.testing.assert_allclose(slow(problem, weights, lr=0.01, steps=FEW, **CASE), few, rtol=1e-9)
    np.testing.assert_allclose(compiled(dsgd, FEW), few, rtol=1e-9)
    library = {}
    if INSTALLED:
        full = simlab.simulate(problem, network, dsgd, steps=FEW, record_every=FEW, progress=False)
        np.testing.assert_allclose(decent_bench(problem, weights, None)(0.01, FEW), full.x[0], rtol=1e-9)
        objects = decent_bench(problem, weights, **CASE)
        library["decent-bench"] = lambda: objects(0.01, FEW)
    took = seconds(
        {
            **library,
            "DSGD": lambda: compiled(dsgd),
            "DSGD by hand": lambda: hand_fused(problem, weights, lr=0.01, momentum=None, steps=STEPS, **CASE),
            "DecentLaM": lambda: compiled(decentlam),
            "DecentLaM by hand": lambda: hand_fused(problem, weights, lr=0.01, momentum=0.9, steps=STEPS, **CASE),
            "matrix": lambda: numpy_matrix(problem, weights, lr=0.01, steps=FEW, **CASE),
            "objects": lambda: object_per_node(problem, weights, lr=0.01, steps=FEW, **CASE),
            "array engine": lambda: simlab.simulate(
                problem, network, dsgd, steps=FEW, record_every=FEW, engine="numpy", progress=False, **CASE
            ),
            "64 replicates": lambda: compiled(dsgd, STEPS // 20, 64),
        }
    )
    step = took["DSGD"] / STEPS
    name = "sampled batches"
    rows = [
        ratio(name, "DSGD, time / hand-fused loop", took["DSGD"] / took["DSGD by hand"], at_most=1.3),
        ratio(name, "DecentLaM, time / hand-fused loop", took["DecentLaM"] / took["DecentLaM by hand"], at_most=1.5),
        ratio(name, "NumPy matrix simulator, time / compiled", took["matrix"] / FEW / step, at_least=10),
        ratio(name, "object per node (ours), time / compiled", took["objects"] / FEW / step),
        ratio(name, "array engine on NumPy, time / compiled", took["array engine"] / FEW / step),
        ratio(
            name, "64 replicates, throughput / one run", 64 / 20 * took["DSGD"] / took["64 replicates"], at_least=1.8
        ),
        ratio(name, "DSGD, microseconds a step (this machine, now)", 1e6 * step),
    ]
    if INSTALLED:
        quantity = "decent-bench (an object for each node), time / compiled"
        rows.append(ratio(name, quantity, took["decent-bench"] / FEW / step, at_least=150))
    else:
        version = ".".join(map(str, sys.version_info[:2]))
        print(f"decent-bench is not installed (it needs Python 3.13; this is {version}): its comparison is left out")
    return rows
