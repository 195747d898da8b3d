"""simulate: what it records, how it stops, and the sample path behind it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from threadpoolctl import threadpool_info, threadpool_limits

import simlab
from simlab import simulation
from simlab.run import metrics, runs
from simlab.step.streams import Stream
from tests.helpers import strategies

PROBLEM = strategies.objective("least_squares", 5, 3, 8, np.random.default_rng(1)).problem
NETWORK = simlab.topologies.ring(5)


def run(algorithm: Any, *, problem: Any = PROBLEM, network: Any = NETWORK, **choices: Any) -> Any:
    options = {"steps": 20, "engine": "numpy", "progress": False, **choices}
    return simlab.simulate(problem, network, algorithm, **options)


# What is recorded.


@given(steps=st.integers(0, 60), every=st.integers(1, 70), engine=st.sampled_from(["numpy", "compiled"]))
@settings(max_examples=40)
def test_records_at_multiples_and_at_the_end(steps: int, every: int, engine: str) -> None:
    trace = run(simlab.DecentLaM(0.1), steps=steps, record_every=every, replicates=2, engine=engine)
    expected = sorted({*range(0, steps + 1, every), steps})
    for _, part in trace.frame.groupby("replicate"):
        assert part["step"].tolist() == expected
    assert trace.frame["replicate"].tolist() == [r for r in range(2) for _ in expected]


def test_no_steps_leave_the_start() -> None:
    x0 = np.arange(15.0).reshape(5, 3)
    for engine in ("numpy", "compiled"):
        trace = run(simlab.D2DmSGD(0.1), network=simlab.topologies.ring(5, lazy=True), steps=0, x0=x0, engine=engine)
        np.testing.assert_array_equal(trace.x, x0[None])
        assert trace.frame["step"].tolist() == [0]


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_metrics_are_their_formulas(engine: str) -> None:
    objective = strategies.objective("logistic", 5, 3, 8, np.random.default_rng(2))
    problem = objective.problem
    choices = {"batch_size": 2, "noise_std": 0.1, "replicates": 3, "seed": 9, "engine": engine, "problem": problem}
    for steps in (0, 1, 17):
        trace = run(simlab.DmSGD(0.3, 0.5), steps=steps, record_every=5, **choices)
        last = trace.frame[trace.frame["step"] == steps].set_index("replicate")
        for r, x in enumerate(trace.x):
            mean = sum(x[i] for i in range(5)) / 5
            full = sum(objective.gradient(i, mean, None) for i in range(5)) / 5
            loss = 0.0
            for i in range(5):
                margins = problem.labels[i] * (problem.features[i] @ mean)
                loss += (np.mean(np.log1p(np.exp(-margins))) + problem.l2 * mean @ mean / 2) / 5
            expected = {
                "mse": sum((x[i] - problem.minimizer) @ (x[i] - problem.minimizer) for i in range(5)) / 5,
                "consensus": sum((x[i] - mean) @ (x[i] - mean) for i in range(5)) / 5,
                "loss": loss,
                "squared_gradient_norm": full @ full,
            }
            for name, value in expected.items():
                assert last.loc[r, name] == pytest.approx(value, rel=1e-10, abs=1e-14), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("name", "payload_numbers", "sent_numbers"),
    [
        # On the path 0 - 1 - 2 a node's message of d = 2 numbers is heard by 1, 2 and 1 neighbours.
        ("DSGD-atc", 3 * 2, 4 * 2),
        ("DSGD-cta", 3 * 2, 4 * 2),
        ("DmSGD", 3 * 2, 4 * 2),
        ("AWCDmSGD", 3 * 2, 4 * 2),
        ("QGDmSGD", 3 * 2, 4 * 2),
        ("D2", 3 * 2, 4 * 2),
        ("D2DmSGD", 3 * 2, 4 * 2),
        ("DecentLaM", 3 * 2, 4 * 2),
        ("EXTRA", 3 * 2, 4 * 2),
        ("NIDS", 3 * 2, 4 * 2),
        ("DADmSGD", 2 * 3 * 2, 2 * 4 * 2),  # parameters and buffer
        ("GradientTracking", 2 * 3 * 2, 2 * 4 * 2),
        # A ring all-reduce: 2 (n - 1) rounds, in each every node sends d/n numbers to one neighbour.
        ("PmSGD", 2 * 2 * 2, 2 * 2 * 2),
    ],
)
def test_bits_by_hand(name: str, payload_numbers: int, sent_numbers: int, dtype: str) -> None:
    problem = simlab.Quadratic(np.ones((3, 2)), np.ones((3, 2)))
    network = simlab.topologies.path(3, lazy=True)
    size = {"float64": 64, "float32": 32}[dtype]
    trace = run(
        strategies.algorithm(name, 0.1, 0.5), problem=problem, network=network, steps=7, record_every=3, dtype=dtype
    )
    assert trace.frame["payload_bits"].tolist() == [k * payload_numbers * size for k in (0, 3, 6, 7)]
    assert trace.frame["bits"].tolist() == [k * sent_numbers * size for k in (0, 3, 6, 7)]
    assert trace.frame["bits"].dtype == np.int64


def test_columns() -> None:
    columns = [
        "algorithm",
        "replicate",
        "step",
        "mse",
        "consensus",
        "loss",
        "squared_gradient_norm",
        "payload_bits",
        "bits",
    ]
    trace = run(simlab.DSGD(0.1))
    assert [column for column in trace.frame.columns if column in columns] == columns  # later versions may add some
    assert trace.x.shape == (1, 5, 3)
    assert "DSGD" in repr(trace)


# Start, labels, lists.


def test_starts() -> None:
    row, rows = np.arange(3.0), np.arange(15.0).reshape(5, 3)
    for x0, expected in ((None, np.zeros((5, 3))), (row, np.tile(row, (5, 1))), (rows, rows), (rows.tolist(), rows)):
        np.testing.assert_array_equal(run(simlab.DSGD(0.1), steps=0, x0=x0, replicates=2).x, [expected] * 2)
        one = run(simlab.DSGD(0.1), steps=1, x0=x0).x[0]
        np.testing.assert_allclose(one, NETWORK.weights @ (expected - 0.1 * PROBLEM.gradient(expected)), rtol=1e-12)
    before = rows.copy()
    for engine in ("numpy", "compiled"):
        run(simlab.DecentLaM(0.1), x0=rows, engine=engine)
        np.testing.assert_array_equal(rows, before)  # the caller's array is left alone


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_list_shares_one_sample_path(engine: str) -> None:
    choices = {"batch_size": 2, "noise_std": 0.5, "replicates": 2, "seed": 3, "steps": 40, "engine": engine}
    algorithms = [simlab.DSGD(0.1), simlab.DecentLaM(0.1, 0.9), simlab.DSGD(0.2)]
    together = run(algorithms, **choices)
    assert isinstance(together, list)
    assert [trace.frame["algorithm"].iloc[0] for trace in together] == ["DSGD(lr=0.1)", "DecentLaM", "DSGD(lr=0.2)"]
    for algorithm, trace in zip(algorithms, together, strict=True):
        alone = run(algorithm, **choices)
        np.testing.assert_array_equal(alone.x, trace.x)
        np.testing.assert_array_equal(alone.frame["mse"], trace.frame["mse"])
        assert trace.algorithm == algorithm
    assert simlab.frame(together)["algorithm"].nunique() == 3
    assert len(simlab.frame(together)) == sum(len(trace.frame) for trace in together)


def test_a_list_of_one_is_a_list() -> None:
    assert isinstance(run([simlab.DSGD(0.1)]), list)
    assert isinstance(run((simlab.DSGD(0.1),)), list)


def test_equal_methods_of_a_list_can_be_told_apart() -> None:
    traces = run([simlab.DSGD(0.1), simlab.DSGD(0.1), simlab.DSGD(0.1, order="cta")])
    assert simlab.frame(traces)["algorithm"].unique().tolist() == [
        "DSGD(order=atc) #1",
        "DSGD(order=atc) #2",
        "DSGD(order=cta)",
    ]


def test_methods_of_one_name_but_different_fields() -> None:
    class DSGD(NamedTuple):  # another author's
        step_size: float

        def init(self, x: Any) -> Any:
            return simlab.DSGD(1.0).init(x)

        def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
            return simlab.DSGD(self.step_size).step(state, problem, network, batch)

    traces = run([simlab.DSGD(0.1), DSGD(0.2)])
    assert simlab.frame(traces)["algorithm"].nunique() == 2


# Reproducibility and statistics of the sample path. Fixed seeds: each test below would have failed with the stated
# probability for a seed drawn at random.


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_same_seed_same_numbers(engine: str) -> None:
    choices = {"batch_size": 2, "noise_std": 0.5, "replicates": 3, "engine": engine}
    one, two = (run(simlab.DecentLaM(0.1), seed=5, **choices) for _ in range(2))
    np.testing.assert_array_equal(one.x, two.x)
    assert one.frame.equals(two.frame)
    other = run(simlab.DecentLaM(0.1), seed=6, **choices)
    assert not np.isclose(one.x, other.x).any()
    more = run(simlab.DecentLaM(0.1), seed=5, **{**choices, "replicates": 7})
    np.testing.assert_allclose(more.x[:3], one.x, rtol=0, atol=1e-13)


def test_noise_has_the_given_standard_deviation() -> None:
    """chi^2 of 60,000 draws through the simulator; two-sided, false alarm 1e-4."""
    problem = simlab.Quadratic(np.ones((5, 4)), np.zeros((5, 4)))
    trace = run(simlab.DSGD(0.5, order="cta"), problem=problem, steps=1, replicates=3000, noise_std=0.3, seed=1)
    noise = trace.x / -0.5
    low, high = stats.chi2.ppf([0.5e-4, 1 - 0.5e-4], noise.size)
    assert low < np.sum((noise / 0.3) ** 2) < high
    assert abs(noise.mean()) < 0.3 * stats.norm.isf(0.5e-4) / np.sqrt(noise.size)
    assert stats.kstest(noise.ravel() / 0.3, "norm").pvalue > 1e-4


def test_indices_are_uniform_and_independent() -> None:
    """chi^2 of single draws and of pairs of draws; false alarm 1e-4 each."""
    n_samples = 7
    draws = Stream(12, 0).indices(4000, 3, 5, n_samples)
    assert draws.dtype == np.int32 and draws.shape == (4000, 3, 5)
    assert draws.min() == 0 and draws.max() == n_samples - 1
    assert stats.chisquare(np.bincount(draws.ravel())).pvalue > 1e-4
    neighbours = {
        "in a batch": (draws[..., :-1], draws[..., 1:]),
        "of two nodes": (draws[:, :-1], draws[:, 1:]),
        "of two steps": (draws[:-1], draws[1:]),
        "of two replicates": (draws, Stream(12, 1).indices(4000, 3, 5, n_samples)),
        "of two seeds": (draws, Stream(13, 0).indices(4000, 3, 5, n_samples)),
    }
    for what, (a, b) in neighbours.items():
        pairs = np.bincount((a * n_samples + b).ravel(), minlength=n_samples**2)
        assert stats.chisquare(pairs).pvalue > 1e-4, what


def test_noise_is_independent() -> None:
    """Correlations across steps, nodes, coordinates, replicates and seeds; false alarm 1e-4 each."""
    shape = (4000, 3, 4)

    def noise(seed: int, replicate: int) -> np.ndarray:
        return Stream(seed, replicate).noise(*shape, 1.0, np.dtype(float))

    z = noise(3, 0)
    pairs = {
        "steps": (z[:-1], z[1:]),
        "nodes": (z[:, :-1], z[:, 1:]),
        "coordinates": (z[..., :-1], z[..., 1:]),
        "replicates": (z, noise(3, 1)),
        "seeds": (z, noise(4, 0)),
        "seed and replicate": (noise(0, 1), noise(1, 0)),
    }
    for what, (a, b) in pairs.items():
        statistic = np.sum(a * b) / np.sqrt(a.size)
        assert abs(statistic) < stats.norm.isf(0.5e-4), what


def test_noise_is_independent_of_indices() -> None:
    """Rank correlations of draws of noise (64 bits) with pairs of indices (32 bits each); false alarm 1e-4 each."""
    streams = [Stream(seed, 1) for seed in range(2000)]  # first draws: noise rejects some, and is out of step then
    z = np.array([stream.noise(1, 1, 1, 1.0, np.dtype(float)) for stream in streams]).ravel()
    indices = np.array([stream.indices(1, 1, 2, 2**31 - 1) for stream in streams]).reshape(2000, 2)
    for part in indices.T:
        for noise in (z, np.abs(z)):
            for bits in range(20, 31):  # were both from the same bits, noise would not use the highest ones
                assert stats.spearmanr(noise, part % 2**bits).pvalue > 1e-4


def test_indices_and_noise_do_not_move_each_other() -> None:
    """Adding noise leaves the mini-batches as they were, and the other way round."""
    one, two = Stream(8, 2), Stream(8, 2)
    two.noise(10, 3, 4, 1.0, np.dtype(float))
    np.testing.assert_array_equal(one.indices(9, 3, 2, 50), two.indices(9, 3, 2, 50))
    z = Stream(8, 2).noise(20, 3, 4, 1.0, np.dtype(float))
    np.testing.assert_array_equal(one.noise(20, 3, 4, 1.0, np.dtype(float)), z)


# Progress.


def test_progress_is_silent_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    run(simlab.DSGD(0.1), progress=None)
    assert capsys.readouterr() == ("", "")
    run(simlab.DSGD(0.1), progress=True)
    out, _ = capsys.readouterr()
    assert out == ""


def test_quiet_runs_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for engine in ("numpy", "compiled"):
            run(simlab.DecentLaM(0.1), engine=engine, batch_size=8, replicates=3)


@pytest.mark.parametrize("overhead", [0.0, 1e-3, 0.5, 5.0])
@pytest.mark.parametrize("step", [1e-7, 1e-4, 1e-2])
def test_chunks_grow_until_their_steps_outweigh_their_overhead(overhead, step):
    size, chunk = 1, (0, math.inf)
    for _ in range(30):
        last, chunk = chunk, (size, overhead + step * size)
        size = simulation.next_size(chunk, last)
    assert step * size >= overhead / 2  # a many-replicate run once shrank its chunks to one step
    assert overhead + step * size <= max(simulation.CHUNK_SECONDS, 16 * step, 10 * overhead)


def test_chunks_grow_until_their_records_fill_a_block(monkeypatch):
    """Else each record would cost what a whole block of them does: on a slow machine 16 times as much."""
    problem, clock, asked = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=20, dim=3), [0.0], []
    block = round(1 / metrics.filled(problem, 1))

    def slow(problem, x):
        asked.append(x[..., 0, 0].size)
        clock[0] += 0.06 * -(-asked[-1] // block)
        return metrics.measure(problem, x)

    monkeypatch.setattr(simulation, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(runs, "measure", slow)
    network = simlab.topologies.ring(4)
    choices = {"steps": 128 * block, "record_every": 16, "engine": "numpy", "progress": False}
    trace = simlab.simulate(problem, network, simlab.DSGD(0.1), **choices)
    assert sum(asked) == len(trace.frame) == 8 * block + 1
    assert sum(map(bool, asked)) <= 32


def test_points_of_a_network_are_measured_alone():
    """Its matrix products are its own: 16 of them take 16 times as long."""
    random = np.random.default_rng(0)
    features, labels = random.standard_normal((5, 300, 60)), random.integers(0, 10, (5, 300))
    assert metrics.filled(simlab.NeuralNetwork([20], features, labels), 1) == 1


@pytest.mark.parametrize("largest", [2**24, 0])
def test_records_of_small_problems_are_left_to_one_thread(largest, monkeypatch):
    """More would wait for one another, and for the cores that steps use."""
    monkeypatch.setattr(simulation, "ONE_THREAD", largest)
    seen = []

    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    def record(x):
        seen.append(threads())
        return x[..., 0, 0]

    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=20, dim=3, seed=0)
    with threadpool_limits(2, user_api="blas"):
        before = threads()  # a library of others may have been built for one
        simlab.simulate(
            problem, simlab.topologies.ring(4), simlab.DSGD(0.1), steps=3, record={"first": record}, engine="numpy",
            progress=False,
        )  # fmt: skip
        assert threads() == before and 2 in before
    started, *during = seen
    assert started == before and all(each == ({1} if largest else before) for each in during)


SECOND = """
import threading
import scipy.linalg
from threadpoolctl import threadpool_info
from simlab.arrays import one_thread_of_blas

def counts():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

def second():
    with one_thread_of_blas():
        inside.set()
        leave.wait(30)

inside, leave = threading.Event(), threading.Event()
before = counts()
with one_thread_of_blas():
    within = counts()
    other = threading.Thread(target=second)
    other.start()
    inside.wait(30)
leave.set()
other.join(30)
assert within == {1} and counts() == before, (before, within, counts())
"""


def test_simulations_in_threads_leave_blas_its_threads() -> None:
    """Who is within while another leaves does not restore the one thread that it found; in a process with two."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", SECOND], check=True, env=environment)
