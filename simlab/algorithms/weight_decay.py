"""Weight decay around any method."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from simlab.operations import Altered, Array, Batch
from simlab.protocols import Algorithm, Mixing, Objective
from simlab.schedules import Weight


class WeightDecay(NamedTuple):
    """Weight decay around another method: coupled, within its gradients, or decoupled, beside its step.

    Coupled: every gradient g the base takes is g + λx, as if f had a ridge more. Decoupled: X⁺ − γλX in place of the
    base's X⁺, with its current step size γ: what scales gradients, as Adam does, does not touch it.

    Form: losses and metrics stay those of the problem. A method that deduces gradients from how X moves (D2, EXTRA,
    quasi-global momentum) sees the coupled decay as gradient, and the decoupled one not at all.

    Parameters
    ----------
    base : algorithm
        That takes gradients; with a field `lr` for the decoupled kind.
    weight_decay : float or schedule
        λ >= 0.
    kind : {"coupled", "decoupled"}, default "coupled"

    References
    ----------
    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019.
    """

    base: Algorithm
    weight_decay: Weight
    kind: Literal["coupled", "decoupled"] = "coupled"

    references = ("loshchilov2019decoupled",)

    @property
    def needs(self) -> str:
        """What the base needs of W."""
        return getattr(self.base, "needs", "symmetric")

    def check(self, problem: Objective, network: Mixing) -> None:
        """Raise ValueError where the base has no step size to scale a decoupled decay by."""
        if self.kind == "decoupled" and not hasattr(self.base, "lr"):
            raise ValueError(f"WeightDecay.base = {self.base!r} has no step size lr; take kind='coupled'")
        if hasattr(self.base, "check"):
            self.base.check(problem, network)

    def init(self, x: Array) -> Any:
        """Start the base from `x`."""
        return self.base.init(x)

    def step(self, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
        """One step of the base."""
        if self.kind == "coupled":
            return self.base.step(state, Altered(problem, lambda g, x: g + self.weight_decay * x), network, batch)
        new = self.base.step(state, problem, network, batch)
        lr: Any = self.base.lr  # type: ignore[attr-defined]
        return type(new)(new[0] - lr * self.weight_decay * state[0], *new[1:])
