"""NIDS: the gradient correction of D² with a proximal step."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, soft_threshold, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize, Weight


class State(NamedTuple):
    """Parameters, the point before its proximal step, the sum of past exchanges; (..., n, d) each."""

    x: Array
    z: Array
    correction: Array


class NIDS(NamedTuple):
    """NIDS (network independent step size): no bias, with an l1 term or without, at step sizes as large as one node's.

    Z⁺ = Z − X + V(2X − X⁻ − (γG − γ⁻G⁻)), X⁺ = prox(Z⁺), with V = (I + W)/2 and prox the soft threshold at γν; first
    step Z¹ = V(X⁰ − γG⁰). Without an l1 term it is D² with V in place of W, also known as exact diffusion. While a step
    size changes, (γ − γ⁻)G keeps the nodes apart. The step is written by its correction C = Z − (X⁻ − γ⁻G⁻), zero
    at first: C⁺ = C + LΦ/2 with Φ = X − (γG − C) + X − Z and L = W − I, Z⁺ = X − (γG − C⁺).

    Form: adapt-then-combine, one exchange a step. The paper, and libraries that follow it, leave the first step
    unmixed, Z¹ = X⁰ − γG⁰; here it is mixed like every other one, as exact diffusion has it. The correction lies in
    the range of I − W either way, so that limit and rate are the same and the paths differ. Libraries also
    differ in where they put γ: a correction that is divided by the present step size moves its fixed point when
    γ changes, this one does not.

    Rounding: the mean of C is conserved, and does not drift, as in `D2`.

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
        """Start from `x`; Z⁰ = X⁰ and C = 0 make the general step the first one."""
        return State(x, x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        update = self.lr * gradient(problem, state.x, batch)
        half = state.x - (update - state.correction) + (state.x - state.z)
        correction = state.correction + differences(network, half) / 2
        z = state.x - (update - correction)
        return State(soft_threshold(z, self.lr * self.l1), z, correction)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0, without an l1 term."""
        return zeros_like(eigenvalues)
