"""Decentralized momentum SGD, the algorithm whose bias momentum amplifies."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class DmSGD(NamedTuple):
    """Decentralized momentum SGD: local momentum, then an exchange of the parameters.

    M⁺ = βM + G,  X⁺ = W(X − γM⁺). Its squared inconsistency bias is 1/(1−β)² times that of DSGD.

    Form: adapt-then-combine, one exchange a step, undamped momentum (damped, (1−β)G, it is the same at γ/(1−β)); first
    step X¹ = W(X⁰ − γG⁰). Its combine-then-adapt form is `AWCDmSGD`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    M. Assran et al., Stochastic gradient push for distributed deep learning, ICML 2019.
    K. Yuan et al., DecentLaM: Decentralized momentum SGD for large-batch deep training, ICCV 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("assran2019stochastic", "yuan2021decentlam")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        return State(mix(network, state.x - self.lr * m), m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/((1−β)(1−λ))."""
        return eigenvalues / (1 - eigenvalues) / (1 - self.momentum)
