"""Acc-DNGD: Nesterov's method with tracked gradients."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from simlab.operations import Array, Batch, gradient, mix, sqrt, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Range, Scheduled, StepSize


class State(NamedTuple):
    """Parameters, Nesterov's two other sequences, tracked average gradients, last gradients; (..., n, d) each."""

    x: Array
    u: Array
    y: Array
    s: Array
    g: Array


class AccDNGD(NamedTuple):
    """Accelerated distributed Nesterov gradient descent, for strongly convex objectives: no bias.

    S = WS⁻ + G(Y) − G⁻;  X⁺ = WY − γS;  U⁺ = (1 − α)WU + αWY − (γ/α)S;  Y⁺ = (X⁺ + αU⁺)/(1 + α);  α = √(μγ), from
    X = U = Y and S⁻ = G⁻ = 0, so that the first S is G⁰.

    Form: combine-then-adapt, three vectors a step; gradients are taken at Y, what is recorded is X. It needs a small γ:
    with a larger one it is slower than 1 − √(μγ) promises, or unstable.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    strong_convexity : float
        μ > 0, with μγ < 1.

    References
    ----------
    G. Qu, N. Li, Accelerated distributed Nesterov gradient descent, IEEE Trans. Automatic Control 65(6), 2020.
    """

    lr: StepSize
    strong_convexity: Annotated[Scheduled, Range(above=0.0)]

    references = ("qu2020accelerated",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start all three sequences from `x`."""
        return State(x, x, x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.y, batch)
        s = mix(network, state.s) + g - state.g
        alpha, y = sqrt(self.strong_convexity * self.lr), mix(network, state.y)
        x = y - self.lr * s
        u = (1 - alpha) * mix(network, state.u) + alpha * y - self.lr / alpha * s
        return State(x, u, (x + alpha * u) / (1 + alpha), s, g)
