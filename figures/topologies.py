"""Bias against the spectral gap: every network amplifies heterogeneity, and momentum again, unless by DecentLaM.

Squared bias of least squares with full batches on networks of 64 nodes, beside the exact limit and the bound B1,
(1 + κ²) γ² r² b², r the largest value of the bias transfer function. B1 asks for positive eigenvalues, hence lazy
weights (I + W)/2. Two kinds of data have the same b: 8 random sets, which spread their heterogeneity over all modes of
the network, and the worst case, where all of it lies along the slowest mode and the consensus part of B1 is reached.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import simlab
import theory
from figures.bias import simulated_bias
from figures.claims import Claim, judge, summarize
from figures.study import main
from simlab.plot import style
from theory.transfer import bias_transfer, modes

COLUMNS = {
    "data": "'random', or 'worst': heterogeneity along the network's slowest mode",
    "topology": "name",
    "spectral_gap": "1 − ρ of (I + W)/2",
    "algorithm": "name",
    "data_set": "number of the random data set",
    "bias": "squared bias (1/n) Σ||x_i,∞ − x*||², simulated",
    "exact": "the same by theory",
    "consensus_bound": "γ² r² b², bound B1 on its consensus part",
    "bound": "bound B1",
}

TOPOLOGIES = ("ring", "grid", "hypercube", "exponential", "complete")


def measure(lr: float = 2e-4, momentum: float = 0.9, n: int = 64, data_sets: int = 8) -> Any:
    """Simulate to the limit; a row is one algorithm on one network and data set."""
    import pandas as pd

    rows = []
    for topology in TOPOLOGIES:
        network = getattr(simlab.topologies, topology)(n, lazy=True)
        for data, number, problem in problems(network, data_sets):
            for algorithm in (simlab.DmSGD(lr, momentum), simlab.DecentLaM(lr, momentum)):
                about = (data, topology, network.spectral_gap, type(algorithm).__name__, number)
                prediction = theory.predict(problem, network, algorithm)
                found = simulated_bias(problem, network, algorithm, prediction.rate)
                rows.append((*about, found, prediction.bias, *bounds(problem, network, algorithm)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def problems(network: Any, data_sets: int) -> Iterator[tuple[str, int, Any]]:
    """Random data sets, then the worst one for this network: f_i(x) = (x − v_i)²/2, v the slowest mode, b = 1."""
    n = network.n_nodes
    for seed in range(data_sets):
        yield "random", seed, simlab.LeastSquares.synthetic(n_nodes=n, n_samples=20, dim=2, seed=seed)
    slowest = modes(network).vectors[:, -1]
    yield "worst", 0, simlab.LeastSquares(np.ones((n, 1, 1)), np.sqrt(n) * slowest[:, None])


def bounds(problem: Any, network: Any, algorithm: Any) -> tuple[float, float]:
    """B1, on the consensus part and on all; the transfer functions here increase, so r is at the second eigenvalue."""
    largest = float(bias_transfer(algorithm, network.second_eigenvalue))
    consensus = (algorithm.lr * largest * problem.heterogeneity) ** 2
    return consensus, (1 + (problem.smoothness / problem.strong_convexity) ** 2) * consensus


def summary(table: Any) -> Any:
    """Mean over data sets with its 95 % interval (none for the one worst case), and the means of theory."""
    by = ["data", "topology", "spectral_gap", "algorithm"]
    means = table.groupby(by, sort=False)[["exact", "bound"]].mean().reset_index()
    random = summarize(table[table["data"] == "random"], by, "bias")
    worst = table.loc[table["data"] == "worst", [*by, "bias"]]
    worst = worst.assign(low=np.nan, high=np.nan)
    return means.merge(random.merge(worst, how="outer"), on=by)[[*by, "bias", "low", "high", "exact", "bound"]]


def draw(table: Any) -> Any:
    """Bias against the gap, one panel for each kind of data; the networks are named along the axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.5))
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"random": "random data", "worst": "heterogeneity along the slowest mode"}
    for axes, (data, means) in zip(panels, summary(table).groupby("data", sort=False), strict=True):
        for name, run in means.groupby("algorithm", sort=False):
            gap = run["spectral_gap"]
            style.line(axes, gap, run["bound"], name, linewidth=0.7, label=f"{name}, bound B1")
            style.line(axes, gap, run["exact"], name, label=f"{name}, exact limit")
            style.mark(axes, gap, run["bias"], name, run["low"], run["high"], label=f"{name}, simulated")
        for topology, gap in means.drop_duplicates("topology")[["topology", "spectral_gap"]].itertuples(index=False):
            side = "left" if topology == "exponential" else "right"
            axes.text(gap, 0.02, f" {topology} ", ha=side, va="bottom", rotation=90, size=6.5, color="#666666",
                      transform=axes.get_xaxis_transform())  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel=r"spectral gap $1-\rho$", title=titles[data])
        axes.set_ylim(bottom=table["bias"].min() / 2000)
    panels[0].set_ylabel(r"squared bias  $\frac{1}{n}\sum_i\,\|x_{i,\infty}-x^\star\|^2$")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    means = table.groupby(["data", "algorithm", "spectral_gap"])["bias"].mean().unstack()  # columns by increasing gap
    growth = float((means.to_numpy()[:, 1:] / means.to_numpy()[:, :-1]).max())
    ratio = (means.xs("DmSGD", level="algorithm") / means.xs("DecentLaM", level="algorithm")).to_numpy()
    worst = table[(table["data"] == "worst") & (table["algorithm"] == "DecentLaM")]
    return [
        judge("bias falls with the gap", "mean squared bias over that at the next smaller gap, largest",
              growth, high=1.0),
        judge("DmSGD is biased more", "squared bias of DmSGD over DecentLaM's, least of all networks",
              float(ratio.min()), low=10.0),
        judge("momentum's factor", "squared bias of DmSGD over DecentLaM's on the complete network, random data",
              float(ratio[0, -1]), 95.0, 100.0),
        judge("bound B1", "simulated squared bias over B1, largest",
              float((table["bias"] / table["bound"]).max()), high=1.0),
        judge("B1 is tight", "DecentLaM's squared bias over the consensus part of B1, worst-case data, least",
              float((worst["bias"] / worst["consensus_bound"]).min()), 0.75, 1.0),
        judge("limits are exact", "largest |simulated over exact squared bias − 1|",
              float(np.max(np.abs(table["bias"] / table["exact"] - 1))), high=1e-4),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["topologies", *sys.argv[1:]]))
