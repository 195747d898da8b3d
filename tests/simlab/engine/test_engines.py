"""Both engines compute the same: every algorithm, problem, precision, chunk size and number of threads."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab import simulation
from simlab.engine import compiled
from simlab.engine.array import ArrayEngine
from simlab.operations import Batch, gradient, maximum, minimum, mix, norm, sqrt, where, zeros_like
from simlab.run.runs import first_state, with_tables
from simlab.run.settings import ENGINES, hyperparameters
from simlab.step import graph
from simlab.step.streams import Draws
from tests.helpers import algorithms, strategies
from tests.helpers.agreement import SETTING, assert_same
from tests.helpers.interpreted import interpreted

STEPS = 12
MODES = [(False, False), (False, True), (True, False), (True, True)]  # (sampled, noisy)
COMBINATIONS = [
    (kind, sampled, noisy)
    for kind in strategies.KINDS
    for sampled, noisy in MODES
    if (kind in strategies.SAMPLED_KINDS or not sampled) and (kind, sampled, noisy) != ("least_squares", True, True)
]


def simulated(setting: strategies.Setting, algorithm: Any, engine: str, **choices: Any) -> Any:
    options = {"steps": STEPS, "replicates": 2, "record_every": 5, "batch_size": setting.batch_size}
    options |= {"noise_std": setting.noise_std, "seed": setting.seed, "x0": setting.x0, "progress": False, **choices}
    return simlab.simulate(setting.objective.problem, setting.network, algorithm, engine=engine, **options)


# A program says the same whether it is compiled or interpreted, which takes milliseconds. Compiled are every kernel,
# with mini-batches or with noise, one by one and side by side, and an algorithm of each kind.
COMPILED = [
    ("quadratic", False, "DSGD-cta", [2, 17]),
    ("diagonal", False, "D2DmSGD", [2, 17]),
    ("least_squares", False, "NIDS", [2, 17]),
    ("least_squares", True, "QGDmSGD", [2]),
    ("wide_least_squares", False, "GradientTracking", [2, 17]),
    ("wide_least_squares", True, "DecentLaM", [2]),
    ("logistic", False, "DADmSGD", [2, 17]),
    ("logistic", True, "D2", [2]),
    ("nonconvex", False, "PmSGD", [2, 17]),
    ("nonconvex", True, "AWCDmSGD", [2]),
    ("diagonal", False, "DSGD-atc", [2]),
    ("diagonal", False, "DmSGD", [2]),
    ("diagonal", False, "EXTRA", [2]),
]


def agree(setting: strategies.Setting, name: str, **choices: Any) -> None:
    algorithm = strategies.algorithm(name, setting.lr, setting.momentum)
    assert_same(*(simulated(setting, algorithm, engine, **choices) for engine in ENGINES[:2]))


def agree_in_mode(setting: strategies.Setting, name: str, sampled: bool, noisy: bool, **choices: Any) -> None:
    batch_size, noise_std = (setting.batch_size if sampled else None), (setting.noise_std if noisy else 0.0)
    agree(setting, name, batch_size=batch_size, noise_std=noise_std, **choices)


def test_every_kind_is_compiled() -> None:
    assert {name for _, _, name, _ in COMPILED} <= set(strategies.NAMES)
    assert {kind for kind, *_ in COMPILED} == set(strategies.KINDS)
    assert {kind for kind, sampled, *_ in COMPILED if sampled} == set(strategies.SAMPLED_KINDS)


@pytest.mark.parametrize("name", strategies.NAMES)
@given(setting=strategies.settings("least_squares"), replicates=st.sampled_from([1, 2, 5]))
@settings(max_examples=12)
def test_every_algorithm_interpreted(name: str, setting: strategies.Setting, replicates: int) -> None:
    with interpreted():
        agree(setting, name, replicates=replicates, steps=6)


@pytest.mark.parametrize(("kind", "sampled", "noisy"), COMBINATIONS)
@given(data=st.data(), name=st.sampled_from(strategies.NAMES), replicates=st.sampled_from([2, 5]))
@settings(max_examples=8)
def test_every_problem_interpreted(
    kind: str, sampled: bool, noisy: bool, data: st.DataObject, name: str, replicates: int
) -> None:
    with interpreted():
        agree_in_mode(data.draw(strategies.settings(kind)), name, sampled, noisy, replicates=replicates, steps=6)


# 2 replicates run one by one, 17 side by side.
@pytest.mark.parametrize(("kind", "sampled", "name", "replicates"), COMPILED)
@given(data=st.data())
@settings(max_examples=5)
def test_every_kernel_compiled(kind: str, sampled: bool, name: str, replicates: list[int], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "SIDE_BY_SIDE", 2)
        setting = data.draw(strategies.settings(kind))
        for number in replicates:
            agree_in_mode(setting, name, sampled, not sampled, replicates=number)


@pytest.mark.parametrize("name", strategies.NAMES)
@given(setting=strategies.settings("least_squares"))
@settings(max_examples=3)
def test_single_precision(name: str, setting: strategies.Setting) -> None:
    algorithm = strategies.algorithm(name, setting.lr, setting.momentum)
    double = simulated(setting, algorithm, "numpy")
    for engine in ("numpy", "compiled") if name in ("DecentLaM", "PmSGD") else ("numpy",):
        single = simulated(setting, algorithm, engine, dtype="float32")
        assert single.x.dtype == np.float32
        assert np.abs(single.x - double.x).max() <= 1e-4 * max(1.0, np.abs(double.x).max())
        assert (2 * single.frame["bits"]).equals(double.frame["bits"])


# array-api-strict allows nothing that the array API standard does not promise, so that CuPy can follow.


@pytest.mark.parametrize("kind", strategies.KINDS)
@pytest.mark.parametrize("name", strategies.NAMES)
@given(data=st.data())
@settings(max_examples=3)
def test_steps_run_on_the_array_api(name: str, kind: str, data: st.DataObject) -> None:
    setting = data.draw(strategies.settings(kind))
    problem, random = setting.objective.problem, np.random.default_rng(setting.seed)
    algorithm = strategies.algorithm(name, setting.lr, setting.momentum)
    shape = (3, problem.n_nodes, problem.dim)
    start, noise = random.standard_normal(shape), random.standard_normal(shape)
    indices = None
    if problem.n_samples is not None:
        indices = random.integers(0, problem.n_samples, (3, problem.n_nodes, 4), dtype=np.int32)
    strict = array_api_strict.asarray
    converted = problem.convert(array_api_strict)
    one, two = algorithm.init(start), algorithm.init(strict(start))
    for _ in range(2):
        one = algorithm.step(one, problem, setting.network, Batch(indices, noise))
        batch = Batch(None if indices is None else strict(indices), strict(noise))
        two = algorithm.step(two, converted, setting.network, batch)
    for field, a, b in zip(one._fields, one, two, strict=True):
        assert type(b) is type(strict(start)), field
        np.testing.assert_allclose(np.from_dlpack(b), a, rtol=1e-12, atol=1e-12 * np.abs(a).max(), err_msg=field)


# What CuPy runs, on arrays that allow no more than the standard: step by step, and replayed from a recording.


def recorded(body: Any) -> Any:
    """As `gpu.cuda_graph`: called before it is replayed."""
    body()
    body()
    return body


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("name", strategies.NAMES)
@pytest.mark.parametrize("single", [False, True])
def test_array_engine_on_the_array_api(name: str, sampled: bool, single: bool) -> None:
    random = np.random.default_rng(3)
    problem = strategies.objective("least_squares", 6, 4, 9, random).problem
    algorithm, steps, runs = strategies.algorithm(name, 0.1, 0.9), 11, 3
    dtype = np.dtype(np.float32 if single else np.float64)
    state = algorithm.init(random.standard_normal((runs, 6, 4)).astype(dtype))
    compressions = len(graph.step_graph(algorithm, state).compressors)
    draws = [
        Draws(
            random.integers(0, 9, (steps, 6, 2), dtype=np.int32) if sampled else None,
            random.standard_normal((steps, 6, 4)).astype(dtype),
            random.random((steps, compressions, 6, 4), np.float32) if compressions else None,
        )
        for _ in range(runs)
    ]
    table = np.array(hyperparameters(algorithm, steps))
    shared = [draws[0], draws[1], draws[0]]  # as two settings of one replicate share them
    for hyper, drawn in (([table] * runs, draws), ([table / (1 + 0.1 * r) for r in range(runs)], shared)):
        expected, *others = (
            ArrayEngine(problem, SETTING.network, algorithm, xp=xp, dtype=dtype, record=record)
            .plan(state, hyper, given_draws, 5, 3)
            .run()
            for xp, record, given_draws in (
                (np, None, [Draws(*each) for each in drawn]),
                (array_api_strict, None, drawn),
                *([] if compressions else [(np, recorded, drawn), (array_api_strict, recorded, drawn)]),
            )
        )
        assert expected.snapshots.shape == (runs, 4, 6, 4)
        for chunk in others:
            scale = np.abs(expected.snapshots).max() * (1e-5 if single else 1e-12)
            for one, two in zip((*chunk.state, *chunk[1:]), (*expected.state, *expected[1:]), strict=True):
                assert one.dtype == two.dtype
                np.testing.assert_allclose(one, two, rtol=0, atol=scale)


# The sample path depends on the seed alone.


class Spy:
    """Remembers the draws that an engine gets, step by step."""

    def __init__(self, patch: pytest.MonkeyPatch, engine_class: type) -> None:
        self.indices: list[list[np.ndarray]] = []
        self.chunks: list[int] = []
        plan = engine_class.plan

        def listen(engine: Any, state: Any, hyper: Any, draws: Any, first_step: int, every: int) -> Any:
            self.chunks.append(len(hyper[0]))
            self.indices.append([d.indices.copy() for d in draws])
            return plan(engine, state, hyper, draws, first_step, every)

        patch.setattr(engine_class, "plan", listen)

    def path(self, replicate: int) -> np.ndarray:
        return np.concatenate([part[replicate] for part in self.indices])


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
def test_draws_do_not_depend_on_how_they_are_run(engine: str) -> None:
    engine_class = {"compiled": compiled.CompiledEngine, "numpy": ArrayEngine}[engine]
    algorithm = simlab.DecentLaM(0.1, 0.9)
    paths, states, chunks = [], [], []
    for seconds, n_bytes, replicates, threads in (
        (0.2, 2**26, 3, 1),
        (0.0, 2**26, 3, 4),  # chunks of 1 after the first
        (1e9, 2**26, 5, 2),  # as large as they get
        (0.2, 1, 3, 4),  # chunks of 1 from the start
        (1e9, 7 * 3 * 6 * (3 * 4 + 4 * 8 + 4 * 8), 3, 1),  # chunks of 7, no divisor of anything
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulation, "CHUNK_SECONDS", seconds)
            patch.setattr(simulation, "CHUNK_BYTES", n_bytes)
            patch.setattr(simulation, "THREADS", threads)
            spy = Spy(patch, engine_class)
            trace = simulated(SETTING, algorithm, engine, steps=101, replicates=replicates, record_every=1)
        paths.append([spy.path(r) for r in range(3)])
        states.append(trace.x[:3])
        chunks.append(max(spy.chunks))
        assert sum(spy.chunks) == 101
    assert chunks[3] == 1 < chunks[4] < chunks[2]  # the patches had their effect
    for path, x in zip(paths, states, strict=True):
        for r in range(3):
            np.testing.assert_array_equal(path[r], paths[0][r])
        np.testing.assert_allclose(x, states[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "form"), [("DecentLaM", nullcontext), ("PmSGD", interpreted), ("AWCDmSGD", interpreted)]
)
def test_side_by_side_and_by_nodes_agree(name: str, form: Any) -> None:
    """However the compiled engine shares its work: replicates one by one, side by side, or nodes in threads."""
    problem = strategies.objective("quadratic", 12, 5, 1, np.random.default_rng(8)).problem
    network = simlab.topologies.erdos_renyi(12, 0.4, seed=3)
    algorithm = strategies.algorithm(name, 0.1, 0.9)
    options = {"steps": 30, "noise_std": 0.1, "seed": 4, "progress": False, "record_every": 7}
    if form is interpreted:
        options |= {"steps": 8, "record_every": 3}
    expected = simlab.simulate(problem, network, algorithm, replicates=18, engine="numpy", **options)
    for threads in (1, 2, 4):
        with form(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulation, "THREADS", threads)
            assert_same(simlab.simulate(problem, network, algorithm, replicates=18, **options), expected)
            patch.setattr(compiled, "LARGE", 0)
            alone = simlab.simulate(problem, network, algorithm, replicates=1, **options)
    np.testing.assert_allclose(alone.x[0], expected.x[0], rtol=0, atol=1e-12)


# Algorithms that users write.


class Memory(NamedTuple):
    x: Any
    seen: Any


class Clipped(NamedTuple):
    """DSGD with clipped gradients: norms, branches and NumPy functions are beyond a compiled step."""

    lr: float
    clip: float = 0.1

    def init(self, x: Any) -> Memory:
        return Memory(x, x)

    def step(self, state: Memory, problem: Any, network: Any, batch: Any) -> Memory:
        direction = gradient(problem, state.x, batch)
        norms = np.linalg.norm(direction, axis=-1, keepdims=True)
        if np.max(norms) > self.clip:
            direction = direction * np.minimum(1, self.clip / norms)
        return Memory(mix(network, state.x) - self.lr * direction, state.x)


def test_numpy_engine_runs_what_cannot_be_compiled() -> None:
    """As the compiled engine's error message promises."""
    trace = simulated(SETTING, Clipped(0.1), "numpy", replicates=1, steps=3, batch_size=None, noise_std=0.0)
    x = SETTING.x0
    for _ in range(3):
        g = SETTING.objective.problem.gradient(x)
        g = np.array([row * min(1.0, 0.1 / np.sqrt(row @ row)) for row in g])
        x = SETTING.network.weights @ x - 0.1 * g
    np.testing.assert_allclose(trace.x[0], x, rtol=1e-12)
    assert trace.frame["payload_bits"].iloc[-1] == 3 * 6 * 4 * 64  # one exchange a step: counted all the same
    assert trace.frame["bits"].iloc[-1] == 3 * 2 * 6 * 4 * 64


