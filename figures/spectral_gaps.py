"""Spectral gaps: how fast mixing slows down as a network of each kind grows.

1 − ρ = 1 − ||W − J||₂, J = 11ᵀ/n, by a singular value decomposition of the dense mixing matrix (Metropolis weights),
against the number of nodes, beside the closed forms. Random graphs have none: 20 Erdős–Rényi graphs of each size, with
edge probability 2 ln(n)/n. The directed exponential graph of Ying et al., 2021, is doubly stochastic, not symmetric.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import simlab
from figures.claims import Claim, Interval, exponent, interval, judge, summarize
from figures.study import main
from simlab.plot import style
from simlab.plot.style import Look
from theory.theorems.spectral_gaps import directed_exponential, exponential_gap, ring_gap

COLUMNS = {
    "topology": "name; the directed exponential graph averages each node with those 1, 2, 4, ... places further on",
    "n_nodes": "number of nodes n",
    "graph": "number of the random graph, 0 where there is only one",
    "spectral_gap": "1 − ||W − J||₂, measured by a dense singular value decomposition",
    "formula": "the same in closed form; empty where none is known",
}

DOUBLING = (8, 16, 32, 64, 128, 256, 512)
BETWEEN = (12, 24, 48, 96, 192, 384)
SIZES = {
    "complete": DOUBLING,
    "hypercube": DOUBLING,
    "exponential": (*DOUBLING, *BETWEEN),
    "directed exponential": (*DOUBLING, *BETWEEN),
    "erdos_renyi": DOUBLING,
    "torus": (16, 36, 64, 100, 144, 196, 256, 324, 484),
    "ring": (*DOUBLING, *BETWEEN),
}
LOOKS = {
    "complete": Look("#000000", "^", (0, (1, 1.5))),
    "hypercube": Look("#E69F00", "s", (0, (4, 1.5, 1, 1.5)), open=True),
    "exponential": Look("#0072B2", "o", (0, (6, 2))),
    "directed exponential": Look("#56B4E9", "v", (0, (3, 1, 1, 1, 1, 1))),
    "erdos_renyi": Look("#CC79A7", "P"),
    "torus": Look("#009E73", "D", (0, (2, 1))),
    "ring": Look("#D55E00", "X", "-"),
}
LABELS = {
    "complete": "complete: $1$",
    "hypercube": r"hypercube: $2/(1+\log_2 n)$",
    "exponential": r"exponential: $4/(1+\mathrm{degree})$",
    "directed exponential": r"directed exponential: $2/(1+\lceil\log_2 n\rceil)$",
    "erdos_renyi": r"Erdős–Rényi, $p=2\,\ln(n)/n$",
    "torus": r"square torus: $\frac{2}{5}(1-\cos(2\pi/\sqrt{n}))$",
    "ring": r"ring: $\frac{2}{3}(1-\cos(2\pi/n))$",
}
LARGE = 64  # exponents are fitted from here on,
TORUS = 144  # and those of tori, whose sides are the roots, from here: their curve still bends before


def measure(largest: int = 512, graphs: int = 20) -> Any:
    """Decompose the matrices; a row is one network."""
    import pandas as pd

    rows = [
        (topology, n, graph, 1 - np.linalg.norm(weights - 1 / n, 2), formula(topology, n))
        for topology, sizes in SIZES.items()
        for n in sorted(sizes)
        if n <= largest
        for graph, weights in enumerate(mixing_matrices(topology, n, graphs))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def mixing_matrices(topology: str, n: int, graphs: int) -> Iterator[np.ndarray]:
    """The dense matrices W (n, n) of one kind and size: one, or `graphs` if it is random."""
    if topology == "directed exponential":
        yield directed_exponential(n)
    elif topology == "erdos_renyi":
        for seed in range(graphs):
            yield simlab.topologies.erdos_renyi(n, seed=seed).mix(np.eye(n))
    else:
        yield getattr(simlab.topologies, topology)(n).mix(np.eye(n))


def formula(topology: str, n: int) -> float:
    """1 − ρ in closed form, NaN for random graphs. All sizes here are even, and the sides of a torus too.

    The undirected exponential graph is circulant with offsets ±2^j: the slowest mode alternates from node to node and
    is changed by the two neighbours at distance 1 alone, 2 each.
    """
    if topology == "erdos_renyi":
        return float("nan")
    hops = int(n - 1).bit_length()
    offsets = {sign * 2**j % n for j in range(hops) for sign in (1, -1)}
    return float(
        {
            "complete": 1.0,
            "hypercube": 2 / (1 + np.log2(n)),
            "exponential": 4 / (1 + len(offsets)),
            "directed exponential": exponential_gap(n),
            "torus": 2 / 5 * (1 - np.cos(2 * np.pi / np.sqrt(n))),
            "ring": ring_gap(n),
        }[topology]
    )


def summary(table: Any) -> Any:
    """A row a topology: gaps at three sizes, with the 95 % interval of a mean over random graphs, and the exponent."""
    import pandas as pd

    rows = []
    for topology, networks in table.groupby("topology", sort=False):
        by_size = networks.groupby("n_nodes")["spectral_gap"]
        gaps = {n: f"{gap.mean():.4g}" if len(gap) == 1 else str(interval(gap)) for n, gap in by_size}
        rows.append(
            {
                "topology": topology,
                **{f"1 − ρ at n = {n}": gaps.get(n, "") for n in (16, 64, 256)},
                "exponent in n": float(np.mean(exponents(networks))),
                "largest |measured/formula − 1|": float(
                    np.max(np.abs(networks["spectral_gap"] / networks["formula"] - 1))
                ),
            }
        )
    return pd.DataFrame(rows)


def exponents(networks: Any) -> np.ndarray:
    """Least-squares slope of log(1 − ρ) against log n for n >= 64, one for each series of graphs."""
    large = networks[networks["n_nodes"] >= LARGE]
    return np.array(
        [
            np.polyfit(np.log(series["n_nodes"]), np.log(series["spectral_gap"]), 1)[0]
            for _, series in large.groupby("graph")
        ]
    )


def curve(networks: Any, least: int) -> Interval:
    """The exponent of networks that there is one of at each size, n >= least; its interval is how the curve bends."""
    large = networks[networks["n_nodes"] >= least].sort_values("n_nodes")
    return exponent(large["n_nodes"], large["spectral_gap"])


def draw(table: Any) -> Any:
    """Gap against size: closed forms as lines, measurements as markers, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    axes = figure.subplots()
    handles = []
    for topology, networks in table.groupby("topology", sort=False):
        look = LOOKS[str(topology)]
        sizes = networks.drop_duplicates("n_nodes")
        (line,) = axes.plot(sizes["n_nodes"], sizes["formula"], color=look.color, linestyle=look.line, zorder=2)
        points, bars = networks[["n_nodes", "spectral_gap"]], None
        if networks["graph"].any():
            points = summarize(networks, ["n_nodes"], "spectral_gap")
            bars = [points["spectral_gap"] - points["low"], points["high"] - points["spectral_gap"]]
        marks = axes.errorbar(
            points["n_nodes"], points["spectral_gap"], bars, color=look.color, marker=look.marker, linestyle="none",
            markerfacecolor="white" if look.open else look.color, markersize=6.5 if look.open else None,
            elinewidth=0.9, zorder=3 - look.open,
        )  # fmt: skip
        handles.append(marks if bars else (line, marks))
    axes.set(xscale="log", yscale="log", xlabel="nodes $n$", ylabel=r"spectral gap  $1-\rho$")
    shown = [n for n in DOUBLING if n <= table["n_nodes"].max()]
    axes.set_xticks(shown, list(map(str, shown)))
    axes.set_xticks([], minor=True)
    figure.legend(handles, [LABELS[str(name)] for name in table["topology"].unique()], loc="outside right center",
                  title="markers: measured\nbars: 95 % interval of the mean\nlines: closed form", title_fontsize=7.5,
                  alignment="left")  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    networks = dict(list(table.groupby("topology")))
    known = table[table["topology"] != "erdos_renyi"]
    off = np.abs(known["spectral_gap"] / known["formula"] - 1)
    faster = networks["exponential"].merge(networks["directed exponential"], on="n_nodes")
    return [
        judge("closed forms", "largest |measured over closed form − 1|, all six kinds", float(off.max()), high=1e-9),
        judge("ring", "exponent of 1 − ρ in n, n >= 64", curve(networks["ring"], LARGE), -2.005, -1.99),
        judge("torus", "exponent of 1 − ρ in n, n >= 144", curve(networks["torus"], TORUS), -1.02, -0.97),
        judge("exponential graphs", "1 − ρ of the undirected over the directed one, least",
              float((faster["spectral_gap_x"] / faster["spectral_gap_y"]).min()), low=1.0),
        judge("random graphs stay open", "exponent of 1 − ρ in n, n >= 64, mean over series of random graphs",
              interval(exponents(networks["erdos_renyi"])), low=-0.1),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["spectral_gaps", *sys.argv[1:]]))
