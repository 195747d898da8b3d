"""K-GT: gradient tracking with local steps."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, mix, phase, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import Period, StepSize


class State(NamedTuple):
    """Parameters, where they were at the last exchange, and the correction of local gradients; (..., n, d) each."""

    x: Array
    start: Array
    c: Array


class KGT(NamedTuple):
    """Gradient tracking with τ local steps between exchanges: corrected local gradients keep nodes from drifting apart.

    X ← X − γ(G + C), τ times from X₀; then Z = (X₀ − X)/(τγ), C⁺ = C − Z + WZ and X₀⁺ = W(X₀ − α(X₀ − X)). The mean of
    C over nodes stays zero; at rest C = −G.

    Form: τ = `local_steps` counts gradient steps, the exchange of two vectors comes after the last one; γ is that of
    the exchange where it changes. It starts from C = 0, the paper from C = mean of G⁰ − G⁰, for which an average over
    all nodes is taken first; the limit is the same. Between exchanges nodes drift apart and back, so that records at
    other steps than multiples of τ see that. First step X¹ = X⁰ − γG⁰, mixed where τ = 1: then, with α = 1, it is
    gradient tracking that adapts, then combines in X, and combines, then adapts in the tracker (NEXT, ATC-Tracking).

    Parameters
    ----------
    lr : float or schedule
        Local step size γ > 0.
    local_steps : int
        τ >= 1.
    slow_lr : float, default 1
        α > 0: how much of the way that the local steps went is taken.

    References
    ----------
    Y. Liu, T. Lin, A. Koloskova, S. U. Stich, Decentralized gradient tracking with local steps, Optimization Methods
    and Software, 2024, arXiv:2301.01313.
    """

    lr: StepSize
    local_steps: Period
    slow_lr: StepSize = 1.0

    references = ("liu2024decentralized",)
    needs = "double"

    def init(self, x: Array) -> State:
        """Start from `x` without correction."""
        return State(x, x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = state.x - self.lr * (gradient(problem, state.x, batch) + state.c)
        if phase(batch, self.local_steps) < self.local_steps - 1:
            return State(x, state.start, state.c)
        moved = state.start - x
        c = state.c + differences(network, moved / (self.local_steps * self.lr))
        x = mix(network, state.start - self.slow_lr * moved)
        return State(x, x, c)
