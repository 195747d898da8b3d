"""ModelProblem, in JAX: against the built-in network, against differences, on methods and networks of every kind."""

import pickle

import numpy as np
import pytest

import simlab
from simlab.operations import Batch
from tests.helpers.device import check_model, check_refusal

jax = pytest.importorskip("jax")
jnp = jax.numpy
pytestmark = pytest.mark.extras

P, H, C = 5, 4, 3
EQUAL, UNEQUAL = [8, 8, 8], [9, 4, 1]


def logits(q, a):
    return jnp.tanh(a @ q["a weights"].T + q["b biases"]) @ q["c weights"].T + q["d biases"]


def entropy(q, a, b):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits(q, a)), b[:, None], 1))


def accuracy(q, a, b):
    return jnp.mean(jnp.argmax(logits(q, a), -1) == b, dtype=a.dtype)


def pair(lengths, precision="float64", seed=0):
    """The same network as a ModelProblem and built in."""
    random = np.random.default_rng(seed)
    features = [random.standard_normal((m, P)) for m in lengths]
    labels = [np.arange(m) % C for m in lengths]
    test = random.standard_normal((7, P)), np.arange(7) % C
    options = {"l2": 0.1, "weighting": "samples", "test": test}
    built = simlab.NeuralNetwork([H], features, labels, **options)
    x = built.initial(1)
    names, shapes = ("a weights", "b biases", "c weights", "d biases"), ((H, P), (H,), (C, H), (C,))
    ends = np.cumsum([0, *map(np.prod, shapes)])
    start = {
        name: x[ends[k] : ends[k + 1]].reshape(shape) for k, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    more = {"metrics": {"accuracy": accuracy}, "precision": precision}
    return simlab.ModelProblem(entropy, start, features, labels, **options, **more), built


@pytest.mark.parametrize("lengths", [EQUAL, UNEQUAL])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
def test_values_are_those_of_the_built_in_network(lengths, precision, tolerance):
    model, built = pair(lengths, precision)
    np.testing.assert_allclose(model.initial(), built.initial(1), rtol=0, atol=tolerance)
    random = np.random.default_rng(2)
    x = random.standard_normal((2, 3, built.dim))
    indices = np.stack([random.integers(0, m, (2, 6)) for m in lengths], axis=1)
    for values in (
        lambda p: p.loss(x),
        lambda p: p.gradient(x),
        lambda p: p.gradient(x, Batch(indices)),
        lambda p: p.global_loss(x[0]),
        lambda p: p.global_gradient(x[0]),
        lambda p: p.global_loss_and_gradient(x)[0],
        lambda p: p.global_loss_and_gradient(x)[1],
        lambda p: p.scores(x[0])["test_loss"],
        lambda p: p.scores(x[0])["accuracy"],
    ):
        np.testing.assert_allclose(values(model), values(built), rtol=0, atol=10 * tolerance)
        assert values(model).dtype == np.float64


def test_gradients_are_slopes_of_the_loss():
    model, _ = pair(UNEQUAL)
    x = np.random.default_rng(3).standard_normal((3, model.dim))
    e = 1e-6 * np.eye(model.dim)
    slopes = np.stack([(model.loss(x + step) - model.loss(x - step)) / 2e-6 for step in e], axis=-1)
    np.testing.assert_allclose(model.gradient(x), slopes, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "algorithm",
    [
        simlab.DmSGD(0.1, 0.9),
        simlab.DecentLaM(0.1, 0.5),
        simlab.LocalSGD(0.1, local_steps=2),
        simlab.GTSAGA(0.1),
        simlab.ChocoSGD(0.1, 0.3, simlab.compression.TopK(4)),
    ],
)
@pytest.mark.parametrize("changes", [False, True])
def test_runs_are_those_of_the_built_in_network(algorithm, changes):
    network = simlab.topologies.ring(3)
    if changes and not isinstance(algorithm, simlab.ChocoSGD):
        network = simlab.dynamics.link_failures(network, 0.3)
    options = {"steps": 5, "batch_size": 3, "replicates": 2, "engine": "numpy"}
    model, built = (
        simlab.simulate(problem, network, algorithm, x0=problem.initial() if k == 0 else problem.initial(1), **options)
        for k, problem in enumerate(pair(UNEQUAL))
    )
    np.testing.assert_allclose(model.x, built.x, rtol=0, atol=1e-12)
    columns = ["loss", "squared_gradient_norm", "accuracy", "test_loss", "worst_accuracy", "worst_test_loss", "bits"]
    np.testing.assert_allclose(model.frame[columns], built.frame[columns], rtol=1e-10)


def test_samples_and_targets_may_have_any_shape():
    def loss(w, images, maps):
        return jnp.mean((jnp.einsum("bij,jk->bik", images, w) - maps) ** 2)

    random = np.random.default_rng(0)
    images, maps = random.standard_normal((2, 5, 3, 4)), random.standard_normal((2, 5, 3, 6))
    model = simlab.ModelProblem(loss, np.zeros((4, 6)), images, maps, precision="float64")
    x = random.standard_normal((2, 24))
    expected = [np.mean((images[i] @ x[i].reshape(4, 6) - maps[i]) ** 2) for i in range(2)]
    np.testing.assert_allclose(model.loss(x), expected, rtol=1e-12)


def test_blocks_are_the_leaves_and_unravel_gives_them_back():
    model, _ = pair(EQUAL)
    assert list(model.blocks.values()) == [slice(0, 20), slice(20, 24), slice(24, 36), slice(36, 39)]
    tree = model.unravel(model.initial())
    for block, leaf in zip(model.blocks.values(), tree.values(), strict=True):
        np.testing.assert_array_equal(model.initial()[block], np.ravel(leaf))


def test_copies_and_pickles_compute_the_same():
    model, _ = pair(UNEQUAL)
    x = np.ones((3, model.dim))
    expected = model.gradient(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).gradient(x), expected)
    np.testing.assert_array_equal(model.with_l1(0.1).gradient(x), expected)
    single = model.convert(np, np.float32)
    assert single.gradient(x.astype(np.float32)).dtype == np.float32


