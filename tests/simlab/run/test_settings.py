"""Wrong input fails at once: the message names the argument, its value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx
import numpy as np
import pytest

import simlab
from simlab.run.settings import check_nouns

FEATURES = np.random.default_rng(0).standard_normal((4, 6, 3))
TARGETS = np.random.default_rng(1).standard_normal((4, 6))
PROBLEM = simlab.LeastSquares(FEATURES, TARGETS)
QUADRATIC = simlab.Quadratic(np.ones((4, 3)), np.ones((4, 3)))
RING = simlab.topologies.ring(4)
DSGD = simlab.DSGD(0.1)
PULL = simlab.topologies.random_digraph(4, 0.6, seed=0, weights="pull")
PUSH = simlab.topologies.random_digraph(4, 0.6, seed=0)


def with_entry(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


def simulate(problem: Any = PROBLEM, network: Any = RING, algorithm: Any = DSGD, **choices: Any) -> Callable[[], Any]:
    options = {"steps": 3, "engine": "numpy", "progress": False, **choices}
    return lambda: simlab.simulate(problem, network, algorithm, **options)


def disconnected() -> Any:
    graph = networkx.path_graph(5)
    graph.remove_edge(1, 2)
    return graph


W = RING.weights

# What fails: call, error, argument, value, remedy (regular expressions).
CASES: dict[str, tuple[Callable[[], Any], type[Exception], str, str, str]] = {
    "disconnected graph": (
        lambda: simlab.Network.from_graph(disconnected()),
        ValueError, "graph", r"2 components|disconnected|not connected", "connect|add|edge",
    ),
    "directed graph": (
        lambda: simlab.Network.from_graph(networkx.DiGraph([(0, 1)])),
        ValueError, "graph", "directed|DiGraph", "to_undirected",
    ),
    "not a graph": (lambda: simlab.Network.from_graph(7), TypeError, "graph", "int", "networkx"),
    "asymmetric W": (
        lambda: simlab.Network.from_matrix(with_entry(W, (0, 1), 0.4)),
        ValueError, "w", r"1\.\d+", "rescale",
    ),
    "W not doubly stochastic": (
        lambda: simlab.Network.from_matrix(0.9 * W), ValueError, "w", r"0\.9|0\.1", "sum|stochastic",
    ),
    "disconnected W": (lambda: simlab.Network.from_matrix(np.eye(3)), ValueError, "w", "3", "connect"),
    "periodic W": (
        lambda: simlab.Network.from_matrix(np.array([[0.0, 1.0], [1.0, 0.0]])), ValueError, "w", "-1", "lazy|2",
    ),
    "NaN in W": (lambda: simlab.Network.from_matrix(with_entry(W, (0, 0), np.nan)), ValueError, "w", "(?i)nan", "."),
    "unknown weight rule": (
        lambda: simlab.Network.from_graph(networkx.path_graph(3), weights="metropolois"),
        ValueError, "weights", "'metropolois'", "did you mean 'metropolis'",
    ),
    "uniform weights on an irregular graph": (
        lambda: simlab.topologies.path(4, weights="uniform"), ValueError, "weights|graph", "uniform", "metropolis",
    ),
    "no node": (lambda: simlab.topologies.ring(0), ValueError, "n", "0", "at least 1"),
    "half a node": (lambda: simlab.topologies.ring(2.5), TypeError, "n", r"2\.5", "whole number"),
    "hypercube of 6": (lambda: simlab.topologies.hypercube(6), ValueError, "n", "6", "4 or n = 8"),
    "D2 below -1/3": (
        simulate(network=simlab.topologies.ring(4), algorithm=simlab.D2(0.1)),
        ValueError, "network", r"-0\.3333", "lazy=True",
    ),
    "D2DmSGD below -1/3": (
        simulate(network=simlab.topologies.ring(4), algorithm=[DSGD, simlab.D2DmSGD(0.1)]),
        ValueError, "network", r"-0\.3333", "lazy=True",
    ),
    "network that does not mix": (
        simulate(network=simlab.topologies.disconnected(4)), ValueError, "network", "does not mix", r"dynamics\.cycle",
    ),
    "columns that sum to 1": (simulate(network=PUSH), ValueError, "network", "columns alone", "'pull'.*run SGP"),
    "rows that sum to 1": (
        simulate(network=PULL, algorithm=simlab.GradientTracking(0.1)),
        ValueError, "network", "rows alone", "GradientTracking .*directed_ring.*run DSGD",
    ),
    "directed for EXTRA": (
        simulate(network=simlab.topologies.directed_ring(4), algorithm=simlab.EXTRA(0.1)),
        ValueError, "network", "not symmetric", "EXTRA needs .*ring.*run DSGD",
    ),
    "directed steps for D2": (
        simulate(network=simlab.dynamics.one_peer_exponential(4), algorithm=simlab.D2(0.1)),
        ValueError, "network", "not symmetric", "D2 needs .*run DSGD",
    ),
    "a step below -1/3": (
        simulate(network=simlab.dynamics.every(simlab.topologies.ring(4), 2), algorithm=simlab.D2(0.1)),
        ValueError, "network", r"-0\.3333", "lazy=True",
    ),
    "replicas on links that fail": (
        simulate(
            network=simlab.dynamics.link_failures(simlab.topologies.ring(4), 0.1),
            algorithm=simlab.ChocoSGD(0.1, 0.1, simlab.compression.Identity()),
        ),
        ValueError, "network", "changes", "replicas.*DSGD",
    ),
    "asynchronous": (
        simulate(network=simlab.dynamics.asynchronous(simlab.topologies.ring(4))),
        ValueError, "network", "asynchronous", r"ADPSGD.*pairwise",
    ),
    "batch larger than the data": (simulate(batch_size=7), ValueError, "batch_size", "7", "at most 6|None"),
    "empty batch": (simulate(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "half a sample": (simulate(batch_size=1.5), TypeError, "batch_size", r"1\.5", "whole number"),
    "batch of True": (simulate(batch_size=True), TypeError, "batch_size", "True", "whole number"),
    "batch of nothing": (
        simulate(problem=QUADRATIC, batch_size=2), ValueError, "batch_size", "2", "batch_size=None and noise_std",
    ),
    "negative steps": (simulate(steps=-1), ValueError, "steps", "-1", "at least 0"),
    "steps of float": (simulate(steps=10.0), TypeError, "steps", r"10\.0", "whole number"),
    "negative lr": (simulate(algorithm=simlab.DSGD(-0.1)), ValueError, r"DSGD\.lr", r"-0\.1", "greater than 0"),
    "lr of zero": (simulate(algorithm=simlab.DecentLaM(0)), ValueError, r"DecentLaM\.lr", "0", "greater than 0"),
    "lr of NaN": (simulate(algorithm=simlab.DSGD(float("nan"))), ValueError, r"DSGD\.lr", "nan", "ordinary number"),
    "infinite lr": (simulate(algorithm=simlab.DSGD(np.inf)), ValueError, r"DSGD\.lr", "inf", "ordinary number"),
    "lr of text": (simulate(algorithm=simlab.DSGD("0.1")), TypeError, r"DSGD\.lr", "'0.1'", "number or a schedule"),
    "lr of None": (simulate(algorithm=simlab.DSGD(None)), TypeError, r"DSGD\.lr", "None", "number or a schedule"),
    "lr of True": (simulate(algorithm=simlab.DSGD(True)), TypeError, r"DSGD\.lr", "True", "number or a schedule"),
    "lr of array": (
        simulate(algorithm=simlab.DSGD(np.array([0.1, 0.2]))), TypeError, r"DSGD\.lr", r"0\.1", "number or a schedule",
    ),
    "momentum of one": (
        simulate(algorithm=simlab.DmSGD(0.1, momentum=1.0)), ValueError, r"DmSGD\.momentum", r"1\.0", "less than 1",
    ),
    "negative momentum": (
        simulate(algorithm=simlab.DecentLaM(0.1, -0.5)),
        ValueError, r"DecentLaM\.momentum", r"-0\.5", "at least 0",
    ),
    "schedule that turns negative": (
        simulate(algorithm=simlab.DSGD(lambda k: 0.2 - 0.1 * k), steps=5),
        ValueError, r"DSGD\.lr", r"-0\.2", "greater than 0",
    ),
    "schedule of NaN": (
        simulate(algorithm=simlab.DSGD(lambda k: 0.1 * np.where(k > 1, np.nan, 1))),
        ValueError, r"DSGD\.lr", "nan", "ordinary number",
    ),
    "schedule of too few": (
        simulate(algorithm=simlab.DSGD(lambda k: np.array([0.1, 0.2]))),
        ValueError, r"DSGD\.lr", r"\(2,\)", r"\(3,\)",
    ),
    "schedule of text": (
        simulate(algorithm=simlab.DSGD(lambda k: ["a"] * len(k))), (TypeError, ValueError), r"DSGD\.lr", "a", "number",
    ),
    "unknown order": (
        simulate(algorithm=simlab.DSGD(0.1, order="atcc")), ValueError, "order", "'atcc'", "did you mean 'atc'",
    ),
    "unknown engine": (simulate(engine="compield"), ValueError, "engine", "'compield'", "did you mean 'compiled'"),
    "unknown precision": (simulate(dtype="float16"), ValueError, "dtype", "'float16'", "float32"),
    "no precision": (simulate(dtype="double64"), (TypeError, ValueError), "dtype", "'double64'", "float64"),
    "negative noise": (simulate(noise_std=-1), ValueError, "noise_std", "-1", "at least 0"),
    "noise of text": (simulate(noise_std="1"), TypeError, "noise_std", "'1'", "float"),
    "no replicate": (simulate(replicates=0), ValueError, "replicates", "0", "at least 1"),
    "negative seed": (simulate(seed=-1), ValueError, "seed", "-1", "at least 0"),
    "no seed": (simulate(seed=None), TypeError, "seed", "None", "whole number"),
    "record every 0": (simulate(record_every=0), ValueError, "record_every", "0", "at least 1"),
    "x0 of another shape": (
        simulate(x0=np.zeros((3, 4))), ValueError, "x0", r"\(3, 4\)", r"\(4, 3\), or \(d,\) = \(3,\)",
    ),
    "x0 with NaN": (simulate(x0=np.array([0, np.nan, 0])), ValueError, "x0", r"nan.*\(1,\)", "remove or impute"),
    "x0 out of range": (simulate(x0=1e101 * np.ones(3)), ValueError, "x0", r"1e\+101", "nearer to 0"),
    "x0 out of the range of float32": (
        simulate(x0=1e19 * np.ones(3), dtype="float32"), ValueError, "x0", r"1e\+19", "dtype='float64'",
    ),
    "x0 of text": (simulate(x0="zeros"), TypeError, "x0", "zeros", "numbers"),
    "ragged x0": (simulate(x0=[[1.0, 2.0], [3.0]]), TypeError, "x0", ".", "equal-length rows"),
    "unequal numbers of nodes": (
        simulate(network=simlab.topologies.ring(5)), ValueError, "problem.*network", "4.*5", "partition|build",
    ),
    "problem of another kind": (simulate(problem=FEATURES), TypeError, "problem", "ndarray", r"simlab\.LeastSquares"),
    "network of another kind": (simulate(network=W), TypeError, "network", "ndarray", r"simlab\.Network"),
    "swapped nouns": (
        lambda: simlab.simulate(RING, PROBLEM, DSGD, steps=1, batch_size=2),
        TypeError, "problem", "Network", r"simlab\.LeastSquares",
    ),
    "class for an algorithm": (simulate(algorithm=simlab.DSGD), TypeError, "algorithm", "DSGD", r"DSGD\(lr=0\.01\)"),
    "name for an algorithm": (simulate(algorithm="DSGD"), TypeError, "algorithm", "'DSGD'", r"simlab\.DecentLaM"),
    "no algorithm": (simulate(algorithm=[]), ValueError, "algorithm", r"\[\]", "at least one"),
    "list with a wrong algorithm": (simulate(algorithm=[DSGD, 3]), TypeError, "algorithm", "3", "algorithm"),
    "NaN data": (
        lambda: simlab.LeastSquares(with_entry(FEATURES, (1, 2, 0), np.nan), TARGETS),
        ValueError, "features", r"nan.*\(1, 2, 0\)", "remove or impute",
    ),
    "infinite targets": (
        lambda: simlab.LeastSquares(FEATURES, with_entry(TARGETS, (3, 5), np.inf)),
        ValueError, "targets", r"inf.*\(3, 5\)", "remove or impute",
    ),
    "unequal shapes": (
        lambda: simlab.LeastSquares(FEATURES, TARGETS[:, :5]), ValueError, "targets", r"\(4, 5\)", r"\(4, 6\)",
    ),
    "two-dimensional features": (
        lambda: simlab.LeastSquares(FEATURES[0], TARGETS), ValueError, "features", r"\(6, 3\)", "reshape",
    ),
    "negative ridge": (
        lambda: simlab.LeastSquares(FEATURES, TARGETS, l2=-1.0), ValueError, "l2", r"-1\.0", "at least 0",
    ),
    "labels of three kinds": (
        lambda: simlab.LogisticRegression(FEATURES, np.round(TARGETS), 0.1), ValueError, "labels", ".", r"-1|\+1",
    ),
    "negative penalty": (
        lambda: simlab.NonconvexLogistic(FEATURES, np.sign(TARGETS), -1.0), ValueError, "penalty", r"-1\.0", "0",
    ),
    "asymmetric Hessian": (
        lambda: simlab.Quadratic(FEATURES[:, :3, :3], np.ones((4, 3))), ValueError, "hessians", ".", "transpose",
    ),
    "Hessians and linear terms of unequal shapes": (
        lambda: simlab.Quadratic(np.ones((4, 3)), np.ones((4, 2))), ValueError, "hessians", r"\(4, 3\)", r"\(4, 2\)",
    ),
    "a schedule that ends at zero": (
        simulate(algorithm=simlab.DSGD(simlab.schedules.Cosine(0.1, 2))),
        ValueError, r"DSGD\.lr", r"= 0\.0 must be", r"choose a larger DSGD\.lr: this is Cosine\(",
    ),
    "program of a class": (
        lambda: simlab.generated_source(PROBLEM, RING, simlab.DSGD),
        TypeError, "algorithm", "DSGD", r"pass an instance, e\.g\. DSGD\(lr=0\.01\)",
    ),
    "unknown data set": (
        lambda: simlab.data.load("diabetis"), ValueError, "name", "'diabetis'", "did you mean 'diabetes'",
    ),
    "unknown scheme": (
        lambda: simlab.data.partition(FEATURES[0], TARGETS[0], 2, scheme="sorte"),
        ValueError, "scheme", "'sorte'", "did you mean 'sorted'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_input(case: str) -> None:
    call, error, argument, value, remedy = CASES[case]
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert re.search(rf"(?<!\w)({argument})\b", message), f"names no argument: {message}"
    assert re.search(value, message), f"names no value: {message}"
    assert re.search(remedy, message), f"names no remedy: {message}"
    assert "\n" not in message


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_wrong_input_is_found_before_any_work(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after minutes of simulation, and on every engine alike."""
    from simlab.step.streams import Stream

    def draw(*arguments: Any) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(Stream, "indices", draw)
    with pytest.raises(ValueError, match=r"DSGD\.lr"):
        simulate(algorithm=[DSGD, simlab.DSGD(lambda k: 99.5 - k)], steps=101, batch_size=1, engine=engine)()


