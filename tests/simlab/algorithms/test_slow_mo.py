"""SlowMo: against a transcription of its definition, and what it is in special cases."""

from __future__ import annotations

import numpy as np
import pytest

import simlab
from simlab.schedules import Cosine
from simlab.step.graph import numeric_fields, step_graphs
from tests.helpers.interpreted import ENGINES, simulate

N, D, STEPS = 5, 3, 23
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=10, dim=D, seed=0)
NETWORK = simlab.topologies.ring(N)
X0 = np.random.default_rng(1).standard_normal((N, D))


def last(algorithm, engine="numpy", **options):
    return simulate(PROBLEM, NETWORK, algorithm, steps=STEPS, x0=X0, engine=engine, progress=False, **options).x[0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("period", [1, 4])
def test_equals_its_definition(engine, period):
    """Around momentum that stays with its node and gossip, the step size changing."""
    lr, beta, slow_beta, alpha = Cosine(0.1, 40), 0.6, 0.7, 0.8
    x, m, u, start = X0, np.zeros((N, D)), np.zeros((N, D)), X0
    for k in range(STEPS):
        step = float(lr(np.array(k)))
        m = beta * m + PROBLEM.gradient(x)
        x = NETWORK.weights @ (x - step * m)
        if (k + 1) % period == 0:
            u = slow_beta * u + (start - x.mean(axis=0)) / step
            x = start = start - alpha * step * u
    found = last(simlab.SlowMo(simlab.DmSGD(lr, beta), period, slow_beta, alpha), engine)
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_special_cases(engine):
    equal = np.broadcast_to(X0[0], X0.shape)
    for slow, plain in [
        (simlab.SlowMo(simlab.DSGD(0.1), 1, 0.0), simlab.PmSGD(0.1, 0.0)),
        (simlab.SlowMo(simlab.DSGD(0.1), 3, 0.0), simlab.GossipPGA(0.1, 3)),
        (simlab.SlowMo(simlab.LocalSGD(0.1, 2), 6, 0.0), simlab.LocalSGD(0.1, 2)),
        (simlab.SlowMo(simlab.LocalSGD(0.1, 1), 1, 0.5), simlab.PmSGD(0.1, 0.5)),
    ]:
        one, two = (
            simulate(PROBLEM, NETWORK, a, steps=24, x0=equal, engine=engine, progress=False) for a in (slow, plain)
        )
        # GossipPGA averages before that step's exchange, SlowMo after it: the means agree, and all are equal.
        np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-12)


def test_phases_are_those_of_the_base_and_its_own():
    steps = step_graphs(algorithm := simlab.SlowMo(simlab.LocalSGD(0.1, 4), 6), algorithm.init(X0))
    assert len(steps.order) == 12
    assert len(steps.graphs) == 4  # alone, with the average of the base, with the slow one, with both
    assert numeric_fields(algorithm) == ("base.lr", "base.momentum", "slow_momentum", "slow_lr")


def test_settings_of_the_base_share_a_program_and_are_told_apart():
    algorithms = [simlab.SlowMo(simlab.DSGD(lr), 4) for lr in (0.01, 0.1)]
    for engine in ("numpy", "compiled"):
        traces = simlab.simulate(PROBLEM, NETWORK, algorithms, steps=STEPS, x0=X0, engine=engine, progress=False)
        for trace, algorithm in zip(traces, algorithms, strict=True):
            np.testing.assert_allclose(trace.x[0], last(algorithm), rtol=0, atol=1e-12)
        assert traces[0].frame["algorithm"][0] != traces[1].frame["algorithm"][0]


def test_refusals():
    for base in (simlab.SGP(0.1), simlab.ChocoGossip(0.1, simlab.compression.TopK(2))):
        with pytest.raises(ValueError, match=r"SlowMo\.base = .*pass a method such as DSGD"):
            last(simlab.SlowMo(base, 4))
    with pytest.raises(ValueError, match=r"SlowMo\.base\.lr = -1"):
        last(simlab.SlowMo(simlab.DSGD(-1), 4))
    with pytest.raises(ValueError, match=r"SlowMo\.period = 0"):
        last(simlab.SlowMo(simlab.DSGD(0.1), 0))
