"""Verdicts: every assumption of every theorem broken on purpose, and each verdict where it belongs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import simlab
import theory
from simlab.operations import gradient, mix
from tests.helpers import strategies
from tests.theory import changing_cases, scaling_cases, server_cases
from theory import verdict
from theory.moments.affine import AffineStep, Surrogate
from theory.moments.rounding import conserved_sums, drift, until_rest
from theory.theorems import THEOREMS, Theorem, choco_gossip, dual_averaging, local_sgd, qsgd
from theory.theorems.theorem import Check, Setting

N, D = 4, 3
SMALL = 0.02


def least_squares(seed: int = 1) -> simlab.LeastSquares:
    return simlab.LeastSquares.synthetic(N, 30, D, seed=seed)


def equal_hessians() -> simlab.Quadratic:
    random = np.random.default_rng(3)
    return simlab.Quadratic(np.tile([0.5, 1.0, 1.5], (N, 1)), random.standard_normal((N, D)))


def run(problem: Any, network: Any, algorithm: Any, steps: int = 4000, **settings: Any) -> simlab.Trace:
    given = {"record_every": 1, "engine": "numpy", "progress": False, **settings}
    return simlab.simulate(problem, network, algorithm, steps=steps, **given)


class Cubic(NamedTuple):
    """An algorithm whose step is not affine."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.DSGD(self.lr).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        g = gradient(problem, state.x, batch)
        return state._replace(x=mix(network, state.x - self.lr * g * g * g))


def lazy_ring() -> simlab.Network:
    return simlab.topologies.ring(N, lazy=True)


# A run that satisfies every assumption of a theorem, and, for each assumption, one that breaks it (and none before it).

GOOD: dict[str, Callable[[], simlab.Trace]] = {
    "B1": lambda: run(least_squares(), lazy_ring(), simlab.DecentLaM(SMALL)),
    "B2": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SMALL)),
    "DGD": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SMALL, order="cta"), 100),
    "D-PSGD": lambda: run(
        equal_hessians(), lazy_ring(), simlab.DSGD(SMALL / 4, order="cta"), 300, noise_std=0.1, replicates=10
    ),
    "CHOCO-Gossip": lambda: gossip_run(),
    "heavy ball": lambda: run(
        equal_hessians(), lazy_ring(), simlab.PmSGD(*theory.theorems.heavy_ball.best_parameters(0.5, 1.5)), 40
    ),
    "ring gap": lambda: run(equal_hessians(), simlab.topologies.ring(N), simlab.DSGD(SMALL), 2),
}


def gossip_run(factor: float = 1.0) -> simlab.Trace:
    """QSGD scaled to a contraction; `factor` times the theorem's consensus step."""
    network, compressor = simlab.topologies.ring(N), simlab.compression.QSGD(4, scaled=True)
    step = choco_gossip.consensus_step(**choco_gossip.constants(network, compressor.contraction(D)))
    algorithm = simlab.ChocoGossip(factor * step, compressor)
    return run(equal_hessians(), network, algorithm, 200, replicates=5, x0=UNEQUAL_START)


def relabelled_gossip(**changes: Any) -> simlab.Trace:
    """`simulate` refuses such a run; a trace that claims to be one."""
    return dataclasses.replace(gossip_run(), **changes)


class NoSmoothness(simlab.Quadratic):
    smoothness = property(lambda self: float("nan"))  # type: ignore[assignment]
    strong_convexity = property(lambda self: 1.0)  # type: ignore[assignment]


class NoLowerBound(simlab.Quadratic):
    lower_bound = property(lambda self: -np.inf)  # type: ignore[assignment]


def quadratic(kind: type = simlab.Quadratic, diagonals: Any = (0.5, 1.0, 1.5)) -> Any:
    return kind(np.array(np.broadcast_to(diagonals, (N, D))), np.random.default_rng(3).standard_normal((N, D)))


def one_concave_node() -> simlab.Quadratic:
    diagonals = np.tile([0.5, 1.0, 1.5], (N, 1))
    diagonals[0, 0] = -0.1
    return quadratic(diagonals=diagonals)


def singular() -> simlab.LeastSquares:
    features = np.random.default_rng(0).standard_normal((N, 5, D))
    features[:, :, 0] = 0
    return simlab.LeastSquares(features, np.random.default_rng(1).standard_normal((N, 5)))


