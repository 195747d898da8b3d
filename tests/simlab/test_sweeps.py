"""All settings and replicates of one algorithm run as one batch; each result is that of a call of its own."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

import simlab
from simlab import simulation
from simlab.engine import array, compiled
from simlab.operations import Batch, gradient, mix
from simlab.run import runs
from tests.helpers import strategies
from tests.helpers.agreement import SETTING, assert_same


def sweep(number: int) -> list[Any]:
    """Settings of two algorithms, mixed, one of them a schedule; a third algorithm's quantizers differ in their
    levels."""
    rates = np.linspace(0.02, 0.2, number)
    algorithms = [simlab.DecentLaM(lr, momentum) for lr, momentum in zip(rates, rates * 4, strict=True)]
    return [
        *algorithms[::2],
        simlab.DSGD(0.1),
        *algorithms[1::2],
        simlab.DSGD(simlab.schedules.InverseSqrt(0.2)),
        *(simlab.ChocoSGD(0.05, 0.1, simlab.compression.QSGD(levels, scaled=True)) for levels in (4, 8)),
        simlab.ChocoSGD(0.1, 0.2, simlab.compression.QSGD(4, scaled=True)),
    ]


TOP, RANK = simlab.compression.TopK(2), simlab.compression.RankOne(2)


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
@pytest.mark.parametrize(
    "pair",
    [
        (simlab.DADmSGD(0.05, 0.5), simlab.DecentLaM(0.05, 0.5)),
        (simlab.ChocoSGD(0.05, 0.3, TOP), simlab.ChocoSGD(0.05, 0.3, RANK)),
        (simlab.DSGD(simlab.schedules.Inverse(0.05, 3.0)), simlab.DSGD(simlab.schedules.InverseSqrt(0.05, 3.0))),
    ],
    ids=["algorithms", "compressors", "schedules"],
)
def test_classes_of_equal_numbers_are_told_apart(pair: Any, engine: str) -> None:
    """As tuples they are equal, of equal hash."""
    assert pair[0] == pair[1]
    problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=20, dim=5, seed=1)
    options: Any = {"steps": 20, "seed": 1, "engine": engine, "progress": False}
    network = simlab.topologies.ring(6)
    together = simlab.simulate(problem, network, list(pair), **options)
    for trace, algorithm in zip(together, pair, strict=True):
        alone = simlab.simulate(problem, network, algorithm, **options).x
        # The array engine multiplies matrices of all runs of a class, and BLAS may round by their shapes.
        np.testing.assert_allclose(trace.x, alone, rtol=0, atol=0 if engine == "compiled" else 1e-15)
    assert np.abs(together[0].x - together[1].x).max() > 1e-6
    assert simlab.frame(together).groupby("algorithm").ngroups == 2


@pytest.mark.parametrize(("kind", "noise_std"), [("quadratic", 0.3), ("least_squares", 0.3), ("logistic", 0.0)])
@pytest.mark.parametrize("engine", ["compiled", "numpy"])
def test_a_sweep_equals_its_settings_one_at_a_time(kind: str, noise_std: float, engine: str) -> None:
    """States bit by bit where the work is shared in the same way, else to rounding; records to rounding."""
    problem = strategies.objective(kind, 6, 5, 9, np.random.default_rng(5)).problem
    batch_size = 3 if kind == "least_squares" else None
    options = {"steps": 40, "record_every": 7, "seed": 3, "progress": False, "engine": engine, "noise_std": noise_std}
    algorithms = sweep(7)
    for replicates, one_way in ((1, False), (1, True), (9, True)):
        choices = {**options, "batch_size": batch_size, "replicates": replicates}
        with pytest.MonkeyPatch.context() as patch:
            if one_way:
                patch.setattr(compiled, "SIDE_BY_SIDE", 1)  # even a single run lies side by side with nothing
            together = simlab.simulate(problem, SETTING.network, algorithms, **choices)
            singles = [simlab.simulate(problem, SETTING.network, algorithm, **choices) for algorithm in algorithms]
        for algorithm, trace, alone in zip(algorithms, together, singles, strict=True):
            assert trace.algorithm is algorithm
            assert trace.provenance["algorithm"] == alone.provenance["algorithm"]
            assert trace.x.base is None  # and keeps nothing of the others
            table = trace.frame.assign(algorithm=type(algorithm).__name__)
            assert_same(replace(trace, frame=table), alone, 1e-13)
            if engine == "compiled" and one_way:
                np.testing.assert_array_equal(trace.x, alone.x)


ALIKE = [
    (simlab.compression.TopK(3), simlab.compression.RandomK(3)),  # equal as tuples
    (simlab.compression.Identity(), simlab.compression.Sign()),
]


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
@pytest.mark.parametrize("pair", ALIKE, ids=str)
def test_fields_that_only_compare_equal_are_different_methods(pair: tuple[Any, Any], engine: str) -> None:
    problem, options = SETTING.objective.problem, {"steps": 30, "progress": False, "engine": engine}
    algorithms = [simlab.ChocoSGD(0.05, 0.2, compressor) for compressor in pair]
    for algorithm, trace in zip(
        algorithms, simlab.simulate(problem, SETTING.network, algorithms, **options), strict=True
    ):
        alone = simlab.simulate(problem, SETTING.network, algorithm, **options)
        np.testing.assert_array_equal(trace.x, alone.x)
        assert trace.frame["bits"].equals(alone.frame["bits"])
        assert trace.provenance["label"] == f"ChocoSGD(compressor={algorithm.compressor})"


class Weighted(NamedTuple):
    """DSGD on gradients times an array, which only the array engine runs; it wants to see its number of nodes."""

    lr: float
    factors: Any

    def init(self, x: Any) -> Any:
        if x.shape[-2] != 6:
            raise ValueError("needs 6 nodes")
        return simlab.DSGD(self.lr).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Batch) -> Any:
        return type(state)(mix(network, state.x - self.lr * self.factors * gradient(problem, state.x, batch)))


def test_arrays_schedules_and_numpy_scalars_in_one_list() -> None:
    """Nothing of them can be compared by == alone."""
    problem, options = SETTING.objective.problem, {"steps": 5, "progress": False, "engine": "numpy"}
    ones = np.ones((6, 1))
    algorithms = [
        *(Weighted(0.05, ones), Weighted(0.1, ones), Weighted(0.05, 2 * ones)),
        *(simlab.DSGD(np.float64(0.05)), simlab.DSGD(simlab.schedules.InverseSqrt(0.1, 10)), simlab.DSGD(1)),
    ]
    traces = simlab.simulate(problem, SETTING.network, algorithms, **options)
    assert len({trace.provenance["label"] for trace in traces}) == len(algorithms)
    for algorithm, trace in zip(algorithms, traces, strict=True):
        alone = simlab.simulate(problem, SETTING.network, algorithm, **options)
        np.testing.assert_allclose(trace.x, alone.x, rtol=1e-13)


def test_large_runs_of_a_list_are_jobs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the array engine on NumPy slices its runs."""
    problem, options = SETTING.objective.problem, {"steps": 9, "record_every": 2, "progress": False, "engine": "numpy"}
    expected = simlab.simulate(problem, SETTING.network, sweep(5), replicates=3, batch_size=2, **options)
    for numbers in (1, 2 * 6 * 4):
        monkeypatch.setattr(array, "SLICE", numbers)
        found = simlab.simulate(problem, SETTING.network, sweep(5), replicates=3, batch_size=2, **options)
        for one, two in zip(found, expected, strict=True):
            assert_same(one, two, 1e-14)


