"""Decentralized Adam: local moments, then an exchange."""

from __future__ import annotations

from typing import NamedTuple

from simlab.algorithms.dsgd import DSGD
from simlab.operations import Array, Batch, absolute, gradient, mix, sqrt, steps_taken, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, first and second moments, (..., n, d) each."""

    x: Array
    m: Array
    v: Array


class DAdam(NamedTuple):
    """Decentralized Adam: every node takes a step of Adam by itself, then parameters are mixed; moments never are.

    M⁺ = β₁M + (1 − β₁)G, V⁺ = β₂V + (1 − β₂)G², X⁺ = W(X − γM̂/(√V̂ + ε)), M̂ = M⁺/(1 − β₁^(k+1)) and V̂ alike. Where the
    nodes' objectives differ it is biased, however small γ is: each node scales its gradient by its own √V̂.

    Form: adapt-then-combine, one exchange a step, both moments with bias correction; weight decay by `WeightDecay`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum, second : float, default 0.9, 0.999
        0 <= β₁, β₂ < 1.
    epsilon : float, default 1e-8
        ε > 0.

    References
    ----------
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015; P. Nazari, D. A. Tarzanagh, G.
    Michailidis, DADAM: a consensus-based distributed adaptive gradient method for online optimization, IEEE TSP 2022.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    second: Momentum = 0.999
    epsilon: StepSize = 1e-8

    references = ("kingma2015adam", "nazari2022dadam")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with empty moments."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g, k = gradient(problem, state.x, batch), steps_taken(batch)
        m = self.momentum * state.m + (1 - self.momentum) * g
        v = self.second * state.v + (1 - self.second) * g * g
        unbiased = m / (1 - self.momentum ** (k + 1)), v / (1 - self.second ** (k + 1))
        return State(mix(network, state.x - self.lr * unbiased[0] / (sqrt(unbiased[1]) + self.epsilon)), m, v)

    def scaling(self, x: Array, gradients: Array) -> Array:
        """``D = 1/(|∇f_i(x_i)| + ε)``: at rest the moments are the gradient and its square."""
        return 1 / (absolute(gradients) + self.epsilon)

    def unscaled(self) -> DSGD:
        """The method that comes to rest at the same states with gradients D_i∇f_i."""
        return DSGD(self.lr)  # type: ignore[call-arg]  # mypy takes `references` for a field
