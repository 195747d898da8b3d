"""What a step hands to its operations is what happens, on every engine and in theory; or it is refused everywhere."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import simlab
import theory
from simlab.operations import average, compress, gradient, mix, mix_replicas, norm, zeros_like
from simlab.step.batch import Batch

N, D = 16, 3
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=8, dim=D, seed=1)
OTHER = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=8, dim=D, seed=2)
RING, COMPLETE = simlab.topologies.ring(N), simlab.topologies.complete(N)
ENGINES = ("compiled", "numpy")


class State(NamedTuple):
    x: Any
    m: Any


class Own:
    """A step with what it is given and what it brings; written once for all cases below."""

    lr: float

    def init(self, x: Any) -> State:
        return State(x, zeros_like(x))


def algorithm(function: Any, **fields: Any) -> Any:
    """An algorithm whose step is `function(self, state, problem, network, batch)`."""
    base = NamedTuple("Case", [("lr", float), *((name, Any) for name in fields)])
    kind = type("Case", (base,), {"init": Own.init, "step": function})
    return kind(0.05, **fields)


def run(method: Any, engine: str, **options: Any) -> simlab.Trace:
    options = {"steps": 12, "record_every": 4, "seed": 3, "progress": False, **options}
    return simlab.simulate(PROBLEM, RING, method, engine=engine, **options)


def over_another(self, state, problem, network, batch):
    x = state.x - self.lr * gradient(problem, state.x, batch)
    return State(mix(self.other, mix(network, x)) + 0 * state.m, state.m)


def test_a_second_network():
    """Mixed over the complete graph and the ring: as by hand, on both engines; messages go along each one's edges."""
    case = algorithm(over_another, other=COMPLETE)
    by_hand = np.zeros((N, D))
    for _ in range(12):
        by_hand = COMPLETE.weights @ (RING.weights @ (by_hand - 0.05 * PROBLEM.gradient(by_hand)))
    for engine in ENGINES:
        trace = run(case, engine)
        np.testing.assert_allclose(trace.x[0], by_hand, rtol=0, atol=1e-14)
        row = trace.frame.iloc[-1]
        assert row.payload_bits == 12 * 2 * N * D * 64
        assert row.bits == 12 * (2 * N + N * (N - 1)) * D * 64
    assert (
        theory.predict(PROBLEM, RING, case).consensus
        < 1e-25
        < theory.predict(PROBLEM, RING, simlab.DSGD(0.05)).consensus
    )
    assert theory.verify(run(case, "compiled", steps=40))["prediction, mse"].verdict == "holds"


def full_gradient_too(self, state, problem, network, batch):
    """The mean of a mini-batch's gradient and the full one."""
    both = gradient(problem, state.x, batch) + gradient(problem, state.x, Batch())
    return State(mix(network, state.x - self.lr * both / 2), both)


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_full_gradients_within_mini_batches(batch_size, noise_std):
    from simlab.step.streams import Stream

    stream, x = Stream(3, 0), np.zeros((N, D))
    indices = None if batch_size is None else stream.indices(12, N, batch_size, 8)
    noise = stream.noise(12, N, D, noise_std, np.dtype(float)) if noise_std else np.zeros((12, N, D))
    for k in range(12):
        drawn = PROBLEM.gradient(x, Batch(None if indices is None else indices[k])) + noise[k]
        x = RING.weights @ (x - 0.05 * (drawn + PROBLEM.gradient(x)) / 2)
    for engine in ENGINES:
        trace = run(algorithm(full_gradient_too), engine, batch_size=batch_size, noise_std=noise_std)
        np.testing.assert_allclose(trace.x[0], x, rtol=0, atol=1e-13)


def without_its_noise(self, state, problem, network, batch):
    quiet = gradient(problem, state.x, batch._replace(noise=None))
    return State(mix(network, state.x - self.lr * quiet), gradient(problem, state.x, batch) - quiet)


def test_a_batch_without_its_noise():
    one, two = (run(algorithm(without_its_noise), engine, noise_std=0.5, batch_size=3) for engine in ENGINES)
    np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(one.x, run(simlab.DSGD(0.05), "numpy", batch_size=3).x, rtol=0, atol=1e-13)


def foreign(change):
    """Cases that no engine takes: a step in which one operation gets what it was not given."""

    def step(self, state, problem, network, batch):
        return State(change(self, state, problem, network, batch), state.m)

    return step


REFUSED = {
    "problem": (
        lambda s, z, p, w, b: mix(w, z.x - s.lr * gradient(s.other, z.x, b)),
        "gradient was given LeastSquares",
    ),
    "no problem": (lambda s, z, p, w, b: mix(w, z.x - s.lr * gradient(None, z.x, b)), "gradient was given None"),
    "text": (lambda s, z, p, w, b: mix("banana", z.x), "mix was given 'banana'"),
    "problem as network": (lambda s, z, p, w, b: mix(p, z.x), "mix was given"),
    "smaller network": (lambda s, z, p, w, b: mix(simlab_ring_4, z.x), "there are 16 nodes"),
    "replicas": (lambda s, z, p, w, b: mix_replicas(COMPLETE, z.x), "mix_replicas was given"),
    "indices": (
        lambda s, z, p, w, b: z.x - s.lr * gradient(p, z.x, Batch(np.zeros((N, 1), int))),
        "batch.indices of its own",
    ),
    "noise": (
        lambda s, z, p, w, b: z.x - s.lr * gradient(p, z.x, Batch(noise=np.ones((N, D)))),
        "batch.noise of its own",
    ),
    "ledger": (lambda s, z, p, w, b: compress(simlab.compression.TopK(1), z.x, Batch()), "compress was given a batch"),
    "random numbers": (lambda s, z, p, w, b: z.x + np.random.default_rng().standard_normal(), "not a function of its"),
}
simlab_ring_4 = simlab.topologies.ring(4)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_on_every_engine(name):
    change, message = REFUSED[name]
    case = algorithm(foreign(change), other=OTHER)
    for engine in ENGINES:
        with pytest.raises(TypeError, match=message):
            run(case, engine)
    with pytest.raises(TypeError, match=message):
        theory.predict(PROBLEM, RING, case)


def in_place(self, state, problem, network, batch):
    x = state.x
    x += 1.0
    return State(mix(network, x - state.x), state.m)


def test_a_step_that_writes_into_its_state():
    """Traced, x += 1 makes a new array; NumPy's would change the state too, and so is refused."""
    for attempt in (
        lambda: run(algorithm(in_place), "numpy"),
        lambda: theory.predict(PROBLEM, RING, algorithm(in_place)),
    ):
        with pytest.raises(ValueError, match=r"Case.step writes into an array that it was given; write x = x \+ y"):
            attempt()


def unused(self, state, problem, network, batch):
    mix(network, state.x)
    norm(state.x)
    return State(average(state.x), state.m)


def test_what_no_state_depends_on_is_not_sent():
    """The average alone: a ring all-reduce of 2 (n − 1) messages' worth a step."""
    for engine in ENGINES:
        assert run(algorithm(unused), engine).frame.bits.iloc[-1] == 12 * 2 * (N - 1) * D * 64
