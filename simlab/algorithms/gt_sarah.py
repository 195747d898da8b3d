"""GT-SARAH: gradient tracking with recursive estimates of gradients."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, phase, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize


class State(NamedTuple):
    """Parameters, tracker, last estimates of the gradients, last parameters; (..., n, d) each."""

    x: Array
    y: Array
    v: Array
    before: Array


class GTSARAH(NamedTuple):
    """GT-SARAH: gradient tracking, its gradients followed by their changes and renewed every τ steps.

    V = F′(X) at multiples of τ, else V = G(X) − G(X⁻) + V⁻, both G on the same samples;  Y = W(Y⁻ + V − V⁻);
    X⁺ = W(X − γY), from Y⁻ = V⁻ = 0. The mean of Y's rows is that of V's at every step.

    Form: adapt-then-combine in both lines, as `GradientTracking`, which it is with full batches. The estimate is biased
    given the past, and nearer to the gradient than that of `GTSVRG` in nonconvex problems. The column `gradients`
    counts a gradient of all samples as one. Noise that is added cancels.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    period : int
        τ >= 1.

    References
    ----------
    R. Xin, U. A. Khan, S. Kar, Fast decentralized nonconvex finite-sum optimization with recursive variance reduction,
    SIAM J. Optimization 32(1), 2022.
    """

    lr: StepSize
    period: Period

    references = ("xin2022fast",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, zeros_like(x), zeros_like(x), x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        if phase(batch, self.period) == 0:
            v = gradient(problem, state.x, Batch())
        else:
            v = gradient(problem, state.x, batch) - gradient(problem, state.before, batch) + state.v
        y = mix(network, state.y + v - state.v)
        return State(mix(network, state.x - self.lr * y), y, v, state.x)
