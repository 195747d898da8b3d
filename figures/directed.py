"""On directed networks push-sum finds the minimizer; gossip with rows that sum to 1 finds another point.

Quadratics with a minimizer of their own at each of 8 nodes, on random digraphs in which some nodes are heard more than
others. DSGD with equal weights for what a node receives (row stochastic W) minimizes Σ π_i f_i, π'W = π', up to O(γ);
SGP and subgradient-push with equal weights for what a node sends (column stochastic P) minimize the mean f up to O(γ),
and push-DIGing minimizes it exactly. Limits are solved for here in NumPy alone: X = W(X − γF'(X)) of DSGD; of the other
two, which share theirs, X = D⁻¹P(DX − γF'(X)) with D = diag(w), Pw = w, Σ w_i = n.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
from figures.claims import Claim, Interval, exponent, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name; DSGD has a row stochastic W, the others a column stochastic one of the same digraph",
    "lr": "γ",
    "data_set": "number of the random digraph and quadratics",
    "step": "steps done; the last record is the limit",
    "to_minimizer": "(1/n) Σ ||x_i − x*||², x* the minimizer of the mean f; simulated",
    "to_weighted": "(1/n) Σ ||x_i − x_π||², x_π the minimizer of Σ π_i f_i for π, DSGD's left Perron vector; simulated",
    "exact_to_minimizer": "limit of to_minimizer by theory, exact",
    "exact_to_weighted": "limit of to_weighted by theory, exact",
    "apart": "||x_π − x*||², exact",
}

NODES, DIM = 8, 4
LRS = (0.00125, 0.0025, 0.005, 0.01, 0.02)  # above these the O(γ²) shows
SHOWN = 0.01  # the step size whose curves are drawn
POINTS, EVERY = 60, 16  # of a curve; steps between records
METHODS = {
    "DSGD": simlab.DSGD,
    "SGP": simlab.SGP,
    "SubgradientPush": simlab.SubgradientPush,
    "PushDIGing": simlab.PushDIGing,
}


def measure(data_sets: int = 8, lrs: tuple[float, ...] = LRS, steps: int = 32_768) -> Any:
    """Simulate to the limit; a row is one record of one method with one step size on one data set."""
    import pandas as pd

    kept = EVERY * np.unique(np.geomspace(1, steps // EVERY, POINTS).astype(int))
    tables = []
    for seed in range(data_sets):
        pull, push = (simlab.topologies.random_digraph(NODES, 0.3, seed, weights) for weights in ("pull", "push"))
        problem, weighted = quadratics(seed), perron(pull.weights.T)
        wrong = minimizer(problem, weighted)
        record = {"to_weighted": lambda x, wrong=wrong: np.square(x - wrong).sum(axis=-1).mean(axis=-1)}
        apart = float(np.sum((wrong - minimizer(problem, np.ones(NODES) / NODES)) ** 2))
        for name, method in METHODS.items():
            network = pull if name == "DSGD" else push
            runs = simlab.simulate(problem, network, [method(lr) for lr in lrs], steps=steps, record=record,
                                   record_every=EVERY)  # fmt: skip
            for lr, run in zip(lrs, runs, strict=True):
                frame = run.frame[run.frame["step"].isin([0, *kept] if lr == SHOWN else [steps])]
                exact = limit(problem, network, name, lr)
                tables.append(frame[["step", "to_weighted"]].assign(
                    algorithm=name, lr=lr, data_set=seed, to_minimizer=frame["mse"], apart=apart,
                    exact_to_minimizer=np.sum((exact - problem.minimizer) ** 2) / NODES,
                    exact_to_weighted=np.sum((exact - wrong) ** 2) / NODES,
                ))  # fmt: skip
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def quadratics(seed: int) -> Any:
    """Hessians with eigenvalues between 0.5 and 1.5, and minimizers around a common point, both of size 1."""
    random = np.random.default_rng([seed, 13])
    bases = np.linalg.qr(random.standard_normal((NODES, DIM, DIM)))[0]
    hessians = bases * random.uniform(0.5, 1.5, (NODES, 1, DIM)) @ bases.swapaxes(1, 2)
    points = (random.standard_normal(DIM) + random.standard_normal((NODES, DIM))) / np.sqrt(DIM)
    return simlab.Quadratic(hessians, np.einsum("nij,nj->ni", hessians, points))


def perron(matrix: np.ndarray) -> np.ndarray:
    """The positive v with Mv = v and sum 1."""
    n = len(matrix)
    return np.linalg.lstsq(np.vstack([matrix - np.eye(n), np.ones(n)]), np.eye(n + 1)[n], rcond=None)[0]


def minimizer(problem: Any, weights: np.ndarray) -> np.ndarray:
    """Of Σ weights_i f_i."""
    return np.linalg.solve(np.tensordot(weights, problem.hessians, 1), weights @ problem.linear)


def limit(problem: Any, network: Any, name: str, lr: float) -> np.ndarray:
    """Where a method stops, (n, d)."""
    n, d = problem.n_nodes, problem.dim
    w = network.weights
    if name == "PushDIGing":
        return np.tile(minimizer(problem, np.ones(n) / n), (n, 1))
    mass = np.ones(n) if name == "DSGD" else n * perron(w)
    mix = np.kron(w / mass[:, None], np.eye(d))
    hessian = np.zeros((n, d, n, d))
    hessian[np.arange(n), :, np.arange(n)] = problem.hessians
    step = mix @ (np.diag(np.repeat(mass, d)) - lr * hessian.reshape(n * d, n * d))
    return np.linalg.solve(np.eye(n * d) - step, lr * mix @ problem.linear.ravel()).reshape(n, d)


def limits(table: Any) -> Any:
    """The last record of every run."""
    return table.groupby(["algorithm", "lr", "data_set"], sort=False).last().reset_index()


def distances(table: Any, algorithm: str, column: str) -> Any:
    """Root mean square distances at the limit: a row a data set, a column a step size."""
    ends = limits(table)
    return np.sqrt(ends[ends["algorithm"] == algorithm].pivot(index="data_set", columns="lr", values=column))


def order(table: Any, algorithm: str, column: str) -> Interval:
    """Exponent of such a distance in γ."""
    found = distances(table, algorithm, column)
    return exponent(found.columns, found.to_numpy())


def summary(table: Any) -> Any:
    """A row a method and point: distance at each step size, mean over data sets, and its exponent."""
    import pandas as pd

    rows = []
    for name in METHODS:
        for column, point in (("to_minimizer", "x*"), ("to_weighted", "x_π")):
            found = distances(table, name, column)
            exact = name == "PushDIGing" and column == "to_minimizer"
            rows.append({
                "algorithm": name, "distance to": point,
                **{f"γ = {lr:g}": f"{mean:.3g}" for lr, mean in found.mean().items()},
                "exponent": "" if exact else str(order(table, name, column)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Distances against steps at one γ, and their limits against γ; exact limits are lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.0))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    drawn = table[table["lr"] == SHOWN]
    series = [(name, "to_minimizer", rf"{name} to $x^\star$") for name in METHODS]
    series.insert(1, ("DSGD", "to_weighted", r"DSGD to $x_\pi$"))
    for k, (name, column, label) in enumerate(series):
        look: dict[str, Any] = {"markerfacecolor": "white"} if column == "to_weighted" else {}
        run = drawn[(drawn["algorithm"] == name) & (drawn["step"] > 0)].copy()
        run["distance"] = np.log(np.maximum(run[column], 1e-34)) / 2
        mean = np.exp(run.groupby("step")["distance"].mean())
        style.line(left, mean.index, mean, name, linewidth=0.9)
        marked = mean.iloc[4 + 2 * k :: 10]
        style.mark(left, marked.index, marked, name, label=label, **look)
        if name == "PushDIGing":
            continue
        size = {"markersize": 7.5, "zorder": 2} if name == "SubgradientPush" else {}  # around SGP's
        found, exact = (np.exp(np.log(distances(table, name, kind)).mean()) for kind in (column, f"exact_{column}"))
        style.line(right, exact.index, exact, name)
        style.mark(right, found.index, found, name, **look, **size)
    apart = float(np.exp(np.log(limits(table).groupby("data_set")["apart"].first()).mean() / 2))
    for axes in (left, right):
        axes.axhline(apart, color="#888888", linewidth=0.8, linestyle=style.FLOOR, zorder=1)
    lrs = sorted(set(table["lr"]))
    right.text(lrs[-1], apart * 1.12, r"$\|x_\pi-x^\star\|$", ha="right", va="bottom", color="#555555")
    found = order(table, "SGP", "to_minimizer")
    text = f"SGP: exponent {found.mean:.3f}\n[{found.low:.3f}, {found.high:.3f}]"
    right.text(0.97, 0.05, text, transform=right.transAxes, ha="right", size=7)
    left.set(xscale="log", yscale="log", ylim=(1e-8, 4), xlabel="steps", title=rf"distance, $\gamma={SHOWN:g}$")
    right.set(xscale="log", yscale="log", xlabel=r"step size $\gamma$", title="its limit")
    right.set(ylim=(None, 3 * apart))
    right.set_xticks(lrs, [f"{lr:g}" for lr in lrs])
    right.set_xticks([], minor=True)
    left.set_ylabel(r"$(\frac{1}{n}\sum_i\,\|x_i-x\|^2)^{1/2}$")
    handles, labels = left.get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-")], [*labels, "right: exact limit"], loc="outside upper center", ncols=3)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    ends, least = limits(table), min(table["lr"])
    biased = ends[ends["algorithm"] != "PushDIGing"]
    off = max((biased[c] / biased[f"exact_{c}"] - 1).abs().max() for c in ("to_minimizer", "to_weighted"))
    sgp, push, dsgd = (distances(table, name, "to_minimizer") for name in ("SGP", "SubgradientPush", "DSGD"))
    apart = np.sqrt(ends.groupby("data_set")["apart"].first())
    return [
        judge("limits are exact", "largest |simulated over exact limit − 1|, of squared distances", float(off),
              high=1e-6),
        judge("SGP nears the minimizer", "exponent in γ of its distance to x*", order(table, "SGP", "to_minimizer"),
              0.95, 1.05),
        judge("DSGD nears another point", "exponent in γ of its distance to x_π", order(table, "DSGD", "to_weighted"),
              0.95, 1.05),
        judge("DSGD stays away", f"its distance to x* at γ = {least:g} over that of x_π", interval(dsgd[least] / apart),
              0.9, 1.1),
        judge("SGP is nearer", f"log10 of its distance to x* at γ = {least:g} over DSGD's",
              interval(np.log10(sgp[least] / dsgd[least])), high=-1.0),
        judge("subgradient-push stops where SGP does", "largest |distance to x* over SGP's − 1|",
              float((push / sgp - 1).abs().max(axis=None)), high=1e-6),
        judge("push-DIGing is exact", "largest squared distance to x*",
              float(ends.loc[ends["algorithm"] == "PushDIGing", "to_minimizer"].max()), high=1e-20),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["directed", *sys.argv[1:]]))
