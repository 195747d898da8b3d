"""predict(problem, network, algorithm, ...) -> Prediction: what a run must do, before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from simlab import checks
from simlab.markup import described
from simlab.network import AnyNetwork, Network, NetworkProcess
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.run import settings
from simlab.step.graph import step_graphs
from theory.moments.affine import AffineStep, Surrogate, narrow_fields
from theory.moments.budget import Budget, CostError
from theory.moments.changing import phases_of
from theory.moments.choose import ChangingMoments, changing_moments
from theory.moments.dense import INFINITE, NONE, Dense, Spread
from theory.moments.krylov import Krylov
from theory.moments.minibatches import residual_work
from theory.moments.modes import Modes, network_modes
from theory.moments.noise import Noise
from theory.moments.protocol import Moments

if TYPE_CHECKING:
    import pandas as pd

DENSE_STATES = 2000  # up to here matrices are formed
AFFORDABLE = 2.5e11  # multiplications spent on the expectation at one step: some ten seconds of one core
CALLED = 2.5e6  # multiplications in whose time a step of few states is called: some 100 µs
STREAMED = 200  # the same for a step of the algorithm to read and write one number of its states
SAMPLED = 40  # the same for each of the n m d² products of samples' gradients
NEWTON_STEPS = 50
SURELY = 1e-30  # what is left of the start where a stationary state stands for a transient
UNDECIDED = 1e-11  # a spectral radius as near to 1 may be 1
ROUNDINGS = 64  # of one step, in units of the machine precision


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a run must do; errors as in `simlab.Trace`, expectations over the noise.

    Attributes
    ----------
    stable : bool
        Whether the expected mse stays bounded; if not, `reason` says why.
    rate : float
        Asymptotic factor a step by which the mean state approaches its limit: the spectral radius of the step without
        the quantities that it conserves (for D2 and the like), which the initial state fixes. Over a network that
        changes the mean-square one, the root of the factor of second moments, which is at least that of the mean.
    limit : ndarray, shape (n, d)
        Where the mean states tend to from x0, on average over a period; NaN if the mean diverges.
    bias : float
        (1/n) Σ ||x_i,∞ − x*||².
    network_variance : float
        (1/n) Σ E||x_i − E x_i||² in the stationary state of the run without noise: what the network's randomness does.
    variance : float
        What the noise of gradients adds to it.
    mse : float
        bias + network_variance + variance.
    consensus : float
        Stationary (1/n) E||X̃||², of the limit and the noise together.
    first_order : bool
        False: exact. True: the problem is not quadratic, so that `rate` and `variance` come from the linearization at
        the limit of the noiseless run (which is exact); or its mini-batch noise was frozen at that limit.
    reason : str
        Empty if stable.
    phases : DataFrame or None
        Where steps repeat with a period (cycles, local steps): the stationary errors after k steps, k modulo the
        period, columns phase, bias, network_variance, variance, mse, consensus. All others are their means.
    error : float
        Estimate, from above, of what rounding leaves in the numbers: relative in 1 − rate and variance, in `limit` and
        the root of `bias` relative to the largest entry of limit, start and a step from 0. It goes with 1/(1 − rate)
        and more where the step is far from normal: gradient tracking has 1/gap². From 1 on, nothing is known. Shown
        where it exceeds the digits that are. Not in it: mini-batches but little larger than those at which the variance
        is infinite; and beyond `DENSE_STATES` what the step lacks of being normal.
    """

    stable: bool
    rate: float
    limit: np.ndarray = field(repr=False)
    bias: float
    network_variance: float
    variance: float
    mse: float
    consensus: float
    first_order: bool
    reason: str
    error: float
    _path: Callable[[], Iterator[tuple[np.ndarray, Spread]]] = field(repr=False)
    _minimizer: np.ndarray = field(repr=False)
    phases: pd.DataFrame | None = field(repr=False, default=None)

    def __repr__(self) -> str:
        names = ("bias", *(["network_variance"] if self.network_variance else []), "variance", "mse", "consensus")
        numbers = ", ".join(f"{name}={getattr(self, name):.6g}" for name in names)
        rate = _digits(self.rate)
        error = f", error={self.error:.2g}" if self.error > 1e-6 else ""
        why = f", reason={self.reason!r}" if self.reason else ""
        return f"Prediction(stable={self.stable}, rate={rate}, {numbers}, first_order={self.first_order}{error}{why})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        names = ("stable", "rate", "bias", "variance", "mse", "consensus", "first_order", "reason", "error")
        return described("Prediction", {name: getattr(self, name) for name in names if getattr(self, name) != ""})

    def transient(self, steps: int, record_every: int = 1) -> pd.DataFrame:
        """Expected errors on the way, of stable and unstable runs alike.

        Parameters
        ----------
        steps : int
            Iterations, at least 0.
        record_every : int, default 1
            Rows are at steps 0, `record_every`, 2 `record_every`, ... and at the last one, as in a trace.

        Returns
        -------
        pandas.DataFrame
            Columns step, mse, consensus.
        """
        import pandas as pd

        steps = checks.integer("steps", steps, minimum=0)
        record_every = checks.integer("record_every", record_every, minimum=1)
        rows = [
            (k, mean_square(x - self._minimizer) + spread.variance, disagreement(x) + spread.consensus)
            for k, (x, spread) in enumerate(islice(self._path(), steps + 1))
            if k % record_every == 0 or k == steps
        ]
        return pd.DataFrame(rows, columns=["step", "mse", "consensus"])


