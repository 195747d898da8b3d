"""Where converged runs stop: docs/theory.md, "Limiting bias", for every convex objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import simlab
from tests.helpers import strategies

# Bias transfer functions φ(λ) of docs/theory.md, "Limiting bias", at momentum β.
TRANSFER: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "PmSGD": lambda w, beta: 0 * w,
    "DSGD-atc": lambda w, beta: w / (1 - w),
    "DSGD-cta": lambda w, beta: 1 / (1 - w),
    "DmSGD": lambda w, beta: w / ((1 - beta) * (1 - w)),
    "AWCDmSGD": lambda w, beta: 1 / ((1 - beta) * (1 - w)),
    "DADmSGD": lambda w, beta: w / ((1 - w) * (1 - beta * w)),
    "QGDmSGD": lambda w, beta: w / (1 - w),
    "D2": lambda w, beta: 0 * w,
    "D2DmSGD": lambda w, beta: 0 * w,
    "DecentLaM": lambda w, beta: w / (1 - w),
    "EXTRA": lambda w, beta: 0 * w,
    "GradientTracking": lambda w, beta: 0 * w,
    "NIDS": lambda w, beta: 0 * w,
    "ExactDiffusion": lambda w, beta: 0 * w,
    "EDM": lambda w, beta: 0 * w,
    "MomentumTracking": lambda w, beta: 0 * w,
    "DSGTHB": lambda w, beta: 0 * w,
    "DSMT": lambda w, beta: 0 * w,
}
LR = 0.05
BETAS = (0.5, 0.8, 0.9)


def problems() -> dict[str, Any]:
    random = np.random.default_rng(12)
    features = random.standard_normal((8, 10, 4))
    labels = np.where(random.standard_normal((8, 10)) > 0, 1, -1)
    return {
        "least squares": simlab.LeastSquares(features, random.standard_normal((8, 10)), l2=0.1),
        "logistic": simlab.LogisticRegression(features, labels, l2=0.3),
    }


PROBLEMS = problems()
NETWORK = simlab.topologies.grid(8)  # with negative eigenvalues
ABOVE_THIRD = simlab.Network.from_matrix((2 * NETWORK.weights + np.eye(8)) / 3)  # D2 needs them above -1/3


def limit(
    problem: Any, algorithm: Any, steps: int = 1200, network: Any = NETWORK, engine: str = "compiled"
) -> np.ndarray:
    """States at which a full-batch run has stopped; it must have."""
    trace = simlab.simulate(problem, network, algorithm, steps=steps, record_every=steps, engine=engine, progress=False)
    more = simlab.resume(trace, steps=steps + 300, progress=False)
    assert np.abs(trace.x - more.x).max() < 1e-12, "not converged: the test needs more steps"
    return trace.x[0]


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_decentlam_stops_where_dsgd_stops(name: str, beta: float) -> None:
    problem = PROBLEMS[name]
    x = limit(problem, simlab.DecentLaM(LR, beta))
    np.testing.assert_allclose(x, limit(problem, simlab.DSGD(LR)), rtol=0, atol=1e-10)
    assert np.abs(x - problem.minimizer).max() > 1e-4  # there is a bias to agree on


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_dmsgd_stops_where_dsgd_with_a_larger_step_stops(name: str, beta: float) -> None:
    problem = PROBLEMS[name]
    x = limit(problem, simlab.DmSGD(LR, beta))
    np.testing.assert_allclose(x, limit(problem, simlab.DSGD(LR / (1 - beta))), rtol=0, atol=1e-10)
    assert np.abs(x - limit(problem, simlab.DSGD(LR))).max() > 1e-4


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("label", strategies.NAMES)
def test_limit_is_the_transfer_function_of_the_gradients(label: str, name: str) -> None:
    """X~ = -gamma phi(W) F'(X) and sum_i grad f_i(x_i) = 0, to rounding."""
    problem, beta = PROBLEMS[name], 0.8
    network = ABOVE_THIRD if label.startswith("D2") or label == "EDM" else NETWORK
    x = limit(problem, strategies.algorithm(label, LR, beta), network=network, engine="numpy")
    eigenvalues, vectors = np.linalg.eigh(network.weights)
    disagreement = np.arange(8) != np.argmax(eigenvalues)
    phi = np.zeros(8)
    phi[disagreement] = TRANSFER[label](eigenvalues[disagreement], beta)
    local = problem.gradient(x)
    residual = (x - x.mean(axis=0)) + LR * (vectors * phi) @ (vectors.T @ local)
    assert np.abs(residual).max() < 1e-12
    assert np.abs(local.sum(axis=0)).max() < 1e-12 * 8 / LR
    if not phi.any():
        np.testing.assert_allclose(x, np.broadcast_to(problem.minimizer, x.shape), rtol=0, atol=1e-11)
    else:
        assert np.abs(LR * (vectors * phi) @ (vectors.T @ local)).max() > 1e-4


def test_the_bias_of_dmsgd_grows_with_momentum_and_that_of_decentlam_does_not() -> None:
    """Squared biases to leading order: 1/(1 - beta)^2, hence 100 times at beta = 0.9."""
    problem = PROBLEMS["least squares"]

    def bias(algorithm: Any) -> float:
        return float(np.mean(np.sum((limit(problem, algorithm, 60000) - problem.minimizer) ** 2, axis=1)))

    lr = 1e-3
    reference = bias(simlab.DSGD(lr))
    assert bias(simlab.DecentLaM(lr, 0.9)) == pytest.approx(reference, rel=1e-7)
    assert bias(simlab.DmSGD(lr, 0.9)) == pytest.approx(100 * reference, rel=0.1)
