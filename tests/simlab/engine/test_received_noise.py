"""Noise on what is received: its law, both engines against formulas that add it by hand, what it leaves as it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

import simlab
import theory
from simlab import dynamics, simulation, topologies
from simlab.network import Exchanges, NetworkProcess
from simlab.operations import differences, gradient, mix
from simlab.step.streams import Stream
from tests.helpers.interpreted import ENGINES as TWO, simulate

N, D, LR, BETA = 6, 3, 0.05, 0.6
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=9, dim=D, seed=0)
X0 = np.random.default_rng(5).standard_normal((N, D))
STD = np.random.default_rng(6).random((N, N))
ENGINES = ("numpy", "compiled")
FALSE_ALARM = 1e-6

NETWORKS: dict[str, Any] = {
    "static": topologies.grid(N, lazy=True),
    "links fail": dynamics.link_failures(topologies.grid(N, lazy=True), 0.4),
    "nodes sleep": dynamics.node_failures(topologies.grid(N, lazy=True), 0.4),
    "few matrices": dynamics.choice([topologies.ring(N, lazy=True), topologies.grid(N, lazy=True)]),
    "pairs": dynamics.pairwise(topologies.grid(N)),
    "events": dynamics.asynchronous(topologies.grid(N)),
    "push": topologies.random_digraph(N, 0.5, seed=1),
}


class Link(NamedTuple):
    """x -> W x with the noise of the exchange of this number."""

    w: np.ndarray
    noise: np.ndarray  # (e, n, d)

    def __call__(self, exchange: int, x: np.ndarray) -> np.ndarray:
        return self.w @ x + self.noise[exchange, :, : x.shape[1]]


def dsgd(s: Any, hear: Link, g: Any, fires: Any) -> Any:
    return {"x": hear(0, s["x"] - LR * g(s["x"]))}


def tracking(s: Any, hear: Link, g: Any, fires: Any) -> Any:
    new = g(s["x"])
    y = hear(0, s["m"] + new - s["v"])
    return {"x": hear(1, s["x"] - LR * y), "m": y, "v": new}


def nids(s: Any, hear: Link, g: Any, fires: Any) -> Any:
    new = g(s["x"])
    half = 2 * s["x"] - s["start"] - LR * (new - s["v"])
    return {"x": (half + hear(0, half)) / 2, "start": s["x"], "v": new}


def d2(s: Any, hear: Link, g: Any, fires: Any) -> Any:
    new = g(s["x"])
    return {"x": hear(0, 2 * s["x"] - s["start"] - LR * (new - s["v"])), "start": s["x"], "v": new}


def sgp(s: Any, hear: Link, g: Any, fires: Any) -> Any:
    m = BETA * s["m"] + g(s["x"])
    u, w = hear(0, s["x"] * s["one"] - LR * m), hear(1, s["one"])
    return {"x": u / w, "m": m, "one": w}


def adpsgd(s: Any, hear: Link, g: Any, fires: Any) -> Any:
    x = hear(0, s["x"]) - LR * g(s["start"])
    return {"x": x, "start": np.where(fires, x, s["start"])}


METHODS: dict[str, tuple[Any, Any, int]] = {  # with the exchanges of a step
    "DSGD": (simlab.DSGD(LR), dsgd, 1),
    "tracking": (simlab.GradientTracking(LR), tracking, 2),
    "NIDS": (simlab.NIDS(LR, 0.0), nids, 1),  # exchanges differences
    "D2": (simlab.D2(LR), d2, 1),
    "SGP": (simlab.SGP(LR, BETA), sgp, 2),  # the second one of one number a node
    "ADPSGD": (simlab.ADPSGD(LR), adpsgd, 1),
}
CASES = [
    *((m, n) for m in ("DSGD", "tracking", "NIDS", "D2") for n in NETWORKS if n not in ("events", "push", "pairs")),
    *(("ADPSGD", "events"), ("DSGD", "pairs"), ("SGP", "push"), ("SGP", "links fail")),
]


def replay(method: str, network: Any, std: Any, steps: int, seed: int, replicate: int) -> np.ndarray:
    """The formulas on the path that the run must see; s_i from the definition, on whole matrices."""
    _, rule, exchanges = METHODS[method]
    path = network.sample(steps, seed=seed, replicate=replicate)
    sigma = np.broadcast_to(std, (N, N)) * (1 - np.eye(N))
    s = np.array([np.sqrt(np.square(path[k] * sigma).sum(axis=1)) for k in range(steps)])
    drawn = Stream(seed, replicate).received(s[path.awake], exchanges, D, np.dtype(float))
    state = {"x": X0, "start": X0, "m": 0 * X0, "v": 0 * X0, "one": np.ones((N, 1))}
    row = 0
    for k in range(steps):
        awake = path.awake[k]
        noise = np.zeros((exchanges, N, D))
        noise[:, awake] = drawn[row : row + awake.sum()].swapaxes(0, 1)
        row += awake.sum()
        fires = path.fires[k][:, None]
        new = rule(state, Link(path[k], noise), lambda x, f=fires: f * PROBLEM.gradient(x), fires)
        state |= {name: np.where(awake[:, None], value, state[name]) for name, value in new.items()}
    return state["x"]


def run(network: Any, algorithm: Any = METHODS["DSGD"][0], **options: Any) -> Any:
    defaults = {"steps": 15, "x0": X0, "engine": "numpy", "progress": False}
    return simulate(PROBLEM, network, algorithm, **defaults | options)


def check(method: str, network_name: str, std: Any, seed: int, engine: str) -> None:
    network = NETWORKS[network_name]
    noisy = dynamics.noise(network, std)
    trace = run(noisy, METHODS[method][0], seed=seed, replicates=2, record_every=4, engine=engine)
    for r in range(2):
        expected = replay(method, network, std, 15, seed, r)
        np.testing.assert_allclose(trace.x[r], expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(("method", "network"), CASES)
@given(seed=st.integers(0, 2**16), per_link=st.booleans())
@settings(max_examples=3)
def test_both_engines_add_it_to_what_is_received(method: str, network: str, seed: int, per_link: bool) -> None:
    std = 0.1 * STD if per_link else 0.07
    for engine in TWO:
        check(method, network, std, seed, engine)


@pytest.mark.parametrize(("method", "network"), [("tracking", "links fail"), ("SGP", "push"), ("NIDS", "nodes sleep")])
def test_compiled_adds_it(method: str, network: str) -> None:
    check(method, network, 0.07, 3, "compiled")


def test_each_node_receives_every_other_state_with_noise_of_its_own() -> None:
    """A step of gossip: variances Σⱼ (wᵢⱼ σᵢⱼ)², no correlations, the mean W x."""
    runs, w = 4000, NETWORKS["static"].weights
    trace = run(dynamics.noise(NETWORKS["static"], STD), simlab.DSGD(1e-300), steps=1, replicates=runs)
    z = (trace.x - w @ X0) / np.sqrt(np.square(w * STD * (1 - np.eye(N))).sum(axis=1))[:, None]
    z = z.reshape(runs, -1)
    tests = 2 * z.shape[1] + z.shape[1] * (z.shape[1] - 1) / 2
    tail = FALSE_ALARM / tests / 2
    assert np.abs(np.sqrt(runs) * z.mean(axis=0)).max() < stats.norm.isf(tail)
    squares = np.square(z).sum(axis=0)
    assert stats.chi2.ppf(tail, runs) < squares.min() and squares.max() < stats.chi2.isf(tail, runs)
    products = np.corrcoef(z.T)[np.triu_indices(z.shape[1], 1)]
    assert np.abs(np.arctanh(products) * np.sqrt(runs - 3)).max() < stats.norm.isf(tail)


def test_exchanges_steps_and_replicates_are_independent() -> None:
    noise = Stream(0, 0).received(np.ones(500), 2, 3, np.dtype(float)).reshape(500, -1)
    other = Stream(0, 1).received(np.ones(500), 2, 3, np.dtype(float)).reshape(500, -1)
    columns = np.concatenate([noise[1:], noise[:-1], other[1:]], axis=1)
    correlations = np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]
    assert np.abs(np.arctanh(correlations) * np.sqrt(496)).max() < stats.norm.isf(FALSE_ALARM / len(correlations) / 2)


@pytest.mark.parametrize("engine", TWO)
@pytest.mark.parametrize("name", ["static", "links fail", "nodes sleep", "push"])
def test_costs_and_the_rest_of_the_path_stay(engine: str, name: str) -> None:
    algorithm = simlab.SGP(LR, BETA) if name == "push" else simlab.GradientTracking(LR)
    noisy = dynamics.noise(NETWORKS[name], 0.1)
    options = {"batch_size": 2, "noise_std": 0.1, "cluster": simlab.Cluster(1.0, latency=0.1), "engine": engine}
    with_noise, without = (run(network, algorithm, **options).frame for network in (noisy, NETWORKS[name]))
    columns = ["step", "bits", "payload_bits", "gradients", "time"]
    assert with_noise[columns].equals(without[columns]) and not with_noise["mse"].equals(without["mse"])
    for mine, other in zip(noisy.sample(9, seed=2), NETWORKS[name].sample(9, seed=2), strict=True):
        np.testing.assert_array_equal(mine, other)
    # Nothing else is drawn otherwise: noise of size 0 on the links, some on the diagonal, which no node receives.
    nothing = dynamics.noise(NETWORKS[name], np.eye(N))
    same = run(nothing, algorithm, **options)
    np.testing.assert_array_equal(same.x, run(NETWORKS[name], algorithm, **options).x)


def test_no_noise_is_the_network_itself() -> None:
    for network in NETWORKS.values():
        assert dynamics.noise(network, 0.0) is network and dynamics.noise(network, np.zeros((N, N))) is network


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["few matrices", "nodes sleep"])
def test_chunks_threads_and_lists_change_nothing(engine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = dynamics.noise(NETWORKS[name], STD)
    algorithms = [simlab.DSGD(0.01), simlab.GradientTracking(0.02), simlab.DSGD(0.02)]
    options = {"steps": 21, "noise_std": 0.1, "replicates": 3, "record_every": 4, "engine": engine}
    runs = []
    for size, threads in ((1, 1), (4, 2), (1000, 1)):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        monkeypatch.setattr(simulation, "THREADS", threads)
        runs.append(run(noisy, algorithms, **options))
    for traces in runs[1:]:
        for one, two in zip(runs[0], traces, strict=True):
            np.testing.assert_array_equal(one.x, two.x)
            assert one.frame.equals(two.frame)
    for trace, algorithm in zip(runs[0], algorithms, strict=True):
        np.testing.assert_allclose(run(noisy, algorithm, **options).x, trace.x, rtol=0, atol=1e-12)


def test_a_run_that_diverges_is_replayed_with_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for size in (1, 1000):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        with pytest.warns(RuntimeWarning, match="diverged"):
            trace = run(dynamics.noise(NETWORKS["nodes sleep"], 0.1), simlab.DSGD(40.0), steps=400, engine="compiled")
        ends.append(trace)
    assert ends[0].diverged == ends[1].diverged
    np.testing.assert_array_equal(ends[0].x, ends[1].x)


def test_noise_on_noise_adds_variances() -> None:
    once = dynamics.noise(NETWORKS["links fail"], np.hypot(0.3, STD))
    twice = dynamics.noise(dynamics.noise(NETWORKS["links fail"], 0.3), STD)
    one, two = (network.sample(20, seed=1).exchanges.noise for network in (once, twice))
    np.testing.assert_allclose(one, two, rtol=1e-14)


def test_float32_hears_the_same() -> None:
    noisy = dynamics.noise(NETWORKS["static"], 0.1)
    coarse, fine = (run(noisy, dtype=dtype, engine="compiled").x for dtype in ("float32", "float64"))
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, fine, rtol=0, atol=1e-5)


class Flow(NamedTuple):
    """x -> x + Σⱼ wᵢⱼ(xⱼ − xᵢ), whatever the rows of W sum to."""

    lr: float
    needs = "column"

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        return type(state)(state.x + differences(network, state.x))


@pytest.mark.parametrize("engine", TWO)
def test_differences_weigh_themselves_exactly(engine: str) -> None:
    """Sums of rows are nobody's message."""
    push, steps = NETWORKS["push"], 7
    w, sigma = push.weights, 0.1 * (1 - np.eye(N))
    s = np.tile(np.sqrt(np.square(w * sigma).sum(axis=1)), steps)
    noise = Stream(4, 0).received(s, 1, D, np.dtype(float)).reshape(steps, N, D)
    x = X0
    for k in range(steps):
        x = x + (w - np.diag(w.sum(axis=1))) @ x + noise[k]
    found = run(dynamics.noise(push, 0.1), Flow(0.1), steps=steps, seed=4, engine=engine).x[0]
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-12)


