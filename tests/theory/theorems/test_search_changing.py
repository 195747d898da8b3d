"""Adversaries of the bounds for mixing that changes: D1, D2, D3, Gossip-PGA.

Expectations are enumerated: every outcome of the noise, which is ±σ_i, and of the draw between two matrices.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, mixing, pairs, rho_of, sigmoid
from theory.theorems import gossip_pga, local_momentum, local_updates, random_mixing

N, STEPS = 2, 3


class Waves(NamedTuple):
    """f_i(x) = 2a_i sin²(ω_i(x − s_i)/2), nonconvex, with gradients a_iω_i sin(ω_i(x − s_i)) + noise ±σ_i."""

    size: np.ndarray
    frequency: np.ndarray
    shift: np.ndarray
    noise: np.ndarray

    @classmethod
    def read(cls, take: Take) -> Waves:
        return cls(np.exp(take(N)), np.exp(take(N)), 2 * take(N), np.exp(2 * take(N) - 2))

    def values(self, x):
        return 2 * self.size * np.sin(self.frequency * (x - self.shift) / 2) ** 2

    def slopes(self, x):
        return self.size * self.frequency * np.sin(self.frequency * (x - self.shift))

    def about(self, start):
        """The constants that every bound takes."""
        return {
            "smoothness": np.max(self.size * self.frequency**2, axis=1),
            "steps": STEPS,
            "n_nodes": N,
            "initial_gap": np.mean(self.values(start), axis=1),
            "dissimilarity": np.mean((self.size * self.frequency) ** 2, axis=1),  # at least the slopes' mean square
            "variance": np.mean(self.noise**2, axis=1),
        }


def measured(waves, start, lr, matrices, probabilities, momentum=0.0, atc=True):
    """(1/K)ΣE f'(x̄_k)² over all outcomes; `matrices` (steps, options, cases, n, n), one drawn a step."""
    options = matrices.shape[1]
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=N * STEPS))).reshape(-1, STEPS, N)
    draws = np.array(list(itertools.product(range(options), repeat=STEPS)))
    total = 0.0
    many = Waves(*(part[:, None] for part in waves))
    lr, momentum = np.reshape(lr, (-1, 1, 1)), np.reshape(momentum, (-1, 1, 1))
    for draw in draws:
        weight = np.prod([probabilities[:, option] for option in draw], axis=0)
        x = np.repeat(start[:, None], len(signs), axis=1)
        m = np.zeros_like(x)
        squares = 0.0
        for k, option in enumerate(draw):
            mean = np.repeat(x.mean(axis=2, keepdims=True), N, axis=2)
            squares = squares + np.mean(np.mean(many.slopes(mean), axis=2) ** 2, axis=1)
            m = momentum * m + many.slopes(x) + signs[:, k] * many.noise
            w = matrices[k, option].swapaxes(1, 2)
            x = (x - lr * m) @ w if atc else x @ w - lr * m
        total = total + weight * squares / STEPS
    return total


def parameter(matrices, probabilities):
    """p of an independent draw: matrices (options, cases, n, n)."""
    second = sum(probabilities[:, j, None, None] * w @ w for j, w in enumerate(matrices))
    return 1 - np.linalg.eigvalsh(second - 1 / N)[:, -1]


def random_pair(take):
    """Two matrices and their probabilities; on two nodes with λ of either sign."""
    matrices = np.stack([mixing(take(pairs(N)), take(1)[:, 0], N) for _ in range(2)])
    share = sigmoid(take(1)[:, 0])
    return matrices, np.stack([share, 1 - share], axis=1)


RANDOM_PAIR = 2 * (pairs(N) + 1) + 1
WAVES = 5 * N + 1


def random_mixing_ratio(cases, atc, sharper):
    take = Take(cases)
    waves, start = Waves.read(take), np.repeat(2 * take(1), N, axis=1)
    take(N - 1)
    matrices, probabilities = random_pair(take)
    p = parameter(matrices, probabilities)
    about = waves.about(start)
    smooth = about["smoothness"]
    if sharper:
        most = np.minimum(1, (1 / np.sqrt(1 - p) - 1) if atc else 1 - np.sqrt(1 - p)) / smooth
    else:
        most = random_mixing.largest_step(smooth, p, atc)
    lr = sigmoid(2 * take(1)[:, 0] + 2) * 0.999 * most
    bound = (random_mixing.sharper_bound if sharper else random_mixing.bound)(lr=lr, p=p, atc=atc, **about)
    left = measured(waves, start, lr, np.repeat(matrices[None], STEPS, axis=0), probabilities, atc=atc)
    return np.where(p > 1e-3, left / bound, np.nan)


