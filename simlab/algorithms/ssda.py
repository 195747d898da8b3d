"""SSDA: Nesterov's method on the dual."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

from simlab.operations import Array, Batch, conjugate, differences, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, the dual variables, and where the next gradient of the dual is taken; (..., n, d) each."""

    x: Array
    dual: Array
    ahead: Array


class SSDA(NamedTuple):
    """SSDA (single-step dual accelerated): Nesterov's method on the dual, whose gradients are minimizers of the nodes.

    xᵢ⁺ = ∇fᵢ*(zᵢ) = argmin fᵢ(x) − ⟨zᵢ, x⟩;  Y⁺ = Z − η(I − W)X⁺;  Z⁺ = Y⁺ + m(Y⁺ − Y), from Y = Z = 0.

    Form: one vector a step. No gradient is counted: a step solves a problem of one node, of all its samples, without
    noise (`simlab.operations.conjugate`); every fᵢ has to be strongly convex. The start X⁰ is not used. The distance
    of X to the minimizer falls by 1 − 1/√(κχ) a step, κ of the fᵢ, χ of I − W. With every exchange accelerated,
    ``ChebyshevGossip(SSDA.tuned(problem, network, mu, rounds), rounds, network.rho)``, it is MSDA (multi-step), with √κ
    minimizations and √(κχ) exchanges.

    Rounding: the mean of Y is conserved, and does not drift, as in `D2`.

    Parameters
    ----------
    dual_lr : float or schedule
        η > 0.
    momentum : float
        0 <= m < 1.

    References
    ----------
    K. Scaman, F. Bach, S. Bubeck, Y. T. Lee, L. Massoulié, Optimal algorithms for smooth and strongly convex
    distributed optimization in networks, ICML 2017.
    """

    dual_lr: StepSize
    momentum: Momentum

    references = ("scaman2017optimal",)

    @classmethod
    def tuned(cls, problem: Any, network: Any, strong_convexity: float, rounds: int = 1) -> Self:
        """The paper's parameters.

        Parameters
        ----------
        problem : Problem
        network : Network
        strong_convexity : float
            μ > 0 of every fᵢ.
        rounds : int, default 1
            Exchanges by which `ChebyshevGossip` replaces one.

        Returns
        -------
        SSDA
            ``η = μ/λ_max, m = (√(κχ) − 1)/(√(κχ) + 1)`` with κ = L/μ, λ_max the largest eigenvalue of I − W or of its
            polynomial, χ its condition number.
        """
        least, largest = spectrum(network, rounds)
        root = math.sqrt(problem.smoothness / strong_convexity * largest / least)
        return cls(strong_convexity / largest, (root - 1) / (root + 1))  # type: ignore[call-arg]

    def init(self, x: Array) -> State:
        """Start with dual variables at zero."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = conjugate(problem, state.ahead)
        dual = state.ahead + self.dual_lr * differences(network, x)
        return State(x, dual, dual + self.momentum * (dual - state.dual))


def spectrum(network: Any, rounds: int) -> tuple[float, float]:
    """Least positive and largest eigenvalue of I − W, or bounds on those of I − P(W) in `ChebyshevGossip`."""
    if rounds == 1:
        return 1 - network.second_eigenvalue, 1 - network.smallest_eigenvalue
    reach = 1 / math.cosh(rounds * math.acosh(1 / network.rho))
    return 1 - reach, 1 + reach
