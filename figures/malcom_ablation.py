"""Where Malcom-PSGD's saving comes from: quantizer, source code and l1 term, each alone.

Digits on a ring, as in the study of convergence. CHOCO-SGD with fixed-length QSGD is the reference; each other run
changes one thing, or all. With its l2 norm the dithered quantizer sends the same levels as QSGD and differs in the
scale alone, because a sharper bound on its error lets it shrink less.
"""

from __future__ import annotations

import sys
from typing import Any

import simlab
from figures.claims import Claim, Interval, judge
from figures.digits import (
    CONSENSUS_LR,
    L1,
    LEVELS,
    LR,
    TARGET,
    bits_by_seed,
    choco,
    malcom,
    networks,
    over_seeds,
    saving,
    train,
)
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "what is changed in CHOCO-SGD with fixed-length QSGD",
    "network": "ring",
    "seed": "of the images held out, the start, the mini-batches and the rounding",
    "step": "iterations done",
    "loss": "mean cross-entropy of the mean parameters on all training images",
    "accuracy": "part of the held-out images that the mean parameters classify correctly",
    "stationarity": "squared proximal gradient of the algorithm's own objective at the mean parameters",
    "bits": "sent until then by all nodes, each message once for each neighbour",
}

REFERENCE, QUANTIZER, TERM, ELIAS, LEVEL, ALL = (
    "none", "quantizer", "l1 term", "Elias code", "level-by-level code", "all: Malcom-PSGD",
)  # fmt: skip
ALONE = (QUANTIZER, TERM, ELIAS, LEVEL, ALL)
STRONG = "all, with tenfold l1"


def measure(steps: int = 600, seeds: int = 5, records: int = 60) -> Any:
    """Train; a row is one change at one seed and recorded step."""
    compression = simlab.compression
    dithered = compression.DitheredUniform(LEVELS, scaled=True, code="fixed")
    algorithms = {
        REFERENCE: choco("fixed"),
        QUANTIZER: simlab.ChocoSGD(LR, CONSENSUS_LR, dithered),
        TERM: simlab.MalcomPSGD(LR, CONSENSUS_LR, compression.QSGD(LEVELS, scaled=True), L1),
        ELIAS: choco("elias"),
        LEVEL: choco("level"),
        ALL: malcom(),
        STRONG: malcom(10 * L1),
    }
    return train(algorithms, {"ring": networks()["ring"]}, range(seeds), steps, max(1, steps // records))


def savings(table: Any) -> dict[str, Interval]:
    """Part of the reference's bits that each change saves at equal loss."""
    bits = bits_by_seed(table)
    return {name: saving(bits, name, REFERENCE) for name in bits.columns if name != REFERENCE}


def summary(table: Any) -> Any:
    """Megabits to the target loss, and what each change saves."""
    import pandas as pd

    bits = bits_by_seed(table)
    saved = {REFERENCE: Interval(0.0, 0.0, 0.0)} | savings(table)
    rows = [
        {"changed": name, f"Mbit to loss {TARGET:g}": str(over_seeds(bits[name] / 1e6)), "bits saved": str(saved[name])}
        for name in table["algorithm"].unique()
    ]
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """A bar for each change."""
    from matplotlib.figure import Figure

    saved = savings(table)
    names = [name for name in table["algorithm"].unique() if name in saved][::-1]
    means = [100 * saved[name].mean for name in names]
    bars = [[100 * (saved[name].mean - saved[name].low) for name in names],
            [100 * (saved[name].high - saved[name].mean) for name in names]]  # fmt: skip
    figure = Figure(figsize=(style.PAGE * 0.75, 2.6))
    axes = figure.subplots()
    whole = {ALL, STRONG}
    colors = [style.LOOKS["MalcomPSGD" if name in whole else "ChocoSGD"].color for name in names]
    axes.barh(names, means, xerr=bars, color=colors, height=0.6, error_kw={"elinewidth": 0.9, "capsize": 2})
    for row, mean in enumerate(means):
        axes.text(max(mean, 0) + 2, row, f"{mean:.1f} %", va="center", size=7.5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(
        xlabel=f"bits saved at training loss {TARGET:g} (%)", ylabel="changed in CHOCO-SGD\nwith fixed-length QSGD",
        xlim=(min(0, *means) - 8, 100),
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    saved = savings(table)
    bits = bits_by_seed(table)
    part = over_seeds((1 - bits[LEVEL] / bits[REFERENCE]) / (1 - bits[ALL] / bits[REFERENCE]))
    to_loss = f"of the bits to training loss {TARGET:g}"
    return [
        judge("Malcom-PSGD saves", f"part {to_loss} that all changes save", saved[ALL], low=0.75),
        judge("the source code's part", "what the level-by-level code alone saves over what all save", part, low=0.95),
        judge("the l1 term's part", f"part {to_loss} that the l1 term alone saves", saved[TERM], -0.05, 0.05),
        judge("the quantizer's part", f"part {to_loss} that the quantizer alone saves", saved[QUANTIZER], -0.05, 0.05),
        judge("level by level beats Elias", f"part {to_loss} saved, level-by-level code over Elias code",
              saving(bits, LEVEL, ELIAS), low=0.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["malcom_ablation", *sys.argv[1:]]))