@checks.keywords
def predict(
    problem: Problem,
    network: AnyNetwork,
    algorithm: Algorithm,
    *,
    batch_size: int | None = None,
    noise_std: float = 0.0,
    x0: Any = None,
) -> Prediction:
    """Limit, rate, bias and stationary variance of an algorithm, from its own step function.

    If every f_i is quadratic, a step is an affine map z⁺ = Tz + Nξ + u of the algorithm's state. T, N and u are read
    off the step by applying it to unit states, so that algorithms defined elsewhere are predicted like the package's
    own. The limit solves (I − T)z = u on the states that can be reached from x0; the stationary covariance solves S =
    TSTʹ + N E[Q] Nʹ with Q the gradients' covariance, for mini-batches on least squares with its exact dependence on
    the state. Where all Hessians are equal, modes of the network and of the Hessian are solved one by one.

    For other smooth convex problems the limit is exact (Newton's method on z = step(z)), and rate and variance are
    those of the linearization at the limit: first order in the noise.

    Parameters
    ----------
    problem : Problem
        Quadratics with any Hessians that have a minimizer; or smooth and convex.
    network : Network
    algorithm : NamedTuple with `init` and `step`
        Constant hyperparameters; a step that is affine in its state where the gradients are.
    batch_size : int, optional
        Samples a node draws each step, with replacement; None is the full batch.
    noise_std : float, default 0.0
        Standard deviation of Gaussian noise added to each coordinate of each gradient.
    x0 : array (n, d) or (d,), optional
        Initial states; zeros if None.

    Returns
    -------
    Prediction

    Raises
    ------
    TypeError, ValueError
        For input that cannot be predicted: compressed or thresholded steps, schedules, problems that are neither
        quadratic nor convex.

    Examples
    --------
    >>> import simlab, theory
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
    >>> prediction = theory.predict(problem, simlab.topologies.grid(8), simlab.DecentLaM(lr=0.01), batch_size=10)
    >>> prediction.stable
    True
    """
    start = check_nouns(problem, network, algorithm, x0)
    noise = checked_noise(problem, batch_size, noise_std)
    if changes(network, algorithm, start):
        return _predict_changing(problem, network, algorithm, start, noise)
    moments, limit = settle(problem, network, algorithm, start, additive=batch_size is None)
    step = moments.step
    _check_one_gradient(algorithm, start, batch_size, step.gradient_calls)
    path = partial(expected_path, problem, moments, noise)
    first_order = not problem.is_quadratic or not noise.is_exact
    minimizer = problem.known_minimizer
    reason = _instability(moments)
    if reason:
        nowhere = np.full(start.shape, np.nan)
        spread = NONE if noise.is_zero else INFINITE
        return Prediction(
            False,
            moments.rate,
            nowhere,
            np.inf,
            0.0,
            spread.variance,
            np.inf,
            np.inf,
            first_order,
            reason,
            np.nan,
            path,
            minimizer,
        )
    x = limit[0]
    spread = NONE if noise.is_zero else moments.stationary(noise, step.gradient_points(limit))
    if not np.isfinite(spread.variance):
        reason = "the mean converges but the variance grows without end: the noise drives a direction that nothing " \
                 "pulls back, or mini-batch noise that grows with the error feeds on itself"  # fmt: skip
    bias = mean_square(x - minimizer)
    return Prediction(
        not reason,
        moments.rate,
        x,
        bias,
        0.0,
        spread.variance,
        bias + spread.variance,
        disagreement(x) + spread.consensus,
        first_order,
        reason,
        rounding(moments, limit)[0],
        path,
        minimizer,
    )


