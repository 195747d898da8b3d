"""CHOCO-SGD: compressed exchanges with error feedback through replicas."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, gradient, mix_replicas, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize


class State(NamedTuple):
    """Parameters, and the replicas of them that neighbours hold, (..., n, d) each."""

    x: Array
    replica: Array


class ChocoSGD(NamedTuple):
    """Decentralized SGD that sends compressed differences to the replicas its neighbours hold.

    X½ = X − γG;  Q = C(X½ − X̂);  X̂⁺ = X̂ + Q;  X⁺ = X½ + ζ(W − I)X̂⁺.

    Form: adapt-then-combine; the replicas start at X̂⁰ = 0, so that the first message is C(X⁰ − γG⁰).

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
    A. Koloskova, S. Stich, M. Jaggi, Decentralized stochastic optimization and gossip algorithms with compressed
    communication, ICML 2019.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor

    references = ("koloskova2019decentralized",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with replicas at zero."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = state.x - self.lr * gradient(problem, state.x, batch)
        replica = state.replica + compress(self.compressor, half - state.replica, batch)
        return State(half + self.consensus_lr * (mix_replicas(network, replica) - replica), replica)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 1/(ζ(1−λ)) − 1, whatever C is: at rest C(v) = 0, which a contraction is at v = 0 alone."""
        return 1 / (self.consensus_lr * (1 - eigenvalues)) - 1
