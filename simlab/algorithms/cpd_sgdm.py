"""CPD-SGDM: periodic compressed exchanges, with local momentum."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, phase, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, Momentum, Period, StepSize


class State(NamedTuple):
    """Parameters, local momentum buffer, and the replicas that neighbours hold; (..., n, d) each."""

    x: Array
    m: Array
    replica: Array


class CPDSGDM(NamedTuple):
    """Periodic decentralized momentum SGD with compressed differences to replicas.

    M⁺ = βM + G;  X½ = X − γM⁺;  every τ-th step X⁺ = X½ + ζ(W − I)X̂, Q = C(X⁺ − X̂), X̂⁺ = X̂ + Q, else X⁺ = X½; from
    M = X̂ = 0.

    Form: the average is over the old replicas, then comes the message; `ChocoSGD` compresses first. Undamped momentum,
    local, never mixed or reset. Without compression and with exact replicas it is PD-SGDM, which is `DmSGD` on
    ``simlab.dynamics.every(network, τ)``.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    consensus_lr : float or schedule
        Consensus step size 0 < ζ <= 1.
    compressor : Compressor
        C, a contraction; see `simlab.compression`.
    local_steps : int
        τ >= 1, steps from exchange to exchange.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    H. Gao, H. Huang, Periodic stochastic gradient descent with momentum for decentralized training, arXiv:2008.10435,
    2020.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    local_steps: Period
    momentum: Momentum = 0.9

    references = ("gao2020periodic",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer and replicas at zero."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        x = state.x - self.lr * m
        if phase(batch, self.local_steps) < self.local_steps - 1:
            return State(x, m, state.replica)
        x = x + self.consensus_lr * differences_replicas(network, state.replica)
        return State(x, m, state.replica + compress(self.compressor, x - state.replica, batch))
