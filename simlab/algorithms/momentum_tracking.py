"""Momentum tracking: every node follows the average of all momentum buffers."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, local momentum buffer, and how far it is from the tracked average; (..., n, d) each."""

    x: Array
    m: Array
    c: Array


class MomentumTracking(NamedTuple):
    """Momentum tracking: gradient tracking of local momentum, so that momentum adds no bias at any heterogeneity.

    M⁺ = βM + G;  X⁺ = WX − γ(M⁺ − C);  C⁺ = W(C − M⁺) + M⁺. The mean of C over nodes stays zero, so that M⁺ − C, the
    tracker, has the mean of M⁺. It is written C⁺ = C + (W − I)(C − M⁺).

    Form: combine-then-adapt, two vectors a step, undamped momentum; from M = C = 0, first step X¹ = WX⁰ − γG⁰. The
    paper starts from M = C = (G⁰ − mean of G⁰)/(1 − β), for which an average over all nodes has to be taken first; any
    C of mean zero has the same limit and rate. With β = 0 it is DIGing. At constant β it is also the momentum
    of a tracked gradient, for a filter over time and one over nodes can change places.

    Rounding: the mean of C is conserved; nothing pulls it back, and what rounding adds moves x̄. So it is summed from
    differences of neighbours, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    Y. Takezawa, H. Bao, K. Niwa, R. Sato, M. Yamada, Momentum tracking: momentum acceleration for decentralized deep
    learning on heterogeneous data, Trans. Machine Learning Research, 2023.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("takezawa2023momentum",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x` with empty buffers."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        x = mix(network, state.x) - self.lr * (m - state.c)
        return State(x, m, state.c + differences(network, state.c - m))

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
