"""Adversaries of the bounds for methods that go through a server, or gossip until they are near: exact expectations.

Two nodes on the line, f_i = 2a_i sin²(ω_i(x − s_i)/2), noise ±σ_i; every outcome of noise, coins and unbiased
compressors is enumerated, biased compressors leave r times their message, to either side. A run's every beginning is
measured.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, mixing, pairs, sigmoid
from tests.theory.theorems.test_search_changing import STEPS, WAVES, N, Waves
from theory.theorems import consensus_distance, double_squeeze, error_feedback, marina, sign_sgd

SIGNS = np.array(list(itertools.product([-1.0, 1.0], repeat=N * STEPS))).reshape(-1, STEPS, N)


def many(waves):
    return Waves(*(part[:, None] for part in waves))


def slope_of_mean(waves, x):
    """f' at x, (cases, outcomes)."""
    return np.mean(many(waves).slopes(np.repeat(x[..., None], N, axis=-1)), axis=-1)


def averages(values):
    """Means over the first K steps of (steps, cases, outcomes), expected: (steps, cases)."""
    return np.cumsum(np.mean(values, axis=-1), axis=0) / np.arange(1, len(values) + 1)[:, None]


def beginnings(bound, about, **more):
    """The bound for each number of steps: (steps, cases)."""
    return np.stack([bound(**{**about, **more, "steps": k}) for k in range(1, STEPS + 1)])


def server_run(waves, start, lr, r, sides, noise, down=False):
    """Squared slopes before each step of error feedback; with `down` of DoubleSqueeze."""
    x = np.repeat(start, len(SIGNS), axis=1)
    error, server = np.zeros((*x.shape, N)), np.zeros_like(x)
    lr, r, found = lr[:, None], r[:, None], []
    for k in range(STEPS):
        found.append(slope_of_mean(waves, x) ** 2)
        p = many(waves).slopes(np.repeat(x[..., None], N, axis=-1)) + noise[:, None] * SIGNS[:, k] + error
        error = r[..., None] * sides[:, None, k, :N] * p
        s = np.mean(p - error, axis=-1) + server
        server = r * sides[:, None, k, N] * s if down else np.zeros_like(s)
        x = x - lr * (s - server)
    return np.stack(found)


SERVER = WAVES + STEPS * (N + 1) + 2


def server_ratio(cases, form):
    take = Take(cases)
    waves = Waves.read(take)
    start = 2 * take(1)
    sides, r = np.sign(take(STEPS, N + 1)), sigmoid(take(1)[:, 0] - 2)
    about = waves.about(start)
    smooth = about["smoothness"]
    fraction, compression = sigmoid(2 * take(1)[:, 0] + 2) * 0.999, 1 - r**2
    if form == "moment":
        lr = 2 * fraction / smooth
        second = about.pop("dissimilarity") + about.pop("variance")  # of the waves, both hold at every x
        del about["n_nodes"]
        given = {**about, "second_moment": second, "compression": compression}
        bound = beginnings(error_feedback.moment_bound, given, lr=lr)
    else:
        module = double_squeeze if form == "down" else error_feedback
        curve = 1 - module.factor(1.0, 1.0, compression) - 1  # D = 1 − y − curve y²
        lr = fraction * 2 / (1 + np.sqrt(1 + 4 * curve)) / smooth
        bound = beginnings(module.bound, about, lr=lr, compression=compression)
    left = averages(server_run(waves, start, lr, r, sides, waves.noise, form == "down"))
    return np.max(left / bound, axis=0)


@effort
@pytest.mark.parametrize("form", ["up", "moment", "down"])
def test_error_feedback(form, tries):
    assert_unbroken(lambda cases: server_ratio(cases, form), SERVER, min(tries, 20_000))


def memory_ratio(cases, steps=200):
    """What is remembered of gradients of size at most G, whose messages leave r of themselves."""
    take = Take(cases)
    r, size = 0.95 * sigmoid(take(1)[:, 0]), np.exp(take(1)[:, 0])
    shares = np.tanh(3 * take(4))  # a cycle of gradients
    error, worst = np.zeros(len(r)), np.zeros(len(r))
    for k in range(steps):
        error = r * (size * shares[:, k % 4] + error)
        worst = np.maximum(worst, error**2)
    return worst / error_feedback.memory_bound(size**2, 1 - r**2)


@effort
def test_memory(tries):
    assert_unbroken(memory_ratio, 6, tries)


def test_a_smaller_memory_is_caught():
    assert_tight(memory_ratio, 6)


