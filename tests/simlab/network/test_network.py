"""Networks: weight rules, mixing, storage, and the errors of bad input."""

import pickle

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse

from simlab import Network, topologies
from simlab.network import spectrum, weights as weight_rules

RULES = ["metropolis", "max_degree", "laplacian"]
NAMED = ["complete", "ring", "path", "star", "grid", "torus", "hypercube", "exponential"]
RANDOM = ["erdos_renyi", "random_geometric"]


@st.composite
def connected_graphs(draw, min_nodes=1, max_nodes=90):
    """A random tree with random edges added: dense and CSR sizes both occur."""
    n = draw(st.integers(min_nodes, max_nodes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((i, int(rng.integers(i))) for i in range(1, n))
    for _ in range(draw(st.integers(0, 3 * n))):
        i, j = rng.integers(n, size=2)
        if i != j:
            graph.add_edge(int(i), int(j))
    return graph


def assert_close(actual, expected, *, atol):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def dense(network):
    return network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()


def plain_weights(graph, rule, lazy):
    """W entry by entry, as the rules are stated."""
    degree = dict(graph.degree)
    n = graph.number_of_nodes()
    w = np.zeros((n, n))
    laplacian = np.sort(np.linalg.eigvalsh(nx.laplacian_matrix(graph, nodelist=range(n)).toarray().astype(float)))
    for i, j in graph.edges:
        w[i, j] = w[j, i] = {
            "metropolis": 1 / (1 + max(degree[i], degree[j])),
            "max_degree": 1 / (1 + max(degree.values())),
            "laplacian": 2 / (laplacian[-1] + laplacian[1]),
        }[rule]
    w += np.diag(1 - w.sum(axis=1))
    return (np.eye(n) + w) / 2 if lazy else w


# Weights


@given(connected_graphs(), st.sampled_from(RULES), st.booleans())
def test_weights_follow_their_rule_and_are_doubly_stochastic(graph, rule, lazy):
    network = Network.from_graph(graph, weights=rule, lazy=lazy)
    w = dense(network)
    assert_close(w, plain_weights(graph, rule, lazy), atol=1e-12)
    np.testing.assert_array_equal(w, w.T)
    assert_close(w.sum(axis=0), 1, atol=1e-14)
    assert network.n_nodes == graph.number_of_nodes()
    assert network.n_edges == graph.number_of_edges()
    np.testing.assert_array_equal(network.degrees, [graph.degree[i] for i in graph])


@given(connected_graphs(), st.sampled_from(RULES), st.booleans())
def test_spectrum_is_that_of_the_dense_matrix(graph, rule, lazy):
    network = Network.from_graph(graph, weights=rule, lazy=lazy)
    w, n = dense(network), graph.number_of_nodes()
    assert_close(network.eigenvalues, np.linalg.eigvalsh(w)[::-1], atol=1e-12)
    singular = np.linalg.svd(w, compute_uv=False)
    assert network.rho == pytest.approx(singular[1] if n > 1 else 0.0, abs=1e-12)
    assert network.spectral_gap == pytest.approx(1 - network.rho, abs=1e-15)
    assert network.smallest_eigenvalue == network.eigenvalues[-1]
    assert network.second_eigenvalue == (network.eigenvalues[1] if n > 1 else 0.0)


@given(connected_graphs(min_nodes=3, max_nodes=20))
@settings(max_examples=20)
def test_laplacian_rule_is_the_best_constant_edge_weight(graph):
    laplacian = nx.laplacian_matrix(graph).toarray()
    n = len(laplacian)
    best = Network.from_graph(graph, weights="laplacian").rho
    scanned = [np.linalg.norm(np.eye(n) - c * laplacian - 1 / n, 2) for c in np.linspace(0, 1, 400)]
    assert best <= min(scanned) + 1e-12
    # The scan comes close: its step of 1/399 changes rho by at most that times the largest eigenvalue.
    assert best >= min(scanned) - np.linalg.norm(laplacian, 2) / 399


def test_uniform_weights_are_the_mean_over_neighbours_and_oneself():
    network = Network.from_graph(nx.petersen_graph(), weights="uniform")
    assert_close(network.weights, (nx.to_numpy_array(nx.petersen_graph()) + np.eye(10)) / 4, atol=1e-15)


def test_rows_follow_the_nodes_of_the_graph():
    graph = nx.Graph([("b", "a"), ("b", "c")])  # list(graph) is b, a, c
    np.testing.assert_array_equal(Network.from_graph(graph).degrees, [2, 1, 1])


def test_edge_attributes_and_self_loops_are_ignored():
    plain, decorated = nx.cycle_graph(5), nx.cycle_graph(5)
    decorated.add_edge(0, 0)
    decorated.add_edge(0, 1, weight=0.0)
    np.testing.assert_array_equal(Network.from_graph(plain).weights, Network.from_graph(decorated).weights)


@pytest.mark.parametrize("rule", RULES)
def test_adjacency_may_be_dense_sparse_boolean_or_weighted(rule):
    expected = Network.from_graph(nx.path_graph(6), weights=rule).weights
    adjacency = nx.to_numpy_array(nx.path_graph(6))
    for form in (adjacency, adjacency.tolist(), adjacency > 0, sparse.coo_array(adjacency), -3 * adjacency):
        assert_close(Network.from_adjacency(form, weights=rule).weights, expected, atol=1e-14)


def test_sparse_matrices_in_any_order_with_duplicates_and_zeros():
    w = topologies.path(70).weights.toarray()
    row, column = np.nonzero(w + np.eye(70, k=2) + np.eye(70, k=-2))  # with explicit zeros
    row, column = np.concatenate((row, row))[::-1], np.concatenate((column, column))[::-1]  # twice, backwards
    order = np.argsort(row, kind="stable")
    indptr = np.searchsorted(row[order], np.arange(71))
    messy = sparse.csr_array((w[row, column][order] / 2, column[order], indptr), (70, 70))
    network = Network.from_matrix(messy)
    np.testing.assert_array_equal(network.weights.toarray(), w)
    np.testing.assert_array_equal(network.csr.indices, topologies.path(70).csr.indices)
    assert network.n_edges == 69


@given(connected_graphs(), st.booleans())
def test_matrix_is_kept_as_given(graph, as_sparse):
    w = dense(Network.from_graph(graph))
    network = Network.from_matrix(sparse.csc_matrix(w) if as_sparse else w)
    np.testing.assert_array_equal(dense(network), w)
    assert_close(network.eigenvalues, np.linalg.eigvalsh(w)[::-1], atol=1e-12)


def test_matrix_with_negative_weights_is_allowed_while_averaging_converges():
    w = np.eye(3) - 0.6 * nx.laplacian_matrix(nx.path_graph(3)).toarray()
    assert w.min() < 0
    assert Network.from_matrix(w).rho == pytest.approx(0.8)  # 1 - 0.6 * 3 = -0.8


def test_odd_cycle_without_own_weight_converges():
    network = Network.from_matrix(nx.to_numpy_array(nx.cycle_graph(5)) / 2)
    assert network.smallest_eigenvalue == pytest.approx(np.cos(4 * np.pi / 5))


# Storage, the compiled engine's view, immutability


@given(connected_graphs(), st.sampled_from(RULES))
def test_csr_equals_weights(graph, rule):
    network = Network.from_graph(graph, weights=rule)
    indptr, indices, values = network.csr
    assert (indptr.dtype, indices.dtype, values.dtype) == (np.int64, np.int32, np.float64)
    rebuilt = np.zeros((network.n_nodes, network.n_nodes))
    for i in range(network.n_nodes):
        row = indices[indptr[i] : indptr[i + 1]]
        assert np.all(np.diff(row) > 0)
        rebuilt[i, row] = values[indptr[i] : indptr[i + 1]]
    np.testing.assert_array_equal(rebuilt, dense(network))
    assert np.all(values != 0)


@pytest.mark.parametrize(
    ("network", "is_dense"),
    [
        (topologies.ring(64), True),
        (topologies.ring(65), False),
        (topologies.complete(100), True),
        (topologies.erdos_renyi(200, p=0.3, seed=1), True),
        (topologies.erdos_renyi(200, p=0.2, seed=1), False),
    ],
)
def test_storage_follows_size_and_density(network, is_dense):
    assert isinstance(network.weights, np.ndarray) == is_dense


@pytest.mark.parametrize("n", [8, 100])
def test_network_is_immutable(n):
    network = topologies.ring(n)
    with pytest.raises(AttributeError, match="immutable"):
        network.weights = np.eye(n)
    with pytest.raises(ValueError, match="read-only"):
        network.weights[0, 0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        network.csr.values[0] = 5.0


def test_given_matrix_is_copied():
    w = np.full((4, 4), 0.25)
    network = Network.from_matrix(w)
    w[:] = 7.0
    np.testing.assert_array_equal(network.weights, 0.25)
    np.testing.assert_array_equal(network.csr.values, 0.25)


@pytest.mark.parametrize("n", [8, 100])
def test_network_survives_pickling(n):
    network = topologies.ring(n)
    network.mix(np.ones((n, 1)))
    copy = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(dense(copy), dense(network))
    assert copy.rho == network.rho


def test_building_computes_no_spectrum(monkeypatch):
    def forbidden(*args):
        raise AssertionError("a spectrum was computed")

    for part in ("values", "second", "largest"):
        monkeypatch.setattr(spectrum.Spectrum, part, property(forbidden))
    network = topologies.erdos_renyi(300, seed=0)
    repr(network)
    Network.from_matrix(network.weights)
    with pytest.raises(AssertionError, match="computed"):
        _ = network.rho


def test_repr_tells_what_it_is():
    assert repr(topologies.ring(8, lazy=True)) == (
        "Network(ring(8), lazy metropolis weights: n_nodes=8, n_edges=8, dense, rho=0.902369)"
    )
    assert "CSR" in repr(topologies.grid(900))


# Mixing


@given(
    connected_graphs(),
    st.lists(st.integers(1, 3), max_size=3),
    st.sampled_from([np.float32, np.float64]),
)
def test_mix_is_the_dense_product_over_leading_axes(graph, lead, dtype):
    network = Network.from_graph(graph)
    x = np.random.default_rng(0).standard_normal((*lead, network.n_nodes, 2)).astype(dtype)
    mixed = network.mix(x)
    assert mixed.dtype == dtype
    assert mixed.shape == x.shape
    expected = np.einsum("ij,...jk->...ik", dense(network), x.astype(np.float64))
    assert_close(mixed, expected, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [8, 100])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_mix_on_the_strict_array_api(n, shape):
    xp = pytest.importorskip("array_api_strict")
    network = topologies.ring(n)
    x = np.random.default_rng(0).standard_normal((*shape, n, 2))
    for dtype in ("float32", "float64"):
        mixed = network.mix(xp.asarray(x.astype(dtype)))
        assert mixed.__array_namespace__() is xp
        assert mixed.dtype == getattr(xp, dtype)
        assert_close(np.asarray(mixed), network.mix(x), atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [8, 100])
def test_one_network_mixes_every_precision_in_turn(n):
    xp = pytest.importorskip("array_api_strict")
    network = topologies.ring(n)
    x = np.random.default_rng(0).standard_normal((n, 2))
    expected = dense(network) @ x
    for dtype in ("float64", "float32", "float64"):
        for namespace in (np, xp):
            mixed = network.mix(namespace.asarray(x.astype(dtype)))
            assert mixed.dtype == getattr(namespace, dtype)
            assert_close(np.asarray(mixed), expected, atol=10 * np.finfo(dtype).eps)


@pytest.mark.gpu
@pytest.mark.parametrize("n", [8, 100])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_mix_on_cupy(n, shape):
    cupy = pytest.importorskip("cupy")
    network = topologies.ring(n)
    x = np.random.default_rng(0).standard_normal((*shape, n, 2))
    for dtype in ("float32", "float64"):
        mixed = network.mix(cupy.asarray(x.astype(dtype)))
        assert mixed.dtype == dtype
        assert_close(mixed.get(), network.mix(x), atol=10 * np.finfo(dtype).eps)


def test_mixing_integers_does_not_truncate():
    assert_close(topologies.ring(3).mix(np.array([[1], [0], [0]])), 1 / 3, atol=1e-15)
    assert_close(topologies.ring(99).mix(np.eye(99, dtype=int)), dense(topologies.ring(99)), atol=1e-15)


@pytest.mark.parametrize("shape", [(8,), (7, 2), (8, 2, 3)])
def test_mix_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"x has shape .* network of 8 nodes"):
        topologies.ring(8).mix(np.zeros(shape))


# Bad input


def bad_matrix(kind):
    w = topologies.ring(6).weights.copy()
    if kind == "not symmetric":
        w[0, 1] += 0.1
        w[0, 0] -= 0.1
    elif kind == "not stochastic":
        w[2, 2] += 0.01
    elif kind == "nan":
        w[1, 2] = np.nan
    elif kind == "disconnected":
        w = np.kron(np.eye(2), np.full((3, 3), 1 / 3))
    elif kind == "bipartite":
        w = nx.to_numpy_array(nx.cycle_graph(6)) / 2
    elif kind == "below -1":
        w = np.eye(6) - 0.6 * nx.laplacian_matrix(nx.cycle_graph(6)).toarray()
    elif kind == "above 1":
        w = np.eye(6) + 0.1 * nx.laplacian_matrix(nx.cycle_graph(6)).toarray()
    elif kind == "rectangular":
        w = w[:, :5]
    return w


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_matrix])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("not symmetric", r"w is not doubly stochastic: column 0 sums to 0\.9.*'row'.*\(w \+ w\.T\) / 2"),
        ("not stochastic", r"w is not doubly stochastic: row 2 sums to 1\.01, not 1 .*from_adjacency"),
        ("nan", r"w.* NaN or infinite.*remove or impute"),
        ("disconnected", r"w is disconnected: 2 components, nodes 0 and 3 cannot reach each other; add edges"),
        ("bipartite", r"w has the eigenvalue -1 <= -1.*\(I \+ w\) / 2"),
        ("below -1", r"w has the eigenvalue -1\.4 <= -1.*\(I \+ w\) / 2"),
        ("above 1", r"w has the largest eigenvalues 1\.4 and 1\.3.*negative weights"),
        ("rectangular", r"w has shape \(6, 5\); pass a square matrix"),
    ],
)
def test_bad_matrix(kind, message, form):
    with pytest.raises(ValueError, match=message):
        Network.from_matrix(form(bad_matrix(kind)))


