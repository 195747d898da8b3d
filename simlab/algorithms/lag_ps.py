"""LAG-PS: the server asks only those whose gradients may have changed."""

from __future__ import annotations

from typing import Any, NamedTuple

from simlab.algorithms.lag_wk import lazy_state
from simlab.arrays import namespace_of
from simlab.compression.elementary import Identity
from simlab.operations import (
    Array,
    Batch,
    average_replicas,
    compress,
    gradient,
    norm,
    per_node,
    steps_taken,
    where,
    zeros_like,
)
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize, Weight


class LAGPS(NamedTuple):
    """LAG-PS (lazily aggregated gradients, the server's rule): it asks for a gradient only where x has moved enough.

    Node i is asked at the first step, and where Lᵢ²‖x̂ᵢ − x‖² > (ξ/γ²) Σ_d ‖x^(k+1−d) − x^(k−d)‖², d = 1, ..., D, x̂ᵢ the
    x of its last upload; then x̂ᵢ⁺ = x and ĝᵢ⁺ = gᵢ(x);  x⁺ = x − γ mean of ĝ⁺.

    Form: γ is for the mean gradient (the paper's α is γ/n, for the sum, and its condition the same in these units), ξ
    is equal for all d; the paper asks for ξ < 1/D. The authors' code takes ξ = 10/D, and makes one upload in its first
    D steps; here the rule holds from the start. W is not used. Nodes that start apart stay apart.

    Cost: who is asked gets d numbers, and uploads d numbers; the others cost nothing. X⁰ is known to all. The column
    `gradients` counts all nodes at each step, also those that are not asked.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0; with γ = (1 − √(Dξ))/L it converges as gradient descent at that γ does.
    trigger : float or schedule
        ξ >= 0.
    smoothness : tuple of n floats
        Lᵢ of each node; of least squares ``tuple(numpy.linalg.eigvalsh(problem.hessians)[:, -1])``.
    memory : int, default 10
        D >= 1.

    References
    ----------
    T. Chen, G. Giannakis, T. Sun, W. Yin, LAG: lazily aggregated gradient for communication-efficient distributed
    learning, NeurIPS 2018.
    """

    lr: StepSize
    trigger: Weight
    smoothness: tuple[float, ...]
    memory: Period = 10

    references = ("chen2018lag",)
    needs = "row"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """ValueError unless there is an Lᵢ for each node."""
        given = self.smoothness if isinstance(self.smoothness, tuple) else ()
        if len(given) != problem.n_nodes or not all(constant > 0 for constant in given):
            raise ValueError(
                f"LAGPS.smoothness = {self.smoothness!r} does not hold a positive number for each of the "
                f"{problem.n_nodes} nodes; pass a tuple of the smoothness constants of their objectives"
            )

    def init(self, x: Array) -> Any:
        """Start from `x`, known to all; nothing was uploaded, nothing has moved."""
        constants = namespace_of(x).asarray(self.smoothness, dtype=x.dtype)[:, None]
        kind = lazy_state(self.memory, ("known", "constants"))
        return kind(x, *(zeros_like(x) for _ in range(self.memory + 1)), x, per_node(x) + constants)

    def step(self, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
        """One iteration."""
        x, uploaded, *moves, known, constants = state
        none, far = zeros_like(x), (constants * norm(known - x)) ** 2 > self.trigger * sum(moves) / self.lr**2
        asked = far | (steps_taken(batch) == 0)
        identity = Identity()
        known = known + compress(identity, where(asked, x - known, none), batch, to="server", triggered=True)
        news = where(asked, gradient(problem, known, batch) - uploaded, none)
        uploaded = uploaded + compress(identity, news, batch, to="server", triggered=True)
        move = self.lr * average_replicas(uploaded)
        return type(state)(x - move, uploaded, norm(move) ** 2, *moves[:-1], known, constants)
