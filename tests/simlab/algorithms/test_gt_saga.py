"""Tables of gradients, one a sample: what they hold, wherever a run goes; and what a step may not do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab import dynamics
from simlab.operations import Batch, gradient, mix, saga_gradient, sample_table
from simlab.run import runs
from simlab.step.streams import Stream
from tests.helpers.agreement import SETTING, assert_same
from tests.helpers.interpreted import interpreted

PROBLEM, NETWORK = SETTING.objective.problem, SETTING.network
N, D = SETTING.x0.shape
M = 9
SAGA = simlab.GTSAGA(0.1)


def unequal() -> Any:
    """Nodes of 1, 2, ..., 6 samples."""
    random = np.random.default_rng(4)
    features = [random.standard_normal((i + 1, D)) for i in range(N)]
    return simlab.LogisticRegression(features, [np.sign(a[:, 0] + 0.1) for a in features], l2=0.1)


def trace(algorithm: Any = SAGA, problem: Any = PROBLEM, network: Any = NETWORK, **options: Any) -> Any:
    choices = {"steps": 12, "record_every": 4, "batch_size": 3, "engine": "numpy", "progress": False, "seed": 2}
    return simlab.simulate(problem, network, algorithm, **choices | options)


@given(seed=st.integers(0, 2**31), steps=st.integers(1, 15), size=st.integers(1, M))
@settings(max_examples=10, deadline=None)
def test_a_table_holds_the_last_gradients(seed: int, steps: int, size: int) -> None:
    """Read off the states between the steps; the mean is theirs, and a sample not drawn keeps its gradient at X⁰."""
    options = {"steps": steps, "seed": seed, "batch_size": size, "x0": SETTING.x0, "record_every": 1}
    found = trace(**options)
    states = [SETTING.x0] + [trace(**{**options, "steps": k}).x[0] for k in range(1, steps)]
    last = np.zeros((N, M), int)
    for k, drawn in enumerate(Stream(seed, 0).indices(steps, N, size, M)):
        for i in range(N):
            last[i, drawn[i]] = k
    table = found.position.state["table"][0].reshape(N, M + 1, D)
    for i in range(N):
        for s in range(M):
            expected = SETTING.objective.gradient(i, states[last[i, s]][i], np.array([s]))
            np.testing.assert_allclose(table[i, s], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(table[:, -1], table[:, :-1].mean(axis=1), rtol=0, atol=1e-14)


@given(seed=st.integers(0, 2**31), size=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_estimates_are_unbiased(seed: int, size: int) -> None:
    """Over all samples, one by one, the mean is the gradient, whatever is in the table."""
    random = np.random.default_rng(seed)
    table = random.standard_normal((N, M, D))
    rows = np.concatenate([table, table.mean(axis=1, keepdims=True)], axis=1).reshape(N, -1)
    x = random.standard_normal((N, D))
    estimates = [saga_gradient(PROBLEM, x, Batch(np.full((N, size), s)), rows)[0] for s in range(M)]
    np.testing.assert_allclose(np.mean(estimates, axis=0), PROBLEM.gradient(x), rtol=0, atol=1e-12)


class State(NamedTuple):
    x: Any
    table: Any

    tables = ("table",)


class Alone(NamedTuple):
    """Averages of pairs, as `ADPSGD`; SAGA at the node that fires."""

    asynchronous = True

    def init(self, x: Any) -> State:
        return State(x, x)

    def step(self, state: State, problem: Any, network: Any, batch: Any) -> State:
        v, table = saga_gradient(problem, state.x, batch, state.table)
        return State(mix(network, state.x) - 0.1 * v, table)


CASES = {
    "unequal nodes": {"problem": unequal(), "batch_size": 4},
    "matchings": {"network": dynamics.matchings(NETWORK, 0.5)},
    "node failures, unequal nodes": {"problem": unequal(), "network": dynamics.node_failures(NETWORK, 0.4)},
    "pairs, of which one fires": {"algorithm": Alone(), "network": dynamics.asynchronous(NETWORK)},
    "clipped": {"algorithm": simlab.Clipped(simlab.GTSAGA(0.1), 0.5)},
    "SlowMo": {"algorithm": simlab.SlowMo(simlab.GTSAGA(0.1), 3)},
    "Chebyshev": {"algorithm": simlab.ChebyshevGossip(simlab.GTSAGA(0.1), 2, float(NETWORK.rho))},
    "noise": {"noise_std": 0.3},
    "noise, node failures": {"noise_std": 0.3, "network": dynamics.node_failures(NETWORK, 0.4)},
    "single precision": {"dtype": "float32"},
}


@pytest.mark.parametrize("name", CASES)
def test_engines_agree(name: str) -> None:
    options = {"replicates": 2, **CASES[name]}
    expected = trace(**options)
    with interpreted():
        assert_same(trace(engine="compiled", **options), expected, 1e-4 if name == "single precision" else 1e-10)
    if "algorithm" not in options:
        problem = options.get("problem", PROBLEM)
        longest = int(np.max(problem.n_samples)) + 1
        assert expected.position.state["table"].shape == (2, N, longest * D)


def test_nodes_that_do_not_fire_keep_their_table() -> None:
    """Events of two nodes, of which one has a gradient: its row changes alone."""
    events = dynamics.asynchronous(NETWORK)
    before, after = (trace(Alone(), network=events, steps=k).position.state["table"][0] for k in (5, 6))
    assert np.sum(np.any(before != after, axis=1)) == 1


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_runs_go_on_from_files(engine: str, tmp_path: Path) -> None:
    whole = trace(replicates=2, engine=engine, steps=20)
    trace(replicates=2, engine=engine, steps=8).save(tmp_path / "run")
    loaded = simlab.Trace.load(tmp_path / "run")
    resumed = simlab.resume(loaded, steps=20, problem=PROBLEM, network=NETWORK, algorithm=simlab.GTSAGA(0.1))
    np.testing.assert_array_equal(resumed.x, whole.x)
    for field, value in whole.position.state.items():
        np.testing.assert_array_equal(resumed.position.state[field], value)


def test_divergence_is_found_at_its_step() -> None:
    """A chunk's start is gone back to, tables and all; both engines find the same step."""
    with pytest.warns(RuntimeWarning, match="diverged at step") as one:
        expected = trace(simlab.GTSAGA(60.0), steps=500, record_every=100)
    with pytest.warns(RuntimeWarning, match="diverged at step") as two:
        found = trace(simlab.GTSAGA(60.0), steps=500, record_every=100, engine="compiled")
    assert str(one[0].message) == str(two[0].message)
    assert found.diverged == expected.diverged


