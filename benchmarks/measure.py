"""Times and ratios: candidates take turns in one process, so that a slow moment of the machine meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

REPEATS = 7


class Row(NamedTuple):
    """One line of the table: a ratio (or exponent) with its spread, and the target it is held against."""

    benchmark: str
    quantity: str
    value: float
    low: float
    high: float
    target: str
    met: str


def seconds(candidates: dict[str, Callable[[], object]], repeats: int = REPEATS) -> pd.DataFrame:
    """Seconds of each candidate, one row a round; every candidate runs once before, unmeasured."""
    for run in candidates.values():
        run()
    rounds = []
    for _ in range(repeats):
        took = {}
        for name, run in candidates.items():
            began = time.perf_counter()
            run()
            took[name] = time.perf_counter() - began
        rounds.append(took)
    return pd.DataFrame(rounds)


def ratio(
    benchmark: str,
    quantity: str,
    values: Sequence[float] | pd.Series,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """Median of ratios with their range, against a target."""
    array = np.asarray(values, dtype=float)
    middle = float(np.median(array))
    if at_least is not None:
        target, met = f">= {at_least:g}", "yes" if middle >= at_least else "no"
    elif at_most is not None:
        target, met = f"<= {at_most:g}", "yes" if middle <= at_most else "no"
    else:
        target, met = "", ""
    return Row(benchmark, quantity, middle, float(array.min()), float(array.max()), target, met)


def exponent(benchmark: str, quantity: str, sizes: Sequence[float], costs: pd.DataFrame, *, target: float = 1.0) -> Row:
    """Slope of log cost against log size, one fit a round; the target is met within 0.1."""
    slopes = [float(np.polyfit(np.log(sizes), np.log(row), 1)[0]) for row in costs.to_numpy()]
    middle = float(np.median(slopes))
    met = "yes" if abs(middle - target) <= 0.1 else "no"
    return Row(benchmark, quantity, middle, min(slopes), max(slopes), f"{target:.1f} +- 0.1", met)
