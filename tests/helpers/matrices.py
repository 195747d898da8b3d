"""Steps of algorithms as matrices, by hand: T = A + γB of states (x, buffer in units of x)."""

from typing import NamedTuple

import numpy as np

BIASED = ("DSGD", "DmSGD", "AWCDmSGD", "DADmSGD", "QGDmSGD", "DecentLaM")
EXACT = ("D2", "EXTRA", "GradientTracking")


class Matrices(NamedTuple):
    """A, B (s, s), γ⁻¹N (s, n d), and orthonormal columns L (s, r) with L'T = L' at every γ."""

    base: np.ndarray
    slope: np.ndarray
    drive: np.ndarray
    conserved: np.ndarray


def matrices(name, w, hessians, momentum=0.0, dtype=float):
    """Of weights (n, n) and Hessians (n, d, d), `name` an algorithm of `BIASED` or `EXACT`."""
    n, d = len(w), hessians.shape[1]
    w = np.kron(w.astype(dtype), np.eye(d, dtype=dtype))
    h = np.zeros_like(w)
    for i in range(n):
        h[i * d : (i + 1) * d, i * d : (i + 1) * d] = hessians[i]
    one, zero, b = np.eye(n * d, dtype=dtype), np.zeros_like(w), dtype(momentum)
    mean = np.kron(np.ones((n, 1), dtype=dtype), np.eye(d, dtype=dtype)) / np.sqrt(dtype(n))
    none, root = 0 * mean, np.sqrt(dtype(2))
    base, slope, drive, conserved = {
        "DSGD": ([[w, zero], [zero, zero]], [[-w @ h, zero], [zero, zero]], [-w, zero], [none, none]),
        # buffers γM
        "DmSGD": ([[w, -b * w], [zero, b * one]], [[-w @ h, zero], [h, zero]], [-w, one], [none, none]),
        "AWCDmSGD": ([[w, -b * one], [zero, b * one]], [[-h, zero], [h, zero]], [-one, one], [none, none]),
        "DADmSGD": ([[w, -b * w], [zero, b * w]], [[-w @ h, zero], [w @ h, zero]], [-w, w], [none, none]),
        "QGDmSGD": (
            [[w, -b * w], [(1 - b) * (one - w), b * one + (1 - b) * b * w]],
            [[-w @ h, zero], [(1 - b) * w @ h, zero]],
            [-w, (1 - b) * w],
            [none, none],
        ),
        # buffer X⁻
        "DecentLaM": ([[w + b * one, -b * one], [one, zero]], [[-w @ h, zero], [zero, zero]], [-w, zero], [none, none]),
        # buffer X⁻ − γG⁻
        "D2": ([[2 * w, -w], [one, zero]], [[-w @ h, zero], [-h, zero]], [-w, -one], [mean / root, -mean / root]),
        # buffer γY
        "EXTRA": ([[w, -one], [(one - w) / 2, one]], [[-h, zero], [zero, zero]], [-one, zero], [none, mean]),
        # buffer γ(Y − G)
        "GradientTracking": (
            [[w, -w @ w], [zero, w]],
            [[-w @ w @ h, zero], [(w - one) @ h, zero]],
            [-w @ w, w - one],
            [none, mean],
        ),
    }[name]
    return Matrices(np.block(base), np.block(slope), np.vstack(drive), np.vstack(conserved))
