"""The squared bias of an algorithm, simulated with exact gradients until it stands still."""

from __future__ import annotations

import math
from typing import Any

import simlab

REMAINDER = 1e-7  # share of the way to the limit that is left when a run ends


def simulated_bias(problem: Any, network: Any, algorithm: Any, rate: float) -> float:
    """Squared bias (1/n) Σ||x_i,∞ − x*||².

    Parameters
    ----------
    problem, network, algorithm
        As for `simlab.simulate`; the run starts at the minimizer.
    rate : float
        Factor a step by which the algorithm approaches its limit: it says how many steps are enough.
    """
    steps = math.ceil(math.log(REMAINDER) / math.log(rate))
    trace = simlab.simulate(problem, network, algorithm, steps=steps, record_every=steps, x0=problem.minimizer)
    return float(trace.frame["mse"].iloc[-1])
