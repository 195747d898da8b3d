"""Composite objectives f + nu ||x||_1: reference solutions by their optimality conditions, and what is recorded."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import Lasso

import simlab
from tests.helpers import strategies

CONVEX = ["quadratic", "diagonal", "least_squares", "wide_least_squares", "logistic"]


def optimality(problem):
    """Largest violation of: grad f(x) = -nu sign(x) where x is not 0, |grad f(x)| <= nu where it is."""
    x, nu = problem.minimizer, problem.l1
    g = problem.global_gradient(x)
    on_support = np.abs(g + nu * np.sign(x))[x != 0]
    off_support = np.maximum(np.abs(g) - nu, 0)[x == 0]
    return max(on_support.max(initial=0), off_support.max(initial=0))


@pytest.mark.parametrize("kind", [*CONVEX, "nonconvex"])
@given(seed=st.integers(0, 2**32 - 1), relative=st.sampled_from([1e-6, 0.01, 0.1, 0.5, 1.5]))
@settings(max_examples=25)
def test_minimizer_is_optimal(kind, seed, relative):
    random = np.random.default_rng(seed)
    n, d, m = (int(k) for k in random.integers(1, 9, 3))
    smooth = strategies.objective(kind, n, d, m, random).problem
    slope = np.abs(smooth.global_gradient(np.zeros(smooth.dim))).max()
    problem = smooth.with_l1(relative * slope)
    assert optimality(problem) <= 1e-12 * max(1, slope)
    if relative > 1:
        assert not problem.minimizer.any()
    assert not np.signbit(problem.minimizer[problem.minimizer == 0]).any()  # no negative zeros


@given(seed=st.integers(0, 2**32 - 1), nu=st.floats(1e-3, 0.5))
@settings(max_examples=15)
def test_least_squares_is_the_lasso(seed, nu):
    """scikit-learn's coordinate descent on the samples of all nodes."""
    problem = simlab.LeastSquares.synthetic(3, 10, 8, seed=seed % 1000).with_l1(nu)
    lasso = Lasso(alpha=nu, fit_intercept=False, tol=1e-12, max_iter=100_000)
    lasso.fit(problem.features.reshape(30, 8), problem.targets.reshape(30))
    np.testing.assert_allclose(problem.minimizer, lasso.coef_, atol=1e-7)


def test_real_data():
    """Breast cancer, whose features are nearly dependent: for a small weight it takes the Newton steps."""
    data = simlab.data.load("breast_cancer")
    parts = simlab.data.partition(data.features[:-9], data.targets[:-9], 8, "sorted")
    for nu, nonzeros in ((1e-5, [30]), (1e-3, range(10, 30)), (0.05, range(2, 10))):
        problem = simlab.LogisticRegression(parts.features, parts.targets, l2=0.0).with_l1(nu)
        assert optimality(problem) <= 1e-12
        assert np.count_nonzero(problem.minimizer) in nonzeros


def test_what_changes_and_what_does_not():
    random = np.random.default_rng(0)
    smooth = simlab.LeastSquares.synthetic(4, 30, 6, seed=3)
    before = smooth.minimizer.copy(), smooth.minimum  # cached: the twin must not inherit them
    problem = smooth.with_l1(0.2)
    x = random.standard_normal((2, 6))
    for name in ("global_loss", "global_gradient"):
        np.testing.assert_array_equal(getattr(problem, name)(x), getattr(smooth, name)(x))
    objective = smooth.global_loss(x) + 0.2 * np.abs(x).sum(axis=-1)
    np.testing.assert_allclose(problem.objective(x), objective, rtol=1e-15)
    np.testing.assert_array_equal(smooth.objective(x), smooth.global_loss(x))
    np.testing.assert_allclose(problem.minimum, problem.objective(problem.minimizer), rtol=1e-15)
    assert all(problem.minimum < problem.objective(problem.minimizer + step) for step in 1e-3 * np.eye(6))
    assert np.abs(problem.minimizer - before[0]).max() > 0.05
    np.testing.assert_array_equal(problem.with_l1(0).minimizer, before[0])
    assert problem.with_l1(0).minimum == smooth.minimum == before[1]
    residuals = problem.gradient(np.broadcast_to(problem.minimizer, (4, 6)))
    np.testing.assert_allclose(problem.heterogeneity, np.sqrt(np.mean(np.sum(residuals**2, axis=1))))
    assert "l1=0.2" in repr(problem)
    assert "l1" not in repr(smooth)


def test_other_namespaces():
    problem = simlab.LeastSquares.synthetic(3, 10, 4).with_l1(0.1)
    twin = problem.convert(array_api_strict, array_api_strict.float64)
    x = np.linspace(-1, 1, 8).reshape(2, 4)
    np.testing.assert_allclose(np.from_dlpack(twin.objective(array_api_strict.asarray(x))), problem.objective(x))
    np.testing.assert_array_equal(twin.minimizer, problem.minimizer)
    np.testing.assert_array_equal(twin.with_l1(0.3).minimizer, problem.with_l1(0.3).minimizer)


