"""Rates of convergence from recorded errors: a straight line through the right stretch of a logarithmic plot."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import legvander

from simlab import checks
from simlab.statistics import CONFIDENCE, student

KINDS = ("linear", "power")
BINS = 80  # points a fit looks at: means over equal stretches of the abscissa
NODES = 16  # steps of a bin at which the model is evaluated
STARTS = 17  # candidates for the start of the window
LEAST_PART = 0.15  # of the length, which a window keeps
LEAST_POINTS = 12  # fewer have a line and no model
AGREEING = 3  # starts that describe the series, whose intervals are joined
DIRECTIONS = 4  # smooth departures from the model, that a start is tested for
CORRECTION = (-0.3, 0.4)  # of a power law by 1/k: what it may be at the start, relative to the law itself
CORRECTIONS = (-0.5, 1.0)  # and at other slopes that are not refuted
SIGN = 0.2  # of the 5 %: spent on the floor, which is not negative
PASSED = 4.0  # the series is cut after this many times the steps in which it reaches its last level
ROUNDING = 1e-4  # departures of this size are no departures, relative to the errors
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
        Change of the logarithmic slope over the window, relative to the slope: of a line by a fitted parabola, else by
        the fitted 1/k.
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


@checks.keywords
def fit_rate(
    steps: Any,
    values: Any,
    *,
    kind: str = "linear",
    window: tuple[float, float] | None = None,
    resamples: int = 400,
    seed: int = 0,
) -> Fit:
    """Rate at which errors decrease: v ~ q^k ("linear") or v ~ k^a ("power").

    The expected error is taken to be A q^k + F ("linear"), or A k^a (1 + c/k) + F ("power"), from some step on, F >= 0;
    it is fitted to means over 80 bins of equal length (in k, or in log k), with weights 1/expectation^2. The window
    starts at the earliest of 17 points from which on no smooth departure from this is significant. The interval holds
    the rates that a contrast of the data does not refute at 95 %, Student's over the replicates; of a single series,
    by its residuals and their correlation from bin to bin. It is the union of those from three such starts, so that a
    transient that the first just overlooks is in it.

    Where an interval is returned it covers in at least 93 % of the cases, over the family of series in
    ``tests/theory/family.py``; docs/theory.md, "What an interval of a rate covers", has the table. Otherwise the fit is
    refused. The interval of a single "linear" series also holds that of the q in a fit of q^k k^a to the last three
    quarters of the steps up to its floor: so do errors of many modes of nearly equal rates decrease, for long faster
    than any of them, and with a beat.

    With a `window`, or fewer than 12 points, it is the least-squares line through the logarithm of the mean instead;
    its interval is Student's with a bootstrap over replicates, of a single series by the scatter about the line, and
    half of the bend (by a parabola) is added on each side where it exceeds two standard errors of itself, or where
    there is a single series.

    Parameters
    ----------
    steps : array (K,)
        Steps, or any other positive parameter; increasing.
    values : array (K,) or (replicates, K)
        Errors, at least 0.
    kind : {"linear", "power"}, default "linear"
    window : (start, stop), optional
        Fit all of this window in place of the rule; nothing is subtracted.
    resamples : int, default 400
        Of the bootstrap, in a window.
    seed : int, default 0
        Of the bootstrap.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        Wrong shapes, negative errors, too few points, errors that change by less than a factor of 1.5, or that do not
        tell their rate: no start from which on the model describes them, or an interval as wide as the rate itself.

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
    checks.integer("resamples", resamples, minimum=2)
    seed = checks.seed(seed)
    if kind == "power":
        k, v = k[k > 0], v[:, k > 0]
    if window is not None:
        first, last = checks.array("window", window, shape=(2,))
        inside = (k >= first) & (k <= last)
        k, v = k[inside], v[:, inside]
    lost = np.flatnonzero(v.mean(axis=0) == 0)
    if len(lost):  # errors of zero have no logarithm: fit what comes before
        k, v = k[: lost[0]], v[:, : lost[0]]
    if len(k) < 3:
        raise ValueError(f"{len(k)} points are left to fit; pass at least 3")
    if window is not None or len(k) < LEAST_POINTS:
        return _line(kind, k, v, "window given" if window is not None else "all of few points", resamples, seed)
    return _modelled(kind, k, v)


