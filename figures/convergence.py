"""Convergence with full batches: DecentLaM is as fast as DmSGD and stops where DSGD stops.

Least squares over a grid of 8 nodes, 50 samples a node, 30 parameters, as in the DecentLaM paper: relative error
(1/n) Σ||x_i − x*||² / ||x*||² against iterations, and the exact limits of the algorithms as dashed lines.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.algorithms import compared
from figures.claims import Claim, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name; DSGD also runs at the step size lr/(1-β), which makes it as fast as the momentum algorithms",
    "lr": "step size γ",
    "momentum": "β, 0 where an algorithm has none",
    "step": "iterations done",
    "relative_error": "(1/n) Σ||x_i − x*||² / ||x*||², simulated",
    "limit": "its limit by theory, exact",
}

TARGET = 0.02  # relative error, above DmSGD's limit, that all algorithms reach


def measure(steps: int = 8000, lr: float = 0.005, momentum: float = 0.9, seed: int = 1) -> Any:
    """Simulate; a row is one algorithm at one step."""
    import pandas as pd

    problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, heterogeneity=1.0, noise=0.1, seed=seed)
    network = simlab.topologies.grid(8)
    algorithms = compared(lr, momentum)
    scale = float(np.sum(problem.minimizer**2))
    traces = simlab.simulate(problem, network, list(algorithms.values()), steps=steps, record_every=2)
    parts = []
    for (name, algorithm), trace in zip(algorithms.items(), traces, strict=True):
        parts.append(
            pd.DataFrame(
                {
                    "algorithm": name,
                    "lr": algorithm.lr,
                    "momentum": getattr(algorithm, "momentum", 0.0),
                    "step": trace.frame["step"],
                    "relative_error": trace.frame["mse"] / scale,
                    "limit": theory.predict(problem, network, algorithm).bias / scale,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def summary(table: Any) -> Any:
    """Speed and limit of each algorithm."""
    import pandas as pd

    rows = [
        {
            "algorithm": name,
            "lr": run["lr"].iloc[0],
            "momentum": run["momentum"].iloc[0],
            f"steps to {TARGET:g}": steps_to(run, TARGET),
            "error at the end": run["relative_error"].iloc[-1],
            "exact limit": run["limit"].iloc[0],
        }
        for name, run in table.groupby("algorithm", sort=False)
    ]
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Errors as markers on thin lines, limits dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE * 0.75, 2.9))
    axes = figure.subplots()
    last = table["step"].max()
    for k, (name, run) in enumerate(table.groupby("algorithm", sort=False)):
        style.line(axes, run["step"], run["relative_error"], name, linestyle="-", linewidth=0.8)
        shown = run.iloc[np.searchsorted(run["step"], marked(last, k))]
        style.mark(axes, shown["step"], shown["relative_error"], name)
    biased = table[table["algorithm"].isin(["DmSGD", "DecentLaM"])].drop_duplicates("algorithm")
    for name, twin, end in zip(biased["algorithm"], ("DSGD, lr/(1-β)", "DSGD"), biased["limit"], strict=True):
        style.line(axes, [1, last], [end, end], name, linestyle=style.FLOOR, linewidth=0.9, zorder=1)
        axes.text(3.4, end * 0.8, f"exact limit: {name}\nand {twin}", color=style.LOOKS[name].color, va="top", size=7)
    axes.set(
        xscale="log", yscale="log", xlim=(3, last), ylim=(biased["limit"].min() / 30, 2),
        xlabel="iterations", ylabel=r"relative error  $\frac{1}{n}\sum_i\,\|x_i-x^\star\|^2\,/\,\|x^\star\|^2$",
    )  # fmt: skip
    figure.legend(loc="outside right upper")
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    runs = dict(list(table.groupby("algorithm", sort=False)))
    steps = {name: steps_to(run, TARGET) for name, run in runs.items()}
    end = {name: run["relative_error"].iloc[-1] for name, run in runs.items()}
    exact = {name: run["limit"].iloc[0] for name, run in runs.items()}
    off = max(abs(end[name] / exact[name] - 1) for name in runs if name != "PmSGD")
    return [
        judge("as fast as DmSGD", f"steps to error {TARGET:g}, DecentLaM over DmSGD",
              steps["DecentLaM"] / steps["DmSGD"], high=1.1),
        judge("faster than DSGD", f"steps to error {TARGET:g}, DSGD over DecentLaM at the same step size",
              steps["DSGD"] / steps["DecentLaM"], low=5.0),
        judge("stops where DSGD stops", "final error, |DecentLaM over DSGD − 1|",
              abs(end["DecentLaM"] / end["DSGD"] - 1), high=1e-8),
        judge("DmSGD stops higher", "final error, DmSGD over DecentLaM", end["DmSGD"] / end["DecentLaM"], low=10.0),
        judge("DmSGD is DSGD at lr/(1-β)", "final error, |DmSGD over DSGD with step size lr/(1-β) − 1|",
              abs(end["DmSGD"] / end["DSGD, lr/(1-β)"] - 1), high=1e-8),
        judge("limits are exact", "largest |simulated limit over exact limit − 1|", off, high=1e-8),
        judge("PmSGD has no bias", "final error of PmSGD", end["PmSGD"], high=1e-20),
    ]  # fmt: skip


def steps_to(run: Any, target: float) -> float:
    """The first step at which the error is at most `target`; infinite if none is."""
    reached = run.loc[run["relative_error"] <= target, "step"]
    return float(reached.iloc[0]) if len(reached) else float("inf")


def marked(last: int, shift: int) -> np.ndarray:
    """Steps for one run's markers, even on a logarithmic axis; shifted, so that those of five runs do not meet."""
    return np.geomspace(4, last, 50)[shift % 5 :: 5]


if __name__ == "__main__":
    sys.exit(main(["convergence", *sys.argv[1:]]))
