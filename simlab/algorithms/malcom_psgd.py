"""Malcom-PSGD: sparse models, quantized residuals, proximal steps."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, gradient, mix_replicas, soft_threshold, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize, Weight


class State(NamedTuple):
    """Parameters, and the replicas of them that neighbours hold, (..., n, d) each."""

    x: Array
    replica: Array


class MalcomPSGD(NamedTuple):
    """Compressed decentralized proximal SGD: CHOCO-SGD's exchange, then a step towards sparse parameters.

    X½ = X − γG;  Q = C(X½ − X̂);  X̂⁺ = X̂ + Q;  X⁺ = prox(X½ + ζ(W − I)X̂⁺),  prox the soft threshold at γν.

    Form: adapt-then-combine; the replicas start at X̂⁰ = 0, so that the first message is C(X⁰ − γG⁰).

    It seeks the minimizer of f + ν||x||_1. What is recorded is measured against the problem's objective, whatever the
    algorithm: run it on `problem.with_l1(l1)` to see loss, mse and stationarity of that sum.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0. Constant of order 1/√T (second version of the paper) or decaying (first version).
    consensus_lr : float or schedule
        Consensus step size 0 < ζ <= 1.
    compressor : Compressor
        C, a contraction; the paper's is `simlab.compression.DitheredUniform` with its source code.
    l1 : float or schedule
        Weight ν >= 0.

    References
    ----------
    A. Campbell, H. Liu, L. Woldemariam, A. Scaglione, MALCOM-PSGD: inexact proximal stochastic gradient descent for
    communication-efficient decentralized machine learning, arXiv:2311.05760, 2023.
    """

    lr: StepSize
    consensus_lr: ConsensusStep
    compressor: Compressor
    l1: Weight

    references = ("campbell2023malcom",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with replicas at zero."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = state.x - self.lr * gradient(problem, state.x, batch)
        replica = state.replica + compress(self.compressor, half - state.replica, batch)
        mixed = half + self.consensus_lr * (mix_replicas(network, replica) - replica)
        return State(soft_threshold(mixed, self.lr * self.l1), replica)
