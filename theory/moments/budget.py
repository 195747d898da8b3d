"""What exact moments cost, counted before it is spent."""

from __future__ import annotations

import numpy as np


class CostError(ValueError):
    """Work that goes beyond its budget, and was not begun."""


class Budget:
    """Multiplications that may be spent, by default without end.

    Whoever is about to do something large says how many multiplications (or how much of their time) it takes; what
    does not fit is refused before it is begun.

    Parameters
    ----------
    limit : float, default inf

    Attributes
    ----------
    spent : float
    """

    def __init__(self, limit: float = np.inf) -> None:
        self.limit, self.spent = limit, 0.0

    def allows(self, work: float) -> bool:
        """Whether `work` more multiplications fit."""
        return self.spent + work <= self.limit

    def spend(self, work: float, what: str) -> None:
        """Note `work` multiplications that `what` is about to take.

        Raises
        ------
        CostError
            They do not fit.
        """
        self.check(work, what)
        self.spent += work

    def check(self, work: float, what: str) -> None:
        """As `spend`, of work that will be noted piece by piece."""
        if not self.allows(work):
            raise self.refusal(work, what)

    def refusal(self, work: float, what: str) -> CostError:
        """The error that says what `what` would take."""
        return CostError(
            f"cost: {what} takes some {self.spent + work:.2g} multiplications, more than the {self.limit:.2g} that are "
            "spent here"
        )


FREE = Budget()
