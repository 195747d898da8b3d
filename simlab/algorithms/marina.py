"""MARINA: compressed differences of gradients, through a server."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_unbiased
from simlab.compression.elementary import Identity
from simlab.operations import (
    Array,
    Batch,
    average_replicas,
    common_uniform,
    compress,
    gradient,
    steps_taken,
    where,
    zeros_like,
)
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize


class State(NamedTuple):
    """Parameters, the server's estimate of the mean gradient (equal rows), last gradients; (..., n, d) each."""

    x: Array
    v: Array
    g: Array


class MARINA(NamedTuple):
    """MARINA: nodes send how their gradients changed, compressed, and now and then, by a common coin, the gradients.

    V = JG with probability p and at the first step, else V = V⁻ + J C(G − G⁻);  X⁺ = X − γV;  J = 11ᵀ/n.

    Form: G are the gradients of all samples, without noise, whatever the run's mini-batches are. The paper tosses the
    coin after the step, for the next V; here it is the coin of the step that uses V, the same in law. With p = k/d both
    kinds of messages cost alike. W is not used. Each node sends one message up, dense or compressed, the server V down,
    d numbers to all. C is unbiased: `simlab.compression.RandomK` (``unbiased=True``), or `PermK`, with which nodes of
    equal gradients lose nothing. Nodes that start apart stay apart.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    compressor : Compressor
        C, unbiased; see `simlab.compression`.
    probability : float or schedule
        0 < p <= 1.

    References
    ----------
    E. Gorbunov, K. Burlachenko, Z. Li, P. Richtárik, MARINA: faster non-convex distributed learning with compression,
    ICML 2021.
    """

    lr: StepSize
    compressor: Compressor
    probability: ConsensusStep

    references = ("gorbunov2021marina",)
    needs = "row"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is unbiased."""
        check_unbiased(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.x, Batch())
        dense = (common_uniform(g, batch) < self.probability) | (steps_taken(batch) == 0)
        none = zeros_like(g)
        whole = compress(Identity(), where(dense, g, none), batch, to="server", triggered=True)
        change = compress(self.compressor, where(dense, none, g - state.g), batch, to="server", triggered=True)
        v = where(dense, average_replicas(whole), state.v + average_replicas(change))
        return State(state.x - self.lr * compress(Identity(), v, batch, to="all"), v, g)
