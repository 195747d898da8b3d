"""Larger batches help DecentLaM for longer: its noise-free bias is far below DmSGD's, at the same speed.

Steady-state mse against batch size over a grid of 8 nodes: least squares on synthetic data and on diabetes sorted by
target, logistic regression on breast_cancer sorted by label. The lines are the expected mse by theory: exact on least
squares, first order in the noise on logistic regression; the floors are the noise-free biases, exact.
"""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

import numpy as np

import simlab
import theory
from figures.algorithms import compared
from figures.bias import simulated_bias
from figures.claims import Claim, interval, judge, summarize
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "data": "synthetic, diabetes or breast_cancer",
    "algorithm": "name; DSGD also runs at the step size lr/(1-β), which makes it as fast as the momentum algorithms",
    "lr": "step size γ",
    "momentum": "β, 0 where an algorithm has none",
    "batch_size": "samples a node draws each step, with replacement; 'full' is the full batch, without noise",
    "replicate": "number of the independent run",
    "mse": "(1/n) Σ||x_i − x*||² in the steady state: its average over time after the burn-in; simulated",
    "expected": "the same by theory",
    "floor": "squared bias, the mse without noise, by theory",
}

PROBLEMS = ("synthetic", "diabetes", "breast_cancer")
LR = {"synthetic": 0.005, "diabetes": 0.005, "breast_cancer": 0.01}
TITLES = {
    "synthetic": "synthetic (least squares)",
    "diabetes": "diabetes (least squares)",
    "breast_cancer": "breast_cancer (logistic)",
}
BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # and all samples of a node
BURN_IN = 5.0  # time constants 1/(1 − rate); the runs start at the minimizer
LENGTH = 16.0  # time constants, burn-in included; and at least
SHORTEST = 4000  # steps


