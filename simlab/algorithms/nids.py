"""NIDS: the gradient correction of D² with a proximal step."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, soft_threshold, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize, Weight


class State(NamedTuple):
    """Parameters now and before, the point before its proximal step, the last update γG; (..., n, d) each."""

    x: Array
    x_previous: Array
    z: Array
    update: Array


class NIDS(NamedTuple):
    """NIDS (network independent step size): no bias, with an l1 term or without, at step sizes as large as one node's.

    Z⁺ = Z − X + V(2X − X⁻ − (γG − γ⁻G⁻)), X⁺ = prox(Z⁺), with V = (I + W)/2 and prox the soft threshold at γν; first
    step Z¹ = V(X⁰ − γG⁰). Without an l1 term it is D² with V in place of W, also known as exact diffusion. While a step
    size changes, (γ − γ⁻)G keeps the nodes apart.

    Form: adapt-then-combine, one exchange a step. The paper, and libraries that follow it, leave the first step
    unmixed, Z¹ = X⁰ − γG⁰; here it is mixed like every other one, as exact diffusion has it. The correction lies in
    the range of I − W either way, so that limit and rate are the same and the paths differ. Libraries also
    differ in where they put γ: a correction that is divided by the present step size moves its fixed point when
    γ changes, this one does not.

    Rounding: as in `D2`, the sum of the corrections over nodes is conserved and drifts with the steps.

    It seeks the minimizer of f + ν||x||_1. What is recorded is measured against the problem's objective, whatever the
    algorithm: run it on `problem.with_l1(l1)` to see loss, mse and stationarity of that sum.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    l1 : float or schedule, default 0.0
        Weight ν >= 0.

    References
    ----------
    Z. Li, W. Shi, M. Yan, A decentralized proximal-gradient method with network independent step-sizes and separated
    convergence rates, IEEE Trans. Signal Processing 67(17), 2019.
    """

    lr: StepSize
    l1: Weight = 0.0

    references = ("li2019decentralized",)

    def init(self, x: Array) -> State:
        """Start from `x`; X⁻ = Z⁰ = X⁰ and G⁻ = 0 make the general step the first one."""
        return State(x, x, x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        update = self.lr * gradient(problem, state.x, batch)
        half = 2 * state.x - state.x_previous - update + state.update
        z = state.z - state.x + (half + mix(network, half)) / 2
        return State(soft_threshold(z, self.lr * self.l1), state.x, z, update)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0, without an l1 term."""
        return zeros_like(eigenvalues)
