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
PARAMETERS: dict[str, Any] = {
    "stability_limit": lambda problem, network, a: theory.stability_limit(problem, network, a),
    "stable_intervals": lambda problem, network, a: theory.stable_intervals(problem, network, a),
    "tune": lambda problem, network, a: theory.tune(problem, network, a, target=1e-3),
    "limit_residual": lambda problem, network, a: limit_residual(problem, network, a, np.zeros((N, problem.dim))),
}
ASKED: dict[str, Any] = PARAMETERS | {
    "predict": lambda problem, network, a: theory.predict(problem, network, a),
    "expected_errors": lambda problem, network, a: expected_errors(problem, network, a, 5),
}
PHASES = r"same at all times: simulate this one|has no field lr"
PERIODIC = {
    "LocalSGD": simlab.LocalSGD(0.05, 3),
    "GossipPGA": simlab.GossipPGA(0.05, 3),
    "SlowMo": simlab.SlowMo(simlab.DSGD(0.05), 3),
}
DIVIDING = {
    "SGP": simlab.SGP(0.05),
    "SubgradientPush": simlab.SubgradientPush(0.05),
    "PushDIGing": simlab.PushDIGing(0.05),
}
CASES = [(name, a, "limit_residual", PHASES) for name, a in PERIODIC.items()]
CASES += [("SlowMo", PERIODIC["SlowMo"], asked, "has no field lr") for asked in PARAMETERS if asked != "limit_residual"]


@pytest.mark.parametrize(("name", "algorithm", "asked", "message"), CASES)
@pytest.mark.parametrize("dim", PROBLEMS)
def test_methods_that_are_not_one_affine_step(name: str, algorithm: Any, asked: str, message: str, dim: int) -> None:
    with warnings.catch_warnings(), pytest.raises((TypeError, ValueError), match=message):
        warnings.simplefilter("error")
        ASKED[asked](PROBLEMS[dim], RING, algorithm)


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("network", [RING, topologies.random_digraph(N, 0.4, seed=1)], ids=["ring", "digraph"])
def test_verdicts_on_push_sum(name: str, network: Any) -> None:
    trace = simlab.simulate(
        PROBLEMS[D], network, DIVIDING[name], steps=20, noise_std=0.1, replicates=50, engine="numpy", progress=False
    )
    report = theory.verify(trace)
    assert not any(row.verdict == "violated" for row in report.rows)
    assert report["prediction, mse"].verdict == report["prediction, consensus"].verdict == "holds"


@pytest.mark.parametrize("name", DIVIDING)
def test_random_weights_of_push_sum_are_refused(name: str) -> None:
    digraphs = [topologies.random_digraph(N, 0.4, seed=seed) for seed in (1, 2)]
    with pytest.raises(ValueError, match=rf"makes {name}\.w random, by which the step divides"):
        theory.predict(PROBLEMS[D], dynamics.choice(digraphs, [0.5, 0.5]), DIVIDING[name])


NETWORKS = {
    "changes from step to step": dynamics.link_failures(RING, 0.3),
    "is not symmetric": topologies.directed_ring(N),
}


@pytest.mark.parametrize("why", NETWORKS)
def test_networks_that_are_not_one_symmetric_matrix(why: str) -> None:
    """The bias transfer function is about one that is; predictions, parameters and verdicts are about any."""
    network, algorithm = NETWORKS[why], simlab.DSGD(0.05)
    with pytest.raises(ValueError, match=rf"network = .* {why}, .*one fixed symmetric W; pass"):
        PARAMETERS["limit_residual"](PROBLEMS[D], network, algorithm)
    trace = simlab.simulate(PROBLEMS[D], network, algorithm, steps=20, replicates=200, engine="numpy", progress=False)
    report = theory.verify(trace)
    assert report["B1, bias"].verdict == "not applicable" and why in report["B1, bias"].reason
    assert report["prediction, mse"].verdict == "holds"


def test_networks_whose_law_is_not_known() -> None:
    """A process of one's own without `law`; compute times that are drawn by a function; too many outcomes."""

    class Mine(simlab.NetworkProcess):
        def walk(self, random: np.random.Generator) -> Any:
            return lambda steps: simlab.Exchanges.of(np.tile(np.eye(N), (steps, 1, 1)))

    for network, message in (
        (Mine(N, "mine"), r"write Mine\.law"),
        (dynamics.asynchronous(RING, lambda random, node: random.gamma(2.0)), r"write Asynchronous\.law"),
        (dynamics.link_failures(topologies.ring(20), 0.1, burst=2.0), r"20 links that fail in bursts"),
    ):
        algorithm = simlab.ADPSGD(0.05) if network.asynchronous else simlab.DSGD(0.05)
        problem = simlab.LeastSquares.synthetic(n_nodes=network.n_nodes, n_samples=9, dim=D, seed=0)
        with pytest.raises(ValueError, match=message):
            theory.predict(problem, network, algorithm)


def test_many_switches_are_predicted_where_few_act_together() -> None:
    """12 nodes that sleep, 12 links and two exchanges a step; but not an average over those who happen to be awake."""
    problem = simlab.LeastSquares.synthetic(n_nodes=12, n_samples=9, dim=1, seed=0)
    nodes, links = (make(topologies.ring(12), 0.1) for make in (dynamics.node_failures, dynamics.link_failures))
    assert theory.predict(problem, nodes, simlab.DSGD(0.01)).network_variance > 1e-8
    assert theory.predict(problem, links, simlab.GradientTracking(0.01)).mse < 1e-20
    with pytest.raises(ValueError, match=r"4096 outcomes, and theory lists 1024.*no polynomial of degree 4 in 12"):
        theory.predict(problem, nodes, simlab.LocalSGD(0.01, 2))


def test_asynchronous_sgd_on_a_network_is_dsgd() -> None:
    """Where every node fires, the copy that gradients are taken at is x itself."""
    one, two = (
        theory.predict(PROBLEMS[D], RING, a, noise_std=0.1) for a in (simlab.ADPSGD(0.05), simlab.DSGD(0.05, "cta"))
    )
    assert one.mse == pytest.approx(two.mse, rel=1e-10) and one.rate == pytest.approx(two.rate, rel=1e-10)
