"""Runs on networks that change, and steps with phases: what they cost, how they are cut, where they diverge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

import simlab
from simlab import dynamics, simulation, topologies
from simlab.engine.compiled import CompiledEngine
from simlab.network import Exchanges, NetworkProcess
from simlab.operations import average, compress, fires, gradient, mix, mix_replicas, per_node, phase, steps_taken, where
from simlab.run.settings import ENGINES
from simlab.schedules import InverseSqrt
from tests.helpers.interpreted import interpreted

N, D, M = 6, 3, 8
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=M, dim=D, seed=3)
RING = topologies.ring(N)
PUSH = topologies.random_digraph(N, 0.5, seed=1)
X0 = np.random.default_rng(0).standard_normal((N, D))
HOST = ENGINES[:2]
# Of the interpreted programs, which average over nobody in threads of their own; compiled ones do not warn.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in .*divide")
COLUMNS = ["payload_bits", "bits", "gradients"]


def run(algorithm: Any, network: Any = RING, problem: Any = PROBLEM, **choices: Any) -> Any:
    """`simlab.simulate`, the compiled programs interpreted."""
    with interpreted():
        return simlab.simulate(problem, network, algorithm, **{"steps": 12, "progress": False, **choices})


def costs(trace: Any) -> list[tuple[int, ...]]:
    """Bits sent once, bits received, gradients: of each step."""
    return [tuple(row) for row in np.diff(trace.frame[COLUMNS].to_numpy(np.int64), axis=0).tolist()]


class Script(NetworkProcess):
    """Six steps over and over, written by hand: one for all, one for a pair, one for nobody, two alone, one half."""

    WHO = ([0, 1, 2, 3, 4, 5], [1, 4], [], [2, 5], [0, 1, 2], [0, 1, 2, 3, 4, 5])
    SENT = ([1] * 6, [1, 1], [], [0, 0], [2, 0, 1], [0, 0, 0, 0, 0, 5])  # by each of them, to so many others

    def __init__(self) -> None:
        super().__init__(N, "script", asynchronous=True)

    def walk(self, random: np.random.Generator) -> Any:
        done = 0

        def draw(steps: int) -> Exchanges:
            nonlocal done
            at = [(done + k) % 6 for k in range(steps)]
            done += steps
            w, awake, fires_, receivers = np.zeros((6, N, N)), *np.zeros((3, 6, N), int)
            for k, (who, sent) in enumerate(zip(self.WHO, self.SENT, strict=True)):
                w[k] = np.eye(N)
                if k != 3 and who:
                    w[k][np.ix_(who, who)] = 1 / len(who)
                awake[k, who], receivers[k, who] = 1, sent
                fires_[k, who[1:]] = 1  # all but the first
            return Exchanges.of(w[at], awake[at] > 0, fires_[at] > 0, receivers[at])

        return draw


class State(NamedTuple):
    x: Any
    w: Any


class Passes(NamedTuple):
    """A wide and a narrow message, then their averages, a gradient of the batch and one of all samples."""

    lr: float
    needs = "row"
    asynchronous = True

    def init(self, x: Any) -> State:
        return State(x, per_node(x, 1.0))

    def step(self, state: State, problem: Any, network: Any, batch: Any) -> State:
        x = average(mix(network, state.x)) - self.lr * gradient(problem, state.x, batch)
        return State(x, average(mix(network, state.w)))


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_costs_of_a_script(engine: str, dtype: str) -> None:
    trace = run(Passes(0.1), Script(), steps=12, engine=engine, dtype=dtype, x0=X0)
    message, alone = (D + 1) * int(dtype[-2:]), 0
    by_hand = [  # messages sent, messages received, awake less one twice: a ring all-reduce; gradients
        ((6 + 10) * message, (6 + 10) * message, 5),
        ((2 + 2) * message, (2 + 2) * message, 1),
        (alone, alone, 0),
        (2 * message, 2 * message, 1),
        ((2 + 4) * message, (3 + 4) * message, 2),
        ((1 + 10) * message, (5 + 10) * message, 5),
    ]
    assert costs(trace) == 2 * by_hand


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("every", [1, 5])
def test_costs_of_phases_on_a_network_that_does_not_change(engine: str, every: int) -> None:
    exchange, all_reduce = (6 * D * 64, 12 * D * 64), (10 * D * 64, 10 * D * 64)
    # What is sent in each phase, and the steps' sums where they are recorded.
    for algorithm, phases in {
        simlab.LocalSGD(0.1, 4): [(0, 0), (0, 0), (0, 0), all_reduce],
        simlab.GossipPGA(0.1, 3): [exchange, exchange, all_reduce],
        simlab.SlowMo(simlab.LocalSGD(0.1, 2), 3): [
            (0, 0), all_reduce, all_reduce, all_reduce, (0, 0), tuple(2 * b for b in all_reduce),
        ],
    }.items():  # fmt: skip
        trace = run(algorithm, steps=13, record_every=every, engine=engine)
        sums = np.cumsum([(0, 0), *(phases[k % len(phases)] for k in range(13))], axis=0)
        steps = trace.frame["step"].to_numpy()
        np.testing.assert_array_equal(trace.frame[["payload_bits", "bits"]], sums[steps])
        np.testing.assert_array_equal(trace.frame["gradients"], N * steps)


class Counted(NamedTuple):
    """A compressor of messages whose lengths tell the nodes and the numbers in a message apart."""

    def compress(self, x: Any, dither: Any) -> tuple[Any, Any]:
        assert dither.shape == x.shape
        return x, np.broadcast_to(100 * x.shape[-1] + np.arange(x.shape[-2]), x.shape[:-1])

    def kernel(self, dim: int) -> simlab.Kernel:
        return simlab.Kernel((counted_row,), (np.int64(dim),))


def counted_row(i, x, dither, out, dim):  # type: ignore[no-untyped-def]
    for j in range(x.shape[0]):
        out[j] = x[j]
    return 100 * dim + i


class Compressed(NamedTuple):
    """Both states compressed, in every third step the narrow one alone."""

    lr: float
    needs = "row"
    asynchronous = True

    def init(self, x: Any) -> State:
        return State(x, per_node(x, 1.0))

    def step(self, state: State, problem: Any, network: Any, batch: Any) -> State:
        x = state.x if phase(batch, 3) == 2 else compress(Counted(), state.x, batch)
        return State(x, compress(Counted(), state.w, batch))


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("every", [1, 4])
def test_costs_of_compressed_messages(engine: str, every: int) -> None:
    by_hand = np.zeros((13, 2), int)
    for k in range(12):
        for i, receivers in zip(Script.WHO[k % 6], Script.SENT[k % 6], strict=True):
            bits = 100 + i + (0 if k % 3 == 2 else 300 + i)
            by_hand[k + 1] += bits * (receivers > 0), bits * receivers
    trace = run(Compressed(0.1), Script(), engine=engine, record_every=every)
    np.testing.assert_array_equal(trace.frame[["payload_bits", "bits"]], np.cumsum(by_hand, axis=0)[::every])


@pytest.mark.parametrize("engine", HOST)
def test_who_is_asleep_keeps_every_bit(engine: str) -> None:
    traces = [run(Passes(0.1), Script(), steps=k, engine=engine, x0=X0) for k in range(7)]
    for k in range(6):
        asleep = np.setdiff1d(np.arange(N), Script.WHO[k])
        np.testing.assert_array_equal(traces[k + 1].x[0, asleep], traces[k].x[0, asleep])
        assert all((traces[k + 1].x[0, i] != traces[k].x[0, i]).any() for i in Script.WHO[k])


# How runs are cut: into chunks, records and lists.

LIST = [simlab.SlowMo(simlab.DmSGD(lr, 0.5), 3) for lr in (0.02, InverseSqrt(0.1), 0.05)]
LISTS = {
    "SlowMo": (LIST, dynamics.node_failures(topologies.grid(N), 0.4)),
    "SGP": ([simlab.SGP(0.02, 0.3), simlab.SGP(InverseSqrt(0.1))], dynamics.link_failures(RING, 0.4, burst=3.0)),
    "ADPSGD": ([simlab.ADPSGD(0.02), simlab.ADPSGD(InverseSqrt(0.1))], dynamics.asynchronous(RING)),
}


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lists_and_chunks(engine: str, name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithms, network = LISTS[name]
    choices = {
        "steps": 23, "batch_size": 2, "noise_std": 0.2, "replicates": 2, "seed": 4, "engine": engine, "dtype": dtype,
        "x0": X0, "record_every": 5,
    }  # fmt: skip
    whole = run(algorithms, network, **choices)
    for size, threads in ((1, 1), (4, 3)):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        monkeypatch.setattr(simulation, "THREADS", threads)
        for one, two in zip(whole, run(algorithms, network, **choices), strict=True):
            assert one.frame.equals(two.frame)
            np.testing.assert_array_equal(one.x, two.x)
    for one, algorithm in zip(whole, algorithms, strict=True):
        alone = run(algorithm, network, **choices)
        np.testing.assert_allclose(alone.x, one.x, rtol=0, atol=1e-13 if dtype == "float64" else 1e-5)
        assert alone.frame[COLUMNS].equals(one.frame[COLUMNS])
        assert one.x.dtype == dtype
    single = run(algorithms[0], network, **{**choices, "replicates": 1})
    np.testing.assert_array_equal(single.x[0], run(algorithms[0], network, **choices).x[0])


def test_one_precision_follows_the_other() -> None:
    algorithms, network = LISTS["SlowMo"]
    one, two = (run(algorithms[0], network, dtype=dtype, x0=X0).x for dtype in ("float64", "float32"))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("engine", HOST)
def test_divergence_within_a_chunk(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of settings and replicates that diverge at different steps, each trace ends before; the others go on."""
    algorithms = [simlab.LocalSGD(lr, 3) for lr in (0.05, 30.0, 90.0)]
    network = dynamics.node_failures(topologies.grid(N), 0.6)
    choices = {"steps": 150, "replicates": 2, "batch_size": 2, "engine": engine, "x0": X0}
    found = []
    for size in (1, 1000):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        with pytest.warns(RuntimeWarning, match="LocalSGD.*diverged at step"):
            found.append(run(algorithms, network, **choices))
    for step_by_step, at_once in zip(*found, strict=True):
        assert step_by_step.diverged == at_once.diverged
        assert step_by_step.frame.equals(at_once.frame)
    for trace, many in zip(found[1], (0, 2, 2), strict=True):
        assert len(trace.diverged) == many
        for replicate in range(2):
            mine = trace.frame[trace.frame["replicate"] == replicate]
            assert mine["step"].max() == trace.diverged.get(replicate, 151) - 1
            assert np.isfinite(mine[["mse", "consensus"]].to_numpy()).all()


