"""D² with momentum."""

from __future__ import annotations

from typing import NamedTuple

from simlab.algorithms.d2 import require_smallest_eigenvalue
from simlab.operations import Array, Batch, differences, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, momentum buffer and the sum of past exchanges, (..., n, d) each."""

    x: Array
    m: Array
    correction: Array


class D2DmSGD(NamedTuple):
    """D² whose correction takes momentum buffers in place of gradients.

    M⁺ = βM + G,  X⁺ = W(2X − X⁻ − γ(M⁺ − M)), first step X¹ = W(X⁰ − γM¹). It is written as `D2` is, by
    X⁺ = Φ + LΦ with Φ = X − (γM⁺ − C) and L = W − I, C⁺ = C + LΦ. It needs λₙ(W) > −1/3.

    Form: adapt-then-combine, one exchange a step, undamped momentum. With M⁺ = βM + (1 − β)G and γ/(1 − β) in place of
    γ it is the same sequence, which is how exact diffusion with momentum (EDM) is written. Rounding does not drift, as
    in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    H. Tang, X. Lian, M. Yan, C. Zhang, J. Liu, D²: Decentralized training over decentralized data, ICML 2018.
    K. Yuan et al., DecentLaM: Decentralized momentum SGD for large-batch deep training, ICCV 2021.
    """

    lr: StepSize
    momentum: Momentum = 0.9

    references = ("tang2018d2", "yuan2021decentlam")

    def check(self, problem: Objective, network: Mixing) -> None:
        """ValueError unless the smallest eigenvalue of W is above -1/3."""
        require_smallest_eigenvalue("D2DmSGD", network)

    def init(self, x: Array) -> State:
        """Start from `x` with empty buffers."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        x = state.x - (self.lr * m - state.correction)
        exchanged = differences(network, x)
        return State(x + exchanged, m, state.correction + exchanged)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