@pytest.mark.parametrize("batch_size", [None, 3])
def test_noise_is_not_removed(batch_size: int | None) -> None:
    """Of full batches it is gradient tracking, noise too; the first step's V is the gradient with the noise."""
    options = {"batch_size": batch_size, "noise_std": 0.5, "steps": 1}
    v = trace(**options).position.state["v"][0]
    noise = Stream(2, 0).noise(1, N, D, 0.5, np.dtype(float))[0]
    np.testing.assert_allclose(v, PROBLEM.gradient(np.zeros((N, D))) + noise, rtol=0, atol=1e-12)
    if batch_size is None:
        whole = {**options, "steps": 20}
        np.testing.assert_array_equal(trace(**whole).x, trace(simlab.GradientTracking(0.1), **whole).x)


def test_gradients_are_counted_once() -> None:
    """One a step, where GT-SVRG takes two."""
    assert trace(steps=12).frame.gradients.iloc[-1] == 12 * N
    assert trace(simlab.GTSVRG(0.1, 4), steps=12).frame.gradients.iloc[-1] == (12 + 9) * N


@pytest.mark.slow
def test_rounding_does_not_add_up() -> None:
    """The compiled mean is updated 200,000 times."""
    found = trace(simlab.GTSAGA(0.05), steps=200_000, record_every=200_000, engine="compiled")
    table = found.position.state["table"][0].reshape(N, M + 1, D)
    np.testing.assert_allclose(table[:, -1], table[:, :-1].mean(axis=1), rtol=0, atol=1e-15)
    assert found.frame.mse.iloc[-1] < 1e-28


def test_tables_beyond_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LARGEST_TABLE", 6 * 10 * 4 * 8)
    trace()
    with pytest.raises(
        ValueError, match=r"GTSAGA keeps a gradient of every sample: 6 nodes of 9 .* 2 runs take .*GTSVRG"
    ):
        trace(replicates=2)
    trace(batch_size=None, replicates=2)


class Careless(NamedTuple):
    """A step that does with its table what it may not."""

    how: str

    def init(self, x: Any) -> State:
        return State(x, x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> State:
        v, table = saga_gradient(problem, state.x, batch, state.table)
        x = mix(network, state.x - 0.1 * v)
        match self.how:
            case "calculates":
                return State(x + state.table, table)
            case "twice":
                return State(x, saga_gradient(problem, x, batch, table)[1])
            case "forgets":
                return State(x, state.table)
            case "another":
                return State(x, gradient(problem, x, batch))
            case _:
                return State(saga_gradient(problem, state.x, batch, state.x)[0], table)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("calculates", "cannot be compiled"),
        ("twice", "the table table is renewed twice in a step; call saga_gradient once"),
        ("forgets", "the field table of a state is a table of gradients; return what saga_gradient made of it"),
        ("another", "the field table of a state is a table of gradients; return what saga_gradient made of it"),
        ("x as a table", "name its field in the `tables` of the state"),
    ],
)
def test_careless_steps_are_refused(how: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        trace(Careless(how), engine="compiled")


@pytest.mark.parametrize("tables", ["table", ("tabel",), ("x",)])
def test_tables_are_fields(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "tables", tables)
    for batch_size in (None, 3):
        with pytest.raises(
            TypeError, match=r"name fields in a tuple, such as tables = \('table',\), and not the param"
        ):
            trace(Alone(), batch_size=batch_size)


def test_steps_by_hand_need_a_table() -> None:
    state = simlab.GTSAGA(0.1).init(SETTING.x0)
    batch = Batch(np.zeros((N, 2), int))
    with pytest.raises(ValueError, match=r"table has shape \(6, 4\), .* start from sample_table\(problem, x\)"):
        simlab.GTSAGA(0.1).step(state, PROBLEM, NETWORK, batch)
    after = simlab.GTSAGA(0.1).step(state._replace(table=sample_table(PROBLEM, SETTING.x0)), PROBLEM, NETWORK, batch)
    np.testing.assert_allclose(after.v, PROBLEM.gradient(SETTING.x0), rtol=0, atol=1e-14)
