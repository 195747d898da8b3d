"""Distributed dual averaging."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, maximum, mix, norm, steps_taken, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Scheduled, StepSize


class State(NamedTuple):
    """Running averages, points where gradients are taken, sums of gradients, and the start; (..., n, d) each."""

    x: Array
    point: Array
    z: Array
    start: Array


class DualAveraging(NamedTuple):
    """Distributed dual averaging: nodes average sums of gradients; running averages converge for Lipschitz objectives.

    Z⁺ = WZ + G(Y);  Y⁺ = P(Y⁰ − α_k Z⁺), row by row;  X = (1/T) Σ_t Y^t over the T points so far, the first one
    included; P the projection on the ball of radius R about Y⁰, from Z = 0 and Y = X⁰, equal at all nodes.

    Form: combine-then-adapt in the dual: G is that before the exchange, and not mixed; the proximal function is
    ‖y − Y⁰‖²/2. What is recorded is the running average. The theorem's α_k = R√(1 − σ₂)/(4G√(k + 1)), of
    ``theory.theorems.dual_averaging``, is `simlab.schedules.InverseSqrt`.

    Parameters
    ----------
    lr : float or schedule
        Step size α > 0, falling as 1/√k.
    radius : float or schedule, optional
        R > 0; all of ℝᵈ unless given.

    References
    ----------
    J. Duchi, A. Agarwal, M. Wainwright, Dual averaging for distributed optimization: convergence analysis and network
    scaling, IEEE Trans. Automatic Control 57(3), 2012.
    """

    lr: StepSize
    radius: Scheduled | None = None

    references = ("duchi2012dual",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, x, zeros_like(x), x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        z = mix(network, state.z) + gradient(problem, state.point, batch)
        move = self.lr * z
        if self.radius is not None:
            move = move / maximum(norm(move) / self.radius, 1.0)
        point = state.start - move
        return State(state.x + (point - state.x) / (steps_taken(batch) + 2), point, z, state.start)
