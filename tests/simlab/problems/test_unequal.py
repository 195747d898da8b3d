"""Nodes with unequal amounts of data: every formula written out, sample by sample and node by node."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
import theory
from simlab.operations import Batch
from theory.moments.noise import Noise

KINDS = ("least squares", "wide least squares", "logistic", "nonconvex")
BUILD = {
    "least squares": simlab.LeastSquares,
    "wide least squares": simlab.LeastSquares,
    "logistic": simlab.LogisticRegression,
    "nonconvex": simlab.NonconvexLogistic,
}
LENGTHS = [3, 7, 1, 5]


def data(kind, lengths, dim, seed=0):
    random = np.random.default_rng(seed)
    dim = 3 * max(lengths) if kind == "wide least squares" else dim
    features = [random.standard_normal((m, dim)) for m in lengths]
    targets = [random.standard_normal(m) for m in lengths]
    return features, targets if "squares" in kind else [np.where(t > 0, 1.0, -1.0) for t in targets]


def built(kind, lengths=LENGTHS, dim=3, weighting="nodes", seed=0):
    return BUILD[kind](*data(kind, lengths, dim, seed), 0.2, weighting=weighting)


def sample_gradient(kind, x, a, b):
    return a * (a @ x - b) if "squares" in kind else -b * a / (1 + math.exp(b * (a @ x)))


def sample_loss(kind, x, a, b):
    return (a @ x - b) ** 2 / 2 if "squares" in kind else math.log(1 + math.exp(-b * (a @ x)))


def regularizer(kind, x):
    return 0.2 * np.sum(x**2 / (1 + x**2)) if kind == "nonconvex" else 0.1 * x @ x


def regularizer_gradient(kind, x):
    return 0.4 * x / (1 + x**2) ** 2 if kind == "nonconvex" else 0.2 * x


def share(weighting, i, lengths):
    return 1.0 if weighting == "nodes" else len(lengths) * lengths[i] / sum(lengths)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", ["nodes", "samples"])
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_losses_gradients_and_batches_follow_the_formula(kind, weighting, lengths, seed):
    problem = built(kind, lengths, 3, weighting, seed)
    features, targets = data(kind, lengths, 3, seed)
    random = np.random.default_rng(seed)
    x = random.standard_normal((len(lengths), problem.dim))
    indices = np.stack([random.integers(0, m, 4) for m in lengths])
    for i, (a, b) in enumerate(zip(features, targets, strict=True)):
        s = share(weighting, i, lengths)
        loss = s * np.mean([sample_loss(kind, x[i], *pair) for pair in zip(a, b, strict=True)])
        each = np.array([s * sample_gradient(kind, x[i], *pair) for pair in zip(a, b, strict=True)])
        rest = regularizer_gradient(kind, x[i])
        np.testing.assert_allclose(problem.loss(x)[i], loss + regularizer(kind, x[i]), rtol=1e-12)
        np.testing.assert_allclose(problem.gradient(x)[i], each.mean(axis=0) + rest, rtol=0, atol=1e-11)
        drawn = problem.gradient(x, Batch(indices))[i]
        np.testing.assert_allclose(drawn, each[indices[i]].mean(axis=0) + rest, rtol=0, atol=1e-11)
        e = 1e-5 * np.eye(problem.dim)
        slopes = [(problem.gradient(x + step)[i] - problem.gradient(x - step)[i]) / 2e-5 for step in e[:, None]]
        np.testing.assert_allclose(problem.hessian(x)[i], slopes, rtol=0, atol=1e-7)
    at_one = np.tile(x[0], (len(lengths), 1))
    np.testing.assert_allclose(problem.global_loss(x[0]), np.mean(problem.loss(at_one)))
    loss, gradient = problem.global_loss_and_gradient(x[0])
    np.testing.assert_allclose(loss, np.mean(problem.loss(at_one)))
    np.testing.assert_allclose(gradient, problem.gradient(at_one).mean(axis=0), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_weighed_by_samples_f_is_that_of_the_pooled_data(kind):
    problem = built(kind, weighting="samples")
    pooled = BUILD[kind](*(np.concatenate(part)[None] for part in data(kind, LENGTHS, 3)), 0.2)
    np.testing.assert_allclose(problem.minimizer, pooled.minimizer, rtol=0, atol=1e-11)
    np.testing.assert_allclose(problem.minimum, pooled.minimum, rtol=1e-12)
    x = np.linspace(-1, 1, problem.dim)
    np.testing.assert_allclose(problem.global_gradient(x), pooled.global_gradient(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_weighed_by_nodes_f_is_that_of_the_data_repeated_to_equal_amounts(kind):
    problem = built(kind)
    most = math.lcm(*LENGTHS)
    repeated = [np.stack([np.repeat(a, most // len(a), axis=0) for a in part]) for part in data(kind, LENGTHS, 3)]
    equal = BUILD[kind](*repeated, 0.2)
    np.testing.assert_allclose(problem.minimizer, equal.minimizer, rtol=0, atol=1e-11)
    for constant in ("minimum", "heterogeneity", "gradient_variance", "smoothness", "strong_convexity", "node_minimum"):
        np.testing.assert_allclose(getattr(problem, constant), getattr(equal, constant), rtol=1e-9, err_msg=constant)


@pytest.mark.parametrize("weighting", ["nodes", "samples"])
@pytest.mark.parametrize("kind", KINDS)
def test_smoothness_bounds_every_hessian(kind, weighting):
    problem = built(kind, weighting=weighting)
    largest = np.abs(np.linalg.eigvalsh(problem.hessian(np.zeros(problem.dim)))).max()
    assert largest <= problem.smoothness * (1 + 1e-12)
    if "squares" in kind:
        np.testing.assert_allclose(largest, problem.smoothness, rtol=1e-12)
        least = np.linalg.eigvalsh(problem.hessians.mean(axis=0))[0]
        np.testing.assert_allclose(problem.strong_convexity, least, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_lists_are_arrays_to_the_last_bit(kind):
    features, targets = data(kind, [4, 4, 4, 4], 3)
    options = {"steps": 30, "batch_size": 2, "replicates": 2}
    traces = [
        simlab.simulate(BUILD[kind](a, b, 0.2), simlab.topologies.ring(4), simlab.DSGD(lr=0.1), **options)
        for a, b in ((features, targets), (np.array(features), np.array(targets)))
    ]
    np.testing.assert_array_equal(traces[0].x, traces[1].x)
    assert BUILD[kind](features, targets, 0.2).n_samples == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("changes", [False, True])
def test_engines_and_chunks_agree(kind, batch_size, changes):
    problem, network = built(kind, weighting="samples"), simlab.topologies.ring(4)
    if changes:
        network = simlab.dynamics.node_failures(network, 0.3)
    options = {"steps": 25, "batch_size": batch_size, "replicates": 3, "seed": 3}
    lr = 0.3 / problem.smoothness
    fast, plain = (
        simlab.simulate(problem, network, simlab.DSGD(lr=lr), engine=engine, **options).x
        for engine in ("compiled", "numpy")
    )
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_side_by_side_agree_with_arrays(kind):
    problem = built(kind, [70, 3, 130], weighting="samples")
    options = {"steps": 5, "noise_std": 0.1, "replicates": 17}
    algorithm = simlab.DSGD(lr=0.3 / problem.smoothness)
    fast, plain = (
        simlab.simulate(problem, simlab.topologies.complete(3), algorithm, engine=engine, **options).x
        for engine in ("compiled", "numpy")
    )
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-13)


def test_dual_steps_agree_with_newton():
    problem = built("logistic", weighting="samples")
    network, algorithm = simlab.topologies.ring(4), simlab.SSDA.tuned(problem, simlab.topologies.ring(4), 0.2)
    fast, plain = (
        simlab.simulate(problem, network, algorithm, steps=5, engine=engine).x for engine in ("compiled", "numpy")
    )
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-9)


def test_a_network_that_classifies_takes_unequal_amounts():
    random = np.random.default_rng(0)
    lengths = [9, 70, 130]
    features, labels = [random.standard_normal((m, 5)) for m in lengths], [np.arange(m) % 3 for m in lengths]
    problem = simlab.NeuralNetwork([4], features, labels, l2=0.1, weighting="samples")
    alone = [simlab.NeuralNetwork([4], a[None], b[None], l2=0.0) for a, b in zip(features, labels, strict=True)]
    x = random.standard_normal((3, problem.dim))
    for i, one in enumerate(alone):
        s = share("samples", i, lengths)
        np.testing.assert_allclose(problem.loss(x)[i], s * one.loss(x[i : i + 1])[0] + 0.05 * x[i] @ x[i])
        np.testing.assert_allclose(problem.gradient(x)[i], s * one.gradient(x[i : i + 1])[0] + 0.1 * x[i], atol=1e-12)
    at_one = np.tile(x[0], (3, 1))
    np.testing.assert_allclose(problem.global_loss(x[0]), problem.loss(at_one).mean())
    np.testing.assert_allclose(problem.global_gradient(x[0]), problem.gradient(at_one).mean(axis=0), atol=1e-12)
    loss, gradient = problem.global_loss_and_gradient(x[0])
    np.testing.assert_allclose(loss, problem.loss(at_one).mean())
    np.testing.assert_allclose(gradient, problem.gradient(at_one).mean(axis=0), atol=1e-12)
    for batch_size in (None, 80):
        fast, plain = (
            simlab.simulate(
                problem, simlab.topologies.complete(3), simlab.DSGD(lr=0.1), steps=5, batch_size=batch_size,
                x0=problem.initial(0), engine=engine,
            ).x
            for engine in ("compiled", "numpy")
        )  # fmt: skip
        np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighting", ["nodes", "samples"])
def test_noise_of_mini_batches_is_that_of_all_that_can_be_drawn(weighting):
    problem, batch_size = built("least squares", [3, 1, 2], 2, weighting), 2
    features, targets = data("least squares", [3, 1, 2], 2)
    x = np.random.default_rng(1).standard_normal((3, 2))
    noise, v = Noise(problem, batch_size, 0.0), np.random.default_rng(2).standard_normal((3, 2, 2))
    v = v @ v.swapaxes(1, 2)
    for i, (a, b) in enumerate(zip(features, targets, strict=True)):
        s = share(weighting, i, [3, 1, 2])
        draws = itertools.product(range(len(a)), repeat=batch_size)
        maps = [(s * a[list(j)].T @ a[list(j)] / 2, s * a[list(j)].T @ b[list(j)] / 2) for j in draws]
        gradients = np.array([h @ x[i] - c for h, c in maps])
        expected = np.cov(gradients.T, ddof=0) if len(maps) > 1 else np.zeros((2, 2))
        np.testing.assert_allclose(noise.covariance(x)[i], expected, rtol=0, atol=1e-12)
        mean = np.mean([h for h, _ in maps], axis=0)
        spread = np.mean([(h - mean) @ v[i] @ (h - mean) for h, _ in maps], axis=0)
        np.testing.assert_allclose(noise.spread(v)[i], spread, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighting", ["nodes", "samples"])
def test_prediction_is_the_moment_equation_over_all_batches(weighting):
    lengths, lr, l2 = [3, 1, 2], 0.1, 0.2
    problem, network = built("least squares", lengths, 1, weighting), simlab.topologies.complete(3)
    features, targets = data("least squares", lengths, 1)
    shares = [share(weighting, i, lengths) for i in range(3)]
    w = network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()
    maps = []
    for drawn in itertools.product(*map(range, lengths)):
        h = np.diag([s * a[j, 0] ** 2 + l2 for s, a, j in zip(shares, features, drawn, strict=True)])
        c = np.array([s * a[j, 0] * b[j] for s, a, b, j in zip(shares, features, targets, drawn, strict=True)])
        maps.append((w @ (np.eye(3) - lr * h), lr * w @ c))
    mean_map, mean_shift = (np.mean([m[k] for m in maps], axis=0) for k in (0, 1))
    fixed = np.linalg.solve(np.eye(3) - mean_map, mean_shift)
    forcing = np.mean([np.outer(t @ fixed + c - fixed, t @ fixed + c - fixed) for t, c in maps], axis=0)
    second = np.mean([np.kron(t, t) for t, _ in maps], axis=0)
    covariance = np.linalg.solve(np.eye(9) - second, forcing.ravel()).reshape(3, 3)
    found = theory.predict(problem, network, simlab.DSGD(lr=lr), batch_size=1)
    np.testing.assert_allclose(
        found.mse, np.mean((fixed - problem.minimizer) ** 2) + np.trace(covariance) / 3, rtol=1e-9
    )


def test_every_sample_is_drawn_as_often_as_any_other_of_its_node():
    # Chi-squared with 3 + 7 + 1 + 5 - 4 = 12 degrees of freedom; false alarm 1e-6 at 52.
    draws = simlab.step.streams.Stream(0, 0).indices(4000, 4, 3, np.array(LENGTHS))
    total = 0.0
    for i, m in enumerate(LENGTHS):
        counts = np.bincount(draws[:, i].ravel(), minlength=m)
        assert len(counts) == m
        total += np.sum((counts - 12000 / m) ** 2) / (12000 / m)
    assert total < 52


def test_draws_do_not_depend_on_chunks_and_equal_numbers_are_one():
    stream = simlab.step.streams.Stream
    whole, parts = stream(1, 0), stream(1, 0)
    apart = [parts.indices(k, 4, 3, np.array(LENGTHS)) for k in (1, 5, 4)]
    np.testing.assert_array_equal(whole.indices(10, 4, 3, np.array(LENGTHS)), np.concatenate(apart))
    same = stream(2, 0).indices(9, 4, 3, np.full(4, 7)), stream(2, 0).indices(9, 4, 3, 7)
    np.testing.assert_array_equal(*same)


def test_nodes_that_are_awake_draw_from_their_own_samples():
    problem = built("least squares")
    network = simlab.dynamics.node_failures(simlab.topologies.ring(4), 0.5)
    from simlab.simulation import _draw_awake
    from simlab.step.streams import Stream

    class Settings:
        batch_size, noise_std = 6, 0.0

    links = network.walk(np.random.default_rng(0))(200)
    draws = _draw_awake(Stream(0, 0), links, 0, problem, Settings)
    nodes = np.concatenate([links.step(k)[0] for k in range(200)])
    for i, m in enumerate(LENGTHS):
        assert draws.indices[nodes == i].max() == m - 1


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        ([np.ones((2, 3)), np.ones((1, 2))], [[1, 1], [1]], r"features\[1\] has shape \(1, 2\), not \(any, 3\)"),
        ([np.ones((2, 3)), np.ones((0, 3))], [[1, 1], []], r"features\[1\] has shape \(0, 3\); every node needs"),
        (
            [np.ones((2, 3)), np.ones((1, 3))],
            [[1, 1], [1, 1]],
            r"targets has shape \(2, 2\), and the nodes have 1 to 2",
        ),
        ([np.ones((2, 3)), np.ones((1, 3))], [[1, 1, 1], [1]], r"targets\[0\] has shape \(3,\), not \(2\)"),
        ([np.ones((2, 3)), np.ones((1, 3))], [[1, 1], [1], [1, 2]], "targets holds the samples of 3 nodes, not of 2"),
    ],
)
def test_wrong_lists_are_refused(features, targets, message):
    with pytest.raises(ValueError, match=message):
        simlab.LeastSquares(features, targets)


def test_a_batch_may_exceed_the_samples_of_some_nodes_but_not_of_all():
    problem = built("least squares")
    simlab.simulate(problem, simlab.topologies.ring(4), simlab.DSGD(lr=0.01), steps=2, batch_size=7)
    with pytest.raises(ValueError, match="batch_size = 8 exceeds the 7 samples"):
        simlab.simulate(problem, simlab.topologies.ring(4), simlab.DSGD(lr=0.01), steps=2, batch_size=8)


def test_sparse_features_are_refused_with_a_remedy():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"features is a sparse matrix of shape \(3, 4\).*toarray"):
        simlab.LeastSquares(sparse.csr_array(np.eye(3, 4)), np.zeros((1, 3)))
