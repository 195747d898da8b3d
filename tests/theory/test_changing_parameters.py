"""Step sizes, tuning and critical batches over networks that change, against predictions one by one."""

from __future__ import annotations

import itertools
from itertools import islice
from typing import Any

import numpy as np
import pytest

import simlab
import theory
from simlab import dynamics, topologies
from theory import stability
from theory.moments.changing import Changing
from theory.moments.noise import Noise
from theory.prediction import changes, long_run, settle_changing

N = 4
RING = topologies.ring(N, lazy=True)
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=9, dim=2, seed=0)
EQUAL = simlab.Quadratic(np.tile([1.0, 3.0], (N, 1)), np.random.default_rng(0).standard_normal((N, 2)))
NETWORKS: dict[str, Any] = {
    "links": dynamics.link_failures(RING, 0.3),
    "markov": dynamics.markov([RING, topologies.star(N)], [[0.9, 0.1], [0.3, 0.7]]),
    "every": dynamics.every(RING, 2),
    "pairwise": dynamics.pairwise(RING),
    "directed": topologies.directed_exponential(N),
}
METHODS: dict[str, Any] = {
    "DSGD": simlab.DSGD(9.0),
    "DmSGD": simlab.DmSGD(9.0, 0.5),
    "DecentLaM": simlab.DecentLaM(9.0, 0.5),
    "QGDmSGD": simlab.QGDmSGD(9.0, 0.5),
    "D2": simlab.D2(9.0),
    "LocalSGD": simlab.LocalSGD(9.0, 2),
}


def rate(network: Any, algorithm: Any, lr: float, problem: Any = PROBLEM) -> float:
    """In mean square, as `predict` has it; of what is at the border the covariance would not be found."""
    algorithm = algorithm._replace(lr=lr)
    start = np.zeros((N, 2))
    if not changes(network, algorithm, start):
        return theory.predict(problem, network, algorithm).rate
    silent = Noise(problem, None, 0.0)
    return long_run(settle_changing(problem, network, algorithm, start, silent), silent)[0]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_stable_intervals_end_where_the_mean_square_rate_crosses_one(network: str, method: str) -> None:
    problem = EQUAL if method == "DmSGD" or network in ("markov", "every") else PROBLEM
    w, algorithm = NETWORKS[network], METHODS[method]
    if network == "directed" and method == "D2":
        pytest.skip("refused")
    found = theory.stable_intervals(problem, w, algorithm)
    assert theory.stability_limit(problem, w, algorithm) == (found[0][1] if found and found[0][0] == 0 else 0.0)
    for lr in np.geomspace(0.011, 7.0, 6) / problem.smoothness:
        assert any(low < lr < high for low, high in found) == (rate(w, algorithm, lr, problem) < 1), (lr, found)
    for end in {end for pair in found for end in pair} - {0.0, np.inf}:
        assert rate(w, algorithm, end, problem) == pytest.approx(1.0, abs=1e-7)
        below, above = (rate(w, algorithm, factor * end, problem) for factor in (0.999, 1.001))
        assert (below - 1) * (above - 1) < 0


