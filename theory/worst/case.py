"""The worst case of a method on a network, over all functions of a class."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

import simlab
from simlab import checks
from simlab.run.settings import check_nouns
from simlab.step.graph import is_algorithm
from theory.transfer import require_fixed_symmetric
from theory.worst.instance import Interpolated, factor, quadratics
from theory.worst.program import Solution, solve
from theory.worst.spectrum import Spectrum, attain
from theory.worst.trajectory import Trajectory, averaged, require_no_compressor, rest, trajectory

SLACK = 1e-9  # in units of L R²: by which the conditions of the instance hold with more than equality
INACCURATE = 1e-5  # relative: a gap that a user is told of
ZERO = 1e-10  # in units of R² + b²/L², or L times that: a gap below which nothing is left to tell
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
        whose sum with these proves it; over a spectrum, ``"spectrum"``, too, of those between exchanges.
    network : Network or NetworkProcess
        On which it happens: the one given; of a spectrum, one with 2^m nodes that attains the value.
    """

    value: float
    gap: float
    instance: simlab.Problem
    x0: np.ndarray
    multipliers: dict[str, Any]
    network: simlab.Network | simlab.NetworkProcess


@checks.keywords
def worst_case(
    network: simlab.Network | simlab.NetworkProcess | Spectrum,
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
    network : Network, NetworkProcess or Spectrum
        That stays, or changes in a cycle. ``theory.Spectrum(low, high)``: over all symmetric W with W1 = 1, any number
        of nodes and other eigenvalues in [low, high], too.
    algorithm : algorithm
        Whose step combines states, gradients and exchanges linearly; exact averages, proximal points, phases and
        schedules are fine.
    steps : int, or inf
        K >= 1. The program grows with K, and with n as far as the network is not symmetric. ``math.inf``: where the
        method rests, whether or not it gets there, from wherever it started; of methods that have a bias transfer
        function, for μ > 0 and b > 0 given.
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
        If `gap` is above 10⁻⁵ of the value, and above 10⁻¹⁰ (R² + b²/L²), L times that of an objective.

    Notes
    -----
    Over a spectrum, exchanges are vectors, too: what is common to the nodes passes, and what sets them apart, rows X
    to Y, is taken there by a symmetric matrix with spectrum in [low, high] if and only if XY' = YX' and
    (Y − low X)(high X − Y)' is positive semidefinite (Colla and Hendrickx). n drops out. A solution is attained by 2^m
    nodes whose functions are one, reflected in the eigenbasis of that matrix by the signs of rows of a Hadamard
    matrix, which are the eigenvectors of W.

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
        "network", network, simlab.Network | simlab.NetworkProcess | Spectrum,
        "a network such as simlab.topologies.ring(8), or theory.Spectrum(-0.5, 0.8)",
    )  # fmt: skip
    if isinstance(network, Spectrum):
        network = network.checked()
    some = network.member() if isinstance(network, Spectrum) else network
    if is_algorithm(algorithm):
        require_no_compressor(algorithm)
    stand_in = simlab.Quadratic(np.ones((some.n_nodes, 1)), np.zeros((some.n_nodes, 1)))
    check_nouns(stand_in, some, [algorithm])
    endless = isinstance(steps, float) and steps == math.inf
    count: float = math.inf if endless else checks.integer("steps", steps, minimum=1)
    size = checks.real("smoothness", smoothness, above=0.0)
    convexity = checks.real("strong_convexity", strong_convexity, minimum=-size, below=size)
    b = None if heterogeneity is None else checks.real("heterogeneity", heterogeneity, minimum=0.0)
    r = checks.real("radius", radius, above=0.0)
    checks.one_of("measure", measure, MEASURES)
    checks.flag("quadratic", quadratic)
    if count < math.inf:
        path = _in_units(trajectory(network, algorithm, int(count)), size)
    elif isinstance(network, Spectrum):
        raise ValueError(
            f"steps = inf with network = {network!r}: pass a network, or see theory.worst_case_bias, which is about "
            "limits over classes of networks"
        )
    elif convexity > 0 and b:
        r, path = 0.0, _in_units(rest(require_fixed_symmetric(network), algorithm), size)
    else:
        limits = "anywhere" if b is None or convexity <= 0 else "x* alone"
        raise ValueError(
            f"steps = inf with strong_convexity = {convexity:g}, heterogeneity = {b}: limits may be {limits}; pass "
            "strong_convexity > 0 and heterogeneity = b > 0"
        )
    # A length such that neither of the bounds is large: the solver's tolerances are absolute.
    length = float(np.hypot(r, (b or 0.0) / size)) if some.n_nodes > 1 else r
    if measure == "objective":
        path = averaged(path)
    options: dict[str, Any] = {
        "ratio": convexity / size,
        "radius": r / length,
        "heterogeneity": None if b is None else b / (size * length),
        "measure": measure,
        "quadratic": quadratic,
    }
    found = solve(path, **options)
    attained = solve(path, **options, slack=0.0 if quadratic else SLACK)
    relative = found.gap / max(abs(found.value), 1e-300)
    if relative > INACCURATE and found.gap > ZERO:
        warnings.warn(
            f"the solver stopped at a relative gap of {relative:.1e}; the value is as accurate as that",
            RuntimeWarning,
            stacklevel=3,
        )
    unit = length**2 * (size if measure == "objective" else 1.0)
    nodes = _nodes(path, attained)
    instance, x0 = _instance(nodes, size, convexity, length, quadratic)
    scale = size if measure == "objective" else 1.0
    multipliers = {
        "radius": found.radius * scale,
        "heterogeneity": found.heterogeneity * scale / size**2,
        "interpolation": found.interpolation * (scale / size),
    }
    if nodes.network is not None:
        multipliers["spectrum"] = found.spectrum * scale
    where = some if nodes.network is None else nodes.network
    return WorstCase(found.value * unit, (found.bound - found.value) * unit, instance, x0, multipliers, where)


