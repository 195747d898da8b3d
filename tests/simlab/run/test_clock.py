"""Modelled time: against loops over nodes, largest cycle means, and counts by hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import networkx
import numpy as np
import pytest

import simlab
from simlab.cluster import Exponential, LogNormal
from simlab.operations import mix
from simlab.step.streams import Stream

N, D = 6, 3
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=10, dim=D, seed=0)
RING, GRID = simlab.topologies.ring(N), simlab.topologies.grid(N, lazy=True)
COMPLETE = simlab.topologies.complete(N)
BITS = 64 * D


def times(algorithm, cluster, network=RING, steps=12, **options):
    trace = simlab.simulate(
        PROBLEM, network, algorithm, steps=steps, cluster=cluster, engine="numpy", progress=False, **options
    )
    return trace.frame.pivot(index="step", columns="replicate", values="time").to_numpy().T


def compute(cluster, steps, replicate, seed=0):
    return cluster.seconds(Stream(seed, replicate).clock(), steps, N)


def neighbours(network, i):
    return network.csr.indices[network.csr.indptr[i] : network.csr.indptr[i + 1]]


def gossip(t, c, network, message):
    ready = t + c
    return np.array(
        [max(ready[j] + (message if j != i else 0.0) for j in [*neighbours(network, i), i]) for i in range(N)]
    )


@pytest.mark.parametrize("network", [RING, GRID], ids=["ring", "grid"])
@pytest.mark.parametrize("distribution", [Exponential(1.0, 0.2), LogNormal(1.0, np.linspace(0.1, 1, N)), 0.7])
def test_gossip_waits_for_neighbours(network, distribution):
    cluster = simlab.Cluster(distribution, latency=0.1, bandwidth=1e3)
    found = times(simlab.DSGD(0.01), cluster, network, replicates=2)
    for r in range(2):
        t, c = np.zeros(N), compute(cluster, 12, r)
        for k in range(12):
            t = gossip(t, c[k], network, 0.1 + BITS / 1e3)
            assert found[r, k + 1] == pytest.approx(t.max(), rel=1e-12)


def test_a_second_exchange_is_a_round_without_computing():
    cluster = simlab.Cluster(Exponential(1.0), latency=0.3)
    (found,) = times(simlab.GradientTracking(0.01), cluster)
    t, c = np.zeros(N), compute(cluster, 12, 0)
    for k in range(12):
        t = gossip(gossip(t, c[k], RING, 0.3), 0.0, RING, 0.3)
        assert found[k + 1] == pytest.approx(t.max(), rel=1e-12)


def test_numbers_that_leave_together_are_one_message():
    cluster = simlab.Cluster(1.0, latency=0.5, bandwidth=100.0)
    (found,) = times(simlab.SGP(0.01), cluster, steps=3)
    np.testing.assert_allclose(np.diff(found), 1.0 + 0.5 + (BITS + 64) / 100)


@pytest.mark.parametrize("collective", ["ring", "server"])
def test_averages_are_barriers(collective):
    cluster = simlab.Cluster(Exponential(1.0), latency=0.1, bandwidth=1e3, collective=collective)
    (found,) = times(simlab.LocalSGD(0.01, 3), cluster)
    message = {"ring": 2 * (N - 1) * (0.1 + BITS / N / 1e3), "server": 2 * (0.1 + N * BITS / 1e3)}[collective]
    t, c = np.zeros(N), compute(cluster, 12, 0)
    for k in range(12):
        t = t + c[k]
        if k % 3 == 2:
            t[:] = t.max() + message
        assert found[k + 1] == pytest.approx(t.max(), rel=1e-12)


@pytest.mark.parametrize("alone", [0, 2, N - 1])
def test_who_receives_nothing_waits_for_nobody(alone):
    """All that it has goes to its neighbour, and its row is empty; others wait for those whom they weigh."""
    w = np.kron(np.eye(2), np.full((3, 3), 1 / 3))
    w[:, alone] = 0.0
    w[alone - 1, alone] = 1.0
    w[alone] = 0.0
    w /= w.sum(axis=0)

    class Walk(simlab.NetworkProcess):
        def walk(self, random):
            return lambda steps: simlab.Exchanges.of(np.tile(w, (steps, 1, 1)))

    network = Walk(N, "walk", double=False, symmetric=False, column=True)
    cluster = simlab.Cluster(Exponential(1.0), latency=0.1)
    (found,) = times(Gossip(0.01), cluster, network, steps=50)
    t, c = np.zeros(N), compute(cluster, 50, 0)
    for k in range(50):
        ready = t + c[k]
        t = np.array([max([ready[i], *(ready[j] + 0.1 * (j != i) for j in np.flatnonzero(w[i]))]) for i in range(N)])
        assert found[k + 1] == pytest.approx(t.max(), rel=1e-12)


class Gossip(NamedTuple):
    """x -> W x, whatever W is."""

    lr: float
    needs = "column"

    def init(self, x):
        return simlab.DSGD(0.1).init(x)

    def step(self, state, problem, network, batch):
        return type(state)(mix(network, state.x))


class Second(NamedTuple):
    """Mixes over a network of its own first."""

    lr: float
    second: simlab.Network
    needs = "row"

    def init(self, x):
        return simlab.DSGD(0.1).init(x)

    def step(self, state, problem, network, batch):
        return type(state)(mix(network, mix(self.second, state.x)))


def test_exchanges_over_two_networks_wait_each_over_its_own():
    cluster = simlab.Cluster(Exponential(1.0), latency=0.3)
    (found,) = times(Second(0.1, RING), cluster, COMPLETE)
    t, c = np.zeros(N), compute(cluster, 12, 0)
    for k in range(12):
        t = gossip(gossip(t, c[k], RING, 0.3), 0.0, COMPLETE, 0.3)
        assert found[k + 1] == pytest.approx(t.max(), rel=1e-12)


def test_fixed_times_grow_by_the_largest_cycle_mean():
    """Karp 1978: the rate of a max-plus linear recursion."""
    random = np.random.default_rng(3)
    c = random.uniform(0.5, 1.5, N)
    c[2] = 0.9 * c.max()
    cluster = simlab.Cluster(c, latency=0.4)
    (found,) = times(simlab.DSGD(0.01), cluster, GRID, steps=400, record_every=100)
    graph = networkx.DiGraph()
    for i in range(N):
        for j in neighbours(GRID, i):
            graph.add_edge(j, i, weight=c[j] + (0.4 if j != i else 0.0))
    mean = max(
        np.mean([graph.edges[a, b]["weight"] for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True)])
        for cycle in networkx.simple_cycles(graph)
    )
    assert (found[-1] - found[1]) / 300 == pytest.approx(mean, rel=1e-9)


def test_time_changes_nothing_else_and_is_the_same_on_both_engines():
    cluster = simlab.Cluster(Exponential(1.0))
    options = {"steps": 40, "batch_size": 3, "replicates": 2, "record_every": 7, "progress": False}
    without = simlab.simulate(PROBLEM, RING, simlab.DecentLaM(0.01), **options)
    frames = []
    for engine in ("numpy", "compiled"):
        trace = simlab.simulate(PROBLEM, RING, simlab.DecentLaM(0.01), cluster=cluster, engine=engine, **options)
        frames.append(trace.frame)
    assert frames[1].drop(columns="time").equals(without.frame)
    assert frames[0]["time"].equals(frames[1]["time"])
    assert frames[0]["time"].is_monotonic_increasing is False  # two replicates, one after the other
    listed = simlab.simulate(
        PROBLEM, RING, [simlab.DSGD(0.01), simlab.DecentLaM(0.01)], cluster=cluster, engine="numpy", **options
    )
    assert listed[0].frame["time"].equals(listed[1].frame["time"])
    assert "Exponential" in listed[0].provenance["cluster"]


def test_errors_name_argument_and_remedy():
    for bad in ([1.0, -1.0], np.nan, "fast", np.ones((2, 2))):
        with pytest.raises((TypeError, ValueError), match="compute"):
            simlab.Cluster(bad)
    with pytest.raises(ValueError, match="bandwidth"):
        simlab.Cluster(bandwidth=0)
    with pytest.raises(ValueError, match="collective"):
        simlab.Cluster(collective="tree")
    with pytest.raises(TypeError, match=r"cluster = 3 is no cluster; pass simlab\.Cluster"):
        times(simlab.DSGD(0.01), 3)
    with pytest.raises(ValueError, match="not one time for each of 6 nodes"):
        times(simlab.DSGD(0.01), simlab.Cluster([1.0, 2.0]))
    with pytest.raises(ValueError, match="negative or NaN"):
        times(simlab.DSGD(0.01), simlab.Cluster(lambda random, shape: np.full(shape, -1.0)))
    choco = simlab.ChocoSGD(0.01, 0.1, simlab.compression.TopK(1))
    with pytest.raises(ValueError, match="random lengths"):
        times(choco, simlab.Cluster())
    assert simlab.Cluster().average(64.0, 1) == 0.0
    assert math.isinf(simlab.Cluster().bandwidth)
