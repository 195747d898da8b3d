"""Theorems on real problems and networks: constants against their definitions, formulas against the papers' text.

That no case breaks a bound is tested in test_search_*.py, that assumptions are checked in test_verdict.py.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import root
from scipy.special import expit

import simlab
import theory.theorems
from tests.helpers import strategies
from theory import transfer
from theory.theorems import (
    THEOREMS,
    Setting,
    b1,
    b2,
    choco_gossip,
    dgd,
    dpsgd,
    dual_averaging,
    heavy_ball,
    leading_constant,
    local_sgd,
    qsgd,
    spectral_gaps,
    suprema,
)

MODULES = [
    importlib.import_module(f"theory.theorems.{info.name}")
    for info in pkgutil.iter_modules(theory.theorems.__path__)
    if info.name not in ("theorem", "suprema")
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_file_says_what_and_where_from(module):
    assert "Constants: " in module.__doc__, "derived, re-derived or cross-checked: the docstring says which"
    assert "Reference: " in module.__doc__ or "derived for this project" in module.__doc__
    assert callable(getattr(module, "assumptions", None) or module.upper_assumptions)


def test_theorems_are_complete():
    assert len({theorem.name for theorem in THEOREMS}) == len(THEOREMS)
    for theorem in THEOREMS:
        assert theorem.statement and theorem.reference
        assert theorem.relation in ("<=", ">=", "==")


# B1, B2, leading constant: constants from definitions


def objective(seed: int, kind: str) -> Any:
    return strategies.objective(kind, 4, 2, 8, np.random.default_rng(seed)).problem


def case(seed: int, kind: str, lazy: bool, algorithm: Any) -> Setting:
    network = strategies.network(4, "metropolis", lazy, np.random.default_rng(seed))
    return Setting(objective(seed, kind), network, algorithm)


def at_rest(setting: Setting) -> np.ndarray:
    """The limit, by a root finder on its equations."""
    problem, network, algorithm = setting[:3]
    shape = (problem.n_nodes, problem.dim)

    def equations(flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(shape)
        g = problem.gradient(x)
        moved = algorithm.lr * transfer.apply_transfer(network, algorithm, g) + g.mean(axis=0)
        return (x - x.mean(axis=0) + moved).ravel()

    start = np.tile(problem.minimizer, (problem.n_nodes, 1)).ravel()
    solution = root(equations, start, tol=1e-12)
    assert np.abs(equations(solution.x)).max() < 1e-9
    return solution.x.reshape(shape)


@pytest.mark.parametrize("kind", ["quadratic", "least_squares", "logistic"])
@given(seed=st.integers(0, 2**31), scale=st.floats(-3, 1), cta=st.booleans())
def test_b1_and_b2_on_problems(kind, seed, scale, cta):
    """Any step size, by way of the limit's equations: the bounds that `verify` computes hold there."""
    algorithm = simlab.DSGD(10.0**scale, order="cta" if cta else "atc")
    setting = case(seed, kind, True, algorithm)
    problem = setting.problem
    x = at_rest(setting)
    consensus = np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
    mse = np.mean(np.sum((x - problem.minimizer) ** 2, axis=1))
    room = 1 + 1e-6
    assert consensus <= b1.consensus_bound(**b1.constants(setting)) * room
    assert mse <= b1.sharper_mse_bound(**b1.mse_constants(setting)) * room
    a = b2.feedback(**b2.feedback_constants(setting))
    if a < 1:
        assert mse <= b2.bound(**b2.constants(setting)) * room
    if problem.is_quadratic:
        given_constants = leading_constant.constants(setting)
        assert mse >= leading_constant.lower_bound(**given_constants) / room
        if a < 1:
            assert mse <= leading_constant.upper_bound(**given_constants) * room


