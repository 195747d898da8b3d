"""Parallel momentum SGD: the centralized baseline."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, average, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class PmSGD(NamedTuple):
    """Parallel momentum SGD: every step averages the gradients of all nodes exactly.

    M⁺ = βM + J G(X),  X⁺ = X − γM⁺,  J = 11ᵀ/n. It has no inconsistency bias.

    Form: undamped heavy ball; first step X¹ = X⁰ − γJG⁰. Nodes that start apart stay apart: X is never averaged.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    B. T. Polyak, Some algorithms of speeding up the convergence of iteration algorithms, USSR Comput. Math. Math.
    Phys., 1964; the baseline of K. Yuan et al., DecentLaM, ICCV 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("polyak1964methods", "yuan2021decentlam")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + average(gradient(problem, state.x, batch))
        return State(state.x - self.lr * m, m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
