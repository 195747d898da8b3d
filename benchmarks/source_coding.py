"""Symbols a second of the source codes on one core: `python -m benchmarks.source_coding`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.measure import Row, ratio, seconds
from simlab.compression import empirical_entropy, source_code

LENGTH = 1_000_000


def distributions(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Vectors of n independent levels, by the name of their law."""
    heavy = np.arange(1, 256) ** -1.5
    return {
        "sparse ternary, 95 % zeros": rng.choice([-1, 0, 1], n, p=[0.025, 0.95, 0.025]),
        "sparse, 33 levels, 95 % zeros": rng.integers(-16, 17, n) * (rng.random(n) < 0.05),
        "two-sided geometric": rng.geometric(0.4, n) - rng.geometric(0.4, n),
        "Gaussian, deviation 2": np.rint(rng.normal(0, 2, n)).astype(int),
        "uniform, 9 levels": rng.integers(-4, 5, n),
        "Zipf, 511 levels": rng.choice(np.arange(1, 256), n, p=heavy / heavy.sum()) * rng.choice([-1, 1], n),
        "10^5 levels": rng.integers(0, 100_000, n),
    }


def rate(work: Callable[[], object], n_symbols: int, repeats: int = 5) -> float:
    """Millions of symbols a second, the best of `repeats` runs after one that compiles."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return n_symbols / min(seconds) / 1e6


def run() -> list[Row]:
    """Millions of symbols a second at 95 % zeros, one core: not ratios, for this machine now."""
    levels = distributions(np.random.default_rng(1), LENGTH)["sparse ternary, 95 % zeros"].astype(np.int32)
    code = source_code("level")
    assert code.encode is not None and code.decode is not None
    data = code.encode(levels, 1.0)
    works = {
        "count": (lambda: code.count_bits(levels), 50),
        "encode": (lambda: code.encode(levels, 1.0), 10),
        "decode": (lambda: code.decode(data), 10),
    }
    took = seconds({name: work for name, (work, _) in works.items()})
    return [
        ratio("source coding", f"{name}, million symbols/s at 95 % zeros", LENGTH / took[name] / 1e6, at_least=target)
        for name, (_, target) in works.items()
    ]


def main() -> None:
    rng = np.random.default_rng(1)
    print(f"Millions of symbols a second, one vector of {LENGTH:,}")
    print(f"{'levels':32}{'code':9}{'count':>8}{'encode':>8}{'decode':>8}{'bits/symbol':>13}{'entropy':>9}")
    for law, levels in distributions(rng, LENGTH).items():
        levels = levels.astype(np.int32)
        for name in ("level", "adaptive", "elias"):
            code = source_code(name)
            data = code.encode(levels, 1.0)
            rates = [
                rate(lambda c=code, x=levels: c.count_bits(x), LENGTH),
                rate(lambda c=code, x=levels: c.encode(x, 1.0), LENGTH),
                rate(lambda c=code, b=data: c.decode(b), LENGTH),
            ]
            bits = code.count_bits(levels) / LENGTH
            speeds = "".join(f"{r:8.0f}" for r in rates)
            print(f"{law:32}{name:9}{speeds}{bits:13.4f}{empirical_entropy(levels):9.4f}")
    print("\nCounting the messages of 20 nodes: microseconds a message")
    print(f"{'dim':>8}{'s':>6}{'level':>10}{'adaptive':>10}{'elias':>10}")
    for dim in (100, 1_000, 10_000, 100_000):
        for s in (1, 16, 255):
            spread = rng.laplace(0, s / 12, (20, dim))
            rows = np.clip(np.rint(spread), -s, s).astype(np.int32)
            codes = [source_code(name, s) for name in ("level", "adaptive", "elias")]
            speeds = [1 / rate(lambda c=code, x=rows: c.count_bits(x), len(rows)) for code in codes]
            print(f"{dim:8}{s:6}" + "".join(f"{microseconds:10.2f}" for microseconds in speeds))


if __name__ == "__main__":
    main()
