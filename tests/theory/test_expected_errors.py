"""The expectation at one step, by the cheapest way: against every step taken, and the transient of `theory.predict`."""

from contextlib import nullcontext, suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.linalg import block_diag

import simlab
import theory
from simlab.operations import gradient, mix
from tests.helpers import strategies
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.budget import Budget, CostError
from theory.moments.dense import Dense
from theory.moments.minibatches import Doubling, Eigenbasis, second_moment, settling_work
from theory.moments.noise import Noise
from theory.prediction import expected_path

ALGORITHMS = [strategies.algorithm(name, 0.1, 0.5) for name in strategies.DISTINCT]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=strategies.DISTINCT)
FEW = {"DSGD", "DecentLaM", "D2", "GradientTracking"}  # of one buffer, of two, of a conserved sum, of a tracker
a_few_algorithms = pytest.mark.parametrize(
    "algorithm",
    [
        each if name in FEW else pytest.param(each, marks=pytest.mark.slow)
        for name, each in zip(strategies.DISTINCT, ALGORITHMS, strict=True)
    ],
    ids=strategies.DISTINCT,
)


def sampled_case(algorithm, batch_size=2, distance=1.0):
    """Dense moments of a small least-squares problem under mini-batches, and what leads along its mean path."""
    random = np.random.default_rng(0)
    problem = simlab.LeastSquares(0.8 * random.standard_normal((3, 7, 2)), random.standard_normal((3, 7)), l2=0.1)
    network, x0 = simlab.topologies.ring(3, lazy=True), distance * random.standard_normal((3, 2))
    dense = Dense(AffineStep(Surrogate.of(problem), network, algorithm, x0), True)
    return problem, network, dense, Noise(problem, batch_size, 0.1)


def written_out(problem, dense, noise):
    """Spreads after 0, 1, 2, ... steps, every one of them taken."""
    z, s, n = dense.step.start, np.zeros((dense.step.size,) * 2), problem.n_nodes
    while True:
        yield dense.spread(s)
        y = dense.gradient_matrix @ s @ dense.gradient_matrix.T
        blocks = np.stack([y[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] for i in range(n)])
        q = noise.covariance(dense.step.gradient_points(z)) + noise.spread(blocks)
        s = dense.transition @ s @ dense.transition.T + dense.noise_matrix @ block_diag(*q) @ dense.noise_matrix.T
        z = dense.step.of(problem, z)


@a_few_algorithms
def test_a_transient_stops_iterating_where_it_has_settled(algorithm, monkeypatch):
    problem, _, dense, noise = sampled_case(algorithm)
    steps, counted = 20_000, []
    after = Dense._after
    monkeypatch.setattr(Dense, "_after", lambda *args: counted.append(0) or after(*args))
    _, found = next(islice(expected_path(problem, dense, noise), steps, None))
    assert len(counted) < 6 * np.log(1e-16) / np.log(dense.rate)
    expected = next(islice(written_out(problem, dense, noise), len(counted) + 500, None))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-15)