class Untraceable(NamedTuple):
    """A second exchange whose result is not used, and NumPy on the state, which the array engine alone can run."""

    lr: float
    traceable: bool
    needs = "row"

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        x = mix(network, state.x) - self.lr * gradient(problem, state.x, batch)
        mix(network, x)
        return type(state)(x if self.traceable else np.asarray(x) + 0)


def test_steps_that_cannot_be_traced_and_results_that_are_not_used() -> None:
    noisy = dynamics.noise(NETWORKS["few matrices"], 0.1)
    expected = run(noisy, simlab.DSGD(LR, "cta")).x
    for engine, traceable in (("numpy", False), ("numpy", True), ("interpreted", True)):
        found = run(noisy, Untraceable(LR, traceable), engine=engine).x
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("promised", [True, False])
def test_processes_say_that_they_are_noisy(promised: bool) -> None:
    class Walk(NetworkProcess):
        def walk(self, random: np.random.Generator) -> Any:
            one = Exchanges.of(NETWORKS["static"].weights[None])
            noise = None if promised else np.ones(N)
            return lambda steps: Exchanges(np.zeros(steps, int), *list(vars(one).values())[1:8], noise=noise)

    with pytest.raises(ValueError, match=r"Walk\.walk drew .*noisy"):
        run(Walk(N, "walk", noisy=promised))


@pytest.mark.parametrize(
    "algorithm",
    [
        *(simlab.DSGD(LR), simlab.DmSGD(LR), simlab.GossipPGA(LR, 3), simlab.LocalSGD(LR, 3), simlab.ADPSGD(LR)),
        *(simlab.SGP(LR), simlab.DecentLaM(LR), simlab.GradientTracking(LR), simlab.D2(LR)),
    ],
    ids=repr,
)
def test_theory_does_not_judge_it(algorithm: Any) -> None:
    ring = topologies.ring(N, lazy=True)
    for network in (ring, dynamics.link_failures(ring, 0.2), dynamics.one_peer_exponential(N)):
        if network.is_symmetric or algorithm.__class__.__name__ in ("DSGD", "DmSGD", "SGP"):
            noisy = dynamics.noise(network, 0.3)
            with pytest.raises(ValueError, match=r"adds noise to what is received, .*simulate it"):
                theory.predict(PROBLEM, noisy, algorithm)
            report = theory.verify(run(noisy, algorithm, steps=60))
            judged = [row.theorem for row in report.rows if row.verdict != "not applicable"]
            assert not judged
    with pytest.raises(ValueError, match="adds noise to what is received"):
        theory.mixing_parameter(dynamics.noise(ring, 0.3))