SCHEDULE = simlab.schedules.InverseSqrt(SMALL)
CTA = simlab.DSGD(SMALL / 4, order="cta")
UNEQUAL_START = np.random.default_rng(5).standard_normal((N, D))
LIMIT = {
    "constant hyperparameters": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SCHEDULE), 10),
    "exact gradients": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SMALL), 10, batch_size=4),
    "no l1 term": lambda: run(least_squares().with_l1(0.3), lazy_ring(), simlab.DSGD(SMALL)),
    "smooth": lambda: run(quadratic(NoSmoothness), lazy_ring(), simlab.DSGD(SMALL), 10),
    "strongly convex": lambda: run(singular(), lazy_ring(), simlab.DSGD(SMALL), 10),
    "bias transfer function": lambda: run(least_squares(), lazy_ring(), Cubic(1e-4), 10),
    "limit reached": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SMALL), 10),
    "small step": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(0.5), 10),
    "convex": lambda: run(one_concave_node(), lazy_ring(), simlab.DSGD(SMALL), 10),
    "positive bias transfer": lambda: run(least_squares(), simlab.topologies.ring(N), simlab.DSGD(SMALL), 10),
    "quadratic": lambda: run(
        simlab.LogisticRegression.synthetic(N, 20, D, l2=0.1), lazy_ring(), simlab.DSGD(SMALL), 10
    ),
}
DESCENT = {
    "algorithm": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SMALL), 10),
    "constant hyperparameters": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(SCHEDULE, order="cta"), 10),
    "exact gradients": lambda: run(least_squares(), lazy_ring(), CTA, 10, noise_std=0.1),
    "no l1 term": lambda: run(equal_hessians().with_l1(5.0), lazy_ring(), CTA, 10),
    "smooth": lambda: run(quadratic(NoSmoothness), lazy_ring(), CTA, 10),
    "bounded below": lambda: run(one_concave_node(), lazy_ring(), CTA, 10),
    "equal initial states": lambda: run(least_squares(), lazy_ring(), CTA, 10, x0=UNEQUAL_START),
    "step size": lambda: run(least_squares(), lazy_ring(), simlab.DSGD(2.0, order="cta"), 2),
}
PARALLEL = {
    **{
        name: DESCENT[name]
        for name in ("algorithm", "constant hyperparameters", "no l1 term", "smooth", "equal initial states")
    },
    "bounded below": lambda: run(quadratic(NoLowerBound), lazy_ring(), CTA, 10),
    "every step recorded": lambda: run(equal_hessians(), lazy_ring(), CTA, 10, record_every=5),
    "step size": lambda: run(equal_hessians(), lazy_ring(), simlab.DSGD(1.0, order="cta"), 10),
    "positive D": lambda: run(equal_hessians(), lazy_ring(), simlab.DSGD(0.5, order="cta"), 10),
    "bounded dissimilarity": lambda: run(least_squares(), lazy_ring(), CTA, 10),
    "bounded variance": lambda: run(
        simlab.LeastSquares(np.tile(np.random.default_rng(0).standard_normal((1, 9, D)), (N, 1, 1)), np.ones((N, 9))),
        lazy_ring(),
        CTA,
        10,
        batch_size=2,
    ),
    "positive D1 and D2": lambda: run(equal_hessians(), lazy_ring(), simlab.DSGD(0.06, order="cta"), 10),
}
MOMENTUM = {
    "algorithm": lambda: run(equal_hessians(), lazy_ring(), simlab.DSGD(SMALL), 10),
    "constant hyperparameters": lambda: run(equal_hessians(), lazy_ring(), simlab.PmSGD(SCHEDULE), 10),
    "no l1 term": lambda: run(equal_hessians().with_l1(0.2), lazy_ring(), simlab.PmSGD(1.0, 0.5), 60),
    "exact gradients": lambda: run(equal_hessians(), lazy_ring(), simlab.PmSGD(SMALL), 10, noise_std=0.1),
    "quadratic": lambda: run(
        simlab.LogisticRegression.synthetic(N, 20, D, l2=0.1), lazy_ring(), simlab.PmSGD(SMALL), 10
    ),
    "strongly convex": lambda: run(singular(), lazy_ring(), simlab.PmSGD(SMALL), 10),
    "equal initial states": lambda: run(equal_hessians(), lazy_ring(), simlab.PmSGD(SMALL), 10, x0=UNEQUAL_START),
    "underdamped": lambda: run(equal_hessians(), lazy_ring(), simlab.PmSGD(SMALL, 0.1), 10),
}
GOSSIP = {
    "algorithm": lambda: run(equal_hessians(), lazy_ring(), simlab.DSGD(SMALL), 2),
    "constant hyperparameters": lambda: relabelled_gossip(algorithm=simlab.ChocoGossip(SCHEDULE, None)),
    "contraction": lambda: relabelled_gossip(algorithm=simlab.ChocoGossip(0.1, simlab.compression.QSGD(1))),
    "spectral gap": lambda: relabelled_gossip(network=_gapless()),
    "consensus step size": lambda: gossip_run(factor=2.0),
}
RING = {
    "ring": lambda: run(equal_hessians(), simlab.topologies.star(N), simlab.DSGD(SMALL), 2),
    "weights 1/3": lambda: run(equal_hessians(), lazy_ring(), simlab.DSGD(SMALL), 2),
}


