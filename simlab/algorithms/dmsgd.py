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

    M⁺ = βM + G,  X⁺ = W(X − γM⁺); with `nesterov` X⁺ = W(X − γ(βM⁺ + G)). Its squared inconsistency bias is 1/(1−β)²
    times that of DSGD, either way.

    Form: adapt-then-combine, one exchange a step, undamped momentum (damped, (1−β)G, it is the same at γ/(1−β)); first
    step X¹ = W(X⁰ − γG⁰), with `nesterov` W(X⁰ − (1 + β)γG⁰). Its combine-then-adapt form is `AWCDmSGD`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.
    nesterov : bool, default False
        Whether the step looks ahead along the buffer, as Nesterov's does in the form of deep learning libraries.

    References
    ----------
    M. Assran et al., Stochastic gradient push for distributed deep learning, ICML 2019.
    K. Yuan et al., DecentLaM: Decentralized momentum SGD for large-batch deep training, ICCV 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    nesterov: bool = False

    references = ("assran2019stochastic", "yuan2021decentlam")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.x, batch)
        m = self.momentum * state.m + g
        direction = self.momentum * m + g if self.nesterov else m
        return State(mix(network, state.x - self.lr * direction), m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/((1−β)(1−λ))."""
        return eigenvalues / (1 - eigenvalues) / (1 - self.momentum)
