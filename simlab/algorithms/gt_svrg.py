"""GT-SVRG: gradient tracking, its noise reduced by full gradients now and then."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, phase, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize


class State(NamedTuple):
    """Parameters, tracker, last estimates of the gradients, snapshots and the gradients there; (..., n, d) each."""

    x: Array
    y: Array
    v: Array
    snapshot: Array
    full: Array


class GTSVRG(NamedTuple):
    """GT-SVRG: gradient tracking with stochastic variance reduced gradients, linear without a bias, noise or not.

    V = G(X) − G(Z) + F′(Z), both G on the same samples, Z the X of the last multiple of τ steps;  Y = W(Y⁻ + V − V⁻);
    X⁺ = W(X − γY), from Y⁻ = V⁻ = 0. The mean of Y's rows is that of V's at every step.

    Form: adapt-then-combine in both lines, as `GradientTracking`, which it is with full batches. Where Z is new, V is
    the gradient of all samples; the column `gradients` counts that as one. Noise that is added cancels.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    period : int
        τ >= 1, about the samples of a node over the batch size.

    References
    ----------
    R. Xin, U. A. Khan, S. Kar, Variance-reduced decentralized stochastic optimization with accelerated convergence,
    IEEE Trans. Signal Processing 68, 2020, arXiv:1912.04230.
    """

    lr: StepSize
    period: Period

    references = ("xin2020variance",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, zeros_like(x), zeros_like(x), x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        if phase(batch, self.period) == 0:
            snapshot, v = state.x, gradient(problem, state.x, Batch())
            full = v
        else:
            snapshot, full = state.snapshot, state.full
            v = gradient(problem, state.x, batch) - gradient(problem, snapshot, batch) + full
        y = mix(network, state.y + v - state.v)
        return State(mix(network, state.x - self.lr * y), y, v, snapshot, full)
