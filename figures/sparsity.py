"""What the l1 term of Malcom-PSGD buys: non-zero parameters, accuracy and bits against its weight.

Digits on a ring, equally many iterations at every weight, beside proximal DSGD, which sends everything. A parameter
counts as non-zero at each node by itself; the mean of ten sparse models is less sparse.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np

import simlab
from figures.claims import Claim, interval, judge, summarize
from figures.digits import BATCH_SIZE, LR, N_NODES, digits, malcom, smooth_loss
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "Malcom-PSGD, or proximal DSGD, which does not compress",
    "l1": "weight ν of the l1 term",
    "seed": "of the images held out, the start, the mini-batches and the rounding",
    "nonzeros": "part of the parameters that are not zero at the end, mean over nodes",
    "nonzeros_of_mean": "the same of the mean parameters",
    "accuracy": "part of the held-out images that the mean parameters classify correctly",
    "loss": "mean cross-entropy of the mean parameters on all training images",
    "bits": "a parameter and message, mean over the run; 64 in proximal DSGD's double precision",
}

WEIGHTS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
WEIGHT = 1e-3  # at which the claims are judged


def measure(steps: int = 1200, seeds: int = 5, weights: tuple[float, ...] = WEIGHTS) -> Any:
    """Train; a row is one weight and seed."""
    import pandas as pd

    network = simlab.topologies.ring(N_NODES)
    rows = []
    for weight, seed in itertools.product(weights, range(seeds)):
        problem = digits(seed)
        for algorithm in (malcom(weight), simlab.ProximalDSGD(LR, weight)):
            trace = simlab.simulate(
                problem, network, algorithm, steps=steps, batch_size=BATCH_SIZE, seed=seed, record_every=steps,
                x0=problem.initial(seed),
            )  # fmt: skip
            last, x = trace.frame.iloc[-1], trace.x[0]
            nonzeros = float(np.mean(x != 0)), float(np.mean(x.mean(axis=0) != 0))
            bits = last["payload_bits"] / (steps * x.size)
            loss = smooth_loss(last, problem.l1)
            rows.append((type(algorithm).__name__, weight, seed, *nonzeros, last["accuracy"], loss, bits))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary(table: Any) -> Any:
    """Means over the seeds."""
    values = ["nonzeros", "nonzeros_of_mean", "accuracy", "loss", "bits"]
    return table.groupby(["algorithm", "l1"], sort=False)[values].mean().reset_index().sort_values(["algorithm", "l1"])


def draw(table: Any) -> Any:
    """A panel for non-zeros, accuracy and bits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.6))
    labels = {"nonzeros": "non-zero parameters (%)", "accuracy": "accuracy (%)", "bits": "bits a parameter"}
    panels = figure.subplots(1, 3)
    for axes, (value, label) in zip(panels, labels.items(), strict=True):
        scale = 1 if value == "bits" else 100
        for name, means in summarize(table, ["algorithm", "l1"], value).groupby("algorithm", sort=False):
            if value == "bits" and name != "MalcomPSGD":
                continue
            y, low, high = (scale * means[column] for column in (value, "low", "high"))
            style.line(axes, _places(means["l1"]), y, name, linewidth=0.8)
            style.mark(axes, _places(means["l1"]), y, name, low, high)
        axes.set(xscale="log", xlabel=r"weight $\nu$ of the l1 term", ylabel=label)
        if value != "accuracy":
            axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
        weights = table["l1"].unique()
        powers = [w for w in weights if w and np.isclose(np.log10(w), round(np.log10(w)))]
        axes.set_xticks([_places(weights)[0], *powers], ["0", *(rf"$10^{{{round(np.log10(w))}}}$" for w in powers)])
        axes.minorticks_off()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2)
    return figure


def _places(weights: Any) -> np.ndarray:
    """Of weights 0, a, b, ... on a logarithmic axis, which has no zero: that is drawn left of a."""
    weights = np.asarray(weights, float)
    return np.where(weights == 0, weights[weights > 0].min() / 3, weights)


def claims(table: Any) -> list[Claim]:
    """What the table shows, at the weight 1e-3 or the one nearest to it."""
    malcom_runs = table[table["algorithm"] == "MalcomPSGD"]
    nonzeros, accuracy, bits = (
        malcom_runs.pivot(index="seed", columns="l1", values=value) for value in ("nonzeros", "accuracy", "bits")
    )
    changes = np.diff(nonzeros.to_numpy(), axis=1)
    weight = min(nonzeros.columns, key=lambda w: abs(w - WEIGHT))
    return [
        judge("sparser with l1", "largest change of the part of non-zeros from one weight to the next",
              float(changes.max()), high=0.0),
        judge("not sparse at no cost", f"part of non-zeros at weight {weight:g}: most stay", interval(nonzeros[weight]),
              low=0.5),
        judge("accuracy kept", f"accuracy at weight {weight:g} less that without the l1 term",
              interval(accuracy[weight] - accuracy[0.0]), low=-0.03),
        judge("fewer bits a message", f"bits at weight {weight:g} over those without the l1 term",
              interval(bits[weight] / bits[0.0]), high=1.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["sparsity", *sys.argv[1:]]))
