"""Exact diffusion: the correction of D² over a damped network."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, and the sum of past exchanges, which tends to γG; (..., n, d) each."""

    x: Array
    correction: Array


class ExactDiffusion(NamedTuple):
    """Exact diffusion: no inconsistency bias at any heterogeneity, over any W.

    Ψ⁺ = X − γG;  X⁺ = V(Ψ⁺ + X − Ψ), with V = (I + W)/2, from Ψ = X⁰: X¹ = V(X⁰ − γG⁰). As `D2` it is written by its
    correction C = X − Ψ: X⁺ = Φ + LΦ/2 with Φ = X − (γG − C) and L = W − I, C⁺ = C + LΦ/2.

    Form: adapt-then-combine, one exchange a step. It is `D2` with V in place of W, so that λₙ may be anything, and
    `NIDS` without an l1 term. NIDS as published does not mix the first step; one tutorial prints V and runs W, which
    is D². While γ changes, it subtracts γG − γ⁻G⁻, which keeps the fixed point; codes that divide the correction by
    the present γ move it.

    Rounding: the mean of C is conserved, and does not drift, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    K. Yuan, B. Ying, X. Zhao, A. H. Sayed, Exact diffusion for distributed optimization and learning, part I:
    algorithm development, IEEE Trans. Signal Processing 67(3), 2019.
    """

    lr: StepSize

    references = ("yuan2019exact",)

    def init(self, x: Array) -> State:
        """Start from `x`; C = 0 makes the general step the first one."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = state.x - (self.lr * gradient(problem, state.x, batch) - state.correction)
        exchanged = differences(network, x) / 2
        return State(x + exchanged, state.correction + exchanged)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
