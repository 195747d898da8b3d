"""Networks that lose links or nodes: what is off gives its weight to the diagonal."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.dynamics import inputs
from simlab.network import Exchanges, Network, NetworkProcess, law
from simlab.network.law import Law
from simlab.network.weights import matrix


@checks.keywords
def link_failures(network: Network, probability: float, burst: float = 1.0, one_sided: bool = False) -> NetworkProcess:
    """Links fail at random, each on its own; the weight of a failed link returns to the diagonal.

    W_k stays symmetric and doubly stochastic. What was sent over a failed link counts as sent.

    Parameters
    ----------
    network : Network
        Rows sum to 1.
    probability : float
        Of a link to be down at a step, in [0, 1].
    burst : float, default 1.0
        Outages last ``burst / (1 - probability)`` steps in the mean, so many times as long as independent ones; at
        least 1. At each step a link is drawn anew with probability 1/burst, and stays as it is otherwise: a two-state
        Markov chain, which starts in its stationary distribution.
    one_sided : bool, default False
        Each direction of a link fails alone, and the receiver keeps its own state in place of the message: rows still
        sum to 1, columns need not, so that the mean over nodes walks.

    Raises
    ------
    TypeError, ValueError
        `network` changes, is not connected, or its rows do not sum to 1; a number is out of its range.
    """
    network = _rows_sum_to_one(network)
    return LinkFailures(
        network,
        inputs.probability(probability),
        checks.real("burst", burst, minimum=1.0),
        checks.flag("one_sided", one_sided),
    )


@checks.keywords
def node_failures(network: Network, probability: float) -> NetworkProcess:
    """Nodes sleep at random, each step and node on its own: a sleeping node keeps its state and sends nothing.

    Its links are off, their weights return to the diagonals of its neighbours, and these send to fewer.

    Parameters
    ----------
    network : Network
        Rows sum to 1. Where it is not symmetric W_k is no more than row stochastic.
    probability : float
        Of a node to sleep at a step, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        As `link_failures`.
    """
    return NodeFailures(_rows_sum_to_one(network), inputs.probability(probability))


def _rows_sum_to_one(network: Network) -> Network:
    network = inputs.mixing("network", network)
    if network.stochastic == "column":
        raise ValueError(
            f"network = {network!r} has rows that do not sum to 1, and a receiver cannot make up for what is lost; "
            "pass one that is built with weights='pull'"
        )
    return network


class Pattern(NamedTuple):
    """The entries of a matrix by rows, each of its diagonal among them."""

    rows: np.ndarray  # (nnz,)
    indices: np.ndarray  # (nnz,)
    weights: np.ndarray  # (nnz,)
    start: np.ndarray  # (n,): the first entry of each row
    diagonal: np.ndarray  # (n,): the entry on the diagonal

    @classmethod
    def of(cls, w: sparse.csr_array) -> Pattern:
        """The entries of `w`."""
        nodes = np.arange(w.shape[0])
        entries = w.tocoo()
        off = entries.row != entries.col
        row = np.concatenate([entries.row[off], nodes])
        column = np.concatenate([entries.col[off], nodes])
        order = np.lexsort((column, row))
        weights = np.concatenate([entries.data[off], w.diagonal()])[order]
        row, column = row[order], column[order]
        return cls(row, column.astype(np.int32), weights, np.searchsorted(row, nodes), np.flatnonzero(row == column))

    def exchanges(self, on: np.ndarray, awake: np.ndarray, receivers: np.ndarray) -> Exchanges:
        """Steps with some entries.

        Parameters
        ----------
        on : bool array (K, nnz)
            Which entries are there; the weight of others goes to the diagonal of their row. The diagonal is on at
            all nodes that are awake.
        awake : bool array (K, n)
        receivers : int array (K, n)
        """
        steps, n = awake.shape
        lengths = np.add.reduceat(on, self.start, axis=1, dtype=np.int64)[awake]
        rows = np.broadcast_to(np.arange(n), awake.shape)[awake]
        return Exchanges(
            which=np.arange(steps),
            start=np.concatenate([[0], np.cumsum(awake.sum(axis=1))]),
            rows=rows,
            fires=np.ones(len(rows), bool),
            receivers=receivers[awake],
            indptr=np.concatenate([[0], np.cumsum(lengths)]),
            indices=np.broadcast_to(self.indices, on.shape)[on],
            weights=self.kept(on)[on],
        )

    def repeated(self, steps: int) -> dict[str, np.ndarray]:
        """All of `Exchanges` but receivers and weights for steps in which every node is awake and every entry stays."""
        n, nnz = len(self.start), len(self.weights)
        return {
            "which": np.arange(steps),
            "start": n * np.arange(steps + 1),
            "rows": np.tile(np.arange(n), steps),
            "fires": np.ones(n * steps, bool),
            "indptr": np.append(np.add.outer(nnz * np.arange(steps), self.start), nnz * steps),
            "indices": np.tile(self.indices, steps),
        }

    def kept(self, on: np.ndarray) -> np.ndarray:
        """The weights of steps with some entries, (K, nnz): those that are off are 0, and on the diagonal."""
        step, entry = np.nonzero(~on)  # few, as a rule
        node = step * len(self.start) + self.rows[entry]
        lost = np.bincount(node, self.weights[entry], minlength=len(on) * len(self.start))
        weights = np.tile(self.weights, (len(on), 1))
        weights[step, entry] = 0.0
        weights[:, self.diagonal] += lost.reshape(len(on), len(self.start))
        return weights


class _Failures(NetworkProcess):
    network: Network
    probability: float

    @property
    def smallest_eigenvalue(self) -> float:
        """That of the network: taking I − W apart link by link, each positive semidefinite, can but raise it."""
        if np.min(self.network.csr.values) < 0:
            return super().smallest_eigenvalue
        return self.network.smallest_eigenvalue


class LinkFailures(_Failures):
    """See `link_failures`."""

    burst: float
    one_sided: bool

    def __init__(self, network: Network, probability: float, burst: float, one_sided: bool) -> None:
        symmetric = network.is_symmetric and not one_sided
        given: dict[str, Any] = {"network": network, "probability": probability, "burst": burst, "one_sided": one_sided}
        name = f"link_failures({network.name}, {probability:g})"
        super().__init__(network.n_nodes, name, double=symmetric, symmetric=symmetric, **given)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One uniform number a link and step."""
        n, pattern = self.n_nodes, Pattern.of(matrix(self.network))
        low, high = np.minimum(pattern.rows, pattern.indices), np.maximum(pattern.rows, pattern.indices)
        first, second = (pattern.rows, pattern.indices) if self.one_sided else (low, high)
        off = low != high
        link = np.unique(first[off].astype(np.int64) * n + second[off], return_inverse=True)[1]
        n_links, stays = int(link.max(initial=-1)) + 1, 1.0 - 1.0 / self.burst
        failed: np.ndarray | None = None
        repeated = functools.lru_cache(maxsize=1)(pattern.repeated)  # most chunks are of equal length

        def draw(steps: int) -> Exchanges:
            nonlocal failed
            uniform = random.random((steps, n_links))
            down = uniform < self.probability
            if self.burst > 1 and steps:
                # Below 1 − 1/burst a link stays as it was, above it is drawn anew by what is left of its number.
                down = uniform < stays + (1 - stays) * self.probability
                drawn = uniform >= stays
                if failed is None:
                    down[0], drawn[0] = uniform[0] < self.probability, True
                latest = np.maximum.accumulate(np.where(drawn, np.arange(steps)[:, None], -1), axis=0)
                before = False if failed is None else failed
                down = np.where(latest >= 0, np.take_along_axis(down, latest, axis=0), before)
                failed = down[-1]
            on = np.ones((steps, len(pattern.rows)), bool)
            on[:, off] = ~down[:, link]
            # Entries that are off stay, with weight 0: sorting them out would take longer.
            return Exchanges(
                receivers=np.tile(self.network.degrees, steps), weights=pattern.kept(on).ravel(), **repeated(steps)
            )

        return draw

    def law(self) -> Law:
        """Each link by itself; in bursts a chain over all that may be down together."""
        w = matrix(self.network).toarray()
        left, right = _links(w, self.one_sided)
        fixed = np.diag(w.sum(axis=1))
        toggles = law.Toggles(fixed, left, right, np.full(len(left), 1.0 - self.probability))
        if self.burst == 1 or self.probability in (0.0, 1.0):
            return toggles
        law.check_count(4 ** len(left), f"{len(left)} links that fail in bursts")
        up, stays = 1.0 - self.probability, 1.0 - 1.0 / self.burst
        rows = stays * np.eye(2) + (1 - stays) * np.array([[up, 1 - up], [up, 1 - up]])
        transitions, stationary = law.product_chain([(rows, np.array([up, 1 - up]))] * len(left))
        return law.Chain(
            tuple((outcome._replace(probability=1.0),) for outcome in toggles.outcomes()), transitions, stationary
        )


