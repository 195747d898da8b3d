"""Mixing matrices: the weight rules over a graph, and the conditions that W has to meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.network.spectrum import Spectrum

_TOLERANCE = 1e-10  # of symmetry and of the row sums
_NEGLIGIBLE = 1e-12  # weights that connect nothing, distances from +-1 that are rounding

# Weight rules: (graph, spectrum of its Laplacian) -> one edge weight, or one an entry of graph.


def _metropolis(graph: sparse.csr_array, laplacian: Spectrum) -> np.ndarray:
    degrees = np.diff(graph.indptr)
    return 1.0 / (1 + np.maximum(np.repeat(degrees, degrees), degrees[graph.indices]))


def _max_degree(graph: sparse.csr_array, laplacian: Spectrum) -> float:
    return 1.0 / (1 + int(np.diff(graph.indptr).max()))


def _best_constant(graph: sparse.csr_array, laplacian: Spectrum) -> float:
    if graph.shape[0] == 1:
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


def pattern(adjacency: Any) -> sparse.csr_array:
    """The graph of an adjacency matrix: ones off the diagonal."""
    entries = compressed("adjacency", adjacency).tocoo()
    edges = entries.row != entries.col
    coordinates = (entries.row[edges], entries.col[edges])
    graph = sparse.csr_array((np.ones(len(coordinates[0])), coordinates), entries.shape)
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


def check_doubly_stochastic(w: sparse.csr_array) -> None:
    """Raise ValueError unless `w` is symmetric and its rows sum to 1."""
    check_symmetric("w", w)
    sums = w.sum(axis=1)
    worst = int(np.argmax(abs(sums - 1.0)))
    if abs(sums[worst] - 1.0) > _TOLERANCE:
        raise ValueError(
            f"w is not doubly stochastic: row {worst} sums to {sums[worst]:.12g}, not 1 (to {_TOLERANCE:g}, in "
            "float64); rescale it, or let Network.from_adjacency choose the weights"
        )


def check_connected(name: str, matrix: sparse.csr_array) -> None:
    """Raise ValueError unless the entries of `matrix` connect all nodes."""
    from scipy.sparse.csgraph import connected_components

    n_components, component = connected_components(abs(matrix) > _NEGLIGIBLE, directed=False)
    if n_components > 1:
        apart = int(np.argmax(component != component[0]))
        raise ValueError(
            f"{name} is disconnected: {n_components} components, nodes 0 and {apart} cannot reach each other; "
            "add edges between them or keep one component"
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
