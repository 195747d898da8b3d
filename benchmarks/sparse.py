"""What sparse features would give linear models, which take dense ones: logistic regression, 50 entries a sample.

Steps of DecentLaM, written out here, with gradients by dense and by sparse products, and what beside the gradients is
left of a step at 10^6 columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

import simlab
from benchmarks.measure import Row, ratio, seconds

N_NODES, N_SAMPLES, FILLED, BATCH_SIZE, STEPS, REPEATS = 16, 100, 50, 10, 10, 5
DENSE, SPARSE = 10**4, 10**6  # columns


def run() -> list[Row]:
    """Ratios of times of a step at 10^4 columns, and what makes one up at 10^6."""
    rng = np.random.default_rng(0)
    network = simlab.topologies.ring(N_NODES)
    weights = network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()
    sparse, targets = drawn(rng, DENSE)
    dense = [part.toarray() for part in sparse]
    rows = []
    for name, size in (("full batches", None), (f"mini-batches of {BATCH_SIZE}", BATCH_SIZE)):
        took = seconds({
            kind: lambda features=features, size=size: loop(features, targets, weights, STEPS, size)
            for kind, features in (("dense", dense), ("sparse", sparse))
        }, REPEATS)  # fmt: skip
        rows.append(
            ratio(f"{DENSE} columns", f"{name}: time of a step, dense / sparse", took["dense"] / took["sparse"])
        )
    rows.append(
        ratio(f"{DENSE} columns", "GB of the Hessians by which minimizers are found", [N_NODES * DENSE**2 * 8e-9])
    )
    sparse, targets = drawn(rng, SPARSE)
    x = np.zeros((N_NODES, SPARSE))
    took = seconds({
        "step": lambda: loop(sparse, targets, weights, 1, None),
        "gradient": lambda: [slope(a, b, one) for a, b, one in zip(sparse, targets, x, strict=True)],
    }, REPEATS)  # fmt: skip
    rows.append(ratio(f"{SPARSE} columns, sparse", "seconds a step, full batches", took["step"]))
    rows.append(
        ratio(f"{SPARSE} columns, sparse", "share of it that the gradients take", took["gradient"] / took["step"])
    )
    return rows


def drawn(rng: np.random.Generator, columns: int) -> tuple[list[Any], np.ndarray]:
    """Features of each node, in CSR, `FILLED` entries a row, and targets."""
    shape, ends = (N_SAMPLES, columns), FILLED * np.arange(N_SAMPLES + 1)
    features = [
        scipy.sparse.csr_array((rng.standard_normal(ends[-1]), rng.integers(0, columns, ends[-1]), ends), shape)
        for _ in range(N_NODES)
    ]
    return features, rng.choice([-1.0, 1.0], (N_NODES, N_SAMPLES))


def slope(features: Any, targets: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of the mean logistic loss."""
    return features.T @ (-targets / (1 + np.exp(targets * (features @ x)))) / len(targets)


def loop(features: list[Any], targets: np.ndarray, weights: np.ndarray, steps: int, size: int | None) -> np.ndarray:
    """DecentLaM."""
    rng = np.random.default_rng(1)
    x = np.zeros((N_NODES, features[0].shape[1]))
    m, g = np.zeros_like(x), np.zeros_like(x)
    for _ in range(steps):
        for i, (a, b) in enumerate(zip(features, targets, strict=True)):
            mine = slice(None) if size is None else rng.integers(len(b), size=size)
            g[i] = slope(a[mine], b[mine], x[i])
        m = 0.9 * m + (x - weights @ (x - 0.1 * g)) / 0.1
        x = x - 0.1 * m
    return x