def changes(network: AnyNetwork, algorithm: Algorithm, start: np.ndarray) -> bool:
    """Whether a step is not the same at all times."""
    return isinstance(network, NetworkProcess) or phases_of(algorithm, start) > 1 or bool(narrow_fields(algorithm))


def fixed(network: AnyNetwork) -> Network:
    """`network`, which does not change."""
    assert isinstance(network, Network)  # see `changes`
    return network


def _predict_changing(
    problem: Problem, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray, noise: Noise
) -> Prediction:
    """Of steps that are not the same at all times, see `predict`."""
    import pandas as pd

    moments = settle_changing(problem, network, algorithm, start, noise)
    silent = Noise(problem, None, 0.0)
    rate, reason = long_run(moments, noise)
    minimizer = problem.known_minimizer

    def predicted(limit: np.ndarray, errors: Any, error: float) -> Prediction:
        first_order = not noise.is_exact
        mean = errors.mean()
        phases = errors if len(errors) > 1 else None
        bias, network_variance, variance, mse, consensus = (float(mean[name]) for name in columns[1:])
        return Prediction(
            not reason,
            rate,
            limit,
            bias,
            network_variance,
            variance,
            mse,
            consensus,
            first_order,
            reason,
            error,
            partial(moments.walk, noise),
            minimizer,
            phases,
        )

    columns = ["phase", "bias", "network_variance", "variance", "mse", "consensus"]
    if reason:
        nowhere = pd.DataFrame([[0, *5 * [np.inf]]], columns=columns)
        return predicted(np.full(start.shape, np.nan), nowhere, np.nan)
    means, of_network = moments.means(), moments.settled(silent)
    total = of_network if noise.is_zero else moments.settled(noise)
    rows = []
    for k, (x, own, whole) in enumerate(zip(means, of_network, total, strict=True)):
        bias, added = mean_square(x - minimizer), max(whole.variance - own.variance, 0.0)
        rows.append((k, bias, own.variance, added, bias + own.variance + added, disagreement(x) + whole.consensus))
    error = ROUNDINGS * np.finfo(float).eps / (1 - rate)
    return predicted(np.mean(means, axis=0), pd.DataFrame(rows, columns=columns), error)


def long_run(moments: ChangingMoments, noise: Noise) -> tuple[float, str]:
    """`Prediction.rate` and `reason` of steps that are not the same at all times."""
    rate, reason = moments.mean_rate, ""
    if not rate < 1.0:
        reason = f"the mean diverges: its factor a step is {_digits(rate)}; choose a smaller lr"
    elif moments.drifts:
        reason = "the mean drifts without end along a direction that every step leaves as it is"
    elif moments.walks(noise):
        reason = "the variance grows without end: chance drives a direction that nothing pulls back"
    else:
        rate = max(rate, moments.mean_square_rate(noise))
        if not rate < 1.0:
            reason = f"the mean converges, but the mean square diverges: its factor a step is {_digits(rate)}, " \
                     "squared; choose a smaller lr"  # fmt: skip
    return rate, reason


