"""Suprema over all x that theorems assume: exact where a formula is known, otherwise estimates, and called so."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simlab.problems.base import Problem
from theory.caching import remembered

PER_DECADE = 8
RADII = np.logspace(-2, 5, 7 * PER_DECADE + 1)
DIRECTIONS = 16
LARGEST_ARRAY = 2**24  # numbers held at once while the gradients of single samples are looked at


class Supremum(NamedTuple):
    """A supremum and how it was found: "exact", or an "estimate" from below."""

    value: float
    how: str


@remembered
def gradient_dissimilarity(problem: Problem) -> Supremum:
    """ς² = sup_x (1/n)Σ‖∇f_i(x) − ∇f(x)‖².

    Exact for quadratics: finite only where all Hessians are equal. Otherwise an estimate, see `largest_value`.
    """

    def at(points: np.ndarray) -> np.ndarray:
        gradients = problem.gradient(np.repeat(points[:, None, :], problem.n_nodes, axis=1))
        return np.mean(np.sum((gradients - gradients.mean(axis=1, keepdims=True)) ** 2, axis=-1), axis=-1)

    if problem.is_quadratic:
        origin = np.zeros((1, problem.dim))
        hessians = problem.hessian(origin[0])
        equal = np.max(np.abs(hessians - hessians.mean(axis=0))) <= 1e-12 * max(problem.smoothness, 1e-300)
        return Supremum(float(at(origin)[0]) if equal else np.inf, "exact")
    return largest_value(problem, at)


@remembered
def gradient_variance(problem: Problem, batch_size: int | None, noise_std: float) -> Supremum:
    """σ² = sup_x (1/n)ΣE‖stochastic gradient of f_i at x − ∇f_i(x)‖², mini-batch and additive noise together.

    Exact for additive noise alone; an estimate with mini-batches, see `largest_value`.
    """
    additive = problem.dim * noise_std**2
    if batch_size is None:
        return Supremum(additive, "exact")
    n, d, counts = problem.n_nodes, problem.dim, problem.counts

    def at(points: np.ndarray) -> np.ndarray:
        values = []
        for point in points:
            x, total = np.broadcast_to(point, (n, d)), np.zeros(n)
            mean = problem.gradient(x)
            for gradients, real in problem.sample_gradients(x):
                total += np.sum(np.sum((gradients - mean) ** 2, axis=-1) * real, axis=0)
            values.append(np.mean(total / counts))
        return np.array(values)

    directions = max(1, min(DIRECTIONS // 4, LARGEST_ARRAY // int(counts.max() * n * d)))
    sampled = largest_value(problem, at, directions)
    return Supremum(sampled.value / batch_size + additive, sampled.how)


@remembered
def gradient_second_moment(problem: Problem, batch_size: int | None, noise_std: float) -> Supremum:
    """G² = sup_x (1/n)ΣE‖stochastic gradient of f_i at x‖².

    At most the supremum of (1/n)Σ‖∇f_i‖², an estimate (see `largest_value`), plus that of the variance. It is infinite
    for whatever is strongly convex.
    """
    variance = gradient_variance(problem, batch_size, noise_std)

    def at(points: np.ndarray) -> np.ndarray:
        gradients = problem.gradient(np.repeat(points[:, None, :], problem.n_nodes, axis=1))
        return np.mean(np.sum(gradients**2, axis=-1), axis=-1)

    squares = largest_value(problem, at)
    return Supremum(squares.value + variance.value, squares.how)


def largest_value(
    problem: Problem, function: Callable[[np.ndarray], np.ndarray], directions: int = DIRECTIONS
) -> Supremum:
    """Largest value of a function of one point x, by evaluation: an estimate of its supremum from below.

    The points lie in random directions from the origin, at distances from 0.01 to 100,000. Where the value still more
    than doubles over the last factor of ten, it is taken to be unbounded.

    Parameters
    ----------
    problem : Problem
        Gives the dimension.
    function : callable
        (k, d) -> (k,).
    directions : int
        Points at each distance.
    """
    random = np.random.default_rng(0)
    units = random.standard_normal((directions, problem.dim))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    largest = [float(np.max(function(radius * units))) for radius in RADII]
    if largest[-1] > 2 * largest[-1 - PER_DECADE]:
        return Supremum(np.inf, "estimate: it grows without bound")
    return Supremum(max(float(function(np.zeros((1, problem.dim)))[0]), *largest), "estimate")
