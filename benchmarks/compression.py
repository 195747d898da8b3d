"""Compression beside gradients, in the digits study: `python -m benchmarks.compression`.

Microseconds a step on one core, all nodes' messages against all nodes' gradients, each by the row functions of the
compiled engine. The random numbers that both need are drawn beforehand.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import simlab
from simlab.compression import QSGD, DitheredUniform, Identity, RandomK, RTopK, Sign, TopK
from simlab.engine.kernel import Kernel
from simlab.engine.program import load

NODES, BATCH, LEVELS = 10, 16, 15  # as in figures/digits.py


def rows(kernel: Kernel, flags: str, arguments: str) -> Callable[..., None]:
    """A compiled loop over nodes that calls the kernel's row function on row i of its arrays."""
    header = "import math\n\nimport numpy as np\nfrom numba import njit\n"
    texts = [f"@njit(nogil=True{flags})\n{inspect.getsource(f)}" for f in kernel.functions]
    trailing = "".join(f", t{k}" for k in range(len(kernel.work) + len(kernel.data)))
    call = f"        {kernel.functions[-1].__name__}(i, {arguments}{trailing})"
    driver = (
        f"@njit(nogil=True, cache=True)\ndef rows(first, v, out{trailing}):\n    for i in range(len(out)):\n{call}\n"
    )
    module = load("\n\n".join([header, *texts, driver]))
    extra = [*(np.empty_like(w) for w in kernel.work), *kernel.data]
    return lambda first, v, out: module.rows(first, v, out, *extra)


def microseconds(work: Callable[[], Any], repeats: int = 200) -> float:
    """The best of `repeats` runs, after one that compiles."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds)


def main() -> None:
    data = simlab.data.load("digits")
    parts = simlab.data.partition(data.features[7:], data.targets[7:], NODES, "sorted")
    rng = np.random.default_rng(0)
    print(f"Microseconds a step, {NODES} nodes, digits")
    for hidden in (32, 64):
        problem = simlab.NeuralNetwork([hidden], parts.features, parts.targets)
        x = np.tile(problem.initial(0), (NODES, 1))
        out = np.empty_like(x)
        indices = rng.integers(0, problem.n_samples, (NODES, BATCH), dtype=np.int32)
        fast = ', fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy"'
        gradients = rows(problem.kernel(True), fast, "first[i], v[i], out[i]")
        reference = microseconds(lambda g=gradients, x=x, i=indices, o=out: g(i, x, o))
        print(
            f"\n{hidden} hidden units, d = {problem.dim}\n{'gradients of batches of ' + str(BATCH):66}{reference:10.0f}"
        )
        # Messages as training makes them: gradients and the noise of their mini-batches.
        gradients(indices, x, out)
        v, dithers = 0.05 * out, cycle(rng.random((50, *x.shape), np.float32))
        k = problem.dim // 20
        compressors: list[Any] = [Identity(), Sign(), TopK(k), RandomK(k), RTopK(k, 4 * k)]
        compressors += [QSGD(LEVELS, True, code) for code in ("fixed", "elias", "level")]
        compressors += [DitheredUniform(LEVELS, norm, True) for norm in ("l2", "max")]
        for compressor in compressors:
            messages = rows(compressor.kernel(problem.dim), ', error_model="numpy"', "v[i], first[i], out[i]")
            spent = microseconds(lambda c=messages, v=v, u=dithers, o=out: c(next(u), v, o))
            print(f"{compressor!r:66}{spent:10.0f}{spent / reference:8.2f} of the gradients")


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):
        main()
