"""What sparse features would give a linear model, which takes dense ones: logistic regression, 50 entries a sample.

Beside simlab's steps stand those of a loop on scipy.sparse: DecentLaM as it is in simlab, gradients by sparse products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

import simlab
from benchmarks.measure import Row, ratio, seconds

N_NODES, N_SAMPLES, FILLED, BATCH_SIZE, STEPS = 16, 100, 50, 10, 20
DENSE, SPARSE = 10**4, 10**6  # columns


def run() -> list[Row]:
    """Dense over sparse time of a step at 10^4 columns; what of a step at 10^6 columns is not the gradient."""
    rng = np.random.default_rng(0)
    network = simlab.topologies.ring(N_NODES)
    weights = network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()
    features, targets = drawn(rng, DENSE)
    problem = simlab.LogisticRegression(np.stack([part.toarray() for part in features]), targets)
    rows = []
    for name, batch_size in (("full batches", None), (f"mini-batches of {BATCH_SIZE}", BATCH_SIZE)):

        def dense(steps: int, batch_size: int | None = batch_size) -> Any:
            return simlab.simulate(problem, network, simlab.DecentLaM(0.1), steps=steps, batch_size=batch_size,
                                   record_every=steps, progress=False)  # fmt: skip

        def sparse(steps: int, batch_size: int | None = batch_size) -> Any:
            return loop(features, targets, weights, steps, batch_size, rng)

        candidates = {f"{key} {steps}": lambda one=one, steps=steps: one(steps)
                      for key, one in (("dense", dense), ("sparse", sparse))
                      for steps in (STEPS, 3 * STEPS)}  # fmt: skip
        took = seconds(candidates, repeats=5)
        step = {key: took[f"{key} {3 * STEPS}"] - took[f"{key} {STEPS}"] for key in ("dense", "sparse")}
        rows.append(ratio(f"{DENSE} columns", f"{name}: dense / sparse time of a step", step["dense"] / step["sparse"]))
    features, targets = drawn(rng, SPARSE)
    x = np.zeros((N_NODES, SPARSE))
    took = seconds({
        "step": lambda: loop(features, targets, weights, 1, None, rng),
        "gradient": lambda: [slope(a, b, one) for a, b, one in zip(features, targets, x, strict=True)],
    }, repeats=3)  # fmt: skip
    name = f"{SPARSE} columns, sparse"
    rows.append(ratio(name, "seconds a step of DecentLaM on one core, full batches", took["step"]))
    rows.append(ratio(name, "share of the gradients' sparse products", took["gradient"] / took["step"]))
    return rows


def drawn(rng: np.random.Generator, columns: int) -> tuple[list[Any], np.ndarray]:
    """Features of each node, CSR with about `FILLED` entries a row, and targets."""
    features = [
        scipy.sparse.random_array((N_SAMPLES, columns), density=FILLED / columns, format="csr", rng=rng)
        for _ in range(N_NODES)
    ]
    return features, rng.choice([-1.0, 1.0], (N_NODES, N_SAMPLES))


def slope(features: Any, targets: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of the mean logistic loss."""
    return features.T @ (-targets / (1 + np.exp(targets * (features @ x)))) / len(targets)


def loop(
    features: list[Any],
    targets: np.ndarray,
    weights: np.ndarray,
    steps: int,
    size: int | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """DecentLaM."""
    x = np.zeros((N_NODES, features[0].shape[1]))
    m = np.zeros_like(x)
    for _ in range(steps):
        g = np.empty_like(x)
        for i, (a, b) in enumerate(zip(features, targets, strict=True)):
            mine = slice(None) if size is None else rng.integers(len(b), size=size)
            g[i] = slope(a[mine], b[mine], x[i])
        m = 0.9 * m + (x - weights @ (x - 0.1 * g)) / 0.1
        x = x - 0.1 * m
    return x
