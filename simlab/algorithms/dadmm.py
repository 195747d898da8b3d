"""Decentralized ADMM."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.elementary import Identity
from simlab.operations import Array, Batch, compress, degrees, proximal, sum_replicas, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, what the neighbours have of them, and multipliers; (..., n, d) each."""

    x: Array
    replica: Array
    dual: Array


class DADMM(NamedTuple):
    """Decentralized ADMM (alternating direction method of multipliers): each node minimizes its objective exactly.

    xᵢ⁺ = argmin fᵢ(x) + ⟨x, λᵢ − c Σⱼ(x̂ᵢ + x̂ⱼ)⟩ + c dᵢ‖x‖²;  x̂ᵢ⁺ = xᵢ⁺;  λᵢ⁺ = λᵢ + c Σⱼ(x̂ᵢ⁺ − x̂ⱼ⁺), sums over the dᵢ
    neighbours, from x̂ = λ = 0.

    Form: of W only the graph is used, an edge counts as 1; one vector a step, sent after the minimization. No gradient
    is counted: a step solves a problem of one node (`simlab.operations.proximal` with weight 2cdᵢ), of all its
    samples, without noise. With `threshold` = 0 `COCA` is this method. The start X⁰ is not used.

    Parameters
    ----------
    penalty : float or schedule
        c > 0.

    References
    ----------
    W. Shi, Q. Ling, K. Yuan, G. Wu, W. Yin, On the linear convergence of the ADMM in decentralized consensus
    optimization, IEEE Trans. Signal Processing 62(7), 2014.
    """

    penalty: StepSize

    references = ("shi2014linear",)
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
        replica = compress(Identity(), x, batch)
        dual = state.dual + self.penalty * (near * replica - sum_replicas(network, replica))
        return State(x, replica, dual)