def limit_case(*names: str) -> dict[str, Callable[[], simlab.Trace]]:
    return {name: LIMIT[name] for name in names}


COMMON = (
    "constant hyperparameters",
    "no l1 term",
    "exact gradients",
    "strongly convex",
    "bias transfer function",
    "limit reached",
)
BROKEN: dict[str, dict[str, Callable[[], simlab.Trace]]] = {
    "B1": limit_case(*COMMON, "smooth", "convex", "positive bias transfer"),
    "B2": limit_case(*COMMON, "smooth", "small step"),
    "leading constant, above": limit_case(*COMMON, "quadratic", "small step"),
    "leading constant, below": limit_case(*COMMON, "quadratic"),
    "DGD": DESCENT,
    "D-PSGD": PARALLEL,
    "D-PSGD, sharper": {name: case for name, case in PARALLEL.items() if name != "positive D1 and D2"},
    "heavy ball": MOMENTUM,
    "CHOCO-Gossip": GOSSIP,
    "ring gap": RING,
}


GOOD |= changing_cases.GOOD | server_cases.GOOD | scaling_cases.GOOD
BROKEN |= changing_cases.BROKEN | server_cases.BROKEN | scaling_cases.BROKEN


def family(name: str, table: dict[str, Any]) -> Any:
    """The entry of the theorem itself or of the first part of its name."""
    return table[name] if name in table else table[name.split(",")[0]]


def good_trace(theorem: Theorem) -> simlab.Trace:
    key = theorem.name if theorem.name in GOOD else theorem.name.split(",")[0]
    return _good_trace("B2" if key == "leading constant" else key)


@lru_cache
def _good_trace(key: str) -> simlab.Trace:
    return GOOD[key]()


@lru_cache
def verified(trace: simlab.Trace) -> theory.Report:
    return theory.verify(trace)


@lru_cache(None)
def done(case: Callable[[], simlab.Trace]) -> simlab.Trace:
    """The run of a case, which theorems share."""
    return case()


CASES = [(theorem, name) for theorem in THEOREMS for name in family(theorem.name, BROKEN)]
WARNS = pytest.mark.filterwarnings("ignore:.*diverged:RuntimeWarning")


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.name)
def test_a_theorem_holds_where_its_assumptions_do(theorem):
    row = verified(good_trace(theorem))[theorem.name]
    assert row.verdict == "holds", row
    if theorem.relation == "<=":
        assert row.high <= row.bound


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.name)
def test_every_assumption_has_a_case_that_breaks_it(theorem):
    looked_at = {check.name for check in theorem.assumptions(Setting.of(good_trace(theorem)))}
    assert looked_at == set(family(theorem.name, BROKEN))


@WARNS
@pytest.mark.parametrize(("theorem", "name"), CASES, ids=lambda value: getattr(value, "name", value))
def test_a_broken_assumption_is_named(theorem, name):
    row = verdict.judge(theorem, done(family(theorem.name, BROKEN)[name]))
    assert row.verdict == "not applicable", row
    assert row.reason.startswith(f"{name}: ")
    assert theory.Report("run", (row,)).to_latex().isascii()
    assert np.isnan([row.measured, row.low, row.high, row.bound, row.ratio]).all()