@effort
@pytest.mark.parametrize("sharper", [False, True], ids=["explicit", "sharper"])
@pytest.mark.parametrize("atc", [True, False], ids=["atc", "cta"])
def test_d1(atc, sharper, tries):
    assert_unbroken(lambda cases: random_mixing_ratio(cases, atc, sharper), WAVES + RANDOM_PAIR + 2, min(tries, 6000))


def consensus_ratio(cases, n, atc, explicit=False, steps=30):
    """f_i(x) = hx²/2 − b_ix with h = ±L: the second moment of all states, in closed form."""
    take = Take(cases)
    share = sigmoid(take(1)[:, 0])
    matrices = [mixing(take(pairs(n)), take(1)[:, 0], n) for _ in range(2)]
    probabilities = np.stack([share, 1 - share], axis=1)
    second = sum(probabilities[:, j, None, None] * w @ w for j, w in enumerate(matrices))
    p = 1 - np.linalg.eigvalsh(second - 1 / n)[:, -1]
    curvature = np.sign(take(1)[:, 0]) * np.exp(take(1)[:, 0])
    smooth, b, noise = np.abs(curvature), take(n), np.exp(2 * take(1)[:, 0] - 2)
    b = b - b.mean(axis=1, keepdims=True)  # all of the step commutes with J: only the disagreement is followed
    most = (
        random_mixing.largest_step(smooth, p, atc)
        if explicit
        else (((1 / np.sqrt(1 - p) - 1) if atc else 1 - np.sqrt(1 - p)) / smooth)
    )
    lr = sigmoid(2 * take(1)[:, 0] + 2) * 0.999 * most
    # States with a 1 behind them: one step is [W(1 − γh), γWb; 0, 1] (ATC) or [W − γh, γb; 0, 1].
    moment = np.zeros((len(cases), n + 1, n + 1))
    moment[:, n, n] = 1
    worst = np.zeros(len(cases))
    rest = np.eye(n) - 1 / n
    for _ in range(steps):
        total = 0.0
        for j, w in enumerate(matrices):
            step = np.zeros_like(moment)
            step[:, n, n] = 1
            shrink = (lr * curvature)[:, None, None] * np.eye(n)
            pull = lr[:, None] * b
            step[:, :n, :n] = w - w @ shrink if atc else w - shrink
            step[:, :n, n] = (w @ pull[..., None])[..., 0] if atc else pull
            added = np.zeros_like(moment)
            added[:, :n, :n] = (lr * noise)[:, None, None] ** 2 * (w @ w if atc else np.eye(n)) @ rest
            total = total + probabilities[:, j, None, None] * (step @ moment @ step.swapaxes(1, 2) + added)
        keep = np.zeros((n + 1, n + 1))  # rounding would let the mean grow, which nothing contracts
        keep[:n, :n], keep[n, n] = rest, 1
        moment = keep @ total @ keep
        worst = np.maximum(worst, np.einsum("ij,cji->c", rest, moment[:, :n, :n]) / n)
    about = {"dissimilarity": np.mean(b**2, axis=1), "variance": noise**2}
    if explicit:
        bound = random_mixing.explicit_consensus_bound(lr, p, atc, **about)
    else:
        bound = random_mixing.consensus_bound(lr, smooth, p, atc, **about)
    return np.where(p > 1e-3, worst / bound, np.nan)


CONSENSUS = [(2, True), (3, True), (3, False)]


@effort
@pytest.mark.parametrize("explicit", [False, True], ids=["fixed point", "explicit"])
@pytest.mark.parametrize(("n", "atc"), CONSENSUS)
def test_d1_consensus(n, atc, explicit, tries):
    assert_unbroken(lambda cases: consensus_ratio(cases, n, atc, explicit), 2 * pairs(n) + n + 7, tries)


@pytest.mark.parametrize("atc", [True, False], ids=["atc", "cta"])
def test_d1_consensus_is_tight(atc):
    assert_tight(lambda cases: consensus_ratio(cases, 2, atc, steps=300), 2 * pairs(2) + 2 + 7)


