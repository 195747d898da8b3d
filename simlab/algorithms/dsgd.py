"""Decentralized SGD, adapt-then-combine and combine-then-adapt."""

from __future__ import annotations

from typing import Literal, NamedTuple

from simlab.operations import Array, Batch, gradient, mix
from simlab.protocols import Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, (..., n, d)."""

    x: Array


class DSGD(NamedTuple):
    """Decentralized SGD: a local gradient step and an average over the neighbours.

    `order="atc"` (adapt-then-combine, diffusion): X⁺ = W(X − γG).
    `order="cta"` (combine-then-adapt, DGD, D-PSGD): X⁺ = WX − γG.

    The first step is like every other one. In the literature on diffusion, combine-then-adapt takes the gradient at WX,
    which is atc seen between its halves; DGD and D-PSGD take it at X, as cta here.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    order : {"atc", "cta"}, default "atc"
        Which comes first, the gradient step or the exchange.

    References
    ----------
    A. Nedić, A. Ozdaglar, Distributed subgradient methods for multi-agent optimization, IEEE TAC, 2009 (CTA).
    J. Chen, A. H. Sayed, Diffusion adaptation strategies for distributed optimization, IEEE TSP, 2012 (ATC).
    X. Lian et al., Can decentralized algorithms outperform centralized algorithms?, NeurIPS 2017 (D-PSGD).
    """

    lr: StepSize
    order: Literal["atc", "cta"] = "atc"

    references = ("nedic2009distributed", "chen2012diffusion", "lian2017can")
    needs = "row"

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        update = self.lr * gradient(problem, state.x, batch)
        if self.order == "cta":
            return State(mix(network, state.x) - update)
        return State(mix(network, state.x - update))

    def bias_transfer(self, eigenvalues: Array) -> Array:
        """φ(λ) = λ/(1−λ) in the form atc, 1/(1−λ) in the form cta."""
        return (eigenvalues if self.order == "atc" else 1) / (1 - eigenvalues)
