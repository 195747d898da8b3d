"""The best parameters, by the exact predictions: stability limit, fewest steps to a target, critical batch size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.operations import Batch
from theory.moments.affine import AffineStep, mode_matrices
from theory.moments.modes import graph_modes
from theory.moments.noise import Noise
from theory.prediction import check_nouns, checked_noise, expected_path, mean_square, represent, rounding, settle
from theory.stability import require_lr, surrogate_of, unit_of_lr

MOMENTA = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
STEP_SIZES = np.geomspace(1e-4, 5.0, 33)  # times 1/L
TRIED = 4  # candidates whose transient is computed exactly
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

    algorithm: Any
    steps: int
    mse: float


def tune(
    problem: Any,
    network: Any,
    algorithm: Any,
    *,
    target: float,
    batch_size: int | None = None,
    noise_std: float = 0.0,
    x0: Any = None,
    max_steps: int = 20_000,
) -> Tuned:
    """Step size (and momentum, if the algorithm has one) with the fewest steps to an expected mse of `target`.

    Candidates on a grid, refined twice around the best, are ranked by the exact path of the mean and, with noise, by
    the variance that modes of the mean Hessian would have under it; the few best are then judged by their exact
    transient (exact as in `predict`), which is what is returned. Without noise the ranking is exact.

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
    AffineStep(surrogate_of(problem), network, algorithm, start)  # refuses what is not affine
    if mean_square(start - problem.known_minimizer) <= target:
        raise ValueError(f"target = {target:g} is not below the mse of the start; choose a smaller target")
    has_momentum = "momentum" in algorithm._fields
    momenta, lrs = np.array(MOMENTA if has_momentum else (0.0,)), STEP_SIZES * unit_of_lr(problem)
    ranked: dict[tuple[float, float], int] = {}
    horizon = max_steps
    for shrink in (1.0, 0.3, 0.1):
        found, lowest = _rank(problem, network, algorithm, noise, start, target, horizon, momenta, lrs)
        ranked.update(found)
        if not ranked:
            raise ValueError(
                f"target = {target:g} is not reached within {max_steps} steps; the least expected mse seen is about "
                f"{lowest:.3g}: choose a larger target, a larger batch or more steps"
            )
        momentum, lr = min(ranked, key=lambda c: ranked[c])
        horizon = min(max_steps, 2 * ranked[momentum, lr])
        lrs = lr * np.geomspace(1.4 ** -(3 * shrink), 1.4 ** (3 * shrink), 9)
        if has_momentum:
            momenta = np.unique(np.clip(1 - (1 - momentum) * np.geomspace(2.0**-shrink, 2.0**shrink, 5), 0.0, 0.999))
    best: Tuned | None = None
    for momentum, lr in sorted(ranked, key=lambda c: ranked[c])[: 1 if noise.is_zero else TRIED]:
        candidate = algorithm._replace(lr=lr, **({"momentum": momentum} if has_momentum else {}))
        limit = max_steps if best is None else best.steps - 1
        for k, mse in enumerate(islice(_expected_mse(problem, network, candidate, noise, start), limit + 1)):
            if mse <= target:
                best = Tuned(candidate, k, mse)
                break
            if not mse < 1e100:
                break
    if best is None:
        raise ValueError(
            f"target = {target:g} is not reached within {max_steps} steps; choose a larger one, or more steps"
        )
    return best


