"""Problems against plain loops over the formulas, finite differences and closed forms written here."""

import copy
import pickle
import tracemalloc
from typing import NamedTuple

import array_api_strict
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings, strategies as st

import simlab
from simlab.kernel import LANES
from simlab.operations import Batch
from simlab.problems import LeastSquares, LogisticRegression, NonconvexLogistic, Problem, Quadratic, base
from simlab.problems.lanes import add_product
from simlab.problems.newton import newton
from simlab.run.metrics import measure
from tests.helpers.rows import call_rows, gradient_part


class Case(NamedTuple):
    """A problem and what it was built from."""

    kind: str
    problem: Problem
    data: tuple
    random: np.random.Generator

    def local_loss(self, i, x, samples=None):
        """f_i(x) by the formula, one term at a time; `samples` in place of all of them."""
        if self.kind in ("dense", "diagonal"):
            hessians, linear = self.data
            h = np.diag(hessians[i]) if self.kind == "diagonal" else hessians[i]
            quadratic = sum(x[j] * h[j, k] * x[k] for j in range(len(x)) for k in range(len(x))) / 2
            return quadratic - sum(linear[i, k] * x[k] for k in range(len(x)))
        features, targets, weight = self.data
        samples = range(len(targets[i])) if samples is None else samples
        total = 0.0
        for s in samples:
            prediction = sum(features[i, s, k] * x[k] for k in range(len(x)))
            if self.kind == "least squares":
                total += (prediction - targets[i, s]) ** 2 / 2
            else:
                total += np.logaddexp(0.0, -targets[i, s] * prediction)  # log(1 + exp(...))
        if self.kind == "nonconvex":
            return total / len(samples) + weight * sum(v**2 / (1 + v**2) for v in x)
        return total / len(samples) + weight * sum(v**2 for v in x) / 2

    def points(self, *lead):
        return self.random.standard_normal((*lead, self.problem.n_nodes, self.problem.dim))

    def indices(self, *lead, size=3):
        shape = (*lead, self.problem.n_nodes, size)
        return self.random.integers(0, self.problem.n_samples, shape, dtype=np.int32)


def build(kind, n, m, d, seed):
    random = np.random.default_rng(seed)
    if kind in ("dense", "diagonal"):
        roots = random.standard_normal((n, d, d))
        hessians = roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(d)
        if kind == "diagonal":
            hessians = np.array([np.diag(h) for h in hessians])
        data = hessians, random.standard_normal((n, d))
        return Case(kind, Quadratic(*data), data, random)
    features = random.standard_normal((n, m, d))
    if kind == "least squares":
        data = features, random.standard_normal((n, m)), float(random.choice([0.0, 0.3]))
        return Case(kind, LeastSquares(*data), data, random)
    data = features, random.choice([-1.0, 1.0], (n, m)), float(random.choice([0.05, 0.5]))
    return Case(kind, (LogisticRegression if kind == "logistic" else NonconvexLogistic)(*data), data, random)


SAMPLED = ["least squares", "logistic", "nonconvex"]
KINDS = ["dense", "diagonal", *SAMPLED]


def cases(kinds):
    shapes = st.one_of(
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
        st.tuples(st.integers(1, 3), st.integers(2, 3), st.integers(7, 9)),  # more unknowns than samples
    )
    arguments = st.tuples(st.sampled_from(kinds), shapes, st.integers(0, 2**32))
    return arguments.map(lambda drawn: build(drawn[0], *drawn[1], drawn[2]))


def slope(f, x, h=1e-5):
    """Gradient of f at x by central differences."""
    return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))])


