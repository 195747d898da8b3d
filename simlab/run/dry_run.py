"""What a step sends that cannot be traced: counted while it runs once."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np

from simlab.network import AnyNetwork
from simlab.operations import tally
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.schedules import values
from simlab.step.batch import Batch
from simlab.step.graph import Graph, Node, Steps, check_new, numeric_fields, with_values


def dry_run(algorithm: Algorithm, state: Any, problem: Problem, network: AnyNetwork) -> Steps:
    """A step whose graph holds nothing but the exchanges of one step from `state`.

    Raises
    ------
    TypeError
        If the step does not return a state, or compresses messages, whose random numbers can be drawn only for a step
        that can be traced.
    """
    hyper = numeric_fields(algorithm)
    first = {name: float(values(attrgetter(name)(algorithm), np.zeros(1, int))[0]) for name in hyper}
    with tally() as operations:
        new = with_values(algorithm, first).step(state, problem, network, Batch(ledger=[], step=0))
    check_new(algorithm, state, new)
    name = type(algorithm).__name__
    if any(operation == "compress" for operation, _ in operations):
        raise TypeError(
            f"{name}.step compresses messages but cannot be traced; "
            "write it with array operators and simlab.operations alone"
        )
    mixes = [None if over is network else over for _, over in operations]
    nodes = (Node(op, (k,), True, by) for k, ((op, _), by) in enumerate(zip(operations, mixes, strict=True)))
    return Steps((Graph(name, hyper, tuple(nodes), {}),), (0,))
