"""EDM: exact diffusion with momentum."""

from __future__ import annotations

from typing import NamedTuple

from simlab.algorithms.d2 import require_smallest_eigenvalue
from simlab.operations import Array, Batch, differences, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, damped momentum buffer and the sum of past exchanges, (..., n, d) each."""

    x: Array
    m: Array
    correction: Array


class EDM(NamedTuple):
    """Exact diffusion with momentum: the correction of D² takes damped momentum buffers in place of gradients.

    M⁺ = βM + (1 − β)G;  X⁺ = W(2X − X⁻ − α(M⁺ − M)), first step X¹ = W(X⁰ − αM¹). It is written as `D2` is, by
    X⁺ = Φ + LΦ with Φ = X − (αM⁺ − C) and L = W − I, C⁺ = C + LΦ. It needs λₙ(W) > −1/3.

    Form: adapt-then-combine, one exchange a step, damped momentum, so that α itself is the effective step size. With
    γ = α(1 − β) it is `D2DmSGD`, path by path. Despite its name it mixes by W, not by (I + W)/2.

    Rounding: the mean of C is conserved, and does not drift, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size α > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    Y. Hu, X. Chen, W. Liu, X. Mao, A bias-correction decentralized stochastic gradient algorithm with momentum
    acceleration, arXiv:2501.19082, 2025.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("hu2025bias",)

    def check(self, problem: Objective, network: Mixing) -> None:
        """ValueError unless the smallest eigenvalue of W is above -1/3."""
        require_smallest_eigenvalue("EDM", network)

    def init(self, x: Array) -> State:
        """Start from `x` with empty buffers."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + (1 - self.momentum) * gradient(problem, state.x, batch)
        x = state.x - (self.lr * m - state.correction)
        exchanged = differences(network, x)
        return State(x + exchanged, m, state.correction + exchanged)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