def problem(data: str) -> Any:
    """The data over 8 nodes, sorted by target where they are real."""
    if data == "synthetic":
        return simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=10, seed=1)
    loaded = simlab.data.load(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one or two samples are dropped, so that nodes have equally many
        parts = simlab.data.partition(loaded.features, loaded.targets, n_nodes=8, scheme="sorted")
    kind = simlab.LeastSquares if data == "diabetes" else simlab.LogisticRegression
    return kind(parts.features, parts.targets, l2=0.1)


def measure(
    momentum: float = 0.9, replicates: int = 8, length: float = LENGTH, data: tuple[str, ...] = PROBLEMS
) -> Any:
    """Simulate; a row is one replicate of one algorithm at one batch size."""
    import pandas as pd

    network = simlab.topologies.grid(8)
    rows = []
    for name in data:
        target = problem(name)
        for label, algorithm in compared(LR[name], momentum).items():
            about = (name, label, algorithm.lr, getattr(algorithm, "momentum", 0.0))
            noiseless = theory.predict(target, network, algorithm)
            floor = simulated_bias(target, network, algorithm, noiseless.rate)
            rows.append((*about, "full", 0, floor, noiseless.bias, noiseless.bias))
            constant = -1 / math.log(noiseless.rate)
            sizes = (*BATCH_SIZES, target.n_samples)
            for size, expected in zip(sizes, expectations(target, network, algorithm, sizes), strict=True):
                averages = steady_state(
                    target, network, algorithm, size, replicates, BURN_IN * constant, length * constant
                )
                rows += [(*about, str(size), r, mse, expected, noiseless.bias) for r, mse in enumerate(averages)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def expectations(target: Any, network: Any, algorithm: Any, sizes: tuple[int, ...]) -> list[float]:
    """Expected steady-state mse at each batch size."""
    if target.is_quadratic:
        return [theory.predict(target, network, algorithm, batch_size=size).mse for size in sizes]
    # To first order the variance is that of one sample over the batch size.
    single = theory.predict(target, network, algorithm, batch_size=1)
    return [single.bias + single.variance / size for size in sizes]


def steady_state(
    target: Any, network: Any, algorithm: Any, size: int, replicates: int, burn_in: float, length: float
) -> np.ndarray:
    """Time averages of the mse from `burn_in` to at least `length` steps, (replicates,)."""
    steps = max(math.ceil(length), SHORTEST)
    trace = simlab.simulate(
        target, network, algorithm, steps=steps, batch_size=size, replicates=replicates,
        record_every=max(1, steps // 1000), x0=target.minimizer,
    )  # fmt: skip
    settled = trace.frame[trace.frame["step"] > burn_in]
    return settled.groupby("replicate")["mse"].mean().to_numpy()


def means(table: Any) -> Any:
    """Mean over replicates with its 95 % interval, and theory, one row a point of the picture."""
    import pandas as pd

    by = ["data", "algorithm", "batch_size"]
    expected = table.groupby(by, sort=False)[["expected", "floor"]].first().reset_index()
    full = table.loc[table["batch_size"] == "full", [*by, "mse"]]
    noisy = summarize(table[table["batch_size"] != "full"], by, "mse")
    points = pd.concat([noisy, full.assign(low=np.nan, high=np.nan)]).merge(expected, on=by)
    order = {"data": PROBLEMS.index, "batch_size": number}
    return points.sort_values(list(order), key=lambda column: column.map(order[column.name]), kind="stable")


def number(batch_size: str) -> float:
    """The batch size, infinite for the full batch."""
    return math.inf if batch_size == "full" else int(batch_size)


def summary(table: Any) -> Any:
    """A row a batch size, a column an algorithm: simulated mse with its 95 % interval, and by theory in brackets."""
    import pandas as pd

    by = ["data", "batch_size"]
    points = means(table)
    width = 50 * (points["high"] - points["low"]) / points["mse"]  # half of it, in per cent of the mean
    cells = [
        f"{mse:.2e}±{percent:.0f}% ({expected:.2e})" if percent > 0 else f"{mse:.2e} ({expected:.2e})"
        for mse, percent, expected in zip(points["mse"], width, points["expected"], strict=True)
    ]
    rows = points.assign(cell=cells).groupby(by, sort=False)
    return pd.DataFrame([{**dict(zip(by, key, strict=True)), **dict(zip(row["algorithm"], row["cell"], strict=True))}
                         for key, row in rows])  # fmt: skip


def draw(table: Any) -> Any:
    """The mse against the batch size, one panel for each data set; the full batch stands apart at the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.1))
    panels = figure.subplots(1, table["data"].nunique(), squeeze=False)[0]
    for axes, (data, points) in zip(panels, means(table).groupby("data", sort=False), strict=True):
        largest = int(points.loc[points["batch_size"] != "full", "batch_size"].map(number).max())
        full = 2.5 * largest
        for shift, (name, run) in zip((-2, 2, 1, -1, 0), points.groupby("algorithm", sort=False), strict=True):
            noisy = run[run["batch_size"] != "full"]
            style.line(axes, noisy["batch_size"].map(number), noisy["expected"], name)
            apart = run["batch_size"].map(number).clip(upper=full) * 1.04**shift
            unbiased = run["floor"] < 1e-12  # PmSGD's floor, zero to rounding
            shown = ~(unbiased & (run["batch_size"] == "full"))
            style.mark(axes, apart[shown], run["mse"][shown], name, run["low"][shown], run["high"][shown])
            if not unbiased.any():
                style.line(axes, [0.8, full * 1.3], [run["floor"].iloc[0]] * 2, name, linestyle=style.FLOOR,
                           linewidth=0.7, zorder=1)  # fmt: skip
        ticks = [1, 4, 16, largest, full]
        axes.set(xscale="log", yscale="log", xlabel="batch size a node", title=TITLES[data])
        axes.set_xticks(ticks, [*map(str, ticks[:-1]), "full"])
        axes.set_xticks([], minor=True)
    panels[0].set_ylabel(r"steady-state mse  $\frac{1}{n}\sum_i\,E\,\|x_i-x^\star\|^2$")
    handles, labels = panels[0].get_legend_handles_labels()
    lr = table.groupby("algorithm")["lr"].first()
    slower = lr["DSGD, lr/(1-β)"] / lr["DSGD"]
    labels[labels.index("DSGD")] = f"DSGD ({slower:.0f} times slower)"
    figure.legend([*handles, *style.keys("-", style.FLOOR)], [*labels, "expected by theory", "noise-free bias"],
                  loc="outside upper center", ncols=4)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    found = []
    for data, rows in table.groupby("data", sort=False):
        largest = str(max(int(size) for size in rows["batch_size"] if size != "full"))
        mse = {key: group["mse"].to_numpy() for key, group in rows.groupby(["algorithm", "batch_size"])}

        def ratio(size: str, mse: Any = mse) -> Any:
            quotients = mse["DmSGD", size] / mse["DecentLaM", size]  # on the same sample paths
            return interval(quotients) if len(quotients) > 1 else float(quotients[0])

        full = rows[(rows["batch_size"] == "full") & (rows["algorithm"] != "PmSGD")]
        off = float(np.max(np.abs(full["mse"] / full["expected"] - 1)))
        found += [
            judge(f"{data}: small batches", "mse of DmSGD over DecentLaM's at batch size 1", ratio("1"), 0.9, 2.0),
            judge(f"{data}: large batches", f"mse of DmSGD over DecentLaM's at batch size {largest}",
                  ratio(largest), low=2.0),
            judge(f"{data}: full batch", "mse of DmSGD over DecentLaM's at the full batch", ratio("full"), low=20.0),
            judge(f"{data}: floors are exact", "largest |simulated over exact full-batch mse − 1|", off, high=1e-4),
            agreement(str(data), rows[rows["batch_size"] != "full"]),
        ]  # fmt: skip
    return found


def agreement(data: str, noisy: Any) -> Claim:
    """Simulated over expected mse, the mean over all algorithms and batch sizes, in each replicate."""
    ratios = (noisy["mse"] / noisy["expected"]).groupby(noisy["replicate"]).mean()
    return judge(f"{data}: theory", "simulated over expected mse, mean over algorithms and batch sizes",
                 interval(ratios), 0.95, 1.05)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["bias_vs_batch_size", *sys.argv[1:]]))
