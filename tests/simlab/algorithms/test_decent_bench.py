"""Trajectories against those of decent-bench, a package of other authors; docs/methods_elsewhere.md says what differs.

It needs Python 3.13; without it these tests are skipped.
"""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
import pytest

import simlab

decent = pytest.importorskip("decent_bench", reason="decent-bench (Python 3.13) is not installed")

from decent_array import interoperability as iop  # noqa: E402
from decent_bench import agents, algorithms, costs, networks  # noqa: E402

iop.set_backend("numpy")

N, D, M, STEPS = 7, 3, 8, 30
LR, TAU = 0.08, 3
RANDOM = np.random.default_rng(2)
FEATURES, TARGETS = RANDOM.standard_normal((N, M, D)), RANDOM.standard_normal((N, M))
DATA = list(zip(FEATURES, TARGETS, strict=True))
X0 = RANDOM.standard_normal((N, D))
GRAPH = networkx.Graph([(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 5), (5, 2), (5, 6)])
NETWORK = simlab.Network.from_adjacency(networkx.to_numpy_array(GRAPH, nodelist=range(N)), "metropolis")
W = np.array(NETWORK.weights)
PROBLEM = simlab.LeastSquares(FEATURES, TARGETS)


def theirs(algorithm: Any, iterations: int, x0: np.ndarray = X0, start: Any = None) -> np.ndarray:
    """Their rows after some iterations, on the same data, graph and start; `start` changes an agent's variables."""
    data = [[(iop.from_numpy(a), iop.from_numpy(np.array([b]))) for a, b in zip(*node, strict=True)] for node in DATA]
    nodes = [agents.Agent(costs.LinearRegressionCost(each)) for each in data]
    graph = networkx.Graph()
    graph.add_nodes_from(range(N))
    graph.add_edges_from(GRAPH.edges)
    network = networks.P2PNetwork(graph, nodes)
    np.testing.assert_allclose(iop.to_numpy(network.weights), W, atol=1e-15)
    algorithm.x0 = {node: iop.from_numpy(row) for node, row in zip(nodes, x0, strict=True)}
    algorithm.initialize(network)
    if start is not None:
        start(nodes)
    for k in range(iterations):
        network._step(k)
        algorithm.step(network, k)
    return np.array([iop.to_numpy(node.x) for node in nodes])


def ours(algorithm: Any, steps: int = STEPS, x0: np.ndarray = X0) -> np.ndarray:
    return simlab.simulate(PROBLEM, NETWORK, algorithm, steps=steps, x0=x0, engine="numpy", progress=False).x[0]


p2p = algorithms.p2p
SAME = {
    "DGD": (p2p.DGD(LR), simlab.DSGD(LR, "cta"), 1),
    "ATC": (p2p.ATC(LR), simlab.DSGD(LR), 1),
    "EXTRA": (p2p.EXTRA(LR), simlab.EXTRA(LR), 1),
    "ED": (p2p.ED(LR), simlab.ExactDiffusion(LR), 1),
    "GT-SAGA, full batches": (p2p.GT_SAGA(LR), simlab.GTSAGA(LR), 1),
    "ADMM": (p2p.ADMM(0.6, 0.5), simlab.DADMM(0.3), 1),
    "ATC-Tracking": (p2p.ATC_Tracking(LR), simlab.KGT(LR, 1), 1),
    "LED": (p2p.LED(TAU, LR, 0.3), simlab.LED(LR, TAU, 0.3), TAU),
    "K-GT": (p2p.KGT(TAU, LR, 0.5), simlab.KGT(LR, TAU, 0.5), TAU),
}


@pytest.mark.parametrize("name", SAME)
def test_trajectories_agree(name: str) -> None:
    """Theirs count an exchange as an iteration, ours a gradient as a step."""
    one, other, gradients = SAME[name]
    expected = theirs(one, STEPS // gradients)
    np.testing.assert_allclose(ours(other), expected, rtol=1e-10, atol=1e-10)
    assert np.abs(expected - X0).max() > 0.1


def added_up(self: Any, node: Any) -> Any:
    """The sum of a node's messages; theirs, in 0.3.0, is taken within one of them, which the other receivers share."""
    return sum(node.messages().values(), start=iop.zeros_like(node.x))


def test_dlm_begins_with_an_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p2p.DLM, "_sum_messages", added_up)
    np.testing.assert_allclose(ours(simlab.DLM(LR, 0.3)), theirs(p2p.DLM(LR, 0.3), STEPS + 1), rtol=1e-10, atol=1e-10)


def test_nids_begins_with_a_plain_step() -> None:
    """Theirs is ours from X⁰ − γG⁰, a step later."""
    found = ours(simlab.NIDS(LR), x0=X0 - LR * PROBLEM.gradient(X0))
    np.testing.assert_allclose(found, theirs(p2p.NIDS(LR), STEPS + 1), rtol=1e-10, atol=1e-10)
    assert np.abs(ours(simlab.NIDS(LR)) - theirs(p2p.NIDS(LR), STEPS)).max() > 1e-6


def mixed(nodes: list[Any]) -> None:
    """The tracker after one exchange."""
    y = W @ np.array([iop.to_numpy(node.aux_vars["y"]) for node in nodes])
    for node, row in zip(nodes, y, strict=True):
        node.aux_vars["y"] = iop.from_numpy(row)


@pytest.mark.parametrize("kind", ["AugDGM", "GT_VR"])
def test_tracking_begins_with_gradients_not_mixed(kind: str) -> None:
    """Y⁰ = G⁰, where ours has WG⁰; GT-VR with full batches is this method, too."""
    found = ours(simlab.GradientTracking(LR))
    np.testing.assert_allclose(found, theirs(getattr(p2p, kind)(LR), STEPS, start=mixed), rtol=1e-10, atol=1e-10)
    assert np.abs(found - theirs(getattr(p2p, kind)(LR), STEPS)).max() > 1e-6


def test_sarah_combines_then_adapts() -> None:
    """With full batches it is DIGing, which ours is not, but momentum tracking without momentum is."""
    expected = theirs(p2p.GT_SARAH(STEPS - 1, LR), 1)
    np.testing.assert_allclose(ours(simlab.MomentumTracking(LR, 0.0)), expected, rtol=1e-10, atol=1e-10)
    assert np.abs(ours(simlab.GTSARAH(LR, STEPS)) - expected).max() > 1e-6


@pytest.mark.parametrize("kind", ["AugDGM", "ATC_Tracking", "SimpleGT", "NIDS", "GT_SARAH", "WangElia"])
def test_limits_are_one(kind: str) -> None:
    """Of other starts and forms, too."""
    np.testing.assert_allclose(theirs(getattr(p2p, kind)(step_size=LR), 1500) - PROBLEM.minimizer, 0, atol=1e-8)