def test_limit_constants_are_their_definitions():
    setting = case(3, "least_squares", True, simlab.DmSGD(0.05, 0.8))
    problem, network = setting.problem, setting.network
    hessians = [a.T @ a / len(a) + problem.l2 * np.eye(2) for a in problem.features]
    smoothness = max(np.linalg.eigvalsh(h)[-1] for h in hessians)
    mu = np.linalg.eigvalsh(np.mean(hessians, axis=0))[0]
    gradients = problem.gradient(np.tile(problem.minimizer, (4, 1)))
    values = np.linalg.eigvalsh(np.asarray(network.weights))[:-1]
    expected = {
        "lr": 0.05,
        "transfer": np.max(values / (1 - values)) / 0.2,
        "heterogeneity": np.sqrt(np.mean(np.sum(gradients**2, axis=1))),
        "condition_number": smoothness / mu,
    }
    assert b1.mse_constants(setting) == pytest.approx(expected)
    assert b2.constants(setting) == pytest.approx({**expected, "smoothness": smoothness})


# The formulas, written out as in the papers


def test_b1_and_b2_formulas():
    lr, r, b, kappa, smoothness = 0.1, 3.0, 2.0, 5.0, 0.05
    assert b1.consensus_bound(lr, r, b) == pytest.approx(0.36)
    assert b1.mse_bound(lr, r, b, kappa) == pytest.approx(26 * 0.36)
    assert b1.sharper_mse_bound(lr, r, b, kappa) == pytest.approx(7.25 * 0.36)
    a = lr * r * smoothness * math.sqrt(26)
    assert b2.bound(lr, r, smoothness, kappa, b) == pytest.approx(26 * (0.6 / (1 - a)) ** 2)
    assert leading_constant.upper_bound(lr, 7.0, 0.5) == pytest.approx(0.01 * 7 * 4)
    assert leading_constant.lower_bound(lr, 7.0, 0.5) == pytest.approx(0.01 * 7 / 2.25)


def test_dpsgd_formula():
    """Theorem 1 of Lian et al., with their ρ, the square of ours."""
    g, steps, smooth, n, rho, gap, varsigma2, sigma2 = 0.01, 50, 2.0, 4, 0.36, 3.0, 1.7, 0.9
    d2 = 1 - 18 * g**2 / (1 - math.sqrt(rho)) ** 2 * n * smooth**2
    d1 = 1 / 2 - 9 * g**2 * smooth**2 * n / ((1 - math.sqrt(rho)) ** 2 * d2)
    right = (
        gap / (g * steps)
        + g * smooth * sigma2 / (2 * n)
        + g**2 * smooth**2 * n * sigma2 / ((1 - rho) * d2)
        + 9 * g**2 * smooth**2 * n * varsigma2 / ((1 - math.sqrt(rho)) ** 2 * d2)
    )
    arguments = {
        "lr": g,
        "steps": steps,
        "smoothness": smooth,
        "n_nodes": n,
        "rho": 0.6,
        "initial_gap": gap,
        "dissimilarity": varsigma2,
        "variance": sigma2,
    }
    assert dpsgd.factors(g, smooth, 0.6, n) == pytest.approx((d1, d2))
    assert dpsgd.weighted_bound(**arguments) == pytest.approx(right)
    assert dpsgd.bound(**arguments) == pytest.approx(right / d1)


def test_dpsgd_constants_and_measurement():
    random = np.random.default_rng(0)
    linear = random.standard_normal((4, 3))
    problem = simlab.Quadratic(np.tile([0.5, 1.0, 1.5], (4, 1)), linear)
    network = simlab.topologies.ring(4)
    algorithm = simlab.DSGD(0.005, order="cta")
    settings = {"steps": 20, "noise_std": 0.3, "replicates": 3, "engine": "numpy", "progress": False}
    trace = simlab.simulate(problem, network, algorithm, **settings)
    found = dpsgd.constants(Setting.of(trace))
    assert found == pytest.approx(
        {
            "lr": 0.005,
            "steps": 20,
            "smoothness": 1.5,
            "n_nodes": 4,
            "rho": 1 / 3,
            "initial_gap": np.sum(linear.mean(axis=0) ** 2 / np.array([0.5, 1.0, 1.5])) / 2,
            "dissimilarity": np.mean(np.sum((linear - linear.mean(axis=0)) ** 2, axis=1)),
            "variance": 3 * 0.09,
        }
    )
    rows = trace.frame
    expected = [rows[(rows.replicate == r) & (rows.step < 20)].squared_gradient_norm.mean() for r in range(3)]
    np.testing.assert_allclose(dpsgd.mean_gradient_norm(trace), expected)


