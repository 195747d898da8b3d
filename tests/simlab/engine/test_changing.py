"""Networks that change, on both engines, against each method's formulas replayed on the matrices of the path."""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab import dynamics, simulation, topologies
from simlab.network import Exchanges, NetworkProcess
from simlab.operations import Batch, compress, gradient, mix, phase, steps_taken
from simlab.run.settings import ENGINES
from simlab.step.streams import Stream
from tests.helpers.interpreted import ENGINES as TWO, simulate

N, D, M = 6, 3, 9
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=M, dim=D, seed=0)
RANDOM = np.random.default_rng(5)
X0 = RANDOM.standard_normal((N, D))
LR, BETA = 0.05, 0.6


class Weather(NetworkProcess):
    """Links fail, nodes sleep, some that are awake do not fire, blocks recur; rows or columns sum to 1, or both."""

    def __init__(self, kind: str = "double", fires: float = 1.0) -> None:
        super().__init__(
            N, kind, double=kind == "double", symmetric=kind == "double", column=kind == "column",
            asynchronous=fires < 1, smallest_eigenvalue=0.0, kind=kind, firing=fires,
        )  # fmt: skip

    kind: str
    firing: float

    def walk(self, random: np.random.Generator) -> Any:
        last: list[Any] = []

        def draw(steps: int) -> Exchanges:
            blocks, which = [], []
            for _ in range(steps):
                again, *numbers = random.random(1 + N + N + N * N)
                if not last or again > 0.25:
                    last[:] = [self._block(np.array(numbers))]
                    blocks.append(last[0])
                elif not blocks:
                    blocks.append(last[0])
                which.append(len(blocks) - 1)
            rows, fires, receivers, weights = ([b[k] for b in blocks] for k in range(4))
            lengths = [np.count_nonzero(w, axis=1) for w in weights]
            return Exchanges(
                np.array(which, np.int64),
                np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
                np.concatenate(rows).astype(np.int32),
                np.concatenate(fires),
                np.concatenate(receivers).astype(np.int64),
                np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64),
                np.concatenate([np.nonzero(w)[1] for w in weights]).astype(np.int32),
                np.concatenate([w[w != 0] for w in weights]),
            )

        return draw

    def _block(self, u: np.ndarray) -> tuple[np.ndarray, ...]:
        awake, fires, links = u[:N] > 0.2, u[N : 2 * N] < self.firing, u[2 * N :].reshape(N, N) < 0.5
        links = links & awake[:, None] & awake
        np.fill_diagonal(links, False)
        if self.kind == "double":
            links = links | links.T
            w = links / (1.0 + np.maximum.outer(links.sum(axis=1), links.sum(axis=1)))
            np.fill_diagonal(w, 1 - w.sum(axis=1))
        else:
            w = links + np.eye(N)
            w = w / w.sum(axis=1 if self.kind == "row" else 0, keepdims=self.kind == "row")
        rows = np.flatnonzero(awake)
        return rows, fires[rows], links.sum(axis=0)[rows], w[rows]


class Step(NamedTuple):
    """What the oracle knows of a step: W, who is awake, who fires, gradients at points, the step's number."""

    w: np.ndarray
    awake: np.ndarray
    fires: np.ndarray
    gradient: Any
    k: int

    def average(self, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x[self.awake].mean(axis=0), x.shape) if self.awake.any() else x  # of nobody: not taken


def dsgd(s, k):
    return {"x": k.w @ (s["x"] - LR * k.gradient(s["x"]))}


def dsgd_cta(s, k):
    return {"x": k.w @ s["x"] - LR * k.gradient(s["x"])}


def dmsgd(s, k):
    m = BETA * s["m"] + k.gradient(s["x"])
    return {"x": k.w @ (s["x"] - LR * m), "m": m}


def decentlam(s, k):
    m = BETA * s["m"] + (s["x"] - k.w @ (s["x"] - LR * k.gradient(s["x"]))) / LR
    return {"x": s["x"] - LR * m, "m": m}


def tracking(s, k):
    g = k.gradient(s["x"])
    y = k.w @ (s["m"] + g - s["v"])
    return {"x": k.w @ (s["x"] - LR * y), "m": y, "v": g}


