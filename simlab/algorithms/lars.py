"""LARS: parallel momentum SGD with a rate for each layer."""

from __future__ import annotations

from typing import Literal, NamedTuple

from simlab.operations import Array, Batch, average, block_norms, gradient as gradient_of, minimum, where, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize, Weight, check_blocks


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class LARS(NamedTuple):
    """Parallel momentum SGD with layer-wise adaptive rates: each block steps in proportion to its own norm.

    G = J times the gradients, r = η‖X_b‖/(‖G_b‖ + λ‖X_b‖) for every block b, 1 where a norm is 0. With ``form="lars"``,
    the original one, M⁺ = βM + γr(G + λX), X⁺ = X − M⁺; with "larc" M⁺ = βM + r(G + λX), X⁺ = X − γM⁺, the same at a
    constant γ; with "clip" it is the latter, and r no more than 1 after a division by γ: min(r/γ, 1).

    Form: undamped heavy ball, no bias correction; biases are blocks like others, and have r = 1 while they are 0. Where
    the γ of "lars" falls, its buffer remembers larger steps. Gradients are averaged exactly, so that from equal starts
    the ratios are equal at all nodes; computed at each node from its own gradient they would bias the limit, however
    small γ is.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.
    trust : float, default 0.001
        η > 0; 0.02 is usual with "larc" and "clip".
    weight_decay : float, default 0
        λ >= 0, coupled.
    blocks : tuple of int, default ()
        Entries of each block, `problem.block_sizes`; empty: all parameters are one.
    form : {"lars", "larc", "clip"}, default "lars"

    References
    ----------
    Y. You, I. Gitman, B. Ginsburg, Large batch training of convolutional networks, arXiv:1708.03888, 2017.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    trust: StepSize = 0.001
    weight_decay: Weight = 0.0
    blocks: tuple[int, ...] = ()
    form: Literal["lars", "larc", "clip"] = "lars"

    references = ("you2017large",)
    needs = "row"

    def check(self, problem: Objective, network: Mixing) -> None:
        """Raise ValueError where the blocks are not those of the problem."""
        check_blocks("LARS", self.blocks, problem)

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = average(gradient_of(problem, state.x, batch))
        size, slope = block_norms(state.x, self.blocks), block_norms(g, self.blocks)
        known = (size > 0) & (slope > 0)
        ratio = where(known, self.trust * size / where(known, slope + self.weight_decay * size, 1.0), 1.0)
        if self.form == "clip":
            ratio = minimum(ratio / self.lr, 1.0)
        direction = ratio * (g + self.weight_decay * state.x)
        if self.form == "lars":
            m = self.momentum * state.m + self.lr * direction
            return State(state.x - m, m)
        m = self.momentum * state.m + direction
        return State(state.x - self.lr * m, m)
