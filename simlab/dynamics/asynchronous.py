"""Networks of events: nodes that compute at their own pace, and average with one neighbour when they are done."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from heapq import heapify, heapreplace
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.dynamics import inputs
from simlab.dynamics.averages import pair, pairs
from simlab.network import Exchanges, Network, NetworkProcess, law
from simlab.network.law import Law, Outcome
from simlab.network.weights import matrix

_EVENT = np.dtype([("time", np.float64), ("node", np.int64)])


class Exponential(NamedTuple):
    """Exponential compute times, independent of each other.

    Parameters
    ----------
    mean : float or array (n,), default 1.0
        Seconds, of all nodes or of each.
    """

    mean: Any = 1.0


@checks.keywords
def asynchronous(network: Network, compute: Any = "exponential") -> NetworkProcess:
    """Each step is an event: a node has computed its gradient, and averages with a neighbour drawn uniformly.

    Only these two are awake, with weights 1/2, and only the first one fires. At once it starts its next gradient.
    `time` is the seconds at which events happen. Events of the same time come in the order of the nodes.

    Parameters
    ----------
    network : Network
        Connected, undirected, of at least two nodes; its weights are not used.
    compute : "exponential", Exponential, float, array (n,) or callable
        Seconds of a gradient: exponential of mean 1, or of other means (`Exponential`); fixed, one for all or one a
        node; or ``compute(random, node)``, which draws them from the NumPy generator `random`.

    Raises
    ------
    TypeError, ValueError
        `network` is no such network; times are not positive and finite.

    References
    ----------
    X. Lian, W. Zhang, C. Zhang, J. Liu, "Asynchronous decentralized parallel stochastic gradient descent", ICML 2018.
    """
    network = inputs.linked("network", network)
    if isinstance(compute, str):
        checks.one_of("compute", compute, ["exponential"])
        compute = Exponential()
    if isinstance(compute, Exponential):
        compute = Exponential(_seconds("compute.mean", compute.mean, network.n_nodes))
    elif not callable(compute):
        compute = _seconds("compute", compute, network.n_nodes)
    return Asynchronous(network, compute)


def _seconds(name: str, value: Any, n_nodes: int) -> np.ndarray:
    """Positive numbers of seconds, one a node."""
    seconds = checks.array(name, value)
    if seconds.ndim:
        seconds = checks.array(name, value, shape=(n_nodes,))
    if seconds.min() <= 0:
        raise ValueError(f"{name} = {value!r} holds {seconds.min():g}; pass positive numbers of seconds")
    return np.broadcast_to(seconds, (n_nodes,)).astype(np.float64)


class Asynchronous(NetworkProcess):
    """See `asynchronous`."""

    network: Network
    compute: Any

    def __init__(self, network: Network, compute: Any) -> None:
        about: dict[str, Any] = {"awake": 2, "asynchronous": True, "keeps_time": True, "smallest_eigenvalue": 0.0}
        name = f"asynchronous({network.name})"
        super().__init__(network.n_nodes, name, **about, network=network, compute=compute)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """Times and neighbours have generators of their own, so that each can be drawn for many events at once."""
        clock, peer = random.spawn(2)
        if isinstance(self.compute, Exponential):
            events = _poisson(1.0 / self.compute.mean, clock)
        else:
            events = _queue(self.compute, self.n_nodes, clock)
        csr, degrees = self.network.csr, self.network.degrees
        neighbours = csr.indices[csr.indices != np.repeat(np.arange(self.n_nodes), np.diff(csr.indptr))]
        start = np.concatenate([[0], np.cumsum(degrees)])

        def draw(steps: int) -> Exchanges:
            times, node = events(steps)
            other = neighbours[start[node] + (peer.random(steps) * degrees[node]).astype(np.int64)]
            first = node < other
            nodes = np.stack([np.minimum(node, other), np.maximum(node, other)], axis=1)
            return pairs(nodes, np.stack([first, ~first], axis=1), times)

        return draw

    def law(self) -> Law:
        """Of exponential times, each node and neighbour by the node's rate; of fixed ones, the nodes in their order."""
        if isinstance(self.compute, Exponential):
            rates = 1.0 / self.compute.mean
            return law.independent(
                event for node, rate in enumerate(rates / rates.sum()) for event in self._events(node, rate)
            )
        if callable(self.compute):
            return super().law()
        return law.Cycle(tuple(tuple(self._events(node, 1.0)) for node in self._order()))

    def _events(self, node: int, probability: float) -> list[Outcome]:
        """What may happen when `node` is done."""
        w = matrix(self.network)
        neighbours = [j for j in w.indices[w.indptr[node] : w.indptr[node + 1]] if j != node]
        return [pair(self.n_nodes, node, j, probability / len(neighbours), (node,)) for j in neighbours]

    def _order(self) -> list[int]:
        """Who is done at each event of a period, after which all are done at once again."""
        seconds = [Fraction(second).limit_denominator(10_000) for second in self.compute]
        if any(
            abs(float(exact) - second) > 1e-12 * second for exact, second in zip(seconds, self.compute, strict=True)
        ):
            raise ValueError(f"compute = {self.compute.tolist()} has no period that theory could follow: simulate it")
        common = math.lcm(*(second.denominator for second in seconds))
        ticks = [int(second * common) for second in seconds]
        period = math.lcm(*ticks)
        count = sum(period // tick for tick in ticks)
        law.check_count(count, f"events of compute = {self.compute.tolist()}")
        return [node for _, node in itertools.islice(_completions(ticks.__getitem__, self.n_nodes), count)]


Events = Callable[[int], tuple[np.ndarray, np.ndarray]]  # of the next so many: times, nodes


def _poisson(rates: np.ndarray, random: np.random.Generator) -> Events:
    """Exponential times are Poisson clocks: who is next does not depend on when, or on anything before."""
    gaps, who = random.spawn(2)
    total, now = rates.sum(), 0.0
    levels = np.cumsum(rates)[:-1] / total
    equal = bool(np.all(rates == rates[0]))

    def events(steps: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal now
        times = np.cumsum(np.concatenate([[now], gaps.standard_exponential(steps) / total]))
        now = times[-1]
        uniform = who.random(steps)
        # With equal rates nothing is searched, so that an event costs the same among however many nodes.
        node = (uniform * len(rates)).astype(np.int64) if equal else np.searchsorted(levels, uniform, side="right")
        return times[1:], node

    return events


def _queue(compute: Any, n_nodes: int, random: np.random.Generator) -> Events:
    """Any other times: the queue of who is done next."""
    queue = _completions(_drawn(compute, random) if callable(compute) else compute.tolist().__getitem__, n_nodes)

    def events(steps: int) -> tuple[np.ndarray, np.ndarray]:
        found = np.fromiter(itertools.islice(queue, steps), _EVENT, steps)
        return found["time"], found["node"]

    return events


def _completions(seconds: Callable[[int], float], n_nodes: int) -> Iterator[tuple[float, int]]:
    waiting = [(seconds(node), node) for node in range(n_nodes)]
    heapify(waiting)
    while True:
        time, node = waiting[0]
        yield time, node
        heapreplace(waiting, (time + seconds(node), node))


def _drawn(compute: Callable[[np.random.Generator, int], float], random: np.random.Generator) -> Callable[[int], float]:
    def seconds(node: int) -> float:
        drawn = float(compute(random, node))
        if not 0 < drawn < np.inf:
            raise ValueError(f"compute returned {drawn!r} for node {node}; it must return a positive number of seconds")
        return drawn

    return seconds