class Adaptive(NamedTuple):
    """Clipped steps by rows, scaled by entries, with an exchange at some steps only: all that can be compiled."""

    lr: float
    exchange: Any = 1.0
    clip: float = 0.3

    def init(self, x: Any) -> Memory:
        return Memory(x, zeros_like(x))

    def step(self, state: Memory, problem: Any, network: Any, batch: Any) -> Memory:
        g = gradient(problem, state.x, batch)
        g = g * minimum(1.0, self.clip / maximum(norm(g), 1e-12))
        seen = 0.9 * state.seen + 0.1 * g**2
        x = state.x - self.lr * g / (sqrt(seen) + 0.1)
        x = where((seen > 1e-3) | (abs(x) < 0.5), x, 0.99 * x)
        return Memory(where(self.exchange > 0.5, mix(network, x), x), seen)


@pytest.mark.parametrize("exchange", [1.0, 0.0, lambda k: (k % 3 == 2) * 1.0])
@pytest.mark.parametrize(("replicates", "dtype"), [(1, "float64"), (20, "float32")])  # 20: side by side
def test_clipped_and_scaled_steps(exchange: Any, replicates: int, dtype: str) -> None:
    problem = strategies.objective("quadratic", 6, 4, 1, np.random.default_rng(8)).problem
    options = {"steps": 20, "noise_std": 0.1, "replicates": replicates, "progress": False, "dtype": dtype}
    algorithm = Adaptive(0.1, exchange)
    compiled_x, x = (
        simlab.simulate(problem, SETTING.network, algorithm, engine=engine, **options).x
        for engine in ("compiled", "numpy")
    )
    np.testing.assert_allclose(compiled_x, x, rtol=0, atol=1e-12 if dtype == "float64" else 1e-4)
    w, expected, seen = SETTING.network.weights, np.zeros((6, 4)), np.zeros((6, 4))
    noise = simlab.step.streams.Stream(0, 0).noise(20, 6, 4, 0.1, np.dtype(np.float64))
    for k in range(20):
        g = problem.gradient(expected) + noise[k]
        g = np.stack([row * min(1.0, 0.3 / np.linalg.norm(row)) for row in g])
        seen = 0.9 * seen + 0.1 * g**2
        expected = expected - 0.1 * g / (np.sqrt(seen) + 0.1)
        expected = np.where((seen > 1e-3) | (np.abs(expected) < 0.5), expected, 0.99 * expected)
        if (exchange(k) if callable(exchange) else exchange) > 0.5:
            expected = w @ expected
    np.testing.assert_allclose(x[0], expected, rtol=0, atol=1e-12 if dtype == "float64" else 1e-4)