@pytest.mark.parametrize(
    "graph",
    [
        *(nx.complete_graph(n) for n in (2, 3, 6)),
        *(nx.complete_bipartite_graph(n, n) for n in (2, 5)),
        *(nx.cycle_graph(n) for n in (7, 8, 99, 100)),
        nx.hypercube_graph(3),
        nx.petersen_graph(),
    ],
    ids=str,
)
def test_without_own_weight_exactly_the_bipartite_graphs_are_refused(graph):
    adjacency = nx.to_numpy_array(graph)
    w = adjacency / adjacency[0].sum()  # regular graphs, with zeros on the diagonal
    if nx.is_bipartite(graph):
        with pytest.raises(ValueError, match="eigenvalue -1 <= -1"):
            Network.from_matrix(w)
    else:
        assert Network.from_matrix(w).smallest_eigenvalue > -1


def test_blocks_joined_by_rounding_are_disconnected():
    w = bad_matrix("disconnected")
    w[2, 3] = w[3, 2] = 1e-16
    with pytest.raises(ValueError, match="disconnected"):
        Network.from_matrix(w)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (1j * np.eye(2), "w is complex"),
        (sparse.csr_array(1j * np.eye(2)), "w is complex"),
        ([["a", "b"], ["c", "d"]], "w is not an array of numbers"),
    ],
)
def test_matrix_of_wrong_type(w, message):
    with pytest.raises(TypeError, match=message):
        Network.from_matrix(w)


