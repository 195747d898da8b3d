"""Consensus control: gossip until the nodes are near enough to each other."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.elementary import Identity
from simlab.operations import (
    Array,
    Batch,
    average_replicas,
    compress,
    gradient,
    mix,
    mix_replicas,
    norm,
    sqrt,
    where,
    zeros_like,
)
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize, Weight


class State(NamedTuple):
    """Parameters, (..., n, d)."""

    x: Array


class ConsensusControl(NamedTuple):
    """Decentralized SGD with consensus control: each step gossips on until the consensus distance is small enough.

    X ← W(X − γG);  then X ← WX while ‖X − JX‖/√n > Γ, `most` times at most;  J = 11ᵀ/n.

    Form: adapt-then-combine. Each exchange is counted, also those of the control; that the nodes know their distance
    Γ is judged by is not (in practice it is estimated). Below the critical distance, Γ² = γσ²/(Ln) + ‖∇f(x̄)‖²/(8L²), it
    is as fast as parallel SGD; a threshold of 0 takes all exchanges.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    threshold : float or schedule
        Γ >= 0.
    most : int, default 10
        Further exchanges of a step, at most; at least 1.

    References
    ----------
    L. Kong, T. Lin, A. Koloskova, M. Jaggi, S. U. Stich, Consensus control for decentralized deep learning, ICML 2021.
    """

    lr: StepSize
    threshold: Weight
    most: Period = 10

    references = ("kong2021consensus",)
    needs = "double"
    static = True

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = mix(network, state.x - self.lr * gradient(problem, state.x, batch))
        for _ in range(self.most):
            distance = sqrt(average_replicas(norm(x - average_replicas(x)) ** 2))
            apart = distance > self.threshold
            news = where(apart, x, zeros_like(x))
            sent = compress(Identity(), news, batch, triggered=True)
            x = where(apart, mix_replicas(network, sent), x)
        return State(x)
