"""The exchange of differences: what it is, costs, and rounds off."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import simlab
from simlab import dynamics, topologies
from simlab.operations import Batch, differences, gradient, mix
from simlab.run.settings import ENGINES
from tests.helpers import interpreted

N, D = 6, 3
PROBLEM = simlab.Quadratic(
    np.random.default_rng(1).uniform(0.5, 1, (N, D)), np.random.default_rng(2).normal(size=(N, D))
)
EXCHANGES = {"differences": differences, "mix": mix}
X0 = np.random.default_rng(3).standard_normal((N, D))
NETWORKS = {
    "rows even and odd": topologies.erdos_renyi(N, seed=2),
    "odd rows": topologies.ring(N),
    "star": topologies.star(N),
    "column": topologies.random_digraph(N, 0.4, seed=1, weights="push"),
    "links fail": dynamics.link_failures(topologies.ring(N), 0.3),
    "nodes fail": dynamics.node_failures(topologies.complete(N), 0.3),
    "columns, cycled": dynamics.cycle([topologies.random_digraph(N, 0.4, seed=s, weights="push") for s in (1, 2)]),
}


class State(NamedTuple):
    x: Any
    m: Any


class Gossip(NamedTuple):
    """The exchange of the state and of an intermediate value."""

    lr: float
    by: str = "differences"
    needs = "column"

    def init(self, x: Any) -> State:
        return State(x, x)

    def step(self, state: State, problem: Any, network: Any, batch: Batch) -> State:
        x = state.x - self.lr * gradient(problem, state.x, batch) + EXCHANGES[self.by](network, state.x) / 2
        return State(x - EXCHANGES[self.by](network, state.m) / 4, state.m + EXCHANGES[self.by](network, x))


def by_hand(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.array([sum(w[i, j] * (x[j] - x[i]) for j in range(N)) for i in range(N)])


@pytest.mark.parametrize("runs", [1, 17])  # alone, and side by side
@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_sum_of_weighted_differences(name: str, engine: str, runs: int) -> None:
    network = NETWORKS[name]
    methods = [Gossip(0.1)] * runs
    traces = simlab.simulate(PROBLEM, network, methods, steps=9, x0=X0, engine=engine, progress=False, seed=4)
    path, x, m = network.sample(9, seed=4), X0, X0
    for k in range(9):
        new = x - 0.1 * PROBLEM.gradient(x) + by_hand(path[k], x) / 2
        new, after = new - by_hand(path[k], m) / 4, m + by_hand(path[k], new)
        x, m = np.where(path.awake[k][:, None], [new, after], [x, m])
    np.testing.assert_allclose(traces[-1].x[0], x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", interpreted.ENGINES)
@pytest.mark.parametrize("name", ["odd rows", "links fail"])
def test_it_costs_what_mixing_does(name: str, engine: str) -> None:
    options = {"steps": 5, "engine": engine, "cluster": simlab.Cluster(latency=1e-3, bandwidth=1e6), "progress": False}
    one, two = (interpreted.simulate(PROBLEM, NETWORKS[name], Gossip(0.1, by), **options).frame for by in EXCHANGES)
    columns = ["bits", "payload_bits", "time", "gradients"]
    np.testing.assert_array_equal(one[columns], two[columns])
    assert one["bits"].iloc[-1] > 0


@pytest.mark.parametrize("network", [topologies.ring(N), topologies.erdos_renyi(100, seed=1)], ids=["dense", "CSR"])
def test_its_rounding_is_that_of_how_far_nodes_are_apart(network: simlab.Network) -> None:
    near = (1e3 + 1e-3 * np.random.default_rng(4).standard_normal((2, network.n_nodes, D))).astype(np.float32)
    exact = network.mix(near.astype(float)) - near
    np.testing.assert_allclose(differences(network, near), exact, rtol=0, atol=1e-8)
    assert not np.any(differences(network, near[:, :1] + 0 * near))


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize(
    "algorithm",
    [simlab.D2(0.1), simlab.NIDS(0.1), simlab.NIDS(0.1, 0.3), simlab.EXTRA(0.1), simlab.D2DmSGD(0.02)],
    ids=["D2", "NIDS", "NIDS, l1", "EXTRA", "D2DmSGD"],
)
def test_rounding_does_not_carry_corrections_away(algorithm: Any, engine: str) -> None:
    problem = simlab.LeastSquares.synthetic(8, 50, 5, seed=0)
    problem = problem.with_l1(0.3) if getattr(algorithm, "l1", 0) else problem
    options = {"steps": 6000, "record_every": 6000, "dtype": "float32", "engine": engine, "progress": False}
    trace = simlab.simulate(problem, topologies.ring(8, lazy=True), algorithm, **options)
    assert trace.frame["mse"].iloc[-1] < 1e-12
