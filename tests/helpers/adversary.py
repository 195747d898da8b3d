"""Each bound against an adversary: an evolution strategy looks for cases that keep the assumptions and break the bound.

A case is a vector of numbers, turned into problems, networks and parameters that satisfy every assumption; what the
theorem bounds is computed exactly (linear solves, recursions of moments, plain NumPy runs), many cases at a time. The
formulas under test are those of `theory.theorems`; everything else is written out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

ROUNDING = 1e-7
effort = pytest.mark.parametrize("tries", [1_500, pytest.param(60_000, marks=pytest.mark.slow)], ids=["quick", "full"])


class Outcome(NamedTuple):
    ratio: float
    tries: int


def search(ratio: Callable[[np.ndarray], np.ndarray], size: int, tries: int, seed: int = 0) -> Outcome:
    """Largest measured/bound found: fresh cases, and mutations of the worst ones so far; NaN marks an unusable case."""
    random = np.random.default_rng(seed)
    population = 250
    worst_cases, worst = np.zeros((0, size)), np.zeros(0)
    done = 0
    for _ in range(4 * tries // population):
        cases = 1.5 * random.standard_normal((population, size))
        if len(worst):
            parents = worst_cases[random.integers(len(worst), size=population // 2)]
            scales = 10.0 ** random.uniform(-2, 0.3, (population // 2, 1))
            mask = random.random((population // 2, size)) < random.uniform(0.1, 1, (population // 2, 1))
            cases[: population // 2] = parents + scales * mask * random.standard_normal(parents.shape)
        with np.errstate(all="ignore"):
            found = ratio(np.clip(cases, -5, 5))  # farther out there is only rounding
        usable = np.isfinite(found)
        done += int(usable.sum())
        worst_cases = np.concatenate([worst_cases, cases[usable]])
        worst = np.concatenate([worst, found[usable]])
        keep = np.argsort(-worst)[:25]
        worst_cases, worst = worst_cases[keep], worst[keep]
        if done >= tries:
            return Outcome(float(worst[0]), done)
    raise AssertionError(f"only {done} of {tries} cases were usable")


def assert_unbroken(ratio: Callable[[np.ndarray], np.ndarray], size: int, tries: int) -> Outcome:
    outcome = search(ratio, size, tries)
    print(f"tightest {outcome.ratio:.6f} in {outcome.tries} cases")
    assert outcome.ratio <= 1 + ROUNDING, f"broken: measured is {outcome.ratio} times the bound"
    return outcome


def assert_tight(ratio: Callable[[np.ndarray], np.ndarray], size: int) -> None:
    """The search catches a bound that is made 10 % too small."""
    with pytest.raises(AssertionError, match="broken"):
        assert_unbroken(lambda cases: ratio(cases) / 0.9, size, 1_500)


# Ingredients of cases


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mixing(weights, reach, n, lazy=False):
    """Symmetric doubly stochastic matrices (k, n, n) from edge weights (k, pairs) and how far from the identity."""
    w = np.zeros((len(weights), n, n))
    rows, columns = np.triu_indices(n, 1)
    w[:, rows, columns] = np.exp(1.5 * weights)
    w += w.swapaxes(1, 2)
    degrees = w.sum(axis=2)
    laplacian = degrees[:, :, None] * np.eye(n) - w
    scale = sigmoid(reach + 1) / degrees.max(axis=1) * (0.5 if lazy else 1.0)
    return np.eye(n) - scale[:, None, None] * laplacian


def modes_of(w):
    """Eigenvalues without the 1, (k, n − 1), and eigenvectors, (k, n, n − 1)."""
    values, vectors = np.linalg.eigh(w + 2 / w.shape[-1])
    return values[:, :-1], vectors[:, :, :-1]


def rho_of(w):
    return np.max(np.abs(modes_of(w)[0]), axis=1)


class Take:
    """Reads the columns of cases from left to right."""

    def __init__(self, cases):
        self.cases, self.at = cases, 0

    def __call__(self, *shape):
        size = int(np.prod(shape))
        part = self.cases[:, self.at : self.at + size]
        self.at += size
        return part.reshape(len(part), *shape)


def pairs(n):
    return n * (n - 1) // 2
