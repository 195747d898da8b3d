"""LAG-WK: gradients that have hardly changed are not uploaded."""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any, NamedTuple

from simlab.compression.elementary import Identity
from simlab.operations import Array, Batch, average_replicas, compress, gradient, norm, where, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize, Weight


class LAGWK(NamedTuple):
    """LAG-WK (lazily aggregated gradients, the workers' rule): a gradient is uploaded only where it has changed enough.

    ĝᵢ⁺ = gᵢ(x) where ‖gᵢ(x) − ĝᵢ‖² > (ξ/γ²) Σ_d ‖x^(k+1−d) − x^(k−d)‖², d = 1, ..., D, else ĝᵢ;  x⁺ = x − γ mean of
    ĝ⁺, from ĝ = 0.

    Form: γ is for the mean gradient (the paper's α is γ/n, for the sum, and its condition the same in these units), ξ
    is equal for all d; the paper asks for ξ < 1/D. The authors' code takes ξ = 1/D, and makes one upload in its first D
    steps; here the rule holds from the start, with the moves that there are. W is not used. Nodes that start apart stay
    apart.

    Cost: who uploads sends d numbers to the server, silence costs nothing; the server sends the mean to all at each
    step. Every node evaluates its gradient at each step.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0; with γ = (1 − √(Dξ))/L it converges as gradient descent at that γ does.
    trigger : float or schedule
        ξ >= 0.
    memory : int, default 10
        D >= 1.

    References
    ----------
    T. Chen, G. Giannakis, T. Sun, W. Yin, LAG: lazily aggregated gradient for communication-efficient distributed
    learning, NeurIPS 2018.
    """

    lr: StepSize
    trigger: Weight
    memory: Period = 10

    references = ("chen2018lag",)
    needs = "row"
    static = True

    def init(self, x: Array) -> Any:
        """Start from `x`; nothing was uploaded, nothing has moved."""
        return lazy_state(self.memory, ())(x, *(zeros_like(x) for _ in range(self.memory + 1)))

    def step(self, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
        """One iteration."""
        x, uploaded, *moves = state
        news = gradient(problem, x, batch) - uploaded
        news = where(norm(news) ** 2 > self.trigger * sum(moves) / self.lr**2, news, zeros_like(news))
        uploaded = uploaded + compress(Identity(), news, batch, to="server", triggered=True)
        mean = compress(Identity(), average_replicas(uploaded), batch, to="all")
        return type(state)(x - self.lr * mean, uploaded, norm(self.lr * mean) ** 2, *moves[:-1])


@cache
def lazy_state(memory: int, more: tuple[str, ...]) -> Any:
    """Parameters, uploaded gradients, squared lengths of the last moves in every entry, the latest first; `more`."""
    kind = namedtuple("State", ["x", "uploaded", *(f"move_{d}" for d in range(1, memory + 1)), *more])
    return type("State", (kind,), {"__slots__": (), "__doc__": lazy_state.__doc__})
