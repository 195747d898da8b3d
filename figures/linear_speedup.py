"""DecentLaM's linear speed-up on a nonconvex problem: the mean squared gradient falls as 1/√(nT).

Nonconvex logistic regression, 1024 samples split at random over the n nodes of an exponential graph, one sample a node
and step, DecentLaM for T steps with γ = c √(n/T). The lines are the leading term of (1/T) Σ E||∇f(x̄_k)||², found by
adding up the expected decrease of f in each step: A/√(nT), A = (f(0) − f*)/c' + c' tr(HΣ)/2, c' = c/(1 − β), with H the
Hessian and Σ the covariance of one sample's gradient at the optimum. c is large enough for the noise to make up nine
tenths of A, the regime that the rate is about. Exponents are fitted over the whole grid of n and T, no point left out.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
from figures.claims import Claim, Interval, exponent, interval, judge, summarize
from figures.study import main
from simlab.operations import Batch
from simlab.plot import style

COLUMNS = {
    "n_nodes": "n",
    "steps": "T",
    "lr": "γ = c √(n/T)",
    "replicate": "number of the independent run",
    "gradient": "(1/T) Σ_{k<T} ||∇f(x̄_k)||², at up to 1024 evenly spaced steps; simulated",
    "leading": "A/√(nT) by theory",
    "noise_share": "part of A that the gradient noise makes up",
}

NODES = (1, 2, 4, 8, 16)
STEPS = (1024, 2048, 4096, 8192, 16384, 32768)
SAMPLES, DIM = 1024, 5
LATE = 16384  # nT from which on the constant is compared, too
RECORDS = 1024
COLORS = ("#000000", "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00")
MARKERS = ("^", "o", "v", "D", "s", "X")


def measure(
    c: float = 0.2, momentum: float = 0.9, replicates: int = 8, nodes: tuple[int, ...] = NODES,
    steps: tuple[int, ...] = STEPS,
) -> Any:  # fmt: skip
    """Simulate; a row is one replicate with n nodes over T steps."""
    import pandas as pd

    whole = problem(1)
    optimum = whole.minimizer
    alone = np.arange(SAMPLES)[:, None, None]
    gradients = whole.gradient(np.broadcast_to(optimum, (SAMPLES, 1, DIM)), Batch(indices=alone))[:, 0]
    effective = c / (1 - momentum)
    noise = effective * np.trace(whole.hessian(optimum)[0] @ np.cov(gradients.T, bias=True)) / 2
    leading = (whole.global_loss(np.zeros(DIM)) - whole.minimum) / effective + noise
    rows = []
    for n in nodes:
        network = simlab.topologies.exponential(n)
        for horizon in steps:
            lr = c * np.sqrt(n / horizon)
            frame = simlab.simulate(
                problem(n), network, simlab.DecentLaM(lr, momentum), steps=horizon, batch_size=1,
                replicates=replicates, record_every=max(1, horizon // RECORDS), seed=n * horizon + n,
            ).frame  # fmt: skip
            found = frame[frame["step"] < horizon].groupby("replicate")["squared_gradient_norm"].mean()
            about = (leading / np.sqrt(n * horizon), noise / leading)
            rows += [(n, horizon, lr, replicate, gradient, *about) for replicate, gradient in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def problem(n: int) -> Any:
    """The same samples, and so the same f, over n nodes."""
    data = simlab.NonconvexLogistic.synthetic(n_nodes=1, n_samples=SAMPLES, dim=DIM, penalty=0.02, seed=1)
    return simlab.NonconvexLogistic(data.features.reshape(n, -1, DIM), data.labels.reshape(n, -1), data.penalty)


def exponent_in(table: Any, of: str) -> Interval:
    """Exponent in the column `of`: of the geometric mean over the other one, fitted over the whole range."""
    logs = np.log(table.set_index(["replicate", of])["gradient"]).groupby(level=[0, 1]).mean().unstack()
    return exponent(logs.columns, np.exp(logs.to_numpy()))


def summary(table: Any) -> Any:
    """A row a number of nodes, a column a number of steps: mean with its interval; exponents along both sides."""
    import pandas as pd

    rows = []
    for n, run in table.groupby("n_nodes"):
        cells = {
            f"T = {horizon}": f"{found.mean:.3g} ± {(found.high - found.low) / 2:.1g}"
            for horizon, found in ((t, interval(cell["gradient"])) for t, cell in run.groupby("steps"))
        }
        rows.append({"n": str(n), **cells, "exponent in T": str(exponent_in(run, "steps"))})
    last = {f"T = {t}": f"{exponent_in(run, 'n_nodes').mean:.3f}" for t, run in table.groupby("steps")}
    return pd.DataFrame([*rows, {"n": "exponent in n", **last, "exponent in T": ""}])


def draw(table: Any) -> Any:
    """Against T at each n, against n at each T, and times √(nT) against nT, where the law is a level line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.5))
    left, middle, right = figure.subplots(1, 3)
    points = summarize(table, ["n_nodes", "steps", "leading"], "gradient")
    for axes, along, other, symbol in ((left, "steps", "n_nodes", "n"), (middle, "n_nodes", "steps", "T")):
        for (value, run), color, marker in zip(points.groupby(other), COLORS, MARKERS, strict=False):
            axes.plot(run[along], run["leading"], color=color, linewidth=0.9)
            bars = [run["gradient"] - run["low"], run["high"] - run["gradient"]]
            axes.errorbar(run[along], run["gradient"], bars, color=color, marker=marker, linestyle="none",
                          elinewidth=0.9, label=f"${symbol}={value}$")  # fmt: skip
        found = exponent_in(table, along)
        text = f"exponent {found.mean:.3f}\n[{found.low:.3f}, {found.high:.3f}]".replace("-", "−")
        axes.text(0.97, 0.97, text, transform=axes.transAxes, ha="right", va="top", size=7)
        axes.set(xscale="log", yscale="log", ylim=(points["gradient"].min() / 4, points["gradient"].max() * 1.6))
        ticks = sorted(set(points[along]))
        axes.set_xticks(ticks, [f"$2^{{{int(np.log2(t))}}}$" if along == "steps" else str(t) for t in ticks])
        axes.set_xticks([], minor=True)
        axes.legend(loc="lower left", handlelength=1, labelspacing=0.25, ncols=2, columnspacing=0.8)
    for (_, run), color, marker in zip(points.groupby("n_nodes"), COLORS, MARKERS, strict=False):
        total = run["n_nodes"] * run["steps"]
        low, mean, high = (run[name] * np.sqrt(total) for name in ("low", "gradient", "high"))
        right.errorbar(total, mean, [mean - low, high - mean], color=color, marker=marker, linestyle="none",
                       elinewidth=0.9)  # fmt: skip
    level = float((points["leading"] * np.sqrt(points["n_nodes"] * points["steps"])).iloc[0])
    right.axhline(level, color="#444444", linewidth=0.9)
    right.set(xscale="log", ylim=(0.5 * level, 1.5 * level), xlabel="all gradients $nT$")
    right.set_title(r"the same, times $\sqrt{nT}$")
    left.set(xlabel="steps $T$", title=r"$\frac{1}{T}\,\sum_k\,E\,\|\nabla f(\bar x_k)\|^2$ against steps")
    middle.set(xlabel="nodes $n$", title="the same against nodes")
    figure.legend(style.keys("-"), [r"leading term $A/\sqrt{nT}$, by theory"], loc="outside upper center")
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    late = table[table["n_nodes"] * table["steps"] >= LATE]
    level = (late["gradient"] / late["leading"]).groupby(late["replicate"]).mean()
    return [
        judge(
            "exponent in T", "of (1/T) Σ E||∇f(x̄)||², geometric mean over n", exponent_in(table, "steps"), -0.54, -0.46
        ),
        judge("exponent in n", "of the same, geometric mean over T", exponent_in(table, "n_nodes"), -0.54, -0.46),
        judge("leading constant", "simulated over A/√(nT), mean over nT >= 16384", interval(level), 0.9, 1.1),
        judge("noise dominates", "share of the noise in A", float(table["noise_share"].iloc[0]), low=0.8),
    ]


if __name__ == "__main__":
    sys.exit(main(["linear_speedup", *sys.argv[1:]]))
