"""A ring of 10^6 nodes, d = 16: how near to the machine's memory bandwidth."""

from __future__ import annotations

import tracemalloc
from typing import Any, NamedTuple

import numpy as np

import simlab
from benchmarks.ceilings import copy
from benchmarks.measure import Row, ratio, seconds
from simlab.engine.compiled import CompiledEngine
from simlab.operations import Array, Batch, mix
from simlab.simulation import THREADS
from simlab.step.streams import Draws

N_NODES, DIM, STEPS = 10**6, 16, 4


class GossipState(NamedTuple):
    """Node states."""

    x: Array


class Gossip(NamedTuple):
    """X⁺ = WX: nothing but mixing."""

    def init(self, x: Array) -> GossipState:
        """Start from `x`."""
        return GossipState(x)

    def step(self, state: GossipState, problem: Any, network: Any, batch: Batch) -> GossipState:
        """One exchange."""
        return GossipState(mix(network, state.x))


def run() -> list[Row]:
    """Shares of measured copy bandwidth, and the memory that a run needs."""
    rng = np.random.default_rng(0)
    problem = simlab.Quadratic(rng.uniform(0.5, 2.0, (N_NODES, DIM)), rng.standard_normal((N_NODES, DIM)))
    network = simlab.topologies.ring(N_NODES)
    duplicate, copied = copy((N_NODES, DIM))
    state_bytes = 8.0 * N_NODES * DIM
    weights_bytes = sum(part.nbytes for part in network.csr)

    def stepper(algorithm: Any) -> Any:
        state = algorithm.init(np.zeros((1, N_NODES, DIM)))
        state = type(state)(*(np.array(field) for field in state))
        engine = CompiledEngine(
            problem,
            network,
            algorithm,
            state=state,
            dtype=np.dtype(np.float64),
            sampled=False,
            noisy=False,
            threads=THREADS,
        )
        hyper = np.tile(np.array([float(h) for h in algorithm]), (STEPS, 1))
        return lambda: engine.plan(state, [hyper], [Draws(None, None)], 0, STEPS + 1).run()

    took = seconds(
        {
            "copy": lambda: [duplicate() for _ in range(STEPS)],
            "mix": stepper(Gossip()),
            "DecentLaM": stepper(simlab.DecentLaM(lr=0.1)),
        },
        repeats=5,
    )
    bandwidth = STEPS * copied / took["copy"]
    mixing = STEPS * (2 * state_bytes + weights_bytes) / took["mix"]
    # DecentLaM reads x, m, the Hessians' diagonals, the linear terms and W, and writes x and m.
    necessary = STEPS * (6 * state_bytes + weights_bytes) / bandwidth
    tracemalloc.start()
    simlab.simulate(problem, network, simlab.DecentLaM(lr=0.1), steps=2, record_every=2, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    name = "ring of 10^6 nodes"
    return [
        ratio(name, "mixing, share of copy bandwidth", mixing / bandwidth, at_least=0.6),
        ratio(
            name,
            "DecentLaM step, time / necessary traffic at copy bandwidth",
            took["DecentLaM"] / necessary,
            at_most=1.5,
        ),
        ratio(name, "state-sized arrays beyond the algorithm's two", [peak / state_bytes - 2], at_most=4),
        ratio(name, "copy, GB/s (this machine, now)", bandwidth / 1e9),
    ]