def settle_changing(
    problem: Problem, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray, noise: Noise
) -> ChangingMoments:
    """The moments of steps that are not the same at all times; ValueError where they are not predicted."""
    if not problem.is_quadratic:
        raise ValueError(
            f"problem = {problem!r} is not quadratic, and what changes from step to step is predicted on quadratics "
            "only; simulate it"
        )
    moments = changing_moments(Surrogate.of(problem), network, algorithm, start, noise.batch_size is None)
    _check_one_gradient(algorithm, start, noise.batch_size, moments.gradient_calls)
    return moments


def _changing_errors(
    problem: Problem, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray, noise: Noise, steps: int
) -> tuple[float, float]:
    """`expected_errors` of steps that are not the same at all times."""
    moments = settle_changing(problem, network, algorithm, start, noise)
    budget = Budget(AFFORDABLE)
    minimizer = problem.known_minimizer
    work = steps * (CALLED + moments.step_work)
    if not budget.allows(work):
        rate = moments.mean_rate if moments.drifts or moments.walks(noise) else moments.mean_square_rate(noise)
        if not (rate < 1 and rate ** (2 * steps) < SURELY):
            raise ValueError(
                f"{budget.refusal(work, f'the transient of {steps} steps')}; if you can wait, ask "
                f"theory.predict(...).transient({steps})"
            )
        phase = steps % moments.period
        x, spread = moments.means()[phase], moments.settled(noise)[phase]
    else:
        x, spread = next(islice(moments.walk(noise), steps, None))
    return mean_square(x - minimizer) + spread.variance, disagreement(x) + spread.consensus


def rounding(moments: Moments, limit: np.ndarray) -> tuple[float, float]:
    """`Prediction.error`, and the size to which it is relative in `limit` (k, n, d)."""
    step = moments.step
    size = max(float(np.max(np.abs(z), initial=0.0)) for z in (limit, step.start, step(0 * limit)))
    return ROUNDINGS * np.finfo(float).eps * max(moments.amplification, 1 / (1 - moments.rate)), size


@checks.keywords
def expected_errors(
    problem: Problem,
    network: AnyNetwork,
    algorithm: Algorithm,
    steps: int,
    *,
    batch_size: int | None = None,
    noise_std: float = 0.0,
    x0: Any = None,
) -> tuple[float, float]:
    """Exact expected mse and consensus after `steps` steps, as in the last row of `Prediction.transient(steps)`.

    It takes the cheapest way: without limit, rate and stationary state where the transient is short; by doubling under
    additive noise; by the stationary state where that is surely reached.

    Raises
    ------
    TypeError, ValueError
        As `predict`; and if the problem is not quadratic, or the transient would cost more than `AFFORDABLE`.
    """
    start = check_nouns(problem, network, algorithm, x0)
    noise = checked_noise(problem, batch_size, noise_std)
    steps = checks.integer("steps", steps, minimum=0)
    if not problem.is_quadratic:
        raise ValueError("exactness: the problem is not quadratic, so that predictions are of first order at best")
    if not noise.is_exact:
        raise ValueError(
            f"exactness: how the mini-batch noise of a {type(problem).__name__} depends on the states is not known, so "
            "that predictions are of first order at best"
        )
    if changes(network, algorithm, start):
        return _changing_errors(problem, network, algorithm, start, noise, steps)
    moments = represent(AffineStep(Surrogate.of(problem), fixed(network), algorithm, start), batch_size is None)
    _check_one_gradient(algorithm, start, batch_size, moments.step.gradient_calls)
    budget = Budget(AFFORDABLE)
    transient = f"the transient of {steps} steps"
    try:
        budget.spend(steps * _mean_work(moments), transient)
        every_step = steps * _covariance_work(moments, noise)
        if budget.allows(every_step):
            x, spread = next(islice(expected_path(problem, moments, noise), steps, None))
        else:
            found = _late_spread(problem, moments, noise, steps, budget)
            if found is None:
                raise budget.refusal(every_step, transient)
            x, spread = next(islice(_mean_path(problem, moments), steps, None))[0], found
    except CostError as error:
        raise ValueError(f"{error}; if you can wait, ask theory.predict(...).transient({steps})") from None
    return mean_square(x - problem.known_minimizer) + spread.variance, disagreement(x) + spread.consensus


