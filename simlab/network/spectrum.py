"""Spectra of graph operators whose known eigenvector is the all-ones vector."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy import sparse

from simlab.arrays import one_thread_of_blas

FULL_SPECTRUM_NODES = 2000  # up to here all eigenvalues are computed (about a second); above, the extreme ones

_TOLERANCE = 1e-10
_RESTARTS = {True: 8, False: 100}  # of Lanczos before a factorization is tried, by whether factors stay sparse
# Measured: within twelve rounds of elimination meshes fill to 3 times their entries, random graphs to 10 times.
_ROUNDS = 12
_FILL = 4
_MEAN_DEGREE = 50  # beyond it a graph is not sparse


class Spectrum:
    """Eigenvalues of a symmetric matrix with ``matrix @ ones == 0``, such as L or I - W; each computed when asked for.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, shape (n, n)
        Never densified above ``FULL_SPECTRUM_NODES`` rows.
    closed_form : callable, optional
        Returns all n eigenvalues; trusted.
    """

    def __init__(self, matrix: sparse.csr_array, closed_form: Callable[[], np.ndarray] | None = None) -> None:
        self.matrix = matrix
        self.closed_form = closed_form

    @functools.cached_property
    def values(self) -> np.ndarray:
        """All eigenvalues, ascending; without a closed form and above the limit the extreme ones.

        These are 0 (of the all-ones vector), the smallest and the largest on its orthogonal complement.
        """
        return np.array([0.0, self.second, self.largest]) if self._all is None else self._all

    @functools.cached_property
    def second(self) -> float:
        """The smallest eigenvalue on the complement of the ones vector (0 for a single node)."""
        return _smallest(self.matrix, self._factors_stay_sparse) if self._all is None else float(self._all[:2][-1])

    @functools.cached_property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return _largest(self.matrix, self._factors_stay_sparse) if self._all is None else float(self._all[-1])

    @property
    def largest_bound(self) -> float:
        """At least `largest`, without its cost."""
        return _gershgorin(self.matrix) if self._all is None else self.largest

    @functools.cached_property
    def _all(self) -> np.ndarray | None:
        if self.closed_form is not None:
            return np.sort(self.closed_form())
        return np.linalg.eigvalsh(self.matrix.toarray()) if self.matrix.shape[0] <= FULL_SPECTRUM_NODES else None

    @functools.cached_property
    def _factors_stay_sparse(self) -> bool:
        return factors_stay_sparse(self.matrix)


def second_modulus(matrix: sparse.csr_array, perron: Callable[[], np.ndarray], rows: bool) -> float:
    """The second largest modulus of an eigenvalue, of a matrix that need not be symmetric (0 for a single row).

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, shape (n, n)
    perron : callable
        Returns its eigenvector of the eigenvalue 1, the left one if rows sum to 1, the right one if columns do.
    rows : bool
        Which of them do.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    n_nodes = matrix.shape[0]
    if n_nodes <= FULL_SPECTRUM_NODES:
        return float(np.sort(np.abs(np.linalg.eigvals(matrix.toarray())))[-2]) if n_nodes > 1 else 0.0

    pi, ones = perron(), np.ones(n_nodes)
    left, right = (pi, ones) if rows else (ones, pi)

    def others(v: np.ndarray) -> np.ndarray:
        return matrix @ v.ravel() - right * (left @ v.ravel())

    operator = LinearOperator((n_nodes, n_nodes), matvec=others, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n_nodes)  # fixed, so that the result is reproducible
    try:
        # Several: of random digraphs many are of about the same modulus, and of a single one Arnoldi may take another.
        options = {"ncv": 60, "maxiter": _RESTARTS[False], "tol": 1e-8}
        values = eigs(operator, 8, which="LM", v0=start, return_eigenvectors=False, **options)
    except ArpackNoConvergence:
        raise ValueError(
            f"the eigenvalues of a matrix of {n_nodes} nodes are too near to each other to be told apart; "
            f"choose at most {FULL_SPECTRUM_NODES} nodes"
        ) from None
    return float(np.abs(values).max())


def _smallest(matrix: sparse.csr_array, factors_sparse: bool) -> float:
    if factors_sparse and (value := _smallest_by_inverse(matrix)) is not None:
        return value
    value = _lanczos(matrix, "SA", _RESTARTS[False])
    if value is None:
        value = _smallest_by_inverse(matrix)
    if value is None:
        raise ValueError("the matrix has eigenvalues of both signs next to 0; make negative weights smaller")
    return value


def _largest(matrix: sparse.csr_array, factors_sparse: bool) -> float:
    value = _lanczos(matrix, "LA", _RESTARTS[factors_sparse])
    return _largest_by_inverse(matrix) if value is None else value


def _gershgorin(matrix: sparse.csr_array) -> float:
    diagonal = matrix.diagonal()
    return float(np.max(diagonal + abs(matrix).sum(axis=1) - abs(diagonal)))


