"""DecentLaM: decentralized momentum SGD without the amplified bias."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class DecentLaM(NamedTuple):
    """Decentralized large-batch momentum SGD: momentum on the gradient that the exchange itself implies.

    ψ = X − γG;  G̃ = (X − Wψ)/γ;  M⁺ = βM + G̃;  X⁺ = X − γM⁺.

    At a constant step size this is X⁺ = W(X − γG) + β(X − X⁻), where DmSGD has β(X − WX⁻): its bias is that of DSGD at
    every momentum. With a changing step size the two forms differ; this is the first, the paper's own: the buffer
    holds gradients G̃, each formed with the step size of its time, and the momentum term is γβM.

    Form: adapt-then-combine, one exchange a step, undamped momentum; first step X¹ = W(X⁰ − γG⁰).

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    K. Yuan et al., DecentLaM: Decentralized momentum SGD for large-batch deep training, ICCV 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("yuan2021decentlam",)
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        psi = state.x - self.lr * gradient(problem, state.x, batch)
        m = self.momentum * state.m + (state.x - mix(network, psi)) / self.lr
        return State(state.x - self.lr * m, m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/(1−λ)."""
        return eigenvalues / (1 - eigenvalues)
