"""Networks that change: laws of every process, their distributions against enumeration, optima, errors."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

import simlab
from simlab import Network, dynamics, topologies
from simlab.dynamics.matchings import activation, best_weight
from simlab.generators import NETWORK, generator
from simlab.network import Exchanges, SamplePath
from simlab.network.process import fault
from simlab.step.streams import Stream

FALSE_ALARM = 1e-6  # of each statistical test, had its seed been drawn

# One of each kind: (connected symmetric network, digraph of its size, numbers in [0, 1]) -> process


def exponential_of(network: Network, spread: float) -> dynamics.Exponential:
    return dynamics.Exponential(1 + spread * np.arange(network.n_nodes))


def largest_divisor(n: int, below: float) -> int:
    return max(k for k in range(1, n + 1) if n % k == 0 and k <= max(1, below * n))


PROCESSES: dict[str, Callable[[Network, Network, float, float], Any]] = {
    "cycle": lambda w, v, p, q: dynamics.cycle([w, topologies.disconnected(w.n_nodes), w]),
    "cycle of directed": lambda w, v, p, q: dynamics.cycle([w, v]),
    "every": lambda w, v, p, q: dynamics.every(w, 1 + int(4 * p)),
    "choice": lambda w, v, p, q: dynamics.choice([w, topologies.complete(w.n_nodes)], [p, 1 - p]),
    "choice of directed": lambda w, v, p, q: dynamics.choice([v, w, v]),
    "markov": lambda w, v, p, q: dynamics.markov(
        [w, topologies.disconnected(w.n_nodes)], [[0.1 + p / 2, 0.9 - p / 2], [0.9 - q / 2, 0.1 + q / 2]]
    ),
    "link_failures": lambda w, v, p, q: dynamics.link_failures(w, p),
    "bursts": lambda w, v, p, q: dynamics.link_failures(w, p, 1 + 5 * q),
    "one-sided": lambda w, v, p, q: dynamics.link_failures(w, p, 1 + 5 * q, one_sided=True),
    "node_failures": lambda w, v, p, q: dynamics.node_failures(w, p),
    "matchings": lambda w, v, p, q: dynamics.matchings(w, 0.1 + 0.9 * p),
    "noise": lambda w, v, p, q: dynamics.noise(dynamics.node_failures(w, p), 0.1 + q),
    "pairwise": lambda w, v, p, q: dynamics.pairwise(w),
    "groups": lambda w, v, p, q: dynamics.groups(w.n_nodes, largest_divisor(w.n_nodes, p)),
    "one_peer_exponential": lambda w, v, p, q: dynamics.one_peer_exponential(w.n_nodes),
    "poisson": lambda w, v, p, q: dynamics.asynchronous(w),
    "unequal poisson": lambda w, v, p, q: dynamics.asynchronous(w, exponential_of(w, q)),
    "fixed times": lambda w, v, p, q: dynamics.asynchronous(w, 1 + p * np.arange(w.n_nodes)),
    "drawn times": lambda w, v, p, q: dynamics.asynchronous(w, lambda random, node: 1 + q * random.gamma(1 + node)),
}
PAIRS = ("pairwise", "poisson", "unequal poisson", "fixed times", "drawn times")


@st.composite
def processes(draw, kinds=tuple(PROCESSES)):
    """A process over a random graph; its kind is drawn too."""
    kind = draw(st.sampled_from(kinds))
    needs_links = kind in (*PAIRS, "matchings")
    n = draw(st.integers(2 if needs_links else 1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    graph = nx.random_labeled_tree(n, seed=int(random.integers(2**31))) if n > 1 else nx.empty_graph(1)
    graph.add_edges_from(pair for pair in itertools.combinations(range(n), 2) if random.random() < 0.4)
    network = Network.from_graph(graph, lazy=draw(st.booleans()))
    digraph = topologies.random_digraph(n, 0.8, seed=int(random.integers(2**31)), weights="pull")
    p, q = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])), draw(st.floats(0, 1))
    return PROCESSES[kind](network, digraph, p, q)


@given(processes(), st.integers(0, 5))
@settings(max_examples=100)
def test_every_matrix_is_what_the_process_says(process, seed):
    n, path = process.n_nodes, process.sample(20, seed)
    assert len(path) == 20
    for k in range(20):
        w = path[k]
        np.testing.assert_allclose(w.sum(axis=1), 1, atol=1e-14)
        if process.double:
            np.testing.assert_allclose(w.sum(axis=0), 1, atol=1e-14)
        if process.symmetric:
            np.testing.assert_allclose(w, w.T, atol=1e-15)
            assert np.linalg.eigvalsh(w)[0] >= process.smallest_eigenvalue - 1e-12
        asleep = ~path.awake[k]
        np.testing.assert_array_equal(w[asleep], np.eye(n)[asleep])
        np.testing.assert_array_equal(w[:, asleep], np.eye(n)[:, asleep])
    assert process.stochastic == ("double" if process.double else "row")
    assert not np.any(path.fires & ~path.awake)
    assert path.awake.sum(axis=1).max() <= process.awake
    assert np.all(path.fires == path.awake) or process.asynchronous
    assert np.all(np.diff(path.time, prepend=0) >= 0)


@given(processes(), st.integers(0, 5))
@settings(max_examples=100)
def test_exchanges_keep_their_form(process, seed):
    exchanges = process.sample(20, seed).exchanges
    assert fault(process, exchanges, 20) == ""  # a run does not look at them again
    for block in range(len(exchanges.start) - 1):
        rows = exchanges.rows[exchanges.start[block] : exchanges.start[block + 1]]
        assert np.all(np.diff(rows) > 0)
        for t in range(exchanges.start[block], exchanges.start[block + 1]):
            entries = exchanges.indices[exchanges.indptr[t] : exchanges.indptr[t + 1]]
            assert np.all(np.diff(entries) > 0)
            assert np.all(np.isin(entries, rows))
    total = exchanges.start[-1]
    assert len(exchanges.rows) == len(exchanges.fires) == len(exchanges.receivers) == len(exchanges.indptr) - 1 == total
    assert exchanges.indptr[-1] == len(exchanges.indices) == len(exchanges.weights)
    assert exchanges.which.max() < len(exchanges.start) - 1
    assert exchanges.indices.dtype == np.int32 and exchanges.weights.dtype == np.float64
    whole = (exchanges.which, exchanges.start, exchanges.rows, exchanges.receivers, exchanges.indptr)
    assert {part.dtype for part in whole} == {np.dtype(np.int64)}


@given(processes(), st.integers(0, 5), st.lists(st.integers(0, 9), min_size=1, max_size=6))
@settings(max_examples=100)
def test_how_the_steps_are_cut_changes_nothing(process, seed, cuts):
    whole = process.sample(sum(cuts), seed, replicate=3)
    draw, k = process.walk(generator(seed, 3, NETWORK)), 0
    for steps in cuts:
        part = draw(steps)
        assert len(part.which) == steps
        for j in range(steps):
            np.testing.assert_array_equal(part.matrix(j, process.n_nodes).toarray(), whole[k + j])
        if part.times is not None:
            np.testing.assert_array_equal(part.times, whole.time[k : k + steps])
        fired = simlab.network.SamplePath(process.n_nodes, part).fires
        np.testing.assert_array_equal(fired, whole.fires[k : k + steps])
        k += steps


def receivers(path: Any, k: int) -> np.ndarray:
    """To how many others each node sends at step k, 0 of those that sleep."""
    exchanges, found = path.exchanges, np.zeros(path.n_nodes, int)
    block = slice(*exchanges.start[exchanges.which[k] : exchanges.which[k] + 2])
    found[exchanges.rows[block]] = exchanges.receivers[block]
    return found


def arrivals(w: np.ndarray) -> np.ndarray:
    return np.count_nonzero(w - np.diag(np.diag(w)), axis=0)


@given(processes(), st.integers(0, 5))
@settings(max_examples=50)
def test_a_message_is_counted_for_each_that_it_is_sent_to(process, seed):
    path = process.sample(10, seed)
    for k in range(10):
        sent = process.network.degrees if isinstance(process, dynamics.failures.LinkFailures) else arrivals(path[k])
        np.testing.assert_array_equal(receivers(path, k), sent)


def test_a_seed_names_a_path_that_replicates_do_not_share():
    process = dynamics.link_failures(topologies.ring(6), 0.5)
    a, b = process.sample(20, seed=1, replicate=2), process.sample(20, seed=1, replicate=2)
    others = process.sample(20, seed=1), process.sample(20, seed=2, replicate=2)
    equal = lambda one, two: all(np.array_equal(one[k], two[k]) for k in range(20))  # noqa: E731
    assert equal(a, b) and not any(equal(a, other) for other in others)
    by_stream = process.walk(Stream(1, 2).network())(20)
    assert all(np.array_equal(by_stream.matrix(k, 6).toarray(), a[k]) for k in range(20))


@pytest.mark.parametrize("kind", [kind for kind in PROCESSES if kind != "drawn times"])
def test_processes_survive_pickling_and_cannot_be_changed(kind):
    process = PROCESSES[kind](topologies.ring(4), topologies.directed_ring(4), 0.5, 0.5)
    again = pickle.loads(pickle.dumps(process))
    assert repr(again) == repr(process)
    np.testing.assert_array_equal(again.sample(9)[8], process.sample(9)[8])
    with pytest.raises(AttributeError, match="immutable"):
        process.n_nodes = 5


def test_a_path_knows_its_length():
    path = topologies.ring(3).sample(4)
    np.testing.assert_array_equal(path[-1], path[3])
    with pytest.raises(IndexError, match="step 4 is beyond the 4 steps"):
        path[4]


# Distributions: what each step draws from, enumerated by plain loops

RING = topologies.ring(4, weights="laplacian")  # unequal to 1/3; edge weight 1/3 would be metropolis's too
STAR = topologies.star(4)
Law = list[tuple[float, np.ndarray]]


def without(network: Network, links: set[tuple[int, int]]) -> np.ndarray:
    """W whose receivers i do not hear j, for (i, j) in `links`."""
    w = network.weights.copy()
    for i, j in links:
        w[i, i] += w[i, j]
        w[i, j] = 0
    return w


def subsets(items: list[Any], p: float) -> list[tuple[float, tuple[Any, ...]]]:
    count = len(items)
    return [
        (p**size * (1 - p) ** (count - size), chosen)
        for size in range(count + 1)
        for chosen in itertools.combinations(items, size)
    ]


def edges_of(network: Network) -> list[tuple[int, int]]:
    w = network.weights
    return [(i, j) for i in range(len(w)) for j in range(i) if w[i, j]]


def failing_links(network: Network, p: float) -> Law:
    both = [(share, {*down, *((j, i) for i, j in down)}) for share, down in subsets(edges_of(network), p)]
    return [(share, without(network, down)) for share, down in both]


def failing_directions(network: Network, p: float) -> Law:
    directions = [pair for i, j in edges_of(network) for pair in ((i, j), (j, i))]
    return [(share, without(network, set(down))) for share, down in subsets(directions, p)]


def failing_nodes(network: Network, p: float) -> Law:
    nodes = range(network.n_nodes)
    return [
        (share, without(network, {(i, j) for i in nodes for j in nodes if i != j and (i in down or j in down)}))
        for share, down in subsets(list(nodes), p)
    ]


def average(n: int, *groups: tuple[int, ...]) -> np.ndarray:
    w = np.eye(n)
    for group in groups:
        w[np.ix_(group, group)] = 1 / len(group)
    return w


def partitions(nodes: tuple[int, ...], size: int) -> list[list[tuple[int, ...]]]:
    if not nodes:
        return [[]]
    found = []
    for rest in itertools.combinations(nodes[1:], size - 1):
        left = tuple(node for node in nodes[1:] if node not in rest)
        found += [[(nodes[0], *rest), *others] for others in partitions(left, size)]
    return found


def groups_of(n: int, size: int) -> Law:
    every = partitions(tuple(range(n)), size)
    return [(1 / len(every), average(n, *groups)) for groups in every]


def pairs_of(network: Network) -> Law:
    edges = edges_of(network)
    return [(1 / len(edges), average(network.n_nodes, edge)) for edge in edges]


def matched(process: Any) -> Law:
    law = []
    for active in itertools.product([0, 1], repeat=len(process.probabilities)):
        share = np.prod([p if on else 1 - p for p, on in zip(process.probabilities, active, strict=True)])
        w = np.eye(process.n_nodes)
        for (i, j), m in zip(process.edges, process.matching, strict=True):
            d = np.eye(process.n_nodes)[i] - np.eye(process.n_nodes)[j]
            w -= process.edge_weight * active[m] * np.outer(d, d)
        law.append((share, w))
    return law


def events_of(network: Network, rates: np.ndarray) -> Law:
    n, neighbours = network.n_nodes, network.weights - np.diag(np.diag(network.weights)) != 0
    return [
        (rates[i] / rates.sum() / neighbours[i].sum(), average(n, (i, j)))
        for i in range(n)
        for j in np.flatnonzero(neighbours[i])
    ]


RATES = np.array([1.0, 2.0, 3.0, 0.5])
MATCHA = dynamics.matchings(STAR, 0.5)
LAWS: dict[str, tuple[Any, Law]] = {
    "choice": (
        dynamics.choice([RING, STAR, topologies.disconnected(4)], [0.5, 0.2, 0.3]),
        [(0.5, RING.weights), (0.2, STAR.weights), (0.3, np.eye(4))],
    ),
    "links of a ring": (dynamics.link_failures(RING, 0.3), failing_links(RING, 0.3)),
    "links of a star": (dynamics.link_failures(STAR, 0.6), failing_links(STAR, 0.6)),
    "bursts": (dynamics.link_failures(topologies.path(2), 0.3, 3.0), failing_links(topologies.path(2), 0.3)),
    "directions": (dynamics.link_failures(STAR, 0.4, one_sided=True), failing_directions(STAR, 0.4)),
    "nodes": (dynamics.node_failures(STAR, 0.4), failing_nodes(STAR, 0.4)),
    "matchings": (MATCHA, matched(MATCHA)),
    "pairs": (dynamics.pairwise(STAR), pairs_of(STAR)),
    "groups of 2": (dynamics.groups(4, 2), groups_of(4, 2)),
    "groups of 3": (dynamics.groups(6, 3), groups_of(6, 3)),
    "poisson": (dynamics.asynchronous(STAR), events_of(STAR, np.ones(4))),
    "unequal poisson": (dynamics.asynchronous(STAR, dynamics.Exponential(1 / RATES)), events_of(STAR, RATES)),
}


def key(w: np.ndarray) -> bytes:
    return (np.round(w, 9) + 0.0).tobytes()


def frequencies_fit(seen: Counter[Any], law: dict[Any, float]) -> bool:
    assert set(seen) <= {outcome for outcome, share in law.items() if share > 0}
    outcomes = [outcome for outcome, share in law.items() if share > 0]
    if len(outcomes) == 1:
        return True
    count = sum(seen.values())
    expected = np.array([law[outcome] for outcome in outcomes]) * count
    return stats.chisquare([seen[outcome] for outcome in outcomes], expected).pvalue > FALSE_ALARM


def merged(law: Law) -> dict[bytes, float]:
    shares: Counter[bytes] = Counter()
    for share, w in law:
        shares[key(w)] += share
    return dict(shares)


@pytest.mark.parametrize("kind", LAWS)
def test_steps_are_drawn_from_the_law_that_is_enumerated(kind):
    process, law = LAWS[kind]
    if kind == "bursts":  # steps depend on each other: the first of many paths is stationary, and so is a late one
        for k in (0, 4):
            seen = Counter(key(process.sample(k + 1, seed=7, replicate=r)[k]) for r in range(2000))
            assert frequencies_fit(seen, merged(law))
        return
    path = process.sample(8000, seed=11)
    assert frequencies_fit(Counter(key(path[k]) for k in range(len(path))), merged(law))


@pytest.mark.parametrize("kind", ["links of a star", "pairs", "groups of 2", "unequal poisson", "choice"])
def test_steps_do_not_depend_on_each_other(kind):
    process, law = LAWS[kind]
    path = process.sample(16000, seed=13)
    keys = [key(path[k]) for k in range(len(path))]
    joint = {(a, b): p * q for a, p in merged(law).items() for b, q in merged(law).items()}
    assert frequencies_fit(Counter(zip(keys[::2], keys[1::2], strict=True)), joint)


def test_who_fires_goes_by_the_rates():
    process = dynamics.asynchronous(STAR, dynamics.Exponential(1 / RATES))
    fired = np.nonzero(process.sample(20000, seed=3).fires)[1]
    assert frequencies_fit(Counter(fired.tolist()), dict(enumerate(RATES / RATES.sum())))


def two_steps(process: Any, state: Callable[[np.ndarray], Any]) -> Counter[Any]:
    paths = (process.sample(2, seed=5, replicate=r) for r in range(3000))
    return Counter((state(path[0]), state(path[1])) for path in paths)


def test_markov_chains_start_stationary_and_follow_their_transitions():
    transitions = np.array([[0.2, 0.8, 0.0], [0.5, 0.0, 0.5], [0.9, 0.0, 0.1]])
    values, vectors = np.linalg.eig(transitions.T)
    stationary = np.real(vectors[:, np.argmin(abs(values - 1))])
    stationary = stationary / stationary.sum()
    networks = [RING, STAR, topologies.complete(4)]
    law = {(i, j): stationary[i] * transitions[i, j] for i in range(3) for j in range(3)}
    seen = two_steps(
        dynamics.markov(networks, transitions),
        lambda w: next(i for i in range(3) if np.array_equal(w, networks[i].weights)),
    )
    assert frequencies_fit(seen, law)


@pytest.mark.parametrize("probability", [0.2, 0.8])
def test_outages_last(probability):
    burst, p = 4.0, probability
    fails = p / burst  # from up to down, so that outages last burst/(1 - p) in the mean
    law = {(True, True): p * (1 - (1 - p) / burst), (True, False): p * (1 - p) / burst}
    law |= {(False, True): (1 - p) * fails, (False, False): (1 - p) * (1 - fails)}
    seen = two_steps(dynamics.link_failures(topologies.path(2), p, burst), lambda w: bool(w[0, 1] == 0))
    assert frequencies_fit(seen, law)
    # Late in one path: lengths of outages are geometric.
    down = np.array([w[0, 1] == 0 for w in dynamics.link_failures(topologies.path(2), p, burst).sample(20000, seed=1)])
    edges = np.flatnonzero(np.diff(down))
    lengths = np.diff(edges)[down[edges[:-1] + 1]]
    mean = burst / (1 - p)
    error = np.std(lengths) / np.sqrt(len(lengths))
    assert abs(lengths.mean() - mean) < stats.norm.isf(FALSE_ALARM / 2) * error


def rate(law: Law) -> float:
    """p = 1 - λ_max(E[WʹW] - J)."""
    n = len(law[0][1])
    return 1 - np.linalg.eigvalsh(sum(share * w.T @ w for share, w in law) - np.full((n, n), 1 / n))[-1]


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("weights", ["max_degree", "laplacian"])
def test_enumeration_agrees_with_the_closed_form_of_independent_links(q, weights):
    network = topologies.star(5, weights=weights)
    alpha = network.weights[0, 1]
    ells = np.linalg.eigvalsh(nx.laplacian_matrix(nx.star_graph(4)).toarray())[1:]
    closed = 1 - np.max(1 - 2 * alpha * q * ells + alpha**2 * (q**2 * ells**2 + 2 * q * (1 - q) * ells))
    assert rate(failing_links(network, 1 - q)) == pytest.approx(closed, abs=1e-12)


def test_enumeration_agrees_with_the_closed_forms_of_pairs_and_groups():
    ring = topologies.ring(6)
    gap = np.linalg.eigvalsh(nx.laplacian_matrix(nx.cycle_graph(6)).toarray())[1]
    assert rate(pairs_of(ring)) == pytest.approx(gap / 12)
    assert rate(pairs_of(topologies.complete(5))) == pytest.approx(1 / 4)
    assert rate(groups_of(6, 2)) == pytest.approx(6 / 10)
    assert rate(groups_of(6, 3)) == pytest.approx(6 * 2 / (3 * 5))
    assert rate(groups_of(6, 6)) == pytest.approx(1)


# Each process alone


def test_cycle_takes_its_members_in_turn():
    path = dynamics.cycle([RING, STAR, topologies.disconnected(4)]).sample(7)
    for k, expected in enumerate([RING.weights, STAR.weights, np.eye(4)] * 2):
        np.testing.assert_array_equal(path[k], expected)
    assert path.exchanges.start[-1] == 12  # three blocks, however many steps


def test_every_tenth_step_communicates():
    path = dynamics.every(RING, 3).sample(10)
    for k in range(10):
        np.testing.assert_array_equal(path[k], RING.weights if k in (2, 5, 8) else np.eye(4))
        np.testing.assert_array_equal(receivers(path, k), RING.degrees * (k in (2, 5, 8)))
    assert path.awake.all() and path.fires.all()
    np.testing.assert_array_equal(dynamics.every(RING, 1).sample(1)[0], RING.weights)


@pytest.mark.parametrize("t", [0, 1, 2, 3, 5])
def test_one_peer_exponential_averages_exactly_after_any_t_steps(t):
    n = 2**t
    path = dynamics.one_peer_exponential(n).sample(3 * t + 1)
    for k in range(2 * t):
        product = np.linalg.multi_dot([*(path[j] for j in range(k, k + t)), np.eye(n)])
        np.testing.assert_allclose(product, np.full((n, n), 1 / n), atol=1e-15)


def test_one_peer_exponential_of_others_does_not():
    path = dynamics.one_peer_exponential(6).sample(3)
    assert np.abs(path[2] @ path[1] @ path[0] - 1 / 6).max() > 0.01
    np.testing.assert_array_equal(path[1], (np.eye(6) + np.roll(np.eye(6), -2, axis=1)) / 2)  # node i takes from i - 2


@pytest.mark.parametrize("build", [dynamics.link_failures, dynamics.node_failures])
@pytest.mark.parametrize("network", [topologies.path(1), topologies.path(2), STAR, topologies.ring(9)], ids=str)
def test_failures_of_probability_0_are_the_network_and_of_1_no_communication(build, network):
    never, always = build(network, 0.0).sample(5), build(network, 1.0).sample(5)
    for k in range(5):
        np.testing.assert_array_equal(never[k], network.weights)  # to the bit
        np.testing.assert_array_equal(receivers(never, k), network.degrees)
        np.testing.assert_array_equal(always[k], np.eye(network.n_nodes))
    assert always.awake.all() == (build is dynamics.link_failures)
    assert never.awake.all()
    if build is dynamics.node_failures:
        assert not always.awake.any()


def test_a_static_network_is_a_path_too():
    directed = topologies.random_digraph(5, 0.5, seed=1)
    for network in (RING, directed, topologies.path(1)):
        path = network.sample(3, seed=4)
        np.testing.assert_array_equal(path[2], network.weights)
        np.testing.assert_array_equal(receivers(path, 1), arrivals(network.weights))
        assert path.awake.shape == path.fires.shape == (3, network.n_nodes)
        assert path.awake.all() and path.fires.all()
        np.testing.assert_array_equal(path.time, [1, 2, 3])


def test_directed_members_keep_what_they_sum_to():
    push = topologies.random_digraph(5, 0.5, seed=1)
    assert dynamics.cycle([push, topologies.ring(5)]).stochastic == "column"
    assert dynamics.choice([topologies.directed_ring(5)]).stochastic == "double"
    assert not dynamics.choice([topologies.directed_ring(5)]).is_symmetric
    pull = topologies.random_digraph(5, 0.5, seed=1, weights="pull")
    assert dynamics.link_failures(pull, 0.5).stochastic == "row"


def test_members_need_to_connect_the_nodes_only_together():
    swap = Network.from_matrix([[0, 1, 0], [1, 0, 0], [0, 0, 1]], mixes=False)
    graph = nx.empty_graph(3)
    graph.add_edge(1, 2)
    pair = Network.from_graph(graph, mixes=False)
    assert dynamics.cycle([swap, pair]).n_nodes == 3
    assert not swap.mixes and not pair.mixes


# MATCHA


@pytest.mark.parametrize("network", [topologies.path(2), STAR, topologies.ring(5), topologies.grid(12)], ids=str)
def test_matchings_cover_every_edge_once(network):
    process = dynamics.matchings(network, 0.5)
    assert sorted(map(tuple, process.edges.tolist())) == sorted((j, i) for i, j in edges_of(network))
    for m in range(len(process.probabilities)):
        ends = process.edges[process.matching == m].ravel()
        assert len(ends) and len(set(ends.tolist())) == len(ends)
    assert len(process.probabilities) <= 2 * network.degrees.max() - 1 or network.n_nodes == 2


GRAPHS = [nx.star_graph(3), nx.lollipop_graph(3, 2), nx.path_graph(4), nx.barbell_graph(3, 0), nx.cycle_graph(5)]


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("budget", [0.05, 0.4, 0.8, 1.0])
def test_activation_is_the_best_of_a_dense_grid(graph, budget):
    process = dynamics.matchings(Network.from_graph(graph), budget)
    laplacians = laplacians_of(process)
    m, p = len(process.probabilities), process.probabilities

    def gap(candidates: np.ndarray) -> np.ndarray:
        return np.linalg.eigvalsh(np.tensordot(candidates, laplacians, 1))[..., 1]

    assert p.sum() <= budget * m + 1e-12 and p.min() >= 0 and p.max() <= 1
    found = float(gap(p))
    # λ₂ is monotone, so that the best spends all it may: a grid of the others, the last one takes the rest.
    points = np.linspace(0, 1, 41)
    grid = np.stack(np.meshgrid(*[points] * (m - 1), indexing="ij"), axis=-1).reshape(-1, m - 1)
    rest = budget * m - grid.sum(axis=1)
    grid = np.concatenate([grid, np.minimum(rest, 1)[:, None]], axis=1)[rest >= 0]
    best = gap(grid).max()
    assert found >= best - 1e-7 * best
    assert found <= best + 2 * m * (points[1] - points[0])  # λ_max(L_j) = 2


def laplacians_of(process: Any) -> np.ndarray:
    found = np.zeros((len(process.probabilities), process.n_nodes, process.n_nodes))
    for (i, j), m in zip(process.edges, process.matching, strict=True):
        d = np.eye(process.n_nodes)[i] - np.eye(process.n_nodes)[j]
        found[m] += np.outer(d, d)
    return found


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_the_weight_of_matchings_is_the_best_and_rho_what_it_leaves(graph):
    process = dynamics.matchings(Network.from_graph(graph), 0.6)
    assert 1 - rate(matched(process)) == pytest.approx(process.rho, abs=1e-12)
    laplacians = laplacians_of(process)
    n, mean = process.n_nodes, np.tensordot(process.probabilities, laplacians, 1)
    square = mean @ mean + 2 * np.tensordot(process.probabilities * (1 - process.probabilities), laplacians, 1)
    scanned = [np.linalg.norm(np.eye(n) - 2 * a * mean + a**2 * square - 1 / n, 2) for a in np.linspace(0, 2, 2001)]
    assert process.rho <= min(scanned) + 1e-7  # at a kink the search is as good as the root of eps
    assert process.rho >= min(scanned) - 0.02


def test_a_full_budget_activates_everything():
    process = dynamics.matchings(topologies.grid(9), 1.0)
    np.testing.assert_allclose(process.probabilities, 1, atol=1e-12)
    assert len({key(w) for w in process.sample(50)}) == 1


def test_activation_is_proven_to_be_optimal_where_lambda_2_is_multiple():
    network = topologies.torus(16)
    laplacians = laplacians_of(dynamics.matchings(network, 0.5))
    p = activation(laplacians, 0.5)
    # By symmetry and concavity the equal ones of a colouring by directions are optimal among all, so no less is found.
    assert np.linalg.eigvalsh(np.tensordot(p, laplacians, 1))[1] >= 0.5 * 2 - 1e-6
    assert best_weight(laplacians, p)[1] < 1


# Events


def test_equal_fixed_times_are_rounds_in_the_order_of_the_nodes():
    path = dynamics.asynchronous(topologies.ring(5), 2.0).sample(20)
    np.testing.assert_array_equal(np.nonzero(path.fires)[1], np.tile(np.arange(5), 4))
    np.testing.assert_array_equal(path.time, np.repeat([2.0, 4.0, 6.0, 8.0], 5))


def test_fixed_times_are_a_calendar():
    seconds = np.array([1.0, 2.5, 0.75])
    path = dynamics.asynchronous(topologies.ring(3), seconds).sample(40)
    calendar = sorted((k * c, i) for i, c in enumerate(seconds) for k in range(1, 41))[:40]
    np.testing.assert_array_equal(path.time, [time for time, _ in calendar])
    np.testing.assert_array_equal(np.nonzero(path.fires)[1], [node for _, node in calendar])


def test_drawn_times_are_those_that_the_function_returns():
    drawn: list[list[float]] = [[], [], []]

    def compute(random, node):
        drawn[node].append(random.lognormal())
        return drawn[node][-1]

    path = dynamics.asynchronous(topologies.ring(3), compute).sample(60)
    fired = np.nonzero(path.fires)[1]
    for node in range(3):
        mine = path.time[fired == node]
        np.testing.assert_allclose(mine, np.cumsum(drawn[node])[: len(mine)])
    assert np.all(np.diff(path.time) > 0)


def test_poisson_events_come_at_the_sum_of_the_rates():
    process = dynamics.asynchronous(STAR, dynamics.Exponential(1 / RATES))
    gaps = np.diff(process.sample(20000, seed=9).time, prepend=0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / RATES.sum())).pvalue > FALSE_ALARM
    one = np.diff(process.sample(20000, seed=9).time[process.sample(20000, seed=9).fires[:, 2]])
    assert stats.kstest(one, "expon", args=(0, 1 / RATES[2])).pvalue > FALSE_ALARM


@pytest.mark.parametrize("build", [dynamics.pairwise, dynamics.asynchronous])
def test_pairs_are_two_rows_among_however_many_nodes(build):
    exchanges = build(topologies.ring(100_000)).sample(10).exchanges
    assert exchanges.start[-1] == 20 and len(exchanges.indices) == 40
    assert {tuple(np.sort(np.diff(pair) % 100_000)) for pair in exchanges.rows.reshape(10, 2)} <= {(1,), (99_999,)}


# Errors

W4 = topologies.ring(4)
PROCESS = dynamics.pairwise(W4)
PUSH = topologies.random_digraph(4, 0.6, seed=0)
PULL = topologies.random_digraph(4, 0.6, seed=0, weights="pull")
HALF = Network.from_graph(nx.Graph([(0, 1), (2, 3)]), mixes=False)
ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no list": (lambda: dynamics.cycle(W4), TypeError, r"networks = Network.*pass a list"),
    "empty": (lambda: dynamics.cycle([]), ValueError, r"networks = \[\].*at least one"),
    "no network": (lambda: dynamics.cycle([W4, 3]), TypeError, r"networks\[1\] is a int; pass a simlab\.Network"),
    "a process": (lambda: dynamics.choice([W4, PROCESS]), TypeError, r"networks\[1\] = .*changes already"),
    "sizes": (lambda: dynamics.cycle([W4, topologies.ring(5)]), ValueError, r"networks\[1\] has n_nodes = 5"),
    "push and pull": (lambda: dynamics.cycle([PUSH, PULL]), ValueError, r"networks .*'push'.*'pull'"),
    "disconnected": (
        lambda: dynamics.cycle([HALF, topologies.disconnected(4)]),
        ValueError, r"networks is disconnected .*2 components, nodes 0 and 2 .*add a network that joins",
    ),
    "disconnected by probability": (
        lambda: dynamics.choice([HALF, W4], [1.0, 0.0]), ValueError, r"networks is disconnected .*add a network",
    ),
    "disconnected chain": (
        lambda: dynamics.markov([HALF, HALF], [[0, 1], [1, 0]]), ValueError, "networks is disconnected",
    ),
    "probabilities": (
        lambda: dynamics.choice([W4, W4], [0.5, 0.6]), ValueError, r"probabilities = \[0\.5, 0\.6\].*1\.1.*sum to 1",
    ),
    "negative probability": (lambda: dynamics.choice([W4, W4], [1.5, -0.5]), ValueError, r"probabilities.*-0\.5"),
    "too few": (lambda: dynamics.choice([W4, W4], [1.0]), ValueError, r"probabilities has shape \(1,\), not \(2\)"),
    "transitions": (
        lambda: dynamics.markov([W4, W4], [[1, 0], [0.5, 0.4]]), ValueError, r"transitions has a row 1 .*0\.9.*sum to 1",  # noqa: E501
    ),
    "negative transitions": (
        lambda: dynamics.markov([W4, W4], [[2, -1], [0.5, 0.5]]), ValueError, r"transitions .* -1;.*at least 0",
    ),
    "reducible": (
        lambda: dynamics.markov([W4, W4], [[1, 0], [0.5, 0.5]]), ValueError, "transitions is reducible.*leave out",
    ),
    "period": (lambda: dynamics.every(W4, 0), ValueError, "period = 0 must be at least 1"),
    "every of nothing": (lambda: dynamics.every(HALF, 2), ValueError, "network = .*does not mix.*pass a connected"),
    "probability": (lambda: dynamics.link_failures(W4, 1.2), ValueError, r"probability = 1\.2 must be at most 1"),
    "text": (lambda: dynamics.node_failures(W4, "often"), TypeError, "probability = 'often' is not a real number"),
    "burst": (lambda: dynamics.link_failures(W4, 0.5, 0.5), ValueError, r"burst = 0\.5 must be at least 1"),
    "one_sided": (lambda: dynamics.link_failures(W4, 0.5, one_sided=2), TypeError, "one_sided = 2 is not a truth value"),  # noqa: E501
    "keyword": (lambda: dynamics.link_failures(W4, 0.5, bursts=3), TypeError, "no bursts = 3; did you mean 'burst'"),
    "lost push": (lambda: dynamics.link_failures(PUSH, 0.5), ValueError, "network = .*rows that do not sum.*'pull'"),
    "sleeping push": (lambda: dynamics.node_failures(PUSH, 0.5), ValueError, "network = .*rows that do not sum.*'pull'"),  # noqa: E501
    "a process fails": (lambda: dynamics.node_failures(PROCESS, 0.5), TypeError, "network = .*changes already"),
    "budget": (lambda: dynamics.matchings(W4, 0), ValueError, r"budget = 0 must be greater than 0"),
    "budget above 1": (lambda: dynamics.matchings(W4, 1.1), ValueError, r"budget = 1\.1 must be at most 1"),
    "directed": (lambda: dynamics.matchings(PULL, 0.5), ValueError, "network = .*directed.*undirected one"),
    "one node": (lambda: dynamics.pairwise(topologies.path(1)), ValueError, "network = .*no link.*two nodes"),
    "size": (lambda: dynamics.groups(6, 4), ValueError, "size = 4 does not divide n_nodes = 6; choose one of 1, 2, 3, 6"),  # noqa: E501
    "large size": (lambda: dynamics.groups(6, 7), ValueError, "size = 7 must be at most 6"),
    "no nodes": (lambda: dynamics.one_peer_exponential(0), ValueError, "n_nodes = 0 must be at least 1"),
    "negative time": (lambda: dynamics.asynchronous(W4, -1), ValueError, "compute = -1 holds -1; pass positive"),
    "times": (lambda: dynamics.asynchronous(W4, [1, 2]), ValueError, r"compute has shape \(2,\), not \(4\)"),
    "mean": (
        lambda: dynamics.asynchronous(W4, dynamics.Exponential(0)), ValueError, r"compute\.mean = 0 holds 0; pass positive",  # noqa: E501
    ),
    "law": (lambda: dynamics.asynchronous(W4, "normal"), ValueError, "compute = 'normal' is unknown.*'exponential'"),
    "drawn": (
        lambda: dynamics.asynchronous(W4, lambda random, node: -2.0).sample(1),
        ValueError, r"compute returned -2\.0 for node 0; it must return a positive",
    ),
    "noise of nothing": (lambda: dynamics.noise(3, 0.1), TypeError, r"network = 3 is not .*pass a simlab\.Network"),
    "negative noise": (lambda: dynamics.noise(W4, -1), ValueError, r"std = -1\.0 must be at least 0"),
    "a negative link": (
        lambda: dynamics.noise(W4, np.eye(4) - 0.5), ValueError, r"std\[0, 1\] = -0\.5 is negative; pass .* at least 0",
    ),
    "noise a node": (lambda: dynamics.noise(W4, [1, 2, 3, 4]), ValueError, r"std has shape \(4,\), not \(4, 4\)"),
    "steps": (lambda: W4.sample(-1), ValueError, "steps = -1 must be at least 0"),
    "seed": (lambda: PROCESS.sample(1, seed=0.5), TypeError, r"seed = 0\.5 is not an integer"),
    "not written": (
        lambda: simlab.NetworkProcess(3, "mine").sample(1), NotImplementedError, r"NetworkProcess\.walk .*own_network",
    ),
    "unknown spectrum": (
        lambda: simlab.NetworkProcess(3, "mine").smallest_eigenvalue,
        ValueError, "no known smallest eigenvalue.*pass smallest_eigenvalue",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_argument_value_and_remedy(name):
    call, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        call()


def test_exchanges_of_matrices():
    random = np.random.default_rng(0)
    w = random.random((5, 4, 4)) * (random.random((5, 4, 4)) < 0.5)
    awake, fires = random.random((2, 5, 4)) < 0.7
    with pytest.raises(
        ValueError, match=r"matrices\[\d, \d, \d\] = 0\.\d+ weighs node \d, which is asleep; put its weight"
    ):
        Exchanges.of(w, awake, fires)
    w = w * awake[:, None]
    exchanges = Exchanges.of(w, awake, fires)
    path = SamplePath(4, exchanges)
    np.testing.assert_array_equal(path.awake, awake)
    np.testing.assert_array_equal(path.fires, fires & awake)
    for k in range(5):
        expected = np.where(awake[k][:, None], w[k], np.eye(4))
        np.testing.assert_array_equal(path[k], expected)
        heard = [(w[k][awake[k], j] != 0).sum() - (w[k, j, j] != 0) for j in np.flatnonzero(awake[k])]
        np.testing.assert_array_equal(exchanges.receivers[slice(*exchanges.start[k : k + 2])], heard)
    with pytest.raises(ValueError, match=r"matrices has shape \(2, 3, 4\); pass square ones"):
        Exchanges.of(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"awake has shape \(3,\), not \(K, n\) = \(2, 3\)"):
        Exchanges.of(np.zeros((2, 3, 3)), awake=np.ones(3, bool))
