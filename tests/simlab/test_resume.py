"""Runs that go on are, to the last bit, the runs that never ended."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab import dynamics, simulation, topologies
from simlab.dynamics.asynchronous import Exponential
from simlab.operations import gradient, mix, where
from simlab.run.clock import Clock
from simlab.run.settings import ENGINES
from tests.helpers import algorithms
from tests.helpers.interpreted import interpreted

N, D = 6, 3
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=9, dim=D, seed=3)
RING = topologies.ring(N)
HOST = ENGINES[:2]
METHODS = algorithms.forms()
CHANGING = {
    "cycle": dynamics.cycle([RING, topologies.star(N)]),
    "choice": dynamics.choice([RING, topologies.star(N)]),
    "markov": dynamics.markov([RING, topologies.star(N)], [[0.9, 0.1], [0.2, 0.8]]),
    "link failures": dynamics.link_failures(RING, 0.3),
    "bursts": dynamics.link_failures(RING, 0.3, burst=5.0),
    "node failures": dynamics.node_failures(RING, 0.3),
    "matchings": dynamics.matchings(RING, 0.5),
    "pairwise": dynamics.pairwise(RING),
    "groups": dynamics.groups(N, 2),
    "one peer": dynamics.one_peer_exponential(N),
    "noise": dynamics.noise(RING, 0.1),
    "noise and failures": dynamics.noise(dynamics.link_failures(RING, 0.3), 0.1),
}
EVENTS = {
    "poisson": dynamics.asynchronous(RING),
    "unequal": dynamics.asynchronous(RING, Exponential(np.arange(1.0, N + 1))),
    "fixed times": dynamics.asynchronous(RING, np.arange(1.0, N + 1)),
    "drawn times": dynamics.asynchronous(RING, lambda random, node: 1 + random.random()),
}
FITTING = {"column": topologies.directed_ring(N)}
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in .*divide")


def run(algorithm: Any, network: Any = RING, problem: Any = PROBLEM, **choices: Any) -> Any:
    options = {"steps": 17, "record_every": 4, "replicates": 2, "seed": 5, "progress": False, **choices}
    return simlab.simulate(problem, network, algorithm, **options)


def assert_same(one: Any, two: Any) -> None:
    """All but where and when it was computed."""
    np.testing.assert_array_equal(one.x, two.x)
    pd.testing.assert_frame_equal(one.frame, two.frame, check_exact=True)
    for name, value in two.provenance.items():
        if name not in ("started", "seconds", "resumed"):
            assert one.provenance[name] == value, name
    assert one.position.step == two.position.step
    assert one.position.streams == two.position.streams
    for name, field in two.position.state.items():
        np.testing.assert_array_equal(one.position.state[name], field)
    for a, b in ((one.position.sent, two.position.sent), (one.position.spent, two.position.spent)):
        np.testing.assert_array_equal(a, b)


def through_disk(trace: Any, folder: Path) -> Any:
    trace.save(folder / "trace.parquet")
    return simlab.Trace.load(folder / "trace.parquet")


@contextmanager
def engine_of(name: str) -> Iterator[None]:
    if name == "compiled":
        with interpreted():
            yield
    else:
        yield


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("label", METHODS)
def test_every_method_goes_on(label: str, engine: str, tmp_path: Path) -> None:
    """Sampled and noisy, its messages compressed where it does that; saved and loaded between."""
    algorithm = METHODS[label]
    network = FITTING.get(getattr(type(algorithm), "needs", ""), topologies.ring(N, lazy=True))
    options = {"batch_size": 2, "noise_std": 0.1, "engine": engine}
    with engine_of(engine):
        whole = run(algorithm, network, **options)
        if engine == "compiled":  # where fields are swapped, an even number of steps is another case
            assert_same(simlab.resume(run(algorithm, network, **options, steps=8), steps=17), whole)
        loaded = through_disk(run(algorithm, network, **options, steps=5), tmp_path)
        assert_same(simlab.resume(loaded, steps=17, problem=PROBLEM, network=network, algorithm=algorithm), whole)


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("name", [*CHANGING, *EVENTS])
def test_on_every_network_that_changes(name: str, engine: str) -> None:
    network = {**CHANGING, **EVENTS}[name]
    algorithm = simlab.ADPSGD(0.1) if name in EVENTS else simlab.DSGD(0.1)
    options = {"batch_size": 2, "noise_std": 0.1, "engine": engine, "network": network}
    with engine_of(engine):
        whole = run(algorithm, **options)
        for cut in (1, 6):
            assert_same(simlab.resume(run(algorithm, **options, steps=cut), steps=17), whole)
        few = run(algorithm, **options, replicates=1)
        assert_same(simlab.resume(few, replicates=2), whole)


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@settings(max_examples=8)
@given(data=st.data())
def test_however_often_a_run_is_cut(engine: str, dtype: str, data: Any) -> None:
    """And however steps are cut into chunks, a list of settings of two methods on one sample path goes on as one."""
    steps = sorted(data.draw(st.lists(st.integers(0, 40), min_size=2, max_size=4)))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    schedule = simlab.schedules.InverseSqrt(0.1, 5.0)
    several = [simlab.DecentLaM(0.05), simlab.DSGD(schedule), simlab.DecentLaM(schedule, 0.5)]
    options = {"batch_size": 2, "engine": engine, "dtype": dtype, "record_every": 3}
    with engine_of(engine), pytest.MonkeyPatch.context() as patch:
        whole = run(several, **options, steps=steps[-1])
        count = iter(range(10**6))
        patch.setattr(simulation, "next_size", lambda chunk, last: sizes[next(count) % len(sizes)])
        traces = run(several, **options, steps=steps[0])
        for more in steps[1:]:
            traces = simlab.resume(traces, steps=more)
        for one, two in zip(traces, whole, strict=True):
            assert_same(one, two)
        alone = simlab.resume(run(several, **options, steps=steps[0])[2], steps=steps[-1])
        assert_same(alone, whole[2])


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("counts", [(1, 3), (3, 9), (9, 18)])
def test_more_replicates(engine: str, counts: tuple[int, int]) -> None:
    """Few are advanced one by one, many side by side; on arrays all are factors of one product."""
    few, many = counts
    problem = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=37, dim=13, seed=3)
    options = {"engine": engine, "noise_std": 0.1, "problem": problem}
    with engine_of(engine):
        whole = run(simlab.DecentLaM(0.1), **options, replicates=many, steps=30)
        start = run(simlab.DecentLaM(0.1), **options, replicates=few)
        both = simlab.resume(start, steps=30, replicates=many)
        assert_same(both, whole)
        assert_same(simlab.resume(simlab.resume(start, replicates=many), steps=30), whole)
        assert list(both.frame["replicate"].unique()) == list(range(many))


def test_compiled_programs_go_on() -> None:
    """Not interpreted: one by one and side by side, threads or none."""
    for replicates, threads in ((3, 1), (40, 2)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulation, "THREADS", threads)
            options = {"replicates": replicates, "noise_std": 0.1, "steps": 400}
            whole = run(simlab.DecentLaM(0.05), **options)
            half = run(simlab.DecentLaM(0.05), **{**options, "steps": 150})
            assert half.position.form == ("side by side" if replicates == 40 else "one by one")
            patch.setattr(simulation, "THREADS", 1)  # as on another machine
            assert_same(simlab.resume(half, steps=400), whole)


@pytest.mark.parametrize("engine", HOST)
def test_what_diverges_does_not_go_on(engine: str) -> None:
    algorithm, options = simlab.DSGD(8.0), {"noise_std": 1.0, "steps": 400, "engine": engine, "replicates": 3}
    with pytest.warns(RuntimeWarning, match="diverged"):
        whole = run(algorithm, **options)
    half = run(algorithm, **{**options, "steps": 3})
    with pytest.warns(RuntimeWarning, match="diverged"):
        later = simlab.resume(half, steps=400)
    for one, two in ((later, whole), (simlab.resume(whole, steps=500), whole)):
        pd.testing.assert_frame_equal(one.frame, two.frame)
        assert one.diverged == two.diverged
        assert len(one.diverged) == 3


@pytest.mark.parametrize("engine", HOST)
def test_the_clock_of_a_cluster_goes_on(engine: str, tmp_path: Path) -> None:
    cluster = simlab.Cluster(simlab.cluster.LogNormal(1.0, 0.5), latency=0.1)
    with engine_of(engine):
        whole = run(simlab.DSGD(0.1), cluster=cluster, engine=engine)
        half = run(simlab.DSGD(0.1), cluster=cluster, engine=engine, steps=7)
        assert_same(simlab.resume(half, steps=17), whole)
        few = run(simlab.DSGD(0.1), cluster=cluster, engine=engine, replicates=1)
        assert_same(simlab.resume(few, replicates=2), whole)
        loaded = through_disk(half, tmp_path)
        nouns = {"problem": PROBLEM, "network": RING, "algorithm": simlab.DSGD(0.1)}
        with pytest.raises(ValueError, match="had a cluster; pass cluster="):
            simlab.resume(loaded, steps=17, **nouns)
        assert_same(simlab.resume(loaded, steps=17, cluster=cluster, **nouns), whole)


def test_columns_of_ones_own_go_on() -> None:
    record = {"worst": simlab.worst_node_error(PROBLEM)}
    whole = run(simlab.DSGD(0.1), record=record, engine="numpy")
    assert_same(simlab.resume(run(simlab.DSGD(0.1), record=record, engine="numpy", steps=6), steps=17), whole)


# Targets.


@pytest.mark.parametrize("engine", HOST)
@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=3), quantile=st.floats(0.01, 0.99))
def test_a_target_stops_a_run_where_the_whole_one_came_to_it(engine: str, sizes: list[int], quantile: float) -> None:
    several, options = [simlab.DSGD(0.1), simlab.DecentLaM(0.02)], {"steps": 60, "noise_std": 0.3, "engine": engine}
    with engine_of(engine), pytest.MonkeyPatch.context() as patch:
        count = iter(range(10**6))
        patch.setattr(simulation, "next_size", lambda chunk, last: sizes[next(count) % len(sizes)])
        whole = run(several, **options)
        target = float(np.quantile(pd.concat([t.frame for t in whole])["loss"], quantile))
        for one, two in zip(run(several, **options, stop_when=f"loss <= {target!r}"), whole, strict=True):
            met = two.frame[two.frame["loss"] <= target].groupby("replicate")["step"].min()
            if len(met) < 2:
                assert one.stopped is None
                assert_same(one, run(several, **options, stop_when=f"loss <= {target!r}")[several.index(one.algorithm)])
                continue
            assert one.stopped == f"loss <= {target!r}"
            assert one.provenance["steps"] == met.max() == one.frame["step"].max()
            pd.testing.assert_frame_equal(
                one.frame, two.frame[two.frame["step"] <= met.max()].reset_index(drop=True), check_exact=True
            )
            if met.max() % 4 == 0:
                np.testing.assert_array_equal(one.x, run(two.algorithm, **{**options, "steps": int(met.max())}).x)
            onward = simlab.resume(one)
            np.testing.assert_array_equal(onward.x, two.x)
            pd.testing.assert_frame_equal(onward.frame, two.frame, check_exact=True)
            assert onward.stopped is None


def test_targets_that_rise_and_targets_that_are_met_at_once() -> None:
    trace = run(simlab.DSGD(0.1), stop_when="bits >= 5000", engine="numpy")
    assert trace.frame["bits"].iloc[-1] >= 5000 > trace.frame["bits"].iloc[-2]
    at_once = run(simlab.DSGD(0.1), stop_when="loss <= 1e9", engine="numpy")
    assert list(at_once.frame["step"]) == [0, 0]
    np.testing.assert_array_equal(at_once.x, 0)
    assert_same(simlab.resume(at_once, steps=17), run(simlab.DSGD(0.1), engine="numpy"))


class Forked(NamedTuple):
    """After a first step of noise alone, what is above 1 grows and all else decays."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        x = mix(network, state.x)
        return state._replace(x=where(x > 1, 3 * x, x / 2) - self.lr * gradient(problem, x, batch))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_replicates_that_diverge_are_not_waited_for(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: size)
    problem = simlab.Quadratic(np.ones((1, 1)), np.zeros((1, 1)))

    def first_only(k: Any) -> Any:
        return np.where(k == 0, 1.0, 1e-300)

    with pytest.warns(RuntimeWarning, match="diverged"):
        trace = simlab.simulate(
            problem, topologies.complete(1), Forked(first_only), steps=3000, stop_when="loss <= 1e-300", noise_std=3.0,
            replicates=8, progress=False, engine="numpy", seed=1, x0=[0.5],
        )  # fmt: skip
    assert trace.stopped == "loss <= 1e-300"
    assert 0 < len(trace.diverged) < 8
    last = trace.frame.groupby("replicate").last()
    stands = ~last.index.isin(list(trace.diverged))
    assert (last["step"][stands] == trace.provenance["steps"]).all()
    assert (last["loss"][stands] <= 1e-300).all()
    assert max(trace.diverged.values()) <= trace.provenance["steps"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss < 3", "is no target; pass a column, <= or >=, and a number"),
        ("loss <= low", "is no target"),
        ("loss <= nan", "is not finite"),
        ("lss <= 3", "stop_when's column = 'lss' is unknown; did you mean 'loss'"),
        (3, "is not a text"),
    ],
)
def test_what_is_no_target(text: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        run(simlab.DSGD(0.1), stop_when=text, engine="numpy")


# What cannot be gone on with.


def test_refusals(tmp_path: Path) -> None:
    trace = run(simlab.DSGD(0.1), engine="numpy")
    loaded = through_disk(trace, tmp_path)
    nouns: dict[str, Any] = {"problem": PROBLEM, "network": RING, "algorithm": simlab.DSGD(0.1)}
    other = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=9, dim=D, seed=4)
    for options, message in [
        ({"steps": 16}, "steps = 16 must be at least 17"),
        ({"replicates": 1}, "replicates = 1 must be at least 2"),
        ({"steps": 20, "replicates": 3, "stop_when": "loss <= 1"}, "at once"),
        ({"steps": 20, "stop_when": "step >= 3"}, "stop_when's column = 'step' is unknown"),
        ({"steps": 20, "stop_when": "gradients >= 3"}, "is met already, at step 4 of DSGD"),
        ({"problem": other}, "with another problem than"),
        ({"algorithm": simlab.DSGD(0.2)}, "with another algorithm than"),
        ({"network": topologies.star(N)}, "with another network than"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            simlab.resume(trace, **options)
    for name in nouns:
        with pytest.raises(ValueError, match=rf"without its {name}; pass {name}=\.\.\."):
            simlab.resume(loaded, steps=20, **{k: v for k, v in nouns.items() if k != name})
    assert_same(simlab.resume([trace], steps=20, algorithm=simlab.DSGD(0.1))[0], simlab.resume(trace, steps=20))
    with pytest.raises(TypeError, match="holds 3, which is not a Trace"):
        simlab.resume([3])
    with pytest.raises(ValueError, match="holds no trace"):
        simlab.resume([])
    two = run([simlab.DSGD(0.1), simlab.DmSGD(0.1)], engine="numpy")
    with pytest.raises(ValueError, match="ended at different steps"):
        simlab.resume([two[0], simlab.resume(two[1], steps=20)], steps=30)


# Checkpoints.

JOB = """
    import sys, time
    import numpy as np
    import simlab

    problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=9, dim=3, seed=3)
    slow = lambda x: (time.sleep(0.01 * len(x)), np.zeros(x.shape[:-2]))[1]
    traces = simlab.simulate(
        problem, simlab.dynamics.link_failures(simlab.topologies.ring(6), 0.3, burst=4.0),
        [simlab.DSGD(0.1), simlab.DmSGD(0.05)], steps=600, record_every=20, replicates=2, noise_std=0.1, seed=5,
        engine="numpy", progress=False, checkpoint=sys.argv[1], every=0.0, record={"pause": slow},
    )
    for trace in traces:
        trace.save(sys.argv[2] + trace.provenance["label"])
"""


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_is_one_that_was_not(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(JOB))

    def start(name: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, str(script), str(tmp_path / name), str(tmp_path / f"{name} ")]
        return subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": os.getcwd()})

    def at(name: str) -> int | None:
        """When the checkpoint was written."""
        return (tmp_path / name).stat().st_mtime_ns if (tmp_path / name).exists() else None

    assert start("whole").wait() == 0
    random, kills, written = np.random.default_rng(3), 0, None
    while True:
        job = start("killed")
        while kills < 5 and job.poll() is None and at("killed") == written:
            time.sleep(0.001)
        if kills < 5 and job.poll() is None:  # it has left a checkpoint of its own
            time.sleep(0.1 * random.random())
            job.kill()
        if job.wait() == 0:
            break
        assert job.returncode == -signal.SIGKILL
        kills, written = kills + 1, at("killed")
    assert kills >= 2
    for label in ("DSGD", "DmSGD"):
        one, two = (simlab.Trace.load(tmp_path / f"{name} {label}") for name in ("killed", "whole"))
        assert_same(one, two)
        assert one.provenance["resumed"]


def test_a_checkpoint_of_a_finished_call_is_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"noise_std": 0.1, "engine": "numpy", "checkpoint": tmp_path / "run.parquet"}
    first = run([simlab.DSGD(0.1), simlab.DmSGD(0.1)], **options)
    monkeypatch.setattr(simulation, "_lockstep", None)  # nothing is run
    for one, two in zip(run([simlab.DSGD(0.1), simlab.DmSGD(0.1)], **options), first, strict=True):
        assert_same(one, two)
        assert one.problem is PROBLEM
        assert one.algorithm == two.algorithm
    assert os.listdir(tmp_path) == ["run.parquet"]


def test_a_checkpoint_goes_on_to_more_steps_and_keeps_what_stopped(tmp_path: Path) -> None:
    options = {"noise_std": 0.1, "engine": "numpy", "checkpoint": tmp_path / "run.parquet", "every": 0.0}
    several = [simlab.DSGD(0.1), simlab.DSGD(1e-4)]
    first = run(several, **options, stop_when="loss <= 1.0")
    assert [trace.stopped is None for trace in first] == [False, True]
    longer = run(several, **options, stop_when="loss <= 1.0", steps=40)
    assert_same(longer[0], first[0])
    assert longer[1].frame["step"].max() == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 3}, "with another batch_size"),
        ({"seed": 6}, "with another seed"),
        ({"replicates": 3}, "with another replicates"),
        ({"algorithm": simlab.DSGD(0.2)}, "with another algorithm"),
        ({"algorithm": simlab.DmSGD(0.1)}, "of other algorithms, DSGD"),
        ({"steps": 5}, "of a longer run than steps = 5"),
    ],
)
def test_a_checkpoint_of_another_call_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    options = {"engine": "numpy", "checkpoint": tmp_path / "run.parquet", "algorithm": simlab.DSGD(0.1)}
    run(**options)
    with pytest.raises(ValueError, match=message):
        run(**{**options, **change})


