"""Proximal decentralized SGD, uncompressed."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, soft_threshold
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize, Weight


class State(NamedTuple):
    """Parameters, (..., n, d)."""

    x: Array


class ProximalDSGD(NamedTuple):
    """Adapt-then-combine decentralized SGD, then a proximal step.

    X⁺ = prox(W(X − γG)), prox the soft threshold at γν: Malcom-PSGD with C(v) = v and ζ = 1. Every step is the same,
    the first one too; proximal DGD in combine-then-adapt form is prox(WX − γG).

    It seeks the minimizer of f + ν||x||_1. What is recorded is measured against the problem's objective, whatever the
    algorithm: run it on `problem.with_l1(l1)` to see loss, mse and stationarity of that sum.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    l1 : float or schedule
        Weight ν >= 0.

    References
    ----------
    J. Zeng, W. Yin, On nonconvex decentralized gradient descent, IEEE TSP, 2018.
    """

    lr: StepSize
    l1: Weight

    references = ("zeng2018nonconvex",)
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = state.x - self.lr * gradient(problem, state.x, batch)
        return State(soft_threshold(mix(network, half), self.lr * self.l1))
