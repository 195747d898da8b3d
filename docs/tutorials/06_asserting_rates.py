"""
Asserting rates in your test suite
==================================

A method that still runs may no longer be the method that it was. ``theory.testing`` has assertions for anybody's test
suite: they fail with numbers, and they fail as inconclusive where the run could not have refuted them.
"""

# %%
# Does the run do what the exact theory of its own step expects, and does a theorem's bound hold? In a suite these are
# the bodies of tests.

import matplotlib.pyplot as plt

import simlab
import theory
from theory.testing import (
    assert_bias_scales,
    assert_bound_holds,
    assert_converges_at_rate,
    assert_matches_prediction,
)

problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=50, dim=4, seed=1)
network = simlab.topologies.ring(6, lazy=True)


def test_prediction_and_bound():
    trace = simlab.simulate(problem, network, simlab.DSGD(lr=0.01), steps=4000, record_every=10)
    assert_matches_prediction(trace)
    assert assert_bound_holds(trace, "B1, bias").verdict == "holds"


test_prediction_and_bound()

# %%
# The rate of a linearly convergent method, and the order of a bias: DSGD's error goes with the square of the step
# size.


def test_rate():
    algorithm = simlab.ExactDiffusion(lr=0.02)
    trace = simlab.simulate(problem, network, algorithm, steps=3000)
    print(assert_converges_at_rate(trace, theory.predict(problem, network, algorithm).rate))


def test_order_of_the_bias():
    rates = [0.001, 0.002, 0.004]
    traces = simlab.simulate(problem, network, [simlab.DSGD(lr=lr) for lr in rates], steps=40_000, record_every=400)
    print(assert_bias_scales(traces, rates, 2.0, tolerance=0.1))


test_rate()
test_order_of_the_bias()

# %%
# A mistake as they happen: momentum that is damped where it should not be, as the defaults of libraries differ. It
# runs, and it converges, to the right place even; but it is another method, and the test says so.

from typing import Any, NamedTuple

from simlab.operations import average, gradient, zeros_like


class State(NamedTuple):
    x: Any
    m: Any


class DampedPmSGD(NamedTuple):
    lr: float
    momentum: float

    def init(self, x):
        return State(x, zeros_like(x))

    def step(self, state, problem, network, batch):
        g = average(gradient(problem, state.x, batch))
        m = self.momentum * state.m + (1 - self.momentum) * g
        return State(state.x - self.lr * m, m)


expected = theory.predict(problem, network, simlab.PmSGD(lr=0.1, momentum=0.5)).rate
right, wrong = (
    simlab.simulate(problem, network, method(lr=0.1, momentum=0.5), steps=300) for method in (simlab.PmSGD, DampedPmSGD)
)
assert_converges_at_rate(right, expected)
try:
    assert_converges_at_rate(wrong, expected)
except AssertionError as error:
    print(error)

simlab.plot.convergence([right, wrong])
plt.show()
