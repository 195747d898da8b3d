"""DoubleSqueeze: compressed up and down, both with memory."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, average_replicas, compress, gradient, zeros_like
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, what the nodes' messages have left out, what the server's have (equal rows); (..., n, d) each."""

    x: Array
    error: Array
    server_error: Array


class DoubleSqueeze(NamedTuple):
    """Parallel SGD through a server, compressed both ways, each side adding what it left out to its next message.

    P = G + E;  Q = C(P);  E⁺ = P − Q;  at the server S = JQ + E_s;  R = C(S);  E_s⁺ = S − R;  X⁺ = X − γR, from
    E = E_s = 0.

    Form: γ is outside the memories; the analysis is of a constant one. W is not used. Every node sends one message up,
    the server one down, to all. Nodes that start apart stay apart.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    compressor : Compressor
        C, a contraction; see `simlab.compression`.

    References
    ----------
    H. Tang, C. Yu, X. Lian, T. Zhang, J. Liu, DoubleSqueeze: parallel stochastic gradient descent with double-pass
    error-compensated compression, ICML 2019.
    """

    lr: StepSize
    compressor: Compressor

    references = ("tang2019doublesqueeze",)
    needs = "row"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x` with nothing left out."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        p = gradient(problem, state.x, batch) + state.error
        q = compress(self.compressor, p, batch, to="server")
        s = average_replicas(q) + state.server_error
        r = compress(self.compressor, s, batch, to="all")
        return State(state.x - self.lr * r, p - q, s - r)
