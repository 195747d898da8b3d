"""simulate: what it records, how it stops, and the sample path behind it."""

from __future__ import annotations

import _thread
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from threadpoolctl import threadpool_info, threadpool_limits

import simlab
from simlab import simulation
from simlab.engine.array import ArrayEngine
from simlab.engine.compiled import CompiledEngine
from simlab.operations import common_uniform, gradient, where
from simlab.run import metrics, runs
from simlab.step.streams import Stream
from tests.helpers import strategies

PROBLEM = strategies.objective("least_squares", 5, 3, 8, np.random.default_rng(1)).problem
NETWORK = simlab.topologies.ring(5)
LARGEST = 1e100  # beyond it a state counts as diverged


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


# Divergence.


class Escape(NamedTuple):
    """x -> (x - lr G)^2: starts above 1 square themselves to infinity, starts below vanish."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.DSGD(1.0).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        moved = state.x - self.lr * gradient(problem, state.x, batch)
        return type(state)(moved * moved)


class Gamble(NamedTuple):
    """Entries double or halve, at random."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.DSGD(1.0).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        return type(state)(where(common_uniform(state.x, batch) < self.lr, 2.0 * state.x, 0.5 * state.x))


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_divergence_stops_at_the_step_and_leaves_a_usable_trace(engine: str, every: int) -> None:
    n, d, steps, seed, std, replicates = 2, 1, 45, 4, 0.05, 9
    problem = simlab.Quadratic(np.full((n, d), 1e-3), np.zeros((n, d)))
    diverged, last = {}, {}
    for r in range(replicates):  # the plain loop
        noise = Stream(seed, r).noise(steps, n, d, std, np.dtype(float))
        x = np.ones((n, d))
        for k in range(steps):
            with np.errstate(over="ignore"):
                new = (x - 0.5 * (1e-3 * x + noise[k])) ** 2
            recorded = (k + 1) % every == 0 or k + 1 == steps
            if not np.isfinite(new).all() or (recorded and np.max(np.abs(new)) > LARGEST):
                diverged[r] = k + 1
                break
            x = new
        last[r] = x
    assert 2 <= len(diverged) < replicates  # some do and some do not
    assert every == 3 or len(set(diverged.values())) > 1

    with pytest.warns(RuntimeWarning, match="diverged") as caught:
        trace = run(
            Escape(0.5),
            problem=problem,
            network=simlab.topologies.path(2),
            steps=steps,
            replicates=replicates,
            noise_std=std,
            seed=seed,
            x0=np.ones(1),
            record_every=every,
            engine=engine,
        )
    messages = [str(w.message) for w in caught]
    assert {w.filename for w in caught} == {__file__}  # the warning points at the caller
    named = 0  # replicates, each in one warning: one by one, or with the others of its chunk
    for message in messages:
        assert "smaller lr" in message
        one = re.search(r"diverged at step (\d+) \(replicate (\d+)\); its trace", message)
        many = re.search(r"diverged at steps? (\d+)(?: to (\d+))? \((\d+) replicates\); their traces", message)
        if one:
            assert diverged[int(one[2])] == int(one[1])
            named += 1
        else:
            assert many
            earliest, latest = int(many[1]), int(many[2] or many[1])
            among = [step for step in diverged.values() if earliest <= step <= latest]
            assert (min(among), max(among), len(among)) == (earliest, latest, int(many[3]))
            named += len(among)
    assert named == len(diverged)
    assert trace.provenance["diverged"] == {str(r): step for r, step in diverged.items()}
    for r in range(replicates):
        np.testing.assert_allclose(trace.x[r], last[r], rtol=1e-6)
        recorded = trace.frame.loc[trace.frame["replicate"] == r]
        end = diverged.get(r, steps + 1)
        expected = [k for k in range(0, steps + 1) if k % every == 0 or k == steps]
        assert recorded["step"].tolist() == [k for k in expected if k < end]
        assert np.isfinite(recorded.drop(columns="algorithm").to_numpy(dtype=float)).all()


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_divergence_does_not_depend_on_chunks_or_company(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, expected = np.ones((5, 3)), 0
    with np.errstate(all="ignore"):
        while np.isfinite(x).all():
            x = NETWORK.weights @ (x - 60.0 * PROBLEM.gradient(x))
            expected += 1
    for n_bytes in (1, 2**26):
        monkeypatch.setattr(simulation, "CHUNK_BYTES", n_bytes)
        with pytest.warns(RuntimeWarning, match=rf"DSGD\(lr=60.0\) diverged at step {expected} "):
            traces = run(
                [simlab.DSGD(60.0), simlab.DSGD(0.1)], steps=400, x0=np.ones(3), engine=engine, record_every=400
            )
        assert traces[0].provenance["diverged"] == {"0": expected}
        assert traces[0].frame["step"].tolist() == [0]
        assert traces[1].frame["step"].tolist() == [0, 400]
        assert traces[1].provenance["diverged"] == {}


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_who_comes_back_from_out_of_range_diverges_at_a_recorded_step(
    engine: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products of random factors cross the border many times; how steps are cut says nothing of when."""
    problem = simlab.Quadratic(np.full((2, 1), 1e-3), np.zeros((2, 1)))
    options = {"problem": problem, "network": simlab.topologies.path(2), "x0": np.array([1e99]), "steps": 300}
    options |= {"record_every": every, "replicates": 20, "engine": engine}
    found = []
    for sizes in (itertools.repeat(1), itertools.repeat(1000), itertools.cycle([3, 50, 1])):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, sizes=sizes: next(sizes))
        with pytest.warns(RuntimeWarning, match="diverged at step"):
            found.append(run(Gamble(0.5), **options))
    for trace in found[1:]:
        pd.testing.assert_frame_equal(trace.frame, found[0].frame)
        np.testing.assert_array_equal(trace.x, found[0].x)
        assert trace.diverged == found[0].diverged
    assert 0 < len(trace.diverged) < 20
    assert all(step % every == 0 or step == 300 for step in trace.diverged.values())


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_divergence_at_the_very_last_step(engine: str) -> None:
    x, last = np.ones((5, 3)), 0
    while np.max(np.abs(x)) <= LARGEST:
        x = NETWORK.weights @ (x - 60.0 * PROBLEM.gradient(x))
        last += 1
    with pytest.warns(RuntimeWarning, match=f"diverged at step {last} "):
        trace = run(simlab.DSGD(60.0), steps=last, x0=np.ones(3), engine=engine)
    assert trace.frame["step"].tolist() == list(range(last))
    before = run(simlab.DSGD(60.0), steps=last - 1, x0=np.ones(3), engine=engine)  # and warns of nothing
    np.testing.assert_array_equal(before.x, trace.x)
    assert before.frame.equals(trace.frame)


TOP = simlab.compression.TopK(1)


@pytest.mark.parametrize(
    ("algorithm", "choices", "remedy"),
    [
        (simlab.DSGD(60.0), {}, "Use a smaller lr, or ask theory.stability_limit"),
        (simlab.DSGD(60.0), {"batch_size": 2}, "Use a smaller lr, or ask theory.predict(..., batch_size=...)"),
        (simlab.ChocoGossip(1.0, TOP), {}, "Use a smaller consensus_lr"),
        (simlab.ChocoSGD(60.0, 1.0, TOP), {}, "Use a smaller lr or a smaller consensus_lr"),
    ],
)
def test_divergence_names_what_to_change(algorithm: Any, choices: dict[str, Any], remedy: str) -> None:
    x0 = np.random.default_rng(0).standard_normal((5, 3))
    with pytest.warns(RuntimeWarning, match=re.escape(f"its trace ends before. {remedy}") + "(?! or)"):
        run(algorithm, steps=20_000, record_every=20_000, x0=x0, engine="compiled", **choices)


def test_divergence_stops_early() -> None:
    """Hours of steps after the states are lost would be a waste: at most two more chunks."""
    taken = []
    plan = ArrayEngine.plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArrayEngine, "plan", lambda self, *a: (taken.append(len(a[1][0])), plan(self, *a))[1])
        with pytest.warns(RuntimeWarning, match="diverged"):
            run(simlab.DSGD(60.0), steps=10**6, record_every=10**6, x0=np.ones(3))
    assert sum(taken) < 20000


# Ctrl-C.


@pytest.mark.parametrize(("engine", "engine_class"), [("numpy", ArrayEngine), ("compiled", CompiledEngine)])
def test_interruption_keeps_what_was_recorded(engine: str, engine_class: type, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithms = [simlab.DSGD(0.1), simlab.DecentLaM(0.1)]
    choices = {"steps": 4000, "record_every": 3, "noise_std": 0.1, "replicates": 2, "engine": engine}
    whole = run(algorithms, **choices)
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 5)  # chunks of 1, 5, 5, ... steps
    plan, calls = engine_class.plan, []

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return plan(self, *arguments)

    monkeypatch.setattr(engine_class, "plan", interrupted)
    with pytest.raises(simlab.SimulationInterrupted, match="interrupted after step") as caught:
        run(algorithms, **choices)
    assert isinstance(caught.value, KeyboardInterrupt)
    traces = caught.value.traces
    assert len(traces) == 2
    for trace, complete in zip(traces, whole, strict=True):
        kept = trace.frame
        assert 15 <= kept["step"].max() < 4000
        for r in range(2):
            part = kept[kept["replicate"] == r].reset_index(drop=True)
            same = complete.frame[complete.frame["replicate"] == r].reset_index(drop=True)[: len(part)]
            assert part.equals(same)


def test_interruption_within_a_chunk_leaves_states_of_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled engine works in place: of three replicates, one has finished its chunk when Ctrl-C arrives."""
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 5)  # chunks of 1, 5, 5, ... steps
    monkeypatch.setattr(simulation, "THREADS", 1)
    plan, calls = CompiledEngine.plan, []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(None)
        planned = plan(self, *arguments)
        return planned._replace(jobs=[planned.jobs[0], interrupt, planned.jobs[2]]) if len(calls) == 3 else planned

    choices = {"noise_std": 0.1, "replicates": 3, "engine": "compiled", "seed": 8}
    with monkeypatch.context() as patch:
        patch.setattr(CompiledEngine, "plan", interrupted)
        with pytest.raises(simlab.SimulationInterrupted, match="interrupted after step 6") as caught:
            run(simlab.DecentLaM(0.1), steps=100, **choices)
    np.testing.assert_array_equal(caught.value.traces[0].x, run(simlab.DecentLaM(0.1), steps=6, **choices).x)


def test_a_real_interruption(tmp_path: Any) -> None:
    caught_it = threading.Event()

    def press() -> None:  # again where compiling has swallowed it
        while not caught_it.wait(1.0):
            _thread.interrupt_main()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    presses = threading.Thread(target=press)
    presses.start()
    try:
        with pytest.raises(simlab.SimulationInterrupted) as caught:
            try:
                run(simlab.DecentLaM(0.1), steps=3_000_000, record_every=1000)
            finally:
                caught_it.set()
    finally:
        presses.join()
        signal.signal(signal.SIGINT, before)
    (trace,) = caught.value.traces
    assert np.isfinite(trace.x).all()
    trace.save(tmp_path / "interrupted.parquet")
    assert simlab.Trace.load(tmp_path / "interrupted.parquet").frame.equals(trace.frame)


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
