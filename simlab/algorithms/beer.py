"""BEER: gradient tracking with compressed exchanges."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, differences_replicas, gradient, steps_taken, where, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize


class State(NamedTuple):
    """Parameters and tracked average gradients, the replicas of both, and the last gradients; (..., n, d) each."""

    x: Array
    replica: Array
    v: Array
    v_replica: Array
    g: Array


class BEER(NamedTuple):
    """Gradient tracking with compressed differences to replicas, of the parameters and of the tracker: no bias.

    X⁺ = X + ζ(W − I)H − γV;  H⁺ = H + C(X⁺ − H);  V⁺ = V + ζ(W − I)H_v + G⁺ − G;  H_v⁺ = H_v + C(V⁺ − H_v), from
    H = H_v = 0 and V⁰ = G⁰. The mean of V's rows is that of G's at every step.

    Form: combine-then-adapt, with the replicas of before; CHOCO-SGD compresses first. Two messages a step; V⁰ is not
    sent, so that the first step has one. Rate, without noise, O(1/T) in nonconvex problems at any heterogeneity; the
    noise of mini-batches is not averaged out, for which `MoTEF` has momentum. Some published code keeps the wrong
    entries in its Top-k, or dithers with Gaussians; the compressors here do not.

    Rounding: nothing drifts, as in `GradientTracking`.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    consensus_lr : float or schedule
        Consensus step size 0 < ζ <= 1.
    compressor : Compressor
        C, a contraction; see `simlab.compression`.

    References
    ----------
    H. Zhao, B. Li, Z. Li, P. Richtárik, Y. Chi, BEER: fast O(1/T) rate for decentralized nonconvex optimization with
    communication compression, NeurIPS 2022.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor

    references = ("zhao2022beer",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with replicas at zero."""
        return State(x, *(zeros_like(x) for _ in range(4)))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration: the tracker takes the gradient at x, then x moves."""
        g = gradient(problem, state.x, batch)
        v = state.v + self.consensus_lr * differences_replicas(network, state.v_replica) + g - state.g
        news = where(steps_taken(batch) > 0, v - state.v_replica, zeros_like(v))  # V⁰ is not sent
        v_replica = state.v_replica + compress(self.compressor, news, batch, triggered=True)
        x = state.x + self.consensus_lr * differences_replicas(network, state.replica) - self.lr * v
        replica = state.replica + compress(self.compressor, x - state.replica, batch)
        return State(x, replica, v, v_replica, g)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)