class NodeFailures(_Failures):
    """See `node_failures`."""

    probability: float

    def __init__(self, network: Network, probability: float) -> None:
        symmetric = network.is_symmetric
        given: dict[str, Any] = {"network": network, "probability": probability}
        name = f"node_failures({network.name}, {probability:g})"
        super().__init__(network.n_nodes, name, double=symmetric, symmetric=symmetric, **given)

    def walk(self, random: np.random.Generator) -> Callable[[int], Exchanges]:
        """One uniform number a node and step."""
        pattern = Pattern.of(matrix(self.network))
        by_column = np.argsort(pattern.indices, kind="stable")
        columns = np.searchsorted(pattern.indices[by_column], np.arange(self.n_nodes))

        def draw(steps: int) -> Exchanges:
            awake = random.random((steps, self.n_nodes)) >= self.probability
            on = awake[:, pattern.rows] & awake[:, pattern.indices]
            receivers = np.add.reduceat(on[:, by_column], columns, axis=1, dtype=np.int64) - 1
            return pattern.exchanges(on, awake, receivers)

        return draw

    def law(self) -> Law:
        """A switch a node."""
        w = matrix(self.network).toarray()

        def build(up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            kept = np.where(up[:, None] & up, w, 0.0)
            return kept + np.diag(w.sum(axis=1) - kept.sum(axis=1)), up

        return law.Switches(np.full(self.n_nodes, 1.0 - self.probability), build)


def _links(w: np.ndarray, one_sided: bool) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """What each link adds to a matrix without links, as left rightʹ: the weight off the diagonal, taken from it."""
    left, right, unit = [], [], np.eye(len(w))
    for i, j in np.argwhere(w != 0):
        if i == j or (i > j and not one_sided):
            continue
        apart = (unit[j] - unit[i])[:, None]
        if one_sided or w[i, j] != w[j, i]:
            mine, right_mine = w[i, j] * unit[i][:, None], apart
            if not one_sided:  # both directions at once, with weights of their own
                mine = np.hstack([mine, w[j, i] * unit[j][:, None]])
                right_mine = np.hstack([apart, -apart])
            left.append(mine)
            right.append(right_mine)
        else:
            left.append(-w[i, j] * apart)
            right.append(apart)
    return tuple(left), tuple(right)