def test_boundaries_are_accepted() -> None:
    """What is just right: the extremes of each range run."""
    for choices in (
        {"batch_size": 6},
        {"batch_size": 1},
        {"steps": 0},
        {"noise_std": 0},
        {"seed": 0, "replicates": 1, "record_every": 10**9},
        {"algorithm": simlab.DmSGD(1e-300, 0)},
        {"algorithm": simlab.DmSGD(np.float32(0.1), np.int64(0))},
        {"steps": np.int64(2), "x0": np.zeros(3, dtype=int)},
    ):
        simulate(**choices)()


@pytest.mark.parametrize("call", [
    lambda: simlab.topologies.ring(4, lazy="no"),
    lambda: simlab.simulate(simlab.LeastSquares.synthetic(n_nodes=4, n_samples=3, dim=2), simlab.topologies.ring(4),
                            simlab.DSGD(0.1), steps=1, progress="no"),
])  # fmt: skip
def test_a_word_is_no_truth_value(call):
    with pytest.raises(TypeError, match=r"(lazy|progress) = 'no' is not a truth value; pass True or False"):
        call()


def test_data_that_is_not_split_is_sent_to_partition():
    with pytest.raises(ValueError, match=r"features has shape \(9, 2\).*simlab.data.partition"):
        simlab.LeastSquares(np.ones((9, 2)), np.ones(9))


