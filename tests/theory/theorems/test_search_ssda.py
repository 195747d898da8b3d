"""The adversary of the rate of SSDA and MSDA: quadratics on three nodes, plain runs over eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, mixing, modes_of, pairs, sigmoid
from theory.theorems import ssda

N, STEPS = 3, 60


def chebyshev(w, rounds, rho):
    """T_K(W/ρ)/T_K(1/ρ), by three-term recurrences of both."""
    eye, rho = np.eye(N), rho[:, None, None]
    before, now = np.broadcast_to(eye, w.shape), w / rho
    scale_before, scale = np.ones_like(rho), 1 / rho
    for _ in range(rounds - 1):
        before, now = now, 2 * w @ now / rho - before
        scale_before, scale = scale, 2 * scale / rho - scale_before
    return now / scale


def ratio(cases, rounds, factor=1.0, equal=False):
    take = Take(cases)
    w = mixing(take(pairs(N)), take(1)[:, 0], N)
    values = modes_of(w)[0]
    if rounds > 1:
        rho = np.max(np.abs(values), axis=1)
        w = chebyshev(w, rounds, rho)
        reach = 1 / np.cosh(rounds * np.arccosh(1 / rho))
        least, largest = 1 - reach, 1 + reach
    else:
        least, largest = 1 - values.max(axis=1), 1 - values.min(axis=1)
    h, s = np.exp(1.5 * take(N)), take(N)
    h = np.repeat(h[:, :1], N, axis=1) if equal else h
    mu, smooth = h.min(axis=1), h.max(axis=1)
    best = np.sum(h * s, axis=1, keepdims=True) / np.sum(h, axis=1, keepdims=True)
    lr = sigmoid(2 * take(1)[:, 0] + 3) * mu / largest
    theta = np.sqrt(lr * least / smooth) * sigmoid(2 * take(1)[:, 0] + 3)
    momentum = (1 - theta) / (1 + theta)
    heterogeneity = np.sqrt(np.mean((h * (best - s)) ** 2, axis=1))
    dual = ahead = np.zeros((len(h), N))
    worst = np.zeros(len(h))
    for k in range(1, STEPS + 1):
        x = s + ahead / h
        new = ahead - factor * lr[:, None] * (x - (w @ x[..., None])[..., 0])
        ahead, dual = new + momentum[:, None] * (new - dual), new
        bound = ssda.bound(k, momentum, mu, smooth, heterogeneity)
        error = np.mean((x - best) ** 2, axis=1)
        rounding = 1e-20 * (1 + np.max(s**2, axis=1))
        worst = np.maximum(worst, np.where(bound > rounding, error / bound, 0))
    return np.where((heterogeneity > 1e-3) & (theta > 0.02), worst, np.nan)


@effort
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_ssda(rounds, tries):
    assert_unbroken(lambda cases: ratio(cases, rounds), pairs(N) + 1 + 2 * N + 2, min(tries, 20_000))


def test_a_smaller_bound_is_caught():
    assert_tight(lambda cases: ratio(cases, 3, equal=True), pairs(N) + 1 + 2 * N + 2)


def test_a_dual_step_beyond_the_bound_is_caught():
    with pytest.raises(AssertionError, match="broken"):
        assert_unbroken(lambda cases: ratio(cases, 1, factor=3.0), pairs(N) + 1 + 2 * N + 2, 1_500)
