"""The best parameters, by the exact predictions: stability limit, fewest steps to a target, critical batch size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.generators import NETWORK, generator
from simlab.network import AnyNetwork
from simlab.network.law import Cycle
from simlab.network.process import SamplePath, checked_walk
from simlab.operations import Batch, present
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.step.graph import Counter
from theory.moments.affine import AffineStep, mode_matrices
from theory.moments.choose import law_of
from theory.moments.modes import network_modes
from theory.moments.noise import Noise
from theory.prediction import (
    ROUNDINGS,
    changes,
    check_nouns,
    checked_noise,
    expected_path,
    fixed,
    long_run,
    mean_square,
    represent,
    rounding,
    settle,
    settle_changing,
)
from theory.stability import require_lr, surrogate_of, unit_of_lr

MOMENTA = (0.0, 0.2, 0.35, 0.5, 0.6, 0.68, 0.75, 0.8, 0.85, 0.89, 0.92, 0.94, 0.96, 0.975, 0.985, 0.99)
STEP_SIZES = np.geomspace(1e-4, 20.0, 86)  # times 1/L
DENSEST = 4  # times as many of each are tried where that is ...
AFFORDABLE = 2e8  # ... no more than so many numbers of states to follow
BASINS = 16  # local minima of the error on that grid, from which the search descends
ROUNDS = 7  # of descent, each halving its grids
TRIED = 4  # candidates whose transient is computed exactly
PATHS = 4  # of networks that change, over which candidates are judged first
MARGINS = (1.0, 0.6, 0.3)  # of the target on those paths, where none reaches it in expectation
LATER = 4  # times the steps that they take to the target on those paths, they are followed exactly
DRAWN = 256  # steps of them at once
HALVINGS = 5  # of the search from the best of these, by exact transients
MANY = 1e8  # samples of a batch whose noise does not feed on itself


class Tuned(NamedTuple):
    """What `tune` found.

    Attributes
    ----------
    algorithm
        The algorithm with the best lr (and momentum).
    steps : int
        Iterations after which its expected mse first is at most the target.
    mse : float
        Expected mse there.
    """

    algorithm: Algorithm
    steps: int
    mse: float


@checks.keywords
def tune(
    problem: Problem,
    network: AnyNetwork,
    algorithm: Algorithm,
    *,
    target: float,
    batch_size: int | None = None,
    noise_std: float = 0.0,
    x0: Any = None,
    max_steps: int = 20_000,
) -> Tuned:
    """Step size (and momentum, if the algorithm has one) with the fewest steps to an expected mse of `target`.

    A search without a guarantee: the fewest steps that were found, not a proved minimum. All candidates of a grid (lr
    in ratio 1.15 from 1e-4/L to 20/L, by 16 momenta from 0 to 0.99) run until one reaches the target, at step K. From
    the 16 least local minima on that grid of min_{k<K} mse_k (low errors come and go as momentum oscillates) finer and
    finer grids then descend, together; whenever one reaches the target sooner, K falls, until none does. Without noise,
    where it is affordable, the same is tried from grids twice and four times as dense.

    Candidates are judged by the exact path of the mean and, with noise, by the variance that modes of the mean Hessian
    would have under it; the few best are then judged by their exact transient (exact as in `predict`), which is what is
    returned. Without noise the steps of every candidate are exact.

    On networks that change, on directed ones and for steps with phases, candidates are judged by the mean of 4 sample
    paths, noise included; from the best of the few judged exactly a pattern search goes on by exact transients.

    Parameters
    ----------
    problem, network
    algorithm : algorithm
        Its `lr` and `momentum` are not used, its other parameters are.
    target : float
        Expected (1/n) Σ ||x_i − x*||² to reach, > 0.
    batch_size, noise_std, x0
        As for `predict`.
    max_steps : int, default 20000
        Slower candidates are not considered.

    Returns
    -------
    Tuned

    Raises
    ------
    ValueError
        No candidate reaches the target, or all Hessians are zero.
    """
    start = check_nouns(problem, network, algorithm, x0)
    require_lr(algorithm)
    target = checks.real("target", target, above=0.0)
    max_steps = checks.integer("max_steps", max_steps, minimum=1)
    noise = checked_noise(problem, batch_size, noise_std)
    sampled = changes(network, algorithm, start) or not fixed(network).is_symmetric
    if changes(network, algorithm, start):
        settle_changing(problem, network, algorithm, start, noise)  # refuses what is not predicted
    else:
        AffineStep(surrogate_of(problem), fixed(network), algorithm, start)  # refuses what is not affine
    if mean_square(start - problem.known_minimizer) <= target:
        raise ValueError(f"target = {target:g} is not below the mse of the start; choose a smaller target")
    for margin in MARGINS if sampled else (1.0,):
        search = (_SampledSearch if sampled else _Search)(problem, network, algorithm, noise, start, margin * target)
        ranked, lowest = search.fastest(max_steps)
        if not ranked:
            raise ValueError(
                f"target = {target:g} is not reached within {max_steps} steps; the least expected mse seen is about "
                f"{lowest:.3g}: choose a larger target, a larger batch or more steps"
            )
        best: Tuned | None = None
        for momentum, lr in sorted(ranked, key=lambda c: ranked[c])[: 1 if noise.is_zero and not sampled else TRIED]:
            most = min(max_steps, LATER * ranked[momentum, lr]) if sampled else max_steps
            best = _sooner_of(best, _reached(search, search.candidate(momentum, lr), target, best, most))
        if best is not None:
            return _refined(search, best, target) if sampled else best
    raise ValueError(f"target = {target:g} is not reached within {max_steps} steps; choose a larger one, or more steps")


def _reached(search: _Search, candidate: Algorithm, target: float, best: Tuned | None, max_steps: int) -> Tuned | None:
    """When the exact transient of a candidate reaches the target, if not later than the best."""
    limit = max_steps if best is None else best.steps
    path = _expected_mse(search.problem, search.network, candidate, search.noise, search.start)
    for k, mse in enumerate(islice(path, limit + 1)):
        if mse <= target:
            return Tuned(candidate, k, mse)
        if not mse < 1e100:
            break
    return None


def _sooner_of(one: Tuned | None, other: Tuned | None) -> Tuned | None:
    """That of fewer steps, then of the smaller error."""
    found = [tuned for tuned in (one, other) if tuned is not None]
    return min(found, key=lambda tuned: (tuned.steps, tuned.mse), default=None)


def _refined(search: _Search, best: Tuned, target: float) -> Tuned:
    """Pattern search by exact transients, in the coordinates of the grid, halved wherever nothing is sooner."""
    axes = [np.array([0.0, 1.0])] + ([np.array([1.0, 0.0])] if len(search.momenta) > 1 else [])
    width = 0.14
    for _ in range(HALVINGS):
        while True:
            before = best
            at: Any = best.algorithm
            centre = _coordinates(np.array([getattr(at, "momentum", 0.0), at.lr]))
            for axis, sign in itertools.product(axes, (-1, 1)):
                momentum, lr = (float(value) for value in _values(centre + sign * width * axis))
                found = _reached(search, search.candidate(momentum, lr), target, best, best.steps)
                best = _sooner_of(best, found) or best
            if best.steps == before.steps:  # not for the error alone
                break
        width /= 2
    return best


@checks.keywords
def critical_batch_size(problem: Problem, network: AnyNetwork, algorithm: Algorithm) -> float:
    """B* at which the stationary variance equals the squared bias; beyond it larger batches buy little.

    It solves variance(B) = bias for real B > 0, with the exact dependence of the variance on B on least squares
    (elsewhere the variance is proportional to 1/B, to first order). On networks that change, what remains without
    noise counts as bias: `Prediction.bias` and `network_variance`, which no batch removes.

    Parameters
    ----------
    problem : Problem
        With samples.
    network : Network or NetworkProcess
    algorithm : algorithm
        Stable at its parameters.

    Returns
    -------
    float
        Not rounded, and possibly above the number of samples. Infinity where there is no bias (D2, PmSGD, equal
        minimizers), or none that exceeds rounding (`Prediction.error`); 0 where there is no variance.

    Raises
    ------
    ValueError
        The algorithm is not stable, its variance is infinite at every batch size, or the problem cannot be sampled.
    """
    from scipy.optimize import brentq

    start = check_nouns(problem, network, algorithm)
    if problem.n_samples is None:
        raise ValueError(f"problem = {problem!r} has no samples to draw batches from; pass one of data")
    found = (_changing_variance if changes(network, algorithm, start) else _variance)(
        problem, network, algorithm, start
    )
    bias, variance, error, size = found

    # One sample's variance, were the noise that of the limit.
    single = variance(MANY) * MANY
    if single <= problem.dim * (1e-11 * size) ** 2:
        return 0.0
    if bias <= problem.dim * (error * size) ** 2:
        return np.inf
    if not np.isfinite(single):
        raise ValueError(
            f"algorithm = {algorithm!r} has no critical batch size: its variance is infinite at every batch size, "
            "because the noise drives a direction that nothing pulls back; choose another algorithm"
        )
    # variance(B) falls, from infinity (where the second moment is not stable) towards single/B: 1/variance(B) rises
    # from 0, nearly as a straight line.
    low = high = single / bias
    while variance(low) <= bias:
        low /= 2
    while variance(high) >= bias:
        high *= 2
    return float(brentq(lambda b: 1 / variance(b) - 1 / bias, low, high, xtol=1e-300, rtol=1e-13))


class _LongRun(NamedTuple):
    """What remains of the error without noise, the variance by the batch size, and rounding as in `rounding`."""

    bias: float
    variance: Callable[[float], float]
    error: float
    size: float


def _variance(problem: Problem, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray) -> _LongRun:
    moments, limit = settle(problem, network, algorithm, start, additive=False)
    if not moments.rate < 1.0 or moments.drifts:
        raise ValueError(f"algorithm = {algorithm!r} does not converge (rate {moments.rate:.6g}); choose a smaller lr")
    points = moments.step.gradient_points(limit)

    @cache
    def variance(batch_size: float) -> float:
        return moments.stationary(Noise(problem, batch_size, 0.0), points).variance

    return _LongRun(mean_square(limit[0] - problem.known_minimizer), variance, *rounding(moments, limit))


def _changing_variance(problem: Problem, network: AnyNetwork, algorithm: Algorithm, start: np.ndarray) -> _LongRun:
    silent = Noise(problem, None, 0.0)
    moments = settle_changing(problem, network, algorithm, start, Noise(problem, MANY, 0.0))
    rate, reason = long_run(moments, silent)
    if reason:
        raise ValueError(f"algorithm = {algorithm!r} does not converge: {reason}")
    means, of_network = moments.means(), [spread.variance for spread in moments.settled(silent)]
    bias = float(np.mean([mean_square(x - problem.known_minimizer) for x in means]) + np.mean(of_network))

    @cache
    def variance(batch_size: float) -> float:
        noise = Noise(problem, batch_size, 0.0)
        if long_run(moments, noise)[1]:
            return np.inf
        return float(np.mean([spread.variance for spread in moments.settled(noise)]) - np.mean(of_network))

    size = float(np.max(np.abs([*means, start])))
    return _LongRun(bias, variance, ROUNDINGS * np.finfo(float).eps / (1 - rate), size)


def _expected_mse(
    problem: Problem, network: AnyNetwork, algorithm: Algorithm, noise: Noise, start: np.ndarray
) -> Iterator[float]:
    """Exact expected mse at steps 0, 1, 2, ..."""
    if changes(network, algorithm, start):
        path = settle_changing(problem, network, algorithm, start, noise).walk(noise)
        return (mean_square(x - problem.known_minimizer) + spread.variance for x, spread in path)
    if problem.is_quadratic:
        moments = represent(
            AffineStep(surrogate_of(problem), fixed(network), algorithm, start), noise.batch_size is None
        )
    else:
        moments, _ = settle(problem, network, algorithm, start, noise.batch_size is None)
    minimizer = problem.known_minimizer
    return (mean_square(x - minimizer) + spread.variance for x, spread in expected_path(problem, moments, noise))


class _Search:
    """Candidates (momentum, lr), all of a kind run at once."""

    def __init__(
        self, problem: Problem, network: Any, algorithm: Algorithm, noise: Noise, start: np.ndarray, target: float
    ) -> None:
        self.problem, self.network, self.algorithm, self.noise = problem, network, algorithm, noise
        self.start, self.target = start, target
        self.momenta = np.array(MOMENTA if "momentum" in algorithm._fields else (0.0,))
        self.lrs = STEP_SIZES * unit_of_lr(problem)

    def candidate(self, momentum: Any, lr: Any) -> Any:
        """The algorithm with these values."""
        return self.algorithm._replace(lr=lr, **({"momentum": momentum} if len(self.momenta) > 1 else {}))

    def fastest(self, horizon: int) -> tuple[dict[tuple[float, float], int], float]:
        """Steps to the target of the fastest candidates found, none if more than `horizon`; and the least mse seen."""
        ranked: dict[tuple[float, float], int] = {}
        lowest, density = np.inf, 1
        while horizon > 0:
            grid = self._grid(density)
            found, errors = self._run(grid.reshape(-1, 2), horizon)
            lowest = min(lowest, float(np.min(errors)))
            if not (found or ranked):
                break
            found |= self._descend(grid, errors.reshape(grid.shape[:2]), _sooner(horizon, found))
            ranked.update(found)
            horizon = _sooner(horizon, found)
            if not found:
                density *= 2
                dearer = density**2 * self._grid(1).size * horizon * self.start.size > AFFORDABLE
                if density > DENSEST or dearer or not self.noise.is_zero:
                    break
        return ranked, lowest

    def _grid(self, density: int) -> np.ndarray:
        """Candidates (momenta, lrs, 2), `density` times as many each way."""
        coordinates = (-np.log1p(-self.momenta), np.log(self.lrs))
        finer = [np.interp(np.arange(0, len(c) - 1 + 1e-9, 1 / density), np.arange(len(c)), c) for c in coordinates]
        return _values(np.stack(np.meshgrid(*finer, indexing="ij"), axis=-1))

    def _descend(self, grid: np.ndarray, errors: np.ndarray, horizon: int) -> dict[tuple[float, float], int]:
        """Candidates around the minima of a grid that reach the target within `horizon` steps, or ever fewer."""
        from scipy.ndimage import minimum_filter

        minima = np.argwhere((errors == minimum_filter(errors, 3, mode="nearest")) & np.isfinite(errors))
        minima = minima[np.argsort(errors[tuple(minima.T)])][:BASINS]
        centres = _coordinates(grid[tuple(minima.T)])
        spacing = np.abs(_coordinates(grid[-1, -1]) - _coordinates(grid[0, 0])) / np.maximum(
            np.array(grid.shape[:2]) - 1, 1
        )
        width = 1.2 * spacing
        points = np.array(
            [(i, j) for i in ((-1, -0.5, 0, 0.5, 1) if width[0] > 0 else (0,)) for j in (-1, -0.5, 0, 0.5, 1)]
        )
        found: dict[tuple[float, float], int] = {}
        for _ in range(ROUNDS):
            if horizon == 0:
                break
            around = _values(centres[:, None] + width * points)
            reached, errors = self._run(around.reshape(-1, 2), horizon)
            found.update(reached)
            horizon = _sooner(horizon, reached)
            best = np.argmin(errors.reshape(len(centres), -1), axis=1)
            centres, width = _coordinates(around[np.arange(len(centres)), best]), width / 2
        return found

    def _run(self, candidates: np.ndarray, horizon: int) -> tuple[dict[tuple[float, float], int], np.ndarray]:
        """Steps to the target of the fastest of the candidates (c, 2), and the least mse of each before that."""
        lowest = np.full(len(candidates), np.inf)
        with np.errstate(all="ignore"):
            for k, mse in enumerate(islice(self._errors(candidates), horizon), 1):
                reached = np.flatnonzero(mse <= self.target)
                if reached.size:
                    order = reached[np.argsort(mse[reached])]
                    return {(float(candidates[c, 0]), float(candidates[c, 1])): k for c in order}, lowest
                lowest = np.fmin(lowest, mse)
        return {}, lowest

    def _errors(self, candidates: np.ndarray) -> Iterator[np.ndarray]:
        """The mse of each of the candidates (c, 2) at steps 1, 2, ..."""
        table = candidates[:, :, None, None]
        running = self.candidate(table[:, 0], table[:, 1])
        state = running.init(np.broadcast_to(self.start, (len(candidates), *self.start.shape)))
        estimate = None if self.noise.is_zero else _VarianceEstimate(self, candidates)
        while True:
            state = running.step(state, self.problem, self.network, Batch())
            error = np.asarray(state[0]) - self.problem.known_minimizer
            mse = np.einsum("cnd,cnd->c", error, error) / len(self.start)
            yield mse if estimate is None else mse + estimate.advance(mse)


class _SampledSearch(_Search):
    """Candidates by the mean of sample paths of the network and the noise, the same for all."""

    def __init__(self, problem: Problem, network: Any, *given: Any) -> None:
        super().__init__(problem, network, *given)
        law = law_of(network)
        sure = isinstance(law, Cycle) and all(len(outcomes) == 1 for outcomes in law.steps)
        self.paths = 1 if sure and self.noise.is_zero else PATHS
        self._drawn: list[_SampledNetworks] = []
        self._walk = _SampledNetworks.of(network, self.paths)

    def _networks(self) -> Iterator[_SampledNetworks]:
        for k in itertools.count():
            if k == len(self._drawn):
                self._drawn.append(next(self._walk))
            yield self._drawn[k]

    def _errors(self, candidates: np.ndarray) -> Iterator[np.ndarray]:
        table = candidates[:, :, None, None]
        running = self.candidate(table[:, 0], table[:, 1])
        paths = self.paths
        state = running.init(np.broadcast_to(self.start, (paths, len(candidates), *self.start.shape)))
        constant, slope = _one_sample(self.noise)
        random, mse = np.random.default_rng(0), np.zeros(len(candidates))
        for k, now in enumerate(self._networks()):
            drawn = None
            if not self.noise.is_zero:
                unit = random.standard_normal((paths, 1, *self.start.shape))
                drawn = np.sqrt(constant + slope * mse)[..., None, None] * unit
            with present(now.awake, now.fires):
                new = running.step(state, self.problem, now, Batch(None, drawn, step=Counter(k)))
            state = type(new)(*(np.where(now.awake, a, b) for a, b in zip(new, state, strict=True)))
            error = np.asarray(state[0]) - self.problem.known_minimizer
            mse = np.einsum("rcnd,rcnd->c", error, error) / (paths * len(self.start))
            yield mse


class _SampledNetworks:
    """The networks of some paths in one step, for candidates on a second axis."""

    smallest_eigenvalue = -1.0

    def __init__(self, weights: np.ndarray, awake: np.ndarray, fires: np.ndarray, stochastic: str) -> None:
        self.weights, self.awake, self.fires = weights[:, None], awake[:, None, :, None], fires[:, None, :, None]
        self.n_nodes, self.stochastic = weights.shape[-1], stochastic

    @classmethod
    def of(cls, network: AnyNetwork, paths: int) -> Iterator[_SampledNetworks]:
        """Those of step 0, 1, 2, ..."""
        walks = [checked_walk(network, generator(0, path, NETWORK)) for path in range(paths)]
        while True:
            taken = [SamplePath(network.n_nodes, walk(DRAWN)) for walk in walks]
            for k in range(DRAWN):
                weights = np.stack([path[k] for path in taken])
                awake, fires = (np.stack([getattr(path, name)[k] for path in taken]) for name in ("awake", "fires"))
                yield cls(weights, awake, fires, network.stochastic)

    def mix(self, x: np.ndarray) -> np.ndarray:
        """W x: (r, c, n, d) -> (r, c, n, d)."""
        return self.weights @ x


def _sooner(horizon: int, found: dict[tuple[float, float], int]) -> int:
    """The most steps that are fewer than any found."""
    return min([horizon, *(steps - 1 for steps in found.values())])


def _coordinates(candidates: np.ndarray) -> np.ndarray:
    """Logarithms of 1/(1 − β) and γ, of (momentum, lr)."""
    return np.stack([-np.log1p(-candidates[..., 0]), np.log(candidates[..., 1])], axis=-1)


def _values(coordinates: np.ndarray) -> np.ndarray:
    """(momentum, lr), the inverse of `_coordinates`; momenta from 0 to 0.999."""
    return np.stack([np.clip(-np.expm1(-coordinates[..., 0]), 0.0, 0.999), np.exp(coordinates[..., 1])], axis=-1)


def _one_sample(noise: Noise) -> tuple[float, float]:
    """σ², c where one coordinate of a gradient has variance σ² + c mse: at the minimizer; by the samples' Hessians."""
    n, d = noise.problem.n_nodes, noise.problem.dim
    constant, slope = noise.std**2, 0.0
    if noise.batch_size is not None:
        constant += noise.problem.gradient_variance / noise.batch_size / d
        if noise.depends_on_state:
            unit = noise.spread(np.broadcast_to(np.eye(d), (n, d, d)))
            slope = float(np.einsum("ijj->", unit)) / n / d**2
    return constant, slope


