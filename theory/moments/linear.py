"""Linear algebra of z⁺ = Tz + Nξ: conserved quantities set apart, spectral radius, stationary covariances.

Matrices may have leading axes (many small modes at once).
"""

from __future__ import annotations

import numpy as np

LEFT_OUT = 1e-9  # the norm at which the powers of T end
CONSERVED = 1e-9  # relative: what rounding may leave of a conserved quantity's change


def deflate(transition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Set apart the conserved quantities: the left eigenvectors ℓ'T = ℓ' (and their Jordan chains).

    Whatever the start, z_k − z_0 stays in the T-invariant subspace E = {z: L'z = 0} if the first step does. With
    T_E = T(I − LL'), T_E = T on E, and the eigenvalues that L held become 0: so I − T_E is regular, and the spectral
    radius and the covariance equations of T_E are those of T on E.

    Parameters
    ----------
    transition : ndarray, shape (..., s, s)

    Returns
    -------
    deflated : ndarray, shape (..., s, s)
        T_E.
    conserved : ndarray, shape (..., s, r)
        Columns span L (orthonormal for each link of the chains; zero columns pad).
    """
    size = transition.shape[-1]
    find = _left_null if transition.ndim == 2 else _left_null_of_many
    conserved = np.zeros((*transition.shape[:-1], 0))
    for _ in range(min(size, 6)):
        null = find(np.eye(size) - transition)
        if null.shape[-1] == 0:
            break
        transition = transition - (transition @ null) @ null.swapaxes(-1, -2)
        conserved = np.concatenate([conserved, null], axis=-1)
    return transition, conserved


def without_conserved(base: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """As `deflate` for all T = A + γB at once: A and B without what every one of them conserves, and how much that is.

    Parameters
    ----------
    base, slope : ndarrays, shape (..., s, s)
        A and B, of like size.
    """
    size, count = base.shape[-1], 0
    for _ in range(min(size, 6)):
        # ℓ'(A − I) = 0 and ℓ'B = 0.
        both = np.concatenate([base - np.eye(size), slope], axis=-1)
        u, s, _ = np.linalg.svd(both, full_matrices=False)
        null = u * (s <= 8 * size * np.finfo(float).eps * np.maximum(s[..., :1], 1.0))[..., None, :]
        if not np.any(null):
            break
        projector = null @ null.swapaxes(-1, -2)
        base, slope, count = base - base @ projector, slope - slope @ projector, count + int(null.any(-2).sum())
    return base, slope, count


def _left_null(matrix: np.ndarray) -> np.ndarray:
    """Orthonormal basis of {ℓ: ℓ'A = 0}, by a rank-revealing QR: (s, s) -> (s, r)."""
    from scipy.linalg import lapack, qr

    size = len(matrix)
    (factors, tau), r, _ = qr(matrix, mode="raw", pivoting=True)
    pivots = np.abs(np.diag(r))
    rank = int(np.sum(pivots > size * np.finfo(float).eps * pivots[0]))
    if rank == size:
        return np.zeros((size, 0))
    last = np.eye(size, size - rank, -rank, order="F")
    return lapack.dormqr("L", "N", factors, tau, last, max(1, 64 * (size - rank)))[0]


def _left_null_of_many(matrices: np.ndarray) -> np.ndarray:
    """As `_left_null` for small matrices (..., s, s) -> (..., s, r); zero columns where the null space is smaller."""
    size = matrices.shape[-1]
    flat = matrices.reshape(-1, size, size)
    suspects = np.flatnonzero(np.abs(np.linalg.det(flat)) < 1e-9)
    result = np.zeros_like(flat)
    if suspects.size:
        u, s, _ = np.linalg.svd(flat[suspects])
        result[suspects] = u * (s <= 8 * size * np.finfo(float).eps * np.maximum(s[:, :1], 1.0))[:, None, :]
    used = np.any(result, axis=(0, 1))
    return result[:, :, used].reshape(*matrices.shape[:-1], -1)


def spectral_radius(matrix: np.ndarray) -> float:
    """Largest modulus of an eigenvalue of any of the matrices (..., s, s); inf if one is not finite."""
    if not np.all(np.isfinite(matrix)):
        return np.inf
    return float(np.max(np.abs(np.linalg.eigvals(matrix)), initial=0.0))


def changes(conserved: np.ndarray, drift: np.ndarray, scale: float) -> bool:
    """Whether `drift` (..., s) or (s, r) moves the quantities L, by more than rounding of numbers of size `scale`."""
    if conserved.shape[-1] == 0:
        return False
    return bool(np.max(np.abs(conserved.swapaxes(-1, -2) @ drift), initial=0.0) > CONSERVED * scale)


class Stein:
    """Solves S = TSTʹ + Q for one stable T, by doubling: S = Σ_j T^j Q T^jʹ, the powers kept.

    Parameters
    ----------
    transition : ndarray, shape (s, s)
        Spectral radius below 1.
    """

    def __init__(self, transition: np.ndarray) -> None:
        self.powers = [transition]
        # ||T^k||² is what the sum to infinity still lacks after k terms, relatively.
        while np.linalg.norm(self.powers[-1]) > LEFT_OUT and len(self.powers) < 50:
            self.powers.append(self.powers[-1] @ self.powers[-1])

    def solve(self, forcing: np.ndarray) -> np.ndarray:
        """S, shape (s, s), for a symmetric Q."""
        s = forcing
        for power in self.powers:
            s = s + power @ s @ power.T
        return (s + s.T) / 2


def stein_of_many(transitions: np.ndarray, forcings: np.ndarray) -> np.ndarray:
    """S = TSTʹ + Q for many small stable T at once: (..., k, k), (..., k, k) -> (..., k, k)."""
    *lead, k, _ = transitions.shape
    kron = np.einsum("...ac,...bd->...abcd", transitions, transitions).reshape(*lead, k * k, k * k)
    solution = np.linalg.solve(np.eye(k * k) - kron, forcings.reshape(*lead, k * k, 1))
    return solution.reshape(*lead, k, k)
