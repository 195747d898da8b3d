"""Adversaries of the bounds of DGD."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.adversary import (
    Take,
    assert_tight,
    assert_unbroken,
    effort,
    mixing,
    modes_of,
    pairs,
    rho_of,
    sigmoid,
)
from theory.theorems import dgd


def dgd_ratio(cases, n, kind, what, steps=60):
    """One dimension: convex quadratics h(x − s)²/2, or nonconvex a(1 − cos(ω(x − s)))."""
    take = Take(cases)
    w = mixing(take(pairs(n)), take(1)[:, 0], n)
    size, frequency, shift = np.exp(1.5 * take(n)), np.exp(take(n)), 2 * take(n)
    if kind == "quadratic":
        smoothness = np.max(size, axis=1)
    else:
        smoothness = np.max(size * frequency**2, axis=1)

    def values(x):
        return (
            size * (x - shift) ** 2 / 2 if kind == "quadratic" else 2 * size * np.sin(frequency * (x - shift) / 2) ** 2
        )

    def slopes(x):
        return size * (x - shift) if kind == "quadratic" else size * frequency * np.sin(frequency * (x - shift))

    least = modes_of(w)[0].min(axis=1)
    lr = sigmoid(2 * take(1)[:, 0] + 2) * (1 + least) / smoothness
    x = np.repeat(2 * take(1), n, axis=1)
    gap = np.sum(values(x), axis=1)
    gradients, consensus = np.zeros(len(x)), np.zeros(len(x))
    for _ in range(steps):
        gradients = np.maximum(gradients, np.sum(slopes(x) ** 2, axis=1))
        x = (w @ x[..., None])[..., 0] - lr[:, None] * slopes(x)
        consensus = np.maximum(consensus, np.var(x, axis=1))
    if what == "gradients":
        return gradients / dgd.gradient_bound(smoothness, gap)
    return consensus / dgd.consensus_bound(smoothness, gap, lr, n, rho_of(w))


def dgd_size(n):
    return pairs(n) + 3 * n + 3


@effort
@pytest.mark.parametrize("kind", ["quadratic", "nonconvex"])
@pytest.mark.parametrize("n", [2, 4])
def test_dgd(n, kind, tries):
    for what in ("gradients", "consensus"):
        assert_unbroken(lambda cases, what=what: dgd_ratio(cases, n, kind, what), dgd_size(n), tries)


def test_dgd_gradients_too_small_are_caught():
    assert_tight(lambda cases: dgd_ratio(cases, 2, "quadratic", "gradients"), dgd_size(2))
