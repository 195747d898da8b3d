"""SPARQ-SGD: local steps, and compressed messages where there is news."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, norm, phase, where, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, Period, StepSize, Weight


class State(NamedTuple):
    """Parameters, and the replicas of them that neighbours hold, (..., n, d) each."""

    x: Array
    replica: Array


class SPARQSGD(NamedTuple):
    """SPARQ-SGD: CHOCO-SGD's exchange every τ steps, and only by nodes that have moved far from their replicas.

    X½ = X − γG;  every τ-th step Q = C(X½ − X̂) where ‖X½ − X̂‖² > cγ², else 0, row by row; X̂⁺ = X̂ + Q and
    X⁺ = X½ + ζ(W − I)X̂⁺; at other steps X⁺ = X½. From X̂ = 0.

    Form: the trigger is tested after the local steps; the consensus step is taken in any case, with the replicas that
    there are. With c = 0 and τ = 1 it is `ChocoSGD`. The theory's c grows slower than the steps, and γ decays.

    Billing: who has nothing to say is silent; silence in a round that all know of costs nothing, and carries no flag.
    A trigger is a node's own: where cγ² does not vanish, a node that is near to rest is not heard of again, and stays
    off by up to √c γ, as do those who wait for its news.

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
    threshold : float or schedule
        c >= 0, of the squared distance in units of γ².

    References
    ----------
    N. Singh, D. Data, J. George, S. Diggavi, SPARQ-SGD: event-triggered and compressed communication in decentralized
    optimization, IEEE Trans. Automatic Control 68(2), 2023.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    local_steps: Period
    threshold: Weight

    references = ("singh2023sparq",)
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
        if phase(batch, self.local_steps) < self.local_steps - 1:
            return State(half, state.replica)
        news = half - state.replica
        news = where(norm(news) ** 2 > self.threshold * self.lr**2, news, zeros_like(news))
        replica = state.replica + compress(self.compressor, news, batch, triggered=True)
        return State(half + self.consensus_lr * differences_replicas(network, replica), replica)
