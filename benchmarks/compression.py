"""Compression beside gradients, in the digits study: `python -m benchmarks compression`.

On one core, all nodes' messages against all nodes' gradients, each by the row functions of the compiled engine. The
random numbers that both need are drawn beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import simlab
from benchmarks.measure import Row, ratio, seconds
from simlab.compression import QSGD, DitheredUniform, Identity, RandomK, RTopK, Sign, TopK
from simlab.kernel import Kernel
from simlab.programs import contents, load, part_of

NODES, BATCH, LEVELS = 10, 16, 15  # as in figures/digits.py
CALLS = 50


def rows(kernel: Kernel, flags: str, arguments: str) -> Callable[..., None]:
    """A compiled loop over nodes that calls the kernel's row function, as programs have it, on row i of its arrays."""
    part = part_of(kernel, flags=flags)
    trailing = "".join(f", t{k}" for k in range(len(kernel.work) + len(kernel.data)))
    driver = f"@njit(nogil=True, cache=True)\ndef rows(first, v, out{trailing}):\n    for i in range(len(out)):\n"
    driver += f"        {part.name}(i, {arguments}{trailing})\n"
    module = load("\n\n".join(["from numba import njit\n", contents((part,)), driver]), (part,))
    extra = [*(np.empty_like(w) for w in kernel.work), *kernel.data]
    return lambda first, v, out: module.rows(first, v, out, *extra)


def run() -> list[Row]:
    """Time of all messages over that of all gradients; dithers change, as levels seen before are predicted."""
    data = simlab.data.load("digits")
    parts = simlab.data.partition(data.features[7:], data.targets[7:], NODES, "sorted")
    rng = np.random.default_rng(0)
    found = []
    for hidden in (32, 64):
        problem = simlab.NeuralNetwork([hidden], parts.features, parts.targets)
        x = np.tile(problem.initial(0), (NODES, 1))
        out = np.empty_like(x)
        indices = rng.integers(0, problem.n_samples, (CALLS, NODES, BATCH), dtype=np.int32)
        fast = 'fastmath={"reassoc", "contract", "arcp", "nsz"}, '
        gradients = rows(problem.kernel(True), fast, "first[i], v[i], out[i]")
        # Messages as training makes them: gradients and the noise of their mini-batches.
        gradients(indices[0], x, out)
        v, dithers = 0.05 * out, rng.random((CALLS, *x.shape), np.float32)
        k = problem.dim // 20
        compressors: list[Any] = [Identity(), Sign(), TopK(k), RandomK(k), RTopK(k, 4 * k)]
        compressors += [QSGD(LEVELS, True, code) for code in ("fixed", "elias", "level", "adaptive")]
        compressors += [DitheredUniform(LEVELS, norm, True) for norm in ("l2", "max")]
        works: dict[str, Callable[[], object]] = {"gradients": repeated(gradients, indices, x, out)}
        for compressor in compressors:
            messages = rows(compressor.kernel(problem.dim), "", "v[i], first[i], out[i]")
            works[repr(compressor)] = repeated(messages, dithers, v, out)
        with threadpool_limits(1, user_api="blas"):
            took = seconds(works)
        found += [
            ratio("compression", f"over gradients, {hidden} units: {name}", took[name] / took["gradients"], at_most=1.0)
            for name in list(works)[1:]
        ]
    return found


def repeated(work: Callable[..., None], firsts: np.ndarray, v: np.ndarray, out: np.ndarray) -> Callable[[], None]:
    """`work` with each of `firsts`."""

    def calls() -> None:
        for first in firsts:
            work(first, v, out)

    return calls
