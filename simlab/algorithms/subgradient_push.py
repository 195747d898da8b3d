"""Subgradient-push: push-sum, then a gradient step."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, per_node
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Estimates and biased parameters, (..., n, d) each; push-sum weights (..., n, 1)."""

    x: Array
    u: Array
    w: Array


class SubgradientPush(NamedTuple):
    """Subgradient-push: combine by push-sum over a column stochastic W, then adapt at the new estimate.

    U½ = WU,  w⁺ = Ww,  X⁺ = U½/w⁺,  U⁺ = U½ − γG(X⁺), from U = X⁰ and w = 1.

    Form: combine-then-adapt with the gradient after the exchange, where SGP takes it before. What is recorded is X, the
    estimates. The method's guarantee asks for γ like 1/√k. A message is d + 1 numbers.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    A. Nedić, A. Olshevsky, Distributed optimization over time-varying directed graphs, IEEE TAC 60(3), 2015.
    """

    lr: StepSize

    references = ("nedic2015distributed",)
    needs = "column"

    def init(self, x: Array) -> State:
        """Start from `x` with weights 1."""
        return State(x, x, per_node(x, 1.0))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        u, w = mix(network, state.u), mix(network, state.w)
        x = u / w
        return State(x, u - self.lr * gradient(problem, x, batch), w)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/(1−λ)."""
        return eigenvalues / (1 - eigenvalues)
