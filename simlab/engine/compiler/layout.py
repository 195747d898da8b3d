"""When and where each node of a step's graph is computed: one pass over the nodes of the network for each exchange.

A *stage* is one loop over the rows. What an exchange reads must be complete, so `mix`, `differences` and `average`
open the next stage. Within a row, a gradient needs its whole argument first, so it opens the next *level*. Everything
elementwise is recomputed from its leaves where it is used, never stored, unless it must outlive its stage.
"""

from __future__ import annotations

from typing import NamedTuple

from simlab.step.graph import ARRAYS, AVERAGES, MIXES, Graph, Node
from simlab.step.operation import kind

Position = tuple[int, int]  #: (stage, level)
FLOATING: Position = (-1, 0)  #: computable from the old state alone, at any time


class Layout(NamedTuple):
    """A graph laid out in time and memory.

    Attributes
    ----------
    positions : list of (stage, level)
        Where each node is computed.
    last : (stage, level)
        The last position of a step.
    stored : dict
        Node -> name of the (n, d) array that holds it from its position on.
    outputs : dict
        Field of the state -> where it is written.
    swapped : tuple of str
        Fields that cannot be updated in place: written to a second array, then swapped.
    buffers : tuple of str
        Names of the work arrays: b0, ... of shape (n, d), c0, ... of shape (n, 1).
    scratch : dict
        Node -> name of the row of length d that holds it within a row's work.
    averages : tuple of int
        Nodes that are exact averages, one row for all.
    early_mix : bool
        Whether the first stage reads other rows.
    one_network : bool
        Whether all exchanges are with the neighbours in the network that is simulated.
    """

    positions: list[Position]
    last: Position
    stored: dict[int, str]
    outputs: dict[str, Position]
    swapped: tuple[str, ...]
    buffers: tuple[str, ...]
    scratch: dict[int, str]
    averages: tuple[int, ...]
    early_mix: bool
    one_network: bool

    @property
    def brief(self) -> tuple[str, ...]:
        """Swapped fields whose new values nothing reads within the step: rows awake are enough to hold them."""
        return tuple(f for f in self.swapped if written_to(f, self.swapped) not in self.stored.values())

    @property
    def wave(self) -> bool:
        """Whether rows may enter the second stage while others are still in the first."""
        return self.last[0] == 1 and not self.averages and not self.early_mix and self.one_network


def lay_out(graph: Graph) -> Layout:
    """Lay out `graph` in stages and levels and decide what is stored where."""
    nodes = graph.nodes
    positions: list[Position] = []
    for node in nodes:
        positions.append(_position(node, nodes, positions))
    last = max(max(positions), (0, 0))
    outputs = {f: last if positions[k] == FLOATING else positions[k] for f, k in graph.outputs.items()}

    # What must outlive its stage, or be complete for an exchange, lives in an (n, d) array.
    kept: list[int] = []
    for user, node in enumerate(nodes):
        if not node.is_array or node.op in ARRAYS:
            continue
        for a in node.args:
            outlives = positions[a] != FLOATING and nodes[a].op not in AVERAGES and positions[a][0] < positions[user][0]
            complete = outlives or kind(node.op) == "exchange"
            if nodes[a].is_array and nodes[a].op not in ARRAYS and complete and a not in kept:
                kept.append(a)

    swapped = tuple(f for f, written in outputs.items() if not _in_place(f, written, graph, positions, outputs, kept))
    stored: dict[int, str] = {}
    for field, k in graph.outputs.items():
        if k in kept and positions[k] != FLOATING:
            stored.setdefault(k, written_to(field, swapped))
    buffers: list[str] = []
    for k in kept:
        if k not in stored:
            kin = "c" if nodes[k].narrow else "b"
            stored[k] = f"{kin}{sum(name.startswith(kin) for name in buffers)}"
            buffers.append(stored[k])

    scratch: dict[int, str] = {}
    for node in nodes:
        if kind(node.op) == "row call":
            a = node.args[0]
            if kind(nodes[a].op) == "elementwise" and a not in stored:
                scratch.setdefault(a, f"r{len(scratch)}")
    for k, node in enumerate(nodes):
        if kind(node.op) == "row call" or node.op in MIXES:
            scratch[k] = f"r{len(scratch)}"
    averages = tuple(k for k, node in enumerate(nodes) if node.op in AVERAGES)
    early_mix = any(node.op in MIXES and positions[k][0] == 0 for k, node in enumerate(nodes))
    return Layout(
        positions, last, stored, outputs, swapped, tuple(buffers), scratch, averages, early_mix, not graph.networks
    )


def _position(node: Node, nodes: tuple[Node, ...], positions: list[Position]) -> Position:
    if not node.is_array or node.op in ARRAYS:
        return FLOATING
    places = [positions[a] for a in node.args if nodes[a].is_array]
    if kind(node.op) == "elementwise":
        return max(places)
    if kind(node.op) == "exchange":
        (argument,) = node.args
        return (0, 0) if nodes[argument].op == "input" else (max(positions[argument][0], 0) + 1, 0)
    after = [positions[a] for a in node.args if nodes[a].is_array and nodes[a].op not in ARRAYS]
    return max(((max(stage, 0), level + 1) for stage, level in after), default=(0, 0))


def written_to(field: str, swapped: tuple[str, ...]) -> str:
    """Name of the array that takes the new value of a field."""
    return f"next_{field}" if field in swapped else f"state_{field}"


def store_position(k: int, positions: list[Position]) -> Position:
    """Where a kept node is written: its own position, or the first one if it floats."""
    return max(positions[k], (0, 0))


def _in_place(
    field: str,
    written: Position,
    graph: Graph,
    positions: list[Position],
    outputs: dict[str, Position],
    kept: list[int],
) -> bool:
    """Whether nobody reads the old value of `field` after the new one starts to overwrite it."""
    nodes = graph.nodes
    old = next((k for k, node in enumerate(nodes) if node.op == "input" and node.args == (field,)), None)
    if old is None:
        return True
    # An elementwise node is recomputed wherever it is used, so it reads its leaves at each of those positions.
    reads: list[Position] = []
    roots = [(k, outputs[f]) for f, k in graph.outputs.items()] + [(k, store_position(k, positions)) for k in kept]
    for k, node in enumerate(nodes):
        if kind(node.op) == "row call":
            row, *numbers_of_node = node.args
            roots.append((row, max(positions[row], (max(positions[k][0], 0), 0))))
            roots += [(a, positions[k]) for a in numbers_of_node]
            if old in node.args:
                reads.append(positions[k])
    for root, place in roots:
        pending, seen = [root], set()
        while pending:
            k = pending.pop()
            if k in seen:
                continue
            seen.add(k)
            if k == old:
                reads.append(place)
            elif kind(nodes[k].op) == "elementwise" and (k == root or k not in kept):
                pending.extend(nodes[k].args)
    mixes = [positions[k][0] for k, node in enumerate(nodes) if node.op in MIXES and node.args == (old,)]
    averages = [positions[k][0] for k, node in enumerate(nodes) if node.op in AVERAGES and node.args == (old,)]
    return (
        all(place <= written for place in reads)
        and all(stage < written[0] for stage in mixes)
        and all(stage <= written[0] for stage in averages)
    )
