"""Mixing matrices: the weight rules over a graph, and the conditions that W has to meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.network.spectrum import FULL_SPECTRUM_NODES, Spectrum, factors_stay_sparse

_TOLERANCE = 1e-10  # of symmetry and of the row sums
_PRODUCTS = 10_000  # of a power iteration, before a factorization is tried
_NEGLIGIBLE = 1e-12  # weights that connect nothing, distances from +-1 that are rounding

# Weight rules: (graph, spectrum of its Laplacian) -> one edge weight, or one an entry of graph.


def _metropolis(graph: sparse.csr_array, laplacian: Spectrum) -> np.ndarray:
    degrees = np.diff(graph.indptr)
    return 1.0 / (1 + np.maximum(np.repeat(degrees, degrees), degrees[graph.indices]))


def _max_degree(graph: sparse.csr_array, laplacian: Spectrum) -> float:
    return 1.0 / (1 + int(np.diff(graph.indptr).max()))


def _best_constant(graph: sparse.csr_array, laplacian: Spectrum) -> float:
    if graph.nnz == 0:
        return 0.0
    return 2.0 / (laplacian.second + laplacian.largest)


def _uniform(graph: sparse.csr_array, laplacian: Spectrum) -> float:
    degrees = np.diff(graph.indptr)
    if degrees.min() != degrees.max():
        raise ValueError(
            f"weights = 'uniform' needs a regular graph, but degrees range from {degrees.min()} to {degrees.max()}; "
            "choose 'metropolis', which is doubly stochastic on every graph"
        )
    return 1.0 / (1 + int(degrees[0]))


WEIGHT_RULES: dict[str, Callable[[sparse.csr_array, Spectrum], Any]] = {
    "metropolis": _metropolis,
    "max_degree": _max_degree,
    "laplacian": _best_constant,
    "uniform": _uniform,
}


def laplacian_of(graph: sparse.csr_array) -> sparse.csr_array:
    """The Laplacian of `graph`."""
    return (sparse.diags_array(graph.sum(axis=1)) - graph).tocsr()


def constant(values: np.ndarray) -> float | None:
    """The value that all of `values` share (0 if there are none), or None."""
    if values.size == 0:
        return 0.0
    return float(values[0]) if np.all(values == values[0]) else None


def compressed(name: str, matrix: Any) -> sparse.csr_array:
    """A square finite float64 CSR copy of `matrix`, rows sorted, without zeros."""
    is_sparse: bool = sparse.issparse(matrix)
    if is_sparse:
        if matrix.dtype.kind == "c":
            raise TypeError(f"{name} is complex; pass real numbers")
        checks.array(f"{name}.data", sparse.csr_array(matrix).data)
    values = matrix if is_sparse else checks.array(name, matrix, shape=(None, None))
    result = sparse.csr_array(values).astype(np.float64, copy=True)
    if result.shape[0] != result.shape[1] or result.shape[0] == 0:
        raise ValueError(f"{name} has shape {result.shape}; pass a square matrix with one row a node")
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def off_diagonal(name: str, matrix: Any) -> sparse.csr_array:
    """The graph of a matrix: ones where it is not zero, off the diagonal."""
    entries = compressed(name, matrix).tocoo()
    edges = entries.row != entries.col
    coordinates = (entries.row[edges], entries.col[edges])
    return sparse.csr_array((np.ones(len(coordinates[0])), coordinates), entries.shape)


def pattern(adjacency: Any) -> sparse.csr_array:
    """The undirected graph of an adjacency matrix."""
    graph = off_diagonal("adjacency", adjacency)
    check_symmetric("adjacency", graph)
    return graph


def check_symmetric(name: str, matrix: sparse.csr_array) -> None:
    """Raise ValueError, naming the worst pair of entries, unless `matrix` is symmetric."""
    difference = abs(matrix - matrix.T).tocoo()
    if difference.nnz and difference.data.max() > _TOLERANCE:
        worst = int(np.argmax(difference.data))
        i, j = sorted((int(difference.row[worst]), int(difference.col[worst])))
        raise ValueError(
            f"{name} is not symmetric: entry ({i}, {j}) is {matrix[i, j]:.12g} but ({j}, {i}) is {matrix[j, i]:.12g}; "
            f"pass an undirected graph's matrix, for example ({name} + {name}.T) / 2"
        )


def is_symmetric(w: sparse.csr_array) -> bool:
    """Whether `w` is symmetric, to the tolerance."""
    return float(abs(w - w.T).max()) <= _TOLERANCE


def check_stochastic(w: sparse.csr_array, stochastic: str) -> str:
    """Raise ValueError unless `w` is `stochastic`; return what it is, "double" where rows and columns sum to 1."""
    wrong = {}
    for kind, axis in (("row", 1), ("column", 0)):
        sums = w.sum(axis=axis)
        worst = int(np.argmax(abs(sums - 1.0)))
        if abs(sums[worst] - 1.0) > _TOLERANCE:
            wrong[kind] = f"{kind} {worst} sums to {sums[worst]:.12g}, not 1 (to {_TOLERANCE:g}, in float64)"
    if not wrong:
        return "double"
    if stochastic != "double" and stochastic not in wrong:
        return stochastic
    if stochastic == "double" and len(wrong) == 1:
        kind = "row" if "column" in wrong else "column"
        raise ValueError(
            f"w is not doubly stochastic: {wrong.popitem()[1]}; where its {kind}s alone are to sum to 1 pass "
            f"stochastic={kind!r}, else a symmetric one, for example (w + w.T) / 2"
        )
    what, why = ("doubly", next(iter(wrong.values()))) if stochastic == "double" else (stochastic, wrong[stochastic])
    raise ValueError(
        f"w is not {what} stochastic: {why}; rescale it, or let Network.from_adjacency choose symmetric weights"
    )


def strong_components(matrix: sparse.csr_array) -> tuple[int, np.ndarray]:
    """How many parts there are whose nodes reach each other along the entries of `matrix`; the part of each node."""
    from scipy.sparse.csgraph import connected_components

    n_components, component = connected_components(abs(matrix) > _NEGLIGIBLE, connection="strong")
    return int(n_components), component


def check_connected(name: str, matrix: sparse.csr_array) -> None:
    """Raise ValueError unless along the entries of `matrix` every node reaches every other one."""
    n_components, component = strong_components(matrix)
    if n_components > 1:
        apart = int(np.argmax(component != component[0]))
        raise ValueError(
            f"{name} is disconnected: {n_components} components, nodes 0 and {apart} cannot reach each other; "
            "add edges between them or keep one component"
        )


def check_chain(name: str, transitions: sparse.csr_array) -> None:
    """Raise ValueError unless `transitions` are those of an irreducible Markov chain."""
    sums, least = transitions.sum(axis=1), transitions.min()
    worst = int(np.argmax(abs(sums - 1.0)))
    if least < 0 or abs(sums[worst] - 1.0) > _TOLERANCE:
        raise ValueError(
            f"{name} has a row {worst} that sums to {sums[worst]:.12g} and the least entry {least:.6g}; pass "
            "probabilities of at least 0, with rows that sum to 1"
        )
    n_components, component = strong_components(transitions)
    if n_components > 1:
        apart = int(np.argmax(component != component[0]))
        raise ValueError(
            f"{name} is reducible: states 0 and {apart} do not both follow from each other, so that no stationary "
            "distribution is left to start from that has them all; leave out states that are left for good"
        )


def stationary(transition: sparse.csr_array) -> np.ndarray:
    """π with π'P = π', positive with sum 1, of a row stochastic irreducible P (n, n)."""
    from scipy.sparse.linalg import spsolve

    n = transition.shape[0]
    if n == 1:
        return np.ones(1)
    if n > FULL_SPECTRUM_NODES and not factors_stay_sparse(abs(transition) + abs(transition.T)):
        # Graphs whose factors fill up mix fast.
        pi, back = np.full(n, 1.0 / n), transition.T.tocsr()
        for _ in range(_PRODUCTS):
            before, pi = pi, back @ pi
            if np.all(abs(pi - before) <= 1e-15 * pi):
                return pi / pi.sum()
    balance = (sparse.eye_array(n) - transition.T).tocsc()  # one equation too many: π_0 = 1 takes the first one's place
    rest = spsolve(balance[1:, 1:], -balance[1:, [0]].toarray().ravel())
    pi = np.concatenate([[1.0], np.atleast_1d(rest)])
    return pi / pi.sum()


def check_primitive(w: sparse.csr_array) -> None:
    """Given a strongly connected graph, where w need not be symmetric: not negative, and 1 the only one of its size."""
    entries = w.tocoo()
    if entries.data.min() < 0:
        k = int(np.argmin(entries.data))
        raise ValueError(
            f"w has the negative entry {entries.data[k]:.6g} at ({entries.row[k]}, {entries.col[k]}), which only a "
            "symmetric one may have; pass weights of at least 0"
        )
    if np.any(w.diagonal() > _NEGLIGIBLE):
        return  # Perron and Frobenius
    import networkx

    if not networkx.is_aperiodic(networkx.from_scipy_sparse_array(w, create_using=networkx.DiGraph)):
        raise ValueError(
            "w has other eigenvalues of modulus 1, so that repeated averaging never settles; give each node a share of "
            "its own state, for example (I + w) / 2"
        )


def check_convergent(w: sparse.csr_array) -> None:
    """Given a connected graph and unit row sums: every eigenvalue but the simple 1 lies in (-1, 1)."""
    if w.data.min() >= -_NEGLIGIBLE:
        # Perron and Frobenius: only -1 is in question, and only if no node keeps any of its own state.
        negative = np.all(w.diagonal() <= _NEGLIGIBLE) and _bipartite(w)
        smallest, largest = -1.0 if negative else 0.0, (1.0, 0.0)
    else:
        spectrum = np.sort(1.0 - Spectrum((sparse.eye_array(w.shape[0]) - w).tocsr()).values)
        smallest, largest = spectrum[0], (spectrum[-1], spectrum[-2])
    if smallest <= -1.0 + _NEGLIGIBLE:
        raise ValueError(
            f"w has the eigenvalue {smallest:.6g} <= -1, so that repeated averaging never settles; "
            "give each node a share of its own state, for example (I + w) / 2"
        )
    if largest[1] >= 1.0 - _NEGLIGIBLE:
        raise ValueError(
            f"w has the largest eigenvalues {largest[0]:.6g} and {largest[1]:.6g}, where only one may reach 1; "
            "make its negative weights smaller"
        )


def _bipartite(w: sparse.csr_array) -> bool:
    """Whether a connected graph has two sides: exactly then its double cover falls in two."""
    from scipy.sparse.csgraph import connected_components

    sides = sparse.csr_array([[0.0, 1.0], [1.0, 0.0]])
    cover = sparse.kron(sides, abs(w) > _NEGLIGIBLE, format="csr")  # as BSR it would store zeros, which count as edges
    return bool(connected_components(cover, directed=False)[0] > 1)


def matrix(network: Any) -> sparse.csr_array:
    """W of a network in compressed rows, (n, n)."""
    indptr, indices, values = network.csr
    return sparse.csr_array((values, indices, indptr), (network.n_nodes, network.n_nodes))
