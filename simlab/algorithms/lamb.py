"""LAMB: Adam on averaged gradients with a rate for each layer."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import (
    Array,
    Batch,
    average,
    block_norms,
    gradient,
    minimum,
    sqrt,
    steps_taken,
    where,
    zeros_like,
)
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize, Weight, check_blocks


class State(NamedTuple):
    """Parameters, first and second moments, (..., n, d) each."""

    x: Array
    m: Array
    v: Array


class LAMB(NamedTuple):
    """LAMB: steps of Adam on the averaged gradients, scaled so that each block moves in proportion to its norm.

    G = J times the gradients, M⁺ = β₁M + (1 − β₁)G, V⁺ = β₂V + (1 − β₂)G², U = M̂/(√V̂ + ε) + λX, and for every block b
    X_b⁺ = X_b − γ min(‖X_b‖, 10)/‖U_b‖ U_b, the quotient 1 where a norm is 0.

    Form: both moments with bias correction, M̂ = M⁺/(1 − β₁^(k+1)), unlike the paper's last version; decay λX within U;
    gradients are not clipped first.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum, second : float, default 0.9, 0.999
        0 <= β₁, β₂ < 1.
    epsilon : float, default 1e-6
        ε > 0.
    weight_decay : float, default 0
        λ >= 0.
    blocks : tuple of int, default ()
        Entries of each block, `problem.block_sizes`; empty: all parameters are one.

    References
    ----------
    Y. You et al., Large batch optimization for deep learning: training BERT in 76 minutes, ICLR 2020.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    second: Momentum = 0.999
    epsilon: StepSize = 1e-6
    weight_decay: Weight = 0.0
    blocks: tuple[int, ...] = ()

    references = ("you2020large",)
    needs = "row"

    def check(self, problem: Objective, network: Mixing) -> None:
        """Raise ValueError where the blocks are not those of the problem."""
        check_blocks("LAMB", self.blocks, problem)

    def init(self, x: Array) -> State:
        """Start from `x` with empty moments."""
        return State(x, zeros_like(x), zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g, k = average(gradient(problem, state.x, batch)), steps_taken(batch)
        m = self.momentum * state.m + (1 - self.momentum) * g
        v = self.second * state.v + (1 - self.second) * g * g
        unbiased = m / (1 - self.momentum ** (k + 1)), v / (1 - self.second ** (k + 1))
        u = unbiased[0] / (sqrt(unbiased[1]) + self.epsilon) + self.weight_decay * state.x
        size, length = block_norms(state.x, self.blocks), block_norms(u, self.blocks)
        known = (size > 0) & (length > 0)
        ratio = where(known, minimum(size, 10.0) / where(known, length, 1.0), 1.0)
        return State(state.x - self.lr * ratio * u, m, v)
