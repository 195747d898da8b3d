"""Push-DIGing: gradient tracking on directed networks."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, per_node, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, tracked average gradients, last gradients, (..., n, d) each; push-sum weights (..., n, 1)."""

    x: Array
    y: Array
    g: Array
    w: Array


class PushDIGing(NamedTuple):
    """Push-DIGing: gradient tracking with push-sum, exact over any strongly connected column stochastic W.

    With U = wX:  Y = WY⁻ + G(X) − G⁻;  U⁺ = W(U − γY),  w⁺ = Ww,  X⁺ = U⁺/w⁺, from Y⁻ = G⁻ = 0 and w = 1, so that the
    first direction is Y = G⁰, as the authors start. The sum of Y is that of G at every step.

    Form: adapt-then-combine in U, combine-then-adapt in Y. Some texts print W(Y + G⁺ − G), another method. A message is
    2d + 1 numbers.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    A. Nedić, A. Olshevsky, W. Shi, Achieving geometric convergence for distributed optimization over time-varying
    graphs (DIGing), SIAM J. Optimization 27(4), 2017.
    """

    lr: StepSize

    references = ("nedic2017achieving",)
    needs = "column"

    def init(self, x: Array) -> State:
        """Start from `x` with weights 1."""
        return State(x, zeros_like(x), zeros_like(x), per_node(x, 1.0))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.x, batch)
        y = mix(network, state.y) + g - state.g
        u, w = mix(network, state.w * state.x - self.lr * y), mix(network, state.w)
        return State(u / w, y, g, w)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
