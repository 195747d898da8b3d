"""The studies of momentum, of silent nodes and of tuning: their claims hold, and are caught when made false."""

import numpy as np
import pytest

import simlab
from figures.momentum_methods import distance, exact, late_rate
from tests.figures.test_changing_figures import scaled
from tests.helpers import studies

# Fewer partitions and settings than the published figures have; the claims are the same.
QUICK = {
    "momentum_methods": {"effective": (0.1, 0.2), "partitions": 3, "steps": 4000, "replicates": 2},
    "fewer_messages": {"partitions": 3},
    "tuned": {"partitions": 2, "replicates": 30},
}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset({
        *(("momentum_methods", column) for column in ("exact", "rate", "exact_rate")),
        *(("fewer_messages", column) for column in ("by_hand", "bound")),
        *(("tuned", column) for column in ("momentum", "steps", "expected", "mse", "low", "high")),
    })  # fmt: skip


def test_claims_hold(study):
    """All that are not about intervals, which are wide with so few partitions."""
    _, _, claims = study
    assert [c for c in claims if c.verdict == "violated"] == []
    assert [c for c in claims if c.verdict != "holds" and "[" not in c.measured] == []


FALSE = [
    ("momentum_methods", scaled("exact", 1.001, batch_size=0), {"limits are exact"}),
    ("momentum_methods", scaled("mse", 1e12, algorithm="EDM"), {"no bias", "EDM is near parallel momentum"}),
    ("momentum_methods", scaled("exact", 1.2), {"noise is as expected"}),
    ("momentum_methods", scaled("rate", 0.999), {"rates are exact"}),
    ("momentum_methods", scaled("exact_rate", 0.997, algorithm="DSMT"), {"equal effective step, equal rate"}),
    ("momentum_methods", scaled("mse", 1.001, algorithm="QGDmSGD"), {"QG-DmSGD stops where DecentLaM does"}),
    ("momentum_methods", scaled("mse", 1.001, algorithm="DmSGD, Nesterov"), {"Nesterov's step and DmSGD"}),
    ("momentum_methods", scaled("mse", 0.5, algorithm="QGDmSGD, Nesterov"), {"Nesterov's step and QG-DmSGD"}),
    ("momentum_methods", scaled("mse", 0.05, algorithm="DmSGD"),
     {"what momentum costs DmSGD", "with mini-batches DmSGD loses"}),
    ("momentum_methods", scaled("vectors", 2.0, algorithm="DecentLaM"), {"vectors as counted"}),
    ("momentum_methods", scaled("mse", 0.5, algorithm="DSGTHB"), {"one vector is enough"}),
    ("fewer_messages", scaled("by_hand", 1.001), {"bits as counted"}),
    ("fewer_messages", scaled("bound", 0.5, algorithm="LAG-WK"), {"LAG's rate"}),
    ("fewer_messages", scaled("bits", 4.0, algorithm="LAG-WK"), {"lazy workers save bits", "the more, the longer"}),
    ("fewer_messages", scaled("bits", 0.1, algorithm="LAG-PS"), {"a server that asks pays for it"}),
    ("fewer_messages", scaled("step", 2, algorithm="LAG-WK"), {"and cost few steps"}),
    ("fewer_messages", scaled("bits", 4.0, algorithm="SPARQ-SGD"), {"triggers save bits"}),
    ("fewer_messages", scaled("bits", 20.0, algorithm="CHOCO-SGD"), {"compression saves bits"}),
    ("fewer_messages", scaled("gap", 1e-3, algorithm="CHOCO-SGD"), {"but not the bias"}),
    ("fewer_messages", scaled("bits", 20.0, algorithm="LEAD"), {"compression without bias"}),
    ("fewer_messages", scaled("bits", 100.0, algorithm="COCA"), {"censoring saves bits"}),
    ("tuned", scaled("expected", 1.1, batch_size=0), {"theory's steps are the run's"}),
    ("tuned", scaled("steps", 0.9, by="sweep"), {"no run is faster"}),
    ("tuned", scaled("steps", 2.0, by="sweep"), {"the sweep comes near"}),
    ("tuned", scaled("lr", 2.0, by="theory"), {"the same step size"}),
    ("tuned", scaled("mse", 2.0, by="theory"), {"with mini-batches the target is met"}),
    ("tuned", scaled("mse", 0.3, by="sweep"), {"and no step size is better"}),
]  # fmt: skip


def test_false_claims_are_caught(study):
    caught, claims = studies.caught(study, FALSE), study[2]
    assert {c.name for c in claims} - caught <= {"LAG's step size"}  # a formula of the settings


def test_limit_and_rate_of_slow_momentum_are_those_of_runs():
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=20, dim=3, seed=2)
    one = simlab.SlowMo(simlab.DSGD(0.05), 4, 0.3)
    ring = simlab.topologies.ring(4)
    limit, rate = exact(problem, ring, one)
    record = {"to_limit": distance(limit)}
    run = simlab.simulate(problem, ring, one, steps=1200, record_every=4, record=record, engine="numpy")
    np.testing.assert_allclose(run.x[0], limit, atol=1e-10)
    assert late_rate(run.frame, "to_limit") == pytest.approx(rate, rel=1e-3)
