"""Networks of exact averages: of a random pair, of random groups."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from simlab import checks
from simlab.dynamics import inputs
from simlab.network import Exchanges, Network, NetworkProcess, law
from simlab.network.law import Law
from simlab.network.weights import matrix


@checks.keywords
def pairwise(network: Network) -> NetworkProcess:
    """Randomized gossip: each step one link, uniformly drawn, and its two nodes average; all others sleep.

    Parameters
    ----------
    network : Network
        Connected, undirected, of at least two nodes; its weights are not used.

    References
    ----------
    S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, "Randomized gossip algorithms", IEEE Trans. Information Theory 52, 2006.
    """
    return Pairwise(inputs.linked("network", network))


@checks.keywords
def groups(n_nodes: int, size: int) -> NetworkProcess:
    """Partial all-reduce: each step a uniformly random partition into groups, each of which averages exactly.

    Parameters
    ----------
    n_nodes : int
        n, at least 1.
    size : int
        Of each group; divides n.

    References
    ----------
    Q. Luo, J. He, Y. Zhuo, X. Qian, "Prague: high-performance heterogeneity-aware asynchronous decentralized
    training", ASPLOS 2020.
    """
    n = checks.integer("n_nodes", n_nodes, minimum=1)
    size = checks.integer("size", size, minimum=1, maximum=n)
    if n % size:
        near = [k for k in range(1, n + 1) if n % k == 0]
        raise ValueError(f"size = {size} does not divide n_nodes = {n}; choose one of {', '.join(map(str, near))}")
    return Groups(n, size)


class Pairwise(NetworkProcess):
    """See `pairwise`."""

    references = ("boyd2006randomized",)

    network: Network

    def __init__(self, network: Network) -> None:
        about: dict[str, Any] = {"awake": 2, "smallest_eigenvalue": 0.0}
        super().__init__(network.n_nodes, f"pairwise({network.name})", **about, network=network)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One whole number a step."""
        csr = self.network.csr
        rows = np.repeat(np.arange(self.n_nodes), np.diff(csr.indptr))
        once = rows < csr.indices
        ends = np.stack([rows[once], csr.indices[once]], axis=1)

        def draw(steps: int) -> Exchanges:
            chosen = ends[random.integers(0, len(ends), steps)]
            return pairs(chosen, np.ones(chosen.shape, bool))

        return draw

    def law(self) -> Law:
        """Each link with the same probability."""
        links = [(i, j) for i, j in np.argwhere(matrix(self.network).toarray() != 0) if i < j]
        return law.independent(pair(self.n_nodes, i, j, 1 / len(links)) for i, j in links)


class Groups(NetworkProcess):
    """See `groups`."""

    references = ("luo2020prague",)

    size: int

    def __init__(self, n_nodes: int, size: int) -> None:
        super().__init__(n_nodes, f"groups({n_nodes}, {size})", smallest_eigenvalue=0.0, size=size)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One uniform number a node and step: its rank tells the group."""
        n, size = self.n_nodes, self.size

        def draw(steps: int) -> Exchanges:
            order = np.argsort(random.random((steps, n)), axis=1).reshape(steps, n // size, size)
            order.sort(axis=2)
            # Node order[k, g, m] takes the whole of group g.
            indices = np.empty((steps, n, size), np.int32)
            indices[np.arange(steps)[:, None, None], order] = order[:, :, None, :]
            return Exchanges(
                which=np.arange(steps),
                start=n * np.arange(steps + 1),
                rows=np.tile(np.arange(n), steps),
                fires=np.ones(steps * n, bool),
                receivers=np.full(steps * n, size - 1),
                indptr=size * np.arange(steps * n + 1),
                indices=indices.ravel(),
                weights=np.full(steps * n * size, 1.0 / size),
            )

        return draw

    def law(self) -> Law:
        """Every partition into groups."""
        n, size = self.n_nodes, self.size
        count = math.factorial(n) // (math.factorial(size) ** (n // size) * math.factorial(n // size))
        law.check_count(count, f"groups of {size} among {n} nodes")
        found = []
        for partition in _partitions(tuple(range(n)), size):
            w = np.zeros((n, n))
            for group in partition:
                w[np.ix_(group, group)] = 1 / size
            found.append(law.Outcome.of(1 / count, w))
        return law.independent(found)


def _partitions(nodes: tuple[int, ...], size: int) -> Iterator[list[tuple[int, ...]]]:
    """All ways to part nodes into groups."""
    if not nodes:
        yield []
        return
    for others in itertools.combinations(nodes[1:], size - 1):
        group = (nodes[0], *others)
        rest = tuple(node for node in nodes if node not in group)
        for partition in _partitions(rest, size):
            yield [group, *partition]


def pair(n_nodes: int, i: int, j: int, probability: float, fires: tuple[int, ...] | None = None) -> law.Outcome:
    """The average of nodes i and j while all others sleep; both fire unless said."""
    w, awake, computes = np.eye(n_nodes), np.zeros(n_nodes, bool), np.zeros(n_nodes, bool)
    w[np.ix_([i, j], [i, j])] = 0.5
    awake[[i, j]] = True
    computes[[i, j] if fires is None else list(fires)] = True
    return law.Outcome.of(probability, w, awake, computes)


def pairs(nodes: np.ndarray, fires: np.ndarray, times: np.ndarray | None = None) -> Exchanges:
    """The averages of a pair a step: `nodes` (K, 2) ascending, which of them fire (K, 2)."""
    which, start, receivers, indptr, weights = _scaffold(len(nodes))
    both = np.repeat(nodes.astype(np.int32), 2, axis=0).ravel()
    return Exchanges(which, start, nodes.ravel(), fires.ravel(), receivers, indptr, both, weights, times)


@functools.lru_cache(maxsize=4)
def _scaffold(steps: int) -> tuple[np.ndarray, ...]:
    """What is the same of every `steps` pairs."""
    parts = (
        np.arange(steps),
        2 * np.arange(steps + 1),
        np.ones(2 * steps, np.int64),
        2 * np.arange(2 * steps + 1),
        np.full(4 * steps, 0.5),
    )
    for part in parts:
        part.flags.writeable = False
    return parts
