"""One peer a step: exact averages after log₂n messages, at a disagreement that grows no faster than what is saved.

Quadratics with equal Hessians and a minimizer of their own at each of n nodes, noise on the gradients, DSGD with one
step size. On the one-peer exponential network node i averages at step k with node i + 2^k alone, k modulo log₂n; if n
is a power of 2, log₂n such steps average exactly. Beside it: the static exponential graph, whose nodes send log₂n
messages a step and disagree less, in about that proportion; the ring, which mixes slowly; and the complete graph.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "network": "name",
    "n_nodes": "n",
    "data_set": "number of the data set",
    "messages": "messages that a node sends a step",
    "p": "mixing parameter, of the product over a period",
    "bias": "(1/n) Σ ||E x_i − x*||², exact, mean over a period",
    "variance": "(1/n) Σ E||x_i − E x_i||², exact, mean over a period",
    "consensus": "(1/n) Σ E||x_i − x̄||², exact, mean over a period",
    "steps": "until the exact disagreement of gossip alone is 1e-6 of that at the start",
    "simulated": "consensus over the second half of the run, mean over replicates; NaN where it is not simulated",
}

SIZES = (4, 8, 16, 32, 64)
SIMULATED = 16
DIM, LR, STD, ACCURACY = 2, 0.05, 0.3, 1e-6
NETWORKS = {
    "one-peer": simlab.dynamics.one_peer_exponential,
    "exponential": simlab.topologies.directed_exponential,
    "ring": simlab.topologies.ring,
    "complete": simlab.topologies.complete,
}


def measure(sizes: tuple[int, ...] = SIZES, data_sets: int = 6, steps: int = 4000, replicates: int = 16) -> Any:
    """Predict, and simulate at one size; a row is one network of one size on one data set."""
    import pandas as pd

    rows = []
    for n in sizes:
        messages = {"one-peer": 1, "exponential": int(np.log2(n)), "ring": 2, "complete": n - 1}
        for name, build in NETWORKS.items():
            network = build(n)
            p, slow = theory.mixing_parameter(network), gossip(network)
            for seed in range(data_sets):
                random = np.random.default_rng([seed, n])
                problem = simlab.Quadratic(np.tile([0.5, 1.0], (n, 1)), random.standard_normal((n, DIM)))
                exact = theory.predict(problem, network, simlab.DSGD(LR), noise_std=STD)
                found = np.nan
                if n == SIMULATED:
                    run = simlab.simulate(problem, network, simlab.DSGD(LR), steps=steps, noise_std=STD, seed=seed,
                                          replicates=replicates, record_every=5)  # fmt: skip
                    found = float(run.frame.loc[run.frame["step"] >= steps // 2, "consensus"].mean())
                rows.append(
                    (name, n, seed, messages[name], p, exact.bias, exact.variance, exact.consensus, slow, found)
                )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def gossip(network: Any) -> int:
    """Steps of gossip alone until ||X̃||² is `ACCURACY` of that at the start, at the worst start."""
    n = network.n_nodes
    path, product = network.sample(20 * n * n, seed=0), np.eye(n) - 1 / n
    for k in range(len(path)):
        if np.linalg.norm(product, ord=2) ** 2 <= ACCURACY:
            return k
        product = path[k] @ product
    raise ValueError(f"network = {network!r} does not mix in {len(path)} steps")


def by_size(table: Any, network: str, column: str) -> Any:
    """A row a data set, a column a size."""
    return table[table["network"] == network].pivot(index="data_set", columns="n_nodes", values=column)


def summary(table: Any) -> Any:
    """A row a network: consensus at each size, and steps and messages of gossip at the largest."""
    import pandas as pd

    rows = []
    for name in NETWORKS:
        mean = by_size(table, name, "consensus").mean()
        last = table[(table["network"] == name) & (table["n_nodes"] == table["n_nodes"].max())].iloc[0]
        rows.append({
            "network": name, **{f"n = {n}": f"{value:.2e}" for n, value in mean.items()},
            "gossip: steps": last["steps"], "messages a node": last["steps"] * last["messages"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Disagreement of DSGD against n, exact and simulated; messages that gossip takes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    left, right = figure.subplots(1, 2)
    for name in NETWORKS:
        if name != "complete":  # after each step its nodes agree
            mean = by_size(table, name, "consensus").mean()
            style.line(left, mean.index, mean, name)
            seen = by_size(table, name, "simulated").mean().dropna()
            style.mark(left, seen.index, seen, name)
        one = table[table["network"] == name].groupby("n_nodes")[["steps", "messages"]].first().prod(axis=1)
        style.line(right, one.index, one, name)
        style.mark(right, one.index, one, name, label=name)
    sizes = sorted(set(table["n_nodes"]))
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="nodes $n$")
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.set_xticks([], minor=True)
    left.set_title(r"disagreement of DSGD, $\frac{1}{n}\sum_i\,E\|x_i-\bar x\|^2$")
    right.set_title(r"messages a node until gossip leaves $10^{-6}$ of $\|\tilde X\|^2$")
    handles, labels = right.get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-")], [*labels, "left: exact; markers: simulated"],
                  loc="outside upper center", ncols=5)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    shown = table[table["network"] != "complete"].dropna(subset="simulated")
    ratio = (shown["simulated"] / shown["consensus"]).groupby(shown["data_set"]).mean()
    one = table[table["network"] == "one-peer"]
    mean = {name: by_size(table, name, "consensus") for name in NETWORKS}
    most = table["n_nodes"].max()
    messages = (table["steps"] * table["messages"]).groupby([table["network"], table["n_nodes"]]).first()
    saved = messages["exponential"] / messages["one-peer"]
    return [
        judge("exact is simulated", "simulated disagreement over the exact one, mean over networks", interval(ratio),
              0.97, 1.03),
        judge("a period averages exactly", "largest |1 − p| of one-peer networks",
              float((one["p"] - 1).abs().max()), high=1e-12),
        judge("log₂n steps", "largest |steps of gossip − log₂n|",
              float((one["steps"] - np.log2(one["n_nodes"])).abs().max()), high=0.0),
        judge("worse by no more than is saved", f"disagreement over the exponential graph's at n = {most}, over log₂n",
              interval(mean["one-peer"][most] / mean["exponential"][most] / np.log2(most)), high=1.5),
        judge("fewer messages", "messages of gossip on the exponential graph over one-peer's, least of all n",
              float(saved.min()), low=3.0),
        judge("better than a ring", f"ring's disagreement over one-peer's at n = {most}",
              interval(mean["ring"][most] / mean["one-peer"][most]), low=5.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["one_peer", *sys.argv[1:]]))
