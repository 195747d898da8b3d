"""Stochastic gradient push: decentralized SGD on directed networks."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, per_node, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """De-biased parameters (..., n, d), push-sum weights (..., n, 1), momentum buffer (..., n, d)."""

    x: Array
    w: Array
    m: Array


class SGP(NamedTuple):
    """Stochastic gradient push: push-sum takes the place of the average, so that W need only be column stochastic.

    With biased parameters U = wX:  M⁺ = βM + G(X);  U⁺ = W(U − γM⁺),  w⁺ = Ww,  X⁺ = U⁺/w⁺, from w = 1. The gradient is
    taken at the de-biased X, the step at U. `overlap=True` sends before the gradient is there: U⁺ = WU − γM⁺ (OSGP
    without staleness).

    Form: momentum local, undamped, never mixed. A message is d + 1 numbers. Where W is doubly stochastic w stays 1, and
    this is DSGD (`DmSGD`'s buffer unmixed), overlap that in the form cta. First step X¹ = W(X⁰ − γG⁰)/(W1).

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0
        Momentum factor 0 <= β < 1.
    overlap : bool, default False
        Whether messages leave before the gradient.

    References
    ----------
    M. Assran, N. Loizou, N. Ballas, M. Rabbat, Stochastic gradient push for distributed deep learning, ICML 2019.
    """

    lr: StepSize
    momentum: Momentum = 0.0
    overlap: bool = False

    references = ("assran2019stochastic",)
    needs = "column"

    def init(self, x: Array) -> State:
        """Start from `x` with weights 1 and an empty buffer."""
        return State(x, per_node(x, 1.0), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        u, move = state.w * state.x, self.lr * m
        u = mix(network, u) - move if self.overlap else mix(network, u - move)
        w = mix(network, state.w)
        return State(u / w, w, m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/((1−β)(1−λ)), of the overlap 1/((1−β)(1−λ))."""
        return (1 if self.overlap else eigenvalues) / ((1 - self.momentum) * (1 - eigenvalues))