def _mean_work(moments: Moments) -> float:
    """Multiplications in whose time the mean states take a step."""
    n, d = moments.step.shape[1:]
    return CALLED + STREAMED * moments.step.size + 15.0 * n * d**2


def _covariance_work(moments: Moments, noise: Noise) -> float:
    """Multiplications that the covariance takes a step, or the time of as many."""
    if noise.is_zero:
        return 0.0
    size, drives = moments.step.size, moments.step.start[0].size
    if isinstance(moments, Modes):
        return CALLED + STREAMED * float(size * moments.step.shape[0])
    if isinstance(moments, Krylov):
        return float(drives * size * (sum(moments.step.shape) + STREAMED))
    if noise.batch_size is None:
        return CALLED + float(drives * size**2)
    return _samples_work(noise) + residual_work(drives, size)


def _samples_work(noise: Noise) -> float:
    """Multiplications in whose time the covariance of mini-batches is formed."""
    problem = noise.problem
    return 2 * CALLED + SAMPLED * float(problem.counts.sum() * problem.dim**2)


def _late_spread(problem: Problem, moments: Moments, noise: Noise, steps: int, budget: Budget) -> Spread | None:
    """Spread after many steps; None where no quicker way is known than every step.

    Raises
    ------
    CostError
        The quicker way costs more than `budget`.
    """
    if not isinstance(moments, Dense):
        return None
    if noise.batch_size is None:
        budget.spend(
            5.0 * moments.step.size**3 * steps.bit_length(), f"the covariance after {steps} steps, by doubling"
        )
        return moments.additive_spread(noise.std, steps)
    return moments.settled_spread(noise, _mean_path(problem, moments), steps, budget)


def settle(
    problem: Problem, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray, additive: bool = True
) -> tuple[Any, np.ndarray]:
    """The moments of the step (linearized at the limit if need be) and its fixed point z_∞ (k, n, d) from `start`."""
    if problem.is_quadratic:
        moments = represent(AffineStep(Surrogate.of(problem), fixed(network), algorithm, start), additive)
        return moments, moments.fixed_point()
    if not problem.is_convex:
        raise ValueError(
            f"problem = {problem!r} is neither quadratic nor convex; predict one that is, or simulate this one"
        )
    # Newton's method on z = step(z): the quadratics that agree with f_i at the gradient points, solved exactly.
    points = np.tile(problem.known_minimizer, (problem.n_nodes, 1))
    error = np.inf
    for _ in range(NEWTON_STEPS):
        moments = represent(AffineStep(Surrogate.at(problem, points), fixed(network), algorithm, start), additive)
        if moments.step.gradient_calls != 1:
            raise ValueError(
                f"algorithm: {type(algorithm).__name__}.step asks for {moments.step.gradient_calls} gradients, which "
                "is predicted on quadratics only; simulate it"
            )
        limit = moments.fixed_point()
        wanted = moments.step.gradient_points(limit)
        before, error = error, float(np.max(np.abs(wanted - points)))
        size = float(np.max(np.abs([points, wanted])))
        if error <= 1e-14 * size or (error < 1e-9 * size and error > 0.5 * before):
            return moments, limit
        points = wanted if error < before else (points + wanted) / 2
    raise ValueError(
        f"algorithm = {algorithm!r}: no fixed point of its step was found in {NEWTON_STEPS} Newton steps (last change "
        f"{error:.3g}); choose a smaller lr, or simulate it"
    )


def represent(step: AffineStep, additive: bool = True) -> Any:
    """The cheapest exact way to the moments of a step; `additive`: the noise is the same at all nodes and states."""
    if additive and len(step.surrogate.curvature) == 1 and getattr(step.network, "is_symmetric", False):
        graph = network_modes(step.network)
        if graph is not None and step.has_modes:
            modes = Modes(step, graph)
            if modes.agree():
                return modes
    return Dense(step, not additive) if step.size <= DENSE_STATES else Krylov(step)