def test_gossip_asks_nothing_of_the_problem_but_its_shape():
    """The bound starts from (1/n)(Σ‖x_i − x̄‖² + (1 − ω)Σ‖x_i‖²), over a neural network as over a quadratic."""
    random = np.random.default_rng(0)
    problem = simlab.NeuralNetwork([2], random.standard_normal((N, 6, 2)), random.integers(0, 2, (N, 6)))
    x0 = random.standard_normal((N, problem.dim))
    network, compressor = simlab.topologies.ring(N), simlab.compression.QSGD(4, scaled=True)
    omega = compressor.contraction(problem.dim)
    step = choco_gossip.consensus_step(**choco_gossip.constants(network, omega))
    trace = run(problem, network, simlab.ChocoGossip(step, compressor), 200, replicates=5, x0=x0)
    row = theory.verify(trace)["CHOCO-Gossip"]
    assert row.verdict == "holds"
    start = np.sum((x0 - x0.mean(axis=0)) ** 2) + (1 - omega) * np.sum(x0**2)
    assert row.bound == pytest.approx((1 - network.spectral_gap**2 * omega / 82) ** 200 * start / N, rel=1e-12)


# Theorems about parameters: the same for their `assumptions`

RING8 = simlab.topologies.ring(8, lazy=True)
STEP = choco_gossip.consensus_step(**choco_gossip.constants(RING8, 0.5))
PARAMETERS: list[tuple[Callable[..., list[Check]], dict[str, Any], dict[str, dict[str, Any]]]] = [
    (
        choco_gossip.assumptions,
        {"network": RING8, "compression": 0.5, "consensus_lr": STEP},
        {
            "contraction": {"compression": 0.0},
            "spectral gap": {"network": simlab.topologies.ring(1)},
            "consensus step size": {"consensus_lr": 2 * STEP},
        },
    ),
    (qsgd.assumptions, {"dim": 5, "levels": 4}, {"levels": {"levels": 0}, "dimension": {"dim": 2.5}}),
    (
        dual_averaging.assumptions,
        {
            "steps": 100,
            "n_nodes": 4,
            "second_singular_value": 0.5,
            "radius": 2.0,
            "lipschitz": 3.0,
            "proximal_value": 3.9,
            "largest_subgradient": 2.9,
        },
        {
            "network mixes": {"second_singular_value": 1.0},
            "enough steps": {"steps": 2},
            "radius": {"radius": 1.9},
            "Lipschitz": {"lipschitz": 2.8},
        },
    ),
    (
        local_sgd.assumptions,
        {
            "smoothness": 4.0,
            "strong_convexity": 1.0,
            "shift": 65.0,
            "local_steps": 5,
            "second_moment": 3.0,
            "largest_second_moment": 2.9,
            "variance": 1.0,
            "largest_variance": 0.9,
        },
        {
            "strongly convex": {"strong_convexity": 0.0},
            "local steps": {"local_steps": 0},
            "shift": {"shift": 64.0},
            "bounded second moment": {"second_moment": 2.8},
            "bounded variance": {"variance": 0.8},
        },
    ),
]


@pytest.mark.parametrize(("assumptions", "good", "broken"), PARAMETERS, ids=lambda v: getattr(v, "__module__", ""))
def test_assumptions_on_parameters(assumptions, good, broken):
    if "network" in good:
        broken = {**broken, "spectral gap": {"network": _gapless()}}
    looked_at = assumptions(**good)
    assert all(check.holds for check in looked_at), looked_at
    assert {check.name for check in looked_at} == set(broken)
    for name, change in broken.items():
        failed = [check.name for check in assumptions(**{**good, **change}) if not check.holds]
        assert failed == [name]


def _gapless() -> Any:
    """No simlab.Network can be without a gap: it checks that itself."""

    class Gapless:
        spectral_gap, smallest_eigenvalue, is_symmetric = 0.0, -1.0, True

    return Gapless()


# Verdicts


def altered(trace: simlab.Trace, column: str, values: Callable[[pd.Series], pd.Series]) -> simlab.Trace:
    frame = trace.frame.copy()
    frame[column] = values(frame[column])
    return dataclasses.replace(trace, frame=frame)