class Extremes(NamedTuple):
    lr: float

    def init(self, x: Any) -> Memory:
        return Memory(x, x)

    def step(self, state: Memory, problem: Any, network: Any, batch: Any) -> Memory:
        root = sqrt(state.seen - 1.0)  # NaN below 1
        low, high = minimum(root, state.x), maximum(state.x, root)
        return Memory(where((low == low) | (high == high), state.x, -1.0) + 0.0 * norm(state.x), low + high)


def test_roots_of_negative_numbers_and_extremes_of_none() -> None:
    """They are NaN on every engine."""
    x0 = np.linspace(0.2, 3.0, 24).reshape(6, 4)
    for engine in ("compiled", "numpy"):
        x = simulated(SETTING, Extremes(0.1), engine, x0=x0, steps=1, replicates=1).x[0]
        np.testing.assert_array_equal(x, np.where(x0 < 1, -1.0, x0), err_msg=engine)


def test_where_of_numbers() -> None:
    a, b = np.ones((2, 3)), np.zeros((2, 3))
    assert where(True, a, b) is not None and np.array_equal(where(np.False_, a, b), b)
    assert where(0.2 > 0.1, 1.0, 2.0) == 1.0 and sqrt(4) == 2.0 and maximum(1, 2) == minimum(2, 3) == 2
    strict = array_api_strict.asarray(a)
    assert np.array_equal(np.from_dlpack(where(False, strict, 0.5)), 0.5 * a)
    assert math.isnan(sqrt(-1.0))
    assert np.array_equal(np.from_dlpack(where(strict > 0, 1.0, 2.0)), a)


