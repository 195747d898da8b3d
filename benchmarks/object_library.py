"""The same work in decent-bench (PyPI; Python >= 3.13), an object for each node, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

INSTALLED = importlib.util.find_spec("decent_bench") is not None


def decent_bench(problem: Any, weights: np.ndarray, batch_size: int | None) -> Callable[[float, int], np.ndarray]:
    """DSGD, which the library calls ATC, without its metrics: a function of lr and steps to final states (n, d).

    Its mini-batches are its own: it goes through shuffled samples.
    """
    import networkx as nx
    from decent_array import interoperability as iop
    from decent_bench.agents import Agent
    from decent_bench.algorithms.p2p import ATC
    from decent_bench.costs import LinearRegressionCost
    from decent_bench.networks import P2PNetwork

    iop.set_backend("numpy", "cpu")
    size: Any = "all" if batch_size is None else batch_size
    agents = []
    for features, targets in zip(problem.features, problem.targets, strict=True):
        samples = [(iop.from_numpy(a), iop.from_numpy(np.array([b]))) for a, b in zip(features, targets, strict=True)]
        agents.append(Agent(LinearRegressionCost(samples, batch_size=size), state_snapshot_period=10**9))
    edges = (weights != 0) & ~np.eye(problem.n_nodes, dtype=bool)
    network = P2PNetwork(nx.from_numpy_array(edges.astype(int)), agents)
    network.weights = iop.from_numpy(weights)

    def run(lr: float, steps: int) -> np.ndarray:
        ATC(step_size=lr).run(network, steps)
        return np.array([np.asarray(iop.to_numpy(agent.x)) for agent in network.agents()])

    return run