def close(actual, expected, tolerance):
    """Equal to `tolerance`, relative to the largest entry where that exceeds 1."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@given(cases(KINDS))
def test_loss_and_gradient_follow_the_formula(case):
    x = case.points()
    close(case.problem.loss(x), [case.local_loss(i, row) for i, row in enumerate(x)], 1e-13)
    close(case.problem.gradient(x), [slope(lambda y, i=i: case.local_loss(i, y), row) for i, row in enumerate(x)], 1e-8)


@given(cases(SAMPLED))
def test_mini_batch_gradient_is_that_of_the_drawn_samples(case):
    x, indices, noise = case.points(), case.indices(), case.points()
    drawn = [slope(lambda y, i=i: case.local_loss(i, y, indices[i]), row) for i, row in enumerate(x)]
    close(case.problem.gradient(x, Batch(indices)), drawn, 1e-8)
    close(case.problem.gradient(x, Batch(indices, noise)), drawn + noise, 1e-8)
    close(case.problem.gradient(x, Batch(None, noise)), case.problem.gradient(x) + noise, 0)
    everything = np.tile(np.arange(case.problem.n_samples), (case.problem.n_nodes, 1))
    close(case.problem.gradient(x, Batch(everything)), case.problem.gradient(x), 1e-13)


@given(cases(KINDS))
def test_hessian_is_the_derivative_of_the_gradient(case):
    x = case.points()
    gradient = case.problem.gradient
    differences = [(gradient(x + 1e-5 * e) - gradient(x - 1e-5 * e)) / 2e-5 for e in np.eye(x.shape[1])]
    close(case.problem.hessian(x), np.stack(differences, axis=-1), 1e-8)
    close(case.problem.hessian(x[0]), case.problem.hessian(np.tile(x[0], (len(x), 1))), 0)


@given(cases(KINDS))
def test_quadratics_show_their_hessians_and_linear_terms(case):
    assert case.problem.is_quadratic == (case.kind in ("dense", "diagonal", "least squares"))
    if case.problem.is_quadratic:
        x = case.points()
        hessians, linear = case.problem.hessians, case.problem.linear
        close(case.problem.gradient(x), [h @ row - c for h, c, row in zip(hessians, linear, x, strict=True)], 1e-13)


def rows(kernel, x, indices=None):
    out = np.full_like(x, np.nan)
    arrays = (x, out) if indices is None else (indices, x, out)
    call_rows(gradient_part(kernel, x.dtype), arrays, kernel.data)
    return out


@given(cases(KINDS))
def test_kernels_agree_with_the_array_form(case):
    x = case.points()
    close(rows(case.problem.kernel(sampled=False), x), case.problem.gradient(x), 1e-12)
    if case.kind in SAMPLED:
        indices = case.indices()
        close(rows(case.problem.kernel(sampled=True), x, indices), case.problem.gradient(x, Batch(indices)), 1e-12)


@pytest.mark.parametrize("rows_of_a", range(1, 10))
@pytest.mark.parametrize("columns", range(1, 10))
def test_products_of_runs_side_by_side(rows_of_a, columns):
    """Every number of rows and columns that is left when blocks of four are done."""
    random = np.random.default_rng(rows_of_a)
    a, x = random.standard_normal((rows_of_a, columns)), random.standard_normal((columns, LANES))
    out = random.standard_normal((rows_of_a, LANES))
    expected = out + a @ x
    add_product(a, x.reshape(-1), out.reshape(-1))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14 * columns)


@given(cases(KINDS), st.sampled_from([1, 2, 200]))
def test_lanes_agree_with_the_array_form(case, block):
    """The gradients of runs side by side, whatever the number of samples that is worked on at once."""
    lanes = case.problem.kernel(sampled=False).lanes
    if lanes is None:
        assert case.kind == "diagonal"
        return
    random = np.random.default_rng(block)
    n, d = case.problem.n_nodes, case.problem.dim
    x = random.standard_normal((LANES, n, d))
    out = np.full((n, d * LANES), np.nan)
    work = (np.full(block * LANES, np.nan) for _ in lanes.work)
    beside = np.ascontiguousarray(np.moveaxis(x, 0, -1)).reshape(n, -1)
    call_rows(gradient_part(lanes, x.dtype), (beside, out), (*work, *lanes.data))
    close(np.moveaxis(out.reshape(n, d, LANES), -1, 0), case.problem.gradient(x), 1e-12)


@settings(max_examples=20)
@given(cases(KINDS))
def test_single_precision_stays_single(case):
    x = case.points().astype(np.float32)
    problem = case.problem.convert(np, np.float32)
    batches = [None, Batch(case.indices())] if case.kind in SAMPLED else [None]
    for batch in batches:
        g = problem.gradient(x, batch)
        assert g.dtype == np.float32
        close(g, case.problem.gradient(x.astype(float), batch), 1e-5)
        kernel = case.problem.kernel(batch is not None)
        single = [np.float32(value) if np.asarray(value).dtype.kind == "f" else value for value in kernel.data]
        kernel = kernel._replace(data=tuple(single))
        close(rows(kernel, x, *([] if batch is None else [batch.indices])), g, 1e-5)
    for name in ("loss", "global_loss", "global_gradient"):
        y = x[0] if name.startswith("global") else x
        value = getattr(problem, name)(y)
        assert value.dtype == np.float32
        close(value, getattr(case.problem, name)(y.astype(float)), 1e-4)
    assert problem.minimizer is case.problem.minimizer
    assert problem.smoothness == case.problem.smoothness


@given(cases(KINDS), st.sampled_from([(), (3,), (2, 3)]))
def test_array_api_strict_gives_the_same_numbers(case, lead):
    xp = array_api_strict
    problem = case.problem.convert(xp)
    x = case.points(*lead)
    there = xp.asarray(x)
    for name in ("loss", "gradient", "global_loss", "global_gradient"):
        close(getattr(problem, name)(there), getattr(case.problem, name)(x), 1e-14)
    if case.kind in SAMPLED:
        indices, noise = case.indices(*lead), case.points(*lead)
        result = problem.gradient(there, Batch(xp.asarray(indices), xp.asarray(noise)))
        close(result, case.problem.gradient(x, Batch(indices, noise)), 1e-14)


@given(cases(KINDS))
def test_leading_axes_are_independent_runs(case):
    problem, x = case.problem, case.points(2, 3)
    each = [(a, b) for a in range(2) for b in range(3)]
    for function in (problem.loss, problem.gradient):
        result = function(x)
        for k in each:
            close(result[k], function(x[k]), 1e-13)
    if case.kind in SAMPLED:
        indices = case.indices(2, 3)
        result = problem.gradient(x, Batch(indices))
        for k in each:
            close(result[k], problem.gradient(x[k], Batch(indices[k])), 1e-13)
        shared_indices = problem.gradient(x[0], Batch(indices[0, 0]))
        shared_point = problem.gradient(x[0, 0], Batch(indices[0]))
        for b in range(3):
            close(shared_indices[b], problem.gradient(x[0, b], Batch(indices[0, 0])), 1e-13)
            close(shared_point[b], problem.gradient(x[0, 0], Batch(indices[0, b])), 1e-13)


@given(cases(KINDS), st.booleans())
def test_global_loss_and_gradient_are_means_over_nodes(case, small_blocks):
    problem = case.problem
    points = case.random.standard_normal((2, 3, problem.dim))
    everywhere = np.repeat(points[:, :, None], problem.n_nodes, axis=2)
    with pytest.MonkeyPatch.context() as patch:
        if small_blocks:
            patch.setattr(base, "BLOCK", 2 * problem.n_nodes * (problem.n_samples or 1))
        close(problem.global_loss(points), problem.loss(everywhere).mean(axis=-1), 1e-13)
        close(problem.global_gradient(points), problem.gradient(everywhere).mean(axis=-2), 1e-13)
        close(problem.global_loss(points[0, 0]), problem.loss(everywhere[0, 0]).mean(), 1e-13)
        loss, gradient = problem.global_loss_and_gradient(points)
        close(loss, problem.loss(everywhere).mean(axis=-1), 1e-13)
        close(gradient, problem.gradient(everywhere).mean(axis=-2), 1e-13)


def test_a_subclass_with_a_loss_of_its_own_is_recorded_by_it():
    """What gives loss and gradient in one pass over the data knows nothing of it."""

    class Shifted(LogisticRegression):
        def local_losses(self, xp, x):
            return super().local_losses(xp, x) + 5

    class More:  # a mixin
        def local_losses(self, xp, x):
            return super().local_losses(xp, x) + 5

    class Mixed(More, LogisticRegression):
        pass

    class Raised(simlab.NeuralNetwork):
        def global_loss(self, x):
            return super().global_loss(x) + 5

    random = np.random.default_rng(0)
    features, classes = random.standard_normal((3, 4, 2)), random.integers(0, 2, (3, 4))
    for usual, own in (
        (LogisticRegression(features, 2 * classes - 1, 0.1), Shifted(features, 2 * classes - 1, 0.1)),
        (LogisticRegression(features, 2 * classes - 1, 0.1), Mixed(features, 2 * classes - 1, 0.1)),
        (simlab.NeuralNetwork([2], features, classes), Raised([2], features, classes)),
    ):
        x = random.standard_normal((4, 3, own.dim))
        found, expected = measure(own, x), measure(usual, x)
        close(found["loss"], expected["loss"] + 5, 1e-12)
        close(found["squared_gradient_norm"], expected["squared_gradient_norm"], 1e-12)


def test_many_points_take_little_memory(monkeypatch):
    problem = build("logistic", 2, 500, 2, 0).problem
    points = np.ones((2000, 2))
    monkeypatch.setattr(base, "BLOCK", 50_000)  # 50 of the points
    tracemalloc.start()
    problem.global_loss(points), problem.global_gradient(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2000 * 1000 / 2  # half of what all predictions would take


@given(cases(KINDS))
def test_minimizer(case):
    problem, best = case.problem, case.problem.minimizer
    assert best.shape == (problem.dim,)
    at_best = np.tile(best, (problem.n_nodes, 1))
    assert np.linalg.norm(problem.gradient(at_best).mean(axis=0)) <= 1e-12
    # a minimizer, not just a stationary point
    assert np.linalg.eigvalsh(problem.hessian(best).mean(axis=0))[0] >= -1e-9
    close(problem.minimum, np.mean([case.local_loss(i, best) for i in range(problem.n_nodes)]), 1e-13)
    assert problem.minimum >= problem.lower_bound - 1e-15
    assert problem.is_convex == (case.kind != "nonconvex")


@given(cases(KINDS))
def test_node_minimum_is_the_infimum_of_each_loss(case):
    problem = case.problem
    for i in range(problem.n_nodes):
        found = scipy.optimize.minimize(lambda x, i=i: case.local_loss(i, x), np.zeros(problem.dim), tol=1e-9)
        assert problem.node_minimum[i] <= found.fun + 1e-12
        if problem.is_convex:
            assert problem.node_minimum[i] == pytest.approx(found.fun, abs=1e-7)


def test_least_squares_solution_of_least_norm():
    """With fewer samples than unknowns the minimizer is that of the pseudo-inverse, on both ways to it."""
    random = np.random.default_rng(0)
    for m, d in ((2, 7), (3, 6), (3, 7)):  # sum over 2 nodes < d; d <= 2m and d > 2m
        features, targets = random.standard_normal((2, m, d)), random.standard_normal((2, m))
        for _ in range(2):
            problem = LeastSquares(features, targets)
            stacked = features.reshape(-1, d)
            close(problem.minimizer, np.linalg.pinv(stacked) @ targets.reshape(-1), 1e-12)
            assert (problem.strong_convexity > 0) == (np.linalg.matrix_rank(stacked) == d)
            features[:, 1] = features[:, 0]  # and then with equal samples of unequal targets
    root = random.standard_normal((5, 3))
    assert Quadratic([root @ root.T], np.zeros((1, 5))).strong_convexity == 0
    problem = Quadratic(np.diag([2.0, 0.0])[None], [[1.0, 0.0]])
    close(problem.minimizer, [0.5, 0.0], 0)


@given(cases(KINDS))
def test_smoothness_and_strong_convexity_bound_the_hessians(case):
    problem = case.problem
    bound = problem.smoothness * (1 + 1e-12)
    for x in (*case.points(5), 3 * case.points()):
        assert np.linalg.norm(problem.hessian(x), ord=2, axis=(1, 2)).max() <= bound
        mean = problem.hessian(x[0]).mean(axis=0)
        assert np.linalg.eigvalsh(mean)[0] >= problem.strong_convexity - 1e-12
    # tight: attained everywhere by quadratics, at zero by both logistic losses
    at_zero = problem.hessian(np.zeros(problem.dim))
    assert np.linalg.norm(at_zero, ord=2, axis=(1, 2)).max() == pytest.approx(problem.smoothness, rel=1e-12)
    if problem.is_quadratic:
        assert np.linalg.eigvalsh(at_zero.mean(axis=0))[0] == pytest.approx(problem.strong_convexity, abs=1e-12)


def test_strong_convexity_is_attained_without_features():
    zeros, labels, ones = np.zeros((1, 1, 2)), [[1.0]], np.ones(2)
    for problem in (LogisticRegression(zeros, labels, 0.3), NonconvexLogistic(zeros, labels, 0.3)):
        assert np.linalg.eigvalsh(problem.hessian(ones)[0])[0] == pytest.approx(problem.strong_convexity)


@given(cases(KINDS))
def test_heterogeneity_and_gradient_variance_are_those_of_plain_loops(case):
    problem, best = case.problem, case.problem.minimizer
    local, variances = [], []
    for i in range(problem.n_nodes):
        local.append(slope(lambda y, i=i: case.local_loss(i, y), best))
        for s in range(problem.n_samples or 0):
            sample = slope(lambda y, i=i, s=s: case.local_loss(i, y, [s]), best)
            variances.append(np.sum((sample - local[-1]) ** 2))
    assert problem.heterogeneity == pytest.approx(np.sqrt(np.mean(np.square(local).sum(axis=1))), rel=1e-7, abs=1e-8)
    assert problem.gradient_variance == pytest.approx(np.mean(variances) if variances else 0.0, rel=1e-7, abs=1e-8)


def test_gradient_variance_is_taken_in_blocks(monkeypatch):
    problem = build("logistic", 3, 7, 2, 0).problem
    expected = problem.gradient_variance
    monkeypatch.setattr(base, "BLOCK", 2 * 3 * 2)  # two samples of each node
    assert problem.with_l1(0).gradient_variance == pytest.approx(expected, rel=1e-12)


def test_small_least_squares_losses_keep_their_accuracy():
    problem = LeastSquares.synthetic(4, 30, 5, heterogeneity=0.0, noise=0.0)
    assert problem.minimum < 1e-28
    x = problem.minimizer + 1e-9 * np.ones(5)
    residuals = problem.features @ x - problem.targets
    expected = np.mean(residuals**2, axis=1) / 2
    np.testing.assert_allclose(problem.loss(np.tile(x, (4, 1))), expected, rtol=1e-5)
    np.testing.assert_allclose(problem.global_loss(x), expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["logistic", "nonconvex"])
@pytest.mark.filterwarnings("error")
def test_large_margins_neither_overflow_nor_lose_the_slope(kind):
    case = build(kind, 2, 4, 3, 0)
    x = 1e6 * case.points()
    features, labels, weight = case.data
    margins = labels * np.einsum("nmd,nd->nm", features, x)
    slopes = -labels * (margins < 0)
    expected = np.einsum("nm,nmd->nd", slopes, features) / 4 + (weight * x if kind == "logistic" else 0)
    close(case.problem.gradient(x), expected, 1e-9)
    close(rows(case.problem.kernel(False), x), expected, 1e-9)
    norm = (x**2).sum(axis=1) / 2 if kind == "logistic" else 3
    close(case.problem.loss(x), np.maximum(-margins, 0).mean(axis=1) + weight * norm, 1e-9)
    assert np.isnan(case.problem.gradient(np.full_like(x, np.nan))).all()
    assert np.isnan(rows(case.problem.kernel(False), np.full_like(x, np.nan))).all()


def test_diagonal_hessians_form_no_matrices():
    n, d = 20_000, 32
    random = np.random.default_rng(0)
    diagonals, linear = random.uniform(0.5, 2, (n, d)), random.standard_normal((n, d))
    tracemalloc.start()
    problem = Quadratic(diagonals, linear)
    constants = problem.minimizer, problem.smoothness, problem.strong_convexity, problem.heterogeneity
    problem.gradient(linear), problem.global_loss(constants[0]), problem.kernel(False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * diagonals.nbytes  # the matrices alone would take 32
    close(problem.minimizer, linear.sum(axis=0) / diagonals.sum(axis=0), 1e-12)
    assert problem.smoothness == diagonals.max()
    assert problem.strong_convexity == pytest.approx(diagonals.mean(axis=0).min(), rel=1e-12)


def test_nonconvex_nodes_of_a_convex_mean():
    problem = Quadratic([[[2.0, 0.0], [0.0, 5.0]], [[2.0, 0.0], [0.0, -3.0]]], [[2.0, 1.0], [0.0, 1.0]])
    close(problem.minimizer, [0.5, 1.0], 1e-15)
    assert (problem.smoothness, problem.strong_convexity, problem.is_convex) == (5.0, 1.0, False)
    assert problem.node_minimum.tolist() == [-1.1, -np.inf]


@pytest.mark.parametrize(
    ("hessians", "linear"),
    [
        ([[[1.0, 0.0], [0.0, -1.0]]], [[1.0, 0.0]]),
        ([[1.0, -1.0]], [[1.0, 0.0]]),
        ([[1.0, 0.0]], [[1.0, 1.0]]),
    ],
)
def test_unbounded_quadratics_have_no_minimizer(hessians, linear):
    problem = Quadratic(hessians, linear)
    for _ in range(2):  # the error is not cached away
        with pytest.raises(ValueError, match=r"hessians .*unbounded below.*add a positive multiple"):
            _ = problem.minimizer


def test_separable_labels_have_no_minimizer_without_l2():
    problem = LogisticRegression([[[1.0], [2.0], [-1.0]]], [[1, 1, -1]], 0.0)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"l2 = 0\.0 leaves f without .*choose a positive l2"):
            _ = problem.minimizer
    assert 0 <= problem.node_minimum[0] < 1e-10
    mixed = LogisticRegression([[[1.0], [2.0], [-1.0]]], [[1, -1, -1]], 0.0)
    assert abs(mixed.global_gradient(mixed.minimizer)[0]) <= 1e-12


def test_proximal_points_of_logistic_regression_meet_their_tolerance():
    """Over seven decades of weights and five of points, where f and the quadratic may cancel in the loss."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        n, m, d = (int(random.integers(*span)) for span in ((1, 5), (2, 30), (1, 8)))
        features = 10.0 ** random.uniform(-2, 2) * random.standard_normal((n, m, d))
        labels = np.sign(random.standard_normal((n, m)))
        problem = simlab.LogisticRegression(features, labels, l2=10.0 ** random.uniform(-4, 0))
        weight = 10.0 ** random.uniform(-3, 4)
        x = 10.0 ** random.uniform(-2, 3) * random.standard_normal((n, d))
        found = problem.proximal(x, weight)
        rest = np.linalg.norm(problem.gradient(found) + weight * (found - x), axis=1)
        assert np.all(rest <= 1e-12 * np.maximum(np.linalg.norm(weight * x, axis=1), 1)), seed


