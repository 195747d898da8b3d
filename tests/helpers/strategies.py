"""Random problems, networks and hyperparameters, and each problem's gradient again as plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import simlab
from tests.helpers.algorithms import affine, distinct

KINDS = ("quadratic", "diagonal", "least_squares", "wide_least_squares", "logistic", "nonconvex")
SAMPLED_KINDS = ("least_squares", "wide_least_squares", "logistic", "nonconvex")


class Objective(NamedTuple):
    """A problem, and the gradient of one node written out: (i, x, samples or None) -> (d,)."""

    problem: Any
    gradient: Callable[[int, np.ndarray, np.ndarray | None], np.ndarray]


def objective(kind: str, n_nodes: int, dim: int, n_samples: int, random: np.random.Generator) -> Objective:
    """A random problem of one kind; its Hessians are of norm about 1."""
    if kind in ("quadratic", "diagonal"):
        return _quadratic(kind, n_nodes, dim, random)
    if kind == "wide_least_squares":
        dim = 2 * n_samples + dim  # beyond d = 2m full gradients pass over the samples
    features = random.standard_normal((n_nodes, n_samples, dim)) / np.sqrt(dim)
    targets = random.standard_normal((n_nodes, n_samples))
    regularization = random.uniform(0.0, 0.5)
    if kind in ("least_squares", "wide_least_squares"):
        problem: Any = simlab.LeastSquares(features, targets, l2=regularization)
    else:
        targets = np.where(targets > 0, 1.0, -1.0)
        kind_class = simlab.LogisticRegression if kind == "logistic" else simlab.NonconvexLogistic
        problem = kind_class(features, targets, regularization)

    def slope(prediction: float, target: float) -> float:
        return prediction - target if "squares" in kind else -target / (1 + np.exp(target * prediction))

    def gradient(i: int, x: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
        samples = np.arange(n_samples) if samples is None else samples
        total = np.zeros(dim)
        for s in samples:
            total += slope(float(np.dot(features[i, s], x)), targets[i, s]) * features[i, s]
        regular = 2 * x / (1 + x**2) ** 2 if kind == "nonconvex" else x
        return total / len(samples) + regularization * regular

    return Objective(problem, gradient)


def _quadratic(kind: str, n_nodes: int, dim: int, random: np.random.Generator) -> Objective:
    linear = random.standard_normal((n_nodes, dim))
    if kind == "diagonal":
        diagonals = random.uniform(0.1, 1.5, (n_nodes, dim))
        return Objective(simlab.Quadratic(diagonals, linear), lambda i, x, samples: diagonals[i] * x - linear[i])
    factors = random.standard_normal((n_nodes, dim, dim))
    hessians = factors @ factors.swapaxes(1, 2) / (2 * dim) + 0.1 * np.eye(dim)
    return Objective(simlab.Quadratic(hessians, linear), lambda i, x, samples: hessians[i] @ x - linear[i])


def network(n_nodes: int, rule: str, lazy: bool, random: np.random.Generator) -> Any:
    """A random connected graph (a random tree and some more edges) under a weight rule."""
    adjacency = np.zeros((n_nodes, n_nodes))
    for i in range(1, n_nodes):
        adjacency[i, random.integers(i)] = 1
    adjacency += random.random((n_nodes, n_nodes)) < random.uniform(0, 0.6)
    adjacency += adjacency.T
    np.fill_diagonal(adjacency, 0)
    return simlab.Network.from_adjacency(adjacency, rule, lazy)


class Setting(NamedTuple):
    """What one random simulation needs."""

    objective: Objective
    network: Any
    x0: np.ndarray
    lr: float
    momentum: float
    seed: int
    batch_size: int
    noise_std: float


@st.composite
def settings(draw: st.DrawFn, kind: str, max_nodes: int = 7) -> Setting:
    """A random problem of `kind`, network, start and hyperparameters; D2 is stable on the network."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="data seed"))
    n_nodes = draw(st.integers(2, max_nodes), label="n")
    dim = draw(st.integers(1, 5), label="d")
    n_samples = draw(st.integers(1, 6), label="m")
    built = objective(kind, n_nodes, dim, n_samples, random)
    rule = draw(st.sampled_from(["metropolis", "max_degree", "laplacian"]), label="weights")
    return Setting(
        built,
        network(n_nodes, rule, True, random)
        if draw(st.booleans(), label="lazy")
        else _d2_network(n_nodes, rule, random),
        random.standard_normal((n_nodes, built.problem.dim)),
        draw(st.floats(0.02, 0.4), label="lr"),
        draw(st.sampled_from([0.0, 0.3, 0.5, 0.9]), label="momentum"),
        draw(st.integers(0, 2**63), label="seed"),
        draw(st.integers(1, n_samples), label="batch_size"),
        draw(st.sampled_from([0.1, 1.0]), label="noise_std"),
    )


def _d2_network(n_nodes: int, rule: str, random: np.random.Generator) -> Any:
    built = network(n_nodes, rule, False, random)
    if built.smallest_eigenvalue > -0.3:
        return built
    return simlab.Network.from_matrix((np.asarray(built.weights) * 2 + np.eye(n_nodes)) / 3)  # eigenvalues above -1/3


NAMES = tuple(affine(0.1, 0.5))
DISTINCT = tuple(distinct(0.1, 0.5))


def algorithm(name: str, lr: Any, momentum: Any) -> Any:
    """The algorithm of one of NAMES: those whose step is affine where gradients are."""
    return affine(lr, momentum)[name]
