"""Verdicts: a run held against every theorem and every exact prediction that may apply to it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from simlab import checks
from simlab.statistics import CONFIDENCE, mean_interval
from simlab.trace import Trace
from theory.report import Report, Row
from theory.theorems import THEOREMS, Setting, Theorem
from theory.theorems.theorem import first_failure, last
from theory.transfer import require_fixed_symmetric

REFUTED = 0.999  # an equality counts as violated outside this interval only: it misses 5 % of 95 % intervals when true
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}  # relative error of computed numbers
STRAY = 8.0  # runs may stray from exact arithmetic by this many ``theory.moments.rounding.drift``; at most 3 was seen


@checks.keywords
def verify(trace: Trace, theorems: Iterable[Theorem] | None = None) -> Report:
    """Hold a run against every theorem, and against the exact prediction of its errors.

    Parameters
    ----------
    trace : Trace
        What `simlab.simulate` returned.
    theorems : iterable of Theorem, optional
        Which ones, such as ``(*theory.theorems.THEOREMS, my_theorem)``; None is `theory.theorems.THEOREMS`.

    Returns
    -------
    Report
        A row for each theorem, and one each for the predicted mse and consensus at the
        last step. An inequality holds if the whole 95 % interval is within the bound and is violated if the whole
        interval is beyond it. A prediction holds if it lies in the 95 % interval, and is violated if it lies outside
        the 99.9 % one. A run without randomness has intervals of zero width. A prediction that would take far longer
        than the run is not made: its reason says what it would cost.

    Notes
    -----
    Predictions hold in exact arithmetic. Rounding is allowed for as far as it is to be expected of this step, by
    ``theory.moments.rounding.drift``: a sum over nodes that a step conserves may be moved by some eps a step, always
    the same way once the run rests, so that mse comes to grow with the square of the steps (in float32 to some 1e-6
    after 20,000 steps of a small problem, for D² written with `mix`). Where all exchanges are by differences, as in
    simlab's D², NIDS and EXTRA, it is moved no longer than the run takes to come to rest, and no more is allowed.

    A converged run of an algorithm without bias says nothing of the network: on every connected one its mse and
    consensus tend to 0, and the verdict is the same for two networks, or for two step sizes. To tell them apart judge
    a run that has not converged, or one with noise, whose stationary consensus depends on the network.

    Raises
    ------
    TypeError
        It is no trace, or `theorems` holds what is no Theorem.
    ValueError
        The trace was loaded from disk, without its problem, network and algorithm.

    Examples
    --------
    >>> import simlab, theory
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=50, dim=4, seed=1)
    >>> network = simlab.topologies.ring(6, lazy=True)
    >>> trace = simlab.simulate(problem, network, simlab.DSGD(lr=0.01), steps=4000, engine="numpy")
    >>> theory.verify(trace)["B1, bias"].verdict
    'holds'
    """
    setting = Setting.of(trace)
    remedy = "some such as those of theory.theorems.THEOREMS"
    chosen = THEOREMS if theorems is None else checks.each("theorems", theorems, Theorem, remedy)
    rows = [judge(theorem, trace, setting) for theorem in chosen]
    rows += [row for row, _ in prediction_rows(trace, setting)]
    return Report(
        f"{trace.provenance.get('label', 'run')}, {setting.steps} steps, {len(trace.x)} replicate(s)", tuple(rows)
    )


def judge(theorem: Theorem, trace: Trace, setting: Setting | None = None) -> Row:
    """The verdict of one theorem on a run.

    Parameters
    ----------
    theorem : Theorem
    trace : Trace
    setting : Setting, optional
        ``Setting.of(trace)``, if at hand.
    """
    setting = Setting.of(trace) if setting is None else setting
    if not theorem.changing:
        try:
            require_fixed_symmetric(setting.network)
        except ValueError as error:
            return _not_applicable(theorem.name, f"network: {error}")
    looked_at = theorem.assumptions(setting)
    failed = first_failure(looked_at)
    if failed is not None:
        return _not_applicable(theorem.name, f"{failed.name}: {failed.detail}")
    bound = float(theorem.bound(**theorem.constants(setting)))
    estimates = [check.detail for check in looked_at if "estimate" in check.detail]
    row = _compare(theorem, theorem.measured(trace), bound, trace, setting)
    if estimates and row.verdict == "violated":
        # Suprema are estimated from below, so that the true bound may be larger: that only "holds" is certain.
        row = row._replace(verdict="inconclusive", reason="beyond a bound whose suprema are estimates from below")
    return row._replace(reason="; ".join([row.reason, *estimates]))


def prediction_rows(trace: Trace, setting: Setting) -> list[tuple[Row, float]]:
    """The verdicts on the predicted mse and consensus; and what of a difference each puts down to rounding's drift."""
    names = ("mse", "consensus")
    try:
        expected = _expected(trace, setting)
    except (TypeError, ValueError, NotImplementedError) as error:
        return [(_not_applicable(f"prediction, {name}", str(error)), 0.0) for name in names]
    drifts: list[float] = []
    rows = []
    for k, (name, value) in enumerate(zip(names, expected, strict=True)):
        compare = partial(_compare, _Statement(f"prediction, {name}"), last(trace, name), value, trace, setting)
        least, usual, moved = finest(trace, setting, "float64"), finest(trace, setting), 0.0  # of what theory computes
        row = compare(floor=least)
        if row.verdict in ("violated", "inconclusive") and np.isfinite(row.measured):
            drifts = drifts or _drifts(trace, setting)
            strayed = STRAY * drifts[k]
            drift = strayed * (2 * np.sqrt(value) + strayed)
            row = compare(floor=min(least + drift, usual))
            again = compare(floor=usual + drift) if usual < drift < np.inf else row
            if again.verdict == "holds" != row.verdict:
                row = again._replace(reason=f"within the drift of rounding, up to {strayed**2:.2g} after these steps")
                moved = drift
        rows.append((row, moved))
    return rows


