"""DecentLaM with a rate for each layer, the same at all nodes."""

from __future__ import annotations

from typing import NamedTuple

from simlab.algorithms.decentlam import DecentLaM
from simlab.operations import Array, Batch, average, block_norms, gradient, mix, sqrt, where, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Momentum, StepSize, check_blocks


class State(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class LayerwiseDecentLaM(NamedTuple):
    """DecentLaM whose blocks have step sizes of their own, in proportion to their norms, common to all nodes.

    r_b = η s_b/(t_b + s_b) for every block b, with s_b² and t_b² the means over nodes of ‖x_i,b‖² and ‖g_i,b‖²; 1 where
    s_b is 0. With Γ = γr, constant over nodes:  ψ = X − ΓG;  G̃ = (X − Wψ)/Γ;  M⁺ = βM + G̃;  X⁺ = X − ΓM⁺.

    Its fixed points are those of DSGD with the step sizes Γ, whose mean solves Σ∇f_i = 0 block by block, so that the
    bias goes with γ; with ratios of each node's own it would stay. η in place of a ratio that grows without bound where
    gradients vanish: r_b < η.

    Form: as DecentLaM, and two exact averages of one number a block, which are counted as averages of d numbers.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    momentum : float, default 0.9
        Momentum factor 0 <= β < 1.
    trust : float, default 1
        η > 0.
    blocks : tuple of int, default ()
        Entries of each block, `problem.block_sizes`; empty: all parameters are one.

    References
    ----------
    K. Yuan et al., DecentLaM: Decentralized momentum SGD for large-batch deep training, ICCV 2021; Y. You, I. Gitman,
    B. Ginsburg, Large batch training of convolutional networks, arXiv:1708.03888, 2017.
    """

    lr: StepSize
    momentum: Momentum = 0.9
    trust: StepSize = 1.0
    blocks: tuple[int, ...] = ()

    references = ("yuan2021decentlam", "you2017large")
    needs = "row"

    def check(self, problem: Objective, network: Mixing) -> None:
        """Raise ValueError where the blocks are not those of the problem."""
        check_blocks("LayerwiseDecentLaM", self.blocks, problem)

    def init(self, x: Array) -> State:
        """Start from `x` with an empty buffer."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        g = gradient(problem, state.x, batch)
        lr = self.lr * self.scaling(state.x, g)
        m = self.momentum * state.m + (state.x - mix(network, state.x - lr * g)) / lr
        return State(state.x - lr * m, m)

    def scaling(self, x: Array, gradients: Array) -> Array:
        """D = r, each entry that of its block."""
        sizes, slopes = block_norms(x, self.blocks), block_norms(gradients, self.blocks)
        size, slope = sqrt(average(sizes * sizes)), sqrt(average(slopes * slopes))
        return where(size > 0, self.trust * size / where(size > 0, slope + size, 1.0), 1.0)

    def unscaled(self) -> DecentLaM:
        """The method that comes to rest at the same states with gradients D∇f_i."""
        return DecentLaM(self.lr, self.momentum)  # type: ignore[call-arg]  # `references` is no field
