"""Decentralized momentum SGD, average-with-communication form."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class AWCDmSGD(NamedTuple):
    """Decentralized momentum SGD that exchanges parameters while it computes the gradient (average with communication).

    M⁺ = βM + G,  X⁺ = WX − γM⁺.

    Form: combine-then-adapt, one exchange a step, undamped momentum; first step X¹ = WX⁰ − γG⁰.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    A. Balu et al., Decentralized deep learning using momentum-accelerated consensus, ICASSP 2021.
    K. Yuan et al., DecentLaM: Decentralized momentum SGD for large-batch deep training, ICCV 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("balu2021decentralized", "yuan2021decentlam")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        return State(mix(network, state.x) - self.lr * m, m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 1/((1−β)(1−λ))."""
        return 1 / ((1 - self.momentum) * (1 - eigenvalues))