def _drifts(trace: Trace, setting: Setting) -> list[float]:
    """What rounding may have added to the root of mse and of consensus."""
    from theory.moments.affine import AffineStep, Surrogate
    from theory.moments.rounding import drift
    from theory.prediction import changes

    start = np.broadcast_to(np.asarray(trace.x0, dtype=float), (setting.problem.n_nodes, setting.problem.dim))
    if changes(setting.network, setting.algorithm, start):
        return [np.inf, np.inf]  # followed for one step that is the same at all times
    step = AffineStep(Surrogate.of(setting.problem), setting.network, setting.algorithm, start)
    eps, noisy = float(np.finfo(trace.provenance["dtype"]).eps), setting.batch_size is not None or setting.noise_std > 0
    return list(drift(step, setting.steps, eps, rests=not noisy))


def _expected(trace: Trace, setting: Setting) -> tuple[float, float]:
    """Exact expected mse and consensus at the last step; ValueError where there are none."""
    from theory.prediction import expected_errors

    if trace.provenance.get("diverged"):
        raise ValueError(f"run: diverged at step(s) {sorted(set(trace.provenance['diverged'].values()))}")
    return expected_errors(
        setting.problem,
        setting.network,
        setting.algorithm,
        setting.steps,
        batch_size=setting.batch_size,
        noise_std=setting.noise_std,
        x0=trace.x0,
    )


class _Statement(NamedTuple):
    """An equality, such as a prediction is."""

    name: str
    relation: str = "=="
    random: bool = True


def _compare(
    statement: Theorem | _Statement,
    values: np.ndarray,
    bound: float,
    trace: Trace,
    setting: Setting,
    floor: float | None = None,
) -> Row:
    """The verdict; `floor` is what squared errors are known to, `finest` unless said."""
    relation = statement.relation
    # A compressor may round at random: then the replicates differ.
    noisy = setting.batch_size is not None or setting.noise_std > 0 or len(np.unique(values)) > 1
    random = statement.random and noisy
    measured, low, high = interval(values, random=random)
    rounding = TOLERANCE[trace.provenance["dtype"]] * abs(bound)
    rounding += finest(trace, setting) if floor is None else floor
    if not np.isfinite(measured):
        verdict, reason = "violated", "a replicate diverged"
    elif random and len(values) < 2:
        verdict, reason = "inconclusive", "one replicate has no interval; simulate with replicates=10 or more"
    elif relation == "==":
        _, lowest, highest = interval(values, random=random, confidence=REFUTED)
        if low - rounding <= bound <= high + rounding:
            verdict, reason = "holds", "in the 95 % interval" if random else "equal to rounding"
        elif lowest - rounding <= bound <= highest + rounding:
            verdict, reason = "inconclusive", "outside the 95 % interval, inside the 99.9 % one"
        else:
            verdict, reason = "violated", "outside the 99.9 % interval" if random else "not equal"
    else:
        sign = 1.0 if relation == "<=" else -1.0
        worst, best = (high, low) if relation == "<=" else (low, high)
        if sign * (worst - bound) <= rounding:
            verdict, reason = "holds", "the whole interval is within the bound" if random else "within the bound"
        elif sign * (best - bound) > rounding:
            verdict, reason = "violated", "the whole interval is beyond the bound" if random else "beyond the bound"
        else:
            verdict, reason = "inconclusive", "the interval straddles the bound; simulate more replicates"
    ratio = measured / bound if bound else float("nan")
    return Row(statement.name, measured, low, high, bound, ratio, verdict, reason)


def interval(values: np.ndarray, *, random: bool = True, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean over replicates and Student's confidence interval for it.

    Parameters
    ----------
    values : ndarray, shape (replicates,)
    random : bool, default True
        False: replicates differ by nothing, and the interval has zero width.
    confidence : float, default 0.95

    Returns
    -------
    mean, low, high : float
        Infinite ends for a single random replicate.
    """
    mean = float(np.mean(values))
    if not random:
        return mean, float(np.min(values)), float(np.max(values))
    if len(values) < 2 or not np.isfinite(mean):
        return mean, -np.inf, np.inf
    return mean_interval(values, confidence)


def finest(trace: Trace, setting: Setting, dtype: str | None = None) -> float:
    """Squared errors below this are rounding of states of this size, in numbers of the run's or of another `dtype`."""
    eps = np.finfo(dtype or trace.provenance["dtype"]).eps
    return float((1000 * eps) ** 2 * (1 + np.max(np.abs(trace.x)) ** 2)) * setting.problem.dim


def _not_applicable(name: str, reason: str) -> Row:
    nan = float("nan")
    return Row(name, nan, nan, nan, nan, nan, "not applicable", reason)