@pytest.mark.parametrize("method", ["DSGD", "DecentLaM"])
def test_the_walk_finds_what_the_polynomial_finds(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w, algorithm = NETWORKS["links"], METHODS[method]
    expected = theory.stable_intervals(PROBLEM, w, algorithm)
    monkeypatch.setattr(stability, "LIFTED", 0)
    assert np.allclose(theory.stable_intervals(PROBLEM, w, algorithm), expected, rtol=1e-7)


def test_the_lifted_step_has_the_mean_square_rate() -> None:
    """Of phases and modes side by side, and of the sum over links: against powers of the step itself."""
    silent, start = Noise(PROBLEM, None, 0.0), np.zeros((N, 2))
    for network, algorithm in itertools.product(NETWORKS.values(), METHODS.values()):
        if network is NETWORKS["directed"] or algorithm is METHODS["DmSGD"]:
            continue
        moments = settle_changing(PROBLEM, network, algorithm._replace(lr=0.3), start, silent)
        (matrix,) = moments.lift(silent)
        assert len(matrix) == moments.unknowns
        radius = np.max(np.abs(np.linalg.eigvals(matrix)))
        found = moments.mean_square_rate(silent)
        assert found == pytest.approx(radius**0.5, rel=1e-8), (network, algorithm)
        if isinstance(moments, Changing) and moments.period > 1:
            assert len(matrix) % moments.period == 0


def test_the_mean_may_be_stable_where_the_mean_square_is_not() -> None:
    """Two nodes, one of negative curvature: E W holds them together, a link that fails does not."""
    problem = simlab.Quadratic(np.array([[[3.0]], [[-0.5]]]), np.ones((2, 1)))
    network, algorithm = dynamics.link_failures(topologies.complete(2), 0.5), simlab.DecentLaM(9.0, 0.5)
    of_mean = theory.stable_intervals(problem, simlab.Network.from_matrix([[0.75, 0.25], [0.25, 0.75]]), algorithm)
    found = theory.stable_intervals(problem, network, algorithm)
    lr = 0.5
    assert any(low < lr < high for low, high in of_mean)
    assert not any(low < lr < high for low, high in found)


def test_small_steps_need_not_be_stable() -> None:
    """D2 where most links are down; and chance that drives what nothing pulls back."""
    problem = simlab.LeastSquares.synthetic(5, 20, 1, seed=0)
    network = dynamics.link_failures(topologies.ring(5, lazy=True), 0.8)
    assert theory.stability_limit(problem, network, simlab.D2(9.0)) == 0.0
    one_sided = dynamics.link_failures(topologies.path(3), 0.3, one_sided=True)
    flat = simlab.Quadratic(np.tile([1.0, 0.0], (3, 1)), np.array([[1.0, 1.0], [0.0, -1.0], [0.5, 0.0]]))
    assert theory.stable_intervals(flat, one_sided, simlab.DSGD(9.0)) == []


def steps_to(network: Any, algorithm: Any, target: float, most: int, **noise: Any) -> int:
    """Exact, `most` if it takes as many or more."""
    noise_of = Noise(PROBLEM, noise.get("batch_size"), noise.get("noise_std", 0.0))
    path = settle_changing(PROBLEM, network, algorithm, np.zeros((N, 2)), noise_of).walk(noise_of)
    for k, (x, spread) in enumerate(islice(path, most)):
        if np.sum((x - PROBLEM.minimizer) ** 2) / N + spread.variance <= target:
            return k
    return most


@pytest.mark.parametrize(
    ("network", "method", "batch_size"),
    [("links", "DSGD", None), ("links", "DecentLaM", None), ("every", "DecentLaM", 4), ("pairwise", "D2", 4)],
)
def test_nothing_on_a_grid_is_faster_than_tuned(network: str, method: str, batch_size: int | None) -> None:
    w, algorithm = NETWORKS[network], METHODS[method]
    target = 0.1 * float(np.sum(PROBLEM.minimizer**2))
    found = theory.tune(PROBLEM, w, algorithm, target=target, batch_size=batch_size)
    path = theory.predict(PROBLEM, w, found.algorithm, batch_size=batch_size).transient(found.steps)["mse"].to_numpy()
    assert path[-1] == pytest.approx(found.mse, rel=1e-10) and path[-1] <= target < path[:-1].min()
    momenta = [0.0, 0.5, 0.8, 0.93] if hasattr(algorithm, "momentum") else [None]
    best = found.steps + 1
    for lr, momentum in itertools.product(np.geomspace(0.05, 2.0, 15) / PROBLEM.smoothness, momenta):
        candidate = algorithm._replace(lr=lr) if momentum is None else algorithm._replace(lr=lr, momentum=momentum)
        best = min(best, steps_to(w, candidate, target, best, batch_size=batch_size))
    assert found.steps <= best


def test_targets_out_of_reach_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target = 1e-12 is not reached within 50 steps"):
        theory.tune(PROBLEM, NETWORKS["links"], METHODS["DSGD"], target=1e-12, max_steps=50)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", ["DSGD", "QGDmSGD"])
def test_at_the_critical_batch_size_variance_is_what_remains_without_noise(network: str, method: str) -> None:
    """Between the predictions at the whole sizes around it; infinite where the method is exact."""
    w, algorithm = NETWORKS[network], METHODS[method]._replace(lr=0.02)
    critical = theory.critical_batch_size(PROBLEM, w, algorithm)
    for size in (1, 3, 9):
        found = theory.predict(PROBLEM, w, algorithm, batch_size=size)
        assert (found.variance > found.bias + found.network_variance) == (size < critical), (size, critical, found)
    if network != "directed":
        assert theory.critical_batch_size(PROBLEM, w, simlab.D2(0.02)) == np.inf


def test_what_diverges_has_no_critical_batch_size() -> None:
    with pytest.raises(ValueError, match="does not converge: the mean diverges"):
        theory.critical_batch_size(PROBLEM, NETWORKS["links"], simlab.DSGD(9.0))
