"""LED: local exact diffusion."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, phase, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize


class State(NamedTuple):
    """Parameters, and the sum of past exchanges, which tends to γG over the dual step size; (..., n, d) each."""

    x: Array
    correction: Array


class LED(NamedTuple):
    """Local exact diffusion: τ corrected local steps, then one exchange; no bias at any heterogeneity.

    X ← X − (γG − αC), τ times; then X⁺ = WX and C⁺ = C + (W − I)X. (The paper's Y is −C.)

    Form: τ = `local_steps` counts gradient steps, the exchange of one vector comes after the last one. With τ = α = 1
    it is `D2`, path by path; α = 1/τ keeps what the correction adds between two exchanges at that of D², and needs
    λₙ(W) > −1/3 like it (exactly, τα < 2(1 + λ)/(1 − λ) of every λ != 1). First step X¹ = X⁰ − γG⁰, mixed where τ = 1.
    Between exchanges nodes drift apart and back, so that records at other steps than multiples of τ see that.

    Rounding: the mean of C is conserved, and does not drift, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    local_steps : int
        τ >= 1.
    dual_lr : float or schedule
        α > 0; 1/τ is a good choice.

    References
    ----------
    S. A. Alghunaim, Local exact-diffusion for decentralized optimization and learning, IEEE Trans. Automatic
    Control 69(11), 2024.
    """

    lr: StepSize
    local_steps: Period
    dual_lr: StepSize

    references = ("alghunaim2024local",)

    def init(self, x: Array) -> State:
        """Start from `x` without correction."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = state.x - (self.lr * gradient(problem, state.x, batch) - self.dual_lr * state.correction)
        if phase(batch, self.local_steps) < self.local_steps - 1:
            return State(x, state.correction)
        exchanged = differences(network, x)
        return State(x + exchanged, state.correction + exchanged)