def test_a_checkpoint_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        trace = run(simlab.DSGD(0.1), engine="numpy", checkpoint=tmp_path / "file" / "run.parquet")
    assert_same(trace, run(simlab.DSGD(0.1), engine="numpy"))


def test_interrupted_runs_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, calls = simulation._draw, []

    def interrupting(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return draw(*arguments, **options)

    options = {"noise_std": 0.1, "engine": "numpy", "steps": 4000}
    whole = run(simlab.DecentLaM(0.1), **options)
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "_draw", interrupting)
        with pytest.raises(simlab.SimulationInterrupted) as caught:
            run(simlab.DecentLaM(0.1), **options, checkpoint=tmp_path / "run.parquet")
    (trace,) = caught.value.traces
    assert 0 < trace.position.step < 4000
    assert_same(simlab.resume(trace), whole)
    assert_same(run(simlab.DecentLaM(0.1), **options, checkpoint=tmp_path / "run.parquet"), whole)


@pytest.mark.parametrize("engine", HOST)
def test_ctrl_c_while_records_are_measured_loses_none(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []

    def pressing(x: np.ndarray) -> np.ndarray:
        calls.append(None)
        if len(calls) == 6:
            _thread.interrupt_main()
            time.sleep(0.05)  # within it the main thread is interrupted
        return x.sum(axis=(-2, -1))

    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 10)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(simlab.SimulationInterrupted) as caught:
            run(simlab.DSGD(0.1), engine=engine, noise_std=0.1, steps=400, record={"sum": pressing})
    finally:
        signal.signal(signal.SIGINT, before)
    whole = run(simlab.DSGD(0.1), engine=engine, noise_std=0.1, steps=400, record={"sum": pressing})
    (trace,) = caught.value.traces
    assert 0 < trace.position.step < 400
    assert_same(simlab.resume(trace), whole)


def test_ctrl_c_while_time_is_reckoned_moves_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"cluster": simlab.Cluster(simlab.cluster.LogNormal(1.0, 0.5)), "steps": 100, "engine": "numpy"}
    whole = run(simlab.DSGD(0.1), **options)
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 10)
    step, calls = Clock._step, []

    def interrupted(self: Clock, *arguments: Any) -> np.ndarray:
        calls.append(None)
        if len(calls) == 57:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Clock, "_step", interrupted)
    with pytest.raises(simlab.SimulationInterrupted) as caught:
        run(simlab.DSGD(0.1), **options)
    (trace,) = caught.value.traces
    assert 0 < trace.position.step < 100
    assert_same(simlab.resume(trace), whole)


def test_resuming_costs_no_more_than_the_steps_that_are_left() -> None:
    """The start is not run again."""
    half = run(simlab.DSGD(0.1), engine="numpy", noise_std=0.1, steps=3000)
    taken: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        draw = simulation._draw
        patch.setattr(
            simulation, "_draw", lambda source, size, **rest: (taken.append(size), draw(source, size, **rest))[1]
        )
        simlab.resume(half, steps=3010)
    assert sum(taken) == 2 * 10
