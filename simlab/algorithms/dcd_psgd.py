"""DCD-PSGD: compressed differences between steps."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_contraction
from simlab.operations import Array, Batch, compress, gradient, mix_replicas
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, which the neighbours know exactly; (..., n, d)."""

    x: Array


class DCDPSGD(NamedTuple):
    """Difference compression: a node moves by the compressed change of its parameters, so neighbours know where it is.

    X½ = WX − γG;  X⁺ = X + C(X½ − X).

    Form: combine-then-adapt; X⁰ is known to the neighbours. The replicas are exact, and the error of C stays in X: it
    needs an unbiased C of small variance (the paper asks for a signal-to-noise ratio by the spectral gap), and
    diverges with a coarse one. Without compression it is `DSGD` in the form cta.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    compressor : Compressor
        C, unbiased in theory; a contraction is asked for.

    References
    ----------
    H. Tang, S. Gan, C. Zhang, T. Zhang, J. Liu, Communication compression for decentralized training, NeurIPS 2018.
    """

    lr: StepSize
    compressor: Compressor

    references = ("tang2018communication",)
    needs = "double"
    static = True

    def check(self, problem: Objective, network: Mixing) -> None:
        """TypeError or ValueError unless the compressor is a contraction."""
        check_contraction(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x`."""
        return State(x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = mix_replicas(network, state.x) - self.lr * gradient(problem, state.x, batch)
        return State(state.x + compress(self.compressor, half - state.x, batch))
