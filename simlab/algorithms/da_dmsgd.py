"""Decentralized momentum SGD with double averaging."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class DADmSGD(NamedTuple):
    """Decentralized momentum SGD that averages both parameters and momentum: two exchanges a step.

    U = βM + G,  X⁺ = W(X − γU),  M⁺ = WU.

    Form: adapt-then-combine, undamped momentum; first step X¹ = W(X⁰ − γG⁰), and the buffer is mixed from there on.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    H. Yu, R. Jin, S. Yang, On the linear speedup analysis of communication efficient momentum SGD for distributed
    non-convex optimization, ICML 2019.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("yu2019linear",)
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        u = self.momentum * state.m + gradient(problem, state.x, batch)
        return State(mix(network, state.x - self.lr * u), mix(network, u))

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/((1−λ)(1−βλ))."""
        return eigenvalues / (1 - eigenvalues) / (1 - self.momentum * eigenvalues)
