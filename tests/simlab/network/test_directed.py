"""Directed networks: weights, Perron vectors, spectra, topologies, errors."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, strategies as st

import theory
from simlab import DSGD, Network, Quadratic, dynamics, topologies
from simlab.network import spectrum


def dense(network):
    return network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()


@st.composite
def digraphs(draw, max_nodes=12):
    """A directed cycle in random order with random links added; large ones are stored sparse."""
    n = draw(st.sampled_from([*range(1, max_nodes), 90]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    order = random.permutation(n).tolist()
    digraph = nx.DiGraph()
    digraph.add_nodes_from(range(n))
    digraph.add_edges_from((a, b) for a, b in zip(order, order[1:] + order[:1], strict=True) if a != b)
    for _ in range(draw(st.integers(0, 2 * n))):
        digraph.add_edge(*random.integers(n, size=2).tolist())  # loops too, which are ignored
    return digraph


@given(digraphs(), st.sampled_from(["push", "pull"]))
def test_weights_follow_the_direction_of_messages(digraph, rule):
    network = Network.from_digraph(digraph, rule)
    n = len(digraph)
    w, links = np.zeros((n, n)), [(u, v) for u, v in digraph.edges if u != v]
    sends = [sum(u == i for u, _ in links) for i in range(n)]
    hears = [sum(v == i for _, v in links) for i in range(n)]
    for u, v in [*links, *((i, i) for i in range(n))]:
        w[v, u] = 1 / (1 + (sends[u] if rule == "push" else hears[v]))
    np.testing.assert_allclose(dense(network), w, atol=1e-15)
    np.testing.assert_array_equal(network.degrees, sends)
    both = np.allclose(w.sum(axis=0), 1) and np.allclose(w.sum(axis=1), 1)
    assert network.stochastic == ("double" if both else {"push": "column", "pull": "row"}[rule])
    assert network.is_symmetric == np.allclose(w, w.T)
    assert network.n_edges == (len(links) // 2 if network.is_symmetric else len(links))
    x = np.arange(3.0 * n).reshape(n, 3)
    np.testing.assert_allclose(network.mix(x), w @ x, atol=1e-12)


@given(digraphs(), st.sampled_from(["push", "pull"]))
def test_perron_vector_is_where_powers_tend_and_rho_how_fast(digraph, rule):
    network = Network.from_digraph(digraph, rule)
    w, pi, n = dense(network), network.perron, len(digraph)
    assert pi.min() > 0 and pi.sum() == pytest.approx(1)
    limit = np.outer(pi, np.ones(n)) if rule == "push" else np.outer(np.ones(n), pi)
    np.testing.assert_allclose(w @ limit, limit, atol=1e-13)
    np.testing.assert_allclose(limit @ w, limit, atol=1e-13)
    # Without its eigenvalue 1 the largest modulus is that of the second; multiple eigenvalues are as exact as a root.
    assert network.rho == pytest.approx(max(abs(np.linalg.eigvals(w - limit))), abs=1e-4)
    assert network.spectral_gap == pytest.approx(1 - network.rho)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65])
def test_directed_ring(n):
    network = topologies.directed_ring(n)
    w = dense(network)
    expected = (np.eye(n) + np.roll(np.eye(n), 1, axis=0)) / 2 if n > 1 else np.eye(1)  # node i takes from i - 1
    np.testing.assert_array_equal(w, expected)
    assert network.stochastic == "double" and network.is_symmetric == (n <= 2)
    assert network.rho == pytest.approx(np.cos(np.pi / n) if n > 1 else 0, abs=1e-12)
    np.testing.assert_array_equal(network.perron, np.full(n, 1 / n))


@pytest.mark.parametrize("t", [1, 2, 3, 5, 7])
def test_directed_exponential(t):
    n = 2**t
    network = topologies.directed_exponential(n)
    w = dense(network)
    for i in range(n):
        heard = {i} | {(i - 2**k) % n for k in range(t)}
        assert set(np.flatnonzero(w[i])) == heard
        np.testing.assert_allclose(w[i, sorted(heard)], 1 / (t + 1))
    assert network.stochastic == "double"
    assert network.rho == pytest.approx(1 - 2 / (t + 1), abs=1e-12)
    assert network.rho == pytest.approx(np.linalg.norm(w - 1 / n, 2), abs=1e-12)  # normal, like all circulants


@pytest.mark.parametrize("weights", ["push", "pull"])
@pytest.mark.parametrize("n", [1, 2, 30, 100])
def test_random_digraphs_are_strongly_connected_and_reproducible(n, weights):
    network = topologies.random_digraph(n, seed=1, weights=weights)
    w = dense(network)
    assert nx.is_strongly_connected(nx.from_numpy_array(w, create_using=nx.DiGraph))
    np.testing.assert_array_equal(w, dense(topologies.random_digraph(n, seed=1, weights=weights)))
    assert n <= 2 or not np.array_equal(w, dense(topologies.random_digraph(n, seed=2, weights=weights)))


def test_random_digraphs_draw_every_link_with_the_same_probability():
    count, p = 400, 0.6
    counts = sum((dense(topologies.random_digraph(6, p, seed=s)) > 0).astype(int) for s in range(count))
    off = counts[~np.eye(6, dtype=bool)]
    error = np.sqrt(p * (1 - p) / count)
    # Conditional on connectivity slightly more; 6 standard errors are a false alarm in 1e-7 for 30 links.
    assert np.all(abs(off / count - p) < 6 * error)


def test_matrices_are_what_they_sum_to():
    w = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.25, 0.25, 0.5]])
    assert Network.from_matrix(w, "row").stochastic == "row"
    assert Network.from_matrix(w.T, "column").stochastic == "column"
    cyclic = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    for said in ("double", "row", "column"):
        network = Network.from_matrix(cyclic, said)
        assert network.stochastic == "double" and not network.is_symmetric
    assert "row stochastic" in repr(Network.from_matrix(w, "row"))


@pytest.mark.parametrize("weights", ["push", "pull"])
def test_rho_of_large_networks_is_that_of_dense_matrices(weights, monkeypatch):
    rho = topologies.random_digraph(300, seed=0, weights=weights).rho
    monkeypatch.setattr(spectrum, "FULL_SPECTRUM_NODES", 100)
    again = topologies.random_digraph(300, seed=0, weights=weights)
    assert again.rho == pytest.approx(rho, abs=1e-8)


@pytest.mark.parametrize("name", ["eigenvalues", "second_eigenvalue", "smallest_eigenvalue"])
def test_eigenvalues_are_refused_where_they_are_complex(name):
    with pytest.raises(ValueError, match=r"network = .* not symmetric.*rho.*numpy\.linalg\.eigvals"):
        getattr(topologies.directed_ring(5), name)


def test_what_does_not_mix_says_so():
    apart = topologies.disconnected(4)
    np.testing.assert_array_equal(apart.weights, np.eye(4))
    assert not apart.mixes and topologies.ring(4).mixes and topologies.disconnected(1).mixes
    assert apart.rho == 1 and apart.stochastic == "double"
    shift = Network.from_matrix(np.roll(np.eye(4), 1, axis=0), mixes=False)
    assert not shift.mixes and shift.rho == pytest.approx(1)
    one_way = Network.from_digraph(nx.DiGraph([(0, 1)]), "pull", mixes=False)
    assert not one_way.mixes and one_way.stochastic == "row" and one_way.rho == 0.5
    with pytest.raises(ValueError, match=r"does not mix, and has no Perron vector; pass a connected one"):
        one_way.perron  # noqa: B018
    assert Network.from_matrix(topologies.ring(4).weights, mixes=False).mixes


NEGATIVE = np.array([[1.2, -0.2, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
ERRORS = {
    "undirected": (lambda: Network.from_digraph(nx.path_graph(3), "push"), "digraph = .*undirected.*from_graph"),
    "multigraph": (lambda: Network.from_digraph(nx.MultiDiGraph([(0, 1)]), "push"), r"multigraph.*networkx\.DiGraph"),
    "empty": (lambda: Network.from_digraph(nx.DiGraph(), "push"), "empty; pass a graph with at least one node"),
    "weakly connected": (
        lambda: Network.from_digraph(nx.DiGraph([(0, 1), (1, 2)]), "push"),
        "digraph is disconnected: 3 components, nodes 0 and 1 cannot reach each other; add edges",
    ),
    "rule": (lambda: Network.from_digraph(nx.DiGraph([(0, 1), (1, 0)]), "pul"), "weights = 'pul'.*did you mean 'pull'"),
    "rows": (lambda: Network.from_matrix(NEGATIVE.T, "row"), "w is not row stochastic: row 0 sums to 1.7, not 1"),
    "double": (lambda: Network.from_matrix(NEGATIVE), "w is not doubly stochastic: column 0 sums to 1.7.*'row'"),
    "kind": (lambda: Network.from_matrix(NEGATIVE, "rows"), "stochastic = 'rows' is unknown; did you mean 'row'"),
    "negative": (lambda: Network.from_matrix(NEGATIVE, "row"), r"negative entry -0\.2 at \(0, 1\).*at least 0"),
    "periodic": (lambda: Network.from_matrix(np.roll(np.eye(3), 1, axis=0)), r"modulus 1.*\(I \+ w\) / 2"),
    "one way": (
        lambda: Network.from_matrix([[1, 0], [0.5, 0.5]], "row"), "w is disconnected: 2 components, nodes 0 and 1",
    ),
    "sparse digraph": (lambda: topologies.random_digraph(30, 0.01), r"probability = 0\.01 gave no strongly.*above"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_argument_value_and_remedy(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(TypeError, match=r"digraph of type int is not a networkx graph.*DiGraph"):
        Network.from_digraph(3, "push")


@pytest.mark.parametrize(
    "network", [topologies.directed_ring(4), dynamics.every(topologies.ring(4), 2)], ids=["directed", "changing"]
)
def test_step_sizes_are_stable_up_to_their_limit(network):
    problem = Quadratic(np.ones((4, 2)), np.ones((4, 2)))
    limit = theory.stability_limit(problem, network, DSGD(0.1))
    rates = [theory.predict(problem, network, DSGD(share * limit)).rate for share in (0.99, 1.01)]
    assert rates[0] < 1 < rates[1]
