"""EF-signSGD: signs with a scale, and what they leave remembered."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.elementary import Identity, Sign
from simlab.operations import Array, Batch, average_replicas, compress, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters, momentum buffer, and what the messages have left out so far; (..., n, d) each."""

    x: Array
    m: Array
    error: Array


class EFSignSGD(NamedTuple):
    """Scaled signs of the steps, averaged by a server; each node adds what its signs leave out to its next step.

    M⁺ = βM + G;  P = γM⁺ + E;  Q = (‖P‖₁/d) sign(P), row by row;  E⁺ = P − Q;  X⁺ = X − JQ;  J = 11ᵀ/n, from E = 0.

    Form: γ is inside the memory E, as the paper has it; other codes keep E without γ, which differs while γ changes.
    Undamped momentum, before compression. The scale is of a whole row; the paper's is of a layer. With one node it is
    the paper's algorithm. W is not used. Every node sends d + 32 bits to the server, which sends the mean, d numbers
    in the run's precision, to all. Nodes that start apart stay apart.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0
        Momentum factor 0 <= β < 1.

    References
    ----------
    S. P. Karimireddy, Q. Rebjock, S. Stich, M. Jaggi, Error feedback fixes SignSGD and other gradient compression
    schemes, ICML 2019.
    """

    lr: StepSize
    momentum: Momentum = 0.0

    references = ("karimireddy2019error",)
    needs = "row"
    static = True

    def init(self, x: Array) -> State:
        """Start from `x` with nothing left out."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + gradient(problem, state.x, batch)
        p = self.lr * m + state.error
        q = compress(Sign(), p, batch, to="server")  # type: ignore[call-arg]
        mean = compress(Identity(), average_replicas(q), batch, to="all")
        return State(state.x - mean, m, p - q)
