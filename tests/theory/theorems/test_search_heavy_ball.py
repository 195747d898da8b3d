"""Adversaries of the bounds of heavy ball."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, sigmoid
from theory.theorems import heavy_ball


def heavy_ball_ratio(cases, d=3, steps=50):
    take = Take(cases)
    root = sigmoid(take(1)[:, 0])  # √β
    kappa = 1 + (((1 + root) / (1 - root)) ** 2 - 1) * sigmoid(take(1)[:, 0])  # at most what √β allows
    smoothness = np.exp(take(1)[:, 0])
    mu = smoothness / kappa
    low, high = (1 - root) ** 2 / mu, (1 + root) ** 2 / smoothness
    lr = low + (high - low) * sigmoid(3 * take(1)[:, 0])
    h = mu[:, None] + (smoothness - mu)[:, None] * sigmoid(4 * take(d))
    h[:, 0], h[:, 1] = mu, smoothness
    x = take(d)
    start = np.sum(x**2, axis=1)
    previous, worst = x, np.zeros(len(x))
    for k in range(1, steps + 1):
        x, previous = x - lr[:, None] * h * x + root[:, None] ** 2 * (x - previous), x
        worst = np.maximum(worst, np.sum(x**2, axis=1) / (start * heavy_ball.envelope(k, root**2) ** 2))
    return np.where((root > 0.05) & (root < 0.99), worst, np.nan)


@effort
def test_heavy_ball_envelope(tries):
    assert_unbroken(heavy_ball_ratio, 10, tries)


def test_heavy_ball_envelope_too_small_is_caught():
    assert_tight(heavy_ball_ratio, 10)


def best_rate_ratio(cases):
    """The best rate over the spectral radius of any (γ, β) on the two extreme eigenvalues."""
    take = Take(cases)
    kappa = 1 + np.exp(2 * take(1)[:, 0])
    lr, momentum = 4 * sigmoid(take(1)[:, 0]), sigmoid(take(1)[:, 0] + 1)  # L = 1
    radius = np.zeros(len(kappa))
    for h in (1 / kappa, np.ones(len(kappa))):
        step = np.zeros((len(kappa), 2, 2))
        step[:, 0, 0], step[:, 0, 1], step[:, 1, 0] = 1 + momentum - lr * h, -momentum, 1
        radius = np.maximum(radius, np.abs(np.linalg.eigvals(step)).max(axis=1))
    return heavy_ball.best_rate(kappa) / radius


@effort
def test_no_parameters_beat_the_best_rate(tries):
    assert_unbroken(best_rate_ratio, 3, tries)


def test_a_best_rate_too_large_is_caught():
    assert_tight(best_rate_ratio, 3)


@pytest.mark.parametrize("kappa", [1.5, 10.0, 1e4])
def test_the_best_parameters_reach_the_best_rate(kappa):
    lr, momentum = heavy_ball.best_parameters(1.0, kappa)
    for h in (1.0, 0.3 + 0.7 * kappa, kappa):
        roots = np.roots([1, -(1 + momentum - lr * h), momentum])
        # A double root is found to the square root of rounding.
        assert np.abs(roots).max() == pytest.approx(heavy_ball.best_rate(kappa), abs=1e-6)
