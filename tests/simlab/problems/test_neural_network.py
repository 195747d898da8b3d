"""The neural network against plain loops, finite differences and its compiled rows."""

import math

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.operations import Batch
from simlab.problems import base
from simlab.problems.neural_kernels import network_tanh
from tests.helpers.rows import call_rows, gradient_part
from tests.simlab.algorithms.test_algorithms import dense


def build(seed, activation="tanh", layers=(4, 3), n=3, m=6, p=5, classes=3, l2=0.1):
    random = np.random.default_rng(seed)
    features = random.standard_normal((n, m, p))
    labels = random.integers(0, classes, (n, m))
    labels[0, 0] = classes - 1
    test = random.standard_normal((7, p)), random.integers(0, classes, 7)
    return simlab.NeuralNetwork(list(layers), features, labels, activation, l2, test=test)


def plain_logits(problem, x, sample):
    """Layer by layer, unit by unit: weights row after row, then biases."""
    values, at = list(sample), 0
    for layer, units in enumerate(problem.sizes[1:]):
        biases = x[at + units * len(values) : at + units * (len(values) + 1)]
        new = []
        for k in range(units):
            z = biases[k]
            for j, value in enumerate(values):
                z += x[at + k * len(values) + j] * value
            if layer < len(problem.sizes) - 2:
                z = math.tanh(z) if problem.activation == "tanh" else max(z, 0.0)
            new.append(z)
        at += units * (len(values) + 1)
        values = new
    assert at == len(x)
    return values


def plain_loss(problem, i, x, samples=None):
    total = 0.0
    samples = range(problem.n_samples) if samples is None else samples
    for s in samples:
        z = plain_logits(problem, x, problem.features[i, s])
        total += math.log(sum(math.exp(a) for a in z)) - z[problem.labels[i, s]]
    return total / len(samples) + problem.l2 / 2 * sum(a * a for a in x)


def differences(function, x, h=1e-5):
    """Central differences of fourth order."""
    gradient = np.empty_like(x)
    for k in range(len(x)):
        step = np.zeros_like(x)
        step[k] = h
        near = function(x + step) - function(x - step)
        far = function(x + 2 * step) - function(x - 2 * step)
        gradient[k] = (8 * near - far) / (12 * h)
    return gradient


@given(st.floats(-50, 50) | st.floats(-0.3, 0.3))
def test_the_tangent_of_kernels_is_the_library_s(z):
    assert network_tanh(z) == pytest.approx(math.tanh(z), rel=1e-15, abs=0)
    assert math.copysign(1, network_tanh(z)) == math.copysign(1, z)


def test_the_tangent_of_kernels_at_the_ends():
    assert network_tanh(math.inf) == 1 and network_tanh(-math.inf) == -1 and math.isnan(network_tanh(math.nan))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [(), (4,), (4, 3)])
def test_loss_and_gradient(activation, layers):
    problem = build(1, activation, layers)
    random = np.random.default_rng(2)
    x = random.standard_normal((2, 3, problem.dim))
    indices = random.integers(0, 6, (2, 3, 4), dtype=np.int32)
    loss, gradient = problem.loss(x), problem.gradient(x)
    sampled = problem.gradient(x, Batch(indices))
    for r in range(2):
        for i in range(3):
            np.testing.assert_allclose(loss[r, i], plain_loss(problem, i, x[r, i]), rtol=1e-13)
            # A relu has kinks, but none within h of these points.
            expected = differences(lambda v, i=i: plain_loss(problem, i, v), x[r, i])
            np.testing.assert_allclose(gradient[r, i], expected, atol=1e-9)
            drawn = indices[r, i].tolist()
            expected = differences(lambda v, i=i, drawn=drawn: plain_loss(problem, i, v, drawn), x[r, i])
            np.testing.assert_allclose(sampled[r, i], expected, atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), activation=st.sampled_from(["tanh", "relu"]), lead=st.sampled_from([(), (2, 3)]))
