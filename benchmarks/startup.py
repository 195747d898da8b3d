"""Start-up: what the first result of a new process costs beyond imports, and what a new program costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.measure import Row, ratio

NEW = """
import time
import simlab
problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
network = simlab.topologies.grid(8)
for algorithm in (simlab.DecentLaM(lr=0.01), simlab.DmSGD(lr=0.01), simlab.DADmSGD(lr=0.01)):
    began = time.perf_counter()
    simlab.simulate(problem, network, algorithm, steps=10)
    print(time.perf_counter() - began)
"""

SCRIPT = """
import time
began = time.perf_counter()
import numba, numpy, pandas, scipy.linalg, scipy.sparse
import simlab
problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
network = simlab.topologies.grid(8)
ready = time.perf_counter()
simlab.simulate(problem, network, simlab.DecentLaM(lr=0.01), steps=1000)
print(time.perf_counter() - ready, time.perf_counter() - began)
"""


def run() -> list[Row]:
    """Seconds: these are not ratios, and hold for this machine now."""
    with tempfile.TemporaryDirectory() as cache:

        def process(where: str, script: str = SCRIPT) -> list[float]:
            answer = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "SIMLAB_CACHE_DIR": where},
                capture_output=True,
                text=True,
                check=True,
            )
            return [float(number) for number in answer.stdout.split()]

        process(cache)
        warm = [process(cache) for _ in range(5)]
        new = [process(os.path.join(cache, str(k)), NEW) for k in range(3)]
    return [
        ratio(
            "start-up", "first result of a second process, seconds beyond imports", [w[0] for w in warm], at_most=0.3
        ),
        ratio("start-up", "whole second process, seconds", [w[1] for w in warm], at_most=3.0),
        ratio("start-up", "a new algorithm x problem pair, seconds", [t for run in new for t in run[1:]], at_most=5.0),
        ratio(
            "start-up", "the first program of a process, Numba's own start included, seconds", [run[0] for run in new]
        ),
    ]
