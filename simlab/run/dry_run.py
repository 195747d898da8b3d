"""What a step sends that cannot be traced: counted while it runs, once in each phase."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np

from simlab.network import AnyNetwork, NetworkProcess
from simlab.operations import tally
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.schedules import values
from simlab.step.batch import Batch
from simlab.step.graph import SENDS, Graph, Node, Steps, check_period, check_shapes, numeric_fields, with_values


def dry_run(algorithm: Algorithm, state: Any, problem: Problem, network: AnyNetwork, steps: int) -> Steps:
    """The first steps from `state`, at most so many, as graphs that hold nothing but their exchanges and gradients.

    Raises
    ------
    TypeError
        If a step does not return a state, or compresses messages, whose random numbers can be drawn only for a step
        that can be traced.
    ValueError
        If it has more phases than are tried.
    """
    name, hyper = type(algorithm).__name__, numeric_fields(algorithm)
    first = {field: float(values(attrgetter(field)(algorithm), np.zeros(1, int))[0]) for field in hyper}
    step, width = with_values(algorithm, first).step, np.shape(state[0])[-1]
    over = Alone(network.n_nodes) if isinstance(network, NetworkProcess) else network
    periods: set[int] = set()
    graphs: list[Graph] = []
    while len(graphs) < min(check_period(name, periods), max(1, steps)):
        with tally() as calls:
            new = step(state, problem, over, Batch(ledger=[], step=len(graphs)))
        check_shapes(algorithm, state, new)
        if any(operation == "compress" for operation, _, _ in calls):
            raise TypeError(
                f"{name}.step compresses messages but cannot be traced; "
                "write it with array operators and simlab.operations alone"
            )
        periods.update(period for operation, period, _ in calls if operation == "phase")
        nodes: list[Node] = []  # one after the other, as far as is known
        for operation, numbers, by in calls:
            if operation != "phase":
                before = (len(nodes) - 1,) if nodes else ()
                nodes.append(Node(operation, before, True, None if by is over else by, numbers == 1 < width))
        heard = sum(node.op in SENDS and node.by is None for node in nodes) if getattr(network, "noisy", False) else 0
        graphs.append(Graph(name, hyper, tuple(nodes), {}, heard=heard))
    return Steps(tuple(graphs), tuple(range(len(graphs))))


class Alone:
    """Stands for a network that changes: in one step of it, what nodes send does not depend on what arrives."""

    def __init__(self, n_nodes: int) -> None:
        self.n_nodes = n_nodes

    def mix(self, x: Any) -> Any:
        """Nothing arrives."""
        return x
