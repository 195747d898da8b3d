"""When nodes finish their steps on a modelled cluster."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlab.cluster import Cluster
from simlab.network import AnyNetwork, Network
from simlab.step.graph import SENDS, Graph, Steps
from simlab.step.operation import kind
from simlab.step.streams import Draws


class Clock:
    """The modelled time of R replicates of one algorithm.

    Parameters
    ----------
    cluster : Cluster
    steps : Steps
        The traced steps: in which order they exchange what.
    network : Network or NetworkProcess
    dim, number_bits : int
        Numbers in a message, and bits of one.
    replicates : int

    Raises
    ------
    ValueError
        The method compresses its messages, whose lengths are known only after they are sent.
    """

    def __init__(
        self, cluster: Cluster, steps: Steps, network: AnyNetwork, dim: int, number_bits: int, replicates: int
    ) -> None:
        if steps.compressions:
            raise ValueError(
                f"cluster = {cluster!r} cannot time {steps.first.algorithm}, whose messages have random lengths; "
                "plot it against its bits, or leave cluster out"
            )
        self.cluster, self.network = cluster, network
        self.rounds = [_rounds(graph, dim * number_bits, number_bits) for graph in steps.graphs]
        self.order = steps.order
        self.at = np.zeros((replicates, network.n_nodes))

    def ahead(self, draws: list[Draws], done: int) -> tuple[np.ndarray, np.ndarray]:
        """When each of the next steps is finished, (R, K), and where each node is after them, (R, n), which is for the
        caller to set as `at`; `draws` are those of the replicates.
        """
        at = self.at.copy()
        compute = [mine.seconds for mine in draws if mine.seconds is not None]
        finished = np.empty((len(draws), len(compute[0])))
        for k in range(finished.shape[1]):
            rounds = self.rounds[self.order[(done + k) % len(self.order)]]
            if isinstance(self.network, Network):
                csr = self.network.csr
                links: tuple[Any, ...] = (slice(None), csr.indptr, csr.indices)
                at = self._step(at, np.stack([each[k] for each in compute]), rounds, links)
            else:
                for r, mine in enumerate(draws):
                    assert mine.links is not None
                    rows, indptr, neighbours = mine.links.step(k)
                    at[r : r + 1] = self._step(at[r : r + 1], compute[r][None, k], rounds, (rows, indptr, neighbours))
            finished[:, k] = at.max(axis=1)
        return finished, at

    def _step(
        self, at: np.ndarray, compute: np.ndarray, rounds: list[tuple[Any, float]], links: tuple[Any, ...]
    ) -> np.ndarray:
        """Times (R, n) after one step of the nodes `rows`, whose messages come from `neighbours`."""
        rows, *own = links
        at = at.copy()
        at[:, rows] += compute[:, rows]
        owners = np.arange(at.shape[1])[rows]
        if not len(owners):
            return at
        for over, bits in rounds:
            if over == "average":
                at[:, rows] = at[:, rows].max(axis=1, keepdims=True) + self.cluster.average(bits, len(owners))
                continue
            indptr, neighbours = own if over is None else (over.csr.indptr, over.csr.indices)
            lengths = np.diff(indptr)
            waits = lengths > 0  # who weighs nothing at all waits for nobody
            if waits.any():
                sent = self.cluster.message(bits) * (neighbours != np.repeat(owners, lengths))
                latest = np.maximum.reduceat(at[:, neighbours] + sent, indptr[:-1][waits], axis=1)
                at[:, owners[waits]] = np.maximum(at[:, owners[waits]], latest)
        return at


def _rounds(graph: Graph, bits: int, number_bits: int) -> list[tuple[Any, float]]:
    """The exchanges of a step, those together that need not wait for one another: over a network (None for the one that
    is simulated) or "average"; the bits of a node's message.
    """
    found: dict[tuple[int, Any], float] = {}
    depth: list[int] = []  # exchanges that come before
    for node in graph.nodes:
        before = max((depth[a] for a in node.args if kind(node.op) != "leaf"), default=0)
        if node.op in (*SENDS, "average"):
            over = "average" if node.op == "average" else node.by
            found[before, over] = found.get((before, over), 0.0) + (number_bits if node.narrow else bits)
        depth.append(before + (kind(node.op) == "exchange"))
    return [(over, size) for (_, over), size in sorted(found.items(), key=lambda item: item[0][0])]
