"""The expected mse at every step, predicted before the run: mini-batches on least squares, every algorithm.

Lines are the exact expectation, with the second moment of the sampled gradients in it; markers are means of 3200 runs
on a lazy ring of 6 nodes. They form 32 independent groups of 100, each with a 95 % interval at every step. Intervals at
neighbouring steps miss together, and so do those of the algorithms, which share their mini-batches: so the share that
misses is taken over all steps and algorithms of a group, and its own interval over the groups.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, interval, judge, summarize
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name; 'DSGD, CTA' is the combine-then-adapt form",
    "step": "iterations done",
    "group": "number of the independent group of replicates",
    "mse": "(1/n) Σ||x_i − x*||², mean over the group, simulated",
    "low": "lower end of its 95 % interval, Student's t over the replicates of the group",
    "high": "upper end",
    "expected": "expected mse by theory, exact",
}


def algorithms(lr: float, momentum: float) -> dict[str, Any]:
    """Every algorithm whose step is affine on quadratics, that is without compression or thresholds."""
    single = {"DSGD": simlab.DSGD(lr), "DSGD, CTA": simlab.DSGD(lr, order="cta")}
    plain = (simlab.D2, simlab.EXTRA, simlab.GradientTracking, simlab.NIDS)
    family = (
        simlab.PmSGD,
        simlab.DmSGD,
        simlab.DecentLaM,
        simlab.AWCDmSGD,
        simlab.DADmSGD,
        simlab.QGDmSGD,
        simlab.D2DmSGD,
    )
    return (
        single
        | {algorithm.__name__: algorithm(lr) for algorithm in plain}
        | {algorithm.__name__: algorithm(lr, momentum) for algorithm in family}
    )


def measure(
    steps: int = 150, lr: float = 0.03, momentum: float = 0.8, batch_size: int = 2, groups: int = 32, size: int = 100
) -> Any:
    """Simulate; a row is one group of `size` replicates of one algorithm at one step."""
    import pandas as pd

    problem = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=10, dim=3, noise=0.3, seed=1)
    network = simlab.topologies.ring(6, lazy=True)
    every = max(1, steps // 50)
    table = algorithms(lr, momentum)
    parts = []
    for group in range(groups):
        traces = simlab.simulate(
            problem, network, list(table.values()), steps=steps, batch_size=batch_size, replicates=size,
            record_every=every, seed=group,
        )  # fmt: skip
        for name, trace in zip(table, traces, strict=True):
            started = trace.frame[trace.frame["step"] > 0]  # before that nothing is random
            parts.append(summarize(started, ["step"], "mse").assign(algorithm=name, group=group))
    found = pd.concat(parts)
    expected = pd.concat(
        theory.predict(problem, network, algorithm, batch_size=batch_size)
        .transient(steps, every)
        .assign(algorithm=name)
        for name, algorithm in table.items()
    ).rename(columns={"mse": "expected"})
    return found.merge(expected, on=["algorithm", "step"])[list(COLUMNS)]


def missed(table: Any) -> Any:
    """Whether each interval misses the expectation."""
    return (table["expected"] < table["low"]) | (table["high"] < table["expected"])


def means(table: Any) -> Any:
    """Mean over all replicates, with its 95 % interval over the groups, and the expectation."""
    by = ["algorithm", "step"]
    expected = table.drop_duplicates(by)[[*by, "expected"]]
    return summarize(table, by, "mse").merge(expected, on=by)


def summary(table: Any) -> Any:
    """A row an algorithm: mse at three steps with the expectation in brackets, and the share of intervals that miss
    it.
    """
    import pandas as pd

    last = table["step"].max()
    shown = [table["step"].iloc[(table["step"] - last * part).abs().argmin()] for part in (0.04, 0.2, 1.0)]
    rows = []
    for name, run in table.groupby("algorithm", sort=False):
        points = means(run).set_index("step")
        cells = {
            f"mse at step {step}": f"{points['mse'][step]:.4g} ± {(points['high'] - points['low'])[step] / 2:.1g} "
            f"({points['expected'][step]:.4g})"
            for step in shown
        }
        rows.append({"algorithm": name, **cells, "intervals that miss, %": 100 * missed(run).mean()})
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """One panel an algorithm, all with the same axes, with the share of the groups' intervals that miss the
    expectation.
    """
    from matplotlib.figure import Figure

    runs = list(means(table).groupby("algorithm", sort=False))
    rows = -(-len(runs) // 5)
    figure = Figure(figsize=(style.PAGE, 0.7 + 1.5 * rows))
    panels = figure.subplots(rows, 5, sharex=True, sharey=True, squeeze=False)
    for spare in panels.flat[len(runs) :]:
        spare.set_visible(False)
    for axes in panels.flat[max(0, len(runs) - 5) : len(runs)]:  # the last panel of each column
        axes.tick_params(labelbottom=True)
    for axes, (name, run) in zip(panels.flat, runs, strict=False):
        look = str(name).split(",")[0]
        style.line(axes, run["step"], run["expected"], look, linestyle="-", label="expected by theory, exact")
        at = np.unique(np.searchsorted(run["step"], np.linspace(1, run["step"].max(), 11)))
        some = run.iloc[at]
        style.mark(axes, some["step"], some["mse"], look, some["low"], some["high"], label="simulated", markersize=4)
        share = missed(table[table["algorithm"] == name]).mean()
        axes.text(0.97, 0.93, f"{100 * share:.1f} % missed", transform=axes.transAxes, ha="right", va="top", size=7)
        axes.set(yscale="log", title=name)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    figure.supxlabel("iterations", size=8.5)
    figure.supylabel(r"expected mse  $\frac{1}{n}\sum_i\,E\,\|x_i-x^\star\|^2$", size=8.5)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    shares = missed(table).groupby(table["group"]).mean()
    ratios = (table["mse"] / table["expected"]).groupby(table["group"]).mean()
    everywhere = means(table)
    per_method = (everywhere["mse"] / everywhere["expected"] - 1).abs().groupby(everywhere["algorithm"]).max()
    return [
        judge("intervals miss as often as they say", "share of 95 % intervals that miss the expectation, over groups",
              interval(shares), 0.02, 0.09),
        judge("no bias", "simulated over expected mse, mean over steps and algorithms", interval(ratios), 0.98, 1.02),
        judge("every algorithm", "largest |simulated over expected mse − 1| of all algorithms and steps",
              float(per_method.max()), high=0.1),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["transients", *sys.argv[1:]]))
