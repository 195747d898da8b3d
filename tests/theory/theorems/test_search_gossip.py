"""Adversaries of what is known about averaging alone: averaging times, MATCHA, one-peer networks, push-sum."""

from __future__ import annotations

import itertools
from functools import partial

import networkx as nx
import numpy as np
import pytest

import simlab
from figures.instances import asynchronous_pair, averaging_times, time_of
from simlab import dynamics
from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, sigmoid
from theory.theorems import asynchronous_weights, averaging_time, matcha, one_peer, push_sum

# Averaging times


def averages(graph):
    """The matrix of each link's average, (E, n, n)."""
    found = []
    for i, j in graph.edges:
        w = np.eye(len(graph))
        w[np.ix_([i, j], [i, j])] = 0.5
        found.append(w)
    return np.array(found)


def chance(matrices, start, accuracy, steps):
    """P(‖X̃_t‖ >= ε‖X⁰‖) for t = 0, ..., `steps`, over all orders of the matrices."""
    states = start[None] - start.mean()
    found = []
    for _ in range(steps + 1):
        found.append(np.mean(np.linalg.norm(states, axis=1) >= accuracy * np.linalg.norm(start) * (1 - 1e-12)))
        states = np.einsum("mij,sj->msi", matrices, states).reshape(-1, len(start))
    return np.array(found)


@pytest.mark.parametrize(
    "graph", [nx.path_graph(3), nx.cycle_graph(4), nx.complete_graph(3)], ids=["path", "ring", "K3"]
)
@pytest.mark.parametrize("accuracy", [0.05, 0.2, 0.45])
def test_averaging_times(graph, accuracy):
    matrices = averages(graph)
    values, vectors = np.linalg.eigh(matrices.mean(axis=0))
    second = values[-2]
    assert all(check.holds for check in averaging_time.assumptions(accuracy, second))
    assert matrices.mean(axis=0) == pytest.approx((matrices.swapaxes(1, 2) @ matrices).mean(axis=0))
    upper, lower = averaging_time.bound(accuracy, second), averaging_time.lower_bound(accuracy, second)
    steps = min(int(np.ceil(upper)), {2: 16, 3: 10, 4: 8}[len(matrices)])
    random = np.random.default_rng(0)
    starts = [vectors[:, -2], *random.standard_normal((5, len(graph)))]
    chances = np.array([chance(matrices, start, accuracy, steps) for start in starts])
    times = np.arange(steps + 1)
    assert np.all(chances[:, times >= upper] <= accuracy)
    assert chances[0, times < lower].min(initial=1) > accuracy
    if accuracy <= 0.25:  # the published form
        assert lower >= np.log(1 / accuracy) / (2 * np.log(1 / second))


def test_averaging_times_are_searched():
    """Three nodes, pairs of any probability, any start and ε; neither bound is tight on them (0.93 and 0.66)."""
    for lower in (False, True):
        assert_unbroken(partial(averaging_times, lower=lower), 5, 1_500)


def test_averaging_times_of_three_nodes_are_those_of_all_orders():
    """The recursion of the search, against every order of the three averages."""
    matrices, start = averages(nx.complete_graph(3)), np.array([1.0, 0.3, -1.3])
    accuracy, plane = 0.2, np.array([[1, 1, -2], [1, -1, 0]]) / np.sqrt([[6], [2]])
    chances = chance(matrices, start, accuracy, 8)
    lines = np.array([np.linalg.eigh(plane @ w @ plane.T)[1][:, -1] for w in matrices])
    left = np.abs(lines @ plane @ start) / np.linalg.norm(start)
    found = time_of(np.full((1, 3), 1 / 3), np.array([accuracy]), left[None], 8)
    assert found[0] == np.argmax(chances <= accuracy) > 2


def test_averaging_times_of_what_does_not_mix():
    assert not all(check.holds for check in averaging_time.assumptions(0.1, 1.0))
    assert not all(check.holds for check in averaging_time.assumptions(0.5, 0.3))


