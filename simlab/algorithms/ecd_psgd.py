"""ECD-PSGD: compressed extrapolations."""

from __future__ import annotations

from typing import NamedTuple

from simlab.compression.contraction import check_unbiased
from simlab.operations import Array, Batch, compress, gradient, mix_replicas, steps_taken
from simlab.protocols import Compressor, Mixing, Objective
from simlab.schedules import StepSize


class State(NamedTuple):
    """Parameters, and the estimates of them that neighbours hold; (..., n, d) each."""

    x: Array
    estimate: Array


class ECDPSGD(NamedTuple):
    """Extrapolation compression: neighbours average ever finer extrapolations, so that errors of messages die out.

    At step t = k + 1 = 1, 2, ...:  X⁺ = WX̃ − γG(X);  Z = (1 − t/2)X + (t/2)X⁺;  X̃⁺ = (1 − 2/t)X̃ + (2/t)C(Z), from
    X̃ = X⁰, which the neighbours know. With C(v) = v the estimate X̃ is X.

    Form: combine-then-adapt, a node averages its own estimate, too. Z grows with t, and so does the error of a C whose
    error is relative to the message: the theory is for one of bounded variance. Without compression it is `DSGD` in the
    form cta.

    Parameters
    ----------
    lr : float or schedule
        Step size γ > 0.
    compressor : Compressor
        C, unbiased; see `simlab.compression`.

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
        """TypeError or ValueError unless the compressor is unbiased."""
        check_unbiased(self.compressor, problem.dim)

    def init(self, x: Array) -> State:
        """Start from `x`, known to the neighbours."""
        return State(x, x)

    def step(self, state: State, problem: Objective, network: Mixing, batch: Batch) -> State:
        """One iteration."""
        half = (steps_taken(batch) + 1) / 2
        x = mix_replicas(network, state.estimate) - self.lr * gradient(problem, state.x, batch)
        z = state.x + half * (x - state.x)
        received = compress(self.compressor, z, batch)
        return State(x, state.estimate + (received - state.estimate) / half)