def test_a_measurement_beyond_the_bound_is_violated():
    trace = good_trace(theory.theorems.b1.CONSENSUS)
    row = theory.verify(trace)["B1, consensus"]
    scale = 1.01 * row.bound / row.measured
    report = theory.verify(altered(trace, "consensus", lambda column: column * scale))
    assert report["B1, consensus"].verdict == "violated"
    assert report["B1, consensus"].ratio == pytest.approx(1.01)
    assert report["prediction, consensus"].verdict == "violated"
    assert report["prediction, mse"].verdict == "holds"


def noisy_run(replicates: int, **settings: Any) -> simlab.Trace:
    algorithm = simlab.DSGD(SMALL / 4, order="cta")
    return run(equal_hessians(), lazy_ring(), algorithm, 50, noise_std=0.3, replicates=replicates, **settings)


def test_an_interval_that_straddles_the_bound_is_inconclusive():
    trace = noisy_run(10)
    row = theory.verify(trace)["D-PSGD, sharper"]
    assert row.verdict == "holds"
    assert row.low < row.measured < row.high
    scale = row.bound / row.measured
    straddling = theory.verify(altered(trace, "squared_gradient_norm", lambda column: column * scale))[
        "D-PSGD, sharper"
    ]
    assert straddling.verdict == "inconclusive"
    assert "straddles" in straddling.reason
    beyond = theory.verify(altered(trace, "squared_gradient_norm", lambda column: 2 * column * scale))[
        "D-PSGD, sharper"
    ]
    assert beyond.verdict == "violated"


def test_one_noisy_replicate_is_inconclusive():
    report = theory.verify(noisy_run(1))
    assert report["D-PSGD"].verdict == "inconclusive"
    assert "replicates" in report["D-PSGD"].reason
    assert report["prediction, mse"].verdict == "inconclusive"


def test_an_estimated_supremum_never_condemns():
    """Logistic regression: the bound is an estimate from below, so that a measurement beyond it decides nothing."""
    problem = simlab.LogisticRegression.synthetic(N, 20, D, l2=0.1)
    trace = run(problem, lazy_ring(), simlab.DSGD(SMALL, order="cta"), 50, batch_size=4, replicates=5)
    row = theory.verify(trace)["D-PSGD, sharper"]
    assert row.verdict == "holds"
    assert "estimate" in row.reason
    beyond = theory.verify(altered(trace, "squared_gradient_norm", lambda column: column * 1e4))["D-PSGD, sharper"]
    assert beyond.verdict == "inconclusive"
    assert "estimates" in beyond.reason


def test_estimated_suprema_against_closed_forms():
    """Logistic regression in one dimension with one sample a node: the slopes are between -b and 0."""
    features, labels = np.array([[[1.0]], [[2.0]]]), np.array([[1.0], [-1.0]])
    problem = simlab.LogisticRegression(features, labels, 0.3)
    found = theory.theorems.suprema.gradient_dissimilarity(problem)
    # ∇f_1 - ∇f_2 = -s(-x) - 2 s(2x) with the sigmoid s: at x -> inf it is -2, mean square deviation 1
    grid = np.linspace(-30, 30, 100_001)
    gap = 1 / (1 + np.exp(grid)) + 2 / (1 + np.exp(-2 * grid))
    assert found.how == "estimate"
    assert found.value == pytest.approx(np.max(gap**2) / 4, rel=0.05)
    assert found.value <= np.max(gap**2) / 4 * (1 + 1e-9)


def test_no_run_with_an_l1_term_is_called_violated():
    """DSGD and PmSGD do what they should; what theorems about f alone would say of f + l1 ||x||_1 is not asked."""
    for problem in (least_squares().with_l1(0.3), equal_hessians().with_l1(5.0)):
        for algorithm in (simlab.DSGD(SMALL), simlab.DSGD(SMALL, order="cta"), simlab.PmSGD(0.5, 0.5)):
            verdicts = theory.verify(run(problem, lazy_ring(), algorithm)).frame["verdict"]
            assert "violated" not in set(verdicts)


def test_a_thresholding_method_has_no_transfer_function():
    trace = run(least_squares(), lazy_ring(), simlab.NIDS(SMALL, l1=0.1), 10)
    row = theory.verify(trace)["B2, bias"]
    assert row.verdict == "not applicable"
    assert row.reason.startswith("bias transfer function: algorithm = NIDS(") and "l1=0" in row.reason


