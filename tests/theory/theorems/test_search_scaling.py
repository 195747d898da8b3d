"""Adversaries of the theorems on scaled gradients, their counterexamples, and the states in which runs come to rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import minimize

import simlab
import theory
from simlab.operations import Array, gradient, mix, norm
from tests.helpers.adversary import Take, assert_tight, assert_unbroken, effort, mixing, modes_of, pairs
from theory.theorems import b1, scaling

SIZES = [(2, 1), (3, 1), (4, 2)]


def size(n, d):
    return pairs(n) + 1 + 2 * n * d * d + n * d + n + d + 2


def ratios(cases, n, d, common, convex=True):
    """States at rest of f_i = x'H_i x/2 + g_i'x, minimizer 0, with scalings D_i: measured over each bound."""
    take = Take(cases)
    w = mixing(take(pairs(n)), take(1)[:, 0], n, lazy=True)
    values, vectors = modes_of(w)
    phi = values / (1 - values)
    factors = take(n, d, d)
    hessians = factors @ factors.swapaxes(2, 3) * np.exp(take(n))[:, :, None, None]
    if not convex:
        hessians = hessians - 0.3 * np.eye(d)
    gradients = take(n, d)
    for _ in range(2):  # where they are nearly equal, the first leaves a mean that is not small beside them
        gradients = gradients - gradients.mean(axis=1, keepdims=True)
    apart = np.exp(np.minimum(3 * take(1)[:, 0] - 3, 0.5))[:, None, None]
    d_i = np.exp(2 * take(d))[:, None, :] * np.exp(apart * take(n, d))
    if common:
        d_i = np.repeat(d_i[:, :1], n, axis=1)
    spectrum = np.linalg.eigvalsh(hessians)
    smoothness = np.abs(spectrum).max(axis=(1, 2))
    mu = np.linalg.eigvalsh(hessians.mean(axis=1))[:, 0]
    kappa = np.where(mu > 1e-6 * smoothness, smoothness / mu, np.nan)
    lr = np.exp(np.clip(3 * take(1)[:, 0] - 3, -10, 5)) / smoothness / d_i.max(axis=(1, 2))
    transfer = lr[:, None, None] * (vectors * phi[:, None, :]) @ vectors.swapaxes(1, 2)
    operator = transfer + np.ones((n, n)) / n / smoothness[:, None, None] / d_i.max(axis=(1, 2))[:, None, None]
    system = np.einsum("kij,kja,kjab->kiajb", operator, d_i, hessians)
    system = (system + np.einsum("ij,ab->iajb", np.eye(n) - 1 / n, np.eye(d))).reshape(-1, n * d, n * d)
    usable = np.isfinite(kappa)
    system[~usable] = np.eye(n * d)
    usable &= np.linalg.cond(system) < 1e6
    system[~usable] = np.eye(n * d)
    x = np.linalg.solve(system, -(operator @ (d_i * gradients)).reshape(-1, n * d, 1)).reshape(-1, n, d)
    x[~usable] = np.nan
    mse = np.sum(x**2, axis=(1, 2)) / n
    if common:
        heterogeneity = np.sqrt(np.mean(np.sum(gradients**2, axis=2), axis=1))
        given = lr * d_i.max(axis=(1, 2)), phi.max(axis=1), heterogeneity
        consensus = np.mean(np.sum((x - x.mean(axis=1, keepdims=True)) ** 2, axis=2), axis=1)
        return consensus / b1.consensus_bound(*given), mse / b1.sharper_mse_bound(*given, kappa)
    pull = np.linalg.norm(np.mean(d_i * gradients, axis=1), axis=1)
    largest = np.sqrt(np.mean(d_i.max(axis=2) ** 2, axis=1))
    return (scaling.node_wise_bound(smoothness, pull, largest) / mse,)


@effort
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_common_scaling(n, d, tries):
    assert_unbroken(lambda cases: ratios(cases, n, d, True)[0], size(n, d), tries)
    assert_unbroken(lambda cases: ratios(cases, n, d, True)[1], size(n, d), tries)


@effort
@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("convex", [True, False], ids=["convex", "nonconvex"])
def test_node_wise_scaling(n, d, convex, tries):
    assert_unbroken(lambda cases: ratios(cases, n, d, False, convex)[0], size(n, d), tries)


@pytest.mark.parametrize("which", ["consensus", "bias"])
def test_common_bounds_too_small_are_caught(which):
    assert_tight(lambda cases: ratios(cases, 2, 1, True)[which == "bias"], size(2, 1))


def test_a_node_wise_bound_too_large_is_caught():
    assert_tight(lambda cases: ratios(cases, 2, 1, False)[0], size(2, 1))


# Counterexamples: nodes ‖x − c_i‖²/2, whose mean objective has its minimizer at the mean of the c_i.

CENTRES = np.array([[0.0, 0.0], [1.0, 0.3], [0.2, 1.0], [4.0, 0.5], [0.8, 6.0]])
NETWORK = simlab.topologies.ring(len(CENTRES), lazy=True)


class Plain(NamedTuple):
    x: Array


class NodeWiseLARS(NamedTuple):
    """DSGD whose nodes each scale by the trust ratio of their own."""

    lr: float

    def init(self, x):
        return Plain(x)

    def step(self, state, problem, network, batch):
        g = gradient(problem, state.x, batch)
        return Plain(mix(network, state.x - self.lr * norm(state.x) / norm(g) * g))

    def scaling(self, x, gradients):
        return norm(x) / norm(gradients)

    def unscaled(self):
        return simlab.DSGD(self.lr)


class CommonLARS(NodeWiseLARS):
    """The same with ratios of the mean squares over nodes."""

    def step(self, state, problem, network, batch):
        g = gradient(problem, state.x, batch)
        return Plain(mix(network, state.x - self.lr * self.scaling(state.x, g) * g))

    def scaling(self, x, gradients):
        squares = (np.mean(np.sum(a**2, axis=-1, keepdims=True), axis=-2, keepdims=True) for a in (x, gradients))
        return np.sqrt(next(squares) / next(squares))


def centred():
    return simlab.Quadratic(np.ones_like(CENTRES), CENTRES)


def settled(algorithm, steps=8000):
    start = np.array([1.0, 1.0])
    return simlab.simulate(centred(), NETWORK, algorithm, steps=steps, record_every=steps, x0=start, engine="numpy")


def test_node_wise_ratios_find_the_geometric_median():
    """However small γ is; with common ratios it is the mean."""
    median = minimize(lambda x: np.linalg.norm(x - CENTRES, axis=1).sum(), CENTRES.mean(axis=0), tol=1e-12).x
    assert np.linalg.norm(median - CENTRES.mean(axis=0)) > 0.5
    np.testing.assert_allclose(scaling.resting_point(centred(), NodeWiseLARS(0.1)), median, atol=1e-6)
    np.testing.assert_allclose(scaling.resting_point(centred(), CommonLARS(0.1)), CENTRES.mean(axis=0), atol=1e-12)
    away = [np.linalg.norm(settled(NodeWiseLARS(lr)).x[0].mean(axis=0) - median) for lr in (8e-3, 2e-3)]
    assert away[0] < 0.05 and away[1] < 0.5 * away[0]
    np.testing.assert_allclose(settled(CommonLARS(4e-3)).x[0].mean(axis=0), CENTRES.mean(axis=0), atol=1e-9)


def test_adam_finds_the_median_of_each_coordinate():
    adam = simlab.DAdam(1e-3, second=0.9, epsilon=0.01)
    median = np.median(CENTRES, axis=0)
    np.testing.assert_allclose(scaling.resting_point(centred(), adam), median, atol=0.02)
    np.testing.assert_allclose(settled(adam).x[0].mean(axis=0), median, atol=0.02)


def test_a_run_from_the_minimizer_breaks_the_bound_until_it_rests():
    """That the mean step is zero is assumed for a reason."""
    adam = simlab.DAdam(0.05, second=0.9, epsilon=0.5)
    start = centred().minimizer
    few = simlab.simulate(centred(), NETWORK, adam, steps=1, x0=start, engine="numpy")
    setting = theory.theorems.Setting.of(few)
    assert few.frame["mse"].iloc[-1] < 0.5 * scaling.node_wise_bound(**scaling.node_wise_constants(setting))
    assert theory.verify(few)["node-wise scaling"].reason.startswith("mean step zero")


def test_common_bounds_break_without_a_common_scaling():
    run = settled(NodeWiseLARS(2e-3), 15_000)
    setting = theory.theorems.Setting.of(run)
    bound = b1.sharper_mse_bound(**scaling.common_mse_constants(setting))
    assert run.frame["mse"].iloc[-1] > 10 * bound
    assert theory.verify(run)["common scaling, bias"].reason.startswith("common scaling")


# Where runs come to rest

SMOOTH = {
    "least squares": simlab.LeastSquares.synthetic(n_nodes=6, n_samples=20, dim=4, seed=0),
    "logistic": simlab.LogisticRegression.synthetic(n_nodes=6, n_samples=20, dim=4, l2=0.1, seed=0),
}
METHODS = {
    "DAdam": simlab.DAdam(0.02, second=0.9, epsilon=0.3),
    "LayerwiseDecentLaM": simlab.LayerwiseDecentLaM(0.02, 0.8, blocks=(1, 3)),
}


@pytest.mark.parametrize("kind", SMOOTH)
@pytest.mark.parametrize("name", METHODS)
def test_runs_end_in_the_state_at_rest(kind, name):
    problem, network, method = SMOOTH[kind], simlab.topologies.ring(6, lazy=True), METHODS[name]
    run = simlab.simulate(
        problem, network, method, steps=3000, record_every=3000, x0=problem.minimizer, engine="numpy", progress=False
    )
    np.testing.assert_allclose(run.x[0], scaling.resting_state(problem, network, method), atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_states_at_rest_tend_to_the_resting_point(name):
    problem, network = SMOOTH["logistic"], simlab.topologies.ring(6, lazy=True)
    point = scaling.resting_point(problem, METHODS[name])
    states = [scaling.resting_state(problem, network, METHODS[name]._replace(lr=lr)) for lr in (1e-2, 1e-3)]
    away = [np.abs(x - point).max() for x in states]
    assert away[1] < 0.15 * away[0]
    bias = np.linalg.norm(point - problem.minimizer)
    assert bias < 1e-12 if name == "LayerwiseDecentLaM" else bias > 0.05


def test_a_scaling_too_steep_is_said():
    with pytest.raises(ValueError, match="take a larger epsilon"):
        scaling.resting_point(centred(), simlab.DAdam(0.1, epsilon=1e-14))