def pmsgd(s, k):
    m = BETA * s["m"] + k.average(k.gradient(s["x"]))
    return {"x": s["x"] - LR * m, "m": m}


def local_sgd(s, k):
    m = BETA * s["m"] + k.gradient(s["x"])
    x = s["x"] - LR * m
    return {"x": k.average(x) if k.k % 3 == 2 else x, "m": m}


def gossip_pga(s, k):
    x = s["x"] - LR * k.gradient(s["x"])
    return {"x": k.average(x) if k.k % 4 == 3 else k.w @ x}


def sgp(s, k, overlap=False):
    u, w = s["x"] * s["one"], k.w @ s["one"]
    m = BETA * s["m"] + k.gradient(s["x"])
    u = k.w @ u - LR * m if overlap else k.w @ (u - LR * m)
    return {"x": u / w, "m": m, "one": w}


def osgp(s, k):
    return sgp(s, k, overlap=True)


def subgradient_push(s, k):
    u, w = k.w @ s["start"], k.w @ s["one"]
    return {"x": u / w, "start": u - LR * k.gradient(u / w), "one": w}


def push_diging(s, k):
    g = k.gradient(s["x"])
    y = k.w @ s["m"] + g - s["v"]
    w = k.w @ s["one"]
    return {"x": k.w @ (s["x"] * s["one"] - LR * y) / w, "m": y, "v": g, "one": w}


def adpsgd(s, k):
    x = k.w @ s["x"] - LR * k.gradient(s["start"])
    return {"x": x, "start": np.where(k.fires, x, s["start"])}


def awc_dmsgd(s, k):
    m = BETA * s["m"] + k.gradient(s["x"])
    return {"x": k.w @ s["x"] - LR * m, "m": m}


def da_dmsgd(s, k):
    u = BETA * s["m"] + k.gradient(s["x"])
    return {"x": k.w @ (s["x"] - LR * u), "m": k.w @ u}


def qg_dmsgd(s, k):
    x = k.w @ (s["x"] - LR * (BETA * s["m"] + k.gradient(s["x"])))
    return {"x": x, "m": BETA * s["m"] + (1 - BETA) * (s["x"] - x) / LR}


def extra(s, k):
    x = k.w @ s["x"] - LR * (k.gradient(s["x"]) + s["m"])
    return {"x": x, "m": s["m"] + (s["x"] - k.w @ s["x"]) / (2 * LR)}


def d2_dmsgd(s, k, momentum=BETA):
    m = momentum * s["m"] + k.gradient(s["x"])
    return {"x": k.w @ (2 * s["x"] - s["start"] - LR * (m - s["m"])), "start": s["x"], "m": m}


def d2(s, k):
    return d2_dmsgd(s, k, momentum=0.0)


