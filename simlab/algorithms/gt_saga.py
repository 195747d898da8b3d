"""GT-SAGA: gradient tracking, its noise reduced by a table of the samples' last gradients."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, mix, saga_gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, tracker, last estimates of the gradients, (..., n, d) each; last gradients of all samples."""

    x: Array
    y: Array
    v: Array
    table: Array

    @property
    def tables(self) -> tuple[str, ...]:
        """What a simulation with mini-batches fills."""
        return ("table",)


class GTSAGA(NamedTuple):
    """GT-SAGA: gradient tracking with a table of each sample's last gradient, linear without a bias on mini-batches.

    V = G(X) − T_S + T̄, the gradients of a mini-batch S less those in the table, and the table's mean;  T_S ← those
    of G(X);  Y = W(Y⁻ + V − V⁻);  X⁺ = W(X − γY), from Y⁻ = V⁻ = 0 and the gradients of all samples at X⁰ in the table.
    The mean of Y's rows is that of V's at every step.

    Form: adapt-then-combine in both lines, as `GradientTracking`, which it is with full batches. The table is of the
    points at which V is taken; others put in the gradients at X⁺. Of a sample that is drawn twice in a batch both draws
    count, and one entry changes. A node keeps m + 1 gradients, where `GTSVRG` keeps one and evaluates two a step. The
    column `gradients` does not count those of the start. What `noise_std` adds is in V, and no table removes it.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    R. Xin, U. A. Khan, S. Kar, Variance-reduced decentralized stochastic optimization with accelerated convergence,
    IEEE Trans. Signal Processing 68, 2020, arXiv:1912.04230.
    """

    lr: StepSize

    references = ("xin2020variance",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x`; a simulation with mini-batches fills the table."""
        return State(x, zeros_like(x), zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        v, table = saga_gradient(problem, state.x, batch, state.table)
        y = mix(network, state.y + v - state.v)
        return State(mix(network, state.x - self.lr * y), y, v, table)