@pytest.mark.parametrize("w", [np.zeros((0, 0)), np.zeros(3), np.zeros((2, 2, 2))])
def test_matrix_of_wrong_shape(w):
    with pytest.raises(ValueError, match="w has shape"):
        Network.from_matrix(w)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.DiGraph([(0, 1)]), r"directed.*from_digraph.*to_undirected"),
        (nx.MultiGraph([(0, 1), (0, 1)]), r"multigraph.*networkx\.Graph\(graph\)"),
        (nx.Graph(), r"empty.*at least one node"),
        (nx.Graph([(0, 1), (2, 3)]), r"graph is disconnected: 2 components, nodes 0 and 2"),
    ],
)
def test_bad_graph(graph, message):
    with pytest.raises(ValueError, match=message):
        Network.from_graph(graph)


def test_graph_of_wrong_type():
    with pytest.raises(TypeError, match=r"graph of type ndarray is not a networkx graph.*from_matrix"):
        Network.from_graph(np.eye(3))


def test_adjacency_must_be_symmetric():
    with pytest.raises(ValueError, match=r"adjacency is not symmetric: entry \(0, 1\) is 1 but \(1, 0\) is 0"):
        Network.from_adjacency([[0, 1], [0, 0]])


def test_unknown_rule_names_the_nearest():
    with pytest.raises(ValueError, match=r"weights = 'metropolys' is unknown; did you mean 'metropolis'"):
        Network.from_graph(nx.cycle_graph(4), weights="metropolys")
    with pytest.raises(TypeError, match=r"weights of type ndarray .*Network\.from_matrix"):
        Network.from_graph(nx.cycle_graph(4), weights=np.eye(4))


