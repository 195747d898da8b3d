"""Small instances of the theorems, many at once: each function maps random numbers to measured/bound.

A case is a row of standard normal numbers; a family turns it into problems, networks and parameters that satisfy every
assumption of its theorem, computes exactly what the theorem bounds, and divides. The bounds are those of
`theory.theorems`; everything else is written out here, in one dimension and mostly for two nodes, where limits have
closed forms: W has the eigenvalues 1 and λ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

import simlab
from figures import server_instances
from theory.theorems import (
    asynchronous_weights,
    averaging_time,
    b1,
    b2,
    choco_gossip,
    dgd,
    dpsgd,
    dual_averaging,
    gossip_pga,
    heavy_ball,
    leading_constant,
    local_momentum,
    local_sgd,
    local_updates,
    matcha,
    one_peer,
    push_sum,
    qsgd,
    random_mixing,
    scaling,
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


def scaled_limits(cases: np.ndarray, common: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At rest with scalings D_i: disagreement and bias over their bounds with a common one, and a lower bound over it.

    a = D₁∇f_1 = −D₂∇f_2 and x₁ − x₂ = −2γφa, of which 1/h₁ + 1/h₂ = a(1/(D₁h₁) + 1/(D₂h₂) + 2γφ) is left.
    """
    transfer = bias_transfer(simlab.DSGD(1.0), expit(cases[:, 0]))
    first = np.exp(cases[:, 1])
    second = first * expit(3 * cases[:, 2])
    scale = np.exp(cases[:, 4])
    other = scale if common else scale * np.exp(cases[:, 5] * np.exp(cases[:, 6] - 2))
    lr = np.exp(3 * cases[:, 3] - 3) / first / np.maximum(scale, other)
    total = 1 / (scale * first) + 1 / (other * second) + 2 * lr * transfer
    force, apart = (1 / first + 1 / second) / total, 2 * lr * transfer
    x = np.stack([(1 / scale - 1 / other) / second - apart, (1 / scale - 1 / other) / first + apart])
    x /= total * np.stack([first, second])
    mse, kappa = np.mean(x**2, axis=0), 2 * first / (first + second)
    size = np.sqrt((scale**2 + other**2) / 2)
    return (
        (lr * transfer * force) ** 2 / b1.consensus_bound(lr * scale, transfer, 1.0),
        mse / b1.sharper_mse_bound(lr * scale, transfer, 1.0, kappa),
        scaling.node_wise_bound(first, np.abs(scale - other) / 2, size) / mse,
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


# Two nodes of one curvature h and minimizers ±s, whose mean state obeys x̄⁺ = (1 − γh)x̄ − γξ̄ however they exchange


def mean_run(h: Any, lr: Any, start: Any, noise: Any, momentum: Any, steps: int) -> np.ndarray:
    """(1/K)Σ_{k<K} E‖∇f(x̄_k)‖² of heavy ball M⁺ = βM + G, x⁺ = x − γM⁺ on the mean of two nodes; exact moments."""
    mean, force = start, np.zeros_like(start)
    square = np.zeros((3, *start.shape))  # covariances: x x, x m, m m
    total = np.zeros_like(start)
    for _ in range(steps):
        total = total + h**2 * (mean**2 + square[0])
        xx, xm, mm = square
        cross = momentum * xm + h * xx
        inner = momentum**2 * mm + 2 * momentum * h * xm + h**2 * xx + noise**2 / 2
        square = np.stack([xx - 2 * lr * cross + lr**2 * inner, cross - lr * inner, inner])
        force = momentum * force + h * mean
        mean = mean - lr * force
    return total / steps


def changing_run(theorem: str, cases: np.ndarray, steps: int = 24) -> np.ndarray:
    """Mean squared gradient of a theorem about changing networks over its bound."""
    h, start, shift, noise = (
        np.exp(cases[:, 1]),
        2 * cases[:, 2],
        np.exp(2 * cases[:, 3] - 3),
        np.exp(2 * cases[:, 4] - 2),
    )
    p = expit(3 * cases[:, 0])
    tau = 1 + np.floor(6 * expit(cases[:, 6]))
    momentum = expit(2 * cases[:, 7]) if theorem == "D3" else np.zeros_like(h)
    given = {
        "smoothness": h, "steps": steps, "n_nodes": 2, "initial_gap": h * start**2 / 2,
        "dissimilarity": (h * shift) ** 2, "variance": noise**2,
    }  # fmt: skip
    largest = {
        "D1": random_mixing.largest_step(h, p, True),
        "D2": p / (8 * tau * h),
        "D2 for local SGD": 1 / (2 * tau * h),
        "D3": local_momentum.largest_step(h, momentum, tau, p),
        "Gossip-PGA": 1 / (2 * tau * h),
    }[theorem]
    lr = expit(2 * cases[:, 5] + 2) * largest
    bound: Any = {
        "D1": lambda: random_mixing.bound(lr=lr, **given, p=p, atc=True),
        "D2": lambda: local_updates.bound(lr=lr, **given, window=tau, p=p),
        "D2 for local SGD": lambda: local_updates.average_bound(lr=lr, **given, window=tau),
        "D3": lambda: local_momentum.bound(lr=lr, **given, momentum=momentum, window=tau, p=p),
        "Gossip-PGA": lambda: gossip_pga.bound(lr=lr, **given, period=tau, p=p),
    }[theorem]
    return mean_run(h, lr, start, noise, momentum, steps) / bound()


def random_link(cases: np.ndarray, steps: int = 60) -> np.ndarray:
    """Disagreement of two nodes whose link fails at random, the largest of all steps, over D1's bound."""
    h, shift, noise = np.exp(cases[:, 1]), np.exp(2 * cases[:, 2] - 1), np.exp(2 * cases[:, 3] - 2)
    up, eigenvalue = expit(3 * cases[:, 0]), np.tanh(cases[:, 4])
    first, second = up * eigenvalue + 1 - up, up * eigenvalue**2 + 1 - up  # E λ, E λ²
    p = 1 - second
    lr = expit(2 * cases[:, 5]) * (1 / np.sqrt(second) - 1) / h  # so that √(1 − p)(1 + γL) < 1
    mean, square, worst = np.zeros_like(h), np.zeros_like(h), np.zeros_like(h)
    bound = random_mixing.consensus_bound(lr, h, p, True, (h * shift) ** 2, noise**2)
    keep, push = 1 - lr * h, lr * h * shift
    for _ in range(steps):
        square = second * (keep**2 * square + 2 * keep * push * mean + push**2 + lr**2 * noise**2 / 2)
        mean = first * (keep * mean + push)
        worst = np.maximum(worst, square)
    return worst / bound


def one_peer_run(cases: np.ndarray, hops: int = 2, steps: int = 20) -> np.ndarray:
    """Largest disagreement of 2^`hops` nodes with f_i = ±Lx²/2 − b_ix and noise over its bound; exact moments."""
    n = 2**hops
    b = cases[:, 3:] - cases[:, 3:].mean(axis=1, keepdims=True)
    smoothness, noise = np.exp(cases[:, 0]), np.exp(3 * cases[:, 1] - 4)
    lr = 0.999 * expit(3 * cases[:, 2]) / ((hops - 1) * smoothness)
    keep = (1 - lr * smoothness * np.where(cases[:, 1] > 0, 1, -1))[:, None]
    mean, square, worst = np.zeros_like(b), np.zeros((len(b), n, n)), np.zeros(len(b))
    for k in range(steps):
        w = one_peer.hop(n, k) - 1 / n
        mean = (keep * mean + lr[:, None] * b) @ w.T
        square = w @ (keep[..., None] ** 2 * square + (lr * noise)[:, None, None] ** 2 * np.eye(n)) @ w.T
        worst = np.maximum(worst, (np.sum(mean**2, axis=1) + np.trace(square, axis1=1, axis2=2)) / n)
    return worst / one_peer.bound(lr, smoothness, hops, np.mean(b**2, axis=1), noise**2)


def averaging_times(cases: np.ndarray, lower: bool, steps: int = 30) -> np.ndarray:
    """Averaging time of three nodes over its bound, or the lower one over it, which is of the slowest mode.

    A pair's average leaves of a disagreement, a vector of the plane, what lies along the pair's own line. Lines are 60°
    apart, so that every change of pairs halves it: chances are a recursion over numbers of changes.
    """
    shares = np.exp(2 * cases[:, :3])
    shares = shares / shares.sum(axis=1, keepdims=True)
    accuracy = 0.5 * expit(cases[:, 3] - 1)
    angles = np.pi * np.arange(3) / 3
    lines = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    values, vectors = np.linalg.eigh(np.einsum("ce,ea,eb->cab", shares, lines, lines))
    second = values[:, -1]
    given = np.stack([np.cos(cases[:, 4]), np.sin(cases[:, 4])], axis=1)
    start = vectors[:, :, -1] if lower else given
    times = time_of(shares, accuracy, np.abs(start @ lines.T), steps)
    if lower:
        return averaging_time.lower_bound(accuracy, second) / times
    return times / np.ceil(averaging_time.bound(accuracy, second))


def time_of(shares: np.ndarray, accuracy: np.ndarray, left: np.ndarray, steps: int) -> np.ndarray:
    """The least t with P(‖X̃_t‖ >= ε‖X⁰‖) <= ε; `left` (k, 3) is ‖X̃_1‖/‖X⁰‖ after each pair. NaN if it takes longer."""
    found = np.full(len(shares), np.nan)
    chances = np.zeros((len(shares), 3, 3, steps))  # by first pair, last pair, number of changes
    chances[:, range(3), range(3), 0] = shares
    large = left[..., None] * 0.5 ** np.arange(steps) >= accuracy[:, None, None]
    for t in range(1, steps + 1):
        of_all = chances.sum(axis=2)
        chance = np.sum(large * of_all, axis=(1, 2))
        found = np.where(np.isnan(found) & (chance <= accuracy), t, found)
        stayed = chances * shares[:, None, :, None]
        moved = (of_all[:, :, None] - chances) * shares[:, None, :, None]
        chances = stayed
        chances[..., 1:] += moved[..., :-1]
    return found


def asynchronous_pair(cases: np.ndarray) -> np.ndarray:
    """How far AD-PSGD on two nodes of unequal speed is from the minimizer of Σ r_i f_i, over its bound."""
    rates, first = np.exp(cases[:, :2] / 2), np.exp(cases[:, 2])
    curvature = np.stack([first, first * np.tanh(cases[:, 3])], axis=1)
    b, lr = cases[:, 4:6], expit(cases[:, 6] - 1) / first
    shares = rates / rates.sum(axis=1, keepdims=True)
    step, shift = np.zeros((len(cases), 4, 4)), np.zeros((len(cases), 4))  # the mean of x_1, x_2, read_1, read_2
    for i in range(2):
        event, move = np.zeros_like(step), np.zeros_like(shift)
        event[:, :2, :2] = 0.5
        event[:, i, 2 + i], move[:, i] = -lr * curvature[:, i], lr * b[:, i]
        event[:, 2 + i], move[:, 2 + i] = event[:, i], move[:, i]
        event[:, 3 - i, 3 - i] = 1
        step, shift = step + shares[:, i, None, None] * event, shift + shares[:, i, None] * move
    points = np.linalg.solve(np.eye(4) - step, shift[..., None])[:, 2:, 0]
    usable = np.max(np.abs(np.linalg.eigvals(step)), axis=1) < 1 - 1e-4
    usable &= np.ptp(points, axis=1) > 1e-3 * np.abs(points).max(axis=1)  # else there is only rounding
    given = rates, curvature[..., None, None]
    usable &= asynchronous_weights.strong_convexity(*given) > 0
    found, given = np.full(len(cases), np.nan), tuple(each[usable] for each in given)
    mean = np.sum(shares * points, axis=1)[usable]
    apart = np.abs(mean - asynchronous_weights.weighted_minimizer(*given, b[usable, :, None])[:, 0])
    found[usable] = apart / asynchronous_weights.bound(*given, points[usable, :, None])
    return found


def push_sum_run(cases: np.ndarray, n: int = 3, steps: int = 8) -> np.ndarray:
    """What push-sum on random column stochastic matrices lacks of the mean over its bound, the largest of all steps."""
    w = np.exp(1.5 * cases[:, : n * n].reshape(-1, n, n))
    w = w / w.sum(axis=1, keepdims=True)
    start = cases[:, n * n :, None]
    bounds = push_sum.bound(w, start, np.arange(1, steps + 1))
    shares, mean = push_sum.perron(w)[..., None], start.mean(axis=1, keepdims=True)
    state, mass, found = start, np.ones_like(start), np.zeros(len(cases))
    for bound in bounds.T:
        state, mass = w @ state, w @ mass
        left = np.sum(shares * (state / mass - mean) ** 2, axis=(1, 2))
        found = np.maximum(found, np.where(bound > 1e-20, left / bound, 0.0))  # below that there is only rounding
    return found


def matcha_weights(cases: np.ndarray, n: int = 4) -> np.ndarray:
    """MATCHA's lower bound on p over p itself: the three perfect matchings of four nodes, each with its probability."""
    pairs = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
    laplacians = np.zeros((3, n, n))
    for laplacian, matching in zip(laplacians, pairs, strict=True):
        for i, j in matching:
            laplacian[[i, j], [i, j]] += 1
            laplacian[[i, j], [j, i]] -= 1
    probabilities = expit(2 * cases[:, :3])
    weights = expit(cases[:, 3]) * matcha.largest_weight(laplacians, probabilities)
    given = laplacians, probabilities, weights
    return matcha.bound(*given) / matcha.parameter(*given)


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
    ratio = _of_sizes(lambda n: _gap([0, 1, n - 1], n), sizes) / ring_gap(sizes)
    return np.maximum(ratio, 1 / ratio)


def exponential(cases: np.ndarray) -> np.ndarray:
    """2/(1 + ⌈log₂n⌉) over the measured gap of the directed exponential graph: 1 for even n."""
    sizes = _sizes(cases)
    return exponential_gap(sizes) / _of_sizes(lambda n: _gap([0, *(1 << np.arange((n - 1).bit_length()))], n), sizes)


def _sizes(cases: np.ndarray) -> np.ndarray:
    return np.floor(3 + 497 * expit(cases[:, 0])).astype(int)


def _of_sizes(function: Callable[[int], float], sizes: np.ndarray) -> np.ndarray:
    """A function of each size, called once for each that there is."""
    different, which = np.unique(sizes, return_inverse=True)
    return np.array([function(int(n)) for n in different])[which]


def _gap(offsets: list[int], n: int) -> float:
    """1 − ρ of the circulant matrix with equal weights at the offsets."""
    column = np.bincount(np.array(offsets) % n, minlength=n) / len(offsets)
    return float(1 - np.abs(np.fft.fft(column))[1:].max())


LIMITS = "limits of two quadratics"
CONCAVE = f"{LIMITS}, one maybe concave"
CHANGING = ("D1", "D2", "D2 for local SGD", "D3", "Gossip-PGA")
FAMILIES = (
    Family("B1, consensus", "<=", lambda cases: b1_ratios(cases)[0], 4, LIMITS),
    Family("B1, bias", "<=", lambda cases: b1_ratios(cases)[1], 4, LIMITS),
    Family("B1, bias, sharper", "<=", lambda cases: b1_ratios(cases)[2], 4, LIMITS),
    Family("B2, bias", "<=", lambda cases: b2_ratios(cases)[0], 4, CONCAVE),
    Family("leading constant, above", "<=", lambda cases: b2_ratios(cases)[1], 4, CONCAVE),
    Family("leading constant, below", ">=", lambda cases: b2_ratios(cases)[2], 4, CONCAVE),
    Family("node-wise scaling", ">=", lambda cases: scaled_limits(cases, False)[2], 7, LIMITS),
    Family("common scaling, consensus", "<=", lambda cases: scaled_limits(cases, True)[0], 5, LIMITS),
    Family("common scaling, bias", "<=", lambda cases: scaled_limits(cases, True)[1], 5, LIMITS),
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
    *(Family(name, "<=", partial(changing_run, name), 8, "two quadratics, noise, 24 steps") for name in CHANGING),
    Family("D1, consensus", "<=", random_link, 6, "two nodes, a link that fails, 60 steps"),
    Family("one-peer, consensus", "<=", one_peer_run, 7, "four nodes, noise, 20 steps"),
    Family("averaging time, above", "<=", lambda cases: averaging_times(cases, False), 5, "three nodes, any start"),
    Family("averaging time, below", ">=", lambda cases: averaging_times(cases, True), 5, "three nodes, slowest mode"),
    Family("asynchronous weights", "<=", asynchronous_pair, 7, "two nodes of unequal speed"),
    Family("push-sum", "<=", push_sum_run, 12, "three nodes, 8 steps"),
    Family("MATCHA", ">=", matcha_weights, 4, "three matchings of four nodes"),
    Family("ring gap", "==", ring, 1, "3 ≤ n < 500"),
    Family("exponential graph's gap", ">=", exponential, 1, "3 ≤ n < 500"),
    *(Family(name, "<=", ratio, size, what) for name, ratio, size, what in server_instances.ROWS),
)  # fmt: skip
