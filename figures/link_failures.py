"""Links that fail, one by one or in bursts: exact errors in the long run, over simulation.

Least squares on a lazy ring of 4 nodes, exact gradients, one step size γ. What a link does is drawn anew at each step,
or by a Markov chain whose failures last 4 times as long. Bias and network variance are predicted exactly; so is that
D² and gradient tracking stay exact, as at x* nothing moves, unless their mean square diverges.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, Interval, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name; those with momentum have β = 0.8",
    "burst": "how many times as long failures last as such drawn anew at each step; 0: these",
    "failures": "share of the time that a link is down",
    "data_set": "number of the data set",
    "bias": "(1/n) Σ ||E x_i − x*||², exact; infinite where the mean square diverges",
    "network_variance": "(1/n) Σ E||x_i − E x_i||², exact",
    "rate": "factor a step in mean square, exact",
    "simulated": "mse over the second half of the run, mean over replicates; NaN where it is not simulated",
}

NODES, LR, MOMENTUM, BURST = 4, 0.01, 0.8, 4.0
FAILURES = (0.1, 0.2, 0.4, 0.6)
SIMULATED = 0.4
METHODS: dict[str, Any] = {
    "DSGD": simlab.DSGD(LR),
    "DmSGD": simlab.DmSGD(LR, MOMENTUM),
    "DecentLaM": simlab.DecentLaM(LR, MOMENTUM),
    "QGDmSGD": simlab.QGDmSGD(LR, MOMENTUM),
    "D2": simlab.D2(LR),
    "GradientTracking": simlab.GradientTracking(LR),
}
EXACT = ("D2", "GradientTracking")


def measure(
    data_sets: int = 3, failures: tuple[float, ...] = FAILURES, steps: int = 16_000, replicates: int = 16
) -> Any:
    """Predict, and simulate at one share of failures; a row is one algorithm, kind of failure, share and data set."""
    import pandas as pd

    ring = simlab.topologies.ring(NODES, lazy=True)
    rows = []
    for seed in range(data_sets):
        problem = simlab.LeastSquares.synthetic(NODES, 20, 1, seed=seed)
        for burst in (0.0, BURST):
            for share in failures:
                network = simlab.dynamics.link_failures(ring, share, **({"burst": burst} if burst else {}))
                runs = [None] * len(METHODS)
                if share == SIMULATED:
                    runs = simlab.simulate(problem, network, list(METHODS.values()), steps=steps, record_every=40,
                                           replicates=replicates, seed=seed)  # fmt: skip
                for (name, algorithm), run in zip(METHODS.items(), runs, strict=True):
                    exact = theory.predict(problem, network, algorithm)
                    found = np.nan
                    if run is not None:
                        found = float(run.frame.loc[run.frame["step"] >= steps // 2, "mse"].mean())
                    rows.append((name, burst, share, seed, exact.bias, exact.network_variance, exact.rate, found))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def chosen(table: Any, column: str, algorithm: str, burst: float) -> Any:
    """A row a data set, a column a share of failures."""
    rows = table[(table["algorithm"] == algorithm) & (table["burst"] == burst)]
    return rows.pivot(index="data_set", columns="failures", values=column)


def over(table: Any, column: str, one: str, other: str, burst: float = 0.0) -> Any:
    """One algorithm's column over another's, a row a data set."""
    return chosen(table, column, one, burst) / chosen(table, column, other, burst)


def summary(table: Any) -> Any:
    """A row an algorithm and kind: exact mse at each share of failures, mean over data sets."""
    import pandas as pd

    rows = []
    for burst in (0.0, BURST):
        for name in METHODS:
            mse = (chosen(table, "bias", name, burst) + chosen(table, "network_variance", name, burst)).mean()
            rows.append({"algorithm": name, "failures": f"{burst:g} times as long" if burst else "drawn anew",
                         **{f"q = {q:g}": f"{value:.2e}" for q, value in mse.items()}})  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Bias and network variance against the share of failures: drawn anew in the upper row, in bursts in the lower."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 4.6))
    axes = figure.subplots(2, 2, sharex=True)
    for row, burst in zip(axes, (0.0, BURST), strict=True):
        for name in METHODS:
            if name in EXACT:
                continue
            for here, column in zip(row, ("bias", "network_variance"), strict=True):
                mean = chosen(table, column, name, burst).mean()
                style.line(here, mean.index, mean, name)
                if column == "bias":
                    style.mark(here, mean.index, mean, name, label=name)
            mse = chosen(table, "simulated", name, burst) - chosen(table, "bias", name, burst)
            mean = mse.mean().dropna()
            style.mark(row[1], mean.index, mean, name)
        kind = "anew at each step" if not burst else f"{burst:g} times as long"
        row[0].set(yscale="log", ylabel=f"links fail {kind}")
        row[1].set(yscale="log")
    axes[0, 0].set_title("squared bias of the mean")
    axes[0, 1].set_title("network variance")
    for here in axes[1]:
        here.set_xlabel("share of the time that a link is down")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-")], [*labels, "exact; markers right: simulated"],
                  loc="outside upper center", ncols=5)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    inexact = table[~table["algorithm"].isin(EXACT)]
    shown = inexact.dropna(subset="simulated")
    ratio = (shown["simulated"] / (shown["bias"] + shown["network_variance"])).groupby(shown["data_set"]).mean()
    exact = table[table["algorithm"].isin(EXACT)]
    stable = exact[exact["rate"] < 1]
    bias = over(table, "bias", "DecentLaM", "DSGD")
    variance = over(table, "network_variance", "DecentLaM", "DSGD")
    quasi = over(table, "network_variance", "QGDmSGD", "DSGD")
    bursts = chosen(table, "network_variance", "DSGD", BURST) / chosen(table, "network_variance", "DSGD", 0.0)

    def mean(found: Any) -> Interval:
        return interval(found.mean(axis=1))

    return [
        judge("exact is simulated", "simulated mse over the exact one, mean over algorithms", interval(ratio),
              0.95, 1.05),
        judge("DecentLaM's bias stays", "largest |bias over DSGD's − 1|, links failing anew",
              float((bias - 1).abs().max(axis=None)), high=1e-6),
        judge("DecentLaM's network variance does not", "network variance over DSGD's, mean over shares",
              mean(variance), low=2.0),
        judge("quasi-global momentum's nearly does", "network variance over DSGD's, mean over shares", mean(quasi),
              high=2.0),
        judge("bursts cost", "network variance of DSGD in bursts over that anew, mean over shares", mean(bursts),
              low=1.5),
        judge("exact methods stay exact", "largest exact mse of D² and gradient tracking where they are stable",
              float((stable["bias"] + stable["network_variance"]).max()), high=1e-18),
        judge("and so when simulated", "their largest simulated mse there", float(stable["simulated"].max()),
              high=1e-18),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["link_failures", *sys.argv[1:]]))