class _VarianceEstimate:
    """Variance over time of many candidates as if every node had the mean Hessian and isotropic noise of equal size."""

    def __init__(self, search: _Search, candidates: np.ndarray) -> None:
        problem, network, noise = search.problem, search.network, search.noise
        n, d = problem.n_nodes, problem.dim
        graph = network_modes(network)
        eigenvalues = network.eigenvalues if graph is None else graph.eigenvalues
        self._weight = n / len(eigenvalues)  # where only the extreme eigenvalues are known, they stand for all
        curvature = np.linalg.eigvalsh(problem.hessian(problem.known_minimizer).mean(axis=0))
        table = candidates[:, :, None, None, None, None]
        many = search.candidate(table[:, 0], table[:, 1])
        consensus = np.arange(len(eigenvalues)) == 0
        shape = (len(candidates), len(eigenvalues), d)
        self._transition, drive = mode_matrices(
            many,
            *np.broadcast_arrays(eigenvalues[:, None], curvature[None, :], consensus[:, None], np.empty(shape))[:3],
        )
        self._forcing = drive[..., :, None] * drive[..., None, :]
        self._covariance = np.zeros_like(self._forcing)
        self._variance = np.zeros(shape[0])
        self._n = n
        self._constant, self._slope = _one_sample(noise)

    def advance(self, mean_mse: np.ndarray) -> np.ndarray:
        """Variance after one more step; `mean_mse` (candidates,) is the squared error of the mean state."""
        level = self._constant + self._slope * (mean_mse + self._variance)
        moved = self._transition @ self._covariance @ self._transition.swapaxes(-1, -2)
        self._covariance = moved + level[:, None, None, None, None] * self._forcing
        self._variance = self._weight * self._covariance[..., 0, 0].sum(axis=(1, 2)) / self._n
        return self._variance
