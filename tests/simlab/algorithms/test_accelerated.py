"""Accelerated gossip and gradients, and variance reduction: special cases, balances, limits, and that they pay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.operations import Batch, Polynomial, differences, mix, sample_table
from tests.helpers import algorithms, strategies
from tests.helpers.agreement import SETTING, assert_same
from tests.helpers.interpreted import ENGINES, simulate

STEPS = 12
NAMES = ("ChebyshevGossip", "SSDA", "GTSVRG", "GTSAGA", "GTSARAH", "DESTRESS", "AccDNGD", "APAPC")
PROBLEM, NETWORK = SETTING.objective.problem, SETTING.network
N, D = SETTING.x0.shape
RHO = float(NETWORK.rho)


def trace(algorithm: Any, problem: Any = PROBLEM, network: Any = NETWORK, **options: Any) -> Any:
    choices = {"steps": STEPS, "x0": SETTING.x0 if problem is PROBLEM else None, "engine": "numpy", "progress": False}
    return simulate(problem, network, algorithm, **choices | options)


@pytest.mark.parametrize("name", NAMES)
def test_engines_agree(name: str) -> None:
    options = {"replicates": 2, "record_every": 5, "batch_size": 3, "noise_std": 0.1}
    expected = trace(algorithms.forms(lr=0.05)[name], **options)
    assert_same(trace(algorithms.forms(lr=0.05)[name], engine="interpreted", **options), expected)


@given(seed=st.integers(0, 2**31), n=st.integers(2, 9), rounds=st.integers(1, 7))
@settings(max_examples=30)
def test_polynomials_are_chebyshevs(seed: int, n: int, rounds: int) -> None:
    """T_K(W/ρ)/T_K(1/ρ) by its eigenvalues, 1 on what is equal, at most 1/T_K(1/ρ) elsewhere; differences agree."""
    random = np.random.default_rng(seed)
    network = strategies.network(n, "metropolis", False, random)
    rho = max(network.rho, 1e-3)
    x = random.standard_normal((3, n, 2))
    values, vectors = np.linalg.eigh(np.asarray(network.weights))
    chebyshev = np.polynomial.chebyshev.Chebyshev.basis(rounds)
    spectrum = chebyshev(values / rho) / chebyshev(1 / rho)
    expected = (vectors * spectrum) @ (vectors.T @ x)
    polynomial = Polynomial(network, rounds, rho)
    np.testing.assert_allclose(mix(polynomial, x), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(differences(polynomial, x), expected - x, rtol=0, atol=1e-10)
    assert np.all(np.abs(spectrum[:-1]) <= 1 / chebyshev(1 / rho) + 1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_exchanges_of_polynomials_are_counted(engine: str) -> None:
    """K for each one of the base's, also of two in a step; path by path the base over the network of that matrix."""
    rounds = 4
    chebyshev = np.polynomial.chebyshev.Chebyshev.basis(rounds)
    values, vectors = np.linalg.eigh(np.asarray(NETWORK.weights))
    dense = simlab.Network.from_matrix((vectors * (chebyshev(values / RHO) / chebyshev(1 / RHO))) @ vectors.T)
    for base, exchanges in ((simlab.DecentLaM(0.1, 0.6), 1), (simlab.ExactDiffusion(0.1), 1), (simlab.DSGTHB(0.1), 2)):
        found = trace(simlab.ChebyshevGossip(base, rounds, RHO), engine=engine)
        np.testing.assert_allclose(found.x, trace(base, network=dense).x, rtol=0, atol=1e-11)
        assert found.frame.payload_bits.iloc[-1] == STEPS * rounds * exchanges * N * D * 64


CASES = {
    "Chebyshev of one": (simlab.ChebyshevGossip(simlab.DmSGD(0.1, 0.5), 1, RHO), simlab.DmSGD(0.1, 0.5)),
    "GT-SVRG, full": (simlab.GTSVRG(0.1, 4), simlab.GradientTracking(0.1)),
    "GT-SAGA, full": (simlab.GTSAGA(0.1), simlab.GradientTracking(0.1)),
    "GT-SARAH, full": (simlab.GTSARAH(0.1, 4), simlab.GradientTracking(0.1)),
    "DESTRESS, full": (simlab.DESTRESS(0.1, 1, RHO), simlab.GradientTracking(0.1)),
}


@pytest.mark.parametrize("name", CASES)
def test_special_cases(name: str) -> None:
    one, other = (trace(a) for a in CASES[name])
    np.testing.assert_allclose(one.x, other.x, rtol=0, atol=1e-12)


BALANCED = {
    "GTSVRG": (simlab.GTSVRG(0.1, 3), lambda s: s.y - s.v),
    "GTSAGA": (simlab.GTSAGA(0.1), lambda s: s.y - s.v),
    "GTSARAH": (simlab.GTSARAH(0.1, 3), lambda s: s.y - s.v),
    "DESTRESS": (simlab.DESTRESS(0.1, 3, RHO, 2, 3), lambda s: s.s - s.full),
    "AccDNGD": (simlab.AccDNGD(0.1, 0.25), lambda s: s.s - s.g),
    "APAPC": (simlab.APAPC.tuned(PROBLEM, NETWORK), lambda s: s.dual),
    "SSDA": (simlab.SSDA.tuned(PROBLEM, NETWORK, 0.25), lambda s: s.dual),
}


