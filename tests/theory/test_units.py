"""What theory says must not depend on units: features times s and lr over s² are the same run, x in units of 1/s."""

from functools import lru_cache

import numpy as np
import pytest

import simlab
import theory
from tests.helpers import strategies
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.krylov import Krylov

ALGORITHMS = [strategies.algorithm(name, 0.05, 0.5) for name in strategies.DISTINCT]
UNITS = [1e-5, 1e3, 1e6]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=strategies.DISTINCT)


def scaled(s, algorithm, dim=3, nodes=5):
    base = simlab.LeastSquares.synthetic(nodes, 20, dim, seed=1)
    problem = simlab.LeastSquares(s * base.features, base.targets, l2=0.1 * s**2)
    return problem, simlab.topologies.ring(nodes, lazy=True), algorithm._replace(lr=algorithm.lr / s**2)


@lru_cache(None, typed=True)
def predicted(s, algorithm, noise):
    options = {"none": {}, "additive": {"noise_std": 0.3 * s}, "batches": {"batch_size": 4}}[noise]
    return theory.predict(*scaled(s, algorithm), **options)


@pytest.mark.parametrize("noise", ["none", "additive", "batches"])
@pytest.mark.parametrize("s", UNITS)
@every_algorithm
def test_predictions_in_other_units(algorithm, s, noise):
    one, other = predicted(1.0, algorithm, noise), predicted(s, algorithm, noise)
    assert one.stable and other.stable
    assert other.rate == pytest.approx(one.rate, rel=1e-9)
    for name in ("bias", "variance", "consensus"):
        assert getattr(other, name) * s**2 == pytest.approx(
            getattr(one, name), rel=1e-7, abs=1e-14 * one.mse + 1e-25
        ), name
    np.testing.assert_allclose(other.limit * s, one.limit, rtol=0, atol=1e-9)


@lru_cache(None, typed=True)
def another_way(s, algorithm, shared):
    """Rate and limit."""
    problem, network, candidate = scaled(s, algorithm)
    hessians = np.broadcast_to(problem.hessians[0], problem.hessians.shape) if shared else problem.hessians
    problem = simlab.Quadratic(hessians, problem.linear)
    if shared:
        found = theory.predict(problem, network, candidate)
        return found.rate, found.limit
    krylov = Krylov(AffineStep(Surrogate.of(problem), network, candidate, np.zeros((5, 3))))
    return krylov.rate, krylov.fixed_point()[0]


@pytest.mark.parametrize("s", UNITS)
@pytest.mark.parametrize("shared", [False, True], ids=["krylov", "modes"])
@every_algorithm
def test_other_ways_in_other_units(algorithm, shared, s):
    (rate, limit), (other_rate, other_limit) = another_way(1.0, algorithm, shared), another_way(s, algorithm, shared)
    assert other_rate == pytest.approx(rate, rel=1e-6 if not shared else 1e-9)
    np.testing.assert_allclose(other_limit * s, limit, rtol=0, atol=1e-8)


@lru_cache(None, typed=True)
def stability_limit(s, algorithm):
    return theory.stability_limit(*scaled(s, algorithm))


@pytest.mark.parametrize("s", UNITS)
@every_algorithm
def test_stability_limit_in_other_units(algorithm, s):
    one, other = stability_limit(1.0, algorithm), stability_limit(s, algorithm)
    assert other * s**2 == pytest.approx(one, rel=1e-8)


@pytest.mark.parametrize("s", UNITS)
def test_convex_problems_and_critical_batches_in_other_units(s):
    """Logistic regression: L goes with s², the minimizer with 1/s."""

    def found(s):
        base = simlab.LogisticRegression.synthetic(5, 20, 3, seed=1)
        problem = simlab.LogisticRegression(s * base.features, base.labels, l2=0.1 * s**2)
        network = simlab.topologies.ring(5, lazy=True)
        algorithm = simlab.DecentLaM(0.5 / s**2, 0.5)
        prediction = theory.predict(problem, network, algorithm, batch_size=2)
        return (
            prediction.rate,
            prediction.bias * s**2,
            prediction.variance * s**2,
            theory.critical_batch_size(problem, network, algorithm),
        )

    np.testing.assert_allclose(found(s), found(1.0), rtol=1e-7)


@pytest.mark.parametrize("lr", [1e-4, 1e-7])
@every_algorithm
def test_small_steps(algorithm, lr):
    """As lr -> 0 the rate tends to 1 - lr h / (1 - β), h the least eigenvalue of the mean Hessian; damped, 1 - lr h."""
    problem, network, _ = scaled(1.0, algorithm, nodes=10, dim=6)
    least = np.linalg.eigvalsh(problem.hessian(problem.minimizer).mean(axis=0))[0]
    prediction = theory.predict(problem, network, algorithm._replace(lr=lr))
    assert prediction.stable
    momentum = 0.0 if isinstance(algorithm, simlab.DSGTHB) else getattr(algorithm, "momentum", 0.0)
    assert (1 - prediction.rate) / lr == pytest.approx(least / (1 - momentum), rel=max(2e-2 * lr / 1e-4, 1e-6))
