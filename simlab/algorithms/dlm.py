"""DLM: linearized decentralized ADMM."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.elementary import Identity
from simlab.operations import Array, Batch, compress, degrees, gradient, sum_replicas, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters and multipliers, (..., n, d) each."""

    x: Array
    dual: Array


class DLM(NamedTuple):
    """DLM (decentralized linearized ADMM): a gradient step in place of each node's minimization.

    xᵢ⁺ = xᵢ − γ(∇fᵢ(xᵢ) + c Σⱼ(xᵢ − xⱼ) + λᵢ);  λᵢ⁺ = λᵢ + c Σⱼ(xᵢ⁺ − xⱼ⁺), sums over the neighbours, from λ = 0.

    Form: of W only the graph is used, an edge counts as 1; one vector a step. X⁰ is known to the neighbours. The paper
    writes γ = 1/(2cdᵢ + ρ), different for nodes of different degree; here it is one number, as in libraries. No bias.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    penalty : float or schedule
        c > 0.

    References
    ----------
    Q. Ling, W. Shi, G. Wu, A. Ribeiro, DLM: decentralized linearized alternating direction method of multipliers, IEEE
    Trans. Signal Processing 63(15), 2015.
    """

    lr: StepSize
    penalty: StepSize

    references = ("ling2015dlm",)
    static = True

    def init(self, x: Array) -> State:
        """Start from `x`, known to the neighbours."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        near = degrees(network, state.x)
        apart = self.penalty * (near * state.x - sum_replicas(network, state.x))
        x = state.x - self.lr * (gradient(problem, state.x, batch) + apart + state.dual)
        replica = compress(Identity(), x, batch)
        return State(replica, state.dual + self.penalty * (near * replica - sum_replicas(network, replica)))
