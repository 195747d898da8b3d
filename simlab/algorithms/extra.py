"""EXTRA: a running sum of disagreements removes the inconsistency bias."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, and the sum of past disagreements (X − WX)/(2γ), which tends to −G; (..., n, d) each."""

    x: Array
    y: Array


class EXTRA(NamedTuple):
    """EXTRA (exact first-order algorithm): no inconsistency bias at any heterogeneity, by one exchange a step.

    X⁺ = X + WX − VX⁻ − γ(G − G⁻) with V = (I + W)/2, first step X¹ = WX⁰ − γG⁰. The step is its sum from the start:
    X⁺ = WX − γ(G + Y), Y⁺ = Y + (X − WX)/(2γ), Y⁰ = 0, whose fixed point a changing step size does not move.

    Form: combine-then-adapt (gradients are taken where the nodes stand, and added after the exchange), one exchange a
    step; the adapt-then-combine analogue is `NIDS` without its l1 term. The first step is mixed and takes W, not V, as
    in the paper. Libraries that keep X⁻ and G⁻ in place of the sum Y take the same steps while γ is constant.

    Rounding: the mean of Y's rows is conserved; it does not drift, for X − WX is computed from differences, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    W. Shi, Q. Ling, G. Wu, W. Yin, EXTRA: an exact first-order algorithm for decentralized consensus optimization, SIAM
    J. Optimization 25(2), 2015.
    """

    lr: StepSize

    references = ("shi2015extra",)

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        exchanged = differences(network, state.x)
        x = state.x + exchanged - self.lr * (gradient(problem, state.x, batch) + state.y)
        return State(x, state.y - exchanged / (2 * self.lr))

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