@pytest.mark.parametrize("name", ["SlowMo", "ADPSGD"])
def test_interruption_leaves_whole_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (algorithm, *_), network = LISTS[name]
    choices = {"noise_std": 0.1, "replicates": 3, "seed": 8, "x0": X0}
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 5)
    monkeypatch.setattr(simulation, "THREADS", 1)
    plan, calls = CompiledEngine.plan, []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(None)
        planned = plan(self, *arguments)
        return planned._replace(jobs=[planned.jobs[0], interrupt, planned.jobs[2]]) if len(calls) == 3 else planned

    with monkeypatch.context() as patch:
        patch.setattr(CompiledEngine, "plan", interrupted)
        with pytest.raises(simlab.SimulationInterrupted, match="interrupted after step 6") as caught:
            run(algorithm, network, steps=100, **choices)
    (trace,), complete = caught.value.traces, run(algorithm, network, steps=6, **choices)
    np.testing.assert_array_equal(trace.x, complete.x)
    assert trace.frame[[*COLUMNS, "mse"]].equals(complete.frame[[*COLUMNS, "mse"]])


# A process that never changes is the network.


class Always(NetworkProcess):
    """The same W in every step, from one stored block."""

    def __init__(self, network: simlab.Network) -> None:
        super().__init__(network.n_nodes, "always", network=network, smallest_eigenvalue=network.smallest_eigenvalue)

    def walk(self, random: np.random.Generator) -> Any:
        one = Exchanges.of(self.network.weights[None])
        return lambda steps: Exchanges(np.zeros(steps, int), *list(vars(one).values())[1:8])


