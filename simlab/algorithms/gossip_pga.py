"""Gossip SGD with a periodic exact average."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, average, gradient, mix, phase
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize


class State(NamedTuple):
    """Parameters, (..., n, d)."""

    x: Array


class GossipPGA(NamedTuple):
    """Gossip SGD with periodic global averaging: an exchange with the neighbours, and every H-th step an exact average.

    X⁺ = J(X − γG) where (k + 1) mod H = 0, else W(X − γG);  J = 11ᵀ/n.

    Form: adapt-then-combine; the average takes the place of that step's exchange. With H = 1 it is parallel SGD; on the
    network that never communicates, local SGD.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    period : int
        H >= 1, steps from average to average.

    References
    ----------
    Y. Chen et al., Accelerating gossip SGD with periodic global averaging, ICML 2021.
    """

    lr: StepSize
    period: Period

    references = ("chen2021accelerating",)
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = state.x - self.lr * gradient(problem, state.x, batch)
        return State(average(x) if phase(batch, self.period) == self.period - 1 else mix(network, x))