class Direct(NamedTuple):
    """Steps that go past `simlab.operations`; `how` says which way."""

    lr: float
    how: str

    def init(self, x: Any) -> Memory:
        return Memory(x, x)

    def step(self, state: Memory, problem: Any, network: Any, batch: Any) -> Memory:
        x = state.x
        match self.how:
            case "problem":
                x = x - self.lr * problem.gradient(x, batch)
            case "network":
                x = network.mix(x)
            case "function":
                x = np.tanh(x)
            case "algorithm":
                x = x - x.mean()
            case "branch":
                x = x if self.lr > 0.1 else -x
            case "array":
                x = x + SETTING.x0
        return Memory(x, state.x)


@pytest.mark.parametrize("how", ["problem", "network", "function", "algorithm", "branch", "array"])
def test_what_cannot_be_compiled_says_so(how: str) -> None:
    with pytest.raises(TypeError, match=r"Direct\.step cannot be compiled: .*engine='numpy'"):
        simulated(SETTING, Direct(0.1, how), "compiled")
    simulated(SETTING, Direct(0.1, how), "numpy", replicates=1)


class Forgetful(NamedTuple):
    lr: float

    def init(self, x: Any) -> Memory:
        return Memory(x, zeros_like(x))

    def step(self, state: Memory, problem: Any, network: Any, batch: Any) -> Memory:
        return Memory(0.5 * state.x + state.seen, zeros_like(state.seen))


