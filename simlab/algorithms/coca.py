"""COCA: ADMM whose nodes are silent where they have no news."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.elementary import Identity
from simlab.operations import (
    Array,
    Batch,
    compress,
    degrees,
    norm,
    proximal,
    steps_taken,
    sum_replicas,
    where,
    zeros_like,
)
from simlab.protocols import Mixing, Objective
from simlab.schedules import ConsensusStep, StepSize, Weight


class State(NamedTuple):
    """Parameters, what the neighbours have of them, and multipliers; (..., n, d) each."""

    x: Array
    replica: Array
    dual: Array


class COCA(NamedTuple):
    """COCA (communication-censored ADMM): decentralized ADMM; who has moved little since its last message sends none.

    xᵢ⁺ = argmin fᵢ(x) + ⟨x, λᵢ − c Σⱼ(x̂ᵢ + x̂ⱼ)⟩ + c dᵢ‖x‖²;  x̂ᵢ⁺ = xᵢ⁺ where ‖x̂ᵢ − xᵢ⁺‖ ≥ αρᵏ, else x̂ᵢ;
    λᵢ⁺ = λᵢ + c Σⱼ(x̂ᵢ⁺ − x̂ⱼ⁺), sums over the dᵢ neighbours, from x̂ = λ = 0.

    Form: the minimization uses a node's own x̂ᵢ, too, the multipliers the new ones, so that they stay in the range of
    the Laplacian. The threshold is on the norm; one implementation squares it. The first step is k = 0. Otherwise as
    `DADMM`, which it is with α = 0. Silence costs nothing, and carries no flag.

    Parameters
    ----------
    penalty : float or schedule
        c > 0.
    threshold : float or schedule
        α >= 0.
    decay : float or schedule
        0 < ρ <= 1. Steps and messages are another trade for each: too near to 1 it saves messages and loses steps.

    References
    ----------
    Y. Liu, W. Xu, G. Wu, Z. Tian, Q. Ling, Communication-censored ADMM for decentralized consensus optimization, IEEE
    Trans. Signal Processing 67(10), 2019.
    """

    penalty: StepSize
    threshold: Weight
    decay: ConsensusStep

    references = ("liu2019censored",)
    static = True

    def init(self, x: Array) -> State:
        """Start with replicas and multipliers at zero."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        near = degrees(network, state.x)
        both = near * state.replica + sum_replicas(network, state.replica)
        weight = 2 * self.penalty * near
        x = proximal(problem, (self.penalty * both - state.dual) / weight, weight)
        news = x - state.replica
        news = where(norm(news) >= self.threshold * self.decay ** steps_taken(batch), news, zeros_like(news))
        replica = state.replica + compress(Identity(), news, batch, triggered=True)
        dual = state.dual + self.penalty * (near * replica - sum_replicas(network, replica))
        return State(x, replica, dual)