@WARNS
def test_a_diverged_run_is_not_called_fine():
    trace = run(least_squares(), lazy_ring(), simlab.DmSGD(50.0, 0.9), 2000)
    report = theory.verify(trace)
    assert set(report.frame["verdict"]) == {"not applicable"}
    assert "diverged" in report["prediction, mse"].reason


# Predictions


def test_predictions_start_where_the_run_did():
    trace = run(least_squares(), lazy_ring(), simlab.DSGD(SMALL), 20, x0=UNEQUAL_START)
    assert theory.verify(trace)["prediction, mse"].verdict == "holds"
    elsewhere = dataclasses.replace(trace, x0=trace.x0 + 1)
    assert theory.verify(elsewhere)["prediction, mse"].verdict == "violated"


def test_a_prediction_beyond_first_order_only_is_not_judged():
    problem = simlab.LogisticRegression.synthetic(N, 20, D, l2=0.1)
    row = theory.verify(run(problem, lazy_ring(), simlab.DSGD(SMALL), 20))["prediction, mse"]
    assert row.verdict == "not applicable"
    assert "first order" in row.reason


def test_a_prediction_that_costs_too_much_says_so(monkeypatch):
    trace = run(least_squares(), lazy_ring(), simlab.DSGD(SMALL), 20, batch_size=4, replicates=5)
    assert theory.verify(trace)["prediction, mse"].verdict != "not applicable"
    monkeypatch.setattr(theory.prediction, "AFFORDABLE", 1.0)
    row = theory.verify(trace)["prediction, mse"]
    assert row.verdict == "not applicable"
    assert row.reason.startswith("cost: the transient of 20 steps takes some 5e+07 multiplications, more than the 1 ")


def test_single_precision_is_judged_at_its_own_rounding():
    trace = run(least_squares(), lazy_ring(), simlab.DSGD(SMALL), 4000, dtype="float32")
    report = theory.verify(trace)
    assert report["prediction, mse"].verdict == "holds"
    assert report["B1, bias"].verdict == "holds"


# Rounding


def drifting(algorithm: Any, steps: int, dtype: str = "float64") -> simlab.Trace:
    problem, network = simlab.LeastSquares.synthetic(8, 50, 5, seed=0), simlab.topologies.ring(8, lazy=True)
    return run(problem, network, algorithm, steps, record_every=steps, dtype=dtype)


@pytest.mark.parametrize(
    ("algorithm", "steps", "dtype"),
    [
        (simlab.D2(0.1), 2000, "float64"),
        (simlab.NIDS(0.1), 3000, "float64"),
        (simlab.EXTRA(0.1), 4000, "float64"),
        (simlab.D2DmSGD(0.02), 4000, "float64"),
        (simlab.D2(0.1), 1500, "float32"),
    ],
)
def test_a_run_that_rounding_carries_away_is_healthy(algorithm, steps, dtype):
    """Of what the sum of the step's corrections over nodes should conserve, rounding takes the same each step."""
    report = theory.verify(drifting(algorithm, steps, dtype))
    assert report["prediction, mse"].verdict == report["prediction, consensus"].verdict == "holds"


def test_the_drift_that_is_allowed_grows_with_the_steps_where_something_is_conserved():
    problem, network = simlab.LeastSquares.synthetic(8, 50, 5, seed=0), simlab.topologies.ring(8, lazy=True)

    def growth(algorithm: Any, rests: bool) -> float:
        step = AffineStep(Surrogate.of(problem), network, algorithm, np.zeros((8, 5)))
        return drift(step, 100_000, 1e-16, rests=rests).error / drift(step, 10_000, 1e-16, rests=rests).error

    assert growth(Mixed(0.1), True) == pytest.approx(10, rel=0.1)
    assert growth(simlab.D2(0.1), False) == pytest.approx(10, rel=0.1)
    for algorithm in (simlab.D2(0.1), simlab.EXTRA(0.1)):  # which exchange by differences
        assert growth(algorithm, True) == pytest.approx(1, rel=0.05)
    assert growth(simlab.DSGD(0.1), True) == pytest.approx(1, rel=1e-3)


