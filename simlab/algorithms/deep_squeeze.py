"""DeepSqueeze: compressed parameters with memory, over a network."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize


class State(NamedTuple):
    """Parameters, and what the messages have left out so far; (..., n, d) each."""

    x: Array
    error: Array


class DeepSqueeze(NamedTuple):
    """Decentralized SGD with compressed parameters, each node adding what it left out to its next message.

    X½ = X − γG;  P = X½ + E;  Q = C(P);  E⁺ = P − Q;  X⁺ = X½ + ζ(W − I)Q, from E = 0.

    Form: adapt-then-combine, one message a step. It keeps no replicas: messages are whole parameters, so that what they
    leave out does not vanish, and with exact gradients, too, X hovers around where it would rest without compression;
    ζ has to be small with a coarse C. The mean of X moves as that of SGD does.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    consensus_lr : float or schedule
        Consensus step size 0 < ζ <= 1.
    compressor : Compressor
        C, a contraction; see `simlab.compression`.

    References
    ----------
    H. Tang et al., DeepSqueeze: decentralization meets error-compensated compression, arXiv:1907.07346, 2019.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor

    references = ("tang2019deepsqueeze",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with nothing left out."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = state.x - self.lr * gradient(problem, state.x, batch)
        p = half + state.error
        q = compress(self.compressor, p, batch)
        return State(half + self.consensus_lr * differences_replicas(network, q), p - q)