@settings(max_examples=20)
def test_global_functions_are_means(seed, activation, lead):
    problem = build(seed, activation)
    x = np.random.default_rng(seed).standard_normal((*lead, problem.dim))
    at_every_node = np.broadcast_to(x[..., None, :], (*lead, 3, problem.dim))
    np.testing.assert_allclose(problem.global_loss(x), problem.loss(at_every_node).mean(axis=-1), rtol=1e-12)
    expected = problem.gradient(at_every_node).mean(axis=-2)
    np.testing.assert_allclose(problem.global_gradient(x), expected, rtol=1e-10, atol=1e-14)
    loss, gradient = problem.global_loss_and_gradient(x)
    np.testing.assert_allclose(loss, problem.loss(at_every_node).mean(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


def test_many_points_are_worked_on_in_blocks(monkeypatch):
    problem = build(3)
    x = np.random.default_rng(0).standard_normal((11, problem.dim))
    whole = problem.global_loss(x), problem.global_gradient(x), problem.metrics(x)["accuracy"]
    monkeypatch.setattr(base, "BLOCK", 18 * 5 * 3)
    blocks = problem.global_loss(x), problem.global_gradient(x), problem.metrics(x)["accuracy"]
    for a, b in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def compiled(problem, x, indices=None):
    """The row functions as the engine calls them."""
    kernel = problem.kernel(indices is not None)
    work = [np.full(w.shape, 7, x.dtype if w.dtype.kind == "f" else w.dtype) for w in kernel.work]
    float_data = [a.astype(x.dtype) if getattr(a, "ndim", 0) and a.dtype.kind == "f" else a for a in kernel.data]
    data = [a if isinstance(a, np.ndarray) else x.dtype.type(a) for a in float_data]
    out = np.empty_like(x)
    arrays = (x, out) if indices is None else (indices, x, out)
    call_rows(gradient_part(kernel, x.dtype), arrays, (*work, *data))
    return out


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compiled_rows_are_the_array_form(dtype):
    """Also for more samples than a compiled row takes at once."""
    tolerance = 1e-13 if dtype == np.float64 else 1e-5
    random = np.random.default_rng(5)
    for activation, layers, m in (("tanh", (4, 3), 6), ("relu", (9,), 150), ("tanh", (), 64), ("tanh", (2,), 65)):
        problem = build(4, activation, layers, m=m)
        x = random.standard_normal((3, problem.dim)).astype(dtype)
        expected = problem.gradient(x.astype(np.float64))
        np.testing.assert_allclose(compiled(problem, x), expected, atol=tolerance)
        for size in (1, 5, 70):
            indices = random.integers(0, m, (3, size), dtype=np.int32)
            expected = problem.gradient(x.astype(np.float64), Batch(indices))
            np.testing.assert_allclose(compiled(problem, x, indices), expected, atol=tolerance)


def test_other_array_namespaces():
    problem = build(6)
    twin = problem.convert(array_api_strict, array_api_strict.float64)
    random = np.random.default_rng(0)
    x, indices = random.standard_normal((2, 3, problem.dim)), random.integers(0, 6, (2, 3, 4))
    strict = array_api_strict.asarray(x)
    batch = Batch(array_api_strict.asarray(indices))
    for result, expected in (
        (twin.loss(strict), problem.loss(x)),
        (twin.gradient(strict), problem.gradient(x)),
        (twin.gradient(strict, batch), problem.gradient(x, Batch(indices))),
        (twin.global_loss(strict), problem.global_loss(x)),
    ):
        np.testing.assert_allclose(np.from_dlpack(result), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_run_is_the_formula(engine):
    problem, network = build(7), simlab.topologies.ring(3)
    x = x0 = np.random.default_rng(1).standard_normal((3, problem.dim))
    indices = simlab.step.streams.Stream(2, 0).indices(4, 3, 5, 6)
    for k in range(4):
        gradient = [differences(lambda v, i=i, k=k: plain_loss(problem, i, v, indices[k, i]), x[i]) for i in range(3)]
        x = dense(network) @ (x - 0.2 * np.array(gradient))
    trace = simlab.simulate(
        problem, network, simlab.DSGD(0.2), steps=4, batch_size=5, seed=2, x0=x0, engine=engine, progress=False
    )
    np.testing.assert_allclose(trace.x[0], x, atol=1e-8)


def test_what_is_recorded():
    """Accuracy of the mean parameters on held-out data; no mse, since no minimizer is known."""
    problem, network = build(8), simlab.topologies.ring(3)
    trace = simlab.simulate(
        problem, network, simlab.DSGD(0.3), steps=5, x0=problem.initial(1), replicates=2, engine="numpy", progress=False
    )
    for r in range(2):
        mean = trace.x[r].mean(axis=0)
        features, labels = problem.test
        right = [np.argmax(plain_logits(problem, mean, a)) == b for a, b in zip(features, labels, strict=True)]
        last = trace.frame[trace.frame.replicate == r].iloc[-1]
        assert last.accuracy == np.mean(right)
        np.testing.assert_allclose(last.loss, np.mean([plain_loss(problem, i, mean) for i in range(3)]))
    assert trace.frame.mse.isna().all()
    assert trace.frame.drop(columns="mse").notna().all(axis=None)
    without = simlab.NeuralNetwork([4], problem.features, problem.labels)
    frame = simlab.simulate(without, network, simlab.DSGD(0.3), steps=1, engine="numpy", progress=False).frame
    assert "accuracy" not in frame


def test_digits_are_learned():
    data = simlab.data.load("digits")
    parts = simlab.data.partition(data.features[:1400], data.targets[:1400], 10, "iid")
    test = data.features[1400:], data.targets[1400:]
    problem = simlab.NeuralNetwork([16], parts.features, parts.targets, test=test)
    trace = simlab.simulate(
        problem,
        simlab.topologies.ring(10),
        simlab.DSGD(0.5),
        steps=300,
        batch_size=20,
        x0=problem.initial(0),
        record_every=300,
        progress=False,
    )
    assert trace.frame.accuracy.iloc[0] < 0.3
    assert trace.frame.accuracy.iloc[-1] > 0.85
    assert trace.frame.loss.iloc[-1] < 0.15


def test_initial_parameters():
    problem = build(9, "relu", (50,), p=40)
    x = problem.initial(3)
    np.testing.assert_array_equal(x, problem.initial(3))
    assert np.abs(x - problem.initial(4)).max() > 0.1
    first, second = x[: 50 * 40], x[50 * 41 : 50 * 41 + 150]
    assert not x[50 * 40 : 50 * 41].any()
    assert not x[-3:].any()
    # Standard deviations within 4.9 of their own deviations, 1/sqrt(2N): false alarms 1e-6 each
    assert abs(first.std() * np.sqrt(40) - 1) < 4.9 / np.sqrt(2 * 2000)
    assert abs(second.std() * np.sqrt(50 / 2) - 1) < 4.9 / np.sqrt(2 * 150)


def test_zero_is_a_saddle():
    """Why a run needs x0: only the biases of the classes have a gradient."""
    g = build(10, l2=0.0).global_gradient(np.zeros(build(10).dim))
    assert not g[:-3].any()
    assert g[-3:].any()


def test_what_is_known():
    problem = build(11)
    assert problem.minimizer is None
    assert not problem.is_convex
    assert problem.lower_bound == 0
    for name in ("smoothness", "strong_convexity", "heterogeneity", "gradient_variance", "minimum"):
        with pytest.raises(ValueError, match=rf"NeuralNetwork.* has no (known )?{name}"):
            getattr(problem, name)
    with pytest.raises(ValueError, match="no hessian"):
        problem.hessian(np.zeros(problem.dim))
    assert problem.with_l1(0.1).minimizer is None
    composite, x = problem.with_l1(0.1), problem.initial(0)
    np.testing.assert_allclose(composite.objective(x), problem.global_loss(x) + 0.1 * np.abs(x).sum())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"layers": 32}, TypeError, r"layers = 32.*\[32\]"),
        ({"layers": [0]}, ValueError, r"layers\[0\] = 0 must be at least 1"),
        ({"layers": [2.5]}, TypeError, r"layers\[0\] = 2.5"),
        ({"features": np.ones((2, 3))}, ValueError, "features has shape"),
        ({"features": np.full((2, 3, 4), np.nan)}, ValueError, "features holds 24 value"),
        ({"labels": np.zeros((2, 4))}, ValueError, "labels has shape"),
        ({"labels": np.full((2, 3), 0.5)}, ValueError, "labels holds values that are no classes"),
        ({"labels": np.full((2, 3), -1)}, ValueError, "labels holds values that are no classes"),
        ({"activation": "tahn"}, ValueError, "activation = 'tahn'.*did you mean 'tanh'"),
        ({"l2": -1.0}, ValueError, "l2 = -1.0 must be at least 0"),
        ({"test": (np.ones((2, 5)), np.zeros(2))}, ValueError, "test features has shape"),
        ({"test": (np.ones((2, 4)), np.zeros(3))}, ValueError, "test labels has shape"),
    ],
)
def test_wrong_arguments(change, error, words):
    arguments = {"layers": [3], "features": np.ones((2, 3, 4)), "labels": np.zeros((2, 3), int)}
    with pytest.raises(error, match=words):
        simlab.NeuralNetwork(**(arguments | change))