def test_newton_descends_where_plain_newton_fails():
    """From 3 plain Newton on sqrt(1 + x^2) diverges; from 0.1 on x^4 - x^2 it climbs to the maximum at 0."""
    x = newton(
        lambda x: np.sqrt(1 + x**2)[:, 0],
        lambda x: x / np.sqrt(1 + x**2),
        lambda x: ((1 + x**2) ** -1.5)[:, :, None],
        np.array([[3.0], [0.5], [-40.0]]),
    )
    close(x, np.zeros((3, 1)), 1e-12)
    x = newton(
        lambda x: (x**4 - x**2)[:, 0],
        lambda x: 4 * x**3 - 2 * x,
        lambda x: (12 * x**2 - 2)[:, :, None],
        np.array([[0.1], [-0.1]]),
    )
    close(x, [[0.5**0.5], [-(0.5**0.5)]], 1e-12)
    with pytest.raises(ValueError, match="no minimizer found: gradient norm 1 after"):
        newton(lambda x: x[:, 0], np.ones_like, lambda x: np.full((1, 1, 1), 1e-3), np.zeros((1, 1)))


@pytest.mark.parametrize("cls", [LeastSquares, LogisticRegression, NonconvexLogistic])
def test_synthetic_problems(cls):
    problem = cls.synthetic(3, 5, 2, seed=4)
    assert (problem.n_nodes, problem.n_samples, problem.dim) == (3, 5, 2)
    np.testing.assert_array_equal(problem.features, cls.synthetic(3, 5, 2, seed=4).features)
    assert not np.array_equal(problem.features, cls.synthetic(3, 5, 2, seed=5).features)
    large = [cls.synthetic(10, 2000, 5, heterogeneity=h).heterogeneity for h in (0.0, 1.0)]
    assert large[1] > 4 * large[0]
    with pytest.raises(ValueError, match=r"heterogeneity = -1.*at least"):
        cls.synthetic(3, 5, 2, heterogeneity=-1)