# MATCHA


def matchings(n, edges, colours):
    laplacians = np.zeros((max(colours) + 1, n, n))
    for (i, j), colour in zip(edges, colours, strict=True):
        laplacians[colour][np.ix_([i, j], [i, j])] += [[1, -1], [-1, 1]]
    return laplacians


RING = matchings(6, [(0, 1), (2, 3), (4, 5), (1, 2), (3, 4), (5, 0)], [0, 0, 0, 1, 1, 1])
PATH = matchings(4, [(0, 1), (2, 3), (1, 2)], [0, 0, 1])
STAR = matchings(4, [(0, 1), (0, 2), (0, 3)], [0, 1, 2])


def enumerated(laplacians, probabilities, weight):
    """p by every outcome."""
    second = np.zeros_like(laplacians[0])
    for on in itertools.product([0, 1], repeat=len(laplacians)):
        share = np.prod(np.where(on, probabilities, 1 - probabilities))
        w = np.eye(len(second)) - weight * np.tensordot(on, laplacians, 1)
        second += share * w.T @ w
    return 1 - np.linalg.eigvalsh(second - 1 / len(second))[-1]


def matcha_ratio(cases, laplacians):
    take = Take(cases)
    probabilities, reach = sigmoid(take(len(laplacians))), sigmoid(take(1)[:, 0])
    found = []
    for share, part in zip(probabilities, reach, strict=True):
        most = 2 / (np.linalg.eigvalsh(np.tensordot(share, laplacians, 1))[-1] + 2)
        weight = 0.999 * part * most
        assert all(check.holds for check in matcha.assumptions(laplacians, share, weight))
        exact = enumerated(laplacians, share, weight)
        assert matcha.parameter(laplacians, share, weight) == pytest.approx(exact, abs=1e-12)
        found.append(matcha.bound(laplacians, share, weight) / exact)
    return np.array(found)


@pytest.mark.parametrize("laplacians", [RING, PATH, STAR], ids=["ring", "path", "star"])
def test_matcha(laplacians):
    assert_unbroken(lambda cases: matcha_ratio(cases, laplacians), len(laplacians) + 1, 1_500)


def test_matcha_is_tight():
    """On two nodes, where L has one mode and the bound is p but for 2S <= 2L."""
    pair = matchings(2, [(0, 1)], [0])
    assert_tight(lambda cases: matcha_ratio(cases, pair), 2)


@pytest.mark.parametrize("budget", [0.1, 0.5, 1.0])
def test_every_budget_mixes_and_the_package_chooses_well(budget):
    network = dynamics.matchings(simlab.topologies.ring(6), budget)
    laplacians, probabilities, weight = RING, network.probabilities, network.edge_weight
    chosen = matcha.parameter(laplacians, probabilities, weight)
    others = [matcha.parameter(laplacians, probabilities, w) for w in np.linspace(0.01, 1.5, 300)]
    assert chosen >= max(others) - 1e-9
    assert chosen > 0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"weight": 1.0}, "weight"),
        ({"probabilities": np.array([0.0, 1.0])}, "probabilities"),
        ({"laplacians": RING[:1], "probabilities": np.array([0.5])}, "connected"),
        ({"laplacians": np.array([RING.sum(axis=0), RING[1]])}, "matchings"),
    ],
)
def test_assumptions_of_matcha(change, name):
    usual = {"laplacians": RING, "probabilities": np.array([0.5, 0.5]), "weight": 0.3}
    assert all(check.holds for check in matcha.assumptions(**usual))
    failed = [check.name for check in matcha.assumptions(**{**usual, **change}) if not check.holds]
    assert name in failed


# One-peer exponential networks


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_one_peer_networks_average_exactly_in_any_order(hops):
    n = 2**hops
    for order in itertools.permutations(range(hops)):
        product = np.eye(n)
        for k in order:
            product = one_peer.hop(n, k) @ product
        np.testing.assert_allclose(product, 1 / n, atol=1e-15)
    path = dynamics.one_peer_exponential(n).sample(hops)
    for k in range(hops):
        np.testing.assert_array_equal(path[k], one_peer.hop(n, k))


