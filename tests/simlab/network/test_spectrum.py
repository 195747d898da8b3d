"""Spectra of large networks: extreme eigenvalues, without a dense matrix, in few products."""

import math

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from simlab import Network, topologies
from simlab.network import spectrum
from tests.simlab.network.test_network import RULES, assert_close, dense


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
