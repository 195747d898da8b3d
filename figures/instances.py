"""Small instances of the theorems, many at once: each function maps random numbers to measured/bound.

A case is a row of standard normal numbers; a family turns it into problems, networks and parameters that satisfy every
assumption of its theorem, computes exactly what the theorem bounds, and divides. The bounds are those of
`theory.theorems`; everything else is written out here, in one dimension and mostly for two nodes, where limits have
closed forms: W has the eigenvalues 1 and λ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

import simlab
from figures import server_instances
from theory.theorems import (
    b1,
    b2,
    choco_gossip,
    dgd,
    dpsgd,
    dual_averaging,
    heavy_ball,
    leading_constant,
    local_sgd,
    qsgd,
)
from theory.theorems.spectral_gaps import exponential_gap, ring_gap
from theory.transfer import bias_transfer

Ratio = Callable[[np.ndarray], np.ndarray]


class Family(NamedTuple):
    """Instances of one theorem: measured/bound of cases (k, size), the statement's relation, and what they are."""

    theorem: str
    relation: str
    ratio: Ratio
    size: int
    what: str


# Limits of two nodes: f_1 = h₁x²/2 + gx, f_2 = h₂x²/2 − gx, g = 1, so that x* = 0 and b = 1.


def limits(cases: np.ndarray, any_network: bool) -> dict[str, np.ndarray]:
    """Limits of DSGD, and the constants of the bounds on them.

    Convex nodes, 0 < λ < 1 and any γ, as B1 asks for; or with `any_network` |λ| < 1, one node possibly concave, and γ
    such that a < 1, as B2 does.
    """
    first = np.exp(cases[:, 1])
    if any_network:
        eigenvalue, second = np.tanh(cases[:, 0]), first * np.tanh(2 * cases[:, 2])
    else:
        eigenvalue, second = expit(cases[:, 0]), first * expit(3 * cases[:, 2])
    transfer = bias_transfer(simlab.DSGD(1.0), eigenvalue)
    kappa = 2 * first / (first + second)
    lr = np.exp(3 * cases[:, 3] - 3) / first
    if any_network:
        lr = expit(2 * cases[:, 3] - 2) / (np.abs(transfer) * first * np.sqrt(1 + kappa**2))
    apart = -lr * transfer / (1 + lr * transfer * 2 * first * second / (first + second))  # x₁ − x̄
    stretch = np.where(kappa < 1e4, 1 + ((first - second) / (first + second)) ** 2, np.nan)  # 1 + (x̄/(x₁ − x̄))²
    return {
        "consensus": apart**2,
        "mse": apart**2 * stretch,
        "constant": transfer**2 * stretch,  # lim mse/γ²
        "lr": lr,
        "transfer": np.abs(transfer),
        "smoothness": first,
        "condition_number": kappa,
    }


