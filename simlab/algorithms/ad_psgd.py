"""Asynchronous decentralized SGD."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, fires, gradient, mix, where
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, and the copies of them that gradients are computed at; (..., n, d) each."""

    x: Array
    read: Array


class ADPSGD(NamedTuple):
    """AD-PSGD: a node that has finished its gradient averages with a random neighbour, and applies it at once.

    X½ = WX;  x_i⁺ = x½_i − γ g_i(read_i) and read_i⁺ = x_i⁺ where node i fires;  x_j⁺ = x½_j at its partner. A node's
    gradient is taken at the copy it started from, which others have averaged into its x meanwhile: it is stale.

    Form: average, then subtract, at each event of ``simlab.dynamics.asynchronous(network)``; n events are about one
    step of a synchronous method, and γ is the step of the one node that moves. On a network in which all nodes fire it
    is DSGD in the form cta. Nodes with unequal speeds weigh their f_i by them: the limit is another one.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    X. Lian, W. Zhang, C. Zhang, J. Liu, Asynchronous decentralized parallel stochastic gradient descent, ICML 2018.
    """

    lr: StepSize

    references = ("lian2018asynchronous",)
    needs = "row"
    asynchronous = True

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One event."""
        x = mix(network, state.x) - self.lr * gradient(problem, state.read, batch)
        return State(x, where(fires(network), x, state.read))