@pytest.mark.parametrize("n", [3, 6, 12])
def test_and_only_powers_of_2_do(n):
    product = np.eye(n)
    for k in range((n - 1).bit_length()):
        product = one_peer.hop(n, k) @ product
    assert np.abs(product - 1 / n).max() > 1e-3


def one_peer_ratio(cases, hops, steps=40):
    """f_i(x) = hx²/2 − b_ix with h = ±L and noise of one variance: the second moment in closed form."""
    take = Take(cases)
    n = 2**hops
    curvature, b, noise = np.sign(take(1)[:, 0]) * np.exp(take(1)[:, 0]), take(n), np.exp(2 * take(1)[:, 0] - 2)
    b = b - b.mean(axis=1, keepdims=True)
    smooth = np.abs(curvature)
    lr = sigmoid(2 * take(1)[:, 0]) * 0.999 / (max(hops - 1, 1) * smooth)
    rest = np.eye(n) - 1 / n
    mean, covariance, worst = np.zeros_like(b), np.zeros((len(cases), n, n)), np.zeros(len(cases))
    for k in range(steps):
        w = one_peer.hop(n, k) @ rest
        shrink = 1 - lr * curvature
        mean = (shrink[:, None] * mean + lr[:, None] * b) @ w.T
        covariance = w @ (shrink[:, None, None] ** 2 * covariance + (lr * noise)[:, None, None] ** 2 * np.eye(n)) @ w.T
        worst = np.maximum(worst, np.mean(mean**2, axis=1) + np.trace(covariance, axis1=1, axis2=2) / n)
    bound = one_peer.bound(lr, smooth, hops, np.mean(b**2, axis=1), noise**2)
    return worst / bound


@effort
@pytest.mark.parametrize("hops", [2, 3])
def test_one_peer_consensus(hops, tries):
    assert_unbroken(lambda cases: one_peer_ratio(cases, hops), 2**hops + 4, tries)


def test_one_peer_consensus_is_tight():
    """The last hop keeps what alternates along it: all of the last gradient's, where the step size is small."""
    assert_tight(lambda cases: one_peer_ratio(cases, 2), 8)


# Push-sum


def push_sum_ratio(cases, n, steps):
    take = Take(cases)
    links, start = np.exp(1.5 * take(n, n)), take(n, 2)
    found = []
    for weights, rows in zip(links, start, strict=True):
        p = weights / weights.sum(axis=0)
        assert all(check.holds for check in push_sum.assumptions(p))
        u, w = rows, np.ones(n)
        for _ in range(steps):
            u, w = p @ u, p @ w
        left = push_sum.measured(p, u / w[:, None], rows.mean(axis=0))
        bound = push_sum.bound(p, rows, steps)
        found.append(left / bound if bound > 1e-20 else np.nan)
    return np.array(found)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_push_sum(steps):
    assert_unbroken(lambda cases: push_sum_ratio(cases, 3, steps), 15, 1_500)


def test_push_sum_is_tight():
    assert_tight(lambda cases: push_sum_ratio(cases, 2, 1), 8)


def test_push_sum_needs_a_strongly_connected_digraph():
    one_way = np.array([[0.5, 0.0], [0.5, 1.0]])
    failed = [check.name for check in push_sum.assumptions(one_way) if not check.holds]
    assert failed == ["strongly connected"]
    assert push_sum.assumptions(one_way.T)[0].holds is False


# Asynchronous nodes