def shrunk(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def nids(s, k):
    g, v = k.gradient(s["x"]), (np.eye(N) + k.w) / 2
    z = s["z"] - s["x"] + v @ (2 * s["x"] - s["start"] - LR * (g - s["v"]))
    return {"x": shrunk(z, LR * 0.1), "start": s["x"], "z": z, "v": g}


def proximal_dsgd(s, k):
    return {"x": shrunk(k.w @ (s["x"] - LR * k.gradient(s["x"])), LR * 0.1)}


def slow_mo(s, k):
    base = dmsgd(s, k)
    if k.k % 3 < 2:
        return base
    u = 0.3 * s["v"] + (s["start"] - k.average(base["x"])) / LR
    x = s["start"] - 0.7 * LR * u
    return {"x": x, "start": x, "v": u, "m": base["m"]}


METHODS: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "DSGD": (simlab.DSGD(LR), dsgd, ("double", "row")),
    "DSGD, cta": (simlab.DSGD(LR, "cta"), dsgd_cta, ("double", "row")),
    "DmSGD": (simlab.DmSGD(LR, BETA), dmsgd, ("double", "row")),
    "DecentLaM": (simlab.DecentLaM(LR, BETA), decentlam, ("double", "row")),
    "tracking": (simlab.GradientTracking(LR), tracking, ("double",)),
    "PmSGD": (simlab.PmSGD(LR, BETA), pmsgd, ("double", "row")),
    "LocalSGD": (simlab.LocalSGD(LR, 3, BETA), local_sgd, ("double", "row")),
    "GossipPGA": (simlab.GossipPGA(LR, 4), gossip_pga, ("double", "row")),
    "SGP": (simlab.SGP(LR, BETA), sgp, ("double", "column")),
    "OSGP": (simlab.SGP(LR, BETA, overlap=True), osgp, ("double", "column")),
    "SubgradientPush": (simlab.SubgradientPush(LR), subgradient_push, ("double", "column")),
    "PushDIGing": (simlab.PushDIGing(LR), push_diging, ("double", "column")),
    "AWCDmSGD": (simlab.AWCDmSGD(LR, BETA), awc_dmsgd, ("row",)),
    "DADmSGD": (simlab.DADmSGD(LR, BETA), da_dmsgd, ("row",)),
    "QGDmSGD": (simlab.QGDmSGD(LR, BETA), qg_dmsgd, ("double", "row")),
    "EXTRA": (simlab.EXTRA(LR), extra, ("symmetric",)),
    "D2": (simlab.D2(LR), d2, ("lazy",)),
    "D2DmSGD": (simlab.D2DmSGD(LR, BETA), d2_dmsgd, ("lazy",)),
    "NIDS": (simlab.NIDS(LR, 0.1), nids, ("symmetric",)),
    "ProximalDSGD": (simlab.ProximalDSGD(LR, 0.1), proximal_dsgd, ("row",)),
    "SlowMo": (simlab.SlowMo(simlab.DmSGD(LR, BETA), 3, 0.3, 0.7), slow_mo, ("row",)),
    "ADPSGD": (simlab.ADPSGD(LR), adpsgd, ("double", "row", "asynchronous")),
}
CASES = [(name, kind) for name, (_, _, kinds) in METHODS.items() for kind in kinds]


def process(kind: str) -> NetworkProcess:
    return (
        Weather("row", fires=0.7)
        if kind == "asynchronous"
        else Weather("double" if kind in ("symmetric", "lazy") else kind)
    )


def replay(rule: Any, network: Any, steps: int, seed: int, replicate: int, batch: int | None, std: float) -> np.ndarray:
    """The method's formulas on the path that the run must see, with its random numbers, in double precision."""
    path, stream = network.sample(steps, seed=seed, replicate=replicate), Stream(seed, replicate)
    used = int(path.awake.sum())
    indices = None if batch is None else stream.indices(1, used, batch, M)[0]
    noise = stream.noise(1, used, D, std, np.dtype(float))[0] if std else None
    state = {name: np.zeros((N, D)) for name in ("m", "v")}
    state |= {"x": X0, "start": X0, "z": X0, "one": np.ones((N, 1))}
    row = 0
    for k in range(steps):
        awake = np.flatnonzero(path.awake[k])
        mine = dict(zip(awake, range(row, row + len(awake)), strict=True))
        row += len(awake)

        def gradient_at(x: np.ndarray, k: int = k, mine: dict[int, int] = mine) -> np.ndarray:
            g = np.zeros((N, D))
            for i, u in mine.items():
                if path.fires[k, i]:
                    which = slice(None) if indices is None else indices[u]
                    a, b = PROBLEM.features[i, which], PROBLEM.targets[i, which]
                    g[i] = a.T @ (a @ x[i] - b) / len(b) + PROBLEM.l2 * x[i] + (0 if noise is None else noise[u])
            return g

        step = Step(path[k], path.awake[k], path.fires[k][:, None], gradient_at, k)
        new = rule(state, step)
        state |= {name: np.where(step.awake[:, None], value, state[name]) for name, value in new.items()}
    return state["x"]


