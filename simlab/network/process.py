"""Networks that change from step to step: what a run needs of one, and the sample path that it shows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks

NETWORK_STREAM = 2**16  # the purpose of a replicate's stream that its network draws from, apart from all others


@dataclass(frozen=True, eq=False)
class Exchanges:
    """The communication of K consecutive steps of one replicate: for each a block of rows of its mixing matrix.

    A block has the rows of the nodes that are awake; a node without a row sleeps: it keeps its whole state and sends
    nothing. So an event of two nodes is two rows, however many nodes there are.

    Attributes
    ----------
    which : int array (K,)
        The block of each step; steps may share one.
    start : int array (B + 1,)
        The rows of block b are start[b] to start[b + 1].
    rows : int array (T,)
        The node of each row, ascending within a block.
    fires : bool array (T,)
        Whether the node computes a gradient; one that is awake and does not only exchanges.
    receivers : int array (T,)
        To how many other nodes its messages are sent in each exchange, arriving or not.
    indptr, indices, weights : arrays
        Row t is weights[e] at the nodes indices[e], e from indptr[t] to indptr[t + 1]: those that are awake, itself
        among them wherever its weight is not 0. int64, int32, float64.
    times : float array (K,), optional
        When each step is done, where the network itself keeps the time.
    """

    which: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    fires: np.ndarray
    receivers: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray
    times: np.ndarray | None = None

    def part(self, first: int, last: int) -> Exchanges:
        """Steps `first` to `last` of them."""
        times = None if self.times is None else self.times[first:last]
        return replace(self, which=self.which[first:last], times=times)

    def step(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The nodes that are awake in step k, and the structure of their rows: rows, indptr, indices."""
        first, last = self.start[self.which[k]], self.start[self.which[k] + 1]
        indptr = self.indptr[first : last + 1]
        return self.rows[first:last], indptr - indptr[0], self.indices[indptr[0] : indptr[-1]]

    @functools.cached_property
    def drawn(self) -> np.ndarray:
        """Nodes that were awake before each step and before the end, summed over the steps: (K + 1,)."""
        return np.concatenate([[0], np.cumsum(np.diff(self.start)[self.which])])

    def matrix(self, k: int, n_nodes: int) -> sparse.csr_array:
        """W of step k, (n, n); sleeping nodes keep what they have."""
        block = slice(self.start[self.which[k]], self.start[self.which[k] + 1])
        rows = self.rows[block]
        entries = slice(self.indptr[block.start], self.indptr[block.stop])
        asleep = np.ones(n_nodes, bool)
        asleep[rows] = False
        asleep_nodes = np.flatnonzero(asleep)
        lengths = np.diff(self.indptr[block.start : block.stop + 1])
        i = np.concatenate([np.repeat(rows, lengths), asleep_nodes])
        j = np.concatenate([self.indices[entries], asleep_nodes])
        w = np.concatenate([self.weights[entries], np.ones(len(asleep_nodes))])
        return sparse.coo_array((w, (i, j)), (n_nodes, n_nodes)).tocsr()


Walk = Callable[[int], Exchanges]  #: returns the exchanges of the next so many steps


class NetworkProcess:
    """A network that changes from step to step, by itself: random, periodic, with events.

    A subclass writes `walk`.

    Parameters
    ----------
    n_nodes : int
        n.
    name : str
        For reports.
    awake : int, optional
        At most so many nodes are awake in a step; all unless said.
    keeps_time : bool, default False
        Whether its exchanges have times.
    double, symmetric : bool, default True
        Whether all its matrices are doubly stochastic, whether they are symmetric.
    **given
        What it was built from: attributes, and what its identity is taken from.
    """

    n_nodes: int
    name: str
    awake: int
    keeps_time: bool
    double: bool
    symmetric: bool
    given: dict[str, Any]

    def __init__(
        self,
        n_nodes: int,
        name: str,
        *,
        awake: int | None = None,
        keeps_time: bool = False,
        double: bool = True,
        symmetric: bool = True,
        **given: Any,
    ) -> None:
        n_nodes = checks.integer("n_nodes", n_nodes, minimum=1)
        self.__dict__.update(
            n_nodes=n_nodes, name=name, awake=n_nodes if awake is None else awake, keeps_time=keeps_time,
            double=double, symmetric=symmetric,
        )  # fmt: skip
        self.__dict__.update(given, given=given)

    def __setattr__(self, attribute: str, value: Any) -> None:
        raise AttributeError(f"{attribute} cannot be set: a network is immutable; build another one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: n_nodes={self.n_nodes})"

    def walk(self, random: np.random.Generator) -> Walk:
        """Start a sample path: a function that returns the exchanges of the next so many steps.

        It takes its random numbers from `random` in the order of the steps, so that how the steps are cut into calls
        changes nothing.
        """
        raise NotImplementedError(f"{type(self).__name__}.walk is not written; write it (docs/own_network.md)")
