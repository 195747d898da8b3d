"""Targets: when a recorded column has come far enough."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from simlab import checks

PATTERN = re.compile(r"\s*([^\s<>=]+)\s*(<=|>=)\s*(\S+)\s*")


class Target(NamedTuple):
    """A column and the value that it has to reach, from above, or from below where `at_least`."""

    column: str
    value: float
    at_least: bool = False

    @classmethod
    def parse(cls, name: str, text: str) -> Target:
        """The target that a text such as "loss <= 0.3" says, given as the argument `name`."""
        remedy = "pass a column, <= or >=, and a number, such as 'loss <= 0.3'"
        if not isinstance(text, str):
            raise TypeError(f"{name} = {text!r} is not a text; {remedy}")
        found = PATTERN.fullmatch(text)
        try:
            assert found is not None
            value = float(found[3])
        except (AssertionError, ValueError):
            raise ValueError(f"{name} = {text!r} is no target; {remedy}") from None
        return cls(found[1], checks.real(name, value), found[2] == ">=")

    def __str__(self) -> str:
        return f"{self.column} {'>=' if self.at_least else '<='} {self.value!r}"

    def met(self, values: np.ndarray) -> np.ndarray:
        """Which values are there; NaN is not."""
        return values >= self.value if self.at_least else values <= self.value
