"""Quasi-global momentum."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and quasi-global momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class QGDmSGD(NamedTuple):
    """Quasi-global momentum: the buffer follows the change of the mixed parameters, not the local gradient.

    X⁺ = W(X − γ(βM + G)),  M⁺ = βM + (1−β)(X − X⁺)/γ; with `nesterov` β(βM + G) + G in place of βM + G.

    Form: adapt-then-combine, one exchange a step; first step X¹ = W(X⁰ − γG⁰), with `nesterov` W(X⁰ − (1 + β)γG⁰). The
    authors' code and others often take Nesterov's form, average the buffer by a factor of its own, and add weight
    decay.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.
    nesterov : bool, default False
        Whether the step looks ahead along the buffer, which raises the bias transfer to (1 + β)λ/(1 − λ).

    References
    ----------
    T. Lin et al., Quasi-global momentum: accelerating decentralized deep learning on heterogeneous data, ICML 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    nesterov: bool = False

    references = ("lin2021quasi",)
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        local, g = self.momentum * state.m, gradient(problem, state.x, batch)
        direction = self.momentum * (local + g) + g if self.nesterov else local + g
        x = mix(network, state.x - self.lr * direction)
        return State(x, local + (1 - self.momentum) * (state.x - x) / self.lr)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/(1−λ), (1+β)λ/(1−λ) with Nesterov's step."""
        return (1 + self.momentum * self.nesterov) * eigenvalues / (1 - eigenvalues)
