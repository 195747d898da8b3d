"""Adversaries of the bounds of D-PSGD."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_unbroken, effort, mixing, pairs, rho_of, sigmoid
from theory.theorems import dpsgd


def dpsgd_terms(cases, n, kind, steps, sharper):
    take = Take(cases)
    w = mixing(take(pairs(n)), take(1)[:, 0], n)
    rho = rho_of(w)
    size, frequency, shift = np.exp(take(n)), np.exp(take(n)), 2 * take(n)
    noise = np.exp(2 * take(1)) if kind == "quadratic" else np.zeros((len(cases), 1))
    if kind == "quadratic":
        size = np.repeat(size[:, :1], n, axis=1)  # equal Hessians: bounded dissimilarity
    smoothness = np.max(size if kind == "quadratic" else size * frequency**2, axis=1)
    # The largest step that the assumptions allow, times a factor below 1
    limit = np.where(sharper, (1 - rho) / 2, (1 - rho) / np.sqrt(36 * n))
    lr = np.minimum(sigmoid(2 * take(1)[:, 0] + 2) * 0.999 * limit, 1) / smoothness
    return take, w, rho, size, frequency, shift, noise[:, 0], smoothness, lr


def dpsgd_ratio(cases, n, kind, sharper, steps=40):
    take, w, rho, size, frequency, shift, noise, smoothness, lr = dpsgd_terms(cases, n, kind, steps, sharper)
    quadratic_case = kind == "quadratic"

    def values(x):
        return size * (x - shift) ** 2 / 2 if quadratic_case else 2 * size * np.sin(frequency * (x - shift) / 2) ** 2

    def slopes(x):
        return size * (x - shift) if quadratic_case else size * frequency * np.sin(frequency * (x - shift))

    x = np.repeat(2 * take(1), n, axis=1)
    gap = np.mean(values(x), axis=1)
    dissimilarity = np.mean((size * frequency) ** 2, axis=1)  # at least the mean square of the slopes
    if quadratic_case:
        middle = shift.mean(axis=1, keepdims=True)
        gap = gap - np.mean(values(np.repeat(middle, n, axis=1)), axis=1)
        dissimilarity = np.mean((size * (shift - middle)) ** 2, axis=1)
    covariance = np.zeros_like(w)
    mean_squares, global_squares = np.zeros(len(x)), np.zeros(len(x))
    contraction = w - lr[:, None, None] * size[:, :1, None] * np.eye(n)
    for _ in range(steps):
        spread = size[:, 0] ** 2 * covariance.mean(axis=(1, 2)) if quadratic_case else 0.0
        mean_squares += np.mean(slopes(x), axis=1) ** 2 + spread
        average = np.repeat(x.mean(axis=1, keepdims=True), n, axis=1)
        global_squares += np.mean(slopes(average), axis=1) ** 2 + spread
        x = (w @ x[..., None])[..., 0] - lr[:, None] * slopes(x)
        if quadratic_case:
            covariance = contraction @ covariance @ contraction + (lr * noise)[:, None, None] ** 2 * np.eye(n)
    given = {
        "lr": lr,
        "steps": steps,
        "smoothness": smoothness,
        "n_nodes": n,
        "rho": rho,
        "initial_gap": gap,
        "dissimilarity": dissimilarity,
        "variance": noise**2,
    }
    first, second = dpsgd.factors(lr, smoothness, rho, n)
    weight = 0.5 if sharper else first
    right = dpsgd.sharper_weighted_bound(**given) if sharper else dpsgd.weighted_bound(**given)
    left = ((1 - lr * smoothness) / 2 * mean_squares + weight * global_squares) / steps
    allowed = (dpsgd.sharper_factor(lr, smoothness, rho) > 0) if sharper else (first > 0) & (second > 0)
    return np.where(allowed & (rho < 0.999), left / right, np.nan)


@effort
@pytest.mark.parametrize("sharper", [False, True], ids=["cited", "sharper"])
@pytest.mark.parametrize("kind", ["quadratic", "nonconvex"])
@pytest.mark.parametrize("n", [2, 3])
def test_dpsgd(n, kind, sharper, tries):
    size = pairs(n) + 3 * n + 4
    assert_unbroken(lambda cases: dpsgd_ratio(cases, n, kind, sharper), size, tries)


@effort
def test_the_sharper_dpsgd_bound_is_sharper(tries):
    def ratio(cases):
        take = Take(cases)
        n = np.floor(1 + np.exp(take(1)[:, 0]))
        rho, smoothness = sigmoid(2 * take(1)[:, 0]), np.exp(take(1)[:, 0])
        given = {
            "lr": sigmoid(take(1)[:, 0]) * (1 - rho) / np.sqrt(36 * n) / smoothness,
            "steps": 10,
            "smoothness": smoothness,
            "n_nodes": n,
            "rho": rho,
            "initial_gap": np.exp(3 * take(1)[:, 0]),
            "dissimilarity": np.exp(3 * take(1)[:, 0]),
            "variance": np.exp(3 * take(1)[:, 0]),
        }
        return dpsgd.sharper_bound(**given) / dpsgd.bound(**given)

    assert_unbroken(ratio, 8, tries)
