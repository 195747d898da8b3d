"""LEAD: a primal-dual method with compressed exchanges."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, soft_threshold, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize, Weight


class State(NamedTuple):
    """Parameters, the replicas that neighbours hold, and the dual variable, which tends to −G; (..., n, d) each."""

    x: Array
    replica: Array
    dual: Array


class LEAD(NamedTuple):
    """LEAD (linear convergent decentralized optimization): exact diffusion, its exchange compressed to replicas.

    Y = X − γG − γD;  Ŷ = H + C(Y − H);  D⁺ = D + (ζ/2γ)(I − W)Ŷ;  X⁺ = prox(X − γG − γD⁺);  H⁺ = (1 − α)H + αŶ, from
    D = H = 0, prox the soft threshold at γν.

    Form: adapt-then-combine, one message a step. With C(v) = v and ζ = 1 it is `ExactDiffusion`, first step mixed; the
    paper takes a plain step before. C is unbiased in theory, of variance q, with α <= 1/(1 + q). The mean of D over
    nodes stays zero.

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
    l1 : float or schedule, default 0.0
        Weight ν >= 0.

    References
    ----------
    X. Liu, Y. Li, R. Wang, J. Tang, M. Yan, Linear convergent decentralized optimization with compression, ICLR 2021.

    Y. Li, X. Liu, J. Tang, M. Yan, K. Yuan, Decentralized composite optimization with compression, arXiv:2108.04448,
    2021.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    damping: ConsensusStep = 0.5
    l1: Weight = 0.0

    references = ("liu2021linear", "li2021decentralized")
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
        y = half - self.lr * state.dual
        received = compress(self.compressor, y - state.replica, batch)
        exchanged = self.consensus_lr / 2 * differences_replicas(network, state.replica + received)
        dual = state.dual - exchanged / self.lr
        x = soft_threshold(half - self.lr * dual, self.lr * self.l1)
        return State(x, state.replica + self.damping * received, dual)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0, without an l1 term."""
        return zeros_like(eigenvalues)