class Mixed(NamedTuple):
    """D², the exchange written with `mix`: rounding moves the sum of its corrections at each step."""

    lr: float

    def init(self, x: Any) -> Any:
        return simlab.D2(0.1).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        x = state.x - (self.lr * gradient(problem, state.x, batch) - state.correction)
        mixed = mix(network, x)
        return type(state)(mixed, state.correction + (mixed - x))


def test_what_conserves_by_differences_is_not_excused_by_drift():
    """By drift in float32 mse might be 6e-4 after 5,000 steps, and is, of the form by `mix`, 3e-7; of D2 2e-14."""
    healthy = drifting(simlab.D2(0.1), 5000, "float32")
    assert healthy.frame["mse"].iloc[-1] < 1e-12
    assert theory.verify(healthy, theorems=())["prediction, mse"].verdict == "holds"
    frame = healthy.frame.assign(mse=healthy.frame["mse"] + 1e-8)
    off = dataclasses.replace(healthy, frame=frame)
    assert theory.verify(off, theorems=())["prediction, mse"].verdict == "violated"
    drifted = drifting(Mixed(0.1), 4000, "float32")
    assert theory.verify(drifted, theorems=())["prediction, mse"].verdict == "holds"
    as_d2 = dataclasses.replace(drifted, algorithm=simlab.D2(0.1))
    assert theory.verify(as_d2, theorems=())["prediction, mse"].verdict == "violated"