def critical_batch_size(problem: Any, network: Any, algorithm: Any) -> float:
    """B* at which the stationary variance equals the squared bias; beyond it larger batches buy little.

    It solves variance(B) = bias for real B > 0, with the exact dependence of the variance on B on least squares
    (elsewhere the variance is proportional to 1/B, to first order).

    Parameters
    ----------
    problem : Problem
        With samples.
    network : Network
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
    moments, limit = settle(problem, network, algorithm, start, additive=False)
    if not moments.rate < 1.0 or moments.drifts:
        raise ValueError(f"algorithm = {algorithm!r} does not converge (rate {moments.rate:.6g}); choose a smaller lr")
    minimizer = problem.known_minimizer
    bias = mean_square(limit[0] - minimizer)
    error, size = rounding(moments, limit)
    points = moments.step.gradient_points(limit)

    @cache
    def variance(batch_size: float) -> float:
        return moments.stationary(Noise(problem, batch_size, 0.0), points).variance

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


def _expected_mse(problem: Any, network: Any, algorithm: Any, noise: Noise, start: np.ndarray) -> Iterator[float]:
    """Exact expected mse at steps 0, 1, 2, ..."""
    if problem.is_quadratic:
        moments = represent(AffineStep(surrogate_of(problem), network, algorithm, start), noise.batch_size is None)
    else:
        moments, _ = settle(problem, network, algorithm, start, noise.batch_size is None)
    minimizer = problem.known_minimizer
    return (mean_square(x - minimizer) + spread.variance for x, spread in expected_path(problem, moments, noise))


def _rank(
    problem: Any,
    network: Any,
    algorithm: Any,
    noise: Noise,
    start: np.ndarray,
    target: float,
    horizon: int,
    momenta: np.ndarray,
    lrs: np.ndarray,
) -> tuple[dict[tuple[float, float], int], float]:
    """Estimated steps to the target of the fastest (momentum, lr), all candidates run at once; and the least mse."""
    grid = [(float(b), float(g)) for b in momenta for g in lrs]
    table = np.array(grid)[:, :, None, None]
    fields = {"lr": table[:, 1]}
    if "momentum" in algorithm._fields:
        fields["momentum"] = table[:, 0]
    candidates = algorithm._replace(**fields)
    state = candidates.init(np.broadcast_to(start, (len(grid), *start.shape)))
    estimate = None if noise.is_zero else _VarianceEstimate(problem, network, algorithm, fields, noise)
    reached: dict[tuple[float, float], int] = {}
    lowest, best = np.inf, None
    with np.errstate(all="ignore"):
        for k in range(1, horizon + 1):
            state = candidates.step(state, problem, network, Batch())
            error = np.asarray(state[0]) - problem.known_minimizer
            mse = np.einsum("cnd,cnd->c", error, error) / len(start)
            if estimate is not None:
                mse = mse + estimate.advance(mse)
            lowest = min(lowest, float(np.nanmin(mse)))
            for c in np.flatnonzero(mse <= target):
                reached.setdefault(grid[c], k)
            if reached and best is None:
                best = k
            if best is not None and k >= 1.1 * best:
                break
    return reached, lowest


class _VarianceEstimate:
    """Variance over time of many candidates as if every node had the mean Hessian and isotropic noise of equal size.

    One sample's noise has variance σ² + c mse: σ² at the minimizer, c from the spread of the samples' Hessians.
    """

    def __init__(self, problem: Any, network: Any, algorithm: Any, fields: dict[str, Any], noise: Noise) -> None:
        n, d = problem.n_nodes, problem.dim
        graph = graph_modes(network)
        eigenvalues = network.eigenvalues if graph is None else graph.eigenvalues
        self._weight = n / len(eigenvalues)  # where only the extreme eigenvalues are known, they stand for all
        curvature = np.linalg.eigvalsh(problem.hessian(problem.known_minimizer).mean(axis=0))
        many = algorithm._replace(**{name: value[..., None, None] for name, value in fields.items()})
        consensus = np.arange(len(eigenvalues)) == 0
        shape = (len(fields["lr"]), len(eigenvalues), d)
        self._transition, drive = mode_matrices(
            many,
            *np.broadcast_arrays(eigenvalues[:, None], curvature[None, :], consensus[:, None], np.empty(shape))[:3],
        )
        self._forcing = drive[..., :, None] * drive[..., None, :]
        self._covariance = np.zeros_like(self._forcing)
        self._variance = np.zeros(shape[0])
        self._n = n
        self._constant, self._slope = noise.std**2, 0.0
        if noise.batch_size is not None:
            self._constant += problem.gradient_variance / noise.batch_size / d
            if noise.depends_on_state:
                unit = noise.spread(np.broadcast_to(np.eye(d), (n, d, d)))
                self._slope = float(np.einsum("ijj->", unit)) / n / d**2

    def advance(self, mean_mse: np.ndarray) -> np.ndarray:
        """Variance after one more step; `mean_mse` (candidates,) is the squared error of the mean state."""
        level = self._constant + self._slope * (mean_mse + self._variance)
        moved = self._transition @ self._covariance @ self._transition.swapaxes(-1, -2)
        self._covariance = moved + level[:, None, None, None, None] * self._forcing
        self._variance = self._weight * self._covariance[..., 0, 0].sum(axis=(1, 2)) / self._n
        return self._variance
