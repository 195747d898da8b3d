"""Prediction.error against extended precision, where gaps are so tiny that rounding is all that is left."""

import numpy as np
import pytest

import simlab
import theory
from tests.helpers.matrices import matrices

LONG = np.longdouble


def joined(n, gap):
    """Weights (n, n) of two cliques that one weak edge of weight `gap` joins."""
    half = n // 2
    w = np.zeros((n, n))
    w[:half, :half] = 1 / half
    w[half:, half:] = 1 / half
    w[half - 1, half] = w[half, half - 1] = gap
    w[half - 1, half - 1] -= gap
    w[half, half] -= gap
    return w


def expected(name, w, hessians, lr, momentum):
    """1 − rate and stationary variance under noise of standard deviation 1, by doubling in extended precision."""
    n, d = len(w), hessians.shape[1]
    w = w.astype(LONG)
    w[np.arange(n), np.arange(n)] += 1 - w.sum(axis=1)
    base, slope, drive, conserved = matrices(name, w, hessians, momentum, LONG)
    t = base + LONG(lr) * slope
    t = t - t @ conserved @ conserved.T
    s, power = LONG(lr) ** 2 * drive @ drive.T, t
    logarithm, unit, steps = LONG(0), t, LONG(1)  # T^steps = exp(logarithm) unit
    for _ in range(75):
        s, power = s + power @ s @ power.T, power @ power
        size = np.max(np.abs(unit))
        unit, before = unit / size, logarithm + np.log(size)
        unit, logarithm, steps = unit @ unit, 2 * before, 2 * steps
    gap = -np.expm1((logarithm + np.log(np.max(np.abs(unit))) - before) / (steps / 2))
    return gap, np.trace(s[: n * d, : n * d]) / n


def setting(random):
    """Problem, network, algorithm and start."""
    n, d = 2 * int(random.integers(1, 4)), int(random.integers(1, 3))
    problem = simlab.LeastSquares.synthetic(
        n, 10, d, heterogeneity=float(random.uniform(0.1, 3)), seed=int(random.integers(10**6))
    )
    w = joined(n, 10 ** random.uniform(-6.5, -1))
    lr = 0.5 * 10 ** random.uniform(-2, 0) / problem.smoothness
    name = str(random.choice(["GradientTracking", "D2", "EXTRA", "DmSGD"]))
    algorithm = getattr(simlab, name)(lr, 0.5) if name == "DmSGD" else getattr(simlab, name)(lr)
    return problem, w, algorithm, random.standard_normal((n, d))


def check(seed):
    problem, w, algorithm, start = setting(np.random.default_rng(seed))
    network = simlab.Network.from_matrix(w)
    prediction = theory.predict(problem, network, algorithm, noise_std=1.0, x0=start)
    if not prediction.stable:
        assert "as far as rounding lets see" in prediction.reason
        return None
    if prediction.error > 0.1:
        return None
    name = type(algorithm).__name__
    gap, variance = expected(name, w, problem.hessians, algorithm.lr, 0.5)
    found = [abs((1 - prediction.rate) / gap - 1), abs(prediction.variance / variance - 1)]
    if name != "DmSGD":
        size = max(np.max(np.abs(start)), np.max(np.abs(prediction.limit)))
        found.append(np.max(np.abs(prediction.limit - problem.minimizer)) / size)
        assert theory.critical_batch_size(problem, network, algorithm) == np.inf
    worst = float(max(found)) / prediction.error
    assert worst <= 1, (algorithm, found, prediction)
    return worst


def test_rounding_is_within_the_error():
    assert sum(check(seed) is not None for seed in range(12)) >= 8


@pytest.mark.slow
def test_rounding_is_within_the_error_in_a_thousand_settings():
    assert sum(check(seed) is not None for seed in range(1000)) >= 700


def test_a_prediction_says_how_far_its_rate_is_from_1_and_what_rounding_leaves():
    problem = simlab.LeastSquares.synthetic(6, 20, 2, seed=0)
    network = simlab.Network.from_matrix(joined(6, 6e-6))
    prediction = theory.predict(problem, network, simlab.GradientTracking(0.1), noise_std=1.0)
    off = np.max(np.abs(prediction.limit - problem.minimizer)) / np.max(np.abs(prediction.limit))
    assert 1e-8 < off < prediction.error < 1e-2
    assert f"rate=1-{1 - prediction.rate:.3g}," in repr(prediction)
    assert f"error={prediction.error:.2g}" in repr(prediction)
    usual = theory.predict(problem, simlab.topologies.ring(6), simlab.GradientTracking(0.1))
    assert usual.error < 1e-10
    assert "error" not in repr(usual)