def test_zeros_like_within_a_step() -> None:
    for engine in ("compiled", "numpy"):
        trace = simulated(SETTING, Forgetful(0.1), engine, steps=2, replicates=1)
        np.testing.assert_allclose(trace.x[0], SETTING.x0 / 4)


@pytest.mark.parametrize("name", algorithms.forms())
def test_every_form_on_the_array_api(name: str) -> None:
    """Messages, triggers, servers and proximal steps too: states and bits."""
    random, steps = np.random.default_rng(3), 5
    algorithm, shape = algorithms.forms(lr=0.05)[name], (2, 6, 4)
    problem = SETTING.objective.problem
    state = with_tables(first_state(algorithm, random.standard_normal(shape)), algorithm, problem, np.dtype(float))
    compressions = graph.step_graphs(algorithm, state, sampled=True, noisy=True).compressions
    draws = [
        Draws(
            random.integers(0, 9, (steps, 6, 2), dtype=np.int32),
            random.standard_normal((steps, 6, 4)),
            random.random((steps, compressions, 6, 4), np.float32) if compressions else None,
        )
        for _ in range(2)
    ]
    tables = [np.array(hyperparameters(algorithm, steps)), np.array(hyperparameters(algorithm, steps))]  # not shared
    one, two = (
        ArrayEngine(problem, SETTING.network, algorithm, xp=xp, dtype=np.dtype(float))
        .plan(state, tables, draws, 0, 2)
        .run()
        for xp in (np, array_api_strict)
    )
    for a, b in zip(one.state, two.state, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(one.sent, two.sent)
