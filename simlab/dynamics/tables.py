"""Networks that switch between some that do not change: periodic, independent, Markov."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.dynamics import inputs
from simlab.network import Exchanges, Network, NetworkProcess, law
from simlab.network.law import Law
from simlab.network.process import table
from simlab.network.weights import check_chain, matrix, stationary
from simlab.topologies import disconnected


@checks.keywords
def cycle(networks: Any) -> NetworkProcess:
    """W_k = networks[k mod p], k = 0, 1, ..., of p networks in turn.

    Parameters
    ----------
    networks : list of Network
        Of the same nodes. Each may be disconnected (`simlab.topologies.disconnected`, ``mixes=False``) or directed; all
        together have to connect the nodes.

    Raises
    ------
    TypeError, ValueError
        A member is no network or changes itself, or they do not fit each other; their union is not connected.
    """
    members = inputs.several("networks", networks)
    inputs.check_union("networks", members)
    return Cycle(f"cycle({inputs.listed(members)})", members, np.arange(len(members)))


@checks.keywords
def every(network: Network, period: int) -> NetworkProcess:
    """`network` at steps period − 1, 2 period − 1, ..., the first one being 0; no communication between.

    Parameters
    ----------
    network : Network
    period : int
        At least 1.
    """
    network = inputs.mixing("network", network)
    period = checks.integer("period", period, minimum=1)
    order = np.zeros(period, np.int64)
    order[-1] = 1
    return Every(f"every({network.name}, {period})", [disconnected(network.n_nodes), network], order)


@checks.keywords
def one_peer_exponential(n_nodes: int) -> NetworkProcess:
    """At step k each node i averages with what it receives from i − 2^(k mod t) mod n, t = ceil(log2 n); weights 1/2.

    Doubly stochastic, not symmetric. Of n = 2^t nodes any t consecutive steps average exactly [1]_.

    Parameters
    ----------
    n_nodes : int
        n, at least 1.

    References
    ----------
    .. [1] B. Ying et al., "Exponential graph is provably efficient for decentralized deep training", NeurIPS 2021.
    """
    n = checks.integer("n_nodes", n_nodes, minimum=1)
    nodes = np.arange(n)
    peers = []
    for k in range((n - 1).bit_length()):
        links = sparse.csr_array((np.ones(n), (nodes, (nodes + 2**k) % n)), (n, n))
        peers.append(Network.from_links(links, "pull", mixes=False, name=f"hop {2**k}"))
    members = peers or [disconnected(n)]
    return OnePeer(f"one_peer_exponential({n})", members, np.arange(len(members)))


@checks.keywords
def choice(networks: Any, probabilities: Any = None) -> NetworkProcess:
    """Each step draws one of the networks, independently of all others.

    Parameters
    ----------
    networks : list of Network
        As of `cycle`; those of positive probability together have to connect the nodes.
    probabilities : array (M,), optional
        Of each, with sum 1; equal by default.

    Raises
    ------
    TypeError, ValueError
        As `cycle`; the probabilities are negative, too few, or do not sum to 1.
    """
    members = inputs.several("networks", networks)
    m = len(members)
    given = np.full(m, 1.0 / m) if probabilities is None else probabilities
    p = np.asarray(checks.array("probabilities", given, shape=(m,)), np.float64)
    if p.min() < 0 or abs(p.sum() - 1.0) > 1e-10:
        raise ValueError(
            f"probabilities = {p.tolist()} have the sum {p.sum():.12g} and the least entry {p.min():.6g}; pass numbers "
            "of at least 0 that sum to 1"
        )
    inputs.check_union("networks", [network for network, share in zip(members, p, strict=True) if share > 0])
    return Choice(f"choice({inputs.listed(members)})", members, p / p.sum())


@checks.keywords
def markov(networks: Any, transitions: Any) -> NetworkProcess:
    """The networks follow a Markov chain, which starts in its stationary distribution.

    Parameters
    ----------
    networks : list of Network
        As of `cycle`.
    transitions : array (M, M)
        Row i holds the probabilities of what follows networks[i]; every network is reached from every other one.

    Raises
    ------
    TypeError, ValueError
        As `cycle`; the transitions are negative, their rows do not sum to 1, or the chain is reducible.
    """
    members = inputs.several("networks", networks)
    m = len(members)
    chain = sparse.csr_array(np.asarray(checks.array("transitions", transitions, shape=(m, m)), np.float64))
    check_chain("transitions", chain)
    inputs.check_union("networks", members)
    return Markov(f"markov({inputs.listed(members)})", members, chain.toarray())


class _Table(NetworkProcess):
    members: list[Network]

    @property
    def smallest_eigenvalue(self) -> float:
        return min(network.smallest_eigenvalue for network in self.members)


class Cycle(_Table):
    """See `cycle`. Its `order` holds the number of the member at each step of a period."""

    order: np.ndarray

    def __init__(self, name: str, members: list[Network], order: np.ndarray) -> None:
        super().__init__(members[0].n_nodes, name, **inputs.kind(members), members=members, order=order)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """The same path for every `random`."""
        exchanges, done = table(self.members), 0

        def draw(steps: int) -> Exchanges:
            nonlocal done
            which = self.order[(done + np.arange(steps)) % len(self.order)]
            done += steps
            return exchanges(which)

        return draw

    def law(self) -> Law:
        """A member at each step of a period."""
        return law.Cycle(tuple(law.sure(matrix(self.members[k])) for k in self.order))


class OnePeer(Cycle):
    """See `one_peer_exponential`."""

    references = ("ying2021exponential",)


class Every(Cycle):
    """See `every`."""

    references = ("gao2020periodic",)


class Choice(_Table):
    """See `choice`."""

    probabilities: np.ndarray

    def __init__(self, name: str, members: list[Network], probabilities: np.ndarray) -> None:
        super().__init__(members[0].n_nodes, name, **inputs.kind(members), members=members, probabilities=probabilities)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One uniform number a step."""
        exchanges, levels = table(self.members), _levels(self.probabilities)
        return lambda steps: exchanges(np.searchsorted(levels, random.random(steps), side="right"))

    def law(self) -> Law:
        """Each member with its probability."""
        shares = zip(self.probabilities, self.members, strict=True)
        return law.independent(law.Outcome.of(share, matrix(network)) for share, network in shares)


class Markov(_Table):
    """See `markov`. Its `stationary` is the distribution of every step."""

    transitions: np.ndarray
    stationary: np.ndarray

    def __init__(self, name: str, members: list[Network], transitions: np.ndarray) -> None:
        given: dict[str, Any] = {
            "members": members,
            "transitions": transitions,
            "stationary": stationary(sparse.csr_array(transitions)),
        }
        super().__init__(members[0].n_nodes, name, **inputs.kind(members), **given)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One uniform number a step."""
        exchanges, following = table(self.members), [_levels(row) for row in self.transitions]
        levels = _levels(self.stationary)

        def draw(steps: int) -> Exchanges:
            nonlocal levels
            which = np.empty(steps, np.int64)
            for k, uniform in enumerate(random.random(steps)):
                which[k] = np.searchsorted(levels, uniform, side="right")
                levels = following[which[k]]
            return exchanges(which)

        return draw

    def law(self) -> Law:
        """A member in each state of the chain."""
        return law.Chain(
            tuple(law.sure(matrix(network)) for network in self.members), self.transitions, self.stationary
        )


def _levels(probabilities: np.ndarray) -> np.ndarray:
    """Where the unit interval is cut: a uniform number beyond k levels means k, which has positive probability."""
    levels = np.cumsum(probabilities)
    last = np.flatnonzero(probabilities)[-1]
    return levels[:last]
