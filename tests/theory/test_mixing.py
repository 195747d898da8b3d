"""The parameter p of networks that change, against closed forms."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

import simlab
import theory
from simlab import dynamics, topologies


def laplacian_eigenvalues(network: simlab.Network) -> np.ndarray:
    adjacency = (np.asarray(network.weights) > 0) & ~np.eye(network.n_nodes, dtype=bool)
    return np.linalg.eigvalsh(np.diag(adjacency.sum(axis=1)) - 1.0 * adjacency)


@pytest.mark.parametrize(("n", "m"), [(6, 2), (6, 3), (8, 2), (8, 4), (5, 5)])
def test_of_random_partitions_into_groups(n: int, m: int) -> None:
    """n(m − 1)/(m(n − 1)); of perfect matchings, m = 2, n/(2(n − 1))."""
    assert theory.mixing_parameter(dynamics.groups(n, m)) == pytest.approx(n * (m - 1) / (m * (n - 1)), abs=1e-12)


@pytest.mark.parametrize("graph", [topologies.ring(7), topologies.star(6), topologies.grid(9), topologies.complete(6)])
def test_of_one_pair_at_a_time(graph: simlab.Network) -> None:
    """λ₂/(2|E|), λ₂ of the graph's Laplacian: 1/(n − 1) where all are neighbours."""
    second = laplacian_eigenvalues(graph)[1]
    assert theory.mixing_parameter(dynamics.pairwise(graph)) == pytest.approx(second / (2 * graph.n_edges), abs=1e-12)
    if graph.n_edges == 15:
        assert second / (2 * graph.n_edges) == pytest.approx(1 / 5)


@pytest.mark.parametrize("up", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_of_links_that_fail(up: float, alpha: float) -> None:
    """1 − max over ℓ of 1 − 2αqℓ + α²(q²ℓ² + 2q(1 − q)ℓ), of W = I − αL, links up with probability q."""
    graph = networkx.path_graph(5)
    graph.add_edge(0, 2)
    laplacian = networkx.laplacian_matrix(graph).toarray()
    network = simlab.Network.from_matrix(np.eye(5) - alpha * laplacian)
    ell = np.linalg.eigvalsh(laplacian)[1:]
    expected = 1 - np.max(1 - 2 * alpha * up * ell + alpha**2 * (up**2 * ell**2 + 2 * up * (1 - up) * ell))
    found = theory.mixing_parameter(dynamics.link_failures(network, 1 - up))
    assert found == pytest.approx(expected, abs=1e-12)