def expected_path(problem: Problem, moments: Moments, noise: Noise) -> Iterator[tuple[np.ndarray, Spread]]:
    """Mean x (n, d) and its spread at steps 0, 1, 2, ...; the mean takes the problem's own noiseless steps."""
    path = _mean_path(problem, moments)
    return ((z[0], NONE) for z in path) if noise.is_zero else moments.transient(noise, path)


def _mean_path(problem: Problem, moments: Moments) -> Iterator[np.ndarray]:
    """Mean states (k, n, d) at steps 0, 1, 2, ..."""
    return iterate(partial(moments.step.of, problem), moments.step.start)


def checked_noise(problem: Problem, batch_size: int | None, noise_std: float) -> Noise:
    """The noise of arguments as `simlab.simulate` takes them."""
    return Noise(
        problem, settings.check_batch_size(problem, batch_size), checks.real("noise_std", noise_std, minimum=0.0)
    )


def _check_one_gradient(algorithm: Algorithm, start: np.ndarray, batch_size: float | None, calls: int) -> None:
    """ValueError where moments under mini-batches are not known: they are where a step takes one gradient on them.

    `calls` is how many a step without phases takes; others are traced.
    """
    if batch_size is None:
        return
    name = type(algorithm).__name__
    try:
        graphs = step_graphs(algorithm, algorithm.init(np.array(start)), sampled=True).graphs
    except TypeError:
        graphs = ()  # what cannot be traced may yet be affine
    calls = max([calls, *(graph.count("gradient") for graph in graphs)])
    if any(graph.count("saga") for graph in graphs):
        raise ValueError(
            f"batch_size = {batch_size}: {name}.step keeps gradients of its samples, and mini-batches are predicted "
            "for gradients that are forgotten; predict with batch_size=None"
        )
    if calls == 0:
        raise ValueError(f"batch_size = {batch_size}: {name}.step asks for no gradient; predict with batch_size=None")
    if calls > 1:
        raise ValueError(
            f"batch_size = {batch_size}: {name}.step asks for {calls} gradients, whose errors on one mini-batch "
            "multiply; predict with batch_size=None and noise_std"
        )


def _instability(moments: Moments) -> str:
    if not moments.rate < 1.0:
        doubt = ", as far as rounding lets see" if moments.rate < 1.0 + UNDECIDED else ""
        return f"the mean diverges{doubt}: the step's spectral radius is {_digits(moments.rate)}; choose a smaller lr"
    if moments.drifts:
        return "the mean drifts without end along a direction that the step leaves as it is"
    return ""


def _digits(rate: float) -> str:
    """A rate, by its distance from 1 where that is all there is to see."""
    text = f"{rate:.6g}"
    return f"1{rate - 1:+.3g}" if text == "1" and rate != 1 else text


def check_nouns(problem: Problem, network: AnyNetwork, algorithm: Algorithm, x0: Any = None) -> np.ndarray:
    """Check what is predicted, as `simlab.simulate` does; return the initial states (n, d)."""
    if isinstance(algorithm, list | tuple) and not hasattr(algorithm, "_fields"):
        raise TypeError("algorithm is a list of algorithms; predict them one at a time")
    settings.check_nouns(problem, network, [algorithm])
    settings.hyperparameters(algorithm, steps=1)
    return settings.initial_state(problem, x0, np.dtype(np.float64))


def iterate(function: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> Iterator[np.ndarray]:
    """z, function(z), function(function(z)), ...; what has come to rest to the last bit is asked no more."""
    while True:
        yield z
        new = function(z)
        if np.array_equal(new, z):
            yield from repeat(new)
        z = new


def mean_square(x: np.ndarray) -> float:
    """(1/n) Σ ||x_i||² over the rows of x (n, d)."""
    return float(np.sum(x * x) / len(x))


def disagreement(x: np.ndarray) -> float:
    """(1/n) Σ ||x_i − x̄||²."""
    return mean_square(x - x.mean(axis=0))