def test_its_identity_holds_the_loss_and_the_data():
    from simlab.run.identity import Identities

    one, same, other = pair(EQUAL)[0], pair(EQUAL)[0], pair(EQUAL, seed=5)[0]
    identity = Identities().noun
    assert identity(one) == identity(same) != identity(other)
    elsewhere = simlab.ModelProblem(lambda q, a, b: 2 * entropy(q, a, b), one.parameters, one.features, one.targets)
    assert identity(elsewhere) != identity(one)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": 3}, TypeError, "loss = 3 is not a function"),
        ({"framework": "jaxx"}, ValueError, "framework = 'jaxx' is unknown; did you mean 'jax'"),
        ({"precision": "float16"}, ValueError, "precision = 'float16' is unknown"),
        ({"parameters": {"w": np.zeros(2, int)}}, TypeError, r"parameters\['w'\] is of type int64; pass floating"),
        ({"metrics": {"accuracy": accuracy}}, ValueError, "are of test data, and test is None"),
        ({"targets": np.zeros((2, 4))}, ValueError, r"targets has shape \(2, 4\)"),
    ],
)
def test_wrong_arguments_are_refused(change, error, message):
    arguments = {
        "loss": entropy,
        "parameters": {"w": np.zeros(2)},
        "features": np.zeros((2, 3, 2)),
        "targets": np.zeros((2, 3)),
    }
    with pytest.raises(error, match=message):
        simlab.ModelProblem(**(arguments | change))


def test_the_compiled_engine_says_what_runs_it():
    model, _ = pair(EQUAL)
    with pytest.raises(NotImplementedError, match="engine='numpy'"):
        simlab.simulate(model, simlab.topologies.ring(3), simlab.DSGD(0.1), steps=1)


@pytest.mark.parametrize(
    "algorithm",
    [
        simlab.DSGD(0.1),
        simlab.D2(0.1),
        simlab.GradientTracking(0.1),
        simlab.GTSAGA(0.1),
        simlab.PmSGD(0.1),
        simlab.DecentLaM(simlab.schedules.Cosine(0.1, 20, 0.01), 0.8),
        simlab.LARS(0.1, blocks=(20, 4, 12, 3)),
        [simlab.DmSGD(0.1, 0.8), simlab.DmSGD(0.05, 0.9)],
    ],
)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_steps_compiled_whole_are_those_taken_one_by_one(algorithm, batch_size, monkeypatch):
    from simlab.engine import backends

    model, _ = pair(UNEQUAL, "float32")
    network = simlab.topologies.complete(3)
    options = {"steps": 20, "batch_size": batch_size, "replicates": 2, "engine": "numpy", "dtype": "float32"}
    options |= {"x0": model.initial(), "noise_std": 0.01, "record_every": 7}
    traces = [simlab.simulate(model, network, algorithm, **options)]
    monkeypatch.setattr(backends, "_jits", lambda *given: False)
    traces.append(simlab.simulate(model, network, algorithm, **options))
    whole, plain = (each if isinstance(each, list) else [each] for each in traces)
    for one, other in zip(whole, plain, strict=True):
        np.testing.assert_allclose(one.x, other.x, rtol=0, atol=2e-5)
        np.testing.assert_allclose(one.frame.loss, other.frame.loss, rtol=0, atol=2e-5)
        assert one.frame.bits.equals(other.frame.bits)


def test_a_run_compiled_whole_goes_on_where_it_ended():
    model, _ = pair(UNEQUAL, "float32")
    network, algorithm = simlab.topologies.ring(3), simlab.DmSGD(0.1, 0.8)
    options = {"batch_size": 3, "engine": "numpy", "dtype": "float32", "x0": model.initial()}
    whole = simlab.simulate(model, network, algorithm, steps=20, **options)
    part = simlab.simulate(model, network, algorithm, steps=9, **options)
    np.testing.assert_array_equal(
        simlab.resume(part, steps=20, problem=model, network=network, algorithm=algorithm).x, whole.x
    )


@pytest.mark.parametrize("lengths", [[8, 8, 8], [9, 4, 1]])
@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
def test_the_way_to_the_gpu(lengths, batch_size, precision, tolerance, monkeypatch):
    model, _ = pair(lengths, precision)
    check_model(monkeypatch, model, batch_size, precision, tolerance)


def test_a_framework_that_sees_no_gpu_is_named_with_the_remedy(monkeypatch):
    model, _ = pair([8, 8, 8])
    check_refusal(monkeypatch, model)


def test_errors_from_an_unknown_minimizer_are_neither_drawn_nor_waited_for():
    model, _ = pair(EQUAL)
    trace = simlab.simulate(model, simlab.topologies.ring(3), simlab.DSGD(0.1), steps=3, engine="numpy")
    for ask in (lambda: simlab.plot.convergence(trace), lambda: simlab.first(trace, "mse", 0.1)):
        with pytest.raises(ValueError, match=r"'mse' of DSGD is NaN throughout, .* such as 'loss'"):
            ask()
    assert simlab.plot.convergence(trace, y="loss").lines
