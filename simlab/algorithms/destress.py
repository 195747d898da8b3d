"""DESTRESS: recursive gradients with gossip as long as it has to be."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from simlab.operations import Array, Batch, Polynomial, gradient, mix, phase, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, Range, Scheduled, StepSize


class State(NamedTuple):
    """Parameters, local estimates, tracker of the outer loop, its last gradients, last parameters; (..., n, d) each."""

    x: Array
    v: Array
    s: Array
    full: Array
    before: Array


class DESTRESS(NamedTuple):
    """DESTRESS: a gradient tracker of all samples in an outer loop, recursive mini-batch estimates in an inner one.

    At multiples of τ  S⁺ = P_o(S + F′(X) − F′(X of the last one)) and V = S⁺, else V = P_i(V⁻ + G(X) − G(X⁻)), both
    G on the same samples;  X⁺ = P_i(X − γV);  P_o and P_i Chebyshev polynomials of W (`ChebyshevGossip`) in as many
    exchanges as said. The means of S and V over nodes are those of the gradients and their estimates.

    Form: adapt-then-combine. It starts from S = 0, so that the first S is P_o F′(X⁰), where the paper averages exactly.
    The paper's inner loop may skip nodes at random; here all take part. The column `gradients` counts a gradient of all
    samples as one. Noise that is added cancels.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    period : int
        τ >= 1, steps of an inner loop.
    rho : float
        0 < ρ <= 1, the network's `rho`, or a bound on it.
    inner_rounds, outer_rounds : int, default 1
        Exchanges of P_i and P_o.

    References
    ----------
    B. Li, Z. Li, Y. Chi, DESTRESS: computation-optimal and communication-efficient decentralized nonconvex finite-sum
    optimization, SIAM J. Mathematics of Data Science 4(3), 2022.
    """

    lr: StepSize
    period: Period
    rho: Annotated[Scheduled, Range(above=0.0, maximum=1.0)]
    inner_rounds: Period = 1
    outer_rounds: Period = 1

    references = ("li2022destress",)
    static = True

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, zeros_like(x), zeros_like(x), zeros_like(x), x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        inner = Polynomial(network, self.inner_rounds, self.rho)
        if phase(batch, self.period) == 0:
            full = gradient(problem, state.x, Batch())
            s = mix(Polynomial(network, self.outer_rounds, self.rho), state.s + full - state.full)
            v = s
        else:
            full, s = state.full, state.s
            v = mix(inner, state.v + gradient(problem, state.x, batch) - gradient(problem, state.before, batch))
        return State(mix(inner, state.x - self.lr * v), v, s, full, state.x)
