"""The array engine on a GPU; and the clear error where there is none.

The GPU tests run with `pytest -m gpu`; where CuPy finds no device they are skipped with the reason.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest

import simlab
from simlab import cuda, dynamics, topologies
from simlab.engine import gpu
from simlab.operations import Batch
from tests.helpers import algorithms
from tests.helpers.device import stand_in

ALGORITHMS = [
    *algorithms.forms(n_nodes=12, lr=0.02, consensus_lr=0.1).values(),
    simlab.ChocoSGD(lr=0.02, consensus_lr=0.1, compressor=simlab.compression.TopK(3)),
    simlab.MalcomPSGD(lr=0.02, consensus_lr=0.1, compressor=simlab.compression.DitheredUniform(8), l1=0.01),
]
ENGINES = ("cupy", "numpy")
COSTS = ["step", "bits", "payload_bits", "gradients"]


def gpu_or_reason() -> str | None:
    """Why there is no usable GPU; None if there is one."""
    try:
        gpu.cupy_namespace()
    except RuntimeError as reason:
        return str(reason)
    return None


@pytest.mark.gpu
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("batch_size", [None, 5])
def test_gpu_equals_cpu(algorithm, batch_size):
    reason = gpu_or_reason()
    if reason:
        pytest.skip(reason)
    problem = simlab.LeastSquares.synthetic(n_nodes=12, n_samples=30, dim=7, seed=3)
    network = simlab.topologies.grid(12, lazy=True)
    kwargs = {"steps": 40, "replicates": 3, "batch_size": batch_size, "noise_std": 0.1, "record_every": 10}
    device = simlab.simulate(problem, network, algorithm, engine="cupy", **kwargs)
    host = simlab.simulate(problem, network, algorithm, engine="numpy", **kwargs)
    np.testing.assert_allclose(device.x, host.x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(device.frame["mse"], host.frame["mse"], rtol=1e-9)


CHANGING = {
    "links fail": (
        lambda: dynamics.link_failures(topologies.grid(12, lazy=True), 0.3),
        [simlab.DecentLaM(0.02), simlab.GradientTracking(0.02), simlab.D2(0.02), simlab.GossipPGA(0.02, 3)],
    ),
    "nodes sleep": (
        lambda: dynamics.node_failures(topologies.grid(12, lazy=True), 0.3),
        [simlab.DmSGD(0.02), simlab.NIDS(0.02, 0.01), simlab.SlowMo(simlab.LocalSGD(0.02, 2), 4)],
    ),
    "cycle": (
        lambda: dynamics.cycle([topologies.ring(12), topologies.disconnected(12), topologies.star(12)]),
        [simlab.DSGD(0.02), simlab.LocalSGD(0.02, 3)],
    ),
    "push": (
        lambda: dynamics.choice([topologies.random_digraph(12, 0.3, seed=k) for k in range(3)]),
        [simlab.SGP(0.02), simlab.SGP(0.02, overlap=True), simlab.SubgradientPush(0.02), simlab.PushDIGing(0.005)],
    ),
    "events": (lambda: dynamics.asynchronous(topologies.ring(12)), [simlab.ADPSGD(0.02)]),
    "noise": (
        lambda: dynamics.noise(dynamics.node_failures(topologies.ring(12), 0.3), 0.1),
        [simlab.DSGD(0.02), simlab.GradientTracking(0.02), simlab.SGP(0.02)],
    ),
}


def check_changing(name, **close):
    """Methods of a list on a network that changes: states, errors and costs of engine="cupy" are those of NumPy."""
    network, methods = CHANGING[name]
    problem = simlab.LeastSquares.synthetic(n_nodes=12, n_samples=30, dim=7, seed=3)
    kwargs = {"steps": 40, "replicates": 3, "batch_size": 5, "noise_std": 0.1, "record_every": 10, "progress": False}
    for device, host in zip(
        simlab.simulate(problem, network(), methods, engine="cupy", **kwargs),
        simlab.simulate(problem, network(), methods, engine="numpy", **kwargs),
        strict=True,
    ):
        np.testing.assert_allclose(device.x, host.x, **close)
        assert device.frame[COSTS].equals(host.frame[COSTS])
        np.testing.assert_allclose(device.frame["mse"], host.frame["mse"], rtol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CHANGING)
def test_networks_that_change_on_the_gpu(name):
    reason = gpu_or_reason()
    if reason:
        pytest.skip(reason)
    check_changing(name, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CHANGING)
def test_the_same_on_another_array_library(name, monkeypatch):
    """As `test_the_way_to_the_gpu_on_another_array_library`, so that nothing is amiss but the device."""
    stand_in(monkeypatch)
    check_changing(name, rtol=0, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["logistic", "network", "quadratic"])
def test_a_sweep_on_the_gpu(kind):
    """Settings of one algorithm as one batch, on problems of every kind; bits are counted there too."""
    reason = gpu_or_reason()
    if reason:
        pytest.skip(reason)
    random = np.random.default_rng(2)
    features, classes = random.standard_normal((6, 20, 5)), random.integers(0, 3, (6, 20))
    problem = {
        "logistic": lambda: simlab.LogisticRegression(features, classes > 0, l2=0.01),
        "network": lambda: simlab.NeuralNetwork([5, 4, 3], features, classes),
        "quadratic": lambda: simlab.Quadratic(random.uniform(0.5, 2, (6, 5)), random.standard_normal((6, 5))),
    }[kind]()
    algorithms = [simlab.DecentLaM(lr) for lr in (0.01, 0.02, 0.04)]
    kwargs = {"steps": 30, "replicates": 2, "noise_std": 0.1, "record_every": 10}
    network = simlab.topologies.ring(6)
    for device, host in zip(
        simlab.simulate(problem, network, algorithms, engine="cupy", **kwargs),
        simlab.simulate(problem, network, algorithms, engine="numpy", **kwargs),
        strict=True,
    ):
        np.testing.assert_allclose(device.x, host.x, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(device.frame["bits"], host.frame["bits"])


@pytest.mark.gpu
@pytest.mark.parametrize("framework", ["jax", "torch"])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_model_on_the_gpu(framework, batch_size):
    """Its gradients stay there: to bring them to the host would be an error within the guard of JAX."""
    reason = gpu_or_reason()
    if reason:
        pytest.skip(reason)
    library = pytest.importorskip(framework)
    random = np.random.default_rng(4)
    features, targets = random.standard_normal((6, 20, 5)), random.standard_normal((6, 20))
    start = {"w": np.zeros(5)} if framework == "jax" else library.nn.Linear(5, 1, bias=False)

    def loss(model, a, b):
        predicted = a @ model["w"] if framework == "jax" else model(a)[:, 0]
        return ((predicted - b) ** 2).mean() / 2

    problem = simlab.ModelProblem(loss, start, features, targets, framework=framework, precision="float64")
    kwargs = {"steps": 30, "replicates": 2, "record_every": 10, "batch_size": batch_size, "x0": problem.initial()}
    runs = [simlab.simulate(problem, topologies.ring(6), simlab.DmSGD(0.1), engine=e, **kwargs) for e in ENGINES]
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=1e-10, atol=1e-12)
    xp = gpu.cupy_namespace()
    x = xp.asarray(random.standard_normal((2, 6, 5)))
    batch = None if batch_size is None else Batch(xp.asarray(random.integers(0, 20, (2, 6, 8)))[..., :batch_size])
    there = problem.convert(xp, xp.float64)
    guard = library.transfer_guard_device_to_host("disallow") if framework == "jax" else contextlib.nullcontext()
    with guard:
        found = there.gradient(x, batch)
    assert type(found) is type(x)


@pytest.mark.gpu
def test_what_is_recorded_equals_numpy():
    """Products of strided, broadcast and sparse arrays, signs and bounds, within the recordable namespace."""
    reason = gpu_or_reason()
    if reason:
        pytest.skip(reason)
    import cupy

    xp, random = cuda.Recordable(), np.random.default_rng(0)
    for left, right in [((4, 3), (3, 2)), ((2, 4, 3), (3, 5)), ((4, 3), (2, 6, 3, 5)), ((6, 1, 4, 3), (7, 3, 2))]:
        for dtype in ("float32", "float64"):
            a, b = (random.standard_normal(shape).astype(dtype) for shape in (left, right))
            expected = a @ b
            for one in (cupy.asarray(a), cupy.asarray(np.ascontiguousarray(a.swapaxes(-1, -2))).swapaxes(-1, -2)):
                for two in (cupy.asarray(b), cupy.asarray(np.repeat(b, 2, axis=-1))[..., ::2]):
                    product = xp.matmul(one, two)
                    assert product.dtype == dtype
                    np.testing.assert_allclose(product.get(), expected, rtol=0, atol=20 * np.finfo(dtype).eps)
    x = np.array([-2.0, -0.0, 0.5, np.nan, 3.0])
    np.testing.assert_array_equal(xp.sign(cupy.asarray(x)).get(), np.sign(x))
    np.testing.assert_array_equal(xp.clip(cupy.asarray(x), -1, 1).get(), np.clip(x, -1, 1))


@pytest.mark.gpu
def test_methods_share_data_on_the_gpu():
    """Each has a stream of its own; problem and network are moved before."""
    reason = gpu_or_reason()
    if reason:
        pytest.skip(reason)
    problem = simlab.LeastSquares.synthetic(n_nodes=100, n_samples=50, dim=20, seed=3)
    network = simlab.topologies.ring(100, lazy=True)  # sparse
    algorithms = [a for a in ALGORITHMS if hasattr(a, "lr") and not hasattr(a, "smoothness")]
    kwargs = {"steps": 50, "batch_size": 5, "record_every": 10}
    for device, host in zip(
        simlab.simulate(problem, network, algorithms, engine="cupy", **kwargs),
        simlab.simulate(problem, network, algorithms, engine="numpy", **kwargs),
        strict=True,
    ):
        np.testing.assert_allclose(device.x, host.x, rtol=1e-10, atol=1e-12)


@pytest.mark.skipif(gpu_or_reason() is None, reason="there is a GPU, so nothing to complain of")
def test_without_a_gpu_the_error_says_what_to_do():
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=5, dim=2)
    with pytest.raises(RuntimeError, match=r"engine = 'cupy'.*use engine='compiled'"):
        simlab.simulate(problem, simlab.topologies.ring(4), simlab.DSGD(lr=0.1), steps=1, engine="cupy")


@pytest.mark.parametrize("engine_dtype", ["float64", "float32"])
def test_the_way_to_the_gpu_on_another_array_library(monkeypatch, engine_dtype):
    """All that `engine="cupy"` does, but on array-api-strict's arrays; problem and network are moved once, at first."""
    cupy, moves = stand_in(monkeypatch), []
    convert = simlab.Problem.convert
    monkeypatch.setattr(gpu, "cuda_graph", lambda body: (body(), body(), body)[2])
    problem = simlab.LeastSquares.synthetic(n_nodes=12, n_samples=30, dim=7, seed=3)

    def watch(self, xp, dtype=None):
        moves.append((self is problem, cupy.synchronized))
        return convert(self, xp, dtype)

    monkeypatch.setattr(simlab.Problem, "convert", watch)
    algorithms = [*ALGORITHMS, simlab.DecentLaM(lr=0.01)]
    kwargs = {"steps": 12, "replicates": 2, "batch_size": 5, "noise_std": 0.1, "record_every": 3}
    network = simlab.topologies.grid(12, lazy=True)
    there = simlab.simulate(problem, network, algorithms, engine="cupy", dtype=engine_dtype, **kwargs)
    assert moves[0] == (True, 0) and all(move == (False, 1) for move in moves[1:])
    monkeypatch.setattr(simlab.Problem, "convert", convert)
    here = simlab.simulate(problem, network, algorithms, engine="numpy", dtype=engine_dtype, **kwargs)
    for one, two in zip(there, here, strict=True):
        assert one.x.dtype == engine_dtype
        np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-12 if engine_dtype == "float64" else 1e-4)
        np.testing.assert_array_equal(one.frame["step"], two.frame["step"])


