"""Rates of convergence from recorded errors: a straight line through the right stretch of a logarithmic plot."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simlab import checks

KINDS = ("linear", "power")
CONFIDENCE = 0.95
BINS = 80  # points a fit looks at: means over equal stretches of the abscissa
STARTS = 24  # candidates for the start of the window
LEAST_PART = 0.15  # of the length, which a window keeps
BENDS = (1.0, 2.5)  # standard errors of the bend that pass as straight; the second where no start passes the first
FLAT = 0.05  # a series that falls by less over its last fifth has a floor, in units of the logarithm
BREAK = 0.4  # and, for a power law, by less than this part of what its steepest third would make it fall
ABOVE_FLOOR = 10.0  # the window ends where the errors come this near to the floor
LEAST_FALL = np.log(1.5)


class Fit(NamedTuple):
    """A fitted rate, and how it was fitted.

    Attributes
    ----------
    estimate, low, high : float
        Factor a step ("linear") or exponent ("power"), with its 95 % confidence interval.
    start, stop : float
        First and last abscissa of the window, in the units of `steps`.
    floor : float
        What was subtracted from the errors: the level that they settle at, or 0.
    bend : float
        Change of the logarithmic slope over the window, by a fitted parabola, relative to the slope.
    how : str
        How window and interval were found, in words.
    """

    estimate: float
    low: float
    high: float
    start: float
    stop: float
    floor: float
    bend: float
    how: str


def fit_rate(
    steps: Any,
    values: Any,
    *,
    kind: str = "linear",
    window: tuple[float, float] | None = None,
    tolerance: float = 0.02,
    resamples: int = 400,
    seed: int = 0,
) -> Fit:
    """Rate at which errors decrease: v ~ q^k ("linear") or v ~ k^a ("power").

    The window is chosen by a fixed rule. (1) If the errors fall by less than 5 % over the last fifth of the steps
    (linear: 10 % where noise hides the difference; power: also by less than 0.4 of what their steepest third would make
    of it), their mean there is a floor; it is subtracted, and the window stops where the errors come within ten times
    of it.
    (2) The window starts at the earliest of 24 points that leaves a straight line: a parabola's change of slope over
    the window is at most `tolerance` of the slope, or one standard error of itself (2.5 where no point passes so). The
    estimate is the least-squares line through the logarithm of the mean over replicates, in 80 bins of equal length (in
    k, or in log k).

    The interval is meant to cover 95 % or more (in the tests' synthetic series 98 % on straight lines, and at least
    90 % with transients and floors). It is Student's, its standard error a bootstrap over replicates, floor and start
    included; where the bend exceeds two standard errors of itself, half of it is added on each side. A single series
    has the half bend alone; if it is "linear", its interval also holds that of the q in a fit of q^k k^a to the last
    three quarters of the steps up to its end: so do errors of many modes of nearly equal rates decrease, for long
    faster than any of them, and with a beat. The rate is that of the window: what bends too slowly to be seen in it,
    such as 1/(k + 20) at k < 500, is not extrapolated.

    Parameters
    ----------
    steps : array (K,)
        Steps, or any other positive parameter; increasing.
    values : array (K,) or (replicates, K)
        Errors, at least 0.
    kind : {"linear", "power"}, default "linear"
    window : (start, stop), optional
        Fit all of this window in place of the rule; nothing is subtracted.
    tolerance : float, default 0.02
    resamples : int, default 400
        Of the bootstrap.
    seed : int, default 0
        Of the bootstrap.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        Wrong shapes, negative errors, too few points, or no straight stretch along which the errors change by a factor
        of 1.5.

    Examples
    --------
    >>> import numpy as np
    >>> from theory import fit_rate
    >>> k = np.arange(1, 2000)
    >>> round(fit_rate(k, 3 / np.sqrt(k), kind="power").estimate, 3)
    -0.5
    """
    checks.one_of("kind", kind, KINDS)
    k = checks.array("steps", steps, shape=(None,))
    v = np.atleast_2d(checks.array("values", values))
    if v.ndim != 2 or v.shape[1] != len(k):
        raise ValueError(f"values has shape {np.shape(values)}; pass (K,) or (replicates, K) with K = {len(k)} steps")
    if np.any(np.diff(k) <= 0):
        raise ValueError("steps is not increasing; sort it, one value for each step")
    if np.any(v < 0):
        raise ValueError(f"values has a negative entry {v.min():.4g}; errors must be at least 0")
    checks.real("tolerance", tolerance, minimum=0.0)
    checks.integer("resamples", resamples, minimum=2)
    if kind == "power":
        k, v = k[k > 0], v[:, k > 0]
    if window is not None:
        inside = (k >= window[0]) & (k <= window[1])
        k, v = k[inside], v[:, inside]
    lost = np.flatnonzero(v.mean(axis=0) == 0)
    if len(lost):  # errors of zero have no logarithm: fit what comes before
        k, v = k[: lost[0]], v[:, : lost[0]]
    if len(k) < 3:
        raise ValueError(f"{len(k)} points are left to fit; pass at least 3")
    abscissa = k if kind == "linear" else np.log(k)
    at, means = _binned(abscissa, v)
    series = _resampled(means, resamples, seed)  # the mean itself first
    last_fifth, fifth_before = (_fifth(abscissa, k, at, part) for part in (1, 2))
    floors = np.zeros(len(series))
    stop = len(at)
    if window is None and _is_flat(kind, at, series, last_fifth, fifth_before):
        floors = series[:, last_fifth].mean(axis=1)
        near = np.flatnonzero(series[0] < ABOVE_FLOOR * floors[0])
        stop = int(near[0]) if len(near) else stop
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(series[:, :stop] - floors[:, None])
    stop = _first_gap(logs[0])
    logs = np.where(np.isfinite(logs[:, :stop]), logs[:, :stop], np.nan)
    if stop < 3:
        raise ValueError(
            f"values has {stop} point(s) above its floor, {ABOVE_FLOOR:g} times the {floors[0]:.4g} at which it "
            "ends; record more often, or pass window=(start, stop)"
        )
    starts = _starts(at[:stop]) if window is None and stop > 8 else [0]
    lines = _lines(at[:stop], logs, starts, len(v))
    which, slopes = _straight(lines, 0.0 if window is not None or stop <= 8 else tolerance, len(starts))
    start = starts[which]
    if window is None:
        _check_fall(slopes[0] * (at[stop - 1] - at[start]))
    half = _half_width(slopes, len(v))
    bend, bend_error = float(lines.bends[which, 0]), float(lines.bend_errors[which])
    if len(v) == 1 or abs(bend) > 2 * bend_error:
        half += abs(bend) / 2
    low, high = slopes[0] - half, slopes[0] + half
    if len(v) == 1 and kind == "linear":
        beside = _interval_beside_power(at[:stop], logs[0])
        low, high = min((low, *beside)), max((high, *beside))
    transform = np.exp if kind == "linear" else float
    first, last = (float(end) if kind == "linear" else float(np.exp(end)) for end in (at[start], at[stop - 1]))
    how = [
        "window given" if window is not None else f"straight from {first:.4g} on, by the change of slope",
        f"up to {ABOVE_FLOOR:g} times the floor, which is subtracted" if floors[0] else "no floor",
        "one series, whose interval is how it bends" if len(v) == 1 else f"bootstrap, {len(v)} replicates",
    ]
    return Fit(
        float(transform(slopes[0])),
        float(transform(low)),
        float(transform(high)),
        first,
        last,
        float(floors[0]),
        float(bend / slopes[0]),
        "; ".join(how),
    )


class _Lines(NamedTuple):
    """Lines from each start (rows) through the mean and its resamples (columns); one error of the bend each start."""

    slopes: np.ndarray
    bends: np.ndarray  # change of slope from end to end
    bend_errors: np.ndarray


def _binned(abscissa: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over bins of equal length of the abscissa, and of the abscissa itself."""
    if len(abscissa) <= BINS:
        return abscissa, v
    edges = np.linspace(abscissa[0], abscissa[-1], BINS + 1)
    bins = np.minimum(np.searchsorted(edges, abscissa, side="right") - 1, BINS - 1)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    counts = np.diff(np.append(starts, len(bins)))
    return np.add.reduceat(abscissa, starts) / counts, np.add.reduceat(v, starts, axis=1) / counts


