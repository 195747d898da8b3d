"""Networks: weight rules, spectra, mixing, named topologies, and the errors of bad input."""

import math
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


# Spectra of large networks


@pytest.fixture(scope="module")
def random_graph_3000():
    return topologies.erdos_renyi(3000, seed=3)


def test_lanczos_equals_dense(random_graph_3000):
    network = random_graph_3000
    exact = np.linalg.eigvalsh(network.weights.toarray())
    assert len(network.eigenvalues) == 3
    assert_close(network.eigenvalues, exact[[-1, -2, 0]], atol=1e-12)


def test_large_spectrum_is_never_densified(random_graph_3000, monkeypatch):
    network = Network.from_matrix(random_graph_3000.weights)
    for name in ("toarray", "todense"):
        monkeypatch.setattr(sparse.csr_array, name, lambda *args, **kwargs: pytest.fail("densified"))
    assert network.rho == pytest.approx(random_graph_3000.rho, abs=1e-12)


@pytest.mark.parametrize("n", [3000, 3001])
def test_lanczos_of_a_slowly_mixing_graph_equals_the_closed_form(n):
    """The gap of 1.5e-6 stalls plain Lanczos: the factorization takes over, and is accurate to the gap's own digits."""
    network = Network.from_matrix(topologies.ring(n).weights)
    turns = 2 * np.pi / n
    assert 1 - network.second_eigenvalue == pytest.approx((4 / 3) * np.sin(turns / 2) ** 2, rel=1e-8)
    smallest = (1 + 2 * np.cos(turns * (n // 2))) / 3
    assert network.smallest_eigenvalue == pytest.approx(smallest, abs=1e-12)


@pytest.mark.parametrize("n", [10**4, 999_999, 10**6])
def test_gaps_of_large_graphs_keep_their_digits(n):
    assert topologies.ring(n).spectral_gap == pytest.approx(4 / 3 * np.sin(np.pi / n) ** 2, rel=1e-12)
    side = math.isqrt(n)
    few = np.arange(1, 6)
    laplacian = topologies._ring_spectrum(n)
    for values in (laplacian[few], laplacian[-few]):
        np.testing.assert_allclose(values, 4 * np.sin(np.pi * few / n) ** 2, rtol=1e-12)
    torus = topologies.torus(side**2)
    assert torus.spectral_gap == pytest.approx(4 / 5 * np.sin(np.pi / side) ** 2, rel=1e-12)


def test_laplacian_rule_by_extreme_eigenvalues(monkeypatch):
    monkeypatch.setattr(spectrum, "FULL_SPECTRUM_NODES", 100)
    network = topologies.erdos_renyi(300, seed=1, weights="laplacian")
    assert len(network.eigenvalues) == 3
    assert network.second_eigenvalue == pytest.approx(-network.smallest_eigenvalue, abs=1e-12)  # mark of the optimum
    assert network.rho == pytest.approx(np.linalg.norm(dense(network) - 1 / 300, 2), abs=1e-10)


def test_spectrum_of_all_and_of_extreme_eigenvalues_agree(monkeypatch):
    matrix = sparse.csr_array(nx.laplacian_matrix(nx.grid_2d_graph(9, 13)).astype(float))
    everything = spectrum.Spectrum(matrix).values
    monkeypatch.setattr(spectrum, "FULL_SPECTRUM_NODES", 10)
    assert_close(spectrum.Spectrum(matrix).values, everything[[0, 1, -1]], atol=1e-11)


def count_products(monkeypatch):
    """Products with the matrix or its factors, which are what a spectrum costs."""
    calls = []
    extreme = spectrum._extreme

    def counted(product, *args):
        return extreme(lambda v: calls.append(None) or product(v), *args)

    monkeypatch.setattr(spectrum, "_extreme", counted)
    return calls


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "graph",
    [
        nx.barbell_graph(20, 400),
        nx.path_graph(500),
        nx.balanced_tree(2, 8),
        nx.star_graph(300),
        nx.grid_2d_graph(15, 30),
        nx.random_regular_graph(4, 400, seed=0),
        nx.barbell_graph(120, 10),
        nx.ring_of_cliques(100, 5),
        nx.lollipop_graph(20, 500),
    ],
    ids=["barbell", "path", "tree", "star", "grid", "random", "cliques", "ring of cliques", "lollipop"],
)
def test_extreme_eigenvalues_of_slow_and_fast_graphs_are_those_of_the_dense_matrix(graph, rule, monkeypatch):
    full = np.sort(1 - np.linalg.eigvalsh(dense(Network.from_graph(graph, rule))))
    monkeypatch.setattr(spectrum, "FULL_SPECTRUM_NODES", 100)
    network = Network.from_graph(graph, rule)
    assert network.spectral_gap == pytest.approx(min(full[1], 2 - full[-1]), rel=1e-8, abs=1e-13)
    assert network.second_eigenvalue == pytest.approx(1 - full[1], abs=1e-13)
    assert network.smallest_eigenvalue == pytest.approx(1 - full[-1], abs=1e-9)


@pytest.mark.parametrize("rule", ["metropolis", "max_degree"])
def test_the_gap_of_a_long_path_takes_few_products(rule, monkeypatch):
    """50,000 nodes. On the old code: thousands of products, half a minute."""
    calls = count_products(monkeypatch)
    n = 50_000
    network = Network.from_graph(nx.path_graph(n), rule)
    assert network.spectral_gap == pytest.approx(4 / 3 * np.sin(np.pi / (2 * n)) ** 2, rel=1e-8)
    assert len(calls) < 100
    # That of the other end is found when asked for, and not before.
    smallest = (1 + 2 * np.cos(np.pi * (n - 1) / n)) / 3
    assert network.smallest_eigenvalue == pytest.approx(smallest, abs=1e-9)
    assert 100 < len(calls) < 1000


def test_the_other_end_of_a_ring_of_cliques_takes_few_products(monkeypatch):
    """Eigenvalues crowd there: 740 products from a shift that stays where it is, and more the longer the ring."""
    calls = count_products(monkeypatch)
    assert Network.from_graph(nx.ring_of_cliques(4000, 5)).smallest_eigenvalue > -1
    assert len(calls) < 400


def test_the_gap_of_a_long_barbell_takes_few_products(monkeypatch):
    """Against the tridiagonal matrix that is left when the 99 like nodes of each clique are taken as one."""
    from scipy.linalg import eigh_tridiagonal

    calls = count_products(monkeypatch)
    gap = Network.from_graph(nx.barbell_graph(100, 5000)).spectral_gap
    assert 0 < len(calls) < 100
    inner = np.full(5000, 2 / 3)
    inner[[0, -1]] = 1 / 3 + 1 / 101
    diagonal = np.concatenate(([1 / 101, 100 / 101], inner, [100 / 101, 1 / 101]))
    end = [-np.sqrt(99) / 101, -1 / 101]
    beside = np.concatenate((end, np.full(4999, -1 / 3), end[::-1]))
    _, second = eigh_tridiagonal(diagonal, beside, eigvals_only=True, select="i", select_range=(0, 1))
    assert gap == pytest.approx(second, rel=1e-7)


def test_the_best_constant_weight_computes_one_spectrum(monkeypatch):
    calls = count_products(monkeypatch)
    network = Network.from_graph(nx.path_graph(3000), "laplacian")
    built = len(calls)
    assert network.spectral_gap == pytest.approx(
        2 * np.tan(np.pi / 6000) ** 2 / (1 + np.tan(np.pi / 6000) ** 2), rel=1e-6
    )
    assert len(calls) == built


def test_factors_of_meshes_and_trees_stay_sparse_and_those_of_random_graphs_do_not():
    def judged(graph):
        return spectrum.factors_stay_sparse(Network.from_graph(graph)._complement[0].matrix)

    assert judged(nx.grid_2d_graph(50, 60))
    assert judged(nx.barbell_graph(50, 2000))
    assert judged(nx.random_labeled_tree(3000, seed=0))
    assert not judged(nx.random_regular_graph(4, 3000, seed=0))
    assert not judged(nx.gnp_random_graph(1000, 0.1, seed=0))


def test_a_matrix_that_spreads_in_a_slow_mode_is_refused():
    """Negative weights whose eigenvalue above 1 is not the one nearest to 1: inverses alone would not see it."""
    n = 2100
    w = sparse.lil_array(Network.from_matrix(topologies.ring(n).weights).weights)
    for i, j, by in ((0, 1, -0.8), (1, 2, 0.1)):
        w[i, j] += by
        w[j, i] += by
        w[i, i] -= by
        w[j, j] -= by
    with pytest.raises(ValueError, match="only one may reach 1"):
        Network.from_matrix(w.tocsr())


# Named topologies


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


def test_lanczos_runs_on_one_thread():
    """Two threads of BLAS wait for each other where another process has a core: 4 to 9 times the processor time."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen = []
    with threadpool_limits(2, "blas"):
        spectrum._extreme(lambda v: seen.append(threads()) or 2 * v, 50, "LA", 1e-6)
        assert threads() != {1}  # as before
    assert seen
    assert all(each == {1} for each in seen)
