"""Momentum amplifies what a random network does: DecentLaM's too, quasi-global momentum's not.

Least squares on a lazy ring of 8 nodes whose links fail at random, exact gradients, one step size γ for every momentum
β. The mean obeys the fixed network E W, on which DecentLaM has the bias of DSGD whatever β is. What is left of the
network's randomness, its variance in the stationary state, is another matter: it is computed exactly, and simulated.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, Interval, exponent, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "momentum": "β; 0 is DSGD",
    "data_set": "number of the data set",
    "bias": "(1/n) Σ ||E x_i − x*||², exact",
    "network_variance": "(1/n) Σ E||x_i − E x_i||², exact",
    "simulated": "mse over the second half of the run, mean over replicates; NaN where it is not simulated",
    "rate": "factor a step in mean square, exact",
}

NODES, DIM, LR, FAILURES = 8, 3, 0.004, 0.3
MOMENTA = (0.5, 0.7, 0.8, 0.9)
SIMULATED = (0.0, 0.8)
METHODS = {"DecentLaM": simlab.DecentLaM, "QGDmSGD": simlab.QGDmSGD, "DmSGD": simlab.DmSGD}


def measure(data_sets: int = 4, momenta: tuple[float, ...] = MOMENTA, steps: int = 16_000, replicates: int = 8) -> Any:
    """Predict, and simulate for two momenta; a row is one algorithm, momentum and data set."""
    import pandas as pd

    network = simlab.dynamics.link_failures(simlab.topologies.ring(NODES, lazy=True), FAILURES)
    rows = []
    for seed in range(data_sets):
        problem = simlab.LeastSquares.synthetic(NODES, 40, DIM, seed=seed)
        for name, method in METHODS.items():
            for momentum in (0.0, *momenta):
                algorithm = method(LR, momentum)
                exact = theory.predict(problem, network, algorithm)
                found = np.nan
                if momentum in SIMULATED:
                    run = simlab.simulate(
                        problem, network, algorithm, steps=steps, replicates=replicates, record_every=20, seed=seed
                    )
                    found = float(run.frame.loc[run.frame["step"] >= steps // 2, "mse"].mean())
                rows.append((name, momentum, seed, exact.bias, exact.network_variance, found, exact.rate))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def by_momentum(table: Any, algorithm: str, column: str) -> Any:
    """A row a data set, a column a momentum."""
    return table[table["algorithm"] == algorithm].pivot(index="data_set", columns="momentum", values=column)


def growth(table: Any, algorithm: str) -> Interval:
    """Exponent of the network variance in 1/(1 − β)."""
    found = by_momentum(table, algorithm, "network_variance").drop(columns=0.0)
    return exponent(1 / (1 - found.columns.to_numpy()), found.to_numpy())


def summary(table: Any) -> Any:
    """A row an algorithm: network variance over DSGD's at each momentum, mean over data sets, and its exponent."""
    import pandas as pd

    rows = []
    for name in METHODS:
        found = by_momentum(table, name, "network_variance")
        over = found.div(found[0.0], axis=0).mean()
        rows.append({
            "algorithm": name, **{f"β = {m:g}": f"{v:.3g}" for m, v in over.items()},
            "exponent in 1/(1−β)": str(growth(table, name)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Network variance and bias against 1/(1 − β), both exact; simulated mse as markers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.8))
    left, right = figure.subplots(1, 2)
    for name in METHODS:
        for axes, column in ((left, "network_variance"), (right, "bias")):
            mean = by_momentum(table, name, column).mean()
            style.line(axes, 1 / (1 - mean.index.to_numpy()), mean.to_numpy(), name)
            if axes is right:
                style.mark(axes, 1 / (1 - mean.index.to_numpy()), mean.to_numpy(), name, label=name)
        simulated = by_momentum(table, name, "simulated") - by_momentum(table, name, "bias")
        mean = simulated.mean().dropna()
        style.mark(left, 1 / (1 - mean.index.to_numpy()), mean.to_numpy(), name, label=name)
    for axes, title in ((left, "network variance"), (right, "squared bias of the mean")):
        axes.set(xscale="log", yscale="log", xlabel=r"$1/(1-\beta)$", title=title)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        [*handles, *style.keys("-")], [*labels, "exact; markers left: simulated"], loc="outside upper center", ncols=4
    )
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    shown = table.dropna(subset="simulated")
    ratio = shown["simulated"] / (shown["bias"] + shown["network_variance"])
    base = by_momentum(table, "DecentLaM", "bias")
    most = max(table["momentum"])
    quasi = by_momentum(table, "QGDmSGD", "network_variance")
    return [
        judge("exact is simulated", "simulated mse over the exact one", interval(ratio), 0.97, 1.03),
        judge("DecentLaM's bias stays", "largest |bias over DSGD's − 1|",
              float((base.div(base[0.0], axis=0) - 1).abs().max(axis=None)), high=1e-6),
        judge("DecentLaM's network variance grows", "its exponent in 1/(1 − β)", growth(table, "DecentLaM"), low=0.5),
        judge("DmSGD's grows", "its exponent in 1/(1 − β)", growth(table, "DmSGD"), low=1.0),
        judge("quasi-global momentum's does not", "its exponent in 1/(1 − β)", growth(table, "QGDmSGD"), high=0.5),
        judge("quasi-global momentum stays near DSGD", f"its network variance over DSGD's at β = {most:g}",
              interval(quasi[most] / quasi[0.0]), high=2.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["random_momentum", *sys.argv[1:]]))
