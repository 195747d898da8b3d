"""Adversaries of the bounds of LAG: gradients, rate and messages, on plain runs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, sigmoid
from theory.theorems import lag

N, STEPS = 3, 12


def run(slope, start, lr, trigger, memory, asked_by=None):
    """States (steps + 1, cases) and messages (steps + 1, cases), of the workers' rule; of the server's by L_i."""
    x, lr, trigger = start, lr[:, None], trigger[:, None]
    uploaded, known = np.zeros((len(x), N)), np.repeat(x[:, None], N, axis=1)
    moves, states, messages = [np.zeros(len(x))] * memory, [x], [np.zeros(len(x))]
    for k in range(STEPS):
        g, allowed = slope(x[:, None]), trigger / lr**2 * sum(moves)[:, None]
        if asked_by is None:
            sends = (g - uploaded) ** 2 > allowed
            cost = 1 + sends.sum(axis=1)
        else:
            sends = ((asked_by * (known - x[:, None])) ** 2 > allowed) | (k == 0)
            cost = 2 * sends.sum(axis=1)
        uploaded, known = np.where(sends, g, uploaded), np.where(sends, x[:, None], known)
        move = lr[:, 0] * uploaded.mean(axis=1)
        x, moves = x - move, [move**2, *moves[:-1]]
        states.append(x)
        messages.append(messages[-1] + cost)
    return np.stack(states), np.stack(messages)


def quadratics(take):
    """f_i = h_i(x − s_i)²/2, and what is known of them."""
    h, s = np.exp(1.5 * take(N)), take(N)
    best = np.sum(h * s, axis=1) / np.sum(h, axis=1)
    return h, best, lambda x: h * (x - s)


def gradient_ratio(cases, memory, asks, equal=False):
    """Waves, so that f is not convex."""
    take = Take(cases)
    size, frequency, shift = np.exp(take(N)), np.exp(take(N)), 2 * take(N)
    if equal:
        size, frequency, shift = (np.repeat(part[:, :1], N, axis=1) for part in (size, frequency, shift))
    own = size * frequency**2
    smooth = own.max(axis=1)
    trigger = sigmoid(2 * take(1)[:, 0] - 3) / memory
    lr = sigmoid(2 * take(1)[:, 0] + 3) * (1 - memory * trigger) / smooth
    start = 2 * take(1)[:, 0]

    def slope(x):
        return size * frequency * np.sin(frequency * (x - shift))

    states, _ = run(slope, start, lr, trigger, memory, own if asks else None)
    gap = np.mean(2 * size * np.sin(frequency * (start[:, None] - shift) / 2) ** 2, axis=1)
    squares = np.stack([slope(x[:, None]).mean(axis=1) ** 2 for x in states[:-1]])
    means = np.cumsum(squares, axis=0) / np.arange(1, STEPS + 1)[:, None]
    bounds = np.stack([lag.bound(lr, k, gap) for k in range(1, STEPS + 1)])
    return np.max(means / bounds, axis=0)


CASES = [(1, False), (1, True), (3, False), (3, True)]


@effort
@pytest.mark.parametrize(("memory", "asks"), CASES)
def test_gradients(memory, asks, tries):
    assert_unbroken(lambda cases: gradient_ratio(cases, memory, asks), 3 * N + 3, tries)


def test_a_smaller_bound_on_gradients_is_caught():
    assert_tight(lambda cases: gradient_ratio(cases, 1, False, equal=True), 3 * N + 3)


def rate_ratio(cases, memory, asks):
    take = Take(cases)
    h, best, slope = quadratics(take)
    smooth, mu = h.max(axis=1), h.mean(axis=1)
    trigger = sigmoid(2 * take(1)[:, 0] - 3) / memory
    lr = sigmoid(2 * take(1)[:, 0] + 1) * (1 - np.sqrt(memory * trigger)) / smooth
    allowed = lag.budget(lr, smooth, trigger, memory, mu) <= 1
    start = best + 2 * take(1)[:, 0]
    states, _ = run(slope, start, lr, trigger, memory, h if asks else None)
    gaps = mu * (states - best) ** 2 / 2
    bounds = np.stack([lag.rate_bound(lr, k, gaps[0], mu) for k in range(STEPS + 1)])
    return np.where(allowed, np.max(gaps[1:] / bounds[1:], axis=0), np.nan)


@effort
@pytest.mark.parametrize(("memory", "asks"), CASES)
def test_rate(memory, asks, tries):
    assert_unbroken(lambda cases: rate_ratio(cases, memory, asks), 2 * N + 3, tries)


def test_a_smaller_rate_is_caught():
    assert_tight(lambda cases: rate_ratio(cases, 1, False), 2 * N + 3)


def message_ratio(cases, memory, asks):
    """Any γ at all."""
    take = Take(cases)
    h, best, slope = quadratics(take)
    lr = np.exp(take(1)[:, 0] - 1) / h.max(axis=1)
    trigger = np.exp(3 * take(1)[:, 0] - 2)
    states, messages = run(slope, best + 2 * take(1)[:, 0], lr, trigger, memory, h if asks else None)
    bounds = np.stack(
        [lag.message_bound(lr[:, None], trigger[:, None], memory, k, h, asks) for k in range(1, STEPS + 1)]
    )
    moves = np.abs(np.diff(states, axis=0)).min(axis=0)  # below rounding of x nothing is compared
    return np.where(moves > 1e-8 * (1 + np.abs(states).max(axis=0)), np.max(messages[1:] / bounds, axis=0), np.nan)


@effort
@pytest.mark.parametrize(("memory", "asks"), CASES)
def test_messages(memory, asks, tries):
    assert_unbroken(lambda cases: message_ratio(cases, memory, asks), 2 * N + 3, tries)


def test_fewer_messages_are_caught():
    assert_tight(lambda cases: message_ratio(cases, 3, True), 2 * N + 3)
