"""signSGD: one bit a number up, and the majority down."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.elementary import OneBit
from simlab.operations import Array, Batch, average_replicas, compress, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class SignSGD(NamedTuple):
    """signSGD with majority vote, and with momentum Signum: every entry moves by γ, to where most nodes' signs point.

    M⁺ = βM + (1 − β)G;  S = sign(M⁺);  X⁺ = X − γ sign(Σᵢ sᵢ).

    Form: damped momentum. A sign is one bit, so that sign(0) = 1, and a tie of the vote counts as 1, too. W is not
    used. Every node sends d bits to the server, which sends d bits to all. The authors' code adds weight decay after
    the vote; there is none here. Nodes that start apart stay apart.

    It does not converge at a constant γ, and fails where nodes differ: the majority of signs is not the sign of the
    mean, so that it may rest, or run, where the mean gradient is large.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0
        Momentum factor 0 <= β < 1.

    References
    ----------
    J. Bernstein, J. Zhao, K. Azizzadenesheli, A. Anandkumar, signSGD with majority vote is communication efficient and
    fault tolerant, ICLR 2019.
    """

    lr: StepSize
    momentum: Momentum = 0.0

    references = ("bernstein2019majority", "bernstein2018signsgd")
    needs = "row"
    static = True

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        m = self.momentum * state.m + (1 - self.momentum) * gradient(problem, state.x, batch)
        one_bit = OneBit()  # type: ignore[call-arg]
        votes = average_replicas(compress(one_bit, m, batch, to="server"))
        return State(state.x - self.lr * compress(one_bit, votes, batch, to="all"), m)
