"""SlowMo: slow momentum around another method."""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any, NamedTuple

from simlab.operations import Array, Batch, average, phase, zeros_like
from simlab.protocols import Algorithm, Mixing, Objective
from simlab.schedules import Momentum, Period, StepSize


class SlowMo(NamedTuple):
    """SlowMo: every τ steps of another method an exact average, and a momentum step from where they began.

    With X₀ the start of a block and X_τ what the base makes of it:  x̄ = J X_τ,  U⁺ = βU + (X₀ − x̄)/γ,
    X₀⁺ = X₀ − αγU⁺, from U = 0; the next block starts there. γ is the base's current step size.

    Form: the base takes all τ steps, its own exchanges among them, then comes the average; its other buffers are kept
    as they are (the paper's option "maintain"). With β = 0 and α = 1 it is the base with periodic averages. Compare
    methods at the effective step αγ/(1 − β). The state is the base's and two arrays more.

    Parameters
    ----------
    base : algorithm
        With a field `lr`, and parameters that are averaged as they are (no push-sum).
    period : int
        τ >= 1.
    slow_momentum : float, default 0.5
        0 <= β < 1.
    slow_lr : float, default 1
        α > 0.

    References
    ----------
    J. Wang, V. Tantia, N. Ballas, M. Rabbat, SlowMo: improving communication-efficient distributed SGD with slow
    momentum, ICLR 2020.
    """

    base: Algorithm
    period: Period
    slow_momentum: Momentum = 0.5
    slow_lr: StepSize = 1.0

    references = ("wang2020slowmo",)

    @property
    def needs(self) -> str:
        """What the base needs of W."""
        return getattr(self.base, "needs", "symmetric")

    @property
    def static(self) -> bool:
        """Whether the base needs a W that does not change."""
        return getattr(self.base, "static", False)

    def check(self, problem: Objective, network: Mixing) -> None:
        """Raise ValueError where the base is no method that this can go around."""
        if not hasattr(self.base, "lr") or self.needs == "column":
            raise ValueError(
                f"SlowMo.base = {self.base!r} has no step size lr, or keeps its parameters as a quotient; "
                "pass a method such as DSGD or LocalSGD"
            )
        if hasattr(self.base, "check"):
            self.base.check(problem, network)

    def init(self, x: Array) -> Any:
        """Start the base from `x`."""
        inner = self.base.init(x)
        kind: Any = type(inner)
        return _state(kind)(*inner, x, zeros_like(x))

    def step(self, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
        """One step of the base; at the end of a block, the slow one."""
        inner = self.base.step(type(state).inner(*state[:-2]), problem, network, batch)
        start, u = state[-2:]
        if phase(batch, self.period) < self.period - 1:
            return type(state)(*inner, start, u)
        lr: Any = self.base.lr  # type: ignore[attr-defined]
        u = self.slow_momentum * u + (start - average(inner[0])) / lr
        x = start - self.slow_lr * lr * u
        return type(state)(x, *inner[1:], x, u)


@cache
def _state(inner: Any) -> Any:
    """The base's state, the start of the block and the slow buffer."""
    kind = namedtuple("State", [*inner._fields, "slow_x", "slow_u"])
    about = {"inner": inner, "tables": getattr(inner, "tables", ()), "__doc__": _state.__doc__}
    return type("State", (kind,), {"__slots__": (), **about})
