"""Theory knows steps that are the same at all times, of arrays (n, d), on one symmetric W: what else it is asked."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import simlab
import theory
from simlab import dynamics, topologies
from theory.prediction import expected_errors
from theory.transfer import limit_residual

N, D = 6, 3
RING = topologies.ring(N)
PROBLEMS = {
    dim: simlab.LeastSquares.synthetic(n_nodes=N, n_samples=9, dim=dim, seed=0) for dim in (1, D)
}  # with d = 1 an array (n, 1) is like any other
ASKED: dict[str, Any] = {
    "predict": lambda problem, network, a: theory.predict(problem, network, a),
    "stability_limit": lambda problem, network, a: theory.stability_limit(problem, network, a),
    "stable_intervals": lambda problem, network, a: theory.stable_intervals(problem, network, a),
    "tune": lambda problem, network, a: theory.tune(problem, network, a, target=1e-3),
    "expected_errors": lambda problem, network, a: expected_errors(problem, network, a, 5),
    "limit_residual": lambda problem, network, a: limit_residual(problem, network, a, np.zeros((N, problem.dim))),
}
PHASES = r"same at all times: simulate this one|has no field lr"
NARROW = r"'w' of shape \(6, 1\), not \(6, 3\)|step (is|that is) not affine"
METHODS = {
    "LocalSGD": (simlab.LocalSGD(0.05, 3), PHASES),
    "GossipPGA": (simlab.GossipPGA(0.05, 3), PHASES),
    "SlowMo": (simlab.SlowMo(simlab.DSGD(0.05), 3), PHASES),
    "SGP": (simlab.SGP(0.05), NARROW),
    "SubgradientPush": (simlab.SubgradientPush(0.05), NARROW),
    "PushDIGing": (simlab.PushDIGing(0.05), NARROW),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("dim", PROBLEMS)
@pytest.mark.parametrize("name", METHODS)
def test_methods_that_are_not_one_affine_step(name: str, dim: int, asked: str) -> None:
    algorithm, message = METHODS[name]
    with warnings.catch_warnings(), pytest.raises((TypeError, ValueError), match=message):
        warnings.simplefilter("error")
        ASKED[asked](PROBLEMS[dim], RING, algorithm)


@pytest.mark.parametrize("name", METHODS)
def test_verdicts_on_them_say_what_is_not_judged(name: str) -> None:
    algorithm, _ = METHODS[name]
    trace = simlab.simulate(PROBLEMS[D], RING, algorithm, steps=20, engine="numpy", progress=False)
    report = theory.verify(trace)
    assert not any(row.verdict == "violated" for row in report.rows)
    predicted = [row for row in report.rows if row.theorem.startswith("prediction")]
    assert all(row.verdict == "not applicable" for row in predicted) and len(predicted) == 2


NETWORKS = {
    "changes from step to step": dynamics.link_failures(RING, 0.3),
    "is not symmetric": topologies.directed_ring(N),
}


@pytest.mark.parametrize("why", NETWORKS)
def test_networks_that_are_not_one_symmetric_matrix(why: str) -> None:
    network, algorithm = NETWORKS[why], simlab.DSGD(0.05)
    for question in ASKED.values():
        with pytest.raises(ValueError, match=rf"network = .* {why}, .*one fixed symmetric W; pass"):
            question(PROBLEMS[D], network, algorithm)
    trace = simlab.simulate(PROBLEMS[D], network, algorithm, steps=20, engine="numpy", progress=False)
    with pytest.raises(ValueError, match=rf"network = .* {why}, .*one fixed symmetric W; pass"):
        theory.verify(trace)


def test_asynchronous_sgd_on_a_network_is_dsgd() -> None:
    """Where every node fires, the copy that gradients are taken at is x itself."""
    one, two = (
        theory.predict(PROBLEMS[D], RING, a, noise_std=0.1) for a in (simlab.ADPSGD(0.05), simlab.DSGD(0.05, "cta"))
    )
    assert one.mse == pytest.approx(two.mse, rel=1e-10) and one.rate == pytest.approx(two.rate, rel=1e-10)
