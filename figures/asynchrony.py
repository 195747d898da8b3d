"""Nodes that do not wait: AD-PSGD predicted, simulated, and where unequal speeds lead.

Quadratics with a minimizer of their own at each of 5 nodes of a ring. A node computes for an exponential time, averages
with a random neighbour and applies the gradient, taken where it began. Events are independent draws, so that limit and
variance are exact, staleness included. If nodes are equally fast, the mean settles at the minimizer of the mean f up to
O(γ); if some are faster, it settles at that of Σ r_i f_i, r_i the speeds, and smaller steps do not help. A first claim,
that simulations agree with exact values to 3 %, was no statement of theory: 16 replicates may be farther away. How far
their own scatter says.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, agrees, exponent, interval, judge
from figures.study import main
from simlab.plot import style
from theory.theorems.asynchronous_weights import weighted_minimizer

COLUMNS = {
    "speeds": "equal, or unequal: one node is four times as fast as the slowest",
    "lr": "γ",
    "data_set": "number of the data set",
    "to_minimizer": "||mean of E x_i − x*||, exact; x* the minimizer of the mean f",
    "to_weighted": "||mean of E x_i − x_r||, exact; x_r the minimizer of Σ r_i f_i",
    "apart": "||x_r − x*||",
    "mse": "(1/n) Σ E||x_i − x*||², exact",
    "simulated": "the same over the second half of the run, mean over replicates; NaN where it is not simulated",
    "error": "standard error of that mean",
}

NODES, DIM, STD, REPLICATES = 5, 2, 0.1, 16
LRS = (0.0025, 0.005, 0.01, 0.02, 0.04)
SIMULATED = (0.01, 0.04)
SPEEDS = {"equal": np.ones(NODES), "unequal": np.array([1.0, 2.0, 4.0, 2.0, 1.0])}


def measure(data_sets: int = 4, lrs: tuple[float, ...] = LRS, steps: int = 40_000) -> Any:
    """Predict, and simulate at two step sizes; a row is one step size on one data set with equal or unequal speeds."""
    import pandas as pd

    rows = []
    for name, speeds in SPEEDS.items():
        network = simlab.dynamics.asynchronous(simlab.topologies.ring(NODES), simlab.dynamics.Exponential(1 / speeds))
        for seed in range(data_sets):
            problem = quadratics(seed)
            weighted = weighted_minimizer(speeds, problem.hessians, problem.linear)
            shown = [lr for lr in lrs if lr in SIMULATED]
            runs = simlab.simulate(problem, network, [simlab.ADPSGD(lr) for lr in shown], steps=steps, noise_std=STD,
                                   replicates=REPLICATES, seed=seed, record_every=100)  # fmt: skip
            late = [run.frame[run.frame["step"] >= steps // 2].groupby("replicate")["mse"].mean() for run in runs]
            seen = {lr: (values.mean(), values.sem()) for lr, values in zip(shown, late, strict=True)}
            for lr in lrs:
                exact = theory.predict(problem, network, simlab.ADPSGD(lr), noise_std=STD)
                mean = exact.limit.mean(axis=0)
                distances = (float(np.linalg.norm(mean - point)) for point in (problem.minimizer, weighted))
                apart = float(np.linalg.norm(weighted - problem.minimizer))
                rows.append((name, lr, seed, *distances, apart, exact.mse, *seen.get(lr, (np.nan, np.nan))))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def quadratics(seed: int) -> Any:
    """Hessians with eigenvalues between 0.5 and 1.5, and minimizers around a common point, both of size 1."""
    random = np.random.default_rng([seed, 17])
    bases = np.linalg.qr(random.standard_normal((NODES, DIM, DIM)))[0]
    hessians = bases * random.uniform(0.5, 1.5, (NODES, 1, DIM)) @ bases.swapaxes(1, 2)
    points = (random.standard_normal(DIM) + random.standard_normal((NODES, DIM))) / np.sqrt(DIM)
    return simlab.Quadratic(hessians, np.einsum("nij,nj->ni", hessians, points))


def by_lr(table: Any, speeds: str, column: str) -> Any:
    """A row a data set, a column a step size."""
    return table[table["speeds"] == speeds].pivot(index="data_set", columns="lr", values=column)


def summary(table: Any) -> Any:
    """A row a kind of speeds and a point: the distance at each step size, mean over data sets."""
    import pandas as pd

    rows = []
    for speeds in SPEEDS:
        for column in ("to_minimizer", "to_weighted"):
            mean = by_lr(table, speeds, column).mean()
            rows.append({"speeds": speeds, "distance": column, **{f"γ = {lr:g}": f"{v:.2e}" for lr, v in mean.items()}})
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Distances of the mean from the two minimizers; mse, exact and simulated."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    left, right = figure.subplots(1, 2)
    shown = (
        ("equal", "to_minimizer", "equal speeds, to $x^\\star$", "DSGD"),
        ("unequal", "to_minimizer", "unequal, to $x^\\star$", "DmSGD"),
        ("unequal", "to_weighted", "unequal, to $x_r$ of $\\sum r_i f_i$", "DecentLaM"),
    )
    for speeds, column, label, look in shown:
        mean = by_lr(table, speeds, column).mean()
        style.line(left, mean.index, mean, look)
        style.mark(left, mean.index, mean, look, label=label)
    for speeds, look in (("equal", "DSGD"), ("unequal", "DmSGD")):
        mean = by_lr(table, speeds, "mse").mean()
        style.line(right, mean.index, mean, look)
        seen = by_lr(table, speeds, "simulated").mean().dropna()
        style.mark(right, seen.index, seen, look)
    lrs = sorted(set(table["lr"]))
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel=r"step size $\gamma$")
        axes.set_xticks(lrs, [f"{lr:g}" for lr in lrs])
        axes.set_xticks([], minor=True)
    left.set_title("distance of the nodes' mean, exact")
    right.set_title(r"$\frac{1}{n}\sum_i\,E\|x_i-x^\star\|^2$")
    handles, labels = left.get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-")], [*labels, "right: exact; markers: simulated"],
                  loc="outside upper center", ncols=4)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    shown = table.dropna(subset="simulated")
    least = min(table["lr"])
    lrs = by_lr(table, "equal", "mse").columns.to_numpy()

    def order(speeds: str, column: str) -> Any:
        return exponent(lrs, by_lr(table, speeds, column).to_numpy())

    stays = by_lr(table, "unequal", "to_minimizer")[least] / by_lr(table, "unequal", "apart")[least]
    return [
        agrees("exact is simulated", "farthest simulated mse from the exact one, in standard errors", shown["mse"],
               shown["simulated"], shown["error"], REPLICATES),
        judge("equal speeds lead to the minimizer", "exponent of the distance from it in γ",
              order("equal", "to_minimizer"), 0.9, 1.1),
        judge("unequal ones to the weighted one", "exponent of the distance from it in γ",
              order("unequal", "to_weighted"), 0.9, 1.1),
        judge("and not to the minimizer", f"distance from it over that of the two, at γ = {least:g}", interval(stays),
              0.9, 1.1),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["asynchrony", *sys.argv[1:]]))