def test_synthetic_models_are_what_the_docstrings_say():
    problem = LeastSquares.synthetic(40, 2000, 8, heterogeneity=2.0, noise=0.5, seed=1)
    # b is about the heterogeneity, the mean Hessian about the identity, the residual variance noise^2:
    # each to 10 %, where the standard deviations are at most 5 % (b), 1 % and 0.5 %
    assert problem.heterogeneity == pytest.approx(2.0, rel=0.1)
    assert np.linalg.eigvalsh(problem.hessians.mean(axis=0)) == pytest.approx(1.0, rel=0.1)
    assert 2 * problem.node_minimum.mean() == pytest.approx(0.25, rel=0.1)
    assert LeastSquares.synthetic(4, 20, 3, heterogeneity=0.0, noise=0.0).heterogeneity < 1e-13
    # labels drawn from the logistic model: its maximum likelihood estimate finds the model, of norm about 1
    logistic = LogisticRegression.synthetic(1, 100_000, 4, heterogeneity=0.0, l2=0.0, seed=1)
    random = np.random.default_rng(1)
    model = random.standard_normal(4) / 2
    close(logistic.minimizer, model, 0.05)  # six standard errors, of 0.008 each


def test_problems_are_immutable_and_own_their_data():
    features, targets = np.ones((1, 2, 1)), np.ones((1, 2))
    problem = LeastSquares(features, targets)
    features[:] = 7.0
    assert problem.features.max() == 1.0
    for name in ("features", "targets", "hessians", "minimizer", "node_minimum"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(problem, name)[:] = 0
    with pytest.raises(AttributeError, match="LeastSquares is immutable, so l2 cannot be set"):
        problem.l2 = 1.0
    assert repr(problem) == "LeastSquares(n_nodes=1, n_samples=2, dim=1, l2=0)"


def test_labels_zero_and_one_are_signs():
    features = np.arange(6.0).reshape(1, 3, 2)
    for labels in ([[0, 1, 1]], [[False, True, True]]):
        assert LogisticRegression(features, labels, 0.1).labels.tolist() == [[-1, 1, 1]]


NAN = np.array([[[1.0, np.nan]]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quadratic(np.eye(2), [[1.0, 1.0, 1.0]]), r"hessians has shape \(2, 2\), not \(1, 3\)"),
        (lambda: Quadratic(np.eye(2)[None], np.ones((1, 3))), r"hessians has shape \(1, 2, 2\), not \(1, 3, 3\)"),
        (lambda: Quadratic([[[1.0, 2.0], [0.0, 1.0]]], [[1.0, 1.0]]), r"hessians\[0\] is not symmetric.* by 2; pass"),
        (lambda: Quadratic(np.ones((0, 2)), np.ones((0, 2))), r"linear has shape \(0, 2\); pass at least one node"),
        (lambda: LeastSquares(np.ones((2, 3)), np.ones((2, 3))), r"features has shape \(2, 3\), not \(any, any, any\)"),
        (lambda: LeastSquares(np.ones((2, 3, 1)), np.ones((2, 4))), r"targets has shape \(2, 4\), not \(2, 3\)"),
        (lambda: LeastSquares(np.ones((2, 0, 1)), np.ones((2, 0))), r"features has shape \(2, 0, 1\); pass at least"),
        (lambda: LeastSquares(NAN, [[1.0]]), r"features holds 1 value.*nan.*index \(0, 0, 1\)"),
        (lambda: LeastSquares(np.ones((1, 1, 1)), [[1.0]], l2=-1), r"l2 = -1 must be at least 0"),
        (lambda: LogisticRegression(np.ones((1, 2, 1)), [[1, 2]], 0.1), r"labels holds the values 1, 2; pass labels"),
        (lambda: LogisticRegression(np.ones((1, 3, 1)), [[-1, 0, 1]], 0.1), r"labels holds the values -1, 0, 1"),
        (lambda: LogisticRegression(np.ones((1, 2, 1)), [[1, 1, 1]], 0.1), r"labels has shape \(1, 3\), not \(1, 2\)"),
        (lambda: NonconvexLogistic(np.ones((1, 2, 1)), [[1, 1]], -0.5), r"penalty = -0\.5 must be at least 0"),
        (lambda: Quadratic([[1.0]], [[1.0]]).kernel(sampled=True), r"Quadratic.* has no samples to draw; use the full"),
        (lambda: Quadratic([[1.0]], [[1.0]]).gradient(np.ones((1, 1)), Batch(np.zeros((1, 1), int))), "no samples"),
        (lambda: Quadratic([[1.0]], [[1.0]]).gradient(np.ones((2, 1))), r"x has shape \(2, 1\), not \(\.\.\., 1, 1\)"),
        (lambda: Quadratic([[1.0]], [[1.0]]).loss(np.ones(1)), r"x has shape \(1,\), not \(\.\.\., 1, 1\)"),
        (lambda: Quadratic([[1.0]], [[1.0]]).global_loss(np.ones(2)), r"x has shape \(2,\), not \(\.\.\., 1\)"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_minimizer_that_was_given_is_not_that_of_the_sum():
    class Given(simlab.Quadratic):
        def __init__(self, linear):
            super().__init__(np.ones_like(linear), linear)
            self._set(minimizer=linear.mean(axis=0), heterogeneity=7.0)

    linear = np.arange(12.0).reshape(4, 3)
    problem, plain = Given(linear), simlab.Quadratic(np.ones((4, 3)), linear)
    assert problem.heterogeneity == 7.0
    other, expected = problem.with_l1(1.0), plain.with_l1(1.0)
    np.testing.assert_allclose(other.minimizer, expected.minimizer)
    assert other.heterogeneity == pytest.approx(expected.heterogeneity)
    np.testing.assert_array_equal(problem.minimizer, linear.mean(axis=0))


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda problem: pickle.loads(pickle.dumps(problem))])
def test_copies_are_read_only_too(twin):
    problem = twin(simlab.LeastSquares.synthetic(4, 5, 3, seed=1))
    network = twin(simlab.topologies.ring(4))
    for array in (problem.features, problem.targets, network.weights, network.csr.values):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