def test_dgd_constants_and_measurements():
    problem = objective(5, "least_squares")
    network = strategies.network(4, "metropolis", False, np.random.default_rng(1))
    start = np.array([1.0, -2.0])
    settings = {"steps": 30, "x0": start, "engine": "numpy", "progress": False}
    trace = simlab.simulate(problem, network, simlab.DSGD(0.1, order="cta"), **settings)
    found = dgd.consensus_constants(Setting.of(trace))
    gap = np.sum(problem.loss(np.tile(start, (4, 1))) - problem.node_minimum)
    expected = {"smoothness": problem.smoothness, "initial_gap": gap, "lr": 0.1, "n_nodes": 4, "rho": network.rho}
    assert found == pytest.approx(expected)
    assert dgd.gradient_bound(2.0, 3.0) == 12
    assert dgd.consensus_bound(2.0, 3.0, 0.1, 4, 0.5) == pytest.approx((0.1 / 0.5) ** 2 * 12 / 4)
    assert dgd.largest_consensus(trace) == pytest.approx([trace.frame.consensus.max()])
    assert dgd.final_gradients(trace) == pytest.approx([np.sum(problem.gradient(trace.x[0]) ** 2)])


def test_choco_gossip_formula():
    delta, omega, q = 0.3, 0.4, 1.2
    zeta = delta * omega / (16 * delta + delta**2 + 4 * q**2 + 2 * delta * q**2 - 8 * delta * omega)
    assert choco_gossip.consensus_step(delta, q, omega) == pytest.approx(zeta)
    assert choco_gossip.bound(delta, omega) == pytest.approx(1 - delta**2 * omega / 82)
    network = simlab.topologies.ring(5)
    weights = np.asarray(network.weights)
    found = choco_gossip.constants(network, omega)
    assert found["largest_shift"] == pytest.approx(np.linalg.norm(np.eye(5) - weights, 2))
    assert found["gap"] == pytest.approx(1 - np.linalg.norm(weights - 0.2, 2))


def test_qsgd_formulas():
    assert qsgd.variance_bound(100, 2) == pytest.approx(5)  # √d/s
    assert qsgd.variance_bound(100, 20) == pytest.approx(0.25)  # d/s²
    assert qsgd.sharper_variance(100, 20) == pytest.approx(0.0625)
    assert qsgd.sparsity_bound(100, 2) == pytest.approx(24)
    assert qsgd.contraction(100, 20) == pytest.approx(1 / 1.25)


def test_dual_averaging_formulas():
    assert dual_averaging.step_sizes(9, 2.0, 3.0, 0.75) == pytest.approx(2 * 0.5 / (12 * 3))
    assert dual_averaging.bound(100, 4, 0.75, 2.0, 3.0) == pytest.approx(8 * 6 / 10 * math.log(200) / 0.5)
    sharper = 6 / 10 * (4 + 3 * math.log(200) + 4.75 / 4) / 0.5
    assert dual_averaging.sharper_bound(100, 4, 0.75, 2.0, 3.0) == pytest.approx(sharper)


def test_local_sgd_formula():
    steps, n, a, h, smooth, mu, distance, sigma2, g2 = 10, 3, 40.0, 4, 2.0, 1.0, 5.0, 0.5, 7.0
    s = sum((a + t) ** 2 for t in range(steps))
    expected = (
        mu * a**3 / (2 * s) * distance
        + 4 * steps * (steps + 2 * a) / (mu * n * s) * sigma2
        + 256 * steps / (mu**2 * s) * g2 * h**2 * smooth
    )
    assert local_sgd.bound(steps, n, a, h, smooth, mu, distance, sigma2, g2) == pytest.approx(expected)
    assert local_sgd.step_sizes(3, mu, a) == pytest.approx(4 / 43)