def marina_ratio(cases, shared):
    take = Take(cases)
    waves = Waves.read(take)
    start = 2 * take(1)
    probability, q = sigmoid(take(1)[:, 0]), np.exp(2 * take(1)[:, 0])
    about = waves.about(start)
    lr = marina.largest_step(about["smoothness"], q if shared else q / N, probability)
    lr = lr * sigmoid(2 * take(1)[:, 0] + 3)
    outcomes = list(itertools.product([0, 1], *([[-1.0, 1.0]] * N)))  # coin; by how much each node's message is off
    x = np.repeat(start[:, 0], 1)[:, None]
    weight = np.ones_like(x)

    def slopes(x):
        return many(waves).slopes(np.repeat(x[..., None], N, axis=-1))

    v, found = slopes(x).mean(axis=-1), []
    for k in range(STEPS):
        found.append(np.sum(weight * slope_of_mean(waves, x) ** 2, axis=1))
        if k == STEPS - 1:
            break
        new = x - lr[:, None] * v
        change, states = slopes(new) - slopes(x), []
        for coin, *off in outcomes:
            sides = np.array([off[0]] * N if shared else off)
            message = change * (1 + np.sqrt(q)[:, None, None] * sides)
            estimate = slopes(new).mean(axis=-1) if coin else v + message.mean(axis=-1)
            share = (probability if coin else 1 - probability)[:, None] / 2**N
            states.append((new, estimate, weight * share))
        x, v, weight = (np.concatenate(parts, axis=1) for parts in zip(*states, strict=True))
    left = np.cumsum(found, axis=0) / np.arange(1, STEPS + 1)[:, None]
    bound = np.stack([marina.bound(lr, k, about["initial_gap"]) for k in range(1, STEPS + 1)])
    return np.max(left / bound, axis=0)


@effort
@pytest.mark.parametrize("shared", [False, True], ids=["independent", "shared"])
def test_marina(shared, tries):
    assert_unbroken(lambda cases: marina_ratio(cases, shared), WAVES + 4, min(tries, 20_000))


def test_a_smaller_bound_of_marina_is_caught():
    assert_tight(lambda cases: marina_ratio(cases, False), WAVES + 4)


def sign_ratio(cases):
    take = Take(cases)
    waves = Waves.read(take)
    start = 2 * take(1)
    lr = np.exp(2 * take(1)[:, 0] - 1)
    noise = waves.noise * (take(1) > 0)
    about = waves._replace(noise=noise).about(start)
    if np.any(same := take(1)[:, 0] > 0):  # equal nodes: nothing differs
        for part in waves:
            part[same, 1] = part[same, 0]
        about = waves._replace(noise=noise).about(start)
        about["dissimilarity"] = np.where(same, 0.0, about["dissimilarity"])
    x, found = np.repeat(start, len(SIGNS), axis=1), []
    for k in range(STEPS):
        found.append(np.abs(slope_of_mean(waves, x)))
        g = many(waves).slopes(np.repeat(x[..., None], N, axis=-1)) + noise[:, None] * SIGNS[:, k]
        vote = np.where(g >= 0, 1, -1).sum(axis=-1)
        x = x - lr[:, None] * np.where(vote >= 0, 1, -1)
    left = averages(np.stack(found))
    return np.max(left / beginnings(sign_sgd.bound, about, lr=lr, dim=1), axis=0)


@effort
def test_sign_sgd(tries):
    assert_unbroken(sign_ratio, WAVES + 3, min(tries, 20_000))


def test_a_smaller_bound_of_sign_sgd_is_caught():
    assert_tight(sign_ratio, WAVES + 3)


def distance_ratio(cases, equal=False):
    take = Take(cases)
    waves, start = Waves.read(take), 2 * take(N)
    for part in waves[:3] if equal else ():
        part[:, 1] = part[:, 0]
    w, scale = mixing(take(pairs(N)), take(1)[:, 0], N), np.exp(2 * take(1)[:, 0] - 2)
    waves = waves._replace(noise=waves.noise * (take(1) > 0))
    start = start.mean(axis=1, keepdims=True) + scale[:, None] * (start - start.mean(axis=1, keepdims=True))
    about = waves.about(np.repeat(start.mean(axis=1, keepdims=True), N, axis=1))
    del about["dissimilarity"]
    lr = sigmoid(2 * take(1)[:, 0] + 3) / about["smoothness"]
    x, found = np.repeat(start[:, None], len(SIGNS), axis=1), []
    for k in range(STEPS):
        mean = x.mean(axis=-1)
        apart = np.mean((x - mean[..., None]) ** 2, axis=-1)
        found.append(slope_of_mean(waves, mean) ** 2 - about["smoothness"][:, None] ** 2 * apart)
        x = (x - lr[:, None, None] * (many(waves).slopes(x) + SIGNS[:, k] * waves.noise[:, None])) @ w
    left = averages(np.stack(found))
    return np.max(left / beginnings(consensus_distance.bound, about, lr=lr), axis=0)


@effort
def test_critical_distance(tries):
    assert_unbroken(distance_ratio, 4 * N + N + pairs(N) + 4, min(tries, 20_000))


def test_a_smaller_critical_distance_is_caught():
    assert_tight(lambda cases: distance_ratio(cases, equal=True), 4 * N + N + pairs(N) + 4)