def _line(kind: str, k: np.ndarray, v: np.ndarray, why: str, resamples: int, seed: int) -> Fit:
    """The line through all of a window."""
    at, means = _binned(k if kind == "linear" else np.log(k), v)
    with np.errstate(divide="ignore"):
        slopes, bends, bend_error = _slopes(at, np.log(_resampled(means, resamples, seed)), len(v))
    if len(v) > 1:
        half = student(len(v) - 1) * _standard_error(slopes, len(v))
    else:
        half = _scatter(at, np.log(means[0])) if len(at) >= LEAST_POINTS else 0.0
    if len(v) == 1 or abs(bends[0]) > 2 * bend_error:
        half += abs(bends[0]) / 2
    low, high = slopes[0] - half, slopes[0] + half
    if len(v) == 1 and kind == "linear":
        beside = _interval_beside_power(at, np.log(means[0]))
        low, high = min((low, *beside)), max((high, *beside))
    how = (
        "one series, whose interval is how it bends and scatters" if len(v) == 1 else f"bootstrap, {len(v)} replicates"
    )
    return _fit(kind, slopes[0], low, high, at[0], at[-1], 0.0, bends[0] / slopes[0], f"{why}; no floor; {how}")


def _fit(
    kind: str, slope: float, low: float, high: float, first: float, last: float, floor: float, bend: float, how: str
) -> Fit:
    rate = np.exp if kind == "linear" else float
    step = float if kind == "linear" else np.exp
    ends = (float(step(first)), float(step(last)))
    return Fit(float(rate(slope)), float(rate(low)), float(rate(high)), *ends, float(floor), float(bend), how)