class Parameters(NamedTuple):
    x: Any


class Forgetful(NamedTuple):
    """A user's algorithm whose step or init returns the wrong thing."""

    starts: Any
    returns: Any

    def init(self, x):
        return self.starts[0](x)

    def step(self, state, problem, network, batch):
        return self.returns[0](state)


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
@pytest.mark.parametrize("returned, kind", [(lambda state: None, "NoneType"), (lambda state: (state.x,), "tuple")])
def test_a_step_that_returns_no_state(engine, returned, kind):
    problem, network = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=3, dim=2), simlab.topologies.ring(4)
    algorithm = Forgetful((Parameters,), (returned,))
    with pytest.raises(TypeError, match=rf"Forgetful.step returned {kind}; it must return a Parameters, as init does"):
        simlab.simulate(problem, network, algorithm, steps=1, engine=engine)


def test_an_init_that_returns_no_state():
    problem, network = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=3, dim=2), simlab.topologies.ring(4)
    for start in (lambda x: x, lambda x: Parameters(0.0)):
        with pytest.raises(TypeError, match=r"Forgetful.init returned .*it must return a NamedTuple"):
            simlab.simulate(problem, network, Forgetful((start,), (lambda state: state,)), steps=1)


def test_an_algorithm_that_does_not_say_what_it_needs_is_told_that_it_may():
    class Own(NamedTuple):
        lr: float

        def init(self, x: Any) -> Any:
            return simlab.DSGD(self.lr).init(x)

        def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
            return simlab.DSGD(self.lr).step(state, problem, network, batch)

    network = simlab.topologies.directed_ring(PROBLEM.n_nodes)
    with pytest.raises(ValueError, match=r"Own needs a symmetric W .*, or say in Own by needs = \.\.\. what it works"):
        simlab.simulate(PROBLEM, network, Own(0.1), steps=1)
    with pytest.raises(ValueError, match=r"or run DSGD on this one$"):
        simlab.simulate(PROBLEM, network, simlab.D2(0.1), steps=1)


def test_networks_that_fit_are_taken():
    lazy = simlab.topologies.ring(4, lazy=True)
    dynamics = simlab.dynamics
    failing = dynamics.link_failures(lazy, 0.5), dynamics.node_failures(lazy, 0.5)
    for network in (*failing, dynamics.pairwise(lazy), dynamics.groups(4, 2), dynamics.cycle([lazy])):
        check_nouns(PROBLEM, network, [DSGD, simlab.GradientTracking(0.1), simlab.EXTRA(0.1), simlab.D2(0.1)])
    check_nouns(PROBLEM, simlab.topologies.directed_ring(4), [DSGD, simlab.GradientTracking(0.1)])
    for network in (PULL, simlab.dynamics.link_failures(lazy, 0.5, one_sided=True)):
        check_nouns(PROBLEM, network, [DSGD, simlab.DecentLaM(0.1), simlab.PmSGD(0.1)])
