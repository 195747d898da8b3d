"""Adversaries of the bounds of local SGD."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_unbroken, effort
from theory.theorems import local_sgd


def local_sgd_ratio(cases, n=2, local_steps=2, steps=4):
    """f = hx²/2 + a log cosh(x − s), noise ±σ: the expectation over all 2^(nT) sample paths."""
    take = Take(cases)
    h, a, s = np.exp(take(1)), np.exp(2 * take(1)), 2 * take(1)
    noise, start = np.exp(2 * take(1)), 3 * take(1)
    shape = (steps, n)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=steps * n))).reshape(-1, *shape)

    def slope(x):
        return h[:, None] * x + a[:, None] * np.tanh(x - s[:, None])

    def value(x):
        return h * x**2 / 2 + a * (np.logaddexp(x - s, s - x) - np.log(2))

    optimum = np.zeros_like(s)
    for _ in range(100):
        gradient = h * optimum + a * np.tanh(optimum - s)
        optimum = optimum - np.clip(gradient / (h + a / np.cosh(optimum - s) ** 2), -0.5, 0.5)
    smoothness, mu = (h + a)[:, 0], h[:, 0]
    shift = (np.maximum(16 * smoothness / mu, local_steps) * (1.0001 + np.exp(take(1)[:, 0] - 2)))[:, None]
    x = np.broadcast_to(start[:, None], (len(cases), len(signs), n)).copy()
    total, second_moment = np.zeros(x.shape[:2]), np.zeros(len(cases))
    for t in range(steps):
        total = total + ((shift + t) ** 2)[:, None, 0] * x.mean(axis=2)
        g = slope(x) + noise[:, None] * signs[None, :, t]
        second_moment = np.maximum(second_moment, np.max(np.mean(g**2, axis=1), axis=1))
        x = x - local_sgd.step_sizes(t, mu[:, None], shift)[:, None] * g
        if (t + 1) % local_steps == 0:
            x[:] = x.mean(axis=2, keepdims=True)
    average = total / local_sgd.weight_sum(steps, shift)
    error = np.mean(value(average), axis=1) - value(optimum)[:, 0]
    bound = local_sgd.bound(
        steps,
        n,
        shift[:, 0],
        local_steps,
        smoothness,
        mu,
        ((start - optimum) ** 2)[:, 0],
        noise[:, 0] ** 2,
        second_moment,
    )
    return error / bound


def local_sgd_quadratic_ratio(cases, n=3, local_steps=5, steps=300):
    """Quadratics with Gaussian noise over long runs, by the exact recursion of the moments."""
    take = Take(cases)
    h = np.exp(2 * take(2))
    start, noise = 3 * take(2), np.exp(2 * take(1))
    mu, smoothness = h.min(axis=1), h.max(axis=1)
    shift = np.maximum(16 * smoothness / mu, local_steps) * (1.0001 + np.exp(take(1)[:, 0] - 2))
    mean = start.copy()
    own, cross = np.zeros_like(h), np.zeros_like(h)  # (co)variances within and between workers
    average, of_average = np.zeros_like(h), np.zeros_like(h)  # of x̂: mean, and variance by way of covariances
    variance, covariance = np.zeros_like(h), np.zeros_like(h)  # of x̄, and of x̄ with the weighted sum so far
    second_moment = np.zeros(len(h))
    for t in range(steps):
        weight = ((shift + t) ** 2)[:, None]
        average += weight * mean
        of_average += 2 * weight * covariance + weight**2 * variance
        covariance = covariance + weight * variance
        second_moment = np.maximum(second_moment, np.sum(h**2 * (mean**2 + own) + noise**2, axis=1))
        lr = local_sgd.step_sizes(t, mu, shift)[:, None]
        keep = 1 - lr * h
        mean = keep * mean
        variance, covariance = keep**2 * variance + lr**2 * noise**2 / n, keep * covariance
        own, cross = keep**2 * own + lr**2 * noise**2, keep**2 * cross
        if (t + 1) % local_steps == 0:
            own = cross = own / n + (n - 1) / n * cross
    total = local_sgd.weight_sum(steps, shift)[:, None]
    error = np.sum(h * ((average / total) ** 2 + of_average / total**2), axis=1) / 2
    return error / local_sgd.bound(
        steps,
        n,
        shift,
        local_steps,
        smoothness,
        mu,
        np.sum(start**2, axis=1),
        2 * noise[:, 0] ** 2,
        second_moment,
    )


@effort
@pytest.mark.parametrize("ratio", [local_sgd_ratio, local_sgd_quadratic_ratio], ids=["log cosh", "quadratic"])
def test_local_sgd(ratio, tries):
    assert_unbroken(ratio, 6, tries)


def test_local_sgd_weights():
    assert local_sgd.weight_sum(7, 3.5) == pytest.approx(sum((3.5 + t) ** 2 for t in range(7)))
