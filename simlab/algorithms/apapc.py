"""APAPC: an accelerated primal-dual method of optimal complexity."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple, Self

from simlab.algorithms.ssda import spectrum
from simlab.operations import Array, Batch, differences, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import ConsensusStep, Range, Scheduled, StepSize


class State(NamedTuple):
    """Parameters, the extrapolated sequence, and the dual variable, which tends to −G; (..., n, d) each."""

    x: Array
    fast: Array
    dual: Array


class APAPC(NamedTuple):
    """APAPC (accelerated proximal alternating predictor-corrector), for strongly convex objectives: no bias.

    X_g = τX + (1 − τ)X_f;  X½ = (X − γ(G(X_g) − μX_g + Y))/(1 + γμ);  Y⁺ = Y + θ(I − W)X½;  X⁺ the same as X½ with Y⁺;
    X_f⁺ = X_g + (2τ/(2 − τ))(X⁺ − X), from X_f = X and Y = 0.

    Form: one gradient and one vector a step, gradients of the primal alone. With every exchange accelerated,
    ``ChebyshevGossip(APAPC.tuned(problem, network, rounds), rounds, network.rho)``, it is OPAPC, whose numbers of
    gradients and of exchanges are both optimal. What is recorded is X.

    Rounding: the mean of Y is conserved, and does not drift, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    extrapolation : float or schedule
        0 < τ <= 1.
    dual_lr : float or schedule
        θ > 0.
    strong_convexity : float
        μ > 0, of every fᵢ.

    References
    ----------
    D. Kovalev, A. Salim, P. Richtárik, Optimal and practical algorithms for smooth and strongly convex decentralized
    optimization, NeurIPS 2020.
    """

    lr: StepSize
    extrapolation: ConsensusStep
    dual_lr: StepSize
    strong_convexity: Annotated[Scheduled, Range(above=0.0)]

    references = ("kovalev2020optimal",)

    @classmethod
    def tuned(cls, problem: Any, network: Any, rounds: int = 1, strong_convexity: float | None = None) -> Self:
        """The paper's parameters.

        Parameters
        ----------
        problem : Problem
        network : Network
        rounds : int, default 1
            Exchanges by which `ChebyshevGossip` replaces one.
        strong_convexity : float, optional
            μ; the problem's, which is that of f, unless given.

        Returns
        -------
        APAPC
            ``τ = min(1, √(χ/κ)/2), γ = 1/(4τL), θ = 1/(γλ_max)``, χ the condition number of I − W or of its polynomial,
            λ_max its largest eigenvalue.
        """
        mu = float(problem.strong_convexity if strong_convexity is None else strong_convexity)
        least, largest = spectrum(network, rounds)
        extrapolation = min(1.0, math.sqrt(largest / least * mu / problem.smoothness) / 2)
        lr = 1 / (4 * extrapolation * problem.smoothness)
        return cls(lr, extrapolation, 1 / (lr * largest), mu)  # type: ignore[call-arg]

    def init(self, x: Array) -> State:
        """Start from `x` without dual variables."""
        return State(x, x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        between = self.extrapolation * state.x + (1 - self.extrapolation) * state.fast
        g = gradient(problem, between, batch) - self.strong_convexity * between
        scale = 1 + self.lr * self.strong_convexity
        half = (state.x - self.lr * (g + state.dual)) / scale
        dual = state.dual - self.dual_lr * differences(network, half)
        x = (state.x - self.lr * (g + dual)) / scale
        fast = between + 2 * self.extrapolation / (2 - self.extrapolation) * (x - state.x)
        return State(x, fast, dual)
