"""Chebyshev gossip around another method."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from simlab.operations import Array, Batch, Polynomial
from simlab.protocols import Algorithm, Mixing, Objective
from simlab.schedules import Period, Range, Scheduled


class ChebyshevGossip(NamedTuple):
    """Another method, each of whose exchanges becomes K, combined by Chebyshev's polynomial to mix as fast as K can.

    W becomes P(W) = T_K(W/ρ)/T_K(1/ρ), T_K the polynomial of the first kind: P(1) = 1, and on [−ρ, ρ] P is at most
    1/T_K(1/ρ) in size, about 2 exp(−K√(2(1 − ρ))). With Y₀ = X, Y₁ = WX and a_k = T_k(1/ρ) it is
    Y⁺ = Y⁻ + (2a_k/(ρa⁺))(WY − Y⁻).

    Form: every exchange of the base is replaced, and counted as K. P(W) is symmetric and doubly stochastic like W, but
    may have negative weights; it has the eigenvalue −1/T_K(1/ρ) where W has −ρ. With K = 1 it is the base.

    Parameters
    ----------
    base : algorithm
        That mixes (`mix` and `differences`), and keeps no replicas.
    rounds : int
        K >= 1.
    rho : float
        0 < ρ <= 1, the network's `rho`, or a bound on it.

    References
    ----------
    M. Arioli, J. Scott, Chebyshev acceleration of iterative refinement, Numerical Algorithms 66, 2014.

    K. Scaman, F. Bach, S. Bubeck, Y. T. Lee, L. Massoulié, Optimal algorithms for smooth and strongly convex
    distributed optimization in networks, ICML 2017.
    """

    base: Algorithm
    rounds: Period
    rho: Annotated[Scheduled, Range(above=0.0, maximum=1.0)]

    references = ("arioli2014chebyshev", "scaman2017optimal")
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """Whatever the base asks for."""
        if hasattr(self.base, "check"):
            self.base.check(problem, network)

    def init(self, x: Array) -> Any:
        """Start the base from `x`."""
        return self.base.init(x)

    def step(self, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
        """One step of the base, over P(W)."""
        return self.base.step(state, problem, Polynomial(network, self.rounds, self.rho), batch)
