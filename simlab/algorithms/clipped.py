"""Gradient clipping around any method."""

from __future__ import annotations

from typing import Any, NamedTuple

from simlab.operations import Altered, Array, Batch, norm, where
from simlab.protocols import Algorithm, Mixing, Objective
from simlab.schedules import StepSize


class Clipped(NamedTuple):
    """Clipped gradients around another method: rows longer than a threshold τ are shortened to it.

    Every gradient g_i that the base takes is min(1, τ/‖g_i‖) g_i.

    Form: node by node, before the method does anything, over all parameters of a node. Where nodes' gradients differ at
    the minimizer by more than τ it biases the limit.

    Parameters
    ----------
    base : algorithm
        That takes gradients.
    threshold : float or schedule
        τ > 0.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
    """

    base: Algorithm
    threshold: StepSize

    references = ("pascanu2013difficulty",)

    @property
    def needs(self) -> str:
        """What the base needs of W."""
        return getattr(self.base, "needs", "symmetric")

    def check(self, problem: Objective, network: Mixing) -> None:
        """Whatever the base asks for."""
        if hasattr(self.base, "check"):
            self.base.check(problem, network)

    def init(self, x: Array) -> Any:
        """Start the base from `x`."""
        return self.base.init(x)

    def step(self, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
        """One step of the base."""

        def clipped(g: Array, x: Array) -> Array:
            length = norm(g)
            return where(length > self.threshold, self.threshold / where(length > 0, length, 1.0), 1.0) * g

        return self.base.step(state, Altered(problem, clipped), network, batch)
