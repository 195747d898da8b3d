"""The functions that attain the worst case: smooth and (strongly) convex through given points, or quadratics."""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab

SUPPORT = 1e-5  # of weights: less is none
RANK = 1e-12  # relative: eigenvalues of a Gram matrix that are kept


def factor(gram: np.ndarray) -> np.ndarray:
    """Vectors, rows (P, d), with these inner products."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    kept = values > RANK * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept]) if kept.any() else np.zeros((len(gram), 1))


class Interpolated(simlab.Problem):
    """The largest L-smooth functions, each less μ‖x‖²/2 convex, with given gradients and values at given points.

    f(x) = μ‖x‖²/2 + min over the simplex of λ of ((L − μ)/2)‖x − Σ_a λ_a w_a‖² + Σ_a λ_a c_a: the convex hull of
    parabolas that touch the data. Its gradients are small quadratic programs.

    Parameters
    ----------
    points, gradients : ndarrays, shape (n, A, d)
    values : ndarray, shape (n, A)
    smoothness, strong_convexity : float
        L > 0, and μ < L, which may be negative.

    References
    ----------
    A. B. Taylor, J. M. Hendrickx, F. Glineur, Smooth strongly convex interpolation and exact worst-case performance of
    first-order methods, Mathematical Programming 161, 2017.
    """

    points: np.ndarray
    gradients: np.ndarray
    values: np.ndarray

    def __init__(
        self, points: np.ndarray, gradients: np.ndarray, values: np.ndarray, smoothness: float, strong_convexity: float
    ) -> None:
        n, _, dim = points.shape
        super().__init__(
            n_nodes=n, dim=dim, points=points, gradients=gradients, values=values, smoothness=smoothness,
            strong_convexity=strong_convexity, is_convex=strong_convexity >= 0, minimizer=np.zeros(dim),
        )  # fmt: skip

    def _hulls(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (n, R) and gradients (n, R, d)."""
        import clarabel
        from scipy import sparse

        mu, curve = self.strong_convexity, self.smoothness - self.strong_convexity
        slopes = self.gradients - mu * self.points
        heights = self.values - mu / 2 * np.sum(self.points**2, axis=-1)
        centers = self.points - slopes / curve  # (n, A, d)
        offsets = heights - np.sum(slopes**2, axis=-1) / (2 * curve)
        losses, gradients = np.empty(x.shape[:2]), np.empty(x.shape)
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-14
        count = self.points.shape[1]
        rows = sparse.csc_matrix(np.vstack([np.ones(count), -np.eye(count)]))
        cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(count)]
        right = np.concatenate([[1.0], np.zeros(count)])
        for i in range(self.n_nodes):
            points, place = np.unique(x[i], axis=0, return_inverse=True)  # the measures of a run ask for some often
            steps, heights = np.empty(points.shape), np.empty(len(points))
            for k, point in enumerate(points):
                away = point - centers[i]  # (A, d)
                size = max(float(np.max(np.sum(away**2, axis=-1))), 1e-300)
                products = sparse.triu(sparse.csc_matrix(away @ away.T / size)).tocsc()
                linear = offsets[i] / (curve * size)
                solver = clarabel.DefaultSolver(products, linear, rows, right, cones, settings)
                weights = _polished(away, offsets[i] / curve, np.asarray(solver.solve().x))
                steps[k], heights[k] = weights @ away, weights @ offsets[i]
            losses[i] = (curve / 2 * np.sum(steps**2, axis=-1) + heights)[place] + mu / 2 * np.sum(x[i] ** 2, axis=-1)
            gradients[i] = curve * steps[place] + mu * x[i]
        return losses, gradients

    def local_losses(self, xp: Any, x: Any) -> Any:
        return self._hulls(x)[0]

    def local_gradients(self, xp: Any, x: Any) -> Any:
        return self._hulls(x)[1]


def _polished(away: np.ndarray, offsets: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Weights on the simplex that minimize ‖Σ_a λ_a away_a‖²/2 + λ·offsets, from those of an interior point method."""
    rough = np.clip(found, 0.0, None) / np.sum(np.clip(found, 0.0, None))
    support = np.flatnonzero(rough > SUPPORT)
    exact = np.zeros_like(rough)
    while True:
        some, count = away[support], len(support)
        system = np.block([[some @ some.T, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
        solved = np.linalg.lstsq(system, np.append(-offsets[support], 1.0), rcond=None)[0][:-1]
        if solved.min() >= 0:
            exact[support] = solved
            break
        support = np.delete(support, np.argmin(solved))
    height = lambda weights: np.sum((weights @ away) ** 2) / 2 + weights @ offsets  # noqa: E731
    return exact if height(exact) <= height(rough) else rough


def quadratics(points: np.ndarray, slopes: np.ndarray, stars: np.ndarray, ratio: float) -> simlab.Quadratic:
    """Quadratics with H_i x = y at the points less x*, spectra in [ratio, 1], and gradients `stars` at x* = 0.

    Parameters
    ----------
    points, slopes : ndarrays, shape (n, T, d)
    stars : ndarray, shape (n, d)
    """
    hessians = [symmetric_operator(x, y, ratio, 1.0) for x, y in zip(points, slopes, strict=True)]
    return simlab.Quadratic(np.array(hessians), -stars)


def symmetric_operator(points: np.ndarray, images: np.ndarray, low: float, high: float) -> np.ndarray:
    """A symmetric H with H x = y for rows x of points and y of images (T, d), and its spectrum in [low, high].

    Notes
    -----
    S = (2H − low − high)/(high − low) is to be a symmetric contraction that is known on the span of the points; M. G.
    Krein's extension gives all of them, of which this is the one in the middle.
    """
    x, d = points, points.shape[1]
    image = (2 * images - (low + high) * x) / (high - low)
    left, sizes, right = np.linalg.svd(x, full_matrices=True)
    rank = int(np.sum(sizes > 1e-7 * np.max(sizes, initial=1e-300)))
    inside, outside = right[:rank].T, right[rank:].T
    known = image.T @ (left[:, :rank] / sizes[:rank])  # S on the span, (d, rank)
    m, below = inside.T @ known, outside.T @ known
    weights = sizes[:rank] ** 2  # least squares: what is seen on a short side, in rounding maybe, counts for little
    m = (m * weights + m.T * weights[:, None]) / (weights + weights[:, None])
    eigenvalues, vectors = np.linalg.eigh(m)
    eigenvalues, turned = np.clip(eigenvalues, -1, 1), below @ vectors
    left_over = np.sqrt(1 - eigenvalues**2)  # of a contraction's columns, which rounding exceeds
    turned *= np.minimum(1, left_over / np.maximum(np.linalg.norm(turned, axis=0), 1e-300))
    m, below = (vectors * eigenvalues) @ vectors.T, turned @ vectors.T
    part = lambda sign: (turned / np.maximum(1 + sign * eigenvalues, 1e-9)) @ turned.T  # noqa: E731
    rest = (part(1) - part(-1)) / 2
    s = inside @ m @ inside.T + outside @ below @ inside.T + inside @ below.T @ outside.T + outside @ rest @ outside.T
    values, axes = np.linalg.eigh((s + s.T) / 2)
    s = (axes * np.clip(values, -1, 1)) @ axes.T
    return np.asarray(((high - low) * s + (low + high) * np.eye(d)) / 2)
