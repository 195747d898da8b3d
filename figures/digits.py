"""Handwritten digits, a class at each of ten nodes: what the studies of compressed learning train on.

A network with one hidden layer of 32 tanh units, 2410 parameters, classifies images of 8 x 8 pixels. A sixth of them is
held out; the others are split by label, the most heterogeneous way. All that is random changes with the seed: which
are held out, the start, the mini-batches, the rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import simlab
from figures.claims import Interval, interval

N_NODES, TRAINING = 10, 1500
LR, CONSENSUS_LR, LEVELS, L1 = 0.1, 0.5, 15, 1e-4
BATCH_SIZE = 16
TARGET = 0.2  # training loss at which algorithms are compared


class Digits(simlab.NeuralNetwork):
    """A network whose traces also hold ||x̄||_1, without which losses compare whether or not they have an l1 term.

    Images are held out here, and not as `test`, which would try every node's parameters on them at every record.
    """

    held_out: tuple[np.ndarray, np.ndarray]

    def __init__(self, layers: list[int], features: Any, labels: Any, held_out: tuple[np.ndarray, np.ndarray]) -> None:
        super().__init__(layers, features, labels)
        self._set(held_out=held_out)

    def metrics(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The columns `accuracy`, of the mean parameters on what is held out, and `l1_norm`, of them."""
        features, labels = self.held_out
        accuracy = np.mean(self.predict(x, features) == labels, axis=-1)
        return {"accuracy": accuracy, "l1_norm": np.abs(x).sum(axis=-1)}


def digits(seed: int, hidden: int = 32) -> Digits:
    """The problem; `seed` draws the images held out."""
    data = simlab.data.load("digits")
    order = np.random.default_rng(seed).permutation(len(data.targets))
    kept, held_out = order[:TRAINING], order[TRAINING:]
    parts = simlab.data.partition(data.features[kept], data.targets[kept], N_NODES, "sorted")
    return Digits([hidden], parts.features, parts.targets, (data.features[held_out], data.targets[held_out]))


def networks() -> dict[str, Any]:
    """A ring and a random graph."""
    return {"ring": simlab.topologies.ring(N_NODES), "random": simlab.topologies.erdos_renyi(N_NODES, seed=0)}


def malcom(l1: float = L1, lr: Any = LR) -> Any:
    """Malcom-PSGD as the studies run it."""
    return simlab.MalcomPSGD(lr, CONSENSUS_LR, simlab.compression.DitheredUniform(LEVELS, scaled=True), l1)


def choco(code: str) -> Any:
    """CHOCO-SGD with QSGD, at Malcom-PSGD's step sizes and levels.

    15 levels a side use all of a fixed-length code of 5 bits; with 16, it would take 6 and look worse than it is.
    """
    return simlab.ChocoSGD(LR, CONSENSUS_LR, simlab.compression.QSGD(LEVELS, scaled=True, code=code))


def train(
    algorithms: Mapping[str, Any], networks: Mapping[str, Any], seeds: Iterable[int], steps: int, record_every: int
) -> Any:
    """Train with each algorithm; a row is one algorithm on one network, seed and recorded step.

    Returns
    -------
    pandas.DataFrame
        Columns algorithm, network, seed, step, loss, accuracy, stationarity, bits; loss is the cross-entropy of the
        mean parameters on all training data.
    """
    import pandas as pd

    parts = []
    for seed in seeds:
        problem = digits(seed)
        for network_name, network in networks.items():
            for name, algorithm in algorithms.items():
                # Uncompressed numbers go over the wire as float32, as top-k's do.
                uncompressed = not hasattr(algorithm, "compressor")
                trace = simlab.simulate(
                    problem.with_l1(getattr(algorithm, "l1", 0.0)), network, algorithm, steps=steps, seed=seed,
                    batch_size=BATCH_SIZE, record_every=record_every, x0=problem.initial(seed),
                    dtype="float32" if uncompressed else "float64",
                )  # fmt: skip
                loss = smooth_loss(trace.frame, getattr(algorithm, "l1", 0.0))
                parts.append(trace.frame.assign(algorithm=name, network=network_name, seed=seed, loss=loss))
    columns = ["algorithm", "network", "seed", "step", "loss", "accuracy", "stationarity", "bits"]
    return pd.concat(parts, ignore_index=True)[columns]


def smooth_loss(frame: Any, l1: float) -> Any:
    """Losses without their l1 term."""
    return frame["loss"] - l1 * frame["l1_norm"]


def bits_to(run: Any, target: float) -> float:
    """Bits sent until the loss is first at most `target`, between records by the logarithm of the loss."""
    loss, bits = run["loss"].to_numpy(), run["bits"].to_numpy()
    reached = np.flatnonzero(loss <= target)
    if not len(reached):
        return float("inf")
    k = int(reached[0])
    if k == 0:
        return float(bits[0])
    part = np.log(loss[k - 1] / target) / np.log(loss[k - 1] / loss[k])
    return float(bits[k - 1] + part * (bits[k] - bits[k - 1]))


def bits_by_seed(table: Any, target: float = TARGET) -> Any:
    """Bits to the target: a row for each network and seed, a column for each algorithm."""
    runs = table.groupby(["network", "seed", "algorithm"], sort=False)
    return runs[["loss", "bits"]].apply(bits_to, target).unstack("algorithm")


def over_seeds(values: Any) -> Interval:
    """Mean and 95 % interval; NaN, which violates every claim, if a run did not reach the target."""
    values = np.asarray(values, float)
    return interval(values) if np.isfinite(values).all() else Interval(np.nan, np.nan, np.nan)


def saving(bits: Any, algorithm: str, reference: str) -> Interval:
    """The part of the reference's bits that is saved, seed by seed: mean and 95 % interval."""
    return over_seeds(1 - bits[algorithm] / bits[reference])