def test_uniform_weights_need_a_regular_graph():
    with pytest.raises(ValueError, match=r"weights = 'uniform' .* degrees range from 1 to 2; choose 'metropolis'"):
        topologies.path(5, weights="uniform")


@pytest.mark.parametrize("name", NAMED + RANDOM)
def test_number_of_nodes_is_checked(name):
    with pytest.raises(ValueError, match="n = 0 must be at least 1"):
        getattr(topologies, name)(0)
    with pytest.raises(TypeError, match=r"n = 4\.0 is not an integer"):
        getattr(topologies, name)(4.0)


def test_hypercube_names_the_nearest_powers():
    with pytest.raises(ValueError, match=r"n = 12 is not a power of two; choose n = 8 or n = 16"):
        topologies.hypercube(12)


def test_random_graphs_that_never_connect():
    with pytest.raises(ValueError, match=r"p = 0\.001 gave no connected graph of 50 nodes in 100 draws.*ln\(n\)/n"):
        topologies.erdos_renyi(50, p=0.001)
    with pytest.raises(ValueError, match=r"radius = 0\.01 gave no connected graph of 50 nodes in 100 draws"):
        topologies.random_geometric(50, radius=0.01)
    with pytest.raises(ValueError, match=r"p = 1\.5 must be at most 1"):
        topologies.erdos_renyi(50, p=1.5)


def test_rules_are_those_documented():
    assert set(weight_rules.WEIGHT_RULES) == {*RULES, "uniform"}
