"""How tight every bound is: the tightest instance that a search finds, and none beyond a bound.

For each theorem of `theory.theorems` an evolution strategy looks for the largest measured/bound (bound/measured where
the statement is a lower bound) among instances that satisfy all assumptions, most of them with two nodes and one
dimension, where limits and moments are exact. A ratio of 1 is a bound that cannot be improved; a smaller one says how
loose the bound is on the instances of this family, and no more than that.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from figures.claims import Claim, judge
from figures.instances import FAMILIES, Ratio
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "theorem": "name, as in `theory.verify` for those about runs",
    "relation": "of what is measured to the bound",
    "ratio": "largest measured/bound found; bound/measured for >=; the larger of the two for ==",
    "tries": "number of instances looked at",
    "instances": "among which",
}

ROUNDING = 1e-9
TIGHT = (
    "B1, consensus", "B1, bias, sharper", "B2, bias", "leading constant, above", "leading constant, below",
    "node-wise scaling", "common scaling, consensus", "common scaling, bias",
    "DGD, gradients", "DGD, consensus", "heavy ball", "heavy ball, best rate", "QSGD, variance, sharper",
    "QSGD, contraction", "exponential graph's gap", "D1", "D1, consensus", "push-sum", "MATCHA", "EF-SGD, memory",
    "MARINA", "signSGD", "LAG, gradients", "LAG, rate", "LAG, messages", "SSDA", "critical distance",
    "one-peer, consensus", "asynchronous weights",
)  # fmt: skip


class Found(NamedTuple):
    """Largest ratio, and the number of usable cases that were looked at."""

    ratio: float
    tries: int


def tightest(ratio: Ratio, size: int, tries: int, seed: int = 0, population: int = 200) -> Found:
    """Search by an evolution strategy: half fresh cases, half mutations of the 20 tightest so far; NaN is unusable."""
    random = np.random.default_rng(seed)
    cases, ratios = np.zeros((0, size)), np.zeros(0)
    done = 0
    while done < tries:
        fresh = 1.5 * random.standard_normal((population, size))
        if len(cases):
            parents = cases[random.integers(len(cases), size=population // 2)]
            scales = 10.0 ** random.uniform(-2, 0.3, (population // 2, 1))
            moved = random.random(parents.shape) < random.uniform(0.1, 1, (population // 2, 1))
            fresh[: population // 2] = parents + scales * moved * random.standard_normal(parents.shape)
        fresh = np.clip(fresh, -5, 5)  # farther out there is only rounding
        with np.errstate(all="ignore"):
            found = ratio(fresh)
        usable = np.isfinite(found)
        done += int(usable.sum())
        cases, ratios = np.concatenate([cases, fresh[usable]]), np.concatenate([ratios, found[usable]])
        best = np.argsort(-ratios)[:20]
        cases, ratios = cases[best], ratios[best]
    return Found(float(ratios[0]), done)


def measure(tries: int = 20_000) -> Any:
    """Search; a row is one theorem."""
    import pandas as pd

    rows = [(f.theorem, f.relation, *tightest(f.ratio, f.size, tries), f.what) for f in FAMILIES]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary(table: Any) -> Any:
    """The table itself."""
    return table.assign(ratio=[f"{ratio:.6f}" for ratio in table["ratio"]])


def draw(table: Any) -> Any:
    """A row a theorem: its ratio as a point between 0 and the bound at 1, and as a number."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 0.2 * len(table) + 0.9))
    figure.set_layout_engine("none")  # it does not make room for columns of text beside the axes
    axes = figure.add_axes((0.245, 0.09, 0.305, 0.86))
    rows = np.arange(len(table))[::-1]
    axes.hlines(rows, 0, table["ratio"], color="#56B4E9", linewidth=1.5)
    axes.axvline(1, color="#D55E00", linewidth=1, zorder=1)
    axes.plot(table["ratio"], rows, "o", color="#0072B2", clip_on=False, zorder=3)
    signs = table["relation"].map({"<=": "≤", ">=": "≥", "==": "="})
    columns = ((1.06, table["ratio"].map("{:.4f}".format)), (1.27, table["instances"]))
    for x, texts in columns:
        for row, text in zip(rows, texts, strict=True):
            axes.text(x, row, text, va="center", size=7.5)
    for (x, _), title in zip(columns, ("ratio", "searched among"), strict=True):
        axes.text(x, len(table), title, va="center", size=7.5, weight="bold")
    axes.text(1.0, len(table), "bound", va="center", ha="right", size=7.5, color="#D55E00")
    axes.set_yticks(rows, table["theorem"] + "  " + signs)
    axes.set(
        xlim=(0, 1),
        ylim=(-0.7, len(table) - 0.3),
        xlabel="tightest: measured / bound (≥: inverse)",
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    ratios = table.set_index("theorem")["ratio"]
    equalities = table.loc[table["relation"] == "==", "ratio"]
    return [
        judge("no bound is broken", "largest measured/bound of all theorems", float(ratios.max()), high=1 + ROUNDING),
        judge("tight bounds", f"least ratio of the {len(TIGHT)} bounds that are tight",
              float(ratios[list(TIGHT)].min()), low=0.99),
        judge("equalities", "largest measured/formula or its inverse", float(equalities.max()), 1.0, 1 + ROUNDING),
        judge("enough tries", "instances looked at, least of all theorems", float(table["tries"].min()), low=1000),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["theorem_table", *sys.argv[1:]]))
