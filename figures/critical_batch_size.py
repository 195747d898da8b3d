"""The critical batch size: beyond B* larger batches buy little, and DecentLaM's B* is far beyond DmSGD's.

Steady-state mse against batch size, least squares over a grid of 8 nodes. Lines are the exact expectation, squared bias
plus variance; at B* the two are equal, so that all further batches together can at most halve the mse. DecentLaM has
the bias of DSGD at the speed of DmSGD, hence the largest B*. DSGD is also run at the step size that makes it as fast.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.algorithms import compared
from figures.bias_vs_batch_size import BURN_IN, LENGTH, steady_state
from figures.claims import Claim, interval, judge, summarize
from figures.study import main
from simlab.plot import style
from theory.moments.noise import Noise
from theory.prediction import settle

COLUMNS = {
    "algorithm": "name; DSGD also runs at the step size lr/(1-β), which makes it as fast as the momentum algorithms",
    "lr": "step size γ",
    "batch_size": "samples a node draws each step, with replacement: powers of two, and B* rounded",
    "replicate": "number of the independent run",
    "mse": "(1/n) Σ||x_i − x*||² in the steady state: its average over time after the burn-in; simulated",
    "expected": "the same by theory, exact",
    "bias": "squared bias (1/n) Σ||E x_i − x*||², exact",
    "critical_batch_size": "B* by theory, not rounded",
    "variance_at_critical": "variance at B*, by theory: a linear solve of its own at that real batch size",
}

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def measure(
    lr: float = 0.01, momentum: float = 0.9, replicates: int = 6, batch_sizes: tuple[int, ...] = BATCH_SIZES
) -> Any:
    """Simulate; a row is one replicate of one algorithm at one batch size."""
    import pandas as pd

    problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=256, dim=5, heterogeneity=0.5, noise=0.3, seed=1)
    network = simlab.topologies.grid(8)
    algorithms = compared(lr, momentum)
    del algorithms["PmSGD"]  # no bias: its B* is infinite
    rows = []
    for name, algorithm in algorithms.items():
        critical = theory.critical_batch_size(problem, network, algorithm)
        at_critical = variance(problem, network, algorithm, critical)
        for size in sorted({*batch_sizes, max(1, round(critical))}):
            prediction = theory.predict(problem, network, algorithm, batch_size=size)
            constant = -1 / math.log(prediction.rate)
            found = steady_state(problem, network, algorithm, size, replicates, BURN_IN * constant, LENGTH * constant)
            exact = (prediction.mse, prediction.bias, critical, at_critical)
            rows += [(name, algorithm.lr, size, replicate, mse, *exact) for replicate, mse in enumerate(found)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def variance(problem: Any, network: Any, algorithm: Any, batch_size: float) -> float:
    """Stationary variance at a batch size that need not be whole; `theory.predict` takes whole ones."""
    start = np.zeros((problem.n_nodes, problem.dim))
    moments, limit = settle(problem, network, algorithm, start, additive=False)
    return float(moments.stationary(Noise(problem, batch_size, 0.0), moments.step.gradient_points(limit)).variance)


def summary(table: Any) -> Any:
    """A row an algorithm: bias, B*, variance there, and the mse at its two sides, simulated and exact."""
    import pandas as pd

    rows = []
    for name, run in table.groupby("algorithm", sort=False):
        critical = run["critical_batch_size"].iloc[0]
        row = {
            "algorithm": name,
            "lr": run["lr"].iloc[0],
            "squared bias": run["bias"].iloc[0],
            "B*": critical,
            "variance at B* / bias": run["variance_at_critical"].iloc[0] / run["bias"].iloc[0],
        }
        for size in (BATCH_SIZES[0], max(1, round(critical)), BATCH_SIZES[-1]):
            points = run[run["batch_size"] == size]
            key = f"mse at B = {size}" if size in (BATCH_SIZES[0], BATCH_SIZES[-1]) else "mse at B = B*, rounded"
            row[key] = f"{interval(points['mse'])} ({points['expected'].iloc[0]:.4g})"
        rows.append(row)
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Mse against batch size; a dotted line falls from the curve at B*, and the bias is a dashed one."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(style.PAGE * 0.75, 3.7))
    axes = figure.subplots()
    bottom = table["bias"].min() / 8
    for shift, (name, run) in zip((-1, 1, 0, 0), table.groupby("algorithm", sort=False), strict=True):
        look = style.LOOKS[str(name)]
        points = summarize(run[run["batch_size"].isin(BATCH_SIZES)], ["batch_size"], "mse")
        exact = run.drop_duplicates("batch_size")
        style.line(axes, exact["batch_size"], exact["expected"], name)
        style.mark(axes, points["batch_size"] * 1.04**shift, points["mse"], name, points["low"], points["high"])
        bias, critical = run["bias"].iloc[0], run["critical_batch_size"].iloc[0]
        style.line(axes, [0.85, 300], [bias, bias], name, linestyle=style.FLOOR, linewidth=0.7, zorder=1)
        axes.plot([critical, critical], [bottom, 2 * bias], color=look.color, linewidth=0.9, linestyle=":", zorder=1)
        axes.plot(critical, 2 * bias, marker="o", markersize=9, markerfacecolor="none", color=look.color, zorder=4)
        axes.annotate(f" $B^\\star={critical:.3g}$ ", (critical, bottom), (0, 3), textcoords="offset points",
                      rotation=90, ha="right", va="bottom", size=7.5, color=look.color)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="batch size $B$ a node", ylim=(bottom, None), xlim=(0.85, 300))
    axes.set_ylabel(r"steady-state mse  $\frac{1}{n}\sum_i\,E\,\|x_i-x^\star\|^2$")
    axes.set_xticks(BATCH_SIZES, list(map(str, BATCH_SIZES)))
    axes.set_xticks([], minor=True)
    handles, labels = axes.get_legend_handles_labels()
    lr = table.groupby("algorithm")["lr"].first()
    labels[labels.index("DSGD")] = f"DSGD ({lr['DSGD, lr/(1-β)'] / lr['DSGD']:.0f} times slower)"
    ring = Line2D([], [], color="#555555", marker="o", markersize=8, markerfacecolor="none", linestyle="none")
    figure.legend([*handles, *style.keys("-", style.FLOOR), ring],
                  [*labels, "expected, exact", "squared bias", "variance = squared bias"],
                  loc="outside upper center", ncols=3)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    first = table.groupby("algorithm", sort=False).first()
    critical = first["critical_batch_size"]
    balance = float((first["variance_at_critical"] / first["bias"] - 1).abs().max())
    at_critical = table[(table["batch_size"] - table["critical_batch_size"]).abs() <= 0.5]
    doubled = {name: run["mse"] / run["bias"] for name, run in at_critical.groupby("algorithm")}
    ratios = (table["mse"] / table["expected"]).groupby(table["replicate"]).mean()
    return [
        judge("DecentLaM over DmSGD", "B* of DecentLaM over B* of DmSGD, which is as fast",
              critical["DecentLaM"] / critical["DmSGD"], low=20.0),
        judge("DecentLaM over DSGD", "B* of DecentLaM over B* of DSGD at the same step size, which is slower",
              critical["DecentLaM"] / critical["DSGD"], low=5.0),
        judge("variance equals squared bias", "largest |variance/squared bias − 1| at B*", balance, high=1e-8),
        judge("simulated at B*", "mse over squared bias at B*, rounded, DecentLaM",
              interval(doubled["DecentLaM"]), 1.8, 2.2),
        judge("theory", "simulated over exact mse, mean over algorithms and batch sizes", interval(ratios), 0.97, 1.03),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["critical_batch_size", *sys.argv[1:]]))
