"""What a study claims: measured numbers beside what they must be, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from simlab.statistics import mean_interval, student
from theory.rates import fit_rate


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Claim(NamedTuple):
    """One thing that a study shows.

    Attributes
    ----------
    name : str
        Short, unique in its study.
    statement : str
        What is claimed, in words.
    measured, expected : str
        The number with its interval, and where it must lie.
    verdict : {"holds", "violated", "inconclusive"}
        It holds if the whole interval lies where it must, is violated if none of it does.
    """

    name: str
    statement: str
    measured: str
    expected: str
    verdict: str


def interval(values: Any) -> Interval:
    """Mean of independent replicates and its 95 % interval by Student's t.

    Parameters
    ----------
    values : array (R,)
        R >= 2 of them.

    Raises
    ------
    ValueError
        Fewer than two values: they hold no interval.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values has shape {values.shape}, which holds no interval; pass at least two replicates (R,)")
    return Interval(*mean_interval(values))


def judge(
    name: str, statement: str, measured: float | Interval, low: float = -math.inf, high: float = math.inf
) -> Claim:
    """Claim that `measured` lies in [low, high].

    Parameters
    ----------
    name, statement : str
        See `Claim`.
    measured : float or Interval
        A number that is not finite violates every claim.
    low, high : float
        What is expected; leave one out for a one-sided claim.
    """
    found = measured if isinstance(measured, Interval) else Interval(measured, measured, measured)
    if not all(map(math.isfinite, found)) or found.high < low or found.low > high:
        verdict = "violated"
    elif low <= found.low and found.high <= high:
        verdict = "holds"
    else:
        verdict = "inconclusive"
    shown = str(found) if isinstance(measured, Interval) else f"{measured:.4g}"
    return Claim(name, statement, shown, _range(low, high), verdict)


def agrees(
    name: str, statement: str, exact: Any, seen: Any, error: Any, replicates: int, false_alarm: float = 1e-3
) -> Claim:
    """Claim that means over replicates are drawn about exact values: the farthest one, by Bonferroni's inequality.

    Parameters
    ----------
    name, statement : str
        See `Claim`.
    exact, seen, error : array (K,)
        Expectations; means over replicates, and the standard errors of these.
    replicates : int
        R of each mean, whose t has R − 1 degrees of freedom.
    false_alarm : float, default 1e-3
        How probable it is at most that right expectations violate the claim.
    """
    exact, seen, error = (np.asarray(values, float) for values in (exact, seen, error))
    high = student(replicates - 1, 1 - false_alarm / exact.size)
    return judge(name, statement, float(np.max(np.abs(seen - exact) / error)), high=high)


def reaches(name: str, statement: str, found: Interval, high: float, resolution: float) -> Claim:
    """Claim that the interval reaches down to `high`; a wide one would reach anything, and is inconclusive.

    Parameters
    ----------
    name, statement : str
        See `Claim`.
    found : Interval
    high : float
        What its lower end must not exceed.
    resolution : float
        Half the width of the widest interval that decides; independent replicates narrow it.
    """
    claim = judge(name, statement, found.low, high=high)
    wide = found.high - found.low > 2 * resolution
    return claim._replace(
        measured=str(found), verdict="inconclusive" if wide and claim.verdict == "holds" else claim.verdict
    )


def _range(low: float, high: float) -> str:
    if low == -math.inf:
        return f"<= {high:g}"
    return f">= {low:g}" if high == math.inf else f"{low:g} ... {high:g}"


def exponent(along: Any, values: Any) -> Interval:
    """Exponent of a power law over all of its points, as `theory.fit_rate` finds it: a curve that bends widens it.

    Parameters
    ----------
    along : array (K,)
        Positive, increasing.
    values : array (K,) or (R, K)
        One curve, or R independent ones.
    """
    along = np.asarray(along, float)
    fit = fit_rate(along, values, kind="power", window=(along[0], along[-1]))
    return Interval(fit.estimate, fit.low, fit.high)


def violated(claims: Iterable[Claim]) -> list[Claim]:
    """Those among the claims that the measurements contradict."""
    return [claim for claim in claims if claim.verdict == "violated"]


def unsupported(claims: Iterable[Claim]) -> list[Claim]:
    """Those among the claims that the measurements contradict, or are too uncertain to support."""
    return [claim for claim in claims if claim.verdict != "holds"]


def summarize(table: Any, by: list[str], value: str) -> Any:
    """Mean and interval of the column `value` over the rows that agree in the columns `by`.

    Returns
    -------
    pandas.DataFrame
        Columns `by`, `value`, low, high, in the order of first appearance.

    Raises
    ------
    ValueError
        Rows that are alone, which hold no interval.
    """
    found = table.groupby(by, sort=False)[value].agg(["mean", "sem", "size"])
    if found["size"].min() < 2:
        raise ValueError(f"{by} = {found['size'].idxmin()} is one row, which holds no interval; pass replicates of it")
    half = found["sem"] * [student(size - 1) for size in found["size"]]
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half).rename(columns={"mean": value})
    return found[[value, "low", "high"]].reset_index()
