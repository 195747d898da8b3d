"""D²: a gradient correction that removes the inconsistency bias."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, gradient, mix, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters now and before, and the last update γG, (..., n, d) each."""

    x: Array
    x_previous: Array
    update: Array


class D2(NamedTuple):
    """D² (decentralized training over decentralized data): no inconsistency bias at any heterogeneity.

    X⁺ = W(2X − X⁻ − γ(G − G⁻)), first step X¹ = W(X⁰ − γG⁰). The state keeps γG⁻ rather than G⁻, so that a changing
    step size keeps the fixed point: X⁺ = W(2X − X⁻ − (γG − γ⁻G⁻)). It needs λₙ(W) > −1/3.

    Form: adapt-then-combine, one exchange a step: with ψ = X − γG, X⁺ = W(ψ + X − ψ⁻), with ψ⁻ = X⁰ at first. Exact
    diffusion is the same with V = (I + W)/2 in place of W, and then needs no bound on λₙ. Some libraries do not
    mix the first step, or divide the correction by the present step size, which moves the fixed point when γ changes.

    Rounding: the mean over nodes of X⁺ − X + γG is conserved, and zero from the start on. Nothing pulls it back: what
    rounding adds to it, some eps |X| a step and the same each step once the run rests, moves x̄ by (γ∇²f)⁻¹ as much. So
    the error grows with the number of steps: in float32 the mse of a small problem is 1e-8 after 1,000 and 3e-5 after
    50,000 steps. Where that matters use float64, or `GradientTracking`, whose conserved sum is of quantities that
    vanish. Other ways of writing the step down, by X and the correction C, or by exchanging differences of successive
    messages, drift as much or more: the drift is the rounding of WX itself, whose rows do not sum to those of X.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.

    References
    ----------
    H. Tang, X. Lian, M. Yan, C. Zhang, J. Liu, D²: Decentralized training over decentralized data, ICML 2018.
    """

    lr: StepSize

    references = ("tang2018d2",)

    def check(self, problem: Objective, network: Mixing) -> None:
        """ValueError unless the smallest eigenvalue of W is above -1/3."""
        require_smallest_eigenvalue("D2", network)

    def init(self, x: Array) -> State:
        """Start from `x`; X⁻ = X⁰ and G⁻ = 0 make the general step the first one."""
        return State(x, x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        update = self.lr * gradient(problem, state.x, batch)
        x = mix(network, 2 * state.x - state.x_previous - update + state.update)
        return State(x, state.x, update)

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = 0."""
        return zeros_like(eigenvalues)


def require_smallest_eigenvalue(algorithm: str, network: Mixing) -> None:
    """ValueError unless λₙ(W) > −1/3, without which `algorithm` diverges; of every W where it changes."""
    # An even ring has exactly -1/3, where an undamped oscillation stays; rounding may put it on either side.
    if not network.smallest_eigenvalue > -1 / 3 + 1e-9:
        raise ValueError(
            f"network has smallest eigenvalue {network.smallest_eigenvalue:.4f}; {algorithm} needs it above -1/3: "
            "build the network with lazy=True"
        )
