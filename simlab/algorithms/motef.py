"""MoTEF: momentum tracking with compressed exchanges."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, steps_taken, where, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, Momentum, StepSize


class State(NamedTuple):
    """Parameters and tracked momentum, the replicas of both, and the local momentum; (..., n, d) each."""

    x: Array
    replica: Array
    v: Array
    v_replica: Array
    m: Array


class MoTEF(NamedTuple):
    """Momentum tracking with error feedback: `BEER`, whose tracker follows damped momentum and so averages noise out.

    X⁺ = X + ζ(W − I)H − γV;  H⁺ = H + C(X⁺ − H);  M⁺ = βM + (1 − β)G⁺;  V⁺ = V + ζ(W − I)H_v + M⁺ − M;
    H_v⁺ = H_v + C(V⁺ − H_v), from H = H_v = 0 and M⁰ = V⁰ = G⁰. The mean of V's rows is that of M's at every step.

    Form: combine-then-adapt, with the replicas of before; damped momentum, so that γ itself is the effective step size
    (the paper's λ is 1 − β). Two messages a step; V⁰ is not sent. The authors' code starts from V⁰ = G⁰ but M⁰ = 0:
    then the mean of V − M is that of G⁰ for ever, and the limit is not stationary.

    Rounding: nothing drifts, as in `GradientTracking`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    consensus_lr : float or schedule
        Consensus step size 0 < ζ <= 1.
    compressor : Compressor
        C, a contraction; see `simlab.compression`.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.

    References
    ----------
    R. Islamov, Y. Gao, S. U. Stich, Towards faster decentralized stochastic optimization with communication
    compression, ICLR 2025.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    momentum: Momentum = 0.9

    references = ("islamov2025towards",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with replicas at zero."""
        return State(x, *(zeros_like(x) for _ in range(4)))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration: momentum and its tracker take the gradient at x, then x moves."""
        g, begun = gradient(problem, state.x, batch), steps_taken(batch) > 0
        m = where(begun, self.momentum * state.m + (1 - self.momentum) * g, g)
        v = state.v + self.consensus_lr * differences_replicas(network, state.v_replica) + m - state.m
        news = where(begun, v - state.v_replica, zeros_like(v))  # V⁰ is not sent
        v_replica = state.v_replica + compress(self.compressor, news, batch, triggered=True)
        x = state.x + self.consensus_lr * differences_replicas(network, state.replica) - self.lr * v
        replica = state.replica + compress(self.compressor, x - state.replica, batch)
        return State(x, replica, v, v_replica, m)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
