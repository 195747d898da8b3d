"""DSGT-HB: gradient tracking with the heavy ball."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, tracked average gradients, last gradients, momentum buffer; (..., n, d) each."""

    x: Array
    y: Array
    g: Array
    u: Array


class DSGTHB(NamedTuple):
    """Gradient tracking with momentum: a damped heavy ball on the tracked gradient, without bias.

    Y = V(Y⁻ + G − G⁻);  U⁺ = βU + (1 − β)Y;  X⁺ = V(X − γU⁺), with V = (I + W)/2, from Y⁻ = G⁻ = U = 0. The mean of
    Y's rows is that of G's at every step.

    Form: adapt-then-combine in both lines, two vectors a step, damped momentum, so that γ itself is the effective step
    size. The authors' experiments have V in place of W throughout, as here. First step: the tracker moves before x, as
    in `GradientTracking`, so that the first direction is (1 − β)VG⁰; the paper starts from Y⁰ = G⁰, one mix less. Limit
    and rate are the same. It is `DSMT` without acceleration.

    Rounding: nothing drifts, as in `GradientTracking`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    J. Gao, X.-W. Liu, Y.-H. Dai, Y. Huang, J. Gu, Distributed stochastic gradient tracking methods with momentum
    acceleration for non-convex optimization, Computational Optimization and Applications 84, 2023.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("gao2023distributed",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x` with empty buffers."""
        return State(x, zeros_like(x), zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.x, batch)
        y = state.y + g - state.g
        y = (y + mix(network, y)) / 2
        u = self.momentum * state.u + (1 - self.momentum) * y
        x = state.x - self.lr * u
        return State((x + mix(network, x)) / 2, y, g, u)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
