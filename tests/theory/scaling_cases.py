"""Cases of `test_verdict` for theorems about methods that scale gradients."""

from __future__ import annotations

import numpy as np

import simlab
from simlab import topologies
from tests.theory.changing_cases import DECAYING, Cases, D, N, NoSmoothness, quadratic, run, singular

LAZY = topologies.ring(N, lazy=True)
ADAM = simlab.DAdam(0.1, 0.5, 0.9, 2.0)
ONES = (1.0,) * D
LAYERS = simlab.LayerwiseDecentLaM(0.02, 0.5, blocks=(1, 2))


def settled(algorithm=ADAM, network=LAZY, **options):
    return run(algorithm, network, **{"steps": 6000, "record_every": 1000, "engine": "compiled", **options})


def neural():
    random = np.random.default_rng(0)
    return simlab.NeuralNetwork([2], random.standard_normal((N, 6, 2)), random.integers(0, 2, (N, 6)))


class Contrary(simlab.Quadratic):
    is_convex = False


class Compressing(simlab.LayerwiseDecentLaM):
    def unscaled(self):
        return simlab.ChocoSGD(self.lr, 0.5, simlab.compression.TopK(1))


SHARED: Cases = {
    "constant hyperparameters": lambda: run(ADAM._replace(lr=DECAYING), LAZY),
    "no l1 term": lambda: run(ADAM, LAZY, quadratic().with_l1(0.5)),
    "exact gradients": lambda: run(ADAM, LAZY, noise_std=0.1),
    "smooth": lambda: run(ADAM, LAZY, quadratic(NoSmoothness)),
    "scaling": lambda: run(simlab.DSGD(0.02), LAZY),
}
NODE_WISE = SHARED | {
    "known minimizer": lambda: run(ADAM, LAZY, neural()),
    "mean step zero": lambda: run(ADAM, LAZY),
}
COMMON = SHARED | {
    "convex": lambda: run(LAYERS, LAZY, quadratic(Contrary)),
    "strongly convex": lambda: run(LAYERS, LAZY, singular()),
    "common scaling": settled,
    "bias transfer function": lambda: settled(Compressing(*LAYERS), x0=ONES),
    "positive bias transfer": lambda: settled(LAYERS, topologies.complete(N), x0=ONES),
    "limit reached": lambda: run(LAYERS, LAZY, x0=ONES),
}
GOOD: Cases = {"node-wise scaling": settled, "common scaling": lambda: settled(LAYERS, x0=ONES)}
BROKEN: dict[str, Cases] = {"node-wise scaling": NODE_WISE, "common scaling": COMMON}
