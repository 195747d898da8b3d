"""When two simulations agree, and a small case on which they should."""

from __future__ import annotations

from typing import Any

import numpy as np

import simlab
from tests.helpers import strategies

SETTING = strategies.Setting(
    strategies.objective("least_squares", 6, 4, 9, np.random.default_rng(5)),
    simlab.topologies.ring(6),
    np.random.default_rng(6).standard_normal((6, 4)),
    0.1,
    0.9,
    seed=77,
    batch_size=3,
    noise_std=0.3,
)


def assert_same(one: Any, two: Any, relative: float = 1e-10) -> None:
    """States to `relative` of the largest entry, the records to as much of the largest record."""
    assert one.x.shape == two.x.shape
    assert np.abs(one.x - two.x).max() <= relative * max(np.abs(two.x).max(), 1e-3)
    for column in one.frame.columns:
        if column in ("mse", "consensus", "loss", "squared_gradient_norm", "stationarity"):
            a, b = one.frame[column].to_numpy(), two.frame[column].to_numpy()
            assert np.abs(a - b).max() <= 10 * relative * max(np.abs(b).max(), 1e-6), column
        else:
            assert one.frame[column].equals(two.frame[column]), column
