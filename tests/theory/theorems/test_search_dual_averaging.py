"""Adversaries of the bounds of distributed dual averaging."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_unbroken, effort, mixing, pairs, rho_of
from theory.theorems import dual_averaging


def dual_averaging_ratio(cases, n, sharper, steps=120):
    """f_i = |a_i x − b_i| on the line, ψ = x²/2: plain runs, the worst node at every horizon T."""
    take = Take(cases)
    w = mixing(take(pairs(n)), take(1)[:, 0], n) if n > 1 else np.ones((len(cases), 1, 1))
    sigma = rho_of(w) if n > 1 else np.zeros(len(cases))
    a, b = np.exp(take(n)), 3 * take(n)
    breaks = b / a

    def objective(x):
        return np.mean(np.abs(a[:, None, :] * x[..., None] - b[:, None, :]), axis=-1)

    values = objective(breaks)
    best, least = breaks[np.arange(len(a)), np.argmin(values, axis=1)], values.min(axis=1)
    lipschitz = np.max(a, axis=1)
    radius = np.abs(best) / np.sqrt(2) * np.exp(np.abs(take(1)[:, 0] - 1)) + 1e-3
    z, x, total = np.zeros_like(a), np.zeros_like(a), np.zeros_like(a)
    formula = dual_averaging.sharper_bound if sharper else dual_averaging.bound
    worst = np.full(len(a), -np.inf)
    for t in range(1, steps + 1):
        total = total + x
        if sharper or np.log(t * np.sqrt(n)) >= dual_averaging.LEAST_LOG:
            error = np.max(objective(total / t), axis=1) - least
            worst = np.maximum(worst, error / formula(t, n, sigma, radius, lipschitz))
        z = (w @ z[..., None])[..., 0] + a * np.sign(a * x - b)
        x = -z * dual_averaging.step_sizes(t, radius, lipschitz, sigma)[:, None]
    return np.where(sigma < 0.9999, worst, np.nan)


@effort
@pytest.mark.parametrize("sharper", [False, True], ids=["cited", "sharper"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_dual_averaging(n, sharper, tries):
    assert_unbroken(lambda cases: dual_averaging_ratio(cases, n, sharper), pairs(n) + 2 * n + 2, tries)


def test_dual_averaging_needs_enough_steps():
    """At n = T = 1 the cited bound is zero, and the first iterate is not yet at the minimum."""
    assert dual_averaging.bound(1, 1, 0.0, 1.0, 1.0) == 0
    assert dual_averaging.sharper_bound(1, 1, 0.0, 1.0, 1.0) > 1
    checks = dual_averaging.assumptions(1, 1, 0.0, 1.0, 1.0, 0.5, 1.0)
    assert [check.name for check in checks if not check.holds] == ["enough steps"]
