"""Cases of `test_verdict` for theorems about methods with a server, dual ones and gossip that is controlled."""

from __future__ import annotations

import dataclasses

import simlab
from simlab import compression
from tests.theory.changing_cases import (
    DECAYING,
    RING,
    SLOW,
    Cases,
    D,
    N,
    NoSmoothness,
    about_f,
    quadratic,
    run,
    singular,
    without,
)

HALF = compression.TopK(2)
UNBIASED = compression.RandomK(1, unbiased=True)
NOT_ASKED = "bounded dissimilarity", "bounded variance"
NOISE = {"steps": 300, "noise_std": 0.1, "replicates": 20}


def bounded_gradients() -> simlab.NonconvexLogistic:
    return simlab.NonconvexLogistic.synthetic(N, 20, D, penalty=0.1, seed=1)


def marina(lr, compressor=UNBIASED):
    return simlab.MARINA(lr, compressor, 0.5)


def lag(lr, trigger=0.02):
    return simlab.LAGWK(lr, trigger, 5)


def ssda(network=RING, problem=None, rounds=1):
    problem = quadratic() if problem is None else problem
    one = simlab.SSDA.tuned(problem, network, 0.5, rounds)
    return one if rounds == 1 else simlab.ChebyshevGossip(one, rounds, network.rho)


EF = about_f(simlab.EFSignSGD, RING) | {
    "algorithm": lambda: run(simlab.EFSignSGD(SLOW, 0.5)),
    "positive D": lambda: run(simlab.EFSignSGD(0.2)),
}
MOMENT = without(about_f(simlab.EFSignSGD, RING), *NOT_ASKED) | {
    "algorithm": EF["algorithm"],
    "bounded second moment": lambda: run(simlab.EFSignSGD(SLOW)),
}
SQUEEZE = about_f(lambda lr: simlab.DoubleSqueeze(lr, HALF), RING) | {
    "algorithm": EF["algorithm"],
    "positive D": lambda: run(simlab.DoubleSqueeze(0.1, HALF)),
}
MARINA = without(about_f(marina, RING), *NOT_ASKED) | {
    "algorithm": EF["algorithm"],
    "step size": lambda: run(marina(0.5)),
}
SIGN = about_f(simlab.SignSGD, RING) | {"algorithm": lambda: run(simlab.SignSGD(SLOW, 0.5))}
LAG = without(about_f(lag, RING), *NOT_ASKED) | {
    "algorithm": EF["algorithm"],
    "exact gradients": lambda: run(lag(SLOW), noise_std=0.1),
    "constants of the nodes": lambda: run(simlab.LAGPS(SLOW, 0.02, (0.5,) * N, 5)),
    "small step": lambda: run(lag(0.7)),
}
RATE = without(LAG, "bounded below", "every step recorded") | {
    "strongly convex": lambda: run(lag(SLOW), problem=singular()),
}
MESSAGES = {
    name: LAG[name]
    for name in ("algorithm", "constant hyperparameters", "smooth", "equal initial states", "exact gradients")
} | {
    "bounded below": LAG["bounded below"],
    "above rounding": lambda: run(lag(0.5), steps=400),
}
DUAL: Cases = {
    "algorithm": EF["algorithm"],
    "constant hyperparameters": lambda: run(ssda()._replace(dual_lr=DECAYING)),
    "no l1 term": lambda: relabelled(problem=quadratic().with_l1(0.5)),
    "smooth": lambda: relabelled(problem=quadratic(NoSmoothness)),
    "strongly convex nodes": lambda: relabelled(problem=singular()),
    "a step": lambda: run(ssda(), steps=0),
    "dual step size": lambda: run(ssda()._replace(dual_lr=2.0), steps=3),
    "momentum": lambda: run(ssda()._replace(momentum=0.1)),
}
CONTROL = without(
    about_f(lambda lr: simlab.ConsensusControl(lr, 0.01), RING), "bounded dissimilarity", "equal initial states"
) | {"algorithm": EF["algorithm"], "step size": lambda: run(simlab.ConsensusControl(1.0, 0.01))}


def relabelled(**changes) -> simlab.Trace:
    """A trace of SSDA that claims to be of another problem."""
    return dataclasses.replace(run(ssda()), **changes)


GOOD: Cases = {
    "EF-SGD": lambda: run(simlab.EFSignSGD(0.02), **NOISE),
    "EF-SGD, bounded gradients": lambda: run(simlab.EFSignSGD(0.1), problem=bounded_gradients(), steps=100),
    "DoubleSqueeze": lambda: run(simlab.DoubleSqueeze(0.01, HALF), **NOISE),
    "MARINA": lambda: run(marina(0.2), steps=300, replicates=20),
    "signSGD": lambda: run(simlab.SignSGD(0.02), **NOISE),
    "LAG": lambda: run(lag(0.05), steps=20),
    "SSDA": lambda: run(ssda(rounds=2), steps=30),
    "critical consensus distance": lambda: run(simlab.ConsensusControl(0.1, 0.01), **NOISE),
}
BROKEN: dict[str, Cases] = {
    "EF-SGD": EF,
    "EF-SGD, bounded gradients": MOMENT,
    "DoubleSqueeze": SQUEEZE,
    "MARINA": MARINA,
    "signSGD": SIGN,
    "LAG, gradients": LAG,
    "LAG, rate": RATE,
    "LAG, messages": MESSAGES,
    "SSDA": DUAL,
    "critical consensus distance": CONTROL,
}