def _lanczos(
    matrix: sparse.csr_array, which: Literal["SA", "LA"], restarts: int, tolerance: float = _TOLERANCE
) -> float | None:
    """One extreme eigenvalue on the complement of the ones vector, or None where Lanczos stalls (tiny gaps)."""
    from scipy.sparse.linalg import ArpackNoConvergence

    n_nodes = matrix.shape[0]
    # Deflation: the ones vector is moved to the mean of the other eigenvalues, where it is never extreme.
    inside = matrix.trace() / (n_nodes - 1)
    try:
        return _extreme(lambda v: matrix @ v + inside * v.mean(), n_nodes, which, tolerance, restarts)
    except ArpackNoConvergence:
        return None


@one_thread_of_blas()
def _extreme(
    product: Callable[[np.ndarray], np.ndarray], n_nodes: int, which: str, tolerance: float, restarts: int | None = None
) -> float:
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((n_nodes, n_nodes), matvec=lambda v: product(v.ravel()), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n_nodes)  # fixed, so that the result is reproducible
    found = eigsh(operator, 1, which=which, v0=start, maxiter=restarts, tol=tolerance, return_eigenvectors=False)
    return float(found[0])


def _smallest_by_inverse(matrix: sparse.csr_array) -> float | None:
    """Lanczos on the pseudo-inverse: node 0 is grounded and the rest factorized; None if there is anything below 0."""
    factors = _factorize(matrix[1:, 1:])
    if factors is None:
        return None

    def pseudo_inverse(vector: np.ndarray) -> np.ndarray:
        solution = np.concatenate(([0.0], factors.solve(vector[1:] - vector.mean())))
        return solution - solution.mean()

    return 1.0 / _extreme(pseudo_inverse, matrix.shape[0], "LM", _TOLERANCE)


def _largest_by_inverse(matrix: sparse.csr_array) -> float:
    """Shift-invert from above the largest eigenvalue: positive definite, which the factorization tells.

    Where plain Lanczos stalls eigenvalues are dense at the end of the spectrum. So the shift comes closer, in steps,
    until the inverse sets the largest one apart.
    """
    from scipy.sparse.linalg import ArpackNoConvergence

    n_nodes, bound = matrix.shape[0], _gershgorin(matrix)
    estimate = _lanczos(matrix, "LA", _RESTARTS[False], 1e-3)
    if estimate is None:
        estimate = bound
    distance = 1e-3 * bound
    while True:
        shift = min(estimate + distance, bound * (1 + _TOLERANCE))
        factors = _factorize(shift * sparse.eye_array(n_nodes) - matrix)
        if factors is None:  # never at the bound, by Gershgorin
            distance *= 8
            continue
        distance = shift - estimate
        # A relative error of the inverse is one of the distance to the shift.
        tolerance = float(np.clip(0.01 * _TOLERANCE * bound / max(distance, _TOLERANCE * bound), _TOLERANCE, 1e-3))
        try:
            return shift - 1.0 / _extreme(factors.solve, n_nodes, "LM", tolerance, 2)
        except ArpackNoConvergence:
            estimate = shift - 1.0 / _extreme(factors.solve, n_nodes, "LM", 1e-2)
            if distance <= 100 * _TOLERANCE * bound:
                return estimate
            distance = 0.01 * (shift - estimate)


def _factorize(matrix: sparse.csr_array) -> Any:
    """Factors of a positive definite matrix; None if it is not."""
    from scipy.sparse.linalg import splu

    # Symmetric ordering without pivoting keeps the factors sparse, and their pivots have the signs of the eigenvalues.
    options = {"SymmetricMode": True}
    try:
        factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    except RuntimeError:  # exactly singular
        return None
    definite = np.array_equal(factors.perm_r, factors.perm_c) and np.all(factors.U.diagonal() > 0)
    return factors if definite else None


def factors_stay_sparse(matrix: sparse.csr_array) -> bool:
    """Whether eliminating nodes of least degree fills the graph of those that are left with few entries.

    In rounds: each takes the nodes whose degree is less than those of their neighbours (ties at random), which are
    independent, and joins all neighbours of each. Trees, chains and what hangs on them vanish, meshes thin out;
    graphs that mix fast fill up.
    """
    rng = np.random.default_rng(0)
    graph = _without_diagonal(matrix)
    if graph.nnz > _MEAN_DEGREE * graph.shape[0]:
        return False
    limit = _FILL * graph.nnz
    for _ in range(_ROUNDS):
        n_nodes, degrees = graph.shape[0], np.diff(graph.indptr).astype(np.int64)
        if n_nodes < 2:
            return True
        rank = degrees * n_nodes + rng.permutation(n_nodes)
        out = rank < np.minimum.reduceat(rank[graph.indices], graph.indptr[:-1])
        if int((degrees[out] ** 2).sum()) > 2 * limit:
            return False
        rest = graph[~out]
        border = rest[:, out]
        graph = _without_diagonal(rest[:, ~out] + border @ border.T)
        if graph.nnz > limit:
            return False
    return True


def _without_diagonal(matrix: sparse.csr_array) -> sparse.csr_array:
    """The graph of a matrix: ones off the diagonal."""
    entries = matrix.tocoo()
    edges = entries.row != entries.col
    ones = np.ones(np.count_nonzero(edges), np.float32)
    return sparse.csr_array((ones, (entries.row[edges], entries.col[edges])), entries.shape)