def _slopes(at: np.ndarray, logs: np.ndarray, replicates: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Slope and change of slope of the mean and each resample; the change's standard error."""
    centred = at - at.mean()
    slope_weights = centred / np.sum(centred**2)
    square = centred**2 - np.mean(centred**2)
    square = square - slope_weights * np.sum(square * centred)
    bend_weights = 2 * (at[-1] - at[0]) * square / max(float(np.sum(square**2)), 1e-300)
    slopes, bends = logs @ slope_weights, logs @ bend_weights
    if replicates > 1:
        return slopes, bends, _standard_error(bends, replicates)
    residual = logs[0] - logs[0].mean() - slopes[0] * centred
    noise = np.sqrt(np.sum(residual**2) / max(len(centred) - 2, 1))
    return slopes, bends, float(noise * np.linalg.norm(bend_weights))


def _modelled(kind: str, k: np.ndarray, v: np.ndarray) -> Fit:
    """The fit with a floor, from the starts that the series itself passes."""
    k, v = _until_past_floor(kind, k, v)
    model = _Model(kind, k)
    at, means = model.at, _binned(k if kind == "linear" else np.log(k), v)[1]
    mean = means.mean(axis=0)
    fall = np.log(mean.max() / mean.min())
    if fall < LEAST_FALL:
        raise ValueError(
            f"values change by a factor of {np.exp(fall):.3g}, if at all above its floor; a rate needs 1.5 or more: "
            "record more steps, or pass window=(start, stop)"
        )
    begins = np.linspace(at[0], at[-1] - LEAST_PART * (at[-1] - at[0]), STARTS)
    starts = [int(i) for i in np.unique(np.searchsorted(at, begins)) if len(at) - i >= LEAST_POINTS]
    passing = (one for one in (_from(model, start, means) for start in starts) if one is not None)
    found = list(islice(passing, AGREEING))
    if len(found) < AGREEING:
        raise ValueError(
            "values has no straight stretch on a logarithmic scale, above its floor and up to its end; record more "
            "steps or replicates, or pass window=(start, stop)"
        )
    # The first, unless it describes far less well what it should than a later one, as of series without noise
    finest = min(one.scatter for one in found)
    best = next(one for one in found if one.scatter <= 2 * finest + 1e-9)
    slope, low, high = best.slope, min(one.low for one in found), max(one.high for one in found)
    floor = best.floor
    if len(v) == 1 and kind == "linear":
        near = np.flatnonzero(mean < 10 * floor)
        stop = int(near[0]) if len(near) else len(at)
        with np.errstate(invalid="ignore", divide="ignore"):
            beside = _interval_beside_power(at[:stop], np.log(mean[:stop] - floor)) if stop > 8 else ()
        low, high = min((low, *beside)), max((high, *beside))
    if not low * high > 0 or high - low > abs(slope):
        raise ValueError(
            "values do not tell their rate, whose interval is as wide as itself: too little of the series is above its "
            "floor and its noise; record more steps or replicates, or pass window=(start, stop)"
        )
    how = "one series, by its residuals" if len(v) == 1 else f"Student's over {len(v)} replicates"
    first = float(at[best.start]) if kind == "linear" else float(np.exp(at[best.start]))
    level = "a floor, which is subtracted" if floor else "no floor"
    how = f"straight from {first:.4g} on, and from two other starts; {level}; {how}"
    return _fit(kind, slope, low, high, at[best.start], at[-1], floor, best.bend, how)


def _until_past_floor(kind: str, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps until some time after the level of the last fifth is reached: bins must resolve what is before."""
    if kind == "power":
        return k, v
    at, means = _binned(k, v)
    mean = means.mean(axis=0)
    near = np.flatnonzero(mean < 1.3 * mean[-(len(mean) // 5 + 1) :].mean())
    reached = at[near[0]] - k[0] if len(near) and near[0] else k[-1] - k[0]
    keep = (k - k[0] <= PASSED * reached) | (np.arange(len(k)) < BINS)
    return k[keep], v[:, keep]


class _Candidate(NamedTuple):
    """The slope, its interval, floor and bend from one start on; what is left beside the model, relative to it."""

    start: int
    slope: float
    low: float
    high: float
    floor: float
    bend: float
    scatter: float


class _Model:
    """Columns of the expectation in every bin: the law, the floor, and for a power law the correction by 1/k."""

    def __init__(self, kind: str, k: np.ndarray) -> None:
        abscissa = k if kind == "linear" else np.log(k)
        bins = _bins(abscissa)
        counts = np.diff(np.append(bins, len(k)))[:, None]
        node = np.arange(NODES)
        # Each step of a bin once; of more steps, places evenly between them
        inner = np.where(counts <= NODES, np.minimum(node, counts - 1), (node + 0.5) * counts / NODES - 0.5)
        self.nodes = np.interp(bins[:, None] + inner, np.arange(len(k)), abscissa)
        self.weights = (node < counts) / np.minimum(counts, NODES)
        self.at = np.sum(self.weights * self.nodes, axis=1)
        self.kind = kind

    def _law(self, slopes: Any, start: int) -> tuple[np.ndarray, np.ndarray, float]:
        """The law at the nodes of each bin, times their weights (G, n, NODES); the nodes from the start on; length."""
        x = self.nodes[start:] - self.at[start]
        length = float(self.at[-1] - self.at[start])
        slope = np.atleast_1d(slopes)[:, None, None]
        return np.exp(slope * (x - np.where(slope < 0, 0.0, length))) * self.weights[start:], x, length  # at most 1

    def columns(self, slopes: Any, start: int) -> np.ndarray:
        """Columns (G, n, p) at each of G slopes."""
        weighted, x, _ = self._law(slopes, start)
        columns = [weighted.sum(axis=2), np.ones(weighted.shape[:2])]
        if self.kind == "power":
            columns.append(np.einsum("gnm,nm->gn", weighted, np.exp(-x)))
        return np.stack(columns, axis=2)

    def derivative(self, slope: float, start: int) -> np.ndarray:
        """Of the law by the slope, over the length (1, n)."""
        weighted, x, length = self._law(slope, start)
        return (weighted * x).sum(axis=2) / length

    def departures(self, slope: float, start: int) -> np.ndarray:
        """The law times smooth waves (1, n, DIRECTIONS)."""
        weighted, x, length = self._law(slope, start)
        return np.einsum("gnm,nmj->gnj", weighted, legvander(2 * x / length - 1, DIRECTIONS + 1)[..., 2:])


class _Noise:
    """Estimates and standard errors of contrasts w: over replicates; or by residuals, an AR(1) series of slow size."""

    def __init__(self, values: np.ndarray, residual: np.ndarray, parameters: int) -> None:
        self.values = values
        if len(values) > 1:
            self.degrees = float(len(values) - 1)
            return
        n = len(residual)
        squares = residual**2
        found = np.sum(residual[1:] * residual[:-1]) / max(float(np.sum(squares)), 1e-300)
        # What a regression takes out makes residuals look less correlated than the noise is
        found = np.clip(found + (parameters + (parameters + 2) * found) / n, 0.0, 0.97)
        self.size = np.sqrt(np.convolve(squares, np.ones(9), "same") / np.convolve(np.ones(n), np.ones(9), "same"))
        self.size = self.size * np.sqrt(n / (n - parameters))
        self.correlation = found ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        self.degrees = max(n * (1 - found) / (1 + found) - parameters, 1.0)

    def of(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate and standard error of contrasts (G, n, m), each (G, m)."""
        found = np.tensordot(self.values, weights, axes=(1, 1))
        if len(self.values) > 1:
            return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
        scaled = weights * self.size[:, None]
        variance = np.einsum("gnm,gnm->gm", scaled, self.correlation @ scaled)
        return found[0], np.sqrt(np.maximum(variance, 0.0))


def _from(model: _Model, start: int, means: np.ndarray) -> _Candidate | None:
    """The fit from one start on; None if the model does not describe the series from there."""
    means = means[:, start:]
    slope, coefficients, expected, scatter = _quasi_likelihood(model, start, means.mean(axis=0))
    length = model.at[-1] - model.at[start]
    columns = model.columns(slope, start) / expected[:, None]
    derivative = model.derivative(slope, start) / expected
    departures = model.departures(slope, start) / expected[:, None]
    noise = _Noise(means / expected, scatter, columns.shape[2] + 1)
    contrasts = _beside(np.concatenate([columns, derivative[..., None]], axis=2), departures)
    size = np.maximum(np.linalg.norm(contrasts, axis=1, keepdims=True), 1e-300)
    found, error = noise.of(contrasts / size)
    if np.any(np.abs(found) > student(noise.degrees) * (error + ROUNDING)):
        return None
    if len(means) == 1 and noise.degrees < 4 and np.sqrt(np.mean(scatter**2)) > 1e-3:
        return None  # noise correlated over a large part of the series cannot be told from its course
    bend = 0.0
    if model.kind == "power":
        part = coefficients[2] / coefficients[0]
        bend = float(part / (1 + part) / slope)
        if not CORRECTION[0] <= part <= CORRECTION[1]:
            return None
    tangent = _beside(columns, derivative[..., None])
    error = noise.of(tangent)[1]
    limit = student(noise.degrees, 1 - (1 - SIGN) * (1 - CONFIDENCE))
    wald = abs(float(error[0, 0]) / (coefficients[0] * length * np.sum(tangent**2)))
    unit = max(limit * wald, 1e-9 * abs(slope))
    low, high = (_end(model, start, slope, sign * unit, expected, coefficients, noise) for sign in (-1.0, 1.0))
    beside = _beside(np.concatenate([np.delete(columns, 1, axis=2), derivative[..., None]], axis=2), columns[:, :, 1:2])
    found, error = noise.of(beside)
    least = max(float(means.mean(axis=0).min()) * 1e-3, limit * float(error[0, 0]) / float(np.sum(beside**2)))
    floor = float(coefficients[1]) if coefficients[1] > least else 0.0
    return _Candidate(start, slope, low, high, floor, bend, float(np.sqrt(np.mean(scatter**2))))


def _quasi_likelihood(model: _Model, start: int, mean: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Slope, coefficients, expectation and relative residuals, with weights 1/expectation^2, by iteration."""
    length = model.at[-1] - model.at[start]
    smooth = np.convolve(np.log(mean), np.ones(5), "same") / np.convolve(np.ones(len(mean)), np.ones(5), "same")
    expected = np.exp(smooth)
    widest = 10 * (np.log(mean.max() / mean.min()) + 1) / length
    grid = np.sinh(np.linspace(-4, 4, 48)) / np.sinh(4) * widest
    for _ in range(3):
        for _ in range(3):
            columns = model.columns(grid, start) / expected[:, None]
            left = _beside(columns, np.broadcast_to((mean / expected)[:, None], (*columns.shape[:2], 1)))
            squares = np.sum(left**2, axis=(1, 2))
            if model.kind == "power":
                parts = np.linalg.pinv(columns) @ (mean / expected)
                swapped = (parts[:, 2] < CORRECTIONS[0] * parts[:, 0]) | (parts[:, 2] > CORRECTIONS[1] * parts[:, 0])
                squares = np.where(swapped & ~swapped.all(), np.inf, squares)
            best = int(np.argmin(squares))
            slope, around = float(grid[best]), (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
            grid = np.linspace(*around, 17)
        step = max(around[1] - slope, slope - around[0])
        for _ in range(3):  # Gauss and Newton
            both = np.concatenate([model.columns(slope, start), model.derivative(slope, start)[..., None]], axis=2)[0]
            solved = _solved(both / expected[:, None], mean / expected)
            change = solved[-1] / solved[0] / length if solved[0] else 0.0
            slope += float(np.clip(change, -step, step))
        columns = model.columns(slope, start)[0]
        coefficients = _solved(columns / expected[:, None], mean / expected)
        expected = np.maximum(columns @ coefficients, 0.2 * expected)
        grid = slope + widest * 0.02 * np.linspace(-1, 1, 17)
    return slope, coefficients, expected, (mean - columns @ coefficients) / expected


def _end(
    model: _Model, start: int, slope: float, unit: float, expected: np.ndarray, coefficients: np.ndarray, noise: _Noise
) -> float:
    """How far from the estimate slopes are not refuted; infinite if there is no end."""
    slopes = slope + unit * np.concatenate([[0.02], np.geomspace(0.3, 40, 40)])
    columns = model.columns(slopes, start) / expected[:, None]
    fitted = (model.columns(slope, start) @ coefficients / expected)[..., None]
    contrasts = _beside(columns, np.broadcast_to(fitted, (len(slopes), *fitted.shape[1:])))
    found, error = noise.of(contrasts / np.maximum(np.linalg.norm(contrasts, axis=1, keepdims=True), 1e-300))
    refuted = np.abs(found / (error + 1e-12))[:, 0] / student(noise.degrees, 1 - (1 - SIGN) * (1 - CONFIDENCE))
    floors = _beside(np.delete(columns, 1, axis=2), columns[:, :, 1:2])
    found, error = noise.of(floors)
    error = error + 1e-12 * np.linalg.norm(floors, axis=1)
    refuted = np.maximum(refuted, -(found / error)[:, 0] / student(noise.degrees, 1 - 2 * SIGN * (1 - CONFIDENCE)))
    if model.kind == "power":  # slopes that leave most of the law to its correction are another law
        parts = np.linalg.pinv(columns) @ fitted
        part = parts[:, 2, 0] / parts[:, 0, 0]
        refuted = np.where((part < CORRECTIONS[0]) | (part > CORRECTIONS[1]), np.maximum(refuted, 2.0), refuted)
    accepted = np.flatnonzero(refuted <= 1)
    if not len(accepted):
        return slope
    last = int(accepted[-1])
    if last == len(slopes) - 1:
        return float(np.copysign(np.inf, unit))
    return float(np.interp(1.0, refuted[last : last + 2], slopes[last : last + 2]))


def _beside(columns: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What of targets (G, n, m) is orthogonal to columns (G, n, p)."""
    basis = np.linalg.qr(columns / np.maximum(np.abs(columns).max(axis=1, keepdims=True), 1e-300))[0]
    return targets - basis @ (np.swapaxes(basis, 1, 2) @ targets)


def _solved(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares, with columns of unit size."""
    size = np.maximum(np.abs(columns).max(axis=0), 1e-300)
    return np.linalg.lstsq(columns / size, target, rcond=None)[0] / size


def _bins(abscissa: np.ndarray) -> np.ndarray:
    """Where each bin starts."""
    if len(abscissa) <= BINS:
        return np.arange(len(abscissa))
    edges = np.linspace(abscissa[0], abscissa[-1], BINS + 1)
    bins = np.minimum(np.searchsorted(edges, abscissa, side="right") - 1, BINS - 1)
    return np.flatnonzero(np.diff(bins, prepend=-1))


def _binned(abscissa: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over bins of equal length of the abscissa, and of the abscissa itself."""
    if len(abscissa) <= BINS:
        return abscissa, v
    starts = _bins(abscissa)
    counts = np.diff(np.append(starts, len(abscissa)))
    return np.add.reduceat(abscissa, starts) / counts, np.add.reduceat(v, starts, axis=1) / counts


def _resampled(means: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The mean over replicates, and below it the means over bootstrap samples of them."""
    replicates = len(means)
    mean = means.mean(axis=0, keepdims=True)
    if replicates == 1:
        return mean
    counts = np.random.default_rng(seed).multinomial(replicates, np.full(replicates, 1 / replicates), resamples)
    return np.concatenate([mean, counts @ means / replicates])


def _standard_error(values: np.ndarray, replicates: int) -> float:
    """Of the first of `values`, by the others; R/(R − 1) undoes the bias of a bootstrap's variance."""
    return float(np.sqrt(replicates / (replicates - 1)) * np.nanstd(values[1:]))


def _scatter(at: np.ndarray, logs: np.ndarray) -> float:
    """Half the interval of a line's slope, by what is left beside a parabola.

    Taken for an AR(2) series, noise or a beat of modes, whose spectrum at frequency 0 is the variance of a sum; what
    stays alike for more than ten bins is a bend.
    """
    centred = at - at.mean()
    left = logs - np.polynomial.Polynomial.fit(centred, logs, 2)(centred)
    before = np.stack([left[1:-1], left[:-2]], axis=1)
    memory = np.linalg.lstsq(before, left[2:], rcond=None)[0]
    news = np.linalg.norm(left[2:] - before @ memory) / np.sqrt(len(left) - 5)
    error = news / max(1 - memory.sum(), 0.1) / np.linalg.norm(centred)
    return float(student(len(at) - 5) * error)


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
    half = student(len(at) - 3) * error
    return float(slope - half), float(slope + half)