def watch(monkeypatch: pytest.MonkeyPatch, way: str) -> list[tuple[int, bool]]:
    """What grows, as plans are made, by the number of runs and whether they go this way."""
    ways: list[tuple[int, bool]] = []
    plan = compiled.CompiledEngine.plan

    def listen(engine: Any, state: Any, *rest: Any) -> Any:
        ways.append((len(state[0]), getattr(engine, way)))
        return plan(engine, state, *rest)

    monkeypatch.setattr(compiled.CompiledEngine, "plan", listen)
    return ways


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
def test_what_diverges_leaves_the_last_bits_of_others(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side, or rows of one product, they stay as they were, whenever it is noticed that most have diverged."""
    problem = strategies.objective("quadratic", 6, 5, 9, np.random.default_rng(5)).problem
    monkeypatch.setattr(simulation, "THREADS", 1)
    ways = watch(monkeypatch, "lanes")
    algorithms = [simlab.DSGD(lr) for lr in [0.01, *np.linspace(30, 60, 10)]]
    states = []
    for size in (20, 37, 400):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        with pytest.warns(RuntimeWarning, match="diverged"):
            first, *others = simlab.simulate(
                problem, SETTING.network, algorithms, steps=400, progress=False, noise_std=0.1, engine=engine
            )
        assert all(trace.provenance["diverged"] for trace in others)
        states.append(first.x)
    assert engine == "numpy" or {(11, True), (1, True)} <= set(ways)
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


def test_the_one_large_run_that_is_left_has_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = strategies.objective("quadratic", 6, 5, 9, np.random.default_rng(5)).problem
    monkeypatch.setattr(simulation, "THREADS", 2)
    monkeypatch.setattr(compiled, "LARGE", 0)
    ways = watch(monkeypatch, "by_nodes")
    with pytest.warns(RuntimeWarning, match="diverged"):
        simlab.simulate(problem, SETTING.network, [simlab.DSGD(0.01), simlab.DSGD(50.0)], steps=999, progress=False)
    assert (2, False) in ways and ways[-1] == (1, True)


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
def test_one_setting_of_a_sweep_diverges(engine: str) -> None:
    problem = strategies.objective("quadratic", 6, 5, 9, np.random.default_rng(5)).problem
    options = {"steps": 3000, "record_every": 10, "progress": False, "engine": engine, "replicates": 2}
    algorithms = [simlab.DSGD(lr) for lr in (0.01, 50.0, 0.02)]
    with pytest.warns(RuntimeWarning, match=r"DSGD\(lr=50.0\) diverged at step") as caught:
        small, large, middle = simlab.simulate(problem, SETTING.network, algorithms, **options)
    assert 1 <= len(caught) <= 2  # one for both replicates if they leave within a chunk
    assert large.provenance["diverged"].keys() == {"0", "1"}
    assert large.frame["step"].max() < 3000
    for trace, algorithm in ((small, algorithms[0]), (middle, algorithms[2])):
        assert trace.provenance["diverged"] == {}
        assert trace.frame["step"].max() == 3000
        np.testing.assert_array_equal(trace.x, simlab.simulate(problem, SETTING.network, algorithm, **options).x)


def test_a_sweep_of_which_most_diverges_warns_once_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = strategies.objective("quadratic", 6, 5, 9, np.random.default_rng(5)).problem
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 1000)
    algorithms = [simlab.DSGD(lr) for lr in (0.01, 50.0, 51.0, 52.0, 53.0, 54.0)]
    with pytest.warns(RuntimeWarning, match="diverged") as caught:
        simlab.simulate(problem, SETTING.network, algorithms, steps=1000, replicates=4, noise_std=0.1, progress=False)
    (warning,) = caught
    each = r"DSGD\(lr=5\d\.0\) diverged at steps? \d+(?: to \d+)? \(4 replicates\)"
    pattern = rf"{each}, {each}, {each} and 2 more settings; their traces end before\. Use a smaller lr, or ask .*"
    assert re.fullmatch(pattern, str(warning.message))


def test_the_step_of_a_divergence_does_not_depend_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk's start is kept by the size of one algorithm's replicates, however many settings there are."""
    problem = strategies.objective("quadratic", 6, 5, 9, np.random.default_rng(5)).problem
    monkeypatch.setattr(runs, "KEPT", 2 * 6 * 5)
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 100)
    options = {"steps": 1000, "progress": False, "replicates": 2}
    algorithms = [simlab.DSGD(lr) for lr in (0.01, 50.0, 0.02)]
    with pytest.warns(RuntimeWarning, match="diverged at step"):
        _, listed, _ = simlab.simulate(problem, SETTING.network, algorithms, **options)
        alone = simlab.simulate(problem, SETTING.network, algorithms[1], **options)
    assert listed.provenance["diverged"] == alone.provenance["diverged"]


def test_a_sweep_of_what_cannot_be_traced() -> None:
    """Its step may hand a hyperparameter to a function of numbers, so that its settings run one after another."""
    options = {"steps": 20, "progress": False, "engine": "numpy"}
    problem = SETTING.objective.problem
    for trace, algorithm in zip(
        simlab.simulate(problem, SETTING.network, [Rooted(0.1), Rooted(0.2)], **options),
        (simlab.DSGD(math.sqrt(0.1)), simlab.DSGD(math.sqrt(0.2))),
        strict=True,
    ):
        np.testing.assert_array_equal(trace.x, simlab.simulate(problem, SETTING.network, algorithm, **options).x)


class Rooted(NamedTuple):
    """DSGD with the square root of its step size."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.DSGD(self.lr).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        return simlab.DSGD(math.sqrt(self.lr)).step(state, problem, network, batch)
