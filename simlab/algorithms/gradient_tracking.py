"""Gradient tracking: every node follows the average gradient."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, tracked average gradients, last gradients; (..., n, d) each."""

    x: Array
    y: Array
    g: Array


class GradientTracking(NamedTuple):
    """Gradient tracking, adapt-then-combine: no inconsistency bias at any heterogeneity, by two exchanges a step.

    Y = W(Y⁻ + G − G⁻), X⁺ = W(X − γY), from Y⁻ = G⁻ = 0. The mean of Y's rows is that of G's at every step.

    Form: adapt-then-combine in both lines (Aug-DGM), two vectors a step; DIGing is combine-then-adapt, X⁺ = WX − γY and
    Y⁺ = WY + G⁺ − G, and some libraries mix the forms. First step: the tracker moves before x, so that the first
    direction is WG⁰, as in the GT-SAGA of Xin, Khan and Kar. NEXT, DIGing and Aug-DGM start from
    Y⁰ = G⁰, whose first direction is G⁰, one mix less; that asks for a gradient before the first step. Limit and rate
    are the same.

    Rounding: the mean of Y − G is conserved too, but what is rounded vanishes with the mean of the gradients, so that
    nothing drifts (mse 1e-13 in float32).

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    P. Di Lorenzo, G. Scutari, NEXT: in-network nonconvex optimization, IEEE Trans. Signal and Information Processing
    over Networks 2(2), 2016.

    R. Xin, U. A. Khan, S. Kar, Variance-reduced decentralized stochastic optimization with accelerated convergence,
    IEEE Trans. Signal Processing 68, 2020, arXiv:1912.04230.

    A. Nedić, A. Olshevsky, W. Shi, Achieving geometric convergence for distributed optimization over time-varying
    graphs (DIGing), SIAM J. Optimization 27(4), 2017.
    """

    lr: StepSize

    references = ("dilorenzo2016next", "xin2020variance", "nedic2017achieving")

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.x, batch)
        y = mix(network, state.y + g - state.g)
        return State(mix(network, state.x - self.lr * y), y, g)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