def check(name: str, kind: str, engine: str, seed: int, batch: int | None, std: float, steps: int = 13) -> None:
    algorithm, rule, _ = METHODS[name]
    network = process(kind)
    trace = simulate(
        PROBLEM, network, algorithm, steps=steps, batch_size=batch, noise_std=std, seed=seed, replicates=2, x0=X0,
        engine=engine, record_every=4, progress=False,
    )  # fmt: skip
    for r in range(2):
        expected = replay(rule, network, steps, seed, r, batch, std)
        np.testing.assert_allclose(trace.x[r], expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(seed=st.integers(0, 2**16), batch=st.sampled_from([None, 2, 3]), std=st.sampled_from([0.0, 0.3]))
@settings(max_examples=3)
def test_both_engines_replay_the_path(name: str, kind: str, seed: int, batch: int | None, std: float) -> None:
    for engine in TWO:
        check(name, kind, engine, seed, batch, std)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
@given(seed=st.integers(0, 2**16), batch=st.sampled_from([None, 2, 3]), std=st.sampled_from([0.0, 0.3]))
@settings(max_examples=50)
def test_both_engines_replay_many_paths(name: str, kind: str, seed: int, batch: int | None, std: float) -> None:
    check(name, kind, "numpy", seed, batch, std)
    check(name, kind, "compiled", seed, batch, std)


@pytest.mark.parametrize(("name", "kind"), [("tracking", "double"), ("SGP", "column"), ("ADPSGD", "asynchronous")])
def test_compiled_replays_the_path(name: str, kind: str) -> None:
    check(name, kind, "compiled", 3, 2, 0.3, steps=40)


PROCESSES = {
    "cycle": lambda: dynamics.cycle([topologies.ring(N, lazy=True), topologies.grid(N, lazy=True)]),
    "every": lambda: dynamics.every(topologies.ring(N), 3),
    "choice": lambda: dynamics.choice([topologies.ring(N, lazy=True), topologies.grid(N, lazy=True)], [0.3, 0.7]),
    "link_failures": lambda: dynamics.link_failures(topologies.grid(N), 0.4),
    "bursts": lambda: dynamics.link_failures(topologies.grid(N), 0.4, burst=3.0),
    "one_sided": lambda: dynamics.link_failures(topologies.grid(N), 0.4, one_sided=True),
    "node_failures": lambda: dynamics.node_failures(topologies.grid(N), 0.4),
    "matchings": lambda: dynamics.matchings(topologies.grid(N), 0.5),
    "pairwise": lambda: dynamics.pairwise(topologies.grid(N)),
    "groups": lambda: dynamics.groups(N, 2),
    "one_peer": lambda: dynamics.one_peer_exponential(N),
    "asynchronous": lambda: dynamics.asynchronous(topologies.grid(N)),
    "directed": lambda: dynamics.cycle([topologies.directed_ring(N)]),
}
built = functools.cache(lambda name: PROCESSES[name]())
FIT = {"one_sided": ("row",), "asynchronous": ("asynchronous",), "one_peer": ("double",), "directed": ("double",)}


@pytest.mark.parametrize("process_name", PROCESSES)
@given(data=st.data(), seed=st.integers(0, 2**16))
@settings(max_examples=6)
def test_every_process_is_replayed(process_name: str, data: Any, seed: int) -> None:
    kinds = FIT.get(process_name, ("double", "symmetric"))
    name = data.draw(st.sampled_from([name for name, (_, _, fit) in METHODS.items() if set(fit) & set(kinds)]))
    algorithm, rule, _ = METHODS[name]
    network = built(process_name)
    options = {"steps": 15, "batch_size": 2, "noise_std": 0.1, "seed": seed, "x0": X0, "progress": False}
    expected = replay(rule, network, 15, seed, 0, 2, 0.1)
    for engine in TWO:
        trace = simulate(PROBLEM, network, algorithm, engine=engine, **options)
        np.testing.assert_allclose(trace.x[0], expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


# What a run costs.


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_costs_are_counted(name: str, kind: str) -> None:
    algorithm, _, _ = METHODS[name]
    network, steps, bits = process(kind), 17, 64
    trace = simlab.simulate(PROBLEM, network, algorithm, steps=steps, seed=2, engine="numpy", progress=False)
    path = network.sample(steps, seed=2)
    numbers = {
        "tracking": 2 * D,
        "DADmSGD": 2 * D,
        "SGP": D + 1,
        "OSGP": D + 1,
        "SubgradientPush": D + 1,
        "PushDIGing": 2 * D + 1,
    }
    averages: dict[str, Any] = {
        "PmSGD": lambda k: True,
        "LocalSGD": lambda k: k % 3 == 2,
        "GossipPGA": lambda k: k % 4 == 3,
    }
    extra = {"SlowMo": lambda k: k % 3 == 2}  # an average beside the exchange
    payload = received = gradients = 0
    for k in range(steps):
        links = path.exchanges
        block = slice(*links.start[links.which[k] : links.which[k] + 2])
        heard = links.receivers[block]
        averaged = name in averages and averages[name](k)
        if averaged or (name in extra and extra[name](k)):
            payload += 2 * max(len(heard) - 1, 0) * D * bits
            received += 2 * max(len(heard) - 1, 0) * D * bits
        if not averaged and name not in ("PmSGD", "LocalSGD"):
            payload += int((heard > 0).sum()) * numbers.get(name, D) * bits
            received += int(heard.sum()) * numbers.get(name, D) * bits
        gradients += int(path.fires[k].sum())
        row = trace.frame.iloc[k + 1]
        assert (row["payload_bits"], row["bits"], row["gradients"]) == (payload, received, gradients)


class Sending(NamedTuple):
    """Compressed gossip without replicas: what is decoded is mixed."""

    lr: float
    compressor: Any
    needs = "row"

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Batch) -> Any:
        q = compress(self.compressor, state.x - self.lr * gradient(problem, state.x, batch), batch)
        return type(state)(mix(network, q))


@pytest.mark.parametrize("engine", TWO)
def test_compressed_messages_cost_where_they_are_sent(engine: str) -> None:
    network, steps = Weather("double"), 20
    algorithm = Sending(0.05, simlab.compression.TopK(2))  # messages of one length
    trace = simulate(PROBLEM, network, algorithm, steps=steps, x0=X0, engine=engine, progress=False)
    one = simulate(PROBLEM, topologies.ring(N), algorithm, steps=1, x0=X0, engine=engine, progress=False)
    plain = N * D * 64  # the mix of the decoded is a message of its own
    size = (one.frame["payload_bits"].iloc[1] - plain) // N
    heard = network.sample(steps).exchanges
    sums = [heard.receivers[slice(*heard.start[b : b + 2])] for b in heard.which]
    for column, count in (("payload_bits", lambda r: (r > 0).sum()), ("bits", lambda r: r.sum())):
        expected = np.cumsum([count(r) * (size + D * 64) for r in sums])
        np.testing.assert_array_equal(trace.frame[column].iloc[1:], expected)


# A process that never changes is the network, bit for bit; chunks, lists and divergence are as on networks.


@pytest.mark.parametrize(
    ("algorithm", "engine"),
    [
        *itertools.product([simlab.DecentLaM(LR, BETA), simlab.LocalSGD(LR, 3), simlab.SGP(LR)], TWO),
        (simlab.DecentLaM(LR, BETA), "compiled"),
    ],
    ids=repr,
)
def test_nothing_fails_with_probability_0(engine: str, algorithm: Any) -> None:
    ring = topologies.ring(N)
    options = {"steps": 20, "batch_size": 2, "noise_std": 0.1, "replicates": 2, "engine": engine, "progress": False}
    static = simulate(PROBLEM, ring, algorithm, **options)
    for process in (dynamics.link_failures(ring, 0.0), dynamics.node_failures(ring, 0.0), dynamics.cycle([ring])):
        same = simulate(PROBLEM, process, algorithm, **options)
        assert same.frame.equals(static.frame)
        np.testing.assert_array_equal(same.x, static.x)


@pytest.mark.parametrize("engine", TWO)
def test_who_sleeps_always_keeps_the_start_and_costs_nothing(engine: str) -> None:
    asleep = dynamics.node_failures(topologies.ring(N), 1.0)
    for algorithm in (simlab.DmSGD(LR), simlab.PmSGD(LR)):
        with np.errstate(invalid="ignore"):  # an average over nobody
            trace = simulate(PROBLEM, asleep, algorithm, steps=9, x0=X0, engine=engine, progress=False)
        np.testing.assert_array_equal(trace.x[0], X0)
        assert not trace.frame[["bits", "payload_bits", "gradients"]].to_numpy().any()
    alone = dynamics.link_failures(topologies.ring(N), 1.0)
    trace = simulate(PROBLEM, alone, simlab.DSGD(LR), steps=9, x0=X0, engine=engine, progress=False)
    x = X0
    for _ in range(9):
        x = x - LR * PROBLEM.gradient(x)
    np.testing.assert_allclose(trace.x[0], x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize("kind", ["double", "asynchronous"])
def test_chunks_and_lists_change_nothing(engine: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithms = [simlab.ADPSGD(0.01), simlab.ADPSGD(0.02)]
    options = {"steps": 21, "noise_std": 0.1, "batch_size": 2, "replicates": 2, "record_every": 4, "engine": engine}
    runs = []
    for size in (1, 4, 1000):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        runs.append(simlab.simulate(PROBLEM, process(kind), algorithms, progress=False, **options))
    for traces in runs[1:]:
        for one, two in zip(runs[0], traces, strict=True):
            np.testing.assert_array_equal(one.x, two.x)
            assert one.frame.equals(two.frame)
    for trace, algorithm in zip(runs[0], algorithms, strict=True):
        alone = simlab.simulate(PROBLEM, process(kind), algorithm, progress=False, **options)
        np.testing.assert_allclose(alone.x, trace.x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_divergence_is_found_at_its_step(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    for size in (1, 1000):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        with pytest.warns(RuntimeWarning, match="diverged"):
            trace = simlab.simulate(
                PROBLEM,
                Weather("double"),
                simlab.LocalSGD(40.0, 3),
                steps=400,
                batch_size=2,
                engine=engine,
                progress=False,
            )
        steps.append((trace.diverged, len(trace.frame)))
    assert steps[0] == steps[1]


# Phases, the step's number, whole-number fields.


class Clockwork(NamedTuple):
    """Uses two phases, the number of the step, and a whole-number field as a count."""

    lr: float
    repeats: int
    needs = "row"

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Batch) -> Any:
        x = state.x
        for _ in range(self.repeats):
            x = x - self.lr / (1 + steps_taken(batch)) * gradient(problem, x, batch)
        if phase(batch, 4) == 1 or phase(batch, 6) == 5:
            x = mix(network, x)
        return type(state)(x)


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize("network", [topologies.ring(N), dynamics.link_failures(topologies.ring(N), 0.3)], ids=repr)
def test_phases_and_counters(engine: str, network: Any) -> None:
    trace = simlab.simulate(PROBLEM, network, Clockwork(0.1, 2), steps=30, x0=X0, engine=engine, progress=False)
    x, path = X0, network.sample(30)
    for k in range(30):
        for _ in range(2):
            x = x - 0.1 / (1 + k) * PROBLEM.gradient(x)
        if k % 4 == 1 or k % 6 == 5:
            x = path[k] @ x
    np.testing.assert_allclose(trace.x[0], x, rtol=0, atol=1e-12)
    sent = sum(k % 4 == 1 or k % 6 == 5 for k in range(30))
    assert trace.frame["bits"].iloc[-1] == sent * 2 * N * D * 64
    assert trace.frame["gradients"].iloc[-1] == 2 * 30 * N


class Slow(NamedTuple):
    lr: float
    period: int

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Batch) -> Any:
        return type(state)(mix(network, state.x) if phase(batch, self.period) == 0 else state.x * (1 - self.lr))


def test_phases_have_limits_and_predictions_say_so() -> None:
    with pytest.raises(ValueError, match="20000 phases"):
        simlab.simulate(PROBLEM, topologies.ring(N), Slow(0.1, 20_000), steps=3, progress=False)
    with pytest.raises(TypeError, match=r"Slow\.period = 2\.5 is not an integer"):
        simlab.simulate(PROBLEM, topologies.ring(N), Slow(0.1, 2.5), steps=3, progress=False)  # type: ignore[arg-type]


def test_replicas_go_stale() -> None:
    choco = simlab.ChocoSGD(LR, 0.1, simlab.compression.TopK(2))
    with pytest.raises((TypeError, ValueError), match=r"replicas.*DSGD"):
        simlab.simulate(PROBLEM, Weather("double"), choco, steps=3, progress=False)
