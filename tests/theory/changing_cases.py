"""Cases of `test_verdict` for theorems about networks that change and local steps: runs that keep and break each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import simlab
from simlab import dynamics, schedules, topologies

N, D = 4, 3
Cases = dict[str, Callable[[], simlab.Trace]]
RING = topologies.ring(N)
UNEQUAL = np.random.default_rng(5).standard_normal((N, D))
SLOW = 1e-3
DECAYING = schedules.InverseSqrt(SLOW)


class NoSmoothness(simlab.Quadratic):
    smoothness = property(lambda self: float("nan"))  # type: ignore[assignment]
    strong_convexity = property(lambda self: 1.0)  # type: ignore[assignment]


class NoLowerBound(simlab.Quadratic):
    lower_bound = property(lambda self: -np.inf)  # type: ignore[assignment]


def quadratic(kind: type = simlab.Quadratic, same: bool = False, diagonals: Any = (0.5, 1.0, 1.5)) -> Any:
    linear = np.random.default_rng(3).standard_normal((N, D))
    return kind(np.array(np.broadcast_to(diagonals, (N, D))), np.broadcast_to(linear[:1], (N, D)) if same else linear)


def run(algorithm: Any, network: Any = RING, problem: Any = None, steps: int = 40, **settings: Any) -> simlab.Trace:
    given = {"record_every": 1, "engine": "numpy", "progress": False, **settings}
    return simlab.simulate(quadratic() if problem is None else problem, network, algorithm, steps=steps, **given)


def unbounded_variance() -> simlab.LeastSquares:
    """One objective at all nodes, whose samples have gradients that vary with x."""
    features = np.tile(np.random.default_rng(0).standard_normal((1, 9, D)), (N, 1, 1))
    return simlab.LeastSquares(features, np.ones((N, 9)))


def unequal_hessians() -> simlab.LeastSquares:
    return simlab.LeastSquares.synthetic(N, 30, D, seed=1)


def about_f(make: Callable[[Any], Any], network: Any, lr: Any = SLOW, same: bool = False) -> Cases:
    """What breaks the assumptions on f, the start and the records, for an algorithm of a step size."""
    algorithm = make(lr)
    return {
        "no l1 term": lambda: run(algorithm, network, quadratic(same=same).with_l1(0.5)),
        "smooth": lambda: run(algorithm, network, quadratic(NoSmoothness, same), 5),
        "bounded below": lambda: run(algorithm, network, quadratic(NoLowerBound, same)),
        "bounded dissimilarity": lambda: run(algorithm, network, unequal_hessians()),
        "bounded variance": lambda: run(algorithm, network, unbounded_variance(), batch_size=2),
        "equal initial states": lambda: run(algorithm, network, quadratic(same=same), x0=UNEQUAL),
        "every step recorded": lambda: run(algorithm, network, quadratic(same=same), record_every=5),
        "constant hyperparameters": lambda: run(make(DECAYING), network),
    }


def without(cases: Cases, *names: str) -> Cases:
    return {name: case for name, case in cases.items() if name not in names}


FAILING = dynamics.link_failures(RING, 0.2)
EVERY = dynamics.every(RING, 3)
HOPS = dynamics.one_peer_exponential(N)
D1 = about_f(simlab.DSGD, FAILING) | {
    "algorithm": lambda: run(simlab.DmSGD(SLOW), FAILING),
    "mixing": lambda: run(simlab.DSGD(SLOW), dynamics.node_failures(RING, 0.2)),
    "contraction": lambda: run(simlab.DSGD(0.9), FAILING),
    "step size": lambda: run(simlab.DSGD(0.8), dynamics.groups(N, 4)),
    "small step": lambda: run(simlab.DSGD(0.4), FAILING),
}
OF_F = ("no l1 term", "bounded below", "every step recorded", "step size", "small step")
STICH_SHIFT = 50.0


def stich(shift: float = STICH_SHIFT, mu: float = 0.5) -> simlab.LocalSGD:
    return simlab.LocalSGD(schedules.Inverse(4 / (mu * shift), shift), 3)


def singular() -> simlab.Quadratic:
    linear = np.zeros((N, D))
    linear[:, 1:] = 1.0
    return simlab.Quadratic(np.tile([0.0, 1.0, 1.5], (N, 1)), linear)


GOOD: Cases = {
    "D1": lambda: run(simlab.DSGD(0.02), FAILING, steps=300, noise_std=0.1, replicates=20),
    "D2": lambda: run(simlab.DSGD(SLOW), EVERY, steps=300, noise_std=0.1, replicates=20),
    "D2 for local SGD": lambda: run(simlab.LocalSGD(0.02, 4), steps=300, noise_std=0.1, replicates=20),
    "D3": lambda: run(simlab.DmSGD(SLOW, 0.5), EVERY, steps=300, noise_std=0.1, replicates=20),
    "Gossip-PGA": lambda: run(simlab.GossipPGA(0.02, 4), steps=300, noise_std=0.1, replicates=20),
    "one-peer": lambda: run(simlab.DSGD(0.02), HOPS, steps=300, noise_std=0.1, replicates=20),
    "local SGD": lambda: run(stich(), problem=quadratic(same=True), steps=300, noise_std=0.1, replicates=20),
}
BROKEN: dict[str, Cases] = {
    "D1": D1,
    "D1, sharper": without(D1, "small step"),
    "D1, consensus": without(D1, *OF_F),
    "D2": about_f(simlab.DSGD, EVERY)
    | {
        "algorithm": D1["algorithm"],
        "mixing": lambda: run(simlab.DSGD(SLOW), dynamics.markov([RING, topologies.path(N)], [[0.9, 0.1], [0.3, 0.7]])),
        "small step": lambda: run(simlab.DSGD(0.1), EVERY),
    },
    "D2 for local SGD": about_f(lambda lr: simlab.LocalSGD(lr, 4), RING)
    | {
        "algorithm": lambda: run(simlab.LocalSGD(SLOW, 4, 0.5)),
        "small step": lambda: run(simlab.LocalSGD(0.2, 4)),
    },
    "D3": about_f(lambda lr: simlab.DmSGD(lr, 0.5), EVERY)
    | {
        "algorithm": lambda: run(simlab.DecentLaM(SLOW, 0.5), EVERY),
        "mixing": lambda: run(simlab.DmSGD(SLOW, 0.5), dynamics.cycle([RING, topologies.path(N)])),
        "small step": lambda: run(simlab.DmSGD(0.1, 0.5), EVERY),
    },
    "Gossip-PGA": about_f(lambda lr: simlab.GossipPGA(lr, 4), RING)
    | {
        "algorithm": lambda: run(simlab.DSGD(SLOW)),
        "mixing": lambda: run(simlab.GossipPGA(SLOW, 4), EVERY),
        "step size": lambda: run(simlab.GossipPGA(0.7, 4)),
    },
    "one-peer": without(about_f(simlab.DSGD, HOPS), "no l1 term", "bounded below", "every step recorded")
    | {
        "algorithm": lambda: run(simlab.DmSGD(SLOW), HOPS),
        "form": lambda: run(simlab.DSGD(SLOW, order="cta"), HOPS),
        "one-peer exponential": lambda: run(simlab.DSGD(SLOW), EVERY),
        "small step": lambda: run(simlab.DSGD(0.8), HOPS),
    },
    "local SGD": without(
        about_f(lambda lr: stich(), RING, same=True),
        "constant hyperparameters",
        "bounded below",
        "bounded dissimilarity",
    )
    | {
        "algorithm": lambda: run(simlab.LocalSGD(SLOW, 4, 0.5)),
        "strongly convex": lambda: run(stich(), problem=singular()),
        "one objective": lambda: run(stich()),
        "decaying step sizes": lambda: run(simlab.LocalSGD(SLOW, 4), problem=quadratic(same=True)),
        "shift": lambda: run(stich(20.0), problem=quadratic(same=True)),
    },
}
