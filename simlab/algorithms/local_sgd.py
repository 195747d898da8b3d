"""Local SGD: several steps alone, then one exact average."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, average, gradient, phase, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, Period, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class LocalSGD(NamedTuple):
    """Local SGD, federated averaging: every node takes `local_steps` steps alone, the last of which ends in an average.

    M⁺ = βM + G;  X½ = X − γM⁺;  X⁺ = J X½ where (k + 1) mod τ = 0, else X½;  J = 11ᵀ/n.

    Form: τ = `local_steps` counts gradient steps from average to average, the average comes after the step; the
    momentum stays with its node, neither averaged nor reset (as in post-local SGD; some codes average it too). Nothing
    is sent between averages; with τ = 1 and β = 0 it is parallel SGD. On a network in place of the exact average it is
    decentralized local SGD, or PD-SGDM with momentum: `DmSGD` on ``simlab.dynamics.every(network, τ)``.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    local_steps : int
        τ >= 1.
    momentum : float, default 0
        Momentum factor 0 <= β < 1.

    References
    ----------
    S. U. Stich, Local SGD converges fast and communicates little, ICLR 2019.
    """

    lr: StepSize
    local_steps: Period
    momentum: Momentum = 0.0

    references = ("stich2019local",)
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        x = state.x - self.lr * m
        last = phase(batch, self.local_steps) == self.local_steps - 1
        return State(average(x) if last else x, m)
