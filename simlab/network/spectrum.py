"""Spectra of graph operators whose known eigenvector is the all-ones vector."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy import sparse

FULL_SPECTRUM_NODES = 2000  # up to here all eigenvalues are computed (about a second); above, the extreme ones

# Lanczos restarts before a factorization is tried: enough for graphs that mix fast, whose factors would fill in.
_RESTARTS = 100
_TOLERANCE = 1e-10


def kernel_spectrum(matrix: sparse.csr_array) -> np.ndarray:
    """Ascending eigenvalues of a symmetric `matrix` with ``matrix @ ones == 0``, such as L or I - W.

    Up to ``FULL_SPECTRUM_NODES`` rows these are all eigenvalues; above, they are 0 (of the all-ones vector) followed
    by the smallest and the largest eigenvalue on its orthogonal complement, and `matrix` is never densified.
    """
    n_nodes = matrix.shape[0]
    if n_nodes <= FULL_SPECTRUM_NODES:
        return np.linalg.eigvalsh(matrix.toarray())
    return np.array([0.0, _smallest(matrix), _largest(matrix)])


def _smallest(matrix: sparse.csr_array) -> float:
    value = _lanczos(matrix, "SA")
    return _smallest_by_inverse(matrix) if value is None else value


def _largest(matrix: sparse.csr_array) -> float:
    value = _lanczos(matrix, "LA")
    return _largest_by_inverse(matrix) if value is None else value


def _lanczos(matrix: sparse.csr_array, which: Literal["SA", "LA"]) -> float | None:
    """One extreme eigenvalue on the complement of the ones vector, or None where Lanczos stalls (tiny gaps)."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n_nodes = matrix.shape[0]
    # Deflation: the ones vector is moved to the mean of the other eigenvalues, where it is never extreme.
    inside = matrix.trace() / (n_nodes - 1)
    operator = LinearOperator((n_nodes, n_nodes), matvec=lambda v: matrix @ v + inside * v.mean(), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n_nodes)  # fixed, so that the result is reproducible
    try:
        found = eigsh(
            operator, k=1, which=which, v0=start, maxiter=_RESTARTS, tol=_TOLERANCE, return_eigenvectors=False
        )
    except ArpackNoConvergence:
        return None
    return float(found[0])


def _smallest_by_inverse(matrix: sparse.csr_array) -> float:
    """Lanczos on the pseudo-inverse: node 0 is grounded and the rest factorized.

    The graphs that mix too slowly for plain Lanczos are those whose factors stay sparse: rings, grids, meshes.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    n_nodes = matrix.shape[0]
    factors = _factorize(matrix[1:, 1:])

    def pseudo_inverse(vector: np.ndarray) -> np.ndarray:
        vector = vector.ravel()
        solution = np.concatenate(([0.0], factors.solve(vector[1:] - vector.mean())))
        return solution - solution.mean()

    operator = LinearOperator((n_nodes, n_nodes), matvec=pseudo_inverse, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n_nodes)
    return 1.0 / float(eigsh(operator, k=1, which="LM", v0=start, return_eigenvectors=False)[0])


def _largest_by_inverse(matrix: sparse.csr_array) -> float:
    """Shift-invert just above Gershgorin's bound, which is nearly attained where Lanczos stalls."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    n_nodes = matrix.shape[0]
    diagonal = matrix.diagonal()
    bound = float(np.max(diagonal + abs(matrix).sum(axis=1) - abs(diagonal)))
    shift = bound * (1.0 + 1e-10)
    factors = _factorize(shift * sparse.eye_array(n_nodes) - matrix)
    operator = LinearOperator((n_nodes, n_nodes), matvec=lambda v: factors.solve(v.ravel()), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n_nodes)
    return shift - 1.0 / float(eigsh(operator, k=1, which="LM", v0=start, return_eigenvectors=False)[0])


def _factorize(matrix: sparse.csr_array) -> Any:
    from scipy.sparse.linalg import splu

    # Positive definite: symmetric ordering without pivoting keeps the factors sparse.
    return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
