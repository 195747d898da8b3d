"""How runs end before their time: where they diverge, and on Ctrl-C."""

from __future__ import annotations

import _thread
import itertools
import re
import signal
import threading
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import simlab
from simlab import simulation
from simlab.engine.array import ArrayEngine
from simlab.engine.compiled import CompiledEngine
from simlab.operations import common_uniform, gradient, where
from simlab.step.streams import Stream
from tests.helpers import strategies

PROBLEM = strategies.objective("least_squares", 5, 3, 8, np.random.default_rng(1)).problem
NETWORK = simlab.topologies.ring(5)
LARGEST = 1e100  # beyond it a state counts as diverged


def run(algorithm: Any, *, problem: Any = PROBLEM, network: Any = NETWORK, **choices: Any) -> Any:
    options = {"steps": 20, "engine": "numpy", "progress": False, **choices}
    return simlab.simulate(problem, network, algorithm, **options)


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