@every_algorithm
@pytest.mark.parametrize("steps", [0, 1, 2, 13, 200])
def test_doubling_is_the_additive_transient(algorithm, steps):
    problem, _, dense, _ = sampled_case(algorithm)
    path = expected_path(problem, dense, Noise(problem, None, 0.3))
    _, expected = next(islice(path, steps, None))
    np.testing.assert_allclose(dense.additive_spread(0.3, steps), expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("lr", [0.05, 0.1, 0.3])
@pytest.mark.parametrize(("batch_size", "distance"), [(1, 1.0), (7, 1.0), (7, 1e4)])
def test_a_settled_spread_is_that_of_the_transient_and_is_found(lr, batch_size, distance):
    """Whatever is handed out is right to 1e-8; late enough, it is handed out."""
    problem, _, dense, noise = sampled_case(simlab.DmSGD(lr, 0.5), batch_size, distance)
    horizon = np.log(1e-8) / np.log(dense.rate)
    expected, found = list(islice(written_out(problem, dense, noise), int(3.0 * horizon) + 1)), []
    for steps in (int(part * horizon) for part in (0.1, 0.3, 0.6, 0.8, 1.0, 1.3, 3.0)):
        settled = dense.settled_spread(noise, mean_states(problem, dense), steps)
        found.append(settled is not None)
        if settled is not None:
            np.testing.assert_allclose(settled, expected[steps], rtol=1e-8)
    assert found[-1] and not found[0]


def mean_states(problem, dense):
    z = dense.step.start
    while True:
        yield z
        z = dense.step.of(problem, z)


def test_noise_that_feeds_on_itself_is_not_called_settled():
    """Just below the step size at which the variance diverges, it takes far longer to settle than the mean does."""
    random = np.random.default_rng(3)
    problem = simlab.LeastSquares(random.standard_normal((2, 3, 1)), random.standard_normal((2, 3)))
    network, noise = simlab.Network.from_matrix([[0.75, 0.25], [0.25, 0.75]]), Noise(problem, 1, 0.0)

    def variance(lr):
        return theory.predict(problem, network, simlab.DSGD(lr), batch_size=1).variance

    low, high = 0.1, 3.0
    while high - low > 1e-3:
        low, high = ((low + high) / 2, high) if np.isfinite(variance((low + high) / 2)) else (low, (low + high) / 2)
    dense = Dense(AffineStep(Surrogate.of(problem), network, simlab.DSGD(low), np.zeros((2, 1))), True)
    steps = int(3 * np.log(1e-8) / np.log(dense.rate))
    transient = next(islice(expected_path(problem, dense, noise), steps, None))[1]
    assert transient.variance < 0.999 * variance(low)
    assert dense.settled_spread(noise, mean_states(problem, dense), steps) is None


@pytest.fixture
def products_only(monkeypatch):
    """Costs without the time of calls: 180 multiplications a mean step here, and what is written below."""
    for name in ("CALLED", "STREAMED", "SAMPLED"):
        monkeypatch.setattr(theory.prediction, name, 0.0)


@pytest.mark.parametrize("noise", [{}, {"noise_std": 0.2}, {"batch_size": 2}], ids=["none", "additive", "batch"])
@pytest.mark.parametrize("affordable", [1e3, 7e4, 4e5, 1e6, 1e9])
@pytest.mark.parametrize("steps", [0, 3, 100, 1000])
def test_errors_at_one_step_are_those_of_the_transient_or_refused(noise, affordable, steps, products_only, monkeypatch):
    problem, network, dense, _ = sampled_case(simlab.DmSGD(0.1, 0.5))
    monkeypatch.setattr(theory.prediction, "AFFORDABLE", affordable)
    arguments = {**noise, "x0": dense.step.start[0]}
    last = theory.predict(problem, network, simlab.DmSGD(0.1, 0.5), **arguments).transient(steps).iloc[-1]
    mean = 180 * steps
    refused = mean > affordable or {
        "noise_std": mean + 432 * 2 * steps > affordable < mean + 8640 * steps.bit_length(),
        "batch_size": mean + 5184 * steps > affordable and (affordable < 4e5 or steps < 1000),
    }.get(next(iter(noise), ""), False)
    with pytest.raises(ValueError, match="cost: the ") if refused else nullcontext():
        found = theory.prediction.expected_errors(problem, network, simlab.DmSGD(0.1, 0.5), steps, **arguments)
        np.testing.assert_allclose(found, (last.mse, last.consensus), rtol=2e-8)


class ChainState(NamedTuple):
    x: Any
    a: Any
    b: Any
    c: Any


class Chain(NamedTuple):
    """Three buffers, each of which smooths the one before by the same factor: eigenvectors all but parallel."""

    lr: float

    def init(self, x):
        return ChainState(x, 0 * x, 0 * x, 0 * x)

    def step(self, state, problem, network, batch):
        a = 0.5 * state.a + gradient(problem, state.x, batch)
        b = 0.5 * state.b + mix(network, a)
        c = 0.5 * state.c + b
        return ChainState(mix(network, state.x - self.lr * c), a, b, c)


class Products:
    """Counts the multiplications of products and inverses of large matrices, a complex one as four."""

    def __init__(self, monkeypatch):
        self.made = 0.0
        self.doubled = self.inside = 0
        for kind, names in ((Eigenbasis, ("full", "states", "blocks")), (Doubling, ("full", "states", "blocks"))):
            for name in names:
                monkeypatch.setattr(kind, name, self._noted(getattr(kind, name), name))

    def _noted(self, function, name):
        def noted(inverse, argument):
            self.made += 0.0 if self.inside else inverse.work[name]
            self.doubled += isinstance(inverse, Doubling)
            self.inside += 1
            try:
                return function(inverse, argument)
            finally:
                self.inside -= 1

        return noted


@pytest.mark.parametrize("lr", [1e-7, 5e-3, 0.02])
@pytest.mark.parametrize("share", [0.3, 1.0, 3.0])
def test_a_covariance_that_settles_keeps_to_its_budget(lr, share, monkeypatch):
    """Whatever its eigenvectors are worth: what is multiplied is noted first, and never more than the budget."""
    problem, network, _, noise = sampled_case(simlab.DSGD(0.1))
    dense = Dense(AffineStep(Surrogate.of(problem), network, Chain(lr), np.zeros((3, 2))), True)
    products, budget = Products(monkeypatch), Budget(share * settling_work(6, dense.step.size))
    with suppress(CostError):
        dense.settled_spread(
            noise, mean_states(problem, dense), int(40 / (1 - dense.rate)) if lr > 1e-4 else 10, budget
        )
    assert products.made <= budget.spent <= budget.limit
    if share < 1:
        assert budget.spent == 0, "refused before any work"


def test_doubling_in_place_of_bad_eigenvectors_is_paid_for(monkeypatch):
    """The way that takes a hundred times more is not begun on a budget that the eigenvectors alone would fit."""
    problem, network, _, noise = sampled_case(simlab.DSGD(0.1))
    dense = Dense(AffineStep(Surrogate.of(problem), network, Chain(0.02), np.zeros((3, 2))), True)
    dense.eigenbasis = None
    products, budget = Products(monkeypatch), Budget(settling_work(6, dense.step.size))
    at_limit = noise.covariance(dense.step.gradient_points(dense.fixed_point()))
    with pytest.raises(CostError, match="the stationary covariance takes some"):
        second_moment(dense, noise, at_limit, budget)
    assert products.made <= budget.spent <= budget.limit
    free = Budget()
    assert second_moment(dense, noise, at_limit, free) is not None
    assert products.doubled > 0 and free.spent > budget.limit


def test_a_rate_that_is_too_slow_is_refused_before_any_covariance(monkeypatch):
    problem, _, dense, noise = sampled_case(simlab.DmSGD(1e-3, 0.5))
    monkeypatch.setattr(theory.moments.dense, "second_moment", None)
    assert dense.settled_spread(noise, mean_states(problem, dense), 1500) is None


def test_errors_at_one_step_without_matrices(products_only, monkeypatch):
    problem, network, dense, _ = sampled_case(simlab.DmSGD(0.1, 0.5))
    arguments = (problem, network, simlab.DmSGD(0.1, 0.5), 9)
    expected = theory.prediction.expected_errors(*arguments, noise_std=0.2, x0=dense.step.start[0])
    monkeypatch.setattr(theory.prediction, "DENSE_STATES", 1)
    found = theory.prediction.expected_errors(*arguments, noise_std=0.2, x0=dense.step.start[0])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="too large to carry"):
        theory.prediction.expected_errors(*arguments, batch_size=2)
    monkeypatch.setattr(theory.prediction, "AFFORDABLE", 2e3)
    with pytest.raises(ValueError, match="cost: the transient of 9 steps"):
        theory.prediction.expected_errors(*arguments, noise_std=0.2)


@pytest.mark.parametrize("algorithm", [simlab.D2(0.05), simlab.EXTRA(0.05)], ids=["D2", "EXTRA"])
def test_doubling_keeps_to_what_noise_reaches(algorithm):
    """Of an algorithm that conserves something, over so many steps that rounding there would be seen."""
    problem, network, dense, _ = sampled_case(algorithm)
    stationary = theory.predict(problem, network, algorithm, noise_std=0.3)
    for steps in (10**5, 10**7, 10**9):
        assert dense.additive_spread(0.3, steps).variance == pytest.approx(stationary.variance, rel=1e-9)
