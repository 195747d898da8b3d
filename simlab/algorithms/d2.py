"""D²: a gradient correction that removes the inconsistency bias."""

from __future__ import annotations

from typing import NamedTuple

from simlab.operations import Array, Batch, differences, gradient, zeros_like
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, and the sum of past exchanges, which tends to γG; (..., n, d) each."""

    x: Array
    correction: Array


class D2(NamedTuple):
    """D² (decentralized training over decentralized data): no inconsistency bias at any heterogeneity.

    X⁺ = W(2X − X⁻ − γ(G − G⁻)), first step X¹ = W(X⁰ − γG⁰). A changing step size keeps the fixed point:
    X⁺ = W(2X − X⁻ − (γG − γ⁻G⁻)). The step is written by its correction C = X − (X⁻ − γ⁻G⁻), zero at first:
    X⁺ = Φ + LΦ with Φ = X − (γG − C) and L = W − I, C⁺ = C + LΦ. It needs λₙ(W) > −1/3.

    Form: adapt-then-combine, one exchange a step: with ψ = X − γG, X⁺ = W(ψ + X − ψ⁻), with ψ⁻ = X⁰ at first. Exact
    diffusion is the same with V = (I + W)/2 in place of W, and then needs no bound on λₙ. Some libraries do not
    mix the first step, or divide the correction by the present step size, which moves the fixed point when γ changes.

    Rounding: the mean of C over nodes is conserved, and zero from the start on. Nothing pulls it back, and what
    rounding adds to it moves x̄ by (γ∇²f)⁻¹ as much. So LΦ is computed from differences of neighbours
    (`simlab.operations.differences`), whose rounding vanishes where nodes agree, and C is a sum of those: the mse of a
    small problem stays at some 1e-14 in float32. Written with WΦ, some eps ‖X‖ is added at each step, and mse is 3e-5
    after 50,000 steps.

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
        """Start from `x`; C = 0 makes the general step the first one."""
        return State(x, zeros_like(x))

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        x = state.x - (self.lr * gradient(problem, state.x, batch) - state.correction)
        exchanged = differences(network, x)
        return State(x + exchanged, state.correction + exchanged)

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
