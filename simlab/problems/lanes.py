"""Products of a node's matrices with the vectors of many runs, which lie side by side: see `simlab.Kernel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simlab.kernel import LANES, Kernel

SAMPLES = 64  # whose predictions for all lanes are held at once: they stay in the first cache


def add_product(a: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """Add A X to out, four rows by four columns of A at a time; entry r of row j of X is x[LANES j + r]."""
    rows, columns = a.shape[0] - a.shape[0] % 4, a.shape[1] - a.shape[1] % 4
    for k in range(0, rows, 4):
        k1, k2, k3 = k + 1, k + 2, k + 3
        for j in range(0, columns, 4):
            a0, a1, a2, a3 = a[k, j], a[k, j + 1], a[k, j + 2], a[k, j + 3]
            b0, b1, b2, b3 = a[k1, j], a[k1, j + 1], a[k1, j + 2], a[k1, j + 3]
            c0, c1, c2, c3 = a[k2, j], a[k2, j + 1], a[k2, j + 2], a[k2, j + 3]
            d0, d1, d2, d3 = a[k3, j], a[k3, j + 1], a[k3, j + 2], a[k3, j + 3]
            for r in range(LANES):
                x0, x1 = x[j * LANES + r], x[(j + 1) * LANES + r]
                x2, x3 = x[(j + 2) * LANES + r], x[(j + 3) * LANES + r]
                out[k * LANES + r] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[k1 * LANES + r] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[k2 * LANES + r] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[k3 * LANES + r] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
    for k in range(a.shape[0]):  # what is left: the last columns, then the last rows
        for j in range(columns if k < rows else 0, a.shape[1]):
            h = a[k, j]
            for r in range(LANES):
                out[k * LANES + r] += h * x[j * LANES + r]


def samples_kernel(row: Callable[..., object], data: Any, helpers: tuple[Callable[..., object], ...] = ()) -> Kernel:
    """The lanes of a model of samples: `row(i, x, out, predictions, *data)` works through `SAMPLES` at a time."""
    return Kernel((add_product, *helpers, row), data, work=(np.empty(SAMPLES * LANES),))
