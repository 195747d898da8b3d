"""Quasi-global Adam: moments that follow how the mixed parameters move."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, norm, sqrt, steps_taken, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, first and second quasi-global moments, (..., n, d) each."""

    x: Array
    m: Array
    v: Array


class QGAdam(NamedTuple):
    """Quasi-global Adam: the stored moments are those of the normalized change of the mixed parameters.

    A step takes copies M' = β₁M + G, V' = β₂V + (1 − β₂)G² and X⁺ = W(X − γM̂'/(√V̂' + ε)); then, with
    D = (X − X⁺)/(‖X − X⁺‖ + 1e-8), node by node, M⁺ = β₁M + (1 − β₁)D and V⁺ = β₂V + (1 − β₂)D².

    Form: that of the authors' code: G enters M' with weight 1, both copies have bias correction, the norm is over all
    parameters of a node.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum, second : float, default 0.9, 0.99
        0 <= β₁, β₂ < 1.
    epsilon : float, default 1e-8
        ε > 0.

    References
    ----------
    T. Lin et al., Quasi-global momentum: accelerating decentralized deep learning on heterogeneous data, ICML 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    second: Momentum = 0.99
    epsilon: StepSize = 1e-8

    references = ("lin2021quasi", "kingma2015adam")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with empty moments."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g, k = gradient(problem, state.x, batch), steps_taken(batch)
        m = (self.momentum * state.m + g) / (1 - self.momentum ** (k + 1))
        v = (self.second * state.v + (1 - self.second) * g * g) / (1 - self.second ** (k + 1))
        x = mix(network, state.x - self.lr * m / (sqrt(v) + self.epsilon))
        moved = state.x - x
        direction = moved / (norm(moved) + 1e-8)
        return State(
            x,
            self.momentum * state.m + (1 - self.momentum) * direction,
            self.second * state.v + (1 - self.second) * direction * direction,
        )