ALL = [
    *(simlab.DSGD(0.05, order) for order in ("atc", "cta")), simlab.GossipPGA(0.05, 3), simlab.SlowMo(LIST[0].base, 4),
    simlab.SGP(0.05, 0.5, True), simlab.SubgradientPush(0.05), simlab.PushDIGing(0.05), simlab.ADPSGD(0.05),
    simlab.PmSGD(0.05), simlab.GradientTracking(0.05), simlab.D2(0.05), simlab.NIDS(0.05, 0.1), Compressed(0.05),
]  # fmt: skip


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("algorithm", ALL, ids=lambda a: type(a).__name__)
def test_what_never_changes_is_a_network(engine: str, algorithm: Any) -> None:
    ring = topologies.ring(N, lazy=True)
    choices = {"batch_size": 2, "noise_std": 0.1, "replicates": 2, "engine": engine, "x0": X0, "record_every": 4}
    one, two = (run(algorithm, network, **choices) for network in (ring, Always(ring)))
    np.testing.assert_array_equal(one.x, two.x)
    assert one.frame.equals(two.frame)


# Steps by their number.


class Several(NamedTuple):
    """Phases of periods 4, 6 and, only in some steps, 9; the number of the step; a whole-number field as a count."""

    lr: float
    local_steps: int

    def init(self, x: Any) -> Any:
        return simlab.DSGD(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        x, k = state.x, steps_taken(batch)
        for _ in range(self.local_steps):
            x = x - self.lr / (1 + k) * gradient(problem, x, batch)
        if phase(batch, 4) == 3:
            x = mix(network, x)
        if phase(batch, 6) == 5 and phase(batch, 9) != 2:
            x = average(x) + where(k > 20, 0.5, k / 40)
        return type(state)(x)


@pytest.mark.parametrize("engine", HOST)
def test_periods_that_are_asked_for_late(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 7)
    trace = run(Several(0.1, 3), steps=80, x0=X0, engine=engine)
    x, sums = X0, [(0, 0)]
    for k in range(80):
        for _ in range(3):
            x = x - 0.1 / (1 + k) * PROBLEM.gradient(x)
        bits = np.zeros(2, int)
        if k % 4 == 3:
            x, bits = RING.weights @ x, bits + N * D * 64 * np.array([1, 2])
        if k % 6 == 5 and k % 9 != 2:
            x, bits = np.tile(x.mean(axis=0), (N, 1)) + (0.5 if k > 20 else k / 40), bits + 2 * (N - 1) * D * 64
        sums.append(tuple(sums[-1] + bits))
    np.testing.assert_allclose(trace.x[0], x, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(trace.frame[["payload_bits", "bits"]], sums)
    np.testing.assert_array_equal(trace.frame["gradients"], 3 * N * np.arange(81))


def test_a_large_network_knows_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that share the nodes."""
    from simlab.engine import compiled

    monkeypatch.setattr(compiled, "LARGE", 0)
    monkeypatch.setattr(simulation, "THREADS", 2)
    monkeypatch.setattr(simulation, "next_size", lambda chunk, last: 3)

    class Slower(NamedTuple):
        lr: float

        def init(self, x: Any) -> Any:
            return simlab.DSGD(0.1).init(x)

        def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
            return type(state)(
                mix(network, state.x) - self.lr / (1 + steps_taken(batch)) * gradient(problem, state.x, batch)
            )

    one, two = (run(Slower(0.1), x0=X0, engine=engine).x for engine in HOST)
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("dim", [1, D])
@pytest.mark.parametrize("network", [RING, dynamics.asynchronous(RING)], ids=["static", "asynchronous"])
def test_who_fires_as_a_state(engine: str, dim: int, network: Any) -> None:
    class Fired(NamedTuple):
        lr: float
        needs = "row"
        asynchronous = True

        def init(self, x: Any) -> State:
            return State(x, per_node(x))

        def step(self, state: State, problem: Any, network: Any, batch: Any) -> State:
            return State(state.x + self.lr * state.w, where(fires(network), 1.0, 2.0))

    problem = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=M, dim=dim, seed=3)
    trace = run(Fired(0.5), network, problem, steps=30, engine=engine)
    path, x, w = network.sample(30), np.zeros(N), np.zeros(N)
    for k in range(30):
        x, w = (np.where(path.awake[k], a, b) for a, b in ((x + 0.5 * w, x), (np.where(path.fires[k], 1.0, 2.0), w)))
    np.testing.assert_array_equal(trace.x[0], np.tile(x[:, None], dim))


# Steps that cannot be traced: run on arrays, and counted while they run.


class Untraceable(NamedTuple):
    lr: float
    period: int
    other: Any = None  # a tuple, so that it is no schedule: another exchange, and its network
    needs = "row"

    def init(self, x: Any) -> State:
        return State(x, per_node(x, 1.0))

    def step(self, state: State, problem: Any, network: Any, batch: Any) -> State:
        x = np.tanh(state.x - self.lr * gradient(problem, state.x, batch))
        if phase(batch, self.period) == self.period - 1:
            x = mix(network, x) + 0 * average(state.w)
        if self.other is not None:
            exchange, network_of_its_own = self.other
            x = exchange(network_of_its_own, x)
        return State(x, mix(network, state.w))


@pytest.mark.parametrize("network", [RING, dynamics.cycle([RING])], ids=["static", "cycle"])
def test_costs_of_what_cannot_be_traced(network: Any) -> None:
    trace = run(Untraceable(0.1, 3), network, steps=7, engine="numpy", x0=X0)
    weights = N * 64, 2 * N * 64, N
    rest = N * D * 64 + 10 * 64, 2 * N * D * 64 + 10 * 64, 0
    assert costs(trace) == [tuple(np.add(weights, rest)) if k % 3 == 2 else weights for k in range(7)]
    timed = run(Untraceable(0.1, 3), network, steps=7, engine="numpy", cluster=simlab.Cluster(latency=1.0))
    assert (np.diff(timed.frame["time"]) > 0).all()


def test_what_cannot_be_traced_may_not_do_everything() -> None:
    failing = dynamics.link_failures(RING, 0.3)
    with pytest.raises(TypeError, match=r"Untraceable keeps replicas .* stale .*LinkFailures.*DSGD"):
        run(Untraceable(0.1, 1, (mix_replicas, RING)), failing, engine="numpy")
    with pytest.raises(TypeError, match=r"Untraceable\.step mixes over a network of its own"):
        run(Untraceable(0.1, 1, (mix, RING)), failing, engine="numpy")
    with pytest.raises(ValueError, match=r"Untraceable\.step has 20000 phases.*at most 10000.*smaller"):
        run(Untraceable(0.1, 20000), engine="numpy")


# Errors.


class Wrong(NamedTuple):
    """States of wrong shapes, from `init` or from `step`; what operations are given."""

    lr: float
    how: str
    needs = "row"

    def init(self, x: Any) -> State:
        shapes = {"two columns": x[..., :2], "one row": x[..., :1, :], "x narrow": x}
        return State(x[..., :1] if self.how == "x narrow" else x, shapes.get(self.how, per_node(x)))

    def step(self, state: State, problem: Any, network: Any, batch: Any) -> State:
        match self.how:
            case "w wide":
                return State(state.x, state.w + state.x)
            case "x from w":
                return State(state.w, state.w)
            case "gradient":
                return State(state.x - self.lr * gradient(problem, state.w, batch), state.w)
        return state


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("network", [RING, dynamics.link_failures(RING, 0.3)], ids=["static", "changing"])
def test_states_keep_their_shapes(engine: str, network: Any) -> None:
    for how in ("two columns", "one row", "x narrow"):
        with pytest.raises(TypeError, match=r"Wrong\.init returned State; .*one number a node"):
            run(Wrong(0.1, how), network, engine=engine)
    with pytest.raises(TypeError, match=r"Wrong\.step returned an array \(n, [d3]\) as w, which is \(n, 1\)"):
        run(Wrong(0.1, "w wide"), network, engine=engine)
    with pytest.raises(TypeError, match=r"Wrong\.step returned an array \(n, 1\) as x, which is \(n, [d3]\)"):
        run(Wrong(0.1, "x from w"), network, engine=engine)
    with pytest.raises(
        (TypeError, ValueError), match=r"gradient was given one number a node|x has shape .*a row a node"
    ):
        run(Wrong(0.1, "gradient"), network, engine=engine)


REFUSED = {
    "ChocoSGD": simlab.ChocoSGD(0.1, 0.1, simlab.compression.TopK(1)),
    "ChocoGossip": simlab.ChocoGossip(0.1, simlab.compression.TopK(1)),
    "MalcomPSGD": simlab.MalcomPSGD(0.1, 0.1, simlab.compression.TopK(1), 0.0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_replicas_need_a_network_that_does_not_change(name: str) -> None:
    with pytest.raises(ValueError, match=rf"LinkFailures.* changes, and {name} needs one that does not.*DSGD"):
        run(REFUSED[name], dynamics.link_failures(RING, 0.3))
    with pytest.raises(
        ValueError, match=r"changes, and SlowMo needs one that does not|SlowMo\.base = ChocoGossip.*no step size lr"
    ):
        run(simlab.SlowMo(REFUSED[name], 3), dynamics.link_failures(RING, 0.3))


def fields(links: Exchanges) -> list[Any]:
    """All arrays but the times."""
    return list(vars(links).values())[:8]


def steps_of(k: int, n: int = N) -> Exchanges:
    """k steps in which nothing is mixed."""
    return Exchanges.of(np.tile(np.eye(n), (k, 1, 1)))


def emptied(k: int) -> Exchanges:
    """k steps in which node 0 weighs nothing."""
    return Exchanges.of(np.tile(np.diag(np.arange(N) > 0).astype(float), (k, 1, 1)))


def rolled(k: int) -> Exchanges:
    """k steps, in the last of which all receive from node 0 alone."""
    matrices = np.tile(RING.weights, (k, 1, 1))
    matrices[-1] = np.eye(N)[0]
    return Exchanges.of(matrices)


def asleep(k: int) -> Exchanges:
    """k steps of nodes 0 and 1, the second one of which is said to be node 2."""
    w = np.tile(np.kron(np.eye(N // 2), np.full((2, 2), 0.5)), (k, 1, 1))
    pairs = Exchanges.of(w, awake=np.tile(np.arange(N) < 2, (k, 1)))
    return replace(pairs, indices=2 * pairs.indices)


WALKS: dict[str, tuple[str, Any]] = {
    "nothing": ("drew a NoneType; return simlab.Exchanges", lambda e, k: None),
    "short": (r"drew \d+ steps where \d+ were asked for", lambda e, k: e.part(0, k - 1)),
    "long": (r"drew \d+ steps where \d+ were asked for", lambda e, k: steps_of(k + 1)),
    "another size": ("drew rows from 0 to 8; 0 to 5 is in range", lambda e, k: steps_of(k, 9)),
    "a list": ("drew which as list of kind 'O'", lambda e, k: Exchanges(list(e.which), *fields(e)[1:])),
    "which": ("drew which from 9 to 9; 0 to 0", lambda e, k: Exchanges(e.which + 9, *fields(e)[1:])),
    "negative": ("drew indices from -1 to 4; 0 to 5", lambda e, k: Exchanges(*fields(e)[:6], e.indices - 1, e.weights)),
    "twice": ("do not ascend; sort", lambda e, k: Exchanges(*fields(e)[:2], 0 * e.rows, *fields(e)[3:])),
    "missing": ("give each row one", lambda e, k: Exchanges(*fields(e)[:3], e.fires[1:], *fields(e)[4:])),
    "entries": ("drew indptr from 0 to", lambda e, k: Exchanges(*fields(e)[:7], e.weights[1:])),
    "rest": ("not fire; pass asynchronous", lambda e, k: Exchanges(*fields(e)[:3], ~e.fires, *fields(e)[4:])),
    "sums": ("a row whose weights sum to 2, not 1", lambda e, k: Exchanges(*fields(e)[:7], 2 * e.weights)),
    "empty row": ("a row whose weights sum to 0, not 1", lambda e, k: emptied(k)),
    "columns": ("a column whose weights sum to .* say double=False, column=False if rows do", lambda e, k: rolled(k)),
    "asleep": ("a weight 0.5 of node 2 in a row of node 0, in a step in which it is asleep", lambda e, k: asleep(k)),
}  # fmt: skip


@pytest.mark.parametrize("engine", HOST)
@pytest.mark.parametrize("how", WALKS)
def test_walks_are_looked_at(how: str, engine: str) -> None:
    """An engine would read foreign memory, or run what is not meant."""
    message, spoil = WALKS[how]

    class Walk(NetworkProcess):
        def walk(self, random: np.random.Generator) -> Any:
            one = Exchanges.of(RING.weights[None])
            return lambda steps: spoil(Exchanges(np.zeros(steps, int), *fields(one)[1:]), steps)

    network = Walk(N, "walk")
    with pytest.raises((TypeError, ValueError), match=rf"Walk\.walk drew .*|{message}") as caught:
        simlab.simulate(PROBLEM, network, simlab.DSGD(0.1), steps=50, engine=engine, progress=False)
    assert caught.match(message)
    with pytest.raises((TypeError, ValueError), match=message):
        network.sample(5)
    with pytest.raises((TypeError, ValueError), match=message):
        simlab.dynamics.noise(network, 0.1).sample(5)


def test_columns_of_a_walk_are_added_up() -> None:
    """Node 4 gives all that it has to node 1 and receives nothing; node 0 sleeps at every other step."""
    up = np.ones((2, N), bool)
    up[1, 0] = False
    matrices = np.array([PUSH.weights, PUSH.weights])
    matrices[:, :, 4], matrices[:, 1, 4], matrices[:, 4] = 0.0, 1.0, 0.0
    matrices[~(up[:, :, None] & up[:, None, :])] = 0.0
    matrices += (1 - matrices.sum(axis=1))[:, None] * np.eye(N)

    class Walk(NetworkProcess):
        def walk(self, random: np.random.Generator) -> Any:
            both = Exchanges.of(matrices + self.excess * np.diag(np.arange(N) == 3), up)
            return lambda steps: replace(both, which=np.arange(steps) % 2)

    def network(excess: float) -> Walk:
        return Walk(N, "walk", double=False, symmetric=False, column=True, excess=excess)

    np.testing.assert_allclose(network(0.0).sample(5)[3].sum(axis=0), 1.0, rtol=1e-14)
    with pytest.raises(ValueError, match=r"Walk\.walk drew a column whose weights sum to 1\.25, not 1; .*column=False"):
        network(0.25).sample(5)


def test_times_that_were_promised() -> None:
    class Walk(NetworkProcess):
        def walk(self, random: np.random.Generator) -> Any:
            return lambda steps: Exchanges.of(np.tile(RING.weights, (steps, 1, 1)))

    with pytest.raises(ValueError, match="no time for each step, and keeps_time is set"):
        run(simlab.DSGD(0.1), Walk(N, "walk", keeps_time=True))
