"""Assertions about runs, for anybody's pytest suite; their failures show the numbers.

Examples
--------
>>> import simlab
>>> from theory.testing import assert_bound_holds, assert_matches_prediction
>>> problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=50, dim=4, seed=1)
>>> network = simlab.topologies.ring(6, lazy=True)
>>> trace = simlab.simulate(problem, network, simlab.DSGD(lr=0.01), steps=4000, engine="numpy")
>>> assert_matches_prediction(trace)
>>> assert_bound_holds(trace, "B1, bias").verdict
'holds'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from simlab import checks
from simlab.statistics import student
from simlab.trace import Trace
from theory.rates import KINDS, LEAST_POINTS, Fit, fit_rate
from theory.report import Row
from theory.theorems import THEOREMS, Setting, Theorem
from theory.verdict import REFUTED, finest, interval, judge, prediction_rows

METRICS = ("mse", "consensus", "squared_gradient_norm")
ROUNDING = {"float64": 1e-20, "float32": 1e-8}  # squared errors below this part of the largest are left out of a fit


@checks.keywords
def assert_converges_at_rate(
    trace: Trace,
    rate: float,
    *,
    metric: str = "mse",
    kind: str = "linear",
    tolerance: float = 0.02,
    resolution: float = 0.5,
    window: tuple[float, float] | None = None,
) -> Fit:
    """Assert that a run converges at a rate, neither slower nor faster.

    It passes only if the run could have refuted it: its error must follow the law, over all of a given window, and the
    interval of the rate be narrower than `resolution`.

    Parameters
    ----------
    trace : Trace
    rate : float
        "linear": factor a step of the error itself, the root of the metric, as `Prediction.rate` is; in (0, 1).
        "power": exponent of the metric against the step, e.g. -1.
    metric : {"mse", "consensus", "squared_gradient_norm"}, default "mse"
    kind : {"linear", "power"}, default "linear"
    tolerance : float, default 0.02
        Relative, on the logarithm of the factor or on the exponent; added to the 95 % interval of the fit, and allowed
        to the slopes of the first and the second half of a window, too.
    resolution : float, default 0.5
        Half the width of the widest interval, `tolerance` included, that decides anything; relative as well.
    window : (start, stop), optional
        Steps to fit; by default `theory.fit_rate` chooses them. Of an algorithm with a bias e, ||e + d_k||^2 is not
        geometric near its limit even where d_k is: fit steps at which the error is well above the bias.

    Returns
    -------
    Fit
        Of the metric; for "linear" with the roots of its factors.

    Raises
    ------
    AssertionError
        The rate is outside the interval; the error does not follow the law in the window, for the slopes of its halves
        differ by more than noise and twice `tolerance` explain; the interval is too wide to refute anything
        ("inconclusive"); or a replicate diverged.
    ValueError
        There is no straight stretch to fit, as where the run sits at its floor from the start.
    """
    checks.one_of("metric", metric, METRICS)
    checks.one_of("kind", kind, KINDS)
    tolerance = checks.real("tolerance", tolerance, minimum=0.0)
    resolution = checks.real("resolution", resolution, above=0.0)
    rate = checks.real("rate", rate, above=0.0, below=1.0) if kind == "linear" else checks.real("rate", rate, below=0.0)
    _assert_finite(trace)
    tolerance = checks.real("tolerance", tolerance, minimum=0.0)
    table = trace.frame.pivot(index="replicate", columns="step", values=metric)
    values = table.to_numpy()
    # `fit_rate` fits what comes before the first zero.
    values = np.where(values > ROUNDING[trace.provenance["dtype"]] * values.max(), values, 0.0)
    steps = table.columns.to_numpy(float)
    try:
        fit = fit_rate(steps, values, kind=kind, window=window)
    except ValueError as error:
        mean = table.mean()
        raise ValueError(
            f"{_label(trace)}: {metric} shows no rate to compare with {rate:.6g}: it is {mean.iloc[0]:.4g} at step "
            f"{mean.index[0]} and {mean.iloc[-1]:.4g} at step {mean.index[-1]}, {mean.min():.4g} at its least; {error}"
        ) from error
    scale: Callable[[float], float] = np.log if kind == "linear" else float
    # Relative to the rate: half the interval, and by how much the slopes of two halves differ, give or take
    slope = abs(scale(fit.estimate))
    half = (scale(fit.high) - scale(fit.low)) / (2 * slope) + tolerance
    if window is None and np.count_nonzero(values.any(axis=0)) < LEAST_POINTS:
        window = (steps[0], steps[-1])  # the line through all of few points
    change, noise = (0.0, 0.0) if window is None else _change_within(steps, values, kind, window)
    if kind == "linear":
        estimate, low, high = (float(root) for root in np.sqrt(fit[:3]))
        fit = fit._replace(estimate=estimate, low=low, high=high)
    noun = f"factor a step of sqrt({metric})" if kind == "linear" else f"exponent of {metric}"
    found = f"{_label(trace)}: {noun} is {fit.estimate:.6g}, 95 % interval [{fit.low:.6g}, {fit.high:.6g}]"
    fitted = f"fitted over steps {fit.start:g} to {fit.stop:g}, {fit.how}"
    assert abs(change) <= 2 * tolerance * slope + noise, (
        f"{found}, but {metric} follows no such law over the window: its slope changes by {change / slope:.4g} of "
        f"itself ± {noise / slope:.2g} from the first half to the second (tolerance {tolerance:.3g} each); {fitted}"
    )
    half = max(half, noise / (2 * slope))
    assert half <= resolution, (
        f"{found}, which is inconclusive: {'exponents' if kind == 'power' else 'logarithms of factors'} {half:.3g} of "
        f"it away could not be told from it (resolution {resolution:.3g}); run more replicates, or record more points, "
        f"and more of them above the floor; {fitted}"
    )
    allowed = tolerance * abs(scale(rate))
    within = scale(fit.low) - allowed <= scale(rate) <= scale(fit.high) + allowed
    assert within, f"{found}, not {rate:.6g} (tolerance {tolerance:.3g}); {fitted}"
    return fit


@checks.keywords
def assert_bias_scales(
    traces: Sequence[Any],
    parameter: str | Callable[[Any], float] | Sequence[float],
    exponent: float,
    *,
    metric: str = "mse",
    tolerance: float = 0.05,
    resolution: float = 0.25,
) -> Fit:
    """Assert that the final error of several runs is a power of a parameter.

    It passes only if the data could have refuted it: the runs must lie on a line in log-log axes, and the interval of
    its slope be narrower than `resolution`.

    Parameters
    ----------
    traces : sequence of Trace
        Three or more, run until they have settled: two points lie on every power law.
    parameter : str, callable or sequence of float
        A hyperparameter's name, a function of a trace such as ``lambda t: 1 - t.algorithm.momentum``, or one positive
        value for each trace.
    exponent : float
        The claim: metric ~ parameter ** exponent.
    metric : {"mse", "consensus", "squared_gradient_norm"}, default "mse"
        Its last recorded value counts.
    tolerance : float, default 0.05
        Absolute, on the exponent; added to the 95 % interval over replicates, where there are as many in each trace,
        and allowed to the slopes of the lower and the upper half of the parameters, too.
    resolution : float, default 0.25
        Half the width of the widest interval, `tolerance` included, that decides anything.

    Returns
    -------
    Fit

    Raises
    ------
    AssertionError
        The exponent is outside the interval; the errors are no power of the parameter, for the slopes of the lower and
        the upper half differ by more than noise and twice `tolerance` explain; the interval is too wide to refute
        anything ("inconclusive"); or a replicate diverged.
    ValueError
        Fewer than three traces, or parameters that are not positive and distinct.
    """
    checks.one_of("metric", metric, METRICS)
    exponent = checks.real("exponent", exponent)
    traces = checks.each("traces", traces, Trace, "three or more that simlab.simulate returned")
    if len(traces) < 3:
        raise ValueError(f"traces has {len(traces)} entries; a power law needs three or more, for two lie on every one")
    tolerance = checks.real("tolerance", tolerance, minimum=0.0)
    resolution = checks.real("resolution", resolution, above=0.0)
    values = checks.array("parameter", _parameters(traces, parameter), shape=(None,))
    if len(values) != len(traces) or np.any(values <= 0) or len(np.unique(values)) < len(values):
        raise ValueError(f"parameter = {values.tolist()} must be positive and distinct, one for each of the traces")
    for trace in traces:
        _assert_finite(trace)
    finals = [trace.frame.groupby("replicate")[metric].last().to_numpy(dtype=float) for trace in traces]
    order = np.argsort(values)
    if len({len(final) for final in finals}) > 1:
        finals = [np.array([final.mean()]) for final in finals]
    values, errors = values[order], np.array([finals[i] for i in order]).T
    fit = fit_rate(values, errors, kind="power", window=(values[0], values[-1]))
    listed = ", ".join(f"{v:.4g}: {e:.4g}" for v, e in zip(values, errors.mean(axis=0), strict=True))
    found = (
        f"{_label(traces[0])}: {metric} scales with exponent {fit.estimate:.4g}, 95 % interval [{fit.low:.4g}, "
        f"{fit.high:.4g}]"
    )
    change, error = _change_of_slope(values, errors)
    assert abs(change) <= 2 * tolerance + error, (
        f"{found}, but is no power of the parameter: the exponent changes by {change:.4g} ± {error:.2g} from the lower "
        f"half of the parameters to the upper (tolerance {tolerance:.3g} each); parameter: {metric} are {listed}"
    )
    half = (fit.high - fit.low) / 2 + tolerance
    assert half + error / 2 <= resolution, (
        f"{found}, which is inconclusive: exponents {half + error / 2:.3g} away could not be told from it "
        f"(resolution {resolution:.3g}); pass more replicates, or parameters further apart; parameter: {metric} are "
        f"{listed}"
    )
    within = fit.low - tolerance <= exponent <= fit.high + tolerance
    assert within, f"{found}, not {exponent:.4g} (tolerance {tolerance:.3g}); parameter: {metric} are {listed}"
    return fit


@checks.keywords
def assert_bound_holds(trace: Trace, theorem: str | Theorem, *, resolution: float = 1000.0) -> Row:
    """Assert that a theorem applies to a run and that its bound holds.

    It passes only if the run could have refuted it: it must have made a step, and come near to the bound, which a run
    far from it keeps whatever is wrong with the algorithm.

    Parameters
    ----------
    trace : Trace
    theorem : str or Theorem
        A name such as "B1, bias" (see `theory.theorems.THEOREMS`), or a theorem of your own.
    resolution : float, default 1000.0
        Largest factor between what is measured and its bound that decides anything: a mistake that makes an error
        this much worse would be seen. Give a huge one to ask for no more than that the bound holds.

    Returns
    -------
    Row
        With the measured value, its interval, and the bound.

    Raises
    ------
    AssertionError
        The verdict is not "holds"; or it holds by more than `resolution`, or of a run without a step ("inconclusive").
    ValueError
        No theorem has this name.
    """
    resolution = checks.real("resolution", resolution, above=1.0)
    if isinstance(theorem, str):
        known = {candidate.name: candidate for candidate in THEOREMS}
        theorem = known[checks.one_of("theorem", theorem, known)]
    row = judge(checks.instance("theorem", theorem, Theorem, "its name, or one of theory.theorems"), trace)
    assert row.verdict == "holds", _describe(trace, row)
    _assert_stepped(trace, row)
    far, near = (row.bound, row.measured) if theorem.relation == "<=" else (row.measured, row.bound)
    assert theorem.relation == "==" or far <= resolution * near or row.bound == 0, (
        f"{_label(trace)}: {row.theorem} holds by a factor of {far / near if near else np.inf:.4g}, which is "
        f"inconclusive: measured {row.measured:.6g}, bound {row.bound:.6g}; a run whose error is {resolution:.4g} "
        "times worse would keep it, too (resolution); judge a run that comes nearer to its bound, by other steps, "
        "step sizes or data, or state a larger resolution"
    )
    return row


@checks.keywords
def assert_matches_prediction(trace: Trace, *, resolution: float = 0.5) -> None:
    """Assert that a run's last mse and consensus error are those that `theory.predict` expects of it exactly.

    It passes only if the run could have refuted it: the interval of what is measured must be narrow beside the
    prediction.

    Parameters
    ----------
    trace : Trace
        Of a step or more; ten replicates or more if there is noise.
    resolution : float, default 0.5
        Half the width of the widest 99.9 % interval that decides anything, relative to the prediction; what rounding
        may have moved the error by counts with it. With 0.5 a prediction twice as large as the error would be refuted.
        Squared errors that are rounding of states of their size are 0 here.

    Raises
    ------
    AssertionError
        A prediction lies outside the 99.9 % confidence interval of the run (a true one does so once in a thousand);
        there is no exact prediction; or the interval is too wide to refute anything ("inconclusive").
    """
    resolution = checks.real("resolution", resolution, above=0.0)
    setting = Setting.of(trace)
    for row, moved in prediction_rows(trace, setting):
        undecided = row.verdict == "inconclusive" and len(trace.x) > 1
        assert row.verdict == "holds" or undecided, _describe(trace, row)
        _assert_stepped(trace, row)
        replicates, half = len(trace.x), (row.high - row.low) / 2
        if half:
            half *= student(replicates - 1, REFUTED) / student(replicates - 1)
        allowed = resolution * abs(row.bound) + finest(trace, setting)
        remedy = f"run some {_enough(replicates, half, allowed - moved)} replicates"
        if moved > allowed / 2:
            remedy = "rounding alone explains it: run fewer steps, or in float64"
        assert half + moved <= allowed, (
            f"{_label(trace)}: {row.theorem} is inconclusive: measured {row.measured:.6g} ± {half + moved:.2g}, by "
            f"99.9 %, predicted {row.bound:.6g}, so that errors a part of {resolution:.3g} away could not be told "
            f"from it (resolution); {remedy}"
        )


def _assert_stepped(trace: Trace, row: Row) -> None:
    assert trace.provenance["steps"] > 0, (
        f"{_label(trace)}: {row.theorem} is inconclusive: the run made no step, and its start refutes nothing; run more"
    )


def _enough(replicates: int, half: float, allowed: float) -> int:
    """How many replicates would have a 99.9 % interval of this half-width."""
    deviation = half * np.sqrt(replicates) / student(max(replicates - 1, 1), REFUTED)
    enough = 4
    while student(enough - 1, REFUTED) * deviation / np.sqrt(enough) > allowed and enough < 10**6:
        enough = int(1.2 * enough) + 1
    return enough


def _change_within(
    steps: np.ndarray, values: np.ndarray, kind: str, window: tuple[float, float]
) -> tuple[float, float]:
    """Slope of the second half of a window less that of the first; and half its 95 % interval.

    Halves of the scale on which the law is a line, with three points or more: they overlap where there are less than 6.
    Three points in all are both halves, and tell no law: their interval is infinite.
    """
    k = steps[(steps >= window[0]) & (steps <= window[1]) & values.any(axis=0) & ((steps > 0) | (kind == "linear"))]
    if len(k) < 4:
        return 0.0, float("inf")
    middle = (k[0] + k[-1]) / 2 if kind == "linear" else np.sqrt(k[0] * k[-1])
    cut = int(np.searchsorted(k, middle))
    halves = k[: max(cut, 3)], k[min(cut, len(k) - 3) :]
    slopes, errors = [], []
    for half in halves:
        fit = fit_rate(steps, values, kind=kind, window=(half[0], half[-1]))
        slope, low, high = np.log(fit[:3]) if kind == "linear" else fit[:3]
        bend = abs(fit.bend * slope) if len(values) == 1 else 0.0  # in the interval of a single series, and no noise
        slopes.append(slope)
        errors.append(max((high - low - bend) / 2, 0.0))
    return float(slopes[1] - slopes[0]), float(np.hypot(errors[0], errors[1]))


def _change_of_slope(parameter: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Slope of the upper half of the parameters less that of the lower; and half its 95 % interval over replicates.

    The middle one of an odd number of parameters is in both.
    """
    at, logs = np.log(parameter), np.log(errors)
    middle = len(at) // 2
    lower, upper = slice(0, len(at) - middle if len(at) % 2 else max(middle, 2)), slice(min(middle, len(at) - 2), None)
    changes = np.polyfit(at[upper], logs[:, upper].T, 1)[0] - np.polyfit(at[lower], logs[:, lower].T, 1)[0]
    mean, low, high = interval(changes, random=len(changes) > 1)
    return mean, (high - low) / 2


def _parameters(traces: Sequence[Any], parameter: Any) -> Any:
    if isinstance(parameter, str):
        checks.one_of("parameter", parameter, traces[0].algorithm._fields)
        return [getattr(trace.algorithm, parameter) for trace in traces]
    return [parameter(trace) for trace in traces] if callable(parameter) else parameter


def _assert_finite(trace: Trace) -> None:
    checks.instance("trace", trace, Trace, "a single one that simlab.simulate returned")
    diverged = trace.provenance.get("diverged")
    assert not diverged, f"{_label(trace)}: diverged, at step by replicate {diverged}"


def _label(trace: Trace) -> str:
    return str(trace.provenance.get("label", "run"))


def _describe(trace: Trace, row: Row) -> str:
    return (
        f"{_label(trace)}: {row.theorem} is {row.verdict}: measured {row.measured:.6g}, 95 % interval [{row.low:.6g}, "
        f"{row.high:.6g}], bound {row.bound:.6g}, ratio {row.ratio:.6g}; {row.reason}"
    )
