"""The laws of simlab/protocols.py and theory/moments/protocol.py, once for every implementation.

That engines agree with each other, and quantizers' rows with their array forms, is in tests/simlab/engine and
tests/simlab/compression; that moments are those of simulations, in tests/theory.
"""

from __future__ import annotations

import numpy as np
import pytest

import simlab
from simlab import simulation
from simlab.step.batch import Batch
from tests.helpers import algorithms, strategies
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.dense import Dense
from theory.moments.krylov import Krylov
from theory.moments.modes import Modes
from theory.prediction import represent

N, D = 6, 4
RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((3, N, D))
LABELS, CLASSES = np.tile([-1.0, 1.0], (N, 5)), np.tile(np.arange(2), (N, 5))
FEATURES = RANDOM.standard_normal((N, 10, D))
OBJECTIVES = {
    "Quadratic": simlab.Quadratic(RANDOM.uniform(0.5, 1, (N, D)), RANDOM.standard_normal((N, D))),
    "LeastSquares": simlab.LeastSquares(FEATURES, RANDOM.standard_normal((N, 10)), l2=0.1),
    "LogisticRegression": simlab.LogisticRegression(FEATURES, LABELS, 0.1),
    "NonconvexLogistic": simlab.NonconvexLogistic(FEATURES, LABELS, 0.1),
}
OBJECTIVES["Surrogate"] = Surrogate.of(OBJECTIVES["LeastSquares"])
NETWORKS = {
    "dense": simlab.topologies.ring(N),
    "lazy": simlab.topologies.ring(N, lazy=True),
    "given": simlab.Network.from_matrix(np.full((N, N), 1 / N)),
    "sparse": simlab.topologies.ring(80),
}


def close(one, two):
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives(name):
    objective = OBJECTIVES[name]
    whole = objective.gradient(X)
    assert (objective.n_nodes, objective.dim) == (N, D)
    for r in range(len(X)):
        close(whole[r], objective.gradient(X[r]))
    moved = X.copy()
    moved[:, 2] += 1.0
    others = np.arange(N) != 2
    close(objective.gradient(moved)[:, others], whole[:, others])
    noise = RANDOM.standard_normal(X.shape)
    close(objective.gradient(X, Batch(noise=noise)), whole + noise)
    if objective.n_samples is not None:
        everything = np.broadcast_to(np.arange(objective.n_samples), (3, N, objective.n_samples))
        close(objective.gradient(X, Batch(everything)), whole)


@pytest.mark.parametrize("name", NETWORKS)
def test_mixing(name):
    network = NETWORKS[name]
    a, b = RANDOM.standard_normal((2, 3, network.n_nodes, D))
    mixed = network.mix(a)
    close(network.mix(2 * a - 3 * b), 2 * mixed - 3 * network.mix(b))
    close(mixed.mean(axis=-2), a.mean(axis=-2))
    close(network.mix(np.broadcast_to(a[:, :1], a.shape)), np.broadcast_to(a[:, :1], a.shape))
    close(mixed[1], network.mix(a[1]))
    close(mixed[..., 2:], network.mix(a[..., 2:]))


@pytest.mark.parametrize("label", algorithms.forms())
def test_algorithms(label):
    algorithm, problem, network = algorithms.forms()[label], OBJECTIVES["LeastSquares"], NETWORKS["lazy"]
    dither = np.random.default_rng(6).random((3, 4, N, D), dtype=np.float32)  # more than any step compresses

    def steps(x, dither):
        state = algorithm.init(x)
        for k in range(3):
            kept = [field.copy() for field in state]
            new = algorithm.step(state, problem, network, Batch(dither=dither, ledger=[], step=k))
            assert all(np.array_equal(field, before) for field, before in zip(state, kept, strict=True))
            assert type(new) is type(state)
            state = new
        return state

    start = algorithm.init(X)
    assert np.array_equal(start[0], X) and all(field.shape in (X.shape, (*X.shape[:-1], 1)) for field in start)
    together = steps(X, dither)
    for r in range(len(X)):
        for one, all_runs in zip(steps(X[r], dither[r]), together, strict=True):
            close(all_runs[r], one)


@pytest.mark.parametrize("runs", [1, 17])
@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_chunks(engine, runs, monkeypatch):
    """One chunk of many steps, or many chunks of one."""
    problem, network = strategies.objective("quadratic", N, D, 1, np.random.default_rng(8)).problem, NETWORKS["lazy"]
    options = {"steps": 9, "noise_std": 0.1, "record_every": 2, "replicates": runs, "engine": engine, "progress": False}
    states = []
    for size in (1, 1000):
        monkeypatch.setattr(simulation, "next_size", lambda chunk, last, size=size: size)
        states.append(simlab.simulate(problem, network, simlab.DecentLaM(0.1, 0.5), **options))
    np.testing.assert_array_equal(states[0].x, states[1].x)
    assert states[0].frame.equals(states[1].frame)


@pytest.mark.parametrize("label", algorithms.affine(0.1, 0.5))
def test_moments(label):
    random = np.random.default_rng(7)  # its own: the same problem whatever other tests draw
    shared = simlab.Quadratic(np.tile(random.uniform(0.5, 1, D), (N, 1)), random.standard_normal((N, D)))
    step = AffineStep(Surrogate.of(shared), NETWORKS["lazy"], algorithms.affine(0.1, 0.5)[label], X[0])
    modes = represent(step)
    assert isinstance(modes, Modes)
    limit = modes.fixed_point()
    np.testing.assert_allclose(step(limit), limit, rtol=0, atol=1e-11)
    for other in (Dense(step), Krylov(step)):
        assert other.rate == pytest.approx(modes.rate, rel=1e-5)
        assert other.drifts == modes.drifts
        np.testing.assert_allclose(other.fixed_point(), limit, rtol=0, atol=1e-9)
