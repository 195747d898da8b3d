"""What a theorem is here, and the assumptions that several theorems share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

import simlab
from simlab.network import AnyNetwork, NetworkProcess
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.trace import Trace
from theory.transfer import limit_residual, transfer_on


class Check(NamedTuple):
    """One assumption, looked at: whether it holds for the case at hand, and the numbers that say so."""

    name: str
    holds: bool
    detail: str


class Start(NamedTuple):
    """Errors of the initial states, as `simlab` measures them."""

    mse: float
    consensus: float
    loss: float


class Setting(NamedTuple):
    """The case at hand: what was run, how, from where and, if it was run, to where.

    Attributes
    ----------
    problem, network, algorithm
        As given to `simlab.simulate`.
    batch_size, noise_std, steps, record_every
        As given to `simlab.simulate`.
    start : Start or None
        Errors at step 0.
    x0 : ndarray, shape (n, d), or None
        Initial states.
    final : ndarray, shape (replicates, n, d), or None
        States after the last step.
    """

    problem: Problem
    network: Any  # any network: theorems about one that is fixed and symmetric say so by `changing`
    algorithm: Algorithm
    batch_size: int | None = None
    noise_std: float = 0.0
    steps: int = 0
    record_every: int = 1
    start: Start | None = None
    x0: np.ndarray | None = None
    final: np.ndarray | None = None

    @property
    def kind(self) -> type:
        """The class of the algorithm."""
        return type(self.algorithm)

    def value(self, name: str) -> Any:
        """A hyperparameter of the algorithm."""
        return getattr(self.algorithm, name)

    @classmethod
    def of(cls, trace: Trace) -> Self:
        """The setting of a run.

        Raises
        ------
        TypeError
            It is no trace.
        ValueError
            The trace was loaded from disk, without its problem, network and algorithm; or a target ended a random run,
            so that its last errors are not those of a given step.
        """
        if not isinstance(trace, simlab.Trace):
            raise TypeError(f"trace = {trace!r} is not a Trace; pass a single one that simlab.simulate returned")
        problem, network, algorithm = nouns(trace)
        about = trace.provenance
        random = about["batch_size"] is not None or about["noise_std"] > 0 or isinstance(network, NetworkProcess)
        if trace.stopped and random:
            raise ValueError(
                f"trace = {trace!r} ended where {trace.stopped} was met: its errors there were chosen, and no "
                "expectation is about them; judge a run of so many steps, such as simlab.resume(trace)"
            )
        first = trace.frame[trace.frame["step"] == 0].mean(numeric_only=True)
        return cls(
            problem,
            network,
            algorithm,
            about["batch_size"],
            about["noise_std"],
            about["steps"],
            about["record_every"],
            Start(*(float(first.get(name, np.nan)) for name in Start._fields)),
            trace.x0,
            trace.x,
        )


def nouns(trace: Trace) -> tuple[Problem, AnyNetwork, Algorithm]:
    """What was simulated; ValueError of a trace that was loaded without it."""
    if trace.problem is None or trace.network is None or trace.algorithm is None:
        raise ValueError(
            f"trace = {trace!r} was loaded without its problem, network and algorithm; attach them with "
            "dataclasses.replace(trace, problem=..., network=..., algorithm=...)"
        )
    return trace.problem, trace.network, trace.algorithm


class Theorem(NamedTuple):
    """A statement that a run can be held against.

    Attributes
    ----------
    name, statement, reference : str
    assumptions : callable, Setting -> list of Check
        Every assumption, in an order in which a failed one may leave the later ones out.
    constants : callable, Setting -> dict
        The arguments of `bound`, computed from the setting; asked for only where every assumption holds.
    bound : callable
        The bound as a plain formula of its constants, numbers or arrays.
    measured : callable, Trace -> ndarray (replicates,)
        What the theorem bounds, in each replicate; the statement is about its expectation.
    relation : {"<=", ">=", "=="}
        measured relation bound.
    random : bool
        Whether what is measured depends on the noise of the run.
    changing : bool, default False
        Whether it is about networks that change, or are directed, too; if not, it is looked at only where W is one
        symmetric matrix.
    """

    name: str
    statement: str
    reference: str
    assumptions: Callable[[Setting], list[Check]]
    constants: Callable[[Setting], dict[str, Any]]
    bound: Callable[..., Any]
    measured: Callable[[Any], np.ndarray]
    relation: str = "<="
    random: bool = True
    changing: bool = False


def first_failure(checks: Sequence[Check]) -> Check | None:
    """The first assumption that does not hold."""
    return next((check for check in checks if not check.holds), None)


def in_order(setting: Setting, *checks: Callable[[Setting], Check]) -> list[Check]:
    """Look at assumptions one after the other, up to the first that fails: later ones may not be computable then."""
    looked_at = []
    for check in checks:
        looked_at.append(check(setting))
        if not looked_at[-1].holds:
            break
    return looked_at


# What several theorems assume


def constant_hyperparameters(setting: Setting) -> Check:
    """No hyperparameter is a schedule."""
    a = setting.algorithm
    schedules = [f"{name} = {getattr(a, name)!r}" for name in a._fields if callable(getattr(a, name))]
    return Check("constant hyperparameters", not schedules, ", ".join(schedules) or repr(a))


def no_l1_term(setting: Setting) -> Check:
    """What is minimized, and recorded as loss and mse, is f alone."""
    l1 = setting.problem.l1
    return Check("no l1 term", l1 == 0, f"l1 = {l1:g}; the theorem is about f without l1 ||x||_1")


def exact_gradients(setting: Setting) -> Check:
    """Full batch, no noise."""
    exact = setting.batch_size is None and setting.noise_std == 0
    return Check("exact gradients", exact, f"batch_size = {setting.batch_size}, noise_std = {setting.noise_std:g}")


def convex(setting: Setting) -> Check:
    """Every f_i is convex."""
    return Check("convex", bool(setting.problem.is_convex), f"is_convex = {setting.problem.is_convex} for every f_i")


def quadratic(setting: Setting) -> Check:
    """Every f_i is quadratic."""
    is_quadratic = bool(setting.problem.is_quadratic)
    return Check("quadratic", is_quadratic, f"is_quadratic = {is_quadratic} for {type(setting.problem).__name__}")


def smooth(setting: Setting) -> Check:
    """Every f_i has a known Lipschitz constant L of its gradient."""
    smoothness = known_constant(setting.problem, "smoothness")
    return Check("smooth", bool(np.isfinite(smoothness)), f"L = {smoothness:.4g}")


def strongly_convex(setting: Setting) -> Check:
    """The mean objective f is strongly convex, beyond rounding."""
    mu, smoothness = (known_constant(setting.problem, name) for name in ("strong_convexity", "smoothness"))
    return Check("strongly convex", bool(mu > 1e-12 * smoothness), f"mu = {mu:.4g} of f")


def has_transfer(setting: Setting) -> Check:
    """The algorithm has a bias transfer function on this network."""
    name = "bias transfer function"
    if hasattr(setting.algorithm, "compressor"):
        return Check(name, False, f"{type(setting.algorithm).__name__} compresses its messages")
    try:
        transfer = transfer_on(setting.network, setting.algorithm)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        return Check(name, False, str(error))
    return Check(name, True, f"{transfer.min(initial=np.inf):.4g} <= φ <= {transfer.max(initial=-np.inf):.4g}")


def at_limit(setting: Setting) -> Check:
    """The run has come to rest at the limit that the theorem is about: to 1e-6 of its disagreement, or to rounding."""
    name = "limit reached"
    if setting.final is None:
        return Check(name, False, "no final states: pass a run")
    if not np.all(np.isfinite(setting.final)):
        return Check(name, False, "the states are not finite")
    x = setting.final.astype(np.float64)
    residual = float(np.max(limit_residual(setting.problem, setting.network, setting.algorithm, x)))
    spread = float(np.sqrt(np.max(np.sum((x - x.mean(axis=-2, keepdims=True)) ** 2, axis=(-2, -1))) / x.shape[-2]))
    # Rounding of states of this size; with float32 states there is no finer limit to reach.
    finest = 100 * np.finfo(setting.final.dtype).eps * (1 + float(np.abs(x).max()))
    tolerance = 1e-6 * spread + finest
    return Check(name, residual <= tolerance, f"residual {residual:.3g} against {tolerance:.3g}; run more steps")


def independent_mixing(setting: Setting) -> Check:
    """Doubly stochastic W_k, drawn independently (or one that is fixed), p > 0, all nodes computing at each step."""
    return _mixing(setting, periodic=False)


def periodic_mixing(setting: Setting) -> Check:
    """As `independent_mixing`, or in a cycle: p of its windows."""
    return _mixing(setting, periodic=True)


def _mixing(setting: Setting, periodic: bool) -> Check:
    from theory.mixing import mixing_window

    name, network = "mixing", setting.network
    if network.stochastic != "double":
        return Check(name, False, f"{network.name} is not doubly stochastic")
    if isinstance(network, NetworkProcess) and (network.awake < network.n_nodes or network.asynchronous):
        return Check(name, False, f"{network.name} lets nodes sleep; all have to compute at each step")
    try:
        window = mixing_window(network)
    except ValueError as error:
        return Check(name, False, str(error))
    if not window.independent:
        return Check(name, False, f"the matrices of {network.name} depend on those before")
    if not window.all_compute:
        return Check(name, False, f"{network.name} lets nodes sleep; all have to compute at each step")
    if window.steps > 1 and not periodic:
        return Check(name, False, f"{network.name} repeats with period {window.steps}; it has to be drawn anew")
    return Check(name, window.p > 1e-12, f"p = {window.p:.4g} over {window.steps} step(s), must be positive")


def consensual_start(setting: Setting) -> Check:
    """All nodes start at one point."""
    name = "equal initial states"
    if setting.start is None:
        return Check(name, False, "the start is not known: pass a run")
    start = setting.start
    return Check(name, start.consensus <= 1e-24 * (1 + start.mse), f"consensus error {start.consensus:.3g} at step 0")


def known_constant(problem: Problem, name: str) -> float:
    """A constant of a problem, NaN where it has none."""
    try:
        return float(getattr(problem, name))
    except (AttributeError, NotImplementedError, ValueError):
        return float("nan")


def last(trace: Trace, column: str) -> np.ndarray:
    """A metric at the last recorded step of each replicate, infinite where the replicate diverged."""
    values = trace.frame.groupby("replicate")[column].last()
    diverged = [int(r) for r in trace.provenance.get("diverged", {})]
    return np.where(np.isin(values.index, diverged), np.inf, values.to_numpy(dtype=float))
