"""Named topologies: their graphs, closed forms of their spectra, random ones."""

import networkx as nx
import numpy as np
import pytest

from simlab import topologies
from tests.simlab.network.test_network import NAMED, RANDOM, RULES, assert_close, dense


def reference_graph(name, n):
    rows = max(k for k in range(1, int(np.sqrt(n)) + 1) if n % k == 0)
    dimension = n.bit_length() - 1
    exponential = nx.Graph([(i, (i + 2**k) % n) for i in range(n) for k in range(12) if 2**k < n])
    return {
        "complete": lambda: nx.complete_graph(n),
        "ring": lambda: nx.cycle_graph(n),
        "path": lambda: nx.path_graph(n),
        "star": lambda: nx.star_graph(n - 1),
        "grid": lambda: nx.grid_2d_graph(rows, n // rows),
        "torus": lambda: nx.cartesian_product(nx.cycle_graph(rows), nx.cycle_graph(n // rows)),
        "hypercube": lambda: nx.hypercube_graph(dimension),
        "exponential": lambda: exponential,
    }[name]()


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("n", [2, 4, 8, 16, 64])
def test_topology_is_the_graph_of_its_name(name, n):
    network = getattr(topologies, name)(n)
    reference = reference_graph(name, n)
    reference.remove_edges_from(list(nx.selfloop_edges(reference)))
    adjacency = nx.to_numpy_array(reference, nodelist=sorted(reference)) > 0
    np.testing.assert_array_equal((network.weights != 0) & ~np.eye(n, dtype=bool), adjacency)
    assert f"{name}(" in repr(network)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lazy", [False, True])
def test_closed_form_spectrum_is_that_of_the_matrix(name, rule, lazy):
    for n in (1, 2, 4, 8, 16, 32):
        network = getattr(topologies, name)(n, weights=rule, lazy=lazy)
        assert_close(network.eigenvalues, np.linalg.eigvalsh(network.weights)[::-1], atol=1e-13)
        singular = np.linalg.svd(network.weights, compute_uv=False)
        assert network.rho == pytest.approx(singular[1] if n > 1 else 0.0, abs=1e-13)


@pytest.mark.parametrize("n", [3, 6, 7, 12, 15, 18, 25, 30])
def test_closed_form_spectrum_where_n_is_not_a_power_of_two(n):
    for name in set(NAMED) - {"hypercube"}:
        network = getattr(topologies, name)(n, weights="max_degree")
        assert_close(network.eigenvalues, np.linalg.eigvalsh(network.weights)[::-1], atol=1e-13)


def test_known_gaps():
    for n in (8, 20, 101):
        assert topologies.ring(n).rho == pytest.approx((1 + 2 * np.cos(2 * np.pi / n)) / 3, abs=1e-14)
        assert topologies.complete(n).rho == pytest.approx(0.0, abs=1e-15)
    for dimension in (3, 7, 16):  # eigenvalues 1 - 2j/(1 + log2 n)
        assert topologies.hypercube(2**dimension).rho == pytest.approx(1 - 2 / (1 + dimension), abs=1e-14)


def test_ring_weights_are_one_third():
    assert_close(topologies.ring(5).weights[0], [1 / 3, 1 / 3, 0, 0, 1 / 3], atol=1e-15)
    assert_close(topologies.ring(5, weights="uniform").weights, topologies.ring(5).weights, atol=1e-15)


def test_million_nodes_are_built_and_their_gap_is_known():
    n = 10**6
    network = topologies.ring(n)
    assert network.n_edges == n
    assert network.spectral_gap == pytest.approx((4 / 3) * np.sin(np.pi / n) ** 2, rel=1e-4)
    x = np.random.default_rng(0).standard_normal((n, 1))
    assert_close(network.mix(x), (x + np.roll(x, 1, axis=0) + np.roll(x, -1, axis=0)) / 3, atol=1e-14)


@pytest.mark.parametrize("name", ["grid", "torus"])
def test_rectangles(name):
    build = getattr(topologies, name)
    assert "(3x4)" in repr(build(12)) and "(2x4)" in repr(build(8)) and "(1x7)" in repr(build(7))
    assert "(6x2)" in repr(build(12, shape=(6, 2)))
    with pytest.raises(ValueError, match=r"shape = \(3, 5\) holds 15 nodes, not n = 12"):
        build(12, shape=(3, 5))
    with pytest.raises(TypeError, match=r"shape = 12 is not a pair"):
        build(12, shape=12)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 200])
def test_random_graphs_are_connected_and_reproducible(name, n):
    build = getattr(topologies, name)
    for seed in range(3):
        network = build(n, seed=seed)
        assert nx.is_connected(nx.from_numpy_array(dense(network)))
        np.testing.assert_array_equal(dense(network), dense(build(n, seed=seed)))
    if n > 3:
        assert not np.array_equal(dense(build(n, seed=0)), dense(build(n, seed=1)))


def test_erdos_renyi_joins_every_pair_with_the_same_probability():
    """400 graphs of 12 nodes at p = 0.6 (disconnected ones are under 1 in 1000 there: conditioning is invisible).

    Chi-square over the 66 pairs, 66 degrees of freedom: false alarm 1e-6 at 137 (fixed seeds).
    """
    n, p, draws = 12, 0.6, 400
    counts = sum((topologies.erdos_renyi(n, p=p, seed=s).weights != 0).astype(int) for s in range(draws))
    pairs = counts[np.triu_indices(n, 1)]
    assert ((pairs - draws * p) ** 2).sum() / (draws * p * (1 - p)) < 137
    assert topologies.erdos_renyi(n, p=1.0).n_edges == 66


def test_pair_index_is_a_bijection_also_for_millions_of_nodes():
    row, column = topologies._pair(np.arange(1225))
    assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == [(i, j) for i in range(50) for j in range(i)]
    for i in (10**6, 2 * 10**6 - 1):
        first = i * (i - 1) // 2
        row, column = topologies._pair(np.array([first - 1, first, first + i - 1]))
        assert row.tolist() == [i - 1, i, i] and column.tolist() == [i - 2, 0, i - 1]


def test_random_geometric_grows_with_its_radius():
    """Same seed and large radii, so that the first draw is connected: the points are the same."""
    sizes = [topologies.random_geometric(60, radius=r, seed=0).n_edges for r in (0.4, 0.7, 1.5)]
    assert sizes[0] < sizes[1] < sizes[2] == 60 * 59 // 2
