"""Theorems of one's own beside those of the package."""

import pytest

import simlab
import theory
from theory.theorems import Check, Theorem
from theory.theorems.theorem import last

FEW_STEPS = Theorem(
    name="toy",
    statement="The last mse is at most c.",
    reference="none",
    assumptions=lambda setting: [Check("few steps", setting.steps <= 10, f"{setting.steps} steps")],
    constants=lambda setting: {"c": setting.start.mse},
    bound=lambda c: c,
    measured=lambda trace: last(trace, "mse"),
)


def run(steps: int) -> simlab.Trace:
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=10, dim=2, seed=1)
    return simlab.simulate(problem, simlab.topologies.ring(4), simlab.DSGD(0.1), steps=steps, engine="numpy")


def test_a_theorem_of_ones_own():
    report = theory.verify(run(10), theorems=[FEW_STEPS])
    assert [row.theorem for row in report] == ["toy", "prediction, mse", "prediction, consensus"]
    assert report["toy"].verdict == "holds"
    refused = theory.verify(run(11), theorems=(*theory.theorems.THEOREMS, FEW_STEPS))
    assert refused["toy"].verdict == "not applicable" and "11 steps" in refused["toy"].reason
    assert len(refused.rows) == len(theory.theorems.THEOREMS) + 3
    assert theory.verify(run(10), theorems=[FEW_STEPS._replace(bound=lambda c: c / 1e9)])["toy"].verdict == "violated"


def test_what_is_no_theorem():
    with pytest.raises(TypeError, match=r"theorems holds 'B1'.*theory\.theorems\.THEOREMS"):
        theory.verify(run(2), theorems=["B1"])