def test_what_is_recorded():
    """Loss, mse and stationarity are those of the problem, whatever the algorithm."""
    smooth = simlab.LeastSquares.synthetic(5, 20, 7, seed=1)
    problem = smooth.with_l1(0.15)
    network = simlab.topologies.ring(5)
    x0 = np.random.default_rng(1).standard_normal((5, 7))
    for algorithm in (simlab.ProximalDSGD(0.1, 0.15), simlab.ProximalDSGD(0.1, 0.4), simlab.DSGD(0.1)):
        trace = simlab.simulate(problem, network, algorithm, steps=3, x0=x0, engine="numpy", progress=False)
        last, mean = trace.frame.iloc[-1], trace.x[0].mean(axis=0)
        g = smooth.global_gradient(mean)
        step = mean - g
        proximal = mean - np.sign(step) * np.maximum(np.abs(step) - 0.15, 0)
        np.testing.assert_allclose(last.loss, smooth.global_loss(mean) + 0.15 * np.abs(mean).sum())
        np.testing.assert_allclose(last.squared_gradient_norm, np.sum(g**2))
        np.testing.assert_allclose(last.stationarity, np.sum(proximal**2))
        np.testing.assert_allclose(last.mse, np.mean(np.sum((trace.x[0] - problem.minimizer) ** 2, axis=1)))
    plain = simlab.simulate(smooth, network, simlab.DSGD(0.1), steps=3, engine="numpy", progress=False).frame
    np.testing.assert_array_equal(plain.stationarity, plain.squared_gradient_norm)


@pytest.mark.parametrize("compressor", [simlab.compression.Identity(), simlab.compression.QSGD(8)])
def test_proximal_methods_find_the_minimizer(compressor):
    """Equal objectives at all nodes: no bias, so the composite minimizer is the limit."""
    one = simlab.LeastSquares.synthetic(1, 40, 6, seed=2)
    problem = simlab.LeastSquares(np.tile(one.features, (4, 1, 1)), np.tile(one.targets, (4, 1))).with_l1(0.3)
    network = simlab.topologies.complete(4)
    for algorithm in (simlab.MalcomPSGD(0.3, 0.5, compressor, 0.3), simlab.ProximalDSGD(0.3, 0.3)):
        last = simlab.simulate(problem, network, algorithm, steps=400, engine="numpy", progress=False).frame.iloc[-1]
        assert last.stationarity < 1e-20
        assert last.mse < 1e-20
    wrong = simlab.simulate(problem, network, simlab.DSGD(0.3), steps=400, engine="numpy", progress=False)
    assert wrong.frame.stationarity.iloc[-1] > 1e-3


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_nids_finds_the_minimizer_of_different_objectives(engine):
    """By a step size that depends on the nodes alone, where the plain proximal algorithm stops elsewhere."""
    problem = simlab.LeastSquares.synthetic(6, 40, 5, heterogeneity=2.0, seed=2).with_l1(0.3)
    assert 0 < np.count_nonzero(problem.minimizer) < 5
    network = simlab.topologies.ring(6)
    lr = 1 / problem.smoothness
    options = {"steps": 3000, "record_every": 3000, "engine": engine, "progress": False}
    assert simlab.simulate(problem, network, simlab.NIDS(lr, 0.3), **options).frame.mse.iloc[-1] < 1e-20
    assert simlab.simulate(problem, network, simlab.ProximalDSGD(lr, 0.3), **options).frame.mse.iloc[-1] > 1e-3


@pytest.mark.parametrize(("l1", "error"), [(-0.1, ValueError), (np.nan, ValueError), ("0.1", TypeError)])
def test_weights_that_are_none(l1, error):
    with pytest.raises(error, match="l1 ="):
        simlab.LeastSquares.synthetic(2, 5, 3).with_l1(l1)


def test_no_minimizer():
    indefinite = simlab.Quadratic(np.array([[1.0, -0.5], [1.0, 0.1]]), np.ones((2, 2))).with_l1(0.1)
    with pytest.raises(ValueError, match=r"unbounded below.*eigenvalue -0\.2"):
        _ = indefinite.minimizer
    sloping = simlab.Quadratic(np.array([[0.0, 1.0]]), np.ones((1, 2))).with_l1(0.1)
    with pytest.raises(ValueError, match="no minimizer of f"):
        _ = sloping.minimizer
    # Where the l1 term outweighs the slope there is one.
    np.testing.assert_allclose(sloping.with_l1(1.5).minimizer, [0, 0], atol=1e-12)
