"""Momentum amplifies DmSGD's bias as 1/(1−β)² and leaves DecentLaM's alone.

Squared bias of least squares with full batches against 1/(1−β), over a grid of 8 nodes and 8 random data sets. The
power law is the leading term for small step sizes; at the one used here DmSGD's exact exponent is 1.99.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.bias import simulated_bias
from figures.claims import Claim, Interval, exponent, judge, summarize
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "momentum": "β",
    "amplification": "1/(1−β)",
    "data_set": "number of the random data set",
    "bias": "squared bias (1/n) Σ||x_i,∞ − x*||², simulated",
    "exact": "the same by theory",
}


def measure(
    lr: float = 1e-4, amplifications: tuple[float, ...] = (1, 2, 4, 8, 16, 32), data_sets: int = 8, dim: int = 10
) -> Any:
    """Simulate to the limit; a row is one algorithm at one momentum on one data set."""
    import pandas as pd

    network = simlab.topologies.grid(8)
    rows = []
    for seed in range(data_sets):
        problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=dim, seed=seed)
        for amplification in amplifications:
            momentum = 1 - 1 / amplification
            for algorithm in (simlab.DmSGD(lr, momentum), simlab.DecentLaM(lr, momentum)):
                prediction = theory.predict(problem, network, algorithm)
                found = simulated_bias(problem, network, algorithm, prediction.rate)
                rows.append((type(algorithm).__name__, momentum, amplification, seed, found, prediction.bias))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary(table: Any) -> Any:
    """Mean over data sets with its 95 % interval, and the mean by theory."""
    by = ["algorithm", "momentum", "amplification"]
    exact = table.groupby(by, sort=False)["exact"].mean().reset_index()
    return summarize(table, by, "bias").merge(exact).sort_values(["algorithm", "momentum"])


def draw(table: Any) -> Any:
    """Bias against 1/(1−β), with the exponents beside the lines."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure(figsize=(style.COLUMN * 1.15, 2.8))
    axes = figure.subplots()
    for name, run in summary(table).groupby("algorithm", sort=False):
        style.line(axes, run["amplification"], run["exact"], name, label=f"{name}, exact")
        style.mark(axes, run["amplification"], run["bias"], name, run["low"], run["high"], label=f"{name}, simulated")
        x, y = run["amplification"].iloc[-2], run["exact"].iloc[-2]
        text = f"slope {amplified(table, name).mean:z.2f}"
        axes.annotate(text, (x, y), (-6, 6), textcoords="offset points", ha="right", color=style.LOOKS[name].color)
    axes.set(xscale="log", yscale="log", xlabel=r"momentum amplification $1/(1-\beta)$")
    axes.set_ylabel(r"squared bias  $\frac{1}{n}\sum_i\,\|x_{i,\infty}-x^\star\|^2$")
    axes.set_xticks(sorted(set(table["amplification"])))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_tick_params(which="minor", size=0)
    axes.legend(loc="upper left")
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    off = float(np.max(np.abs(table["bias"] / table["exact"] - 1)))
    return [
        judge("DmSGD's exponent is 2", "exponent of DmSGD's squared bias in 1/(1−β), mean over data sets",
              amplified(table, "DmSGD"), 1.97, 2.03),
        judge("DecentLaM's exponent is 0", "exponent of DecentLaM's squared bias in 1/(1−β), mean over data sets",
              amplified(table, "DecentLaM"), -0.001, 0.001),
        judge("limits are exact", "largest |simulated over exact squared bias − 1|", off, high=1e-4),
    ]  # fmt: skip


def amplified(table: Any, algorithm: str) -> Interval:
    """Exponent of the squared bias in 1/(1−β), its mean over data sets."""
    runs = table[table["algorithm"] == algorithm].pivot(index="data_set", columns="amplification", values="bias")
    return exponent(runs.columns, runs.to_numpy())


if __name__ == "__main__":
    sys.exit(main(["bias_vs_momentum", *sys.argv[1:]]))
