"""Bias transfer functions: closed forms against the code of the algorithms, and both against converged runs."""

from __future__ import annotations

import gc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import root

import simlab
import theory
from simlab.operations import gradient, mix
from tests.helpers import strategies
from theory import transfer
from theory.moments import modes as modes_module
from theory.moments.modes import network_modes

WITHOUT_BIAS = ("PmSGD", "D2", "D2DmSGD", "DSGTHB", "DSMT", "EDM", "EXTRA", "ExactDiffusion", "GradientTracking")
WITHOUT_BIAS += ("MomentumTracking", "NIDS")


def random_network(seed: int, n_nodes: int, lazy: bool = False) -> Any:
    return strategies.network(n_nodes, "metropolis", lazy, np.random.default_rng(seed))


@pytest.mark.parametrize("name", strategies.NAMES)
@given(seed=st.integers(0, 2**31), n_nodes=st.integers(2, 9), momentum=st.sampled_from([0.0, 0.5, 0.9, 0.99]))
@settings(max_examples=20)  # of each up to nine eigenvalues
def test_closed_forms_are_those_of_the_code(name, seed, n_nodes, momentum):
    network = random_network(seed, n_nodes)
    algorithm = strategies.algorithm(name, 0.3, momentum)
    read = transfer.read_bias_transfer(network, algorithm)
    closed = transfer.bias_transfer(algorithm, transfer.modes(network).values)
    np.testing.assert_allclose(read, closed, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", strategies.NAMES)
@pytest.mark.parametrize("kind", ["quadratic", "logistic"])
def test_runs_come_to_rest_at_the_limit(name, kind):
    """The residual of a converged run is rounding; of one with another algorithm's function it is not."""
    random = np.random.default_rng(4)
    problem = strategies.objective(kind, 5, 2, 12, random).problem
    network = random_network(1, 5, lazy=True)
    algorithm = strategies.algorithm(name, 0.1, 0.5)
    trace = simlab.simulate(problem, network, algorithm, steps=2000, record_every=2000, engine="numpy", progress=False)
    x = trace.x[0]
    assert transfer.limit_residual(problem, network, algorithm, trace.x).shape == (1,)
    assert transfer.limit_residual(problem, network, algorithm, x) < 1e-11
    other = simlab.AWCDmSGD(0.1, 0.9)
    assert transfer.limit_residual(problem, network, other, x) > 1e-3


MORE: dict[str, Any] = {
    "CHOCO-SGD, top-k": simlab.ChocoSGD(0.1, 0.3, simlab.compression.TopK(1)),
    "CHOCO-SGD, identity": simlab.ChocoSGD(0.1, 0.7, simlab.compression.Identity()),
    "SGP": simlab.SGP(0.1),
    "SGP, momentum": simlab.SGP(0.05, 0.5),
    "OSGP": simlab.SGP(0.1, overlap=True),
    "OSGP, momentum": simlab.SGP(0.05, 0.5, overlap=True),
    "subgradient-push": simlab.SubgradientPush(0.1),
    "push-DIGing": simlab.PushDIGing(0.05),
}


@pytest.mark.parametrize("name", MORE)
def test_runs_of_compressed_and_push_methods_come_to_rest_at_the_limit(name):
    """By the residual of a converged run; what is read off the step has no field of one number a node."""
    problem = strategies.objective("quadratic", 5, 2, 12, np.random.default_rng(4)).problem
    network, algorithm = random_network(1, 5, lazy=True), MORE[name]
    trace = simlab.simulate(problem, network, algorithm, steps=2000, record_every=2000, engine="numpy", progress=False)
    assert transfer.limit_residual(problem, network, algorithm, trace.x[0]) < 1e-11
    assert transfer.limit_residual(problem, network, simlab.AWCDmSGD(0.1, 0.9), trace.x[0]) > 1e-3


def test_choco_without_compression_has_the_transfer_function_of_its_step():
    network, algorithm = random_network(1, 5), MORE["CHOCO-SGD, identity"]
    closed = transfer.bias_transfer(algorithm, transfer.modes(network).values)
    np.testing.assert_allclose(transfer.read_bias_transfer(network, algorithm), closed, rtol=1e-9)


def test_residual_written_out():
    random = np.random.default_rng(2)
    problem = strategies.objective("quadratic", 4, 3, 1, random).problem
    network = random_network(3, 4)
    x = random.standard_normal((4, 3))
    w = np.asarray(network.weights)
    average = np.full((4, 4), 0.25)
    phi = np.linalg.pinv(np.eye(4) - w) @ w @ (np.eye(4) - average)  # λ/(1 − λ) off the constant vector
    g = problem.gradient(x)
    equations = (np.eye(4) - average) @ x + 0.2 * phi @ g + 0.2 * average @ g
    residual = transfer.limit_residual(problem, network, simlab.DSGD(0.2), x)
    assert residual == pytest.approx(np.linalg.norm(equations) / 2, rel=1e-12)


def test_dmsgd_stops_where_dsgd_with_a_larger_step_stops():
    problem = strategies.objective("logistic", 5, 2, 12, np.random.default_rng(4)).problem
    network = random_network(1, 5, lazy=True)
    settings = {"steps": 3000, "record_every": 3000, "engine": "numpy", "progress": False}
    algorithms = [simlab.DmSGD(0.02, 0.8), simlab.DSGD(0.1), simlab.DecentLaM(0.1, 0.8), simlab.QGDmSGD(0.1, 0.8)]
    finals = [trace.x[0] for trace in simlab.simulate(problem, network, algorithms, **settings)]
    for final in finals[1:]:
        np.testing.assert_allclose(final, finals[0], atol=1e-12)


def limit(problem: Any, network: Any, algorithm: Any) -> np.ndarray:
    """Where an algorithm comes to rest, by a root finder on its own step with all fields of its state."""
    shape = (problem.n_nodes, problem.dim)

    def moved(flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(shape)
        transferred = transfer.apply_transfer(network, algorithm, problem.gradient(x))
        gradients = problem.gradient(x).mean(axis=0)
        return (x - x.mean(axis=0) + algorithm.lr * transferred + gradients).ravel()

    solution = root(moved, np.tile(problem.minimizer, (problem.n_nodes, 1)).ravel(), tol=1e-13)
    return solution.x.reshape(shape)


@pytest.mark.parametrize("name", [name for name in strategies.NAMES if name not in WITHOUT_BIAS])
@pytest.mark.parametrize("kind", ["quadratic", "least_squares", "logistic"])
def test_leading_constant_is_the_limit_of_the_ratio(name, kind):
    problem = strategies.objective(kind, 4, 2, 8, np.random.default_rng(7)).problem
    network = random_network(2, 4)
    errors = []
    for lr in (1e-3, 1e-4):
        algorithm = strategies.algorithm(name, lr, 0.5)
        mse = np.mean(np.sum((limit(problem, network, algorithm) - problem.minimizer) ** 2, axis=1))
        errors.append(abs(mse / lr**2 / transfer.leading_constant(problem, network, algorithm) - 1))
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 5, "the error of the ratio is of the order of the step size"


def test_leading_direction_is_the_derivative_of_the_limit():
    problem = strategies.objective("logistic", 4, 2, 8, np.random.default_rng(7)).problem
    network = random_network(2, 4)
    x = limit(problem, network, simlab.DSGD(1e-5))
    spread, shift = transfer.leading_direction(problem, network, simlab.DSGD(1e-5))
    np.testing.assert_allclose((x - x.mean(axis=0)) / 1e-5, spread, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose((x.mean(axis=0) - problem.minimizer) / 1e-5, shift, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", WITHOUT_BIAS)
def test_methods_without_bias_have_no_leading_constant(name):
    problem = strategies.objective("logistic", 4, 2, 8, np.random.default_rng(7)).problem
    assert transfer.leading_constant(problem, random_network(2, 4), strategies.algorithm(name, 0.1, 0.5)) == 0


def test_a_leading_constant_is_of_a_problem_without_l1_term():
    problem = strategies.objective("quadratic", 4, 2, 8, np.random.default_rng(7)).problem
    network, algorithm = random_network(2, 4), simlab.DSGD(0.1)
    for function in (transfer.leading_direction, transfer.leading_constant):
        with pytest.raises(ValueError, match=r"problem = Quadratic\(.*l1=0\.3.*pass problem\.with_l1\(0\)"):
            function(problem.with_l1(0.3), network, algorithm)
        np.testing.assert_equal(
            function(problem.with_l1(0.3).with_l1(0), network, algorithm), function(problem, network, algorithm)
        )


# Algorithms of users


class Pair(NamedTuple):
    """Two buffers."""

    x: Any
    m: Any


class Extra(NamedTuple):
    """EXTRA, as a user would write it: conserved quantities, no bias. X⁻ = X⁰ and G⁻ = 0 do not start it right."""

    lr: float

    def init(self, x):
        return Pair(x, 0 * x)

    def step(self, state, problem, network, batch):
        mixed = mix(network, state.x)
        correction = state.m + (mixed - state.x) / 2  # Σ (W − V)X = Σ (W − I)X/2
        return Pair((state.x + mixed) / 2 + correction - self.lr * gradient(problem, state.x, batch), correction)


class TwiceMixed(NamedTuple):
    """Two exchanges around the gradient: φ = λ/(1 − λ²)."""

    lr: float

    def init(self, x):
        return simlab.DSGD(self.lr).init(x)

    def step(self, state, problem, network, batch):
        inner = mix(network, state.x) - self.lr * gradient(problem, state.x, batch)
        return state._replace(x=mix(network, inner))


class Local(NamedTuple):
    """No exchange of the gradient's effect on a fixed anchor: comes to rest where the mean gradient is not zero."""

    lr: float

    def init(self, x):
        return simlab.DSGD(self.lr).init(x)

    def step(self, state, problem, network, batch):
        return state._replace(x=0.5 * mix(network, state.x) - self.lr * gradient(problem, state.x, batch))


class Drifting(NamedTuple):
    """Sums up gradients without any exchange: no fixed point under constant ones."""

    lr: float

    def init(self, x):
        return simlab.DSGD(self.lr).init(x)

    def step(self, state, problem, network, batch):
        return state._replace(x=state.x - self.lr * gradient(problem, state.x, batch))


class Clipped(NamedTuple):
    """Not affine in the state."""

    lr: float

    def init(self, x):
        return simlab.DSGD(self.lr).init(x)

    def step(self, state, problem, network, batch):
        return state._replace(x=mix(network, abs(state.x)) - self.lr * gradient(problem, state.x, batch))


class Squared(NamedTuple):
    """Not affine in the gradients."""

    lr: float

    def init(self, x):
        return simlab.DSGD(self.lr).init(x)

    def step(self, state, problem, network, batch):
        g = gradient(problem, state.x, batch)
        return state._replace(x=mix(network, state.x - self.lr * g * g * g))


def test_a_users_method_has_a_transfer_function():
    network = random_network(5, 6)
    values = transfer.modes(network).values
    np.testing.assert_allclose(transfer.transfer_on(network, TwiceMixed(0.1)), values / (1 - values**2), rtol=1e-8)
    np.testing.assert_allclose(transfer.transfer_on(network, Extra(0.1)), 0, atol=1e-10)
    with pytest.raises(TypeError, match="no known bias transfer"):
        transfer.bias_transfer(TwiceMixed(0.1), values)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (Local(0.1), "mean gradient is not zero"),
        (Drifting(0.1), "no fixed point"),
        (Clipped(0.1), "not affine,"),
        (Squared(0.1), "not affine in the gradients"),
        (simlab.DSGD(simlab.schedules.InverseSqrt(0.1)), "schedule"),
        (simlab.ProximalDSGD(0.1, l1=1e-12), "thresholds.*pass one with l1=0"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_methods_without_one_say_why(algorithm, message):
    with pytest.raises((ValueError, TypeError), match=message):
        transfer.read_bias_transfer(random_network(5, 6), algorithm)


@pytest.mark.parametrize(
    "function", [transfer.bias_transfer, lambda a, v: transfer.transfer_on(random_network(5, 6), a)]
)
def test_thresholds_have_no_transfer_function(function):
    with pytest.raises(ValueError, match=r"thresholds.*pass one with l1=0"):
        function(simlab.NIDS(0.1, l1=1.0), np.array([0.5]))
    with pytest.raises(TypeError, match=r"l1 = .* is a schedule"):
        function(simlab.NIDS(0.1, l1=simlab.schedules.InverseSqrt(0.1)), np.array([0.5]))
    assert not np.any(function(simlab.NIDS(0.1), np.array([0.5])))


def test_methods_of_equal_numbers_are_told_apart():
    """NamedTuples of different classes compare equal; a cache keyed by them would confuse algorithms."""
    network = random_network(5, 6)
    assert simlab.PmSGD(0.1, 0.5) == simlab.AWCDmSGD(0.1, 0.5)
    assert not np.any(transfer.transfer_on(network, simlab.PmSGD(0.1, 0.5)))
    assert np.any(transfer.transfer_on(network, simlab.AWCDmSGD(0.1, 0.5)))


class Corrected(NamedTuple):
    """Gradient tracking, without the closed form of its bias transfer function."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.GradientTracking(self.lr).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        return simlab.GradientTracking(self.lr).step(state, problem, network, batch)


@pytest.mark.parametrize("lr", [1e-4, 0.1, 100.0])
@pytest.mark.parametrize("n_nodes", [2, 5, 60])
def test_rounding_of_an_unbiased_method_is_no_bias(lr, n_nodes):
    """Without the cut values of 1e-15 to 1e-9, some of them negative."""
    network = simlab.topologies.ring(n_nodes, lazy=True)
    assert not np.any(transfer.read_bias_transfer(network, Corrected(lr)))


def test_a_method_without_bias_has_none_to_bound():
    problem = simlab.LeastSquares.synthetic(5, 30, 3, seed=0)
    network = simlab.topologies.ring(5, lazy=True)
    trace = simlab.simulate(problem, network, Corrected(0.05), steps=50, engine="numpy", progress=False)
    row = theory.verify(trace)["B1, bias"]
    assert row.verdict == "not applicable"
    assert "φ = 0: no bias" in row.reason


def test_one_node_alone_has_no_disagreement_to_transfer():
    alone = simlab.topologies.ring(1)
    assert transfer.read_bias_transfer(alone, TwiceMixed(0.1)).shape == (0,)
    with pytest.raises(ValueError, match="mean gradient is not zero"):
        transfer.read_bias_transfer(alone, Local(0.1))
    problem = simlab.LeastSquares.synthetic(1, 30, 3, seed=0)
    trace = simlab.simulate(problem, alone, TwiceMixed(0.1), steps=3000, engine="numpy", progress=False)
    assert theory.verify(trace)["B2, bias"].verdict == "holds"


def test_networks_too_large_say_so():
    with pytest.raises(ValueError, match="4000 nodes"):
        transfer.modes(simlab.topologies.ring(4000))


def test_modes_of_sparse_and_single_networks():
    network = simlab.topologies.ring(100)
    values, vectors = transfer.modes(network)
    np.testing.assert_allclose(values, np.sort(network.eigenvalues)[:-1], atol=1e-12)
    np.testing.assert_allclose(vectors.sum(axis=0), 0, atol=1e-12)
    alone = simlab.topologies.ring(1)
    assert transfer.modes(alone).values.shape == (0,)
    assert transfer.transfer_on(alone, simlab.DSGD(0.1)).shape == (0,)


def test_two_clusters_that_hardly_talk_keep_the_mean_apart():
    """The second eigenvalue is 1 but for 2e-9: its eigenvector must not mix with the mean."""
    n, coupling = 6, 1e-9
    inside, across = (1 - coupling) / 3, coupling / 3
    network = simlab.Network.from_matrix(np.kron([[inside, across], [across, inside]], np.ones((3, 3))))
    for eigenvectors in (network_modes(network), modes_module._Eigenvectors(network)):
        coefficients = eigenvectors.forward(np.ones((n, 1)))
        np.testing.assert_allclose(coefficients[0], np.sqrt(n), rtol=1e-14)
        np.testing.assert_allclose(coefficients[1:], 0, atol=1e-14)
        x = np.random.default_rng(0).standard_normal((2, n, 3))
        np.testing.assert_allclose(eigenvectors.backward(eigenvectors.forward(x)), x, atol=1e-14)
        np.testing.assert_allclose(np.sort(eigenvectors.eigenvalues), [0, 0, 0, 0, 1 - 2e-9, 1], atol=1e-14)


@pytest.mark.parametrize("function", [transfer.modes, network_modes])
def test_modes_are_computed_once_and_forgotten_with_their_network(function):
    network = random_network(5, 6)
    assert function(network) is function(network)
    alive = weakref.ref(network)
    del network
    gc.collect()
    assert alive() is None


def test_a_verdict_keeps_no_problem_and_no_network_alive():
    problem = strategies.objective("logistic", 4, 2, 8, np.random.default_rng(7)).problem
    network = random_network(2, 4)
    algorithm = simlab.DSGD(0.01, order="cta")
    trace = simlab.simulate(problem, network, algorithm, steps=5, batch_size=2, engine="numpy", progress=False)
    found = theory.theorems.suprema.gradient_variance(problem, 2, 0.0)
    assert theory.theorems.suprema.gradient_variance(problem, 2, 0.0) is found
    assert theory.theorems.suprema.gradient_variance(problem, 4, 0.0).value == pytest.approx(found.value / 2)
    theory.theorems.suprema.gradient_dissimilarity(problem)
    theory.verify(trace)
    alive = [weakref.ref(problem), weakref.ref(network)]
    del trace, problem, network
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
