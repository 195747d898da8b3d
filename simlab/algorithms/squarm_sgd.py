"""SQuARM-SGD: SPARQ-SGD with Nesterov's momentum."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, norm, phase, where, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, Momentum, Period, StepSize, Weight


class State(NamedTuple):
    """Parameters, local momentum buffer, and the replicas that neighbours hold; (..., n, d) each."""

    x: Array
    m: Array
    replica: Array


class SQuARMSGD(NamedTuple):
    """SQuARM-SGD: local momentum steps, then compressed differences from nodes that have moved far from their replicas.

    M⁺ = βM + G;  X½ = X − γ(βM⁺ + G);  every τ-th step Q = C(X½ − X̂) where ‖X½ − X̂‖² > cγ², else 0, row by row;
    X̂⁺ = X̂ + Q and X⁺ = X½ + ζ(W − I)X̂⁺; at other steps X⁺ = X½. From M = X̂ = 0.

    Form: Nesterov's step, undamped, local, never mixed; otherwise `SPARQSGD`, which it is with β = 0.

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
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    N. Singh, D. Data, J. George, S. Diggavi, SQuARM-SGD: communication-efficient momentum SGD for decentralized
    optimization, IEEE J. Selected Areas in Information Theory 2(3), 2021.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    local_steps: Period
    threshold: Weight
    momentum: Momentum = 0.9

    references = ("singh2021squarm",)
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
        g = gradient(problem, state.x, batch)
        m = self.momentum * state.m + g
        half = state.x - self.lr * (self.momentum * m + g)
        if phase(batch, self.local_steps) < self.local_steps - 1:
            return State(half, m, state.replica)
        news = half - state.replica
        news = where(norm(news) ** 2 > self.threshold * self.lr**2, news, zeros_like(news))
        replica = state.replica + compress(self.compressor, news, batch, triggered=True)
        return State(half + self.consensus_lr * differences_replicas(network, replica), m, replica)
