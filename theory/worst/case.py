"""The worst case of a method on a network, over all functions of a class."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

import simlab
from simlab import checks
from simlab.run.settings import check_nouns
from theory.transfer import require_fixed_symmetric
from theory.worst.instance import Interpolated, factor, quadratics
from theory.worst.program import Solution, solve
from theory.worst.trajectory import Trajectory, averaged, rest, trajectory

SLACK = 1e-9  # in units of L R²: by which the conditions of the instance hold with more than equality
INACCURATE = 1e-5  # relative: a gap that a user is told of
MEASURES = ("mse", "consensus", "objective")


class WorstCase(NamedTuple):
    """The worst that can happen, and the proof.

    Attributes
    ----------
    value : float
        The largest error after the steps.
    gap : float
        What the bound that the multipliers prove is above `value`: the solver's tolerance.
    instance : simlab.Problem
        Functions of the class, minimizer at zero, on which the method attains the value.
    x0 : ndarray, shape (d,)
        Where it starts there; for infinitely many steps, the mean of the nodes at rest.
    multipliers : dict
        ``"radius"`` τ and ``"heterogeneity"`` ν: the error is at most τ R² + ν b², and ``"interpolation"``, for one
        node of each orbit of the network's symmetries, the multipliers of the conditions between its points (x* first),
        whose sum with these proves it.
    """

    value: float
    gap: float
    instance: simlab.Problem
    x0: np.ndarray
    multipliers: dict[str, Any]


@checks.keywords
def worst_case(
    network: simlab.Network | simlab.NetworkProcess,
    algorithm: Any,
    *,
    steps: float,
    smoothness: float,
    strong_convexity: float = 0.0,
    heterogeneity: float | None = None,
    radius: float = 1.0,
    measure: str = "mse",
    quadratic: bool = False,
) -> WorstCase:
    """The largest error of a method after some steps, over all functions of a class: exact, not a bound.

    Each f_i is L-smooth and μ-strongly convex, of any dimension; all nodes start from one x⁰ with ‖x⁰ − x*‖ <= R,
    and (1/n) Σ‖∇f_i(x*)‖² <= b². The method's own step runs on unknown vectors; over their inner products, of which
    interpolation conditions say when such functions exist, the error is linear: a semidefinite program.

    Parameters
    ----------
    network : Network or NetworkProcess
        That stays, or changes in a cycle.
    algorithm : algorithm
        Whose step combines states, gradients and exchanges linearly; exact averages, proximal points, phases and
        schedules are fine.
    steps : int, or inf
        K >= 1. The program grows with K, and with n as far as the network is not symmetric. ``math.inf``: where the
        method rests, whether or not it gets there, from wherever it started; of methods that have a bias transfer
        function, for μ > 0 and b given.
    smoothness : float
        L > 0.
    strong_convexity : float, default 0.0
        −L <= μ < L; 0: convex, −L: smooth.
    heterogeneity : float, optional
        b >= 0; None: any, for which most methods have no worst case.
    radius : float, default 1.0
        R > 0.
    measure : {"mse", "consensus", "objective"}
        (1/n) Σ‖x_i − x*‖², (1/n) Σ‖x_i − x̄‖², or f(x̄) − f(x*), after the last step.
    quadratic : bool, default False
        Over quadratics with spectra in [μ, L] alone.

    Returns
    -------
    WorstCase

    Raises
    ------
    ImportError
        Without CVXPY: ``pip install simlab[worst-case]``.
    TypeError, ValueError
        Wrong arguments; a method that is not linear, a random network; an error without a bound.

    Warns
    -----
    RuntimeWarning
        If `gap` is above 10⁻⁵ of the value.

    References
    ----------
    Y. Drori, M. Teboulle, Performance of first-order methods for smooth convex minimization: a novel approach,
    Mathematical Programming 145, 2014.

    A. B. Taylor, J. M. Hendrickx, F. Glineur, Smooth strongly convex interpolation and exact worst-case performance of
    first-order methods, Mathematical Programming 161, 2017.

    S. Colla, J. M. Hendrickx, Automatic performance estimation for decentralized optimization, IEEE Trans. Automatic
    Control 68(12), 2023.

    Examples
    --------
    >>> import simlab, theory
    >>> ring, method = simlab.topologies.ring(4), simlab.DSGD(lr=0.5)
    >>> functions = {"smoothness": 1.0, "strong_convexity": 0.1, "heterogeneity": 0.5}
    >>> worst = theory.worst_case(ring, method, steps=3, **functions)
    >>> trace = simlab.simulate(worst.instance, ring, method, steps=3, x0=worst.x0, engine="numpy")
    >>> bool(abs(trace.frame["mse"].iloc[-1] / worst.value - 1) < 1e-5)
    True
    """
    checks.instance(
        "network", network, simlab.Network | simlab.NetworkProcess, "a network such as simlab.topologies.ring(8)"
    )
    stand_in = simlab.Quadratic(np.ones((network.n_nodes, 1)), np.zeros((network.n_nodes, 1)))
    check_nouns(stand_in, network, [algorithm])
    count: float = math.inf if steps == math.inf else checks.integer("steps", steps, minimum=1)
    size = checks.real("smoothness", smoothness, above=0.0)
    convexity = checks.real("strong_convexity", strong_convexity, minimum=-size, below=size)
    b = None if heterogeneity is None else checks.real("heterogeneity", heterogeneity, minimum=0.0)
    r = checks.real("radius", radius, above=0.0)
    checks.one_of("measure", measure, MEASURES)
    checks.flag("quadratic", quadratic)
    if count < math.inf:
        path = _in_units(trajectory(network, algorithm, int(count)), size)
    elif convexity > 0 and b is not None:
        r, path = 1.0, _in_units(rest(require_fixed_symmetric(network), algorithm), size)
    else:
        raise ValueError(
            f"steps = inf with strong_convexity = {convexity:g}, heterogeneity = {b}: limits may be anywhere; pass "
            "strong_convexity > 0 and heterogeneity = b"
        )
    if measure == "objective":
        path = averaged(path)
    options: dict[str, Any] = {
        "ratio": convexity / size,
        "heterogeneity": None if b is None else b / (size * r),
        "measure": measure,
        "quadratic": quadratic,
    }
    found = solve(path, **options)
    attained = solve(path, **options, slack=0.0 if quadratic else SLACK)
    relative = abs(found.bound - found.value) / max(abs(found.value), 1e-300)
    if relative > INACCURATE:
        warnings.warn(
            f"the solver stopped at a relative gap of {relative:.1e}; the value is as accurate as that",
            RuntimeWarning,
            stacklevel=3,
        )
    unit = r**2 * (size if measure == "objective" else 1.0)
    instance, x0 = _instance(path, attained, size, convexity, r, quadratic)
    scale = size if measure == "objective" else 1.0
    multipliers = {
        "radius": found.radius * scale,
        "heterogeneity": found.heterogeneity * scale / size**2,
        "interpolation": found.interpolation * (scale / size),
    }
    return WorstCase(found.value * unit, (found.bound - found.value) * unit, instance, x0, multipliers)


def _in_units(path: Trajectory, size: float) -> Trajectory:
    """With gradients in units of L: their coefficients in points grow by L."""
    scale = np.full(path.final.shape[1], size)
    scale[0] = 1.0
    return path._replace(points=path.points * scale, final=path.final * scale)


def _instance(
    path: Trajectory, found: Solution, size: float, convexity: float, r: float, quadratic: bool
) -> tuple[simlab.Problem, np.ndarray]:
    vectors = factor(found.gram) * r
    n = path.n_nodes
    x, g = path.points @ vectors, path.gradients @ vectors  # (T, n, d)
    stars, x0 = vectors[1 : 1 + n], vectors[0]
    if quadratic:
        unit = quadratics(np.moveaxis(x, 0, 1), np.moveaxis(g - stars, 0, 1), stars, convexity / size)
        return simlab.Quadratic(size * unit.curvature, size * unit.linear), x0
    points = np.concatenate([np.zeros((1, n, x.shape[2])), x])
    gradients = size * np.concatenate([stars[None], g])
    values = found.values * size * r**2
    return (
        Interpolated(np.moveaxis(points, 0, 1), np.moveaxis(gradients, 0, 1), values, size, convexity),
        x0,
    )
