"""Adversaries of the bounds of CHOCO-Gossip."""

from __future__ import annotations

import numpy as np
import pytest

import simlab
from tests.helpers.adversary import ROUNDING, Take, assert_unbroken, effort, mixing, pairs, sigmoid
from theory.theorems import choco_gossip


def choco_ratio(cases, power=1):
    """Decrease that the theorem promises over that of the worst state of the worst mode, or of the mean's replicas."""
    take = Take(cases)
    gap, compression = sigmoid(3 * take(1)[:, 0]), sigmoid(3 * take(1)[:, 0])
    smallest = (1 - gap) * np.tanh(take(1)[:, 0] - 1)
    eigenvalue = smallest + (1 - gap - smallest) * sigmoid(2 * take(1)[:, 0])
    step = gap ** (power - 1) * choco_gossip.consensus_step(gap, 1 - smallest, compression)
    least = np.minimum(choco_gossip.least_decrease(eigenvalue, step, compression), compression)
    promised = choco_gossip.decrease(gap, compression)
    if power == 1:
        assert np.all(promised <= gap * step / 2 * (1 + 1e-12))
        promised = gap * step / 2
    return promised / least


@effort
def test_choco_gossip_over_all_states(tries):
    assert_unbroken(choco_ratio, 4, tries)


def test_choco_gossip_with_the_misquoted_step_is_caught():
    with pytest.raises(AssertionError, match="broken"):
        assert_unbroken(lambda cases: choco_ratio(cases, power=2), 4, 1_500)


def top_k(x, k):
    kept = np.argsort(-np.abs(x), axis=-1)[..., :k]
    result = np.zeros_like(x)
    np.put_along_axis(result, kept, np.take_along_axis(x, kept, axis=-1), axis=-1)
    return result


def scaled_sign(x):
    return np.mean(np.abs(x), axis=-1, keepdims=True) * np.sign(x)


@effort
def test_choco_gossip_simulated(tries):
    """Plain runs from random states: every step of every run contracts at least as the theorem says."""
    random = np.random.default_rng(5)
    steps, worst = 30, 0.0
    for _ in range(tries // steps + 1):
        n, d = random.integers(2, 9), random.integers(1, 7)
        w = mixing(random.standard_normal((1, pairs(n))), random.standard_normal(1), n)[0]
        if random.random() < 0.5:
            compressor, compression = scaled_sign, 1 / d
        else:
            k = int(random.integers(1, d + 1))
            compressor, compression = (lambda v, k=k: top_k(v, k)), k / d
        network = simlab.Network.from_matrix((w + w.T) / 2)
        given = choco_gossip.constants(network, compression)
        step = choco_gossip.consensus_step(**given)
        assert all(check.holds for check in choco_gossip.assumptions(network, compression, step))
        x, replica = random.standard_normal((n, d)), random.standard_normal((n, d)) * random.integers(2)
        before = None
        for _ in range(steps):
            replica = replica + compressor(x - replica)
            error = choco_gossip.error(x, replica)
            if before is not None and before > 1e-20:
                worst = max(worst, error / before / choco_gossip.bound(**given))
            before = error
            x = x + step * (w @ replica - replica)
    print(f"largest factor over bound {worst:.6f}")
    assert worst <= 1 + ROUNDING


def test_choco_gossip_modes_are_the_simulation():
    """The 2x2 form is the plain recursion: its worst state, run with a compressor of equality, has the worst factor."""
    n, eigenvalue, step, compression = 2, 0.4, 0.3, 0.36
    w = np.array([[0.7, 0.3], [0.3, 0.7]])
    largest = 0.0
    for angle in np.linspace(0, np.pi, 2_001):
        a, c = np.cos(angle), np.sin(angle)
        x, replica = np.array([[a], [-a]]), np.array([[a - c], [c - a]])
        before = choco_gossip.error(x, replica)
        x = x + step * (w @ replica - replica)
        replica = x - np.sqrt(1 - compression) * (x - replica)
        largest = max(largest, choco_gossip.error(x, replica) / before)
    assert n == len(w)
    assert 1 - largest == pytest.approx(choco_gossip.least_decrease(eigenvalue, step, compression), rel=1e-4)