def _resampled(means: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The mean over replicates, and below it the means over bootstrap samples of them."""
    replicates = len(means)
    mean = means.mean(axis=0, keepdims=True)
    if replicates == 1:
        return mean
    counts = np.random.default_rng(seed).multinomial(replicates, np.full(replicates, 1 / replicates), resamples)
    return np.concatenate([mean, counts @ means / replicates])


def _fifth(abscissa: np.ndarray, k: np.ndarray, at: np.ndarray, part: int) -> np.ndarray:
    """Bins in the last (1) or last but one (2) fifth of the steps."""
    span = k[-1] - k[0]
    low, high = (np.interp(k[-1] - span * end / 5, k, abscissa) for end in (part, part - 1))
    return (at >= low) & (at <= high) if part == 1 else (at >= low) & (at < high)


def _is_flat(kind: str, at: np.ndarray, series: np.ndarray, last_fifth: np.ndarray, fifth_before: np.ndarray) -> bool:
    if not (last_fifth.any() and fifth_before.any()) or np.any(series <= 0):
        return False
    falls = np.log(series[:, fifth_before].mean(axis=1) / series[:, last_fifth].mean(axis=1))
    if kind == "power":
        # Slow power laws fall little over the last fifth, too: compare with what their steepest third would make of it
        thirds = np.array_split(np.arange(len(at)), 3)
        slopes = [np.polyfit(at[part], np.log(series[0, part]), 1)[0] for part in thirds if len(part) > 2]
        expected = -min(slopes, default=0.0) * (at[last_fifth].mean() - at[fifth_before].mean())
        return bool(abs(falls[0]) < min(FLAT, BREAK * expected))
    # Where noise hides the difference, up to twice as much passes: a line that falls so little is none to fit.
    scatter = float(np.std(falls)) if len(series) > 1 else float(np.std(np.log(series[0, last_fifth])))
    return bool(abs(falls[0]) < FLAT + min(2 * scatter, FLAT))


def _first_gap(logs: np.ndarray) -> int:
    """Number of points before the first that has no logarithm: an error of zero, or one below the floor."""
    gaps = np.flatnonzero(~np.isfinite(logs))
    return int(gaps[0]) if len(gaps) else len(logs)


def _starts(at: np.ndarray) -> list[int]:
    """Where windows may start: each keeps LEAST_PART of the length, and five points."""
    begins = np.linspace(at[0], at[-1] - LEAST_PART * (at[-1] - at[0]), STARTS)
    return [int(i) for i in np.unique(np.searchsorted(at, begins)) if len(at) - i >= 5]


def _lines(at: np.ndarray, logs: np.ndarray, starts: list[int], replicates: int) -> _Lines:
    """Slopes and bends from each start on; the bend's standard error from the resamples, or else from the residuals."""
    slopes, bends, errors = [], [], []
    for start in starts:
        centred = at[start:] - at[start:].mean()
        slope_weights = centred / np.sum(centred**2)
        square = centred**2 - np.mean(centred**2)
        square = square - slope_weights * np.sum(square * centred)
        bend_weights = 2 * (at[-1] - at[start]) * square / max(float(np.sum(square**2)), 1e-300)
        slopes.append(logs[:, start:] @ slope_weights)
        bends.append(logs[:, start:] @ bend_weights)
        if replicates > 1:
            errors.append(_standard_error(bends[-1], replicates))
        else:
            residual = logs[0, start:] - logs[0, start:].mean() - slopes[-1][0] * centred
            noise = np.sqrt(np.sum(residual**2) / max(len(centred) - 2, 1))
            errors.append(float(noise * np.linalg.norm(bend_weights)))
    return _Lines(np.array(slopes), np.array(bends), np.array(errors))


def _standard_error(values: np.ndarray, replicates: int) -> float:
    """Of the first of `values`, by the others; R/(R − 1) undoes the bias of a bootstrap's variance."""
    return float(np.sqrt(replicates / (replicates - 1)) * np.nanstd(values[1:]))


def _straight(lines: _Lines, tolerance: float, n_starts: int) -> tuple[int, np.ndarray]:
    """The earliest start that leaves a straight window; and every resample's slope, each from its own such start."""
    if n_starts == 1:
        return 0, lines.slopes[0]
    sizes = np.abs(lines.bends)
    chosen = np.full(sizes.shape[1], -1)
    for errors in BENDS:
        passes = sizes <= np.maximum(tolerance * np.abs(lines.slopes), errors * lines.bend_errors[:, None])
        chosen = np.where((chosen < 0) & passes.any(axis=0), passes.argmax(axis=0), chosen)
    if chosen[0] < 0:
        raise ValueError(
            "values has no straight stretch on a logarithmic scale that lasts to its floor or its end; record more "
            "steps, or pass window=(start, stop)"
        )
    chosen = np.where(chosen < 0, chosen[0], chosen)
    return int(chosen[0]), lines.slopes[chosen, np.arange(len(chosen))]


def _half_width(slopes: np.ndarray, replicates: int) -> float:
    return 0.0 if replicates == 1 else _student(replicates - 1) * _standard_error(slopes, replicates)


def _student(degrees: int) -> float:
    """Half of Student's interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def _interval_beside_power(at: np.ndarray, logs: np.ndarray) -> tuple[float, ...]:
    """Student's interval of b in logs ~ bk + a log k + c, over three quarters; empty if that is too little to tell."""
    late = at > at[-1] / 4
    at, logs = at[late], logs[late]
    if len(at) < 8 or at[0] > at[-1] / 2:  # a logarithm looks like a line there
        return ()
    others = np.stack([np.log(at / at.mean()), np.ones(len(at))], axis=1)
    alone, rest = (y - others @ np.linalg.lstsq(others, y, rcond=None)[0] for y in (at, logs))
    slope = alone @ rest / (alone @ alone)
    error = np.linalg.norm(rest - slope * alone) / np.sqrt((len(at) - 3) * (alone @ alone))
    half = _student(len(at) - 3) * error
    return float(slope - half), float(slope + half)


def _check_fall(change: float) -> None:
    if abs(change) < LEAST_FALL:
        raise ValueError(
            f"values change by a factor of {np.exp(abs(change)):.3g} along the straight stretch; a rate needs 1.5 or "
            "more: record more steps, or pass window=(start, stop)"
        )
