"""Every algorithm of the registry is predicted exactly, or refused with a reason that is true of it."""

from __future__ import annotations

import numpy as np
import pytest

import simlab
import theory
from tests.helpers import algorithms
from theory.prediction import expected_errors

N, D, STEPS = 6, 3, 20
FORMS = algorithms.forms(N, lr=0.05, momentum=0.5, l1=0.0)
COMPRESSES, COUNTS = "not affine", "number of the step"
REFUSED = {
    # It rounds, thresholds or branches on its states.
    **dict.fromkeys(("CEDAS", "CPDSGDM", "ChocoGossip", "ChocoSGD", "DCDPSGD", "DeepSqueeze"), COMPRESSES),
    **dict.fromkeys(("DoubleSqueeze", "EFSignSGD", "LEAD", "MalcomPSGD", "SPARQSGD", "SQuARMSGD"), COMPRESSES),
    **dict.fromkeys(("SignSGD", "LAGWK", "ConsensusControl"), COMPRESSES),
    # It divides by norms.
    **dict.fromkeys(("Clipped", "LARS-lars", "LARS-larc", "LARS-clip", "LayerwiseDecentLaM"), COMPRESSES),
    # Its first step is another, its step size or threshold falls, or its moments are told of the step; all of these are
    # not affine either, but for DualAveraging.
    **dict.fromkeys(("DAdam", "LAMB", "QGAdam"), COUNTS),
    **dict.fromkeys(("BEER", "COCA", "DualAveraging", "ECDPSGD", "LAGPS", "MARINA", "MoTEF"), COUNTS),
}
NETWORK = simlab.topologies.ring(N, lazy=True)
PROBLEMS = {
    "least squares": simlab.LeastSquares.synthetic(N, 20, D, seed=1),
    "one Hessian": simlab.Quadratic(np.tile([0.5, 1.0, 1.5], (N, 1)), np.random.default_rng(2).standard_normal((N, D))),
}
X0 = np.random.default_rng(0).standard_normal((N, D))


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("label", [label for label in FORMS if label not in REFUSED])
def test_predicted(label, kind):
    """The run's errors after some steps, and where the map comes to rest."""
    problem, algorithm = PROBLEMS[kind], FORMS[label]
    expected = expected_errors(problem, NETWORK, algorithm, STEPS, x0=X0)
    given = {"x0": X0, "engine": "numpy", "progress": False, "record_every": STEPS}
    trace = simlab.simulate(problem, NETWORK, algorithm, steps=STEPS, **given)
    last = trace.frame.iloc[-1]
    assert expected == pytest.approx((last["mse"], last["consensus"]), rel=1e-8)
    prediction = theory.predict(problem, NETWORK, algorithm, x0=X0)
    assert prediction.rate < 1
    steps = 60 * int(np.ceil(np.log(1e-4) / np.log(prediction.rate) / 60))  # whole periods
    rest = simlab.simulate(problem, NETWORK, algorithm, steps=steps, **given | {"record_every": steps}).frame["mse"]
    found = prediction.mse if prediction.phases is None else prediction.phases["mse"].iloc[0]
    assert np.sqrt(rest.iloc[-1]) == pytest.approx(np.sqrt(found), abs=0.01 * np.sqrt(rest.iloc[0]))


@pytest.mark.parametrize("label", REFUSED)
def test_refused(label):
    with pytest.raises(ValueError, match=REFUSED[label]):
        theory.predict(PROBLEMS["least squares"], NETWORK, FORMS[label])


@pytest.mark.parametrize("kind", ["logistic", "least_squares"])
@pytest.mark.parametrize(
    "algorithm",
    [simlab.DADMM(0.3), simlab.SSDA(0.3, 0.5), simlab.ChebyshevGossip(simlab.SSDA(0.2, 0.3), 2, NETWORK.rho)],
    ids=["DADMM", "SSDA", "MSDA"],
)
def test_methods_that_solve_problems_of_their_nodes_come_to_the_minimizer(algorithm, kind):
    """Of logistic regression by the quadratics that touch it where the nodes' minimizers are."""
    problem = simlab.LogisticRegression.synthetic(N, 20, D, l2=0.3) if kind == "logistic" else PROBLEMS["least squares"]
    prediction = theory.predict(problem, NETWORK, algorithm)
    np.testing.assert_allclose(prediction.limit, np.tile(problem.minimizer, (N, 1)), atol=1e-10)
    assert prediction.first_order == (kind == "logistic")
