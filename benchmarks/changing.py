"""Networks that change: what link failures add to a step, and what an event costs among how many nodes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

import simlab
from benchmarks.measure import Row, exponent, ratio, seconds

SIZES = (100, 1000, 10_000, 100_000)
STEPS, EVENTS = 20_000, 1_000_000


def run() -> list[Row]:
    """A step under link failures over a static one; events a second and their exponent in n, for pairs and AD-PSGD."""
    problem = simlab.LeastSquares.synthetic(n_nodes=20, n_samples=1000, dim=40, seed=1)
    static = simlab.topologies.grid(20)
    networks = {"static": static, "failing": simlab.dynamics.link_failures(static, 0.1)}
    runs = {
        name: partial(
            simlab.simulate, problem, network, simlab.DecentLaM(lr=0.01), steps=STEPS, batch_size=10,
            record_every=STEPS, progress=False,
        )
        for name, network in networks.items()
    }  # fmt: skip
    took = seconds(runs)
    rows = [ratio("changing", "step under link failures / static step", took["failing"] / took["static"], at_most=1.3)]
    for name, process, algorithm in (
        ("random pair, DSGD", simlab.dynamics.pairwise, simlab.DSGD(lr=0.01)),
        ("asynchronous event, ADPSGD", simlab.dynamics.asynchronous, simlab.ADPSGD(lr=0.01)),
    ):
        runs = {}
        for n in SIZES:
            rng = np.random.default_rng(0)
            quadratic = simlab.Quadratic(rng.uniform(0.5, 2.0, (n, 16)), rng.standard_normal((n, 16)))
            network = process(simlab.topologies.ring(n))
            for count in (1, 2):  # the difference is free of what a run costs beside its events
                runs[f"{n} {count}"] = partial(
                    simlab.simulate, quadratic, network, algorithm, steps=count * EVENTS,
                    record_every=count * EVENTS, progress=False,
                )  # fmt: skip
        took = seconds(runs, 5)
        events = {n: took[f"{n} 2"] - took[f"{n} 1"] for n in SIZES}
        rows.append(exponent("changing", f"{name}: exponent of time in n", SIZES, pd.DataFrame(events), target=0.0))
        rows += [
            ratio("changing", f"{name}: events a second, n = {n}", EVENTS / events[n], at_least=300_000)
            for n in (SIZES[0], SIZES[-1])
        ]
    return rows
