"""How far every bound is from the true worst case: semidefinite programs over all functions, on small networks.

For each theorem of `theory.theorems` about functions, the largest value that what it bounds can take over a class of
them, exactly, for the γ, K, network and constants that the bound is given; `theorem_table` searches instances instead.
Programs start from a distance (`theory.worst_case`) or, as theorems on smooth functions do, from a gap of values
(`figures.descents`). A row without numbers says why its theorem cannot be compared.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import simlab
import theory
from figures import descents
from figures.claims import Claim, judge
from figures.study import main
from figures.worst_case import KAPPA, RHO, member
from simlab.plot import style
from theory.theorems import (
    THEOREMS,
    b1,
    b2,
    consensus_distance,
    dgd,
    dpsgd,
    gossip_pga,
    heavy_ball,
    local_momentum,
    local_updates,
    random_mixing,
)
from theory.transfer import transfer_on

COLUMNS = {
    "theorem": "name, as in `theory.verify`; rates: bounds of theory.worst_case_rate",
    "algorithm": "name",
    "network": "two nodes whose W has the eigenvalue 1/2, or a topology of four; class: all of norm ρ",
    "when": "K steps, or the limit",
    "lr": "γ in units of 1/L",
    "worst": "the largest value of what is bounded; L = 1, and b = 1 or f(x⁰) − f* = 1, ς = 1",
    "bound": "the theorem's, with the constants of the class",
    "ratio": "worst/bound; of rates (1 − bound)/(1 − worst)",
    "over": "the functions: all that the theorem is about, or a part; else why there are no numbers",
}

CONVEXITY = 4.0  # L/μ, where functions are strongly convex
EIGENVALUE = 0.5
GAP, WINDOW, MOMENTUM = 1e-6, 2, 0.5
ALL, STRONG, TILTED = "all", f"part: f_i strongly convex, κ = {CONVEXITY:g}", "part: f_i = f + linear"
TIGHT = ("DGD, gradients", "heavy ball", "critical consensus distance")
FREE = "no functions of the class in it"
COMPRESSES = "compresses: its worst case is no semidefinite program"
NOT_COMPARED = {
    "leading constant, above": "bound by a constant of the instance, not of the class",
    "leading constant, below": "bound by a constant of the instance, not of the class",
    "CHOCO-Gossip": COMPRESSES,
    "ring gap": FREE,
    "one-peer, consensus": FREE,
    "local SGD": "gradients bounded on all of space: of no strongly convex function",
    "EF-SGD": COMPRESSES,
    "EF-SGD, bounded gradients": COMPRESSES,
    "DoubleSqueeze": COMPRESSES,
    "MARINA": COMPRESSES,
    "signSGD": "takes signs: its worst case is no semidefinite program",
    "LAG, gradients": "branches on its state",
    "LAG, rate": "branches on its state",
    "LAG, messages": "branches on its state",
    "SSDA": "takes conjugates: the dual program is another one",
    **dict.fromkeys(
        ("node-wise scaling", "common scaling, consensus", "common scaling, bias"),
        "divides by what gradients measure: its worst case is no semidefinite program",
    ),
}

Row = tuple[str, str, str, str, float, float, float, str]


def two_nodes() -> simlab.Network:
    """W with the eigenvalues 1 and `EIGENVALUE`."""
    return simlab.Network.from_matrix(
        np.array([[1 + EIGENVALUE, 1 - EIGENVALUE], [1 - EIGENVALUE, 1 + EIGENVALUE]]) / 2
    )


def limits(shares: tuple[float, ...]) -> Iterator[Row]:
    """B1 and B2, over all strongly convex f_i."""
    networks = {"two nodes": two_nodes(), "ring": simlab.topologies.ring(4), "star": simlab.topologies.star(4)}
    methods = (simlab.DSGD(1.0, order="cta"), simlab.AWCDmSGD(1.0, MOMENTUM))
    for name, network in networks.items():
        for method in methods:
            for share in shares:
                algorithm = method._replace(lr=share)
                r = float(transfer_on(network, algorithm).max())
                about = type(algorithm).__name__, name, "limit", share
                options = {"smoothness": 1.0, "strong_convexity": 1 / CONVEXITY, "heterogeneity": 1.0}
                values = {
                    measure: theory.worst_case(network, algorithm, steps=math.inf, measure=measure, **options).value
                    for measure in ("mse", "consensus")
                }
                yield "B1, consensus", *about, values["consensus"], b1.consensus_bound(share, r, 1.0), STRONG
                yield "B1, bias", *about, values["mse"], b1.mse_bound(share, r, 1.0, CONVEXITY), STRONG
                yield "B1, bias, sharper", *about, values["mse"], b1.sharper_mse_bound(share, r, 1.0, CONVEXITY), STRONG
                if b2.feedback(share, r, 1.0, CONVEXITY) < 1:
                    yield "B2, bias", *about, values["mse"], b2.bound(share, r, 1.0, CONVEXITY, 1.0), STRONG


def first_steps(counts: tuple[int, ...], shares: tuple[float, ...]) -> Iterator[Row]:
    """The theorems on steps from a gap of values, and heavy ball."""
    network, rho, p = two_nodes(), EIGENVALUE, 1 - EIGENVALUE**2
    sparse = simlab.dynamics.every(network, WINDOW)
    for k in counts:
        start = {"steps": k, "smoothness": 1.0, "n_nodes": 2, "initial_gap": 1.0, "variance": 0.0}
        given = {**start, "dissimilarity": 1.0}
        when = f"K = {k}"
        for share in shares:
            lr = share * (1 + EIGENVALUE)
            cta = simlab.DSGD(lr, order="cta")
            about = "DSGD", "two nodes", when, lr
            found = descents.own_functions(network, cta, k, "gradients")
            yield "DGD, gradients", *about, found, dgd.gradient_bound(1.0, 1.0), ALL
            found = descents.own_functions(network, cta, k, "consensus")
            yield "DGD, consensus", *about, found, dgd.consensus_bound(1.0, 1.0, lr, 2, rho), ALL

            def tilted(on: Any, algorithm: Any, measure: str = "gradients", k: int = k) -> tuple[Any, ...]:
                found = descents.tilted_function(on, algorithm, k, 1.0, measure)
                return type(algorithm).__name__, "two nodes", f"K = {k}", algorithm.lr, found

            lr = share * (1 - rho) / 9  # D₁ > 0 up to (1 − ρ)/√72
            yield "D-PSGD", *tilted(network, simlab.DSGD(lr, order="cta")), dpsgd.bound(lr=lr, rho=rho, **given), TILTED
            lr = share * 0.99 * (1 - rho) / 2
            bound = dpsgd.sharper_bound(lr=lr, rho=rho, **given)
            yield "D-PSGD, sharper", *tilted(network, simlab.DSGD(lr, order="cta")), bound, TILTED
            lr = share * float(random_mixing.largest_step(1.0, p, True))
            mixing = {"lr": lr, "p": p, "atc": True}
            yield "D1", *tilted(network, simlab.DSGD(lr)), random_mixing.bound(**mixing, **given), TILTED
            yield (
                "D1, sharper",
                *tilted(network, simlab.DSGD(lr)),
                random_mixing.sharper_bound(**mixing, **given),
                TILTED,
            )
            bound = random_mixing.consensus_bound(**mixing, smoothness=1.0, dissimilarity=1.0, variance=0.0)
            yield "D1, consensus", *tilted(network, simlab.DSGD(lr), "consensus"), bound, TILTED
            lr = share * p / (8 * WINDOW)
            bound = local_updates.bound(lr=lr, window=WINDOW, p=p, **given)
            yield "D2", *tilted(sparse, simlab.DSGD(lr)), bound, TILTED
            lr = share / (2 * WINDOW)
            bound = local_updates.average_bound(lr=lr, window=WINDOW, **given)
            yield "D2 for local SGD", *tilted(network, simlab.LocalSGD(lr, local_steps=WINDOW)), bound, TILTED
            bound = float(gossip_pga.bound(lr=lr, period=WINDOW, p=p, **given))
            yield "Gossip-PGA", *tilted(network, simlab.GossipPGA(lr, period=WINDOW)), bound, TILTED
            lr = share * float(local_momentum.largest_step(1.0, MOMENTUM, 1, p))
            bound = local_momentum.bound(lr=lr, momentum=MOMENTUM, window=1, p=p, **given)
            yield "D3", *tilted(network, simlab.DmSGD(lr, MOMENTUM)), bound, TILTED
            bound = consensus_distance.bound(lr=share, **start)
            yield "critical consensus distance", *tilted(network, simlab.DSGD(share), "excess"), bound, TILTED

            # Heavy ball, on quadratics, γ between what μ and what L allow
            root = math.sqrt(0.36)
            low, high = (1 - root) ** 2 * CONVEXITY, (1 + root) ** 2
            ball = simlab.PmSGD(low + share * (high - low), root**2)
            worst = theory.worst_case(
                simlab.topologies.complete(1), ball, steps=k, smoothness=1.0, strong_convexity=1 / CONVEXITY,
                quadratic=True,
            )  # fmt: skip
            yield (
                "heavy ball",
                "PmSGD",
                "one node",
                when,
                ball.lr,
                worst.value,
                heavy_ball.envelope(k, root**2) ** 2,
                ALL,
            )


def rates(members: int) -> Iterator[Row]:
    """Rates over the class of functions and networks, and the largest of members of it."""
    some = [member(np.random.default_rng(seed)) for seed in range(members)]
    alike = simlab.Quadratic(np.tile(np.diag([1 / KAPPA, 1.0]), (2, 1, 1)), np.zeros((2, 2)))
    some.append((alike, simlab.topologies.complete(2)))
    for algorithm in (simlab.DSGD(0.3), simlab.EXTRA(0.2), simlab.GradientTracking(0.02)):
        found = max(theory.predict(problem, network, algorithm).rate for problem, network in some)
        bound = theory.worst_case_rate(algorithm, condition_number=KAPPA, rho=RHO)
        name = type(algorithm).__name__
        about = "class", "rate", algorithm.lr, found, bound, f"part: {len(some)} quadratics of the class"
        yield f"rate of {name}", name, *about


def measure(
    counts: tuple[int, ...] = (1, 2, 4, 6), shares: tuple[float, ...] = (0.1, 0.5, 1.0), members: int = 100
) -> Any:
    """Worst cases and bounds; a row is one theorem in one setting."""
    import pandas as pd

    rows: list[Any] = []
    for *about, worst, bound, over in (*limits((0.01, *shares)), *first_steps(counts, shares), *rates(members)):
        ratio = (1 - bound) / (1 - worst) if "rate" in about else worst / bound
        rows.append((*about, worst, bound, ratio, over))
    rows += [(name, "-", "-", "-", *4 * (math.nan,), why) for name, why in NOT_COMPARED.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary(table: Any) -> Any:
    """A row a theorem: the range of its ratios, over which functions; or why there are none."""
    import pandas as pd

    rows = []
    for name, group in table.groupby("theorem", sort=False):
        if group["ratio"].isna().all():
            rows.append({"theorem": name, "least ratio": "", "largest": "", "where": "", "over": group["over"].iloc[0]})
            continue
        best = group.loc[group["ratio"].idxmax()]
        rows.append({
            "theorem": name,
            "least ratio": f"{group['ratio'].min():.3f}",
            "largest": f"{group['ratio'].max():.6f}",
            "where": " ".join([best["algorithm"], best["network"], best["when"], f"γ = {best['lr']:.3g}"]),
            "over": best["over"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """A row a theorem that is compared: its ratios, and the bound at 1."""
    from matplotlib.figure import Figure

    compared = table[table["ratio"].notna()]
    names = list(dict.fromkeys(compared["theorem"]))
    figure = Figure(figsize=(style.PAGE, 0.22 * len(names) + 0.9))
    axes = figure.subplots()
    for row, name in enumerate(reversed(names)):
        ratios = compared.loc[compared["theorem"] == name, "ratio"].to_numpy()
        axes.plot([ratios.min(), ratios.max()], [row, row], color="#56B4E9", linewidth=1.5)
        axes.plot(ratios, np.full(len(ratios), row), "o", color="#0072B2", markersize=3, clip_on=False)
    axes.axvline(1, color="#D55E00", linewidth=1, zorder=1)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set(xlim=(0, 1), ylim=(-0.6, len(names) - 0.4), xlabel="true worst case / bound, a point a setting")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    most = table.groupby("theorem")["ratio"].max()
    missing = {theorem.name for theorem in THEOREMS} - set(table["theorem"])
    return [
        judge("no bound is broken", "largest worst case over its bound", float(table["ratio"].max()), high=1 + GAP),
        judge("tight in the worst case", f"least of the largest ratios of {', '.join(TIGHT)}",
              float(most[list(TIGHT)].min()), low=0.999),
        judge("B1 on disagreement is tight for small steps", "largest ratio over strongly convex f_i",
              float(most["B1, consensus"]), low=0.95),
        judge("D-PSGD as cited is loose", "largest ratio", float(most["D-PSGD"]), high=0.5),
        judge("rates over the class are attained", "least (1 − bound)/(1 − largest found)",
              float(most[[name for name in most.index if name.startswith("rate of")]].min()), low=0.99),
        judge("every theorem about runs is in the table", "number that are not", float(len(missing)), high=0.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["worst_theorems", *sys.argv[1:]]))
