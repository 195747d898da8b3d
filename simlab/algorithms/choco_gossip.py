"""CHOCO-Gossip: average consensus with compressed messages."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, mix_replicas, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep


class State(NamedTuple):
    """Values, and the replicas of them that neighbours hold, (..., n, d) each."""

    x: Array
    replica: Array


class ChocoGossip(NamedTuple):
    """Average consensus: neighbours send compressed differences to the replicas that they hold of one another.

    Q = C(X − X̂);  X̂⁺ = X̂ + Q;  X⁺ = X + ζ(W − I)X̂⁺, from X̂⁰ = 0: the first message is C(X⁰).

    The mean x̄ never changes; the step uses no gradient, so of the problem only its shape matters, and of what is
    recorded `consensus`.

    Parameters
    ----------
    consensus_lr : float or schedule
        Consensus step size 0 < ζ <= 1.
    compressor : Compressor
        C, a contraction; see `simlab.compression`.

    References
    ----------
    A. Koloskova, S. Stich, M. Jaggi, Decentralized stochastic optimization and gossip algorithms with compressed
    communication, ICML 2019.
    """

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
        replica = state.replica + compress(self.compressor, state.x - state.replica, batch)
        return State(state.x + self.consensus_lr * (mix_replicas(network, replica) - replica), replica)