@pytest.mark.parametrize(
    ("algorithm", "fields"),
    [
        *[(simlab.D2(0.1), [0, 1]), (simlab.EXTRA(0.1), [0, 1]), (simlab.NIDS(0.1), [0, 0, 1])],
        *[(simlab.D2DmSGD(0.1), [0, 0, 1]), (simlab.DSGD(0.1), [0]), (Mixed(0.1), [0, 0])],
        (simlab.GradientTracking(0.1), [0, 0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_sums_over_nodes_are_conserved_by_differences(algorithm, fields):
    problem, network = simlab.LeastSquares.synthetic(8, 50, 5, seed=0), simlab.topologies.ring(8, lazy=True)
    step = AffineStep(Surrogate.of(problem), network, algorithm, np.zeros((8, 5)))
    np.testing.assert_allclose(conserved_sums(step), np.diag(fields), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_run_rests_when_it_is_said_to(dtype):
    problem, network = simlab.LeastSquares.synthetic(8, 50, 5, seed=0), simlab.topologies.ring(8, lazy=True)
    for algorithm in (simlab.D2(0.1), simlab.NIDS(0.1), simlab.EXTRA(0.05), simlab.D2DmSGD(0.02)):
        step = AffineStep(Surrogate.of(problem), network, algorithm, np.zeros((8, 5)))
        eps = float(np.finfo(dtype).eps)
        steps = until_rest(step, 10_000, eps)
        x = run(problem, network, algorithm, steps, dtype=dtype, record_every=steps).x
        later = run(problem, network, algorithm, steps + 3000, dtype=dtype, record_every=steps).x
        assert np.max(np.abs(later - x)) <= 16 * eps * np.max(np.abs(x))
        before = run(problem, network, algorithm, steps // 4, dtype=dtype, record_every=steps).x
        assert np.max(np.abs(before - x)) > 100 * eps * np.max(np.abs(x))


def healthy_setting(random: np.random.Generator) -> tuple[Any, Any, Any, dict[str, Any]]:
    """A random small problem, network, exact-gradient algorithm, and arguments of `simulate`."""
    n, d = int(random.integers(3, 9)), int(random.integers(1, 5))
    problem = simlab.LeastSquares.synthetic(n, int(random.integers(d + 3, 30)), d, seed=int(random.integers(10**6)))
    topology = random.choice(["ring", "complete", "star"])
    network = getattr(simlab.topologies, topology)(n, **({"lazy": True} if topology != "complete" else {}))
    name = str(random.choice(EXACT))
    lr = 10 ** random.uniform(-2, -0.5) / problem.smoothness
    chosen = strategies.algorithm(name, lr * (0.2 if "m" in name else 1), 0.8)
    return (
        problem,
        network,
        chosen,
        {
            "steps": int(10 ** random.uniform(1, 3.5)),
            "x0": random.choice([0.0, 1.0, 10.0]) * random.standard_normal((n, d)),
            "dtype": str(random.choice(["float64", "float32"])),
        },
    )


EXACT = [name for name in strategies.NAMES if name not in ("ChocoSGD", "ChocoGossip", "MaLCoMPSGD", "ProximalDSGD")]


def judged(random: np.random.Generator) -> list[tuple[Any, ...]]:
    problem, network, algorithm, arguments = healthy_setting(random)
    trace = run(problem, network, algorithm, **arguments, record_every=arguments["steps"])
    if trace.provenance.get("diverged"):
        return []
    report = theory.verify(trace, theorems=())
    return [(row, algorithm, network, arguments) for row in report if row.verdict == "violated"]


@pytest.mark.slow
def test_no_healthy_run_is_called_violated():
    random = np.random.default_rng(11)
    assert not [bad for _ in range(1000) for bad in judged(random)]


def test_few_healthy_runs_are_called_violated():
    random = np.random.default_rng(12)
    assert not [bad for _ in range(12) for bad in judged(random)]


@pytest.mark.parametrize("algorithm", [simlab.DSGD, simlab.D2, simlab.NIDS, simlab.EXTRA, simlab.GradientTracking])
def test_a_step_off_by_one_in_a_million_is_violated(algorithm):
    """While the run is under way, where mse depends on lr."""
    trace = drifting(algorithm(0.05 * (1 + 1e-6)), 30)
    assert theory.verify(dataclasses.replace(trace, algorithm=algorithm(0.05)))["prediction, mse"].verdict == "violated"


# Statistics


def test_interval_is_students():
    from scipy import stats

    values = np.random.default_rng(0).standard_normal(7)
    mean, low, high = verdict.interval(values)
    expected = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([mean, low, high], [values.mean(), *expected])


def test_interval_covers_in_95_percent():
    """2,000 samples of five normals: the share of misses is within 5 ± 1.7 % (three and a half standard errors)."""
    samples = np.random.default_rng(1).standard_normal((2000, 5))
    inside = sum(low <= 0 <= high for _, low, high in map(verdict.interval, samples))
    assert abs(inside / 2000 - 0.95) < 0.017


def test_deterministic_intervals_have_no_width():
    row = theory.verify(good_trace(theory.theorems.b2.MSE))["B2, bias"]
    assert row.low == row.measured == row.high


# What is not judged
def test_unknown_rows_are_named():
    report = theory.verify(good_trace(theory.theorems.b2.MSE))
    with pytest.raises(ValueError, match="did you mean 'B1, bias'"):
        report["B1 bias"]


@pytest.mark.parametrize("wrong", [None, simlab.DSGD(0.1), []])
def test_only_traces_are_judged(wrong):
    with pytest.raises(TypeError, match="is not a Trace; pass a single one"):
        theory.verify(wrong)


def test_a_loaded_trace_says_what_it_lacks(tmp_path):
    trace = good_trace(theory.theorems.b2.MSE)
    trace.save(tmp_path / "run.parquet")
    loaded = simlab.Trace.load(tmp_path / "run.parquet")
    with pytest.raises(ValueError, match="without its problem"):
        theory.verify(loaded)
    whole = dataclasses.replace(loaded, problem=trace.problem, network=trace.network, algorithm=trace.algorithm)
    assert theory.verify(whole)["B2, bias"].verdict == "holds"


def test_a_random_run_that_a_target_ended_is_not_judged():
    """Stopped at its first low value, every run is lower there than is expected at that step."""
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=9, dim=3, seed=1)
    options = {"steps": 400, "stop_when": "mse <= 0.05", "engine": "numpy", "progress": False}
    random = simlab.simulate(
        problem, simlab.topologies.ring(4), simlab.DSGD(0.1), noise_std=1.0, replicates=20, **options
    )
    assert random.stopped
    with pytest.raises(ValueError, match=r"ended where mse <= 0.05 was met.*such as simlab.resume\(trace\)"):
        theory.verify(random)
    onward = theory.verify(simlab.resume(random))
    assert onward["prediction, mse"].verdict != "violated"
    exact = simlab.simulate(problem, simlab.topologies.ring(4), simlab.DSGD(0.1), **options)
    assert exact.stopped
    assert theory.verify(exact)["prediction, mse"].verdict == "holds"