class Recorder:
    """The part of CuPy that records graphs, without a GPU: within a capture, what is called is kept, not counted."""

    class CUDARuntimeError(RuntimeError):
        pass

    def __init__(self, fails: bool = False) -> None:
        self.calls: list[str] = []
        self.fails = fails
        self.cuda = self.runtime = self
        self.launched = 0

    def get_current_stream(self) -> Recorder:
        return self

    def MemoryPool(self) -> Recorder:
        return self

    def malloc(self) -> None: ...

    def using_allocator(self, malloc: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def begin_capture(self) -> None:
        self.calls.append("begin")

    def end_capture(self) -> Recorder:
        self.calls.append("end")
        if self.fails:
            raise self.CUDARuntimeError("operation not permitted when stream is capturing")
        return self

    def launch(self, stream: Recorder) -> None:
        assert stream is self
        self.launched += 1


def test_a_recording_is_made_after_a_first_call(monkeypatch):
    cupy = Recorder()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    replay = gpu.cuda_graph(lambda: cupy.calls.append("body"))
    assert cupy.calls == ["body", "begin", "body", "end"]
    replay()
    replay()
    assert cupy.launched == 2 and cupy.calls.count("body") == 2


def test_what_cannot_be_recorded_runs_as_it_is(monkeypatch):
    cupy = Recorder(fails=True)
    monkeypatch.setitem(sys.modules, "cupy", cupy)

    def body() -> None:
        cupy.calls.append("body")

    with pytest.warns(UserWarning, match=r"cannot be recorded as a CUDA graph \(operation not permitted"):
        assert gpu.cuda_graph(body) is body
    assert cupy.calls == ["body", "begin", "body", "end"]
