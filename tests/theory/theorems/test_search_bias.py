"""Adversaries of the bounds on the limiting bias: B1, B2 and the leading constant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import simlab
from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, mixing, modes_of, pairs, sigmoid
from theory.theorems import b1, b2, leading_constant
from theory.transfer import bias_transfer

ALGORITHMS = {
    "DSGD-atc": simlab.DSGD(1.0),
    "DSGD-cta": simlab.DSGD(1.0, order="cta"),
    "DmSGD": simlab.DmSGD(1.0, 0.9),
    "AWCDmSGD": simlab.AWCDmSGD(1.0, 0.5),
    "DADmSGD": simlab.DADmSGD(1.0, 0.8),
}


class Limits(NamedTuple):
    """Limits of quadratics f_i = x'H_i x/2 + g_i'x with minimizer 0, and the constants that the bounds take."""

    consensus: np.ndarray
    mse: np.ndarray
    lr: np.ndarray
    transfer: np.ndarray  # max |φ|
    heterogeneity: np.ndarray
    smoothness: np.ndarray
    condition_number: np.ndarray
    constant: np.ndarray  # lim mse/γ²


def limit_size(n, d):
    return pairs(n) + 2 + n * d * d + n + n * d + 1


def limits(cases, n, d, algorithm, *, definite, convex, small_step):
    take = Take(cases)
    w = mixing(take(pairs(n)), take(1)[:, 0], n, lazy=definite and "cta" not in algorithm and algorithm != "AWCDmSGD")
    values, vectors = modes_of(w)
    phi = bias_transfer(ALGORITHMS[algorithm], values)
    factors = take(n, d, d)
    hessians = factors @ factors.swapaxes(2, 3) * np.exp(2 * take(n))[:, :, None, None]
    if not convex:
        hessians = (factors + factors.swapaxes(2, 3)) / 2 + 1.5 * np.eye(d)
    gradients = take(n, d)
    gradients = gradients - gradients.mean(axis=1, keepdims=True)
    if n > 2:  # some cases along the mode of largest φ
        steep = np.take_along_axis(vectors, np.argmax(np.abs(phi), axis=1)[:, None, None], axis=2)
        along = sigmoid(4 * take(1)[:, 0])[:, None, None]
        gradients = (1 - along) * gradients + along * steep * gradients[:, :1]
    spectrum = np.linalg.eigvalsh(hessians)
    smoothness = np.max(np.abs(spectrum), axis=(1, 2))
    mean = hessians.mean(axis=1)
    mu = np.linalg.eigvalsh(mean)[:, 0]
    kappa = np.where(mu > 1e-6 * smoothness, smoothness / mu, np.nan)
    r = np.max(np.abs(phi), axis=1)
    free = take(1)[:, 0]
    lr = np.exp(np.clip(3 * free - 3, -10, 5)) / smoothness  # smaller ones are lost in rounding
    if small_step:
        lr = sigmoid(2 * free - 2) / (r * smoothness * np.sqrt(1 + kappa**2))
    # X̃ + (γφ(W) + J/L)(HX + g) = 0: the disagreement's equation, and the mean gradient's on its complement
    transfer = lr[:, None, None] * (vectors * phi[:, None, :]) @ vectors.swapaxes(1, 2)
    operator = transfer + np.ones((n, n)) / n / smoothness[:, None, None]
    system = np.einsum("kij,kjab->kiajb", operator, hessians)
    system = system + np.einsum("ij,ab->iajb", np.eye(n) - 1 / n, np.eye(d))
    right = -transfer @ gradients  # the mean of the gradients at 0 is 0
    usable = np.isfinite(kappa)
    system[~usable] = np.eye(n * d).reshape(n, d, n, d)
    usable &= np.linalg.cond(system.reshape(-1, n * d, n * d)) < 1e6
    system[~usable] = np.eye(n * d).reshape(n, d, n, d)
    x = np.linalg.solve(system.reshape(-1, n * d, n * d), right.reshape(-1, n * d, 1)).reshape(-1, n, d)
    x[~usable] = np.nan
    spread = x - x.mean(axis=1, keepdims=True)
    y = -(vectors * phi[:, None, :]) @ vectors.swapaxes(1, 2) @ gradients
    shift = np.full((len(cases), d), np.nan)
    shift[usable] = -np.linalg.solve(mean[usable], np.mean(hessians @ y[..., None], axis=1)[usable])[..., 0]
    return Limits(
        np.sum(spread**2, axis=(1, 2)) / n,
        np.sum(x**2, axis=(1, 2)) / n,
        lr,
        r,
        np.sqrt(np.mean(np.sum(gradients**2, axis=2), axis=1)),
        smoothness,
        kappa,
        np.sum(y**2, axis=(1, 2)) / n + np.sum(shift**2, axis=1),
    )


SIZES = [(2, 1), (3, 1), (4, 2)]


def b1_consensus_ratio(cases, n, d, algorithm):
    found = limits(cases, n, d, algorithm, definite=True, convex=True, small_step=False)
    return found.consensus / b1.consensus_bound(found.lr, found.transfer, found.heterogeneity)


def b1_mse_ratio(cases, n, d, algorithm, formula):
    found = limits(cases, n, d, algorithm, definite=True, convex=True, small_step=False)
    return found.mse / formula(found.lr, found.transfer, found.heterogeneity, found.condition_number)


def b2_ratio(cases, n, d, algorithm, convex):
    found = limits(cases, n, d, algorithm, definite=False, convex=convex, small_step=True)
    return found.mse / b2.bound(found.lr, found.transfer, found.smoothness, found.condition_number, found.heterogeneity)


def leading_ratio(cases, n, d, algorithm, convex, side):
    found = limits(cases, n, d, algorithm, definite=False, convex=convex, small_step=True)
    a = b2.feedback(found.lr, found.transfer, found.smoothness, found.condition_number)
    if side == "above":
        return found.mse / leading_constant.upper_bound(found.lr, found.constant, a)
    return leading_constant.lower_bound(found.lr, found.constant, a) / found.mse


@effort
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_b1(n, d, algorithm, tries):
    size = limit_size(n, d)
    assert_unbroken(lambda cases: b1_consensus_ratio(cases, n, d, algorithm), size, tries)
    assert_unbroken(lambda cases: b1_mse_ratio(cases, n, d, algorithm, b1.sharper_mse_bound), size, tries)


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_b1_consensus_too_small_is_caught(n, d):
    assert_tight(lambda cases: b1_consensus_ratio(cases, n, d, "DSGD-atc"), limit_size(n, d))


@pytest.mark.parametrize(("n", "d"), SIZES[:2])
def test_b1_bias_too_small_is_caught(n, d):
    assert_tight(lambda cases: b1_mse_ratio(cases, n, d, "DSGD-atc", b1.sharper_mse_bound), limit_size(n, d))


def test_the_sharper_b1_is_sharper():
    for kappa in (1.0, 3.0, 1e4):
        assert b1.sharper_mse_bound(0.1, 2.0, 3.0, kappa) < b1.mse_bound(0.1, 2.0, 3.0, kappa)


@effort
@pytest.mark.parametrize("convex", [True, False], ids=["convex", "nonconvex"])
@pytest.mark.parametrize(("n", "d", "algorithm"), [(2, 1, "DSGD-atc"), (3, 1, "DmSGD"), (4, 2, "DADmSGD")])
def test_b2_and_leading_constant(n, d, algorithm, convex, tries):
    size = limit_size(n, d)
    assert_unbroken(lambda cases: b2_ratio(cases, n, d, algorithm, convex), size, tries)
    assert_unbroken(lambda cases: leading_ratio(cases, n, d, algorithm, convex, "above"), size, tries)
    assert_unbroken(lambda cases: leading_ratio(cases, n, d, algorithm, convex, "below"), size, tries)


@pytest.mark.parametrize("side", ["above", "below"])
def test_leading_constant_too_small_is_caught(side):
    assert_tight(lambda cases: leading_ratio(cases, 3, 1, "DSGD-atc", True, side), limit_size(3, 1))


def log_cosh_limit_ratio(cases, n):
    """B1 where f_i = h x²/2 + a log cosh(x − s) + gx: limits by Newton's method."""
    take = Take(cases)
    w = mixing(take(pairs(n)), take(1)[:, 0], n, lazy=True)
    values, vectors = modes_of(w)
    phi = bias_transfer(ALGORITHMS["DSGD-atc"], values)
    h, a = np.exp(2 * take(n) - 2), np.exp(2 * take(n))
    s, g = 3 * take(n), take(n)
    g = g - g.mean(axis=1, keepdims=True)

    def slope(x):
        return h * x + a * np.tanh(x - s) + g

    def bend(x):
        return h + a / np.cosh(x - s) ** 2

    smoothness, mu = np.max(h + a, axis=1), np.mean(h, axis=1)
    optimum = np.zeros((len(cases), 1))
    for _ in range(80):
        move = np.mean(slope(optimum), axis=1, keepdims=True) / np.mean(bend(optimum), axis=1, keepdims=True)
        optimum = optimum - np.clip(move, -0.5, 0.5)
    heterogeneity = np.sqrt(np.mean(slope(optimum) ** 2, axis=1))
    lr = np.exp(3 * take(1)[:, 0] - 2) / smoothness
    operator = lr[:, None, None] * (vectors * phi[:, None, :]) @ vectors.swapaxes(1, 2)
    operator = operator + 1 / n / smoothness[:, None, None]
    x = np.repeat(optimum, n, axis=1)
    for _ in range(80):
        residual = x - x.mean(axis=1, keepdims=True) + (operator @ slope(x)[..., None])[..., 0]
        jacobian = np.eye(n) - 1 / n + operator * bend(x)[:, None, :]
        x = x - np.clip(np.linalg.solve(jacobian, residual[..., None])[..., 0], -0.5, 0.5)
    usable = (np.abs(residual).max(axis=1) < 1e-10) & (np.abs(move[:, 0]) < 1e-10)
    bound = b1.sharper_mse_bound(lr, np.max(phi, axis=1), heterogeneity, smoothness / mu)
    first = np.var(x, axis=1) / b1.consensus_bound(lr, np.max(phi, axis=1), heterogeneity)
    second = np.mean((x - optimum) ** 2, axis=1) / bound
    return np.where(usable, np.maximum(first, second), np.nan)


@effort
def test_b1_beyond_quadratics(tries):
    assert_unbroken(lambda cases: log_cosh_limit_ratio(cases, 3), pairs(3) + 2 + 12, tries)
