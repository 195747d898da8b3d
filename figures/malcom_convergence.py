"""Compressed learning of digits: as fast as without compression, for a small part of the bits.

Ten nodes that hold a digit each train a network of 2410 parameters, on a ring and on a random graph: loss, accuracy
and stationarity against iterations and against megabits, mean and 95 % interval over seeds.
"""

from __future__ import annotations

import sys
from typing import Any

import simlab
from figures.claims import Claim, interval, judge, summarize
from figures.digits import CONSENSUS_LR, LR, TARGET, bits_by_seed, choco, malcom, networks, over_seeds, saving, train
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "algorithm, with its compressor",
    "network": "ring, or random (Erdős–Rényi)",
    "seed": "of the images held out, the start, the mini-batches and the rounding",
    "step": "iterations done",
    "loss": "mean cross-entropy of the mean parameters on all training images",
    "accuracy": "part of the held-out images that the mean parameters classify correctly",
    "stationarity": "squared proximal gradient of the algorithm's own objective at the mean parameters",
    "bits": "sent until then by all nodes, each message once for each neighbour",
}

MALCOM, FIXED, ELIAS, TOP_K, DSGD = (
    "Malcom-PSGD", "CHOCO-SGD, QSGD, fixed length", "CHOCO-SGD, QSGD, Elias", "CHOCO-SGD, top-k", "DSGD, float32",
)  # fmt: skip
LOOKS = {
    MALCOM: style.LOOKS["MalcomPSGD"],
    FIXED: style.LOOKS["ChocoSGD"],
    ELIAS: style.Look("#009E73", "v", (0, (2, 1))),
    TOP_K: style.Look("#56B4E9", "d", (0, (3, 1, 1, 1))),
    DSGD: style.LOOKS["DSGD"],
}
MEASURES = {"loss": "training loss", "accuracy": "accuracy", "stationarity": "stationarity"}


def measure(steps: int = 600, seeds: int = 5, records: int = 40) -> Any:
    """Train; a row is one algorithm on one network, seed and recorded step."""
    # Top-k needs the smaller consensus step: at 0.5 it diverges.
    algorithms = {
        MALCOM: malcom(),
        FIXED: choco("fixed"),
        ELIAS: choco("elias"),
        TOP_K: simlab.ChocoSGD(LR, 0.4 * CONSENSUS_LR, simlab.compression.TopK(120)),
        DSGD: simlab.DSGD(LR),
    }
    return train(algorithms, networks(), range(seeds), steps, max(1, steps // records))


def summary(table: Any) -> Any:
    """Accuracy at the end; megabits to the target loss, beside those of fixed-length QSGD."""
    import pandas as pd

    rows = []
    for network, bits in bits_by_seed(table).groupby("network", sort=False):
        for name in LOOKS:
            runs = table[(table["network"] == network) & (table["algorithm"] == name)]
            last = runs[runs["step"] == runs["step"].max()]
            rows.append(
                {
                    "network": network,
                    "algorithm": name,
                    "accuracy": str(interval(last["accuracy"])),
                    "final loss": str(interval(last["loss"])),
                    f"Mbit to loss {TARGET:g}": str(over_seeds(bits[name] / 1e6)),
                    "bits saved": str(saving(bits, name, FIXED)),
                }
            )
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """A row of panels for each network and abscissa, a column for each measure."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(style.PAGE, 7.6))
    panels = figure.subplots(4, 3, sharey="col")
    rows = [(network, x) for network in table["network"].unique() for x in ("step", "bits")]
    for (network, abscissa), row in zip(rows, panels, strict=True):
        runs = table[table["network"] == network]
        for axes, (value, label) in zip(row, MEASURES.items(), strict=True):
            _curves(axes, runs, abscissa, value)
            axes.set_ylabel(label)
            axes.set_xlabel("iterations" if abscissa == "step" else "megabits sent by all nodes")
            if value != "accuracy":
                axes.set_yscale("log")
        row[1].set_title({"ring": "ring", "random": "random graph"}[network])
    handles = [
        Line2D([], [], color=look.color, linestyle=look.line, linewidth=2.6 if name == MALCOM else 1.2, label=name)
        for name, look in LOOKS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _curves(axes: Any, runs: Any, abscissa: str, value: str) -> None:
    """Means over the seeds, at equal steps, and their intervals as bands."""
    runs = runs[runs["step"] > 0] if abscissa == "bits" else runs
    bits = runs.groupby(["algorithm", "step"], sort=False)["bits"].mean() / 1e6
    for name, run in summarize(runs, ["algorithm", "step"], value).groupby("algorithm", sort=False):
        look = LOOKS[name]
        x = bits[name] if abscissa == "bits" else run["step"]
        # Where the codes alone differ, the lines coincide: the wide one shows below the others.
        axes.plot(x, run[value], color=look.color, linestyle=look.line, linewidth=2.6 if name == MALCOM else 1.2)
        axes.fill_between(x, run["low"].clip(lower=run[value] / 10), run["high"], color=look.color, alpha=0.2, lw=0)
    if abscissa == "bits":
        axes.set_xscale("log")


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    found = []
    for network, bits in bits_by_seed(table).groupby("network", sort=False):
        runs = table[(table["network"] == network) & (table["step"] == table["step"].max())]
        last = runs.pivot(index="seed", columns="algorithm", values="accuracy")
        where = f"on the {network} network" if network == "random" else "on the ring"
        found += [
            judge(f"bits saved, {network}", f"part of the bits of CHOCO-SGD with fixed-length QSGD that Malcom-PSGD "
                  f"saves to training loss {TARGET:g} {where}", saving(bits, MALCOM, FIXED), low=0.75),
            judge(f"saved over Elias, {network}", f"the same beside CHOCO-SGD with Elias-coded QSGD {where}",
                  saving(bits, MALCOM, ELIAS), low=0.0),
            judge(f"accuracy kept, {network}", f"accuracy of Malcom-PSGD less uncompressed DSGD's {where}",
                  interval(last[MALCOM] - last[DSGD]), low=-0.03),
        ]  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main(["malcom_convergence", *sys.argv[1:]]))