def _in_units(path: Trajectory, size: float) -> Trajectory:
    """With gradients in units of L: their coefficients in points grow by L."""
    n, width = path.final.shape
    kinds = np.full((width - 1) // n, size)
    kinds[len(kinds) - len(path.sent) :] = 1.0
    scale = np.concatenate([[1.0], np.repeat(kinds, n)])
    return path._replace(points=path.points * scale, final=path.final * scale, sent=path.sent * scale)


class _Nodes(NamedTuple):
    """A solution as vectors of each node: x⁰ (d,), points and gradients (n, T, d), ∇f_i(x*) (n, d), values (n, 1 + T).

    And the network, if it is part of the solution.
    """

    x0: np.ndarray
    points: np.ndarray
    gradients: np.ndarray
    stars: np.ndarray
    values: np.ndarray
    network: simlab.Network | None = None


def _nodes(path: Trajectory, found: Solution) -> _Nodes:
    n = path.n_nodes
    if path.spectrum is None:
        vectors = factor(found.gram)
        x, g = (np.moveaxis(rows @ vectors, 0, 1) for rows in (path.points, path.gradients))
        return _Nodes(vectors[0], x, g, vectors[1 : 1 + n], found.values)
    # Of two nodes, what they have in common, and what has the other sign at the second, in coordinates of their own.
    swapped = np.append(0, np.arange(1, len(found.gram)).reshape(-1, 2)[:, ::-1])
    common, apart = (factor((found.gram + sign * found.gram[swapped]) / 2) for sign in (1, -1))
    about = attain(path.sent[:, 0] @ apart, path.received[:, 0] @ apart, path.spectrum)
    turned = apart @ about.axes
    vectors = np.stack([np.hstack([common, turned * signs]) for signs in about.signs])  # (n, P, d)
    return _Nodes(
        vectors[0, 0], path.points[:, 0] @ vectors, path.gradients[:, 0] @ vectors, vectors[:, 1],
        np.repeat(found.values[:1], len(vectors), axis=0), about.network,
    )  # fmt: skip


def _instance(
    nodes: _Nodes, size: float, convexity: float, length: float, quadratic: bool
) -> tuple[simlab.Problem, np.ndarray]:
    x, g, stars, x0 = (length * rows for rows in (nodes.points, nodes.gradients, nodes.stars, nodes.x0))
    if quadratic:
        unit = quadratics(x, g - stars[:, None], stars, convexity / size)
        return simlab.Quadratic(size * unit.curvature, size * unit.linear), x0
    points = np.concatenate([np.zeros_like(stars)[:, None], x], axis=1)
    gradients = size * np.concatenate([stars[:, None], g], axis=1)
    return Interpolated(points, gradients, nodes.values * size * length**2, size, convexity), x0
