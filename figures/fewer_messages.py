"""Loss against bits where nodes send less: lazily, on a trigger, censored, compressed, or all of it at every step.

Ridge regression on the labels of the breast cancer data, dealt out in shards of sorted labels to 8 nodes, exact
gradients. Through a server: gradient descent, LAG (lazily aggregated gradients, by the workers' or the server's
rule), EF-signSGD and DoubleSqueeze. On a ring with bias: DSGD, CHOCO-SGD and SPARQ-SGD, whose messages are triggered.
On a ring without: NIDS, LEAD (compressed), decentralized ADMM and COCA (censored). Bits are counted up and down, a
message to all neighbours once. Messages of LAG, SPARQ-SGD and COCA are counted again here, in NumPy alone.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, NamedTuple

import numpy as np

import simlab
from figures.claims import Claim, Interval, judge
from figures.digits import over_seeds
from figures.study import main
from simlab.plot import style
from theory.theorems import lag

COLUMNS = {
    "algorithm": "name",
    "kind": "dense, lazy, triggered, censored or compressed",
    "group": "server, ring (with bias) or exact (on a ring, without)",
    "partition": "seed of the shards",
    "step": "steps done",
    "gap": "(f(x̄) − f*)/(f(x⁰) − f*)",
    "bits": "sent so far, up, down and to neighbours, each message once",
    "by_hand": "the same counted here; NaN where it was not",
    "bound": "(1 − γμ)^step, the theorem's bound on the gap of LAG; NaN for the others",
}

NODES, DIM, L2, BITS = 8, 30, 0.5, 64
TARGET, CLOSER = 1e-2, 1e-5  # gaps at which bits are compared
RESOLVED = 1e-10  # gaps above which no rule compares rounding
KEPT = 3  # entries of a message of top-k
MEMORY, TRIGGER = 10, 0.03
PENALTY, CENSOR, DECAY = 0.4, 0.3, 0.93
STEP, LOCAL_STEPS, THRESHOLD, CONSENSUS = 0.05, 2, 1.0, 0.1  # γL and others of the methods with bias
PANELS = {"server": "through a server", "ring": "on a ring, with bias", "exact": "on a ring, exact"}


class Method(NamedTuple):
    """A method and what it is."""

    kind: str
    group: str
    algorithm: Any


def cancer(seed: int) -> Any:
    """The problem; `seed` deals the shards."""
    data = simlab.data.load("breast_cancer")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropped .* samples")
        parts = simlab.data.partition(data.features, data.targets, NODES, "shards", seed)
    return simlab.LeastSquares(parts.features, parts.targets, L2)


def node_smoothness(problem: Any) -> np.ndarray:
    """L_i = λ_max(A_i'A_i)/m + l2, and a little more, for rounding."""
    return (np.linalg.norm(problem.features, ord=2, axis=(1, 2)) ** 2 / problem.n_samples + L2) * (1 + 1e-12)


def methods(problem: Any) -> dict[str, Method]:
    """All of them, by name."""
    unit, top = 1 / problem.smoothness, simlab.compression.TopK(KEPT)
    levels = simlab.compression.QSGD(16, scaled=True)
    known = tuple(float(constant) for constant in node_smoothness(problem))
    return {
        "gradient descent": Method("dense", "server", simlab.LAGWK(unit, 0.0, 1)),
        "LAG-WK": Method("lazy", "server", simlab.LAGWK(0.65 * unit, TRIGGER, MEMORY)),
        "LAG-PS": Method("lazy", "server", simlab.LAGPS(0.65 * unit, TRIGGER, known, MEMORY)),
        "EF-signSGD": Method("compressed", "server", simlab.EFSignSGD(0.5 * unit)),
        "DoubleSqueeze": Method("compressed", "server", simlab.DoubleSqueeze(0.2 * unit, top)),
        "DSGD": Method("dense", "ring", simlab.DSGD(STEP * unit)),
        "CHOCO-SGD": Method("compressed", "ring", simlab.ChocoSGD(STEP * unit, CONSENSUS, top)),
        "SPARQ-SGD": Method("triggered", "ring",
                            simlab.SPARQSGD(STEP * unit, CONSENSUS, top, LOCAL_STEPS, THRESHOLD)),
        "NIDS": Method("dense", "exact", simlab.NIDS(unit)),
        "LEAD": Method("compressed", "exact", simlab.LEAD(unit, 1.0, levels)),
        "ADMM": Method("dense", "exact", simlab.DADMM(PENALTY)),
        "COCA": Method("censored", "exact", simlab.COCA(PENALTY, CENSOR, DECAY)),
    }  # fmt: skip


def measure(partitions: int = 4, steps: int = 800) -> Any:
    """Simulate every method on every partition; a row is one recorded step."""
    import pandas as pd

    ring, tables = simlab.topologies.ring(NODES), []
    for seed in range(partitions):
        problem = cancer(seed)
        hand = by_hand(problem, ring, steps)
        for name, (kind, group, algorithm) in methods(problem).items():
            frame = simlab.simulate(problem, ring, algorithm, steps=steps, record_every=1, engine="numpy").frame
            rate = 1 - algorithm.lr * problem.strong_convexity if name.startswith("LAG") else np.nan
            gap = frame["loss"] - problem.minimum
            tables.append(pd.DataFrame({
                "algorithm": name, "kind": kind, "group": group, "partition": seed, "step": frame["step"],
                "gap": gap / gap.iloc[0], "bits": frame["payload_bits"], "by_hand": hand.get(name, np.nan),
                "bound": rate ** frame["step"],
            }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


# Messages, counted by hand


def by_hand(problem: Any, network: Any, steps: int) -> dict[str, np.ndarray]:
    """Bits sent after each step, of the methods that are silent at times."""
    one, triggered = BITS * DIM, KEPT * (32 + int(np.ceil(np.log2(DIM))))
    given = methods(problem)
    counts = {
        "LAG-WK": one * lazy_messages(problem, given["LAG-WK"].algorithm, steps, None),
        "LAG-PS": one * lazy_messages(problem, given["LAG-PS"].algorithm, steps, node_smoothness(problem)),
        "SPARQ-SGD": triggered * triggered_messages(problem, network, given["SPARQ-SGD"].algorithm, steps),
        "COCA": one * censored_messages(problem, network, given["COCA"].algorithm, steps),
    }
    return {name: np.concatenate([[0], np.cumsum(found)]) for name, found in counts.items()}


def lazy_messages(problem: Any, algorithm: Any, steps: int, known: np.ndarray | None) -> np.ndarray:
    """Vectors up and down in each step of LAG; with the nodes' constants `known` it is the server that asks."""
    x, uploaded, seen = np.zeros(DIM), np.zeros((NODES, DIM)), np.zeros((NODES, DIM))
    moves, found = [0.0] * MEMORY, []
    for k in range(steps):
        g = problem.gradient(np.tile(x, (NODES, 1)))
        allowed = algorithm.trigger / algorithm.lr**2 * sum(moves)
        if known is None:
            sends = np.sum((g - uploaded) ** 2, axis=1) > allowed
            found.append(1 + sends.sum())  # the mean goes down at every step
        else:
            sends = (known**2 * np.sum((seen - x) ** 2, axis=1) > allowed) | (k == 0)
            found.append(sends.sum() * (2 if k else 1))  # who is asked is told x, but for x⁰, which all know
            seen[sends] = x
        uploaded[sends] = g[sends]
        move = algorithm.lr * uploaded.mean(axis=0)
        x, moves = x - move, [float(move @ move), *moves[:-1]]
    return np.array(found)


def triggered_messages(problem: Any, network: Any, algorithm: Any, steps: int) -> np.ndarray:
    """Messages in each step of SPARQ-SGD."""
    x, replica, found = np.zeros((NODES, DIM)), np.zeros((NODES, DIM)), []
    for k in range(steps):
        x = x - algorithm.lr * problem.gradient(x)
        if (k + 1) % LOCAL_STEPS:
            found.append(0)
            continue
        news = x - replica
        sends = np.sum(news**2, axis=1) > THRESHOLD * algorithm.lr**2
        small = np.argsort(-np.abs(news), axis=1, kind="stable")[:, KEPT:]
        np.put_along_axis(news, small, 0.0, axis=1)
        replica = replica + np.where(sends[:, None], news, 0.0)
        x = x + CONSENSUS * (network.weights @ replica - replica)
        found.append(sends.sum())
    return np.array(found)


def censored_messages(problem: Any, network: Any, algorithm: Any, steps: int) -> np.ndarray:
    """Messages in each step of COCA."""
    graph = (network.weights - np.diag(np.diag(network.weights)) > 0).astype(float)
    near = graph.sum(axis=1, keepdims=True)
    replica, dual, found = np.zeros((NODES, DIM)), np.zeros((NODES, DIM)), []
    for k in range(steps):
        weight = 2 * PENALTY * near
        x = problem.proximal((PENALTY * (near * replica + graph @ replica) - dual) / weight, weight)
        sends = np.linalg.norm(replica - x, axis=1) >= CENSOR * DECAY**k
        replica = np.where(sends[:, None], x, replica)
        dual = dual + PENALTY * (near * replica - graph @ replica)
        found.append(sends.sum())
    return np.array(found)


# What is shown


def until(table: Any, name: str, cost: str, target: float = TARGET) -> np.ndarray:
    """Steps or bits until the gap is first at most the target, on each partition; infinite if it never is."""
    found = []
    for _, run in table[table["algorithm"] == name].groupby("partition"):
        reached = np.flatnonzero(run["gap"] <= target)
        found.append(run[cost].iloc[reached[0]] if len(reached) else np.inf)
    return np.array(found, float)


def saved(table: Any, name: str, dense: str, cost: str = "bits", target: float = TARGET) -> Interval:
    """What a method needs to the target over what another needs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return over_seeds(until(table, name, cost, target) / until(table, dense, cost, target))


def summary(table: Any) -> Any:
    """A row a method: steps and kilobits to both targets, and the gap at the end."""
    import pandas as pd

    rows = []
    for name, run in table.groupby("algorithm", sort=False):
        row = {"algorithm": name, "kind": run["kind"].iloc[0]}
        for target in (TARGET, CLOSER):
            steps, bits = (until(table, name, cost, target).mean() for cost in ("step", "bits"))
            row |= {f"steps to {target:g}": f"{steps:.0f}", f"kbit to {target:g}": f"{bits / 1e3:.0f}"}
        rows.append(row | {"gap at the end": f"{run.groupby('partition')['gap'].last().mean():.1e}"})
    return pd.DataFrame(rows).replace("inf", "")


LOOKS = {
    "gradient descent": "PmSGD", "LAG-WK": "DecentLaM", "LAG-PS": "QGDmSGD", "EF-signSGD": "DmSGD",
    "DoubleSqueeze": "DADmSGD", "CHOCO-SGD": "ChocoSGD", "SPARQ-SGD": "DecentLaM", "NIDS": "GradientTracking",
    "LEAD": "ChocoSGD", "ADMM": "PmSGD", "COCA": "DecentLaM",
}  # fmt: skip


def draw(table: Any) -> Any:
    """Gaps against bits, a panel a group."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.9))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (group, title) in zip(panels, PANELS.items(), strict=True):
        runs = table[(table["group"] == group) & (table["step"] > 0)]
        for k, (name, run) in enumerate(runs.groupby("algorithm", sort=False)):
            look = LOOKS.get(str(name), str(name))
            logs = run.assign(gap=np.log(np.maximum(run["gap"], 1e-18)), bits=np.log(run["bits"] + 1))
            mean = np.exp(logs.groupby("step")[["gap", "bits"]].mean())
            style.line(axes, mean["bits"] / 1e3, mean["gap"], look, linewidth=0.9)
            at = np.unique(np.searchsorted(mean["bits"], np.geomspace(*mean["bits"].iloc[[2, -1]], 9)))[k % 2 : -1 : 2]
            label = f"{name} ({run['kind'].iloc[0]})"
            style.mark(axes, mean["bits"].iloc[at] / 1e3, mean["gap"].iloc[at], look, label=label, markersize=4)
        axes.axhline(TARGET, color="#888888", linewidth=0.8, linestyle=style.FLOOR, zorder=1)
        axes.set(xscale="log", yscale="log", xlim=(1, None), ylim=(1e-8, 1.5), xlabel="kilobits sent", title=title)
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), fontsize=6.5)
    panels[0].set_ylabel(r"$(f(\bar x)-f^\star)/(f(x^0)-f^\star)$")
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    counted = table[table["by_hand"].notna() & (table["step"] > 0) & (table["gap"] > RESOLVED)]
    bounded = table[table["bound"].notna() & (table["step"] > 0)]
    floor = table[table["group"] == "ring"].groupby(["algorithm", "partition"])["gap"].min()
    problem = cancer(0)
    budget = lag.budget(0.65, 1.0, TRIGGER, MEMORY, problem.strong_convexity / problem.smoothness)
    return [
        judge("bits as counted", "largest |bits over those counted by hand − 1|: LAG-WK, LAG-PS, SPARQ-SGD, COCA",
              float((counted["bits"] / counted["by_hand"] - 1).abs().max()), high=1e-12),
        judge("LAG's step size", "γL + ξ Σ(1 − γμ)^(−j), which its rate asks to be at most 1", float(budget), high=1.0),
        judge("LAG's rate", "largest gap over (1 − γμ)^k", float((bounded["gap"] / bounded["bound"]).max()), high=1.0),
        judge("lazy workers save bits", "bits of LAG-WK over gradient descent's",
              saved(table, "LAG-WK", "gradient descent"), high=0.7),
        judge("the more, the longer", f"the same to {CLOSER:g}",
              saved(table, "LAG-WK", "gradient descent", target=CLOSER), high=0.4),
        judge("a server that asks pays for it", f"bits of LAG-PS over gradient descent's to {CLOSER:g}",
              saved(table, "LAG-PS", "gradient descent", target=CLOSER), low=0.8),
        judge("and cost few steps", "steps of LAG-WK over gradient descent's, times 0.65, its step size",
              saved(table, "LAG-WK", "gradient descent", "step").mean * 0.65, high=1.1),
        judge("triggers save bits", "bits of SPARQ-SGD over CHOCO-SGD's", saved(table, "SPARQ-SGD", "CHOCO-SGD"),
              high=0.7),
        judge("compression saves bits", "bits of CHOCO-SGD over DSGD's", saved(table, "CHOCO-SGD", "DSGD"), high=0.2),
        judge("but not the bias", f"log10 of the least gap of methods with bias over {CLOSER:g}, smallest",
              float(np.log10(floor / CLOSER).min()), low=0.5),
        judge("compression without bias", f"bits of LEAD over NIDS's to {CLOSER:g}",
              saved(table, "LEAD", "NIDS", target=CLOSER), high=0.5),
        judge("censoring saves bits", f"bits of COCA over ADMM's to {CLOSER:g}, largest of partitions",
              float(np.max(until(table, "COCA", "bits", CLOSER) / until(table, "ADMM", "bits", CLOSER))), high=0.8),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["fewer_messages", *sys.argv[1:]]))