def b1_ratios(cases: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disagreement over its bound, bias over its cited and its sharper bound."""
    found = limits(cases, any_network=False)
    lr, transfer, kappa = found["lr"], found["transfer"], found["condition_number"]
    return (
        found["consensus"] / b1.consensus_bound(lr, transfer, 1.0),
        found["mse"] / b1.mse_bound(lr, transfer, 1.0, kappa),
        found["mse"] / b1.sharper_mse_bound(lr, transfer, 1.0, kappa),
    )


def b2_ratios(cases: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bias over B2, bias over its upper bound by the leading constant, and the lower one over the bias."""
    found = limits(cases, any_network=True)
    given = [found[name] for name in ("lr", "transfer", "smoothness", "condition_number")]
    a = b2.feedback(*given)
    return (
        found["mse"] / b2.bound(*given, 1.0),
        found["mse"] / leading_constant.upper_bound(found["lr"], found["constant"], a),
        leading_constant.lower_bound(found["lr"], found["constant"], a) / found["mse"],
    )


# Runs of two nodes


def dgd_run(cases: np.ndarray, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and disagreement of DGD over their bounds, the largest of all steps; f_i = h_i(x − s_i)²/2."""
    eigenvalue, h, s = np.tanh(cases[:, 0]), np.exp(1.5 * cases[:, 1:3]), 2 * cases[:, 3:5]
    smoothness = h.max(axis=1)
    lr = expit(2 * cases[:, 5] + 2) * (1 + eigenvalue) / smoothness
    x = np.repeat(2 * cases[:, 6:7], 2, axis=1)
    gap = np.sum(h * (x - s) ** 2, axis=1) / 2
    gradients, consensus = np.zeros(len(x)), np.zeros(len(x))
    for _ in range(steps):
        slope = h * (x - s)
        gradients = np.maximum(gradients, np.sum(slope**2, axis=1))
        mean = x.mean(axis=1, keepdims=True)
        x = mean + eigenvalue[:, None] * (x - mean) - lr[:, None] * slope
        consensus = np.maximum(consensus, np.var(x, axis=1))
    return (
        gradients / dgd.gradient_bound(smoothness, gap),
        consensus / dgd.consensus_bound(smoothness, gap, lr, 2, np.abs(eigenvalue)),
    )


def dpsgd_run(cases: np.ndarray, sharper: bool, steps: int = 20) -> np.ndarray:
    """Mean squared gradient of D-PSGD with additive noise over its bound; both nodes have curvature h, shifts ±s."""
    rho, h = expit(3 * cases[:, 0] - 3), np.exp(cases[:, 1])
    start, shift, noise = 2 * cases[:, 2], np.exp(2 * cases[:, 3] - 3), np.exp(2 * cases[:, 4] - 2)
    largest = (1 - rho) / 2 if sharper else (1 - rho) / 6
    lr = expit(2 * cases[:, 5] + 1) * largest / h
    mean, variance, total = start, np.zeros_like(start), np.zeros_like(start)
    for _ in range(steps):
        total = total + h**2 * (mean**2 + variance)
        mean, variance = (1 - lr * h) * mean, (1 - lr * h) ** 2 * variance + lr**2 * noise**2 / 2
    given = {
        "lr": lr, "steps": steps, "smoothness": h, "n_nodes": 2, "rho": rho, "initial_gap": h * start**2 / 2,
        "dissimilarity": (h * shift) ** 2, "variance": noise**2,
    }  # fmt: skip
    if sharper:
        return total / steps / dpsgd.sharper_bound(**given)
    first, second = dpsgd.factors(lr, h, rho, 2)
    return np.where((first > 0) & (second > 0), total / steps / dpsgd.bound(**given), np.nan)


def dual_averaging_run(cases: np.ndarray, sharper: bool, steps: int = 60) -> np.ndarray:
    """The worse node of f_i = |a_i(x − s_i)| on the line, ψ = x²/2, at the worst horizon, over its bound."""
    sigma, a, s = expit(2 * cases[:, 0]), np.exp(cases[:, 1:3]), 3 * cases[:, 3:5]
    best = np.where(a[:, 0] > a[:, 1], s[:, 0], s[:, 1])
    lipschitz = a.max(axis=1)
    radius = np.abs(best) / np.sqrt(2) * np.exp(np.abs(cases[:, 5] - 1)) + 1e-3

    def objective(x: np.ndarray) -> np.ndarray:
        return np.mean(a[:, None] * np.abs(x[..., None] - s[:, None]), axis=-1)

    least = objective(best[:, None])[:, 0]
    z, x, total, worst = np.zeros_like(a), np.zeros_like(a), np.zeros_like(a), np.zeros(len(a))
    bound = dual_averaging.sharper_bound if sharper else dual_averaging.bound
    for t in range(1, steps + 1):
        total = total + x
        if sharper or np.log(t * np.sqrt(2)) >= dual_averaging.LEAST_LOG:
            error = objective(total / t).max(axis=1) - least
            worst = np.maximum(worst, error / bound(t, 2, sigma, radius, lipschitz))
        mean = z.mean(axis=1, keepdims=True)
        z = mean + sigma[:, None] * (z - mean) + a * np.sign(x - s)
        x = -z * dual_averaging.step_sizes(t, radius, lipschitz, sigma)[:, None]
    return worst


# Single objectives


def heavy_ball_run(cases: np.ndarray, steps: int = 30) -> np.ndarray:
    """Largest squared error relative to the envelope; one eigenvalue at L, γ at most what L allows."""
    root, curvature = expit(2 * cases[:, 0]), expit(4 * cases[:, 1])  # √β; an eigenvalue over L = 1
    low, high = (1 - root) ** 2 / curvature, (1 + root) ** 2
    lr = low + (high - low) * expit(3 * cases[:, 2])
    mode = np.where(cases[:, 3] > 0, 1.0, curvature)
    now, before, worst = np.ones(len(cases)), np.ones(len(cases)), np.zeros(len(cases))
    for k in range(1, steps + 1):
        now, before = now - lr * mode * now + root**2 * (now - before), now
        worst = np.maximum(worst, now**2 / heavy_ball.envelope(k, root**2) ** 2)
    return np.where((low <= high) & (root > 0.05) & (root < 0.99), worst, np.nan)


def heavy_ball_rate(cases: np.ndarray) -> np.ndarray:
    """The best rate over the spectral radius of any (γ, β) on the extreme eigenvalues 1/κ and 1."""
    kappa, lr, momentum = 1 + np.exp(2 * cases[:, 0]), 4 * expit(cases[:, 1]), expit(cases[:, 2] + 1)
    radius = np.zeros(len(cases))
    for h in (1 / kappa, np.ones(len(cases))):
        trace = 1 + momentum - lr * h
        root = np.sqrt((trace**2 - 4 * momentum).astype(complex))
        radius = np.maximum(radius, np.maximum(np.abs(trace + root), np.abs(trace - root)) / 2)
    return heavy_ball.best_rate(kappa) / radius


def local_sgd_run(cases: np.ndarray, n: int = 3, steps: int = 40) -> np.ndarray:
    """Local SGD that averages at every step, on hx²/2 with Gaussian noise, over its bound; exact moments."""
    h, start, noise = np.exp(2 * cases[:, 0]), 3 * cases[:, 1], np.exp(2 * cases[:, 2])
    shift = 16.001 + np.exp(cases[:, 3])
    mean, variance, covariance = start, np.zeros_like(h), np.zeros_like(h)  # of x̄, and with the weighted sum so far
    total_mean, total_variance, second_moment = np.zeros_like(h), np.zeros_like(h), np.zeros_like(h)
    for t in range(steps):
        weight = (shift + t) ** 2
        total_mean = total_mean + weight * mean
        total_variance = total_variance + 2 * weight * covariance + weight**2 * variance
        covariance = covariance + weight * variance
        second_moment = np.maximum(second_moment, h**2 * (mean**2 + variance) + noise**2)
        lr = local_sgd.step_sizes(t, h, shift)
        mean, covariance = (1 - lr * h) * mean, (1 - lr * h) * covariance
        variance = (1 - lr * h) ** 2 * variance + lr**2 * noise**2 / n
    error = h * (total_mean**2 + total_variance) / local_sgd.weight_sum(steps, shift) ** 2 / 2
    return error / local_sgd.bound(steps, n, shift, 1, h, h, start**2, noise**2, second_moment)


# Compression


def choco(cases: np.ndarray) -> np.ndarray:
    """The promised decrease over the least one of all states of a mode and all compressors with factor ω."""
    gap, compression = expit(3 * cases[:, 0]), expit(3 * cases[:, 1])
    smallest = (1 - gap) * np.tanh(cases[:, 2] - 1)
    eigenvalue = smallest + (1 - gap - smallest) * expit(2 * cases[:, 3])
    step = choco_gossip.consensus_step(gap, 1 - smallest, compression)
    least = np.minimum(choco_gossip.least_decrease(eigenvalue, step, compression), compression)
    return choco_gossip.decrease(gap, compression) / least


def qsgd_ratios(cases: np.ndarray, levels: int = 1) -> dict[str, np.ndarray]:
    """Exact expectations over the bounds, d = size − 1; E||ωQ − v||² = ω²E||Q − v||² + (1 − ω)²||v||²."""
    v, d = np.exp(np.exp(cases[:, -1:] - 2) * cases[:, :-1]), cases.shape[1] - 1
    variance, omega = qsgd.expected_variance(v, levels), qsgd.contraction(d, levels)
    return {
        "variance": variance / qsgd.variance_bound(d, levels),
        "sharper": variance / qsgd.sharper_variance(d, levels),
        "sparsity": qsgd.expected_sparsity(v, levels) / qsgd.sparsity_bound(d, levels),
        "contraction": (omega**2 * variance + (1 - omega) ** 2) / (1 - omega),
    }


# Spectral gaps of circulant matrices, whose eigenvalues are a Fourier transform


def ring(cases: np.ndarray) -> np.ndarray:
    """Measured gap over the closed form or its inverse, whichever is larger."""
    sizes = _sizes(cases)
    ratio = np.array([_gap([0, 1, n - 1], n) for n in sizes]) / ring_gap(sizes)
    return np.maximum(ratio, 1 / ratio)


def exponential(cases: np.ndarray) -> np.ndarray:
    """2/(1 + ⌈log₂n⌉) over the measured gap of the directed exponential graph: 1 for even n."""
    sizes = _sizes(cases)
    return exponential_gap(sizes) / np.array([_gap([0, *(1 << np.arange(int(n - 1).bit_length()))], n) for n in sizes])


def _sizes(cases: np.ndarray) -> np.ndarray:
    return np.floor(3 + 497 * expit(cases[:, 0])).astype(int)


def _gap(offsets: list[int], n: int) -> float:
    """1 − ρ of the circulant matrix with equal weights at the offsets."""
    column = np.bincount(np.array(offsets) % n, minlength=n) / len(offsets)
    return float(1 - np.abs(np.fft.fft(column))[1:].max())


LIMITS = "limits of two quadratics"
CONCAVE = f"{LIMITS}, one maybe concave"
FAMILIES = (
    Family("B1, consensus", "<=", lambda cases: b1_ratios(cases)[0], 4, LIMITS),
    Family("B1, bias", "<=", lambda cases: b1_ratios(cases)[1], 4, LIMITS),
    Family("B1, bias, sharper", "<=", lambda cases: b1_ratios(cases)[2], 4, LIMITS),
    Family("B2, bias", "<=", lambda cases: b2_ratios(cases)[0], 4, CONCAVE),
    Family("leading constant, above", "<=", lambda cases: b2_ratios(cases)[1], 4, CONCAVE),
    Family("leading constant, below", ">=", lambda cases: b2_ratios(cases)[2], 4, CONCAVE),
    Family("DGD, gradients", "<=", lambda cases: dgd_run(cases)[0], 7, "two quadratics, 40 steps"),
    Family("DGD, consensus", "<=", lambda cases: dgd_run(cases)[1], 7, "two quadratics, 40 steps"),
    Family("D-PSGD", "<=", lambda cases: dpsgd_run(cases, False), 6, "two quadratics, noise, 20 steps"),
    Family("D-PSGD, sharper", "<=", lambda cases: dpsgd_run(cases, True), 6, "two quadratics, noise, 20 steps"),
    Family("heavy ball", "<=", heavy_ball_run, 4, "quadratic, 30 steps"),
    Family("heavy ball, best rate", ">=", heavy_ball_rate, 3, "two eigenvalues, any γ and β"),
    Family("CHOCO-Gossip", ">=", choco, 4, "worst state and compressor of one mode"),
    Family("QSGD, variance", "<=", lambda cases: qsgd_ratios(cases)["variance"], 401, "d = 400, s = 1"),
    Family("QSGD, variance, sharper", "<=", lambda cases: qsgd_ratios(cases)["sharper"], 5, "d = 4, s = 1"),
    Family("QSGD, sparsity", "<=", lambda cases: qsgd_ratios(cases)["sparsity"], 401, "d = 400, s = 1"),
    Family("QSGD, contraction", "<=", lambda cases: qsgd_ratios(cases)["contraction"], 401, "d = 400, s = 1"),
    Family("dual averaging", "<=", lambda cases: dual_averaging_run(cases, False), 6, "two nodes, a|x − s|, 60 steps"),
    Family("dual averaging, sharper", "<=", lambda cases: dual_averaging_run(cases, True), 6,
           "two nodes, a|x − s|, 60 steps"),
    Family("local SGD", "<=", local_sgd_run, 4, "quadratic, noise, averaging at each of 40 steps"),
    Family("ring gap", "==", ring, 1, "3 ≤ n < 500"),
    Family("exponential graph's gap", ">=", exponential, 1, "3 ≤ n < 500"),
    *(Family(name, "<=", ratio, size, what) for name, ratio, size, what in server_instances.ROWS),
)  # fmt: skip