def window_matrices(take, window):
    """Matrices of a window, some of them far from mixing, repeated; and p of the product."""
    one = [mixing(take(pairs(N)), 3 * take(1)[:, 0] - 3, N) for _ in range(window)]
    product = np.eye(N)
    for w in one:
        product = w @ product
    p = 1 - np.linalg.norm(product - 1 / N, ord=2, axis=(1, 2)) ** 2
    return np.stack([one[k % window] for k in range(STEPS)])[:, None], p


def local_updates_ratio(cases, window):
    take = Take(cases)
    waves, start = Waves.read(take), np.repeat(2 * take(1), N, axis=1)
    matrices, p = window_matrices(take, window)
    about = waves.about(start)
    lr = sigmoid(2 * take(1)[:, 0] + 2) * 0.999 * p / (8 * window * about["smoothness"])
    left = measured(waves, start, lr, matrices, np.ones((len(cases), 1)))
    return np.where(p > 1e-3, left / local_updates.bound(lr=lr, p=p, window=window, **about), np.nan)


@effort
@pytest.mark.parametrize("window", [1, 2, 3])
def test_d2(window, tries):
    size = WAVES + window * (pairs(N) + 1) + 1
    assert_unbroken(lambda cases: local_updates_ratio(cases, window), size, tries)


def averages(window, cases, gossip=None):
    """J at the end of each window, `gossip` or nothing between."""
    between = np.eye(N) if gossip is None else gossip
    each = [np.full((N, N), 1 / N) if (k + 1) % window == 0 else between for k in range(STEPS)]
    return np.stack([np.broadcast_to(w, (cases, N, N)) for w in each])[:, None]


def local_sgd_ratio(cases, window):
    take = Take(cases)
    waves, start = Waves.read(take), np.repeat(2 * take(1), N, axis=1)
    about = waves.about(start)
    lr = sigmoid(2 * take(1)[:, 0] + 2) * 0.999 / (2 * window * about["smoothness"])
    left = measured(waves, start, lr, averages(window, len(cases)), np.ones((len(cases), 1)))
    return left / local_updates.average_bound(lr=lr, window=window, **about)


@effort
@pytest.mark.parametrize("window", [1, 2, 3])
def test_d2_local_sgd(window, tries):
    assert_unbroken(lambda cases: local_sgd_ratio(cases, window), WAVES + 1, tries)


def gossip_pga_ratio(cases, period):
    take = Take(cases)
    waves, start = Waves.read(take), np.repeat(2 * take(1), N, axis=1)
    gossip = mixing(take(pairs(N)), take(1)[:, 0], N)
    about = waves.about(start)
    lr = sigmoid(2 * take(1)[:, 0]) / about["smoothness"]
    left = measured(waves, start, lr, averages(period, len(cases), gossip), np.ones((len(cases), 1)))
    bound = gossip_pga.bound(lr=lr, period=period, p=1 - rho_of(gossip) ** 2, **about)
    return np.where(np.isfinite(bound), left / bound, np.nan)


@effort
@pytest.mark.parametrize("period", [1, 2, 3])
def test_gossip_pga(period, tries):
    assert_unbroken(lambda cases: gossip_pga_ratio(cases, period), WAVES + pairs(N) + 2, tries)


def local_momentum_ratio(cases, window, atc):
    take = Take(cases)
    waves, start = Waves.read(take), np.repeat(2 * take(1), N, axis=1)
    w = mixing(take(pairs(N)), take(1)[:, 0], N)
    momentum, p = sigmoid(take(1)[:, 0]), 1 - rho_of(w) ** 2
    about = waves.about(start)
    most = local_momentum.largest_step(about["smoothness"], momentum, window, p)
    lr = sigmoid(2 * take(1)[:, 0] + 2) * 0.999 * most
    each = [w if (k + 1) % window == 0 else np.broadcast_to(np.eye(N), w.shape) for k in range(STEPS)]
    left = measured(waves, start, lr, np.stack(each)[:, None], np.ones((len(cases), 1)), momentum, atc)
    return np.where(
        p > 1e-3, left / local_momentum.bound(lr=lr, momentum=momentum, window=window, p=p, **about), np.nan
    )


@effort
@pytest.mark.parametrize(("window", "atc"), [(1, True), (1, False), (3, True)])
def test_d3(window, atc, tries):
    assert_unbroken(lambda cases: local_momentum_ratio(cases, window, atc), WAVES + pairs(N) + 4, tries)
