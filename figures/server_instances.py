"""Small instances of the theorems about servers, dual steps and controlled gossip, as those of `figures.instances`.

Two nodes on the line, f_i = h(x ∓ s)²/2 or h_i(x − s_i)²/2; compressors leave r times their message, or are off by √q
times it to either side. Second moments are exact, by their linear recursions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from theory.theorems import consensus_distance, double_squeeze, error_feedback, lag, marina, sign_sgd, ssda

STEPS = 30


def beginnings(squares: list[np.ndarray], bound: Any, **about: Any) -> np.ndarray:
    """The largest mean over the first K steps, over its bound."""
    counts = np.arange(1, len(squares) + 1)[:, None]
    return np.max(np.cumsum(squares, axis=0) / counts / bound(**about, steps=counts), axis=0)


def moments_run(step: np.ndarray, drive: np.ndarray, start: np.ndarray, steps: int = STEPS) -> list[np.ndarray]:
    """E x² before each step of z⁺ = step z + drive ξ, ξ of variance 1, from z = (start, 0, ..., 0)."""
    moment, found = np.zeros(step.shape), []
    moment[:, 0, 0] = start**2
    for _ in range(steps):
        found.append(moment[:, 0, 0])
        moment = step @ moment @ step.swapaxes(1, 2) + drive[:, :, None] * drive[:, None, :]
    return found


def error_feedback_run(cases: np.ndarray, form: str) -> np.ndarray:
    """One objective hx²/2 with noise, messages that leave r; `form` "up", "down", or "memory" of equal gradients."""
    h, start, noise = np.exp(cases[:, 0]), np.exp(cases[:, 1]), np.exp(2 * cases[:, 2] - 2)
    r = 0.95 * expit(cases[:, 3] - 1)
    omega = 1 - r**2
    if form == "memory":
        error, worst = np.zeros_like(h), np.zeros_like(h)
        for _ in range(200):
            error = r * (h + error)
            worst = np.maximum(worst, error**2)
        return worst / error_feedback.memory_bound(h**2, omega)
    module = double_squeeze if form == "down" else error_feedback
    curve = -module.factor(1.0, 1.0, omega)  # D = 1 − y − curve y², y = γL
    lr = 0.999 * expit(2 * cases[:, 4] + 2) * 2 / (1 + np.sqrt(1 + 4 * curve)) / h
    # What is sent is (1 − r)(γ(hx + ξ) + e); with DoubleSqueeze (1 − r)(that + E), e and E times γ.
    size = 3 if form == "down" else 2
    step, drive = np.zeros((len(h), size, size)), np.zeros((len(h), size))
    push = np.zeros((len(h), size))
    push[:, 0], push[:, 1] = lr * h, 1
    step[:, 1], drive[:, 1] = r[:, None] * push, r * lr * noise
    sent, sent_noise = (1 - r)[:, None] * push, (1 - r) * lr * noise
    if form == "down":
        sent[:, 2] = 1
        step[:, 2], drive[:, 2] = r[:, None] * sent, r * sent_noise
        sent, sent_noise = (1 - r)[:, None] * sent, (1 - r) * sent_noise
    step[:, 0], drive[:, 0] = -sent, -sent_noise
    step[:, 0, 0] += 1
    squares = [h**2 * square for square in moments_run(step, drive, start)]
    return beginnings(squares, module.bound, lr=lr, smoothness=h, n_nodes=1, initial_gap=h * start**2 / 2,
                      dissimilarity=0.0, variance=noise**2, compression=omega)  # fmt: skip


def moment_run(cases: np.ndarray) -> np.ndarray:
    """One objective a log cosh x, of slope at most a, messages that leave r; no noise."""
    a, x, r = np.exp(cases[:, 0]), 2 * cases[:, 1], 0.95 * expit(cases[:, 2] - 1)
    lr, start = np.exp(2 * cases[:, 3]) / a, x
    error, squares = np.zeros_like(x), []
    for _ in range(STEPS):
        squares.append((a * np.tanh(x)) ** 2)
        p = lr * a * np.tanh(x) + error
        x, error = x - (1 - r) * p, r * p
    gap = a * (np.logaddexp(start, -start) - np.log(2))
    return beginnings(squares, error_feedback.moment_bound, lr=lr, smoothness=a, initial_gap=gap, second_moment=a**2,
                      compression=1 - r**2)  # fmt: skip


def marina_run(cases: np.ndarray) -> np.ndarray:
    """Both nodes have hx²/2; what they send is off by √q times it, to either side: second moments of x and v."""
    h, start, probability, q = np.exp(cases[:, 0]), np.exp(cases[:, 1]), expit(cases[:, 2]), np.exp(2 * cases[:, 3])
    lr = marina.largest_step(h, q / 2, probability) * expit(2 * cases[:, 4] + 3)
    move = np.zeros((len(h), 2, 2))
    move[:, 0, 0], move[:, 0, 1] = 1, -lr
    dense, change = move.copy(), move.copy()
    dense[:, 1] = h[:, None] * move[:, 0]
    change[:, 1, 1] = 1 - lr * h
    moment = (start**2)[:, None, None] * np.stack([np.ones_like(h), h, h, h**2], axis=1).reshape(-1, 2, 2)
    squares = []
    for _ in range(STEPS):
        squares.append(h**2 * moment[:, 0, 0])
        kept = change @ moment @ change.swapaxes(1, 2)
        kept[:, 1, 1] += q / 2 * (lr * h) ** 2 * moment[:, 1, 1]
        coin = probability[:, None, None]
        moment = coin * (dense @ moment @ dense.swapaxes(1, 2)) + (1 - coin) * kept
    return beginnings(squares, marina.bound, lr=lr, initial_gap=h * start**2 / 2)


def sign_run(cases: np.ndarray) -> np.ndarray:
    """Two nodes h(x ∓ s)²/2 without noise; a tie of the vote counts as 1."""
    h, x, lr, s = np.exp(cases[:, 0]), 2 * cases[:, 1], np.exp(cases[:, 2]), np.exp(3 * cases[:, 3] - 3)
    start, sizes = x, []
    for _ in range(STEPS):
        sizes.append(h * np.abs(x))
        up = (x - s >= 0) | (x + s >= 0)
        x = x - lr * np.where(up, 1, -1)
    return beginnings(sizes, sign_sgd.bound, lr=lr, smoothness=h, n_nodes=2, initial_gap=h * start**2 / 2,
                      dissimilarity=(h * s) ** 2, variance=0.0, dim=1)  # fmt: skip


def lag_run(cases: np.ndarray, memory: int = 3) -> dict[str, np.ndarray]:
    """The workers' rule on h_i(x − s_i)²/2, over the three bounds; NaN where a rule's step size is not allowed."""
    h, s, trigger = np.exp(cases[:, :2]), cases[:, 2:4], expit(2 * cases[:, 4:5] - 3) / memory
    smooth, mu = h.max(axis=1), h.mean(axis=1)
    best = np.sum(h * s, axis=1) / np.sum(h, axis=1)
    lr = (expit(2 * cases[:, 5] + 2) * (1 - memory * trigger[:, 0]) / smooth)[:, None]
    x = start = best + 2 * cases[:, 6]
    uploaded, moves = np.zeros_like(h), [np.zeros(len(h))] * memory
    squares, gaps, sent, count = [], [], [], np.zeros(len(h))
    for k in range(STEPS):
        squares.append((mu * (x - best)) ** 2)
        g = h * (x[:, None] - s)
        sends = (g - uploaded) ** 2 > trigger / lr**2 * sum(moves)[:, None]  # type: ignore[index]
        uploaded = np.where(sends, g, uploaded)
        count = count + 1 + sends.sum(axis=1)
        move = lr[:, 0] * uploaded.mean(axis=1)
        x, moves = x - move, [move**2, *moves[:-1]]
        clear = np.abs(move) > 1e-7 * (1 + np.abs(x))
        gaps.append(mu * (x - best) ** 2 / 2 / lag.rate_bound(lr[:, 0], k + 1, mu * (start - best) ** 2 / 2, mu))
        sent.append(np.where(clear, count / lag.message_bound(lr, trigger, memory, k + 1, h), 0))
    allowed = lag.budget(lr[:, 0], smooth, trigger[:, 0], memory, mu) <= 1
    gap = mu * (start - best) ** 2 / 2
    return {
        "gradients": beginnings(squares, lag.bound, lr=lr[:, 0], initial_gap=gap),
        "rate": np.where(allowed, np.max(gaps[:10], axis=0), np.nan),
        "messages": np.max(sent, axis=0),
    }


def ssda_run(cases: np.ndarray) -> np.ndarray:
    """Two nodes h_i(x − s_i)²/2, I − W with the one positive eigenvalue 1 − λ."""
    apart, h, s = 1 - np.tanh(cases[:, 0]), np.exp(cases[:, 1:3]), cases[:, 3:5]
    mu, smooth = h.min(axis=1), h.max(axis=1)
    best = np.sum(h * s, axis=1, keepdims=True) / np.sum(h, axis=1, keepdims=True)
    lr = expit(2 * cases[:, 5] + 2) * mu / apart
    theta = np.sqrt(lr * apart / smooth) * expit(2 * cases[:, 6] + 2)
    momentum = (1 - theta) / (1 + theta)
    b = np.sqrt(np.mean((h * (best - s)) ** 2, axis=1))
    dual, ahead, worst = np.zeros_like(h), np.zeros_like(h), np.zeros(len(h))
    for k in range(1, STEPS + 1):
        x = s + ahead / h
        new = ahead - (lr * apart)[:, None] * (x - x.mean(axis=1, keepdims=True))
        ahead, dual = new + momentum[:, None] * (new - dual), new
        bound, error = ssda.bound(k, momentum, mu, smooth, b), np.mean((x - best) ** 2, axis=1)
        worst = np.maximum(worst, np.where(bound > 1e-20 * (1 + np.max(s**2, axis=1)), error / bound, 0))
    return np.where((b > 1e-3) & (theta > 0.02), worst, np.nan)


def distance_run(cases: np.ndarray) -> np.ndarray:
    """DSGD (ATC) on h(x ∓ s)²/2 with noise, W with the eigenvalue λ: mean and disagreement are two modes."""
    h, start, noise = np.exp(cases[:, 0]), np.exp(cases[:, 1]), np.exp(2 * cases[:, 2] - 4)
    eigenvalue, s, lr = np.tanh(cases[:, 3]), np.exp(2 * cases[:, 4] - 4), expit(2 * cases[:, 5] + 2) / h
    mean, apart, spread, squares = start**2, np.zeros_like(h), np.zeros_like(h), []
    for _ in range(STEPS):
        squares.append(h**2 * (mean - apart**2 - spread))
        keep = 1 - lr * h
        mean = keep**2 * mean + lr**2 * noise**2 / 2
        apart, spread = (
            eigenvalue * (keep * apart + lr * h * s),
            eigenvalue**2 * (keep**2 * spread + lr**2 * noise**2 / 2),
        )
    return beginnings(squares, consensus_distance.bound, lr=lr, smoothness=h, n_nodes=2, initial_gap=h * start**2 / 2,
                      variance=noise**2)  # fmt: skip


ONE, TWO = f"quadratic, noise, {STEPS} steps", f"two quadratics, {STEPS} steps"
ROWS = (
    ("EF-SGD, memory", lambda cases: error_feedback_run(cases, "memory"), 4, "equal gradients"),
    ("EF-SGD", lambda cases: error_feedback_run(cases, "up"), 5, ONE),
    ("EF-SGD, bounded gradients", moment_run, 4, f"log cosh, {STEPS} steps"),
    ("DoubleSqueeze", lambda cases: error_feedback_run(cases, "down"), 5, ONE),
    ("MARINA", marina_run, 5, f"quadratic, worst compressor, {STEPS} steps"),
    ("signSGD", sign_run, 4, TWO),
    ("LAG, gradients", lambda cases: lag_run(cases)["gradients"], 7, f"{TWO}, D = 3"),
    ("LAG, rate", lambda cases: lag_run(cases)["rate"], 7, "two quadratics, 10 steps, D = 3"),
    ("LAG, messages", lambda cases: lag_run(cases)["messages"], 7, f"{TWO}, D = 3"),
    ("SSDA", ssda_run, 7, TWO),
    ("critical distance", distance_run, 6, f"two quadratics, noise, {STEPS} steps"),
)
