"""One peer a step: exact averages after log₂n messages, at a disagreement that grows as what is saved.

Quadratics with equal Hessians and a minimizer of their own at each of n nodes, noise on the gradients, DSGD with one
step size. On the one-peer exponential network node i averages at step k with node i + 2^k alone, k modulo log₂n; if n
is a power of 2, log₂n such steps average exactly. Beside it: the static exponential graph, whose nodes send log₂n
messages a step and disagree less, in about that proportion; the ring, which mixes slowly; and the complete graph.

All W are circulant and Hessians equal, so that each frequency is a number by itself, and `by_modes` knows every
disagreement, and over random minimizers its mean and variance: what claims that compare networks are held against. A
first claim, that the ring's disagreement at n = 64 is 8 times one-peer's at least, was no statement of theory: two
frequencies hold most of it, and a mean over few data sets is anywhere within a factor.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, agrees, judge
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
    "by_modes": "the same, frequency by frequency",
    "expected": "its mean over minimizers drawn from N(0, 1)",
    "spread": "standard deviation over them",
    "steps": "until the exact disagreement of gossip alone is 1e-6 of that at the start",
    "simulated": "consensus over the second half of the run, mean over replicates; NaN where it is not simulated",
    "error": "standard error of that mean",
}

SIZES = (4, 8, 16, 32, 64)
SIMULATED = 16
DIM, LR, STD, ACCURACY, REPLICATES = 2, 0.05, 0.3, 1e-6, 16
CURVATURES = np.array([0.5, 1.0])
NETWORKS = {
    "one-peer": simlab.dynamics.one_peer_exponential,
    "exponential": simlab.topologies.directed_exponential,
    "ring": simlab.topologies.ring,
    "complete": simlab.topologies.complete,
}


def measure(sizes: tuple[int, ...] = SIZES, data_sets: int = 6, steps: int = 4000) -> Any:
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
                problem = simlab.Quadratic(np.tile(CURVATURES, (n, 1)), random.standard_normal((n, DIM)))
                exact = theory.predict(problem, network, simlab.DSGD(LR), noise_std=STD)
                found = (np.nan, np.nan)
                if n == SIMULATED:
                    run = simlab.simulate(problem, network, simlab.DSGD(LR), steps=steps, noise_std=STD, seed=seed,
                                          replicates=REPLICATES, record_every=5)  # fmt: skip
                    late = run.frame[run.frame["step"] >= steps // 2].groupby("replicate")["consensus"].mean()
                    found = (float(late.mean()), float(late.sem()))
                rows.append((
                    name, n, seed, messages[name], p, exact.bias, exact.variance, exact.consensus,
                    *by_modes(network, problem.linear), slow, *found,
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def by_modes(network: Any, linear: np.ndarray) -> tuple[float, float, float]:
    """Disagreement in the long run, its mean and standard deviation over linear terms (n, d) drawn from N(0, 1).

    A frequency f is x_f <- w_f(k) ((1 − γh) x_f + γ (b_f + ξ_f)), b_f of the unitary Fourier transform of b.
    """
    n = network.n_nodes
    fixed = isinstance(network, simlab.Network)
    matrices = [network.weights] if fixed else list(network.sample(int(np.log2(n))))
    factors, period = np.fft.fft([w[:, 0] for w in matrices])[:, 1:, None], len(matrices)
    keep = 1 - LR * CURVATURES
    mean, variance = np.zeros((n - 1, DIM), complex), np.zeros((n - 1, DIM))
    slowest = np.max(np.abs(np.prod(factors, axis=0))) ** (1 / period)
    turns = int(np.ceil(40 / -np.log(min(max(slowest, 0.1), 1 - 1e-6)) / period)) + 2
    for _ in range(turns):
        squares, variances = np.zeros((n - 1, DIM)), np.zeros((n - 1, DIM))
        for w in factors:
            mean, variance = w * (keep * mean + LR), np.abs(w) ** 2 * (keep**2 * variance + (LR * STD) ** 2)
            squares, variances = squares + np.abs(mean) ** 2 / period, variances + variance / period
    amplitudes = np.abs(np.fft.fft(linear, axis=0, norm="ortho")[1:]) ** 2
    noise = variances.sum() / n
    return (
        float(np.sum(squares * amplitudes) / n + noise),
        float(squares.sum() / n + noise),
        float(np.sqrt(2 * np.sum(squares**2)) / n),
    )


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


def compared(table: Any, one: str, other: str, n: int) -> tuple[float, float, float]:
    """Mean disagreement of one network over another's at n, and 3 standard deviations about what it must be."""
    rows = {name: table[(table["network"] == name) & (table["n_nodes"] == n)] for name in (one, other)}
    seen, expected = ([rows[k][column].mean() for k in (one, other)] for column in ("consensus", "expected"))
    spread = sum((rows[k]["spread"].mean() / rows[k]["expected"].mean()) ** 2 / len(rows[k]) for k in (one, other))
    ratio, apart = expected[0] / expected[1], 3 * float(np.sqrt(spread))
    return seen[0] / seen[1], ratio * (1 - apart), ratio * (1 + apart)


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    disagree = table[table["network"] != "complete"]
    shown = disagree.dropna(subset="simulated")
    one = table[table["network"] == "one-peer"]
    most = table["n_nodes"].max()
    messages = (table["steps"] * table["messages"]).groupby([table["network"], table["n_nodes"]]).first()
    saved = messages["exponential"] / messages["one-peer"]
    # A step of the exponential graph leaves (log₂n − 1)/(log₂n + 1) of its slowest frequency.
    hops = np.log2(table["n_nodes"].unique())
    steps = np.ceil(np.log(ACCURACY) / np.log((hops - 1) / (hops + 1)) / 2)
    return [
        agrees("exact is simulated", "farthest simulated disagreement from the exact one, in standard errors",
               shown["consensus"], shown["simulated"], shown["error"], REPLICATES),
        judge("frequency by frequency", "largest |disagreement over that by frequencies − 1|",
              float((disagree["consensus"] / disagree["by_modes"] - 1).abs().max()), high=1e-8),
        judge("a period averages exactly", "largest |1 − p| of one-peer networks",
              float((one["p"] - 1).abs().max()), high=1e-12),
        judge("log₂n steps", "largest |steps of gossip − log₂n|",
              float((one["steps"] - np.log2(one["n_nodes"])).abs().max()), high=0.0),
        judge("worse by what is saved", f"disagreement over the exponential graph's, log₂n = {hops[-1]:g}",
              *compared(table, "one-peer", "exponential", most)),
        judge("fewer messages", "messages of gossip on the exponential graph over one-peer's, least of all n",
              float(saved.min()), low=float(steps.min())),
        judge("better than a ring", f"ring's disagreement over one-peer's at n = {most}",
              *compared(table, "ring", "one-peer", most)),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["one_peer", *sys.argv[1:]]))
