"""CEDAS: compressed exact diffusion."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize


class State(NamedTuple):
    """Parameters, the replicas that neighbours hold, and the dual variable, which tends to −γG; (..., n, d) each."""

    x: Array
    replica: Array
    dual: Array


class CEDAS(NamedTuple):
    """CEDAS (compressed exact diffusion with adaptive step sizes): `LEAD`, whose dual variable holds the step size.

    Y = X − γG − D;  Ŷ = H + C(Y − H);  D⁺ = D + (ζ/2)(I − W)Ŷ;  X⁺ = X − γG − D⁺;  H⁺ = (1 − α)H + αŶ, from D = H = 0.

    Form: adapt-then-combine, one message a step. While γ is constant it is LEAD, path by path; with a decaying γ the
    correction D has to follow γG, and lags behind it. C is unbiased in theory, of variance q, with α <= 1/(1 + q).

    Rounding: the mean of D is conserved, and does not drift, as in `D2`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    consensus_lr : float or schedule
        Dual step size 0 < ζ <= 1, smaller for a coarser C.
    compressor : Compressor
        C; a contraction is asked for, which may be an unbiased one.
    damping : float or schedule, default 0.5
        How fast replicas follow, 0 < α <= 1.

    References
    ----------
    K. Huang, S. Pu, CEDAS: a compressed decentralized stochastic gradient method with improved convergence,
    arXiv:2301.05872, 2023.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    damping: ConsensusStep = 0.5

    references = ("huang2023cedas",)
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with replicas and dual variables at zero."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = state.x - self.lr * gradient(problem, state.x, batch)
        received = compress(self.compressor, half - state.dual - state.replica, batch)
        dual = state.dual - self.consensus_lr / 2 * differences_replicas(network, state.replica + received)
        return State(half - dual, state.replica + self.damping * received, dual)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