@pytest.mark.parametrize("name", BALANCED)
def test_what_balances_over_the_nodes(name: str) -> None:
    """With mini-batches."""
    algorithm, part = BALANCED[name]
    random, state = np.random.default_rng(1), BALANCED[name][0].init(SETTING.x0)
    if name == "GTSAGA":
        state = state._replace(table=sample_table(PROBLEM, SETTING.x0))
    for k in range(8):
        batch = Batch(indices=random.integers(0, 9, (N, 2)), step=k)
        state = algorithm.step(state, PROBLEM, NETWORK, batch)
        np.testing.assert_allclose(part(state).mean(axis=0), 0, atol=1e-13)
    assert np.abs(part(state)).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "engine"),
    [*((name, "numpy") for name in ("GTSVRG", "GTSAGA", "GTSARAH", "DESTRESS")), ("GTSAGA", "compiled")],
)
def test_mini_batches_leave_no_error(name: str, engine: str) -> None:
    """Of two samples in nine; plain gradient tracking keeps the variance of its step size."""
    algorithm = {
        "GTSVRG": simlab.GTSVRG(0.05, 5),
        "GTSAGA": simlab.GTSAGA(0.05),
        "GTSARAH": simlab.GTSARAH(0.05, 5),
        "DESTRESS": simlab.DESTRESS(0.05, 5, RHO, 2, 2),
    }[name]
    options = {"batch_size": 2, "steps": 4000, "record_every": 4000, "engine": engine}
    assert trace(algorithm, **options).frame.mse.iloc[-1] < 1e-20
    if engine == "numpy":
        assert trace(simlab.GradientTracking(0.05), **options).frame.mse.iloc[-1] > 1e-5


EXACT = {
    "AccDNGD": simlab.AccDNGD(0.05, 0.25),
    "APAPC": simlab.APAPC.tuned(PROBLEM, NETWORK, strong_convexity=0.25),
    "SSDA": simlab.SSDA.tuned(PROBLEM, NETWORK, 0.25),
    "MSDA": simlab.ChebyshevGossip(simlab.SSDA.tuned(PROBLEM, NETWORK, 0.25, 3), 3, RHO),
    "OPAPC": simlab.ChebyshevGossip(simlab.APAPC.tuned(PROBLEM, NETWORK, 3, 0.25), 3, RHO),
}


@pytest.mark.parametrize(("name", "engine"), [*((name, "numpy") for name in EXACT), ("OPAPC", "compiled")])
def test_limit_is_the_minimizer(name: str, engine: str) -> None:
    x = trace(EXACT[name], steps=2500, record_every=2500, engine=engine).x[0]
    np.testing.assert_allclose(x - PROBLEM.minimizer, 0, atol=1e-10)


def ill_conditioned() -> Any:
    """Quadratics of condition number 1,000, each node with its own curvatures."""
    random = np.random.default_rng(3)
    curvature = np.concatenate([np.full((20, 1), 1e-3), random.uniform(0.5, 1.0, (20, 3))], axis=1)
    return simlab.Quadratic(curvature, random.standard_normal((20, 4)) * curvature)


def gap(problem: Any, network: Any, algorithm: Any, steps: int) -> float:
    frame = trace(algorithm, problem, network, steps=steps, record_every=steps, x0=np.zeros(4)).frame
    return float(frame.mse.iloc[-1] / frame.mse.iloc[0])


def test_acceleration_of_gradients_pays_where_conditions_are_bad() -> None:
    """√κ in place of κ: a thousand steps of either method against gradient tracking at 1/L on the same network."""
    problem, network = ill_conditioned(), simlab.topologies.complete(20)
    plain = gap(problem, network, simlab.GradientTracking(0.5), 1000)
    assert gap(problem, network, simlab.AccDNGD(0.1, 1e-3), 1000) < 1e-3 * plain
    assert gap(problem, network, simlab.APAPC.tuned(problem, network), 1000) < 1e-3 * plain


def test_acceleration_of_gossip_pays_on_a_ring() -> None:
    """OPAPC takes fewer gradients than APAPC for the same error, by more exchanges each."""
    problem, network = ill_conditioned(), simlab.topologies.ring(20)
    rounds = int(np.ceil(np.sqrt(1 / network.spectral_gap)))
    fast = simlab.ChebyshevGossip(simlab.APAPC.tuned(problem, network, rounds), rounds, float(network.rho))
    assert gap(problem, network, fast, 1000) < 1e-2 * gap(problem, network, simlab.APAPC.tuned(problem, network), 1000)


@pytest.mark.parametrize("rounds", [1, 4])
def test_dual_acceleration_is_as_fast_as_its_theorem_says(rounds: int) -> None:
    """SSDA and MSDA: the distance falls by 1 − 1/√(κχ) a step, over the second half of a run, and by little more."""
    random, network = np.random.default_rng(5), simlab.topologies.ring(12)
    problem = simlab.Quadratic(random.uniform(0.05, 1.0, (12, 6)), random.standard_normal((12, 6)))
    algorithm: Any = simlab.SSDA.tuned(problem, network, float(problem.diagonals.min()), rounds)
    gap = (1 - algorithm.momentum) / (1 + algorithm.momentum)
    if rounds > 1:
        algorithm = simlab.ChebyshevGossip(algorithm, rounds, float(network.rho))
    steps = int(12 / gap)
    mse = trace(algorithm, problem, network, steps=2 * steps, record_every=steps, x0=np.zeros(6)).frame.mse
    measured = 1 - (mse.iloc[2] / mse.iloc[1]) ** (1 / (2 * steps))
    assert gap < measured < 1.5 * gap


def test_bases_with_replicas_are_refused() -> None:
    algorithm = simlab.ChebyshevGossip(simlab.ChocoSGD(0.1, 0.3, simlab.compression.Identity()), 2, RHO)
    with pytest.raises(TypeError, match=r"differences_replicas|mix_replicas was given"):
        trace(algorithm, engine="compiled")
