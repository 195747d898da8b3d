"""DSMT: momentum tracking with accelerated gossip."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple, Self

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, Range, Scheduled, StepSize


class State(NamedTuple):
    """Parameters and tracked momentum, each with what it was before the last exchange, and local momentum."""

    x: Array
    x_before: Array
    y: Array
    y_before: Array
    z: Array


class DSMT(NamedTuple):
    """Stochastic momentum tracking: damped momentum, tracked, by gossip that is accelerated without inner loops.

    Z⁺ = βZ + (1 − β)G;  with P = Y + Z⁺ − Z:  Y⁺ = (1 + η)VP − η(Y_b + Z⁺ − Z),  Y_b⁺ = P;  with Q = X − γY⁺:
    X⁺ = (1 + η)VQ − η(X_b − γY⁺),  X_b⁺ = Q;  V = (I + W)/2, from X_b = X⁰ and Y = Y_b = Z = 0. The mean of Y's rows
    is that of Z's.

    Form: adapt-then-combine, two vectors a step, damped momentum, so that γ itself is the effective step size. Each
    exchange is a step of Chebyshev's iteration for the average, where ``η = (1 + η̃)/2``,
    ``η̃ = (1 − √(1 − λ²))/(1 + √(1 − λ²))`` and ``λ = λ₂(V)``; the paper couples β = √η to it. `DSMT.tuned` sets both.
    The tracker moves before x, as in `GradientTracking`; the paper starts it at (1 − β)G⁰. With η = 0 it is `DSGTHB`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float
        Momentum factor 0 <= β < 1.
    acceleration : float
        0 <= η < 1.

    References
    ----------
    K. Huang, S. Pu, A. Nedić, An accelerated distributed stochastic gradient method with momentum, arXiv:2402.09714,
    2024.
    """

    lr: StepSize
    momentum: Momentum
    acceleration: Annotated[Scheduled, Range(minimum=0.0, below=1.0)]

    references = ("huang2024accelerated",)
    needs = "double"

    @classmethod
    def tuned(cls, lr: StepSize, network: Any) -> Self:
        """The paper's acceleration for this network, with momentum β = √η.

        Parameters
        ----------
        lr : float or schedule
        network : Network
            With a symmetric W.
        """
        second = (1 + network.second_eigenvalue) / 2
        root = math.sqrt(1 - second**2)
        acceleration = (1 + (1 - root) / (1 + root)) / 2
        return cls(lr, math.sqrt(acceleration), acceleration)  # type: ignore[call-arg]

    def init(self, x: Array) -> State:
        """Start from `x` with empty buffers."""
        return State(x, x, zeros_like(x), zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        z = self.momentum * state.z + (1 - self.momentum) * gradient(problem, state.x, batch)
        change = z - state.z
        p = state.y + change
        y = (1 + self.acceleration) * (p + mix(network, p)) / 2 - self.acceleration * (state.y_before + change)
        q = state.x - self.lr * y
        x = (1 + self.acceleration) * (q + mix(network, q)) / 2 - self.acceleration * (state.x_before - self.lr * y)
        return State(x, q, y, p, z)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