# Heavy ball and spectral gaps


def test_heavy_ball_is_tight_on_the_largest_mode():
    """Two extreme eigenvalues, start along the larger: the envelope is met at every step."""
    least, largest = 1.0, 25.0
    lr, momentum = heavy_ball.best_parameters(least, largest)
    assert math.sqrt(momentum) == pytest.approx(heavy_ball.best_rate(largest / least)) == pytest.approx(2 / 3)
    problem = simlab.Quadratic(np.tile([least, largest], (3, 1)), np.zeros((3, 2)))
    settings = {"steps": 60, "x0": np.array([0.0, 1.0]), "engine": "numpy", "progress": False}
    trace = simlab.simulate(problem, simlab.topologies.ring(3), simlab.PmSGD(lr, momentum), **settings)
    steps = trace.frame.step.to_numpy()
    np.testing.assert_allclose(trace.frame.mse, heavy_ball.envelope(steps, momentum) ** 2, rtol=1e-9)
    assert heavy_ball.largest_relative_error(trace) == pytest.approx([1.0])
    assert theory.verify(trace)["heavy ball"].verdict == "holds"


def test_extreme_eigenvalues_are_of_the_mean():
    problem = objective(2, "quadratic")
    values = np.linalg.eigvalsh(problem.hessian(np.zeros(2)).mean(axis=0))
    assert heavy_ball.extreme_eigenvalues(problem) == pytest.approx((values[0], values[-1]))


def test_ring_gap_is_measured_on_the_weights():
    trace = simlab.simulate(
        objective(1, "quadratic"),
        simlab.topologies.ring(4),
        simlab.DSGD(0.1),
        steps=1,
        engine="numpy",
        progress=False,
    )
    assert spectral_gaps.measured_gap(trace) == pytest.approx([2 / 3])
    assert spectral_gaps.ring_gap(4) == pytest.approx(2 / 3 * (1 - math.cos(math.pi / 2)))


# Suprema


def test_dissimilarity_is_exact_for_equal_hessians_and_infinite_otherwise():
    linear = np.random.default_rng(0).standard_normal((3, 2))
    equal = simlab.Quadratic(np.tile([[2.0, 0.3], [0.3, 1.0]], (3, 1, 1)), linear)
    found = suprema.gradient_dissimilarity(equal)
    assert found == (pytest.approx(np.mean(np.sum((linear - linear.mean(axis=0)) ** 2, axis=1))), "exact")
    assert suprema.gradient_dissimilarity(objective(0, "quadratic")) == (np.inf, "exact")


def test_variance_of_minibatches():
    problem = objective(0, "logistic")
    found = suprema.gradient_variance(problem, 4, 0.5)
    at_optimum = problem.gradient_variance / 4 + 2 * 0.25
    assert found.how == "estimate"
    assert at_optimum <= found.value < 10 * at_optimum
    assert suprema.gradient_variance(problem, None, 0.5) == (0.5, "exact")
    assert found.value - 0.5 == pytest.approx(suprema.gradient_variance(problem, 1, 0.0).value / 4)
    assert suprema.gradient_variance(objective(0, "least_squares"), 2, 0.0).value == np.inf


def test_sampled_variance_against_plain_loops():
    problem = objective(0, "logistic")
    point = np.array([0.7, -0.4])

    def variance(points: np.ndarray) -> np.ndarray:
        return np.array([_variance_at(problem, x) for x in points])

    found = suprema.gradient_variance(problem, 1, 0.0)
    assert found.value >= variance(point[None])[0] * 0.9
    largest = suprema.largest_value(problem, variance, suprema.DIRECTIONS // 4)
    assert found.value == pytest.approx(largest.value, rel=1e-9)


def _variance_at(problem: Any, x: np.ndarray) -> float:
    total = 0.0
    for a, labels in zip(problem.features, problem.labels, strict=True):
        gradients = np.array([-b * expit(-b * (z @ x)) * z for z, b in zip(a, labels, strict=True)])
        total += np.mean(np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=1))
    return total / len(problem.features)