def asynchronous_ratio(cases, n=3, d=2):
    """AD-PSGD's stationary mean on a complete graph, exponential times: a linear system written out here."""
    take = Take(cases)
    roots, b = take(n, d, d), take(n, d)
    hessians = roots @ roots.swapaxes(-1, -2) + 0.3 * np.eye(d)
    rates = np.exp(take(n))
    smooth = np.linalg.norm(hessians, ord=2, axis=(2, 3)).max(axis=1)
    lr = 0.5 * sigmoid(take(1)[:, 0]) / smooth
    found = []
    for h, c, r, step in zip(hessians, b, rates, lr, strict=True):
        size = n * d
        mean, shift = np.zeros((2 * size, 2 * size)), np.zeros(2 * size)
        for i, j in itertools.permutations(range(n), 2):
            share = r[i] / r.sum() / (n - 1)
            event = np.eye(2 * size)
            rows = {node: slice(node * d, node * d + d) for node in range(n)}
            reads = {node: slice(size + node * d, size + node * d + d) for node in range(n)}
            move = np.zeros(2 * size)
            for node in (i, j):
                event[rows[node]] = 0
                event[rows[node], rows[i]] = event[rows[node], rows[j]] = np.eye(d) / 2
            event[rows[i], reads[i]] -= step * h[i]
            move[rows[i]] = step * c[i]
            event[reads[i]] = event[rows[i]]
            move[reads[i]] = move[rows[i]]
            mean, shift = mean + share * event, shift + share * move
        y = np.linalg.solve(np.eye(2 * size) - mean, shift)[size:].reshape(n, d)
        assert all(check.holds for check in asynchronous_weights.assumptions(r, h))
        identity = np.einsum("i,id->d", r, np.einsum("ide,ie->id", h, y) - c)
        assert np.abs(identity).max() < 1e-8 * np.abs(c).max()
        left = np.linalg.norm(np.average(y, axis=0, weights=r) - asynchronous_weights.weighted_minimizer(r, h, c))
        found.append(left / asynchronous_weights.bound(r, h, y))
    return np.array(found)


def test_asynchronous_weights():
    assert_unbroken(asynchronous_ratio, 3 * 4 + 6 + 4, 1_000)


def test_asynchronous_weights_are_tight():
    """Two nodes, the slower of which is almost as concave as the other one is convex."""
    assert_unbroken(asynchronous_pair, 7, 1_500)
    assert_tight(asynchronous_pair, 7)


def test_assumptions_of_asynchronous_weights():
    hessians = np.array([np.eye(2), np.diag([1.0, -4.0])])
    failed = [check.name for check in asynchronous_weights.assumptions(np.ones(2), hessians) if not check.holds]
    assert failed == ["strongly convex"]
    assert not asynchronous_weights.assumptions(np.array([1.0, 0.0]), hessians)[0].holds


# Many at once


def test_formulas_of_many_networks_are_those_of_each():
    random = np.random.default_rng(0)
    p = random.uniform(0.1, 1.0, (5, 4, 4))
    p /= p.sum(axis=1, keepdims=True)
    start, steps = random.standard_normal((5, 4, 3)), np.arange(3)
    rates, roots = random.uniform(0.5, 2.0, (5, 4)), random.standard_normal((5, 4, 3, 3))
    hessians, linear = roots @ roots.swapaxes(-1, -2), random.standard_normal((5, 4, 3))
    laplacians = np.array([[[1, -1, 0], [-1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, -1], [0, -1, 1]]])
    chances, weights = random.uniform(0.1, 1.0, (5, 2)), random.uniform(0.1, 0.4, 5)
    for function, each in (
        (partial(push_sum.bound, steps=steps), (p, start)),
        (push_sum.measured, (p, start, start.mean(axis=1, keepdims=True))),
        (asynchronous_weights.weighted_minimizer, (rates, hessians, linear)),
        (asynchronous_weights.bound, (rates, hessians, linear)),
        (partial(matcha.bound, laplacians), (chances, weights)),
        (partial(matcha.parameter, laplacians), (chances, weights)),
    ):
        one_by_one = [function(*(values[k] for values in each)) for k in range(5)]
        np.testing.assert_allclose(function(*each), one_by_one, rtol=1e-12)
