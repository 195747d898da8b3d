"""Adaptive rates of the nodes' own leave a bias that no step size removes; rates in common do not.

Least squares whose nodes differ, exact gradients, a ring. DecentLaM with a trust ratio at every node and decentralized
Adam scale each node's gradient by a factor D_i of its own, and come to rest near a zero of Σ D_i∇f_i however small γ
is; LayerwiseDecentLaM and Adam with averaged second moments scale all gradients alike, and their squared bias goes as
γ². Quasi-global Adam follows normalized steps, which never vanish: it circles x*, at a squared distance that goes as γ.
Where the others come to rest is exact (theory.theorems.scaling). On the right the smallest case: nodes ‖x − c_i‖²/2
with x* the mean of the c_i, where trust ratios ‖x_i‖/‖∇f_i‖ lead to the geometric median, and Adam to the median of
each coordinate.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

import simlab
import theory
from figures.claims import Claim, Interval, exponent, interval, judge, summarize
from figures.study import main
from simlab.operations import Array, Batch, average, gradient, mix, norm, sqrt, steps_taken, where, zeros_like
from simlab.plot import style
from simlab.protocols import Mixing, Objective
from theory.theorems import scaling

COLUMNS = {
    "case": "least squares, or centres: nodes ‖x − c_i‖²/2 in the plane",
    "algorithm": "name",
    "lr": "γ",
    "data_set": "number of the random data set; 0 for the centres",
    "bias": "(1/n) Σ ‖x_i − x*‖² at the end, of QG-Adam a mean over the last half of the records, simulated",
    "exact": "the same where the method comes to rest, by theory; NaN for QG-Adam",
    "vanishing": "the same as γ → 0; NaN for QG-Adam",
    "bound": "over measured, of node-wise scaling, or measured over it, of a common one, by theory.verify",
    "first": "first coordinate of the mean state at the end, centres only",
    "second": "its second coordinate",
}  # fmt: skip

NODES, EPSILON = 8, 0.1
FORGET = 4000  # steps in which second moments forget the start
CENTRES = np.array([[3.25, 1.0], [0.75, 3.25], [4.0, 0.25], [0.0, 3.25], [2.5, 4.0]])
NODE_WISE, COMMON = ("DecentLaM, own rates", "DAdam"), ("DecentLaM", "LayerwiseDecentLaM", "Adam, averaged moments")
OWN_LARS = "DecentLaM, own LARS ratios"
LOOKS = {
    "LayerwiseDecentLaM": style.Look("#0072B2", "o", "-"),
    "DecentLaM, own rates": style.Look("#D55E00", "s", "-"),
    "DAdam": style.Look("#CC79A7", "P", "-"),
    "Adam, averaged moments": style.Look("#7A5195", "X", "-"),
    "QGAdam": style.Look("#8C6D1F", "v", "-", open=True),
    OWN_LARS: style.Look("#D55E00", "s", "-"),
}


class Buffer(NamedTuple):
    """Parameters and momentum buffer, (..., n, d) each."""

    x: Array
    m: Array


class OwnRates(NamedTuple):
    """LayerwiseDecentLaM on one block, but with each node's own ratio; with `lars` that of LARS, η‖x‖/‖g‖."""

    lr: float
    momentum: float = 0.9
    trust: float = 1.0
    lars: bool = False

    def init(self, x: Array) -> Buffer:
        """Start from `x` with an empty buffer."""
        return Buffer(x, zeros_like(x))

    def step(self, state: Buffer, problem: Objective, network: Mixing, batch: Batch) -> Buffer:
        """One iteration."""
        g = gradient(problem, state.x, batch)
        psi = state.x - self.lr * self.scaling(state.x, g) * g
        m = self.momentum * state.m + (state.x - mix(network, psi)) / self.lr
        return Buffer(state.x - self.lr * m, m)

    def scaling(self, x: Array, gradients: Array) -> Array:
        """The ratios."""
        size, slope = norm(x), norm(gradients)
        total = slope if self.lars else slope + size
        return self.trust * size / where(total > 0, total, 1.0)

    def unscaled(self) -> Any:
        """DecentLaM."""
        return simlab.DecentLaM(self.lr, self.momentum)


class Moments(NamedTuple):
    """Parameters, first and second moments, (..., n, d) each."""

    x: Array
    m: Array
    v: Array


class AveragedAdam(NamedTuple):
    """DAdam, but with second moments of the squares averaged over nodes, which are one for all."""

    lr: float
    momentum: float = 0.9
    second: float = 0.99
    epsilon: float = EPSILON

    def init(self, x: Array) -> Moments:
        """Start from `x` with empty moments."""
        return Moments(x, zeros_like(x), zeros_like(x))

    def step(self, state: Moments, problem: Objective, network: Mixing, batch: Batch) -> Moments:
        """One iteration."""
        g, k = gradient(problem, state.x, batch), steps_taken(batch)
        m = self.momentum * state.m + (1 - self.momentum) * g
        v = self.second * state.v + (1 - self.second) * average(g * g)
        unbiased = m / (1 - self.momentum ** (k + 1)), v / (1 - self.second ** (k + 1))
        return Moments(mix(network, state.x - self.lr * unbiased[0] / (sqrt(unbiased[1]) + self.epsilon)), m, v)

    def scaling(self, x: Array, gradients: Array) -> Array:
        """1/(root mean square over nodes + ε)."""
        return 1 / (sqrt(average(gradients * gradients)) + self.epsilon)

    def unscaled(self) -> Any:
        """DSGD."""
        return simlab.DSGD(self.lr)


def methods(lr: float) -> dict[str, Any]:
    """All at one step size."""
    return {
        "DecentLaM": simlab.DecentLaM(lr),
        "LayerwiseDecentLaM": simlab.LayerwiseDecentLaM(lr),
        "DecentLaM, own rates": OwnRates(lr),
        "DAdam": simlab.DAdam(lr, second=0.99, epsilon=EPSILON),
        "Adam, averaged moments": AveragedAdam(lr),
        "QGAdam": simlab.QGAdam(lr, epsilon=EPSILON),
    }


def measure(
    lrs: tuple[float, ...] = (0.04, 0.02, 0.01, 0.005, 0.0025, 0.00125), data_sets: int = 6, length: float = 80.0
) -> Any:
    """Simulate for some length/γ steps from x*; a row is one method at one step size."""
    import pandas as pd

    network, rows = simlab.topologies.ring(NODES, lazy=True), []
    for seed in range(data_sets):
        problem = simlab.LeastSquares.synthetic(n_nodes=NODES, n_samples=30, dim=6, seed=seed)
        for lr in lrs:
            rows += [
                {"case": "least squares", "algorithm": name, "lr": lr, "data_set": seed}
                | settled(problem, network, one, FORGET + round(length / lr))[0]
                for name, one in methods(lr).items()
            ]
    problem, network = simlab.Quadratic(np.ones_like(CENTRES), CENTRES), simlab.topologies.ring(len(CENTRES), lazy=True)
    lr = min(lrs)
    for name, one in {
        "DecentLaM": simlab.DecentLaM(lr), OWN_LARS: OwnRates(lr, lars=True),
        "DAdam": simlab.DAdam(lr, second=0.9, epsilon=0.02),
    }.items():  # fmt: skip
        about, x = settled(problem, network, one, FORGET + round(length / lr))
        x = x.mean(axis=0)
        place = {"first": x[0], "second": x[1]}
        rows.append({"case": "centres", "algorithm": name, "lr": lr, "data_set": 0} | about | place)
    return pd.DataFrame(rows)[list(COLUMNS)]


def settled(problem: Any, network: Any, algorithm: Any, steps: int) -> tuple[dict[str, float], np.ndarray]:
    """Where a run ends, and where it must."""
    run = simlab.simulate(problem, network, algorithm, steps=steps, record_every=max(1, steps // 100),
                          x0=problem.minimizer)  # fmt: skip
    if isinstance(algorithm, simlab.QGAdam):
        circling = run.frame.loc[run.frame["step"] > steps / 2, "mse"].mean()
        return {"bias": float(circling), "exact": np.nan, "vanishing": np.nan, "bound": np.nan}, run.x[0]
    found, optimum = {"bias": float(run.frame["mse"].iloc[-1]), "bound": np.nan}, problem.minimizer
    if isinstance(algorithm, simlab.DecentLaM):
        limit, point = theory.predict(problem, network, algorithm).limit, optimum
    else:
        limit, point = (scaling.resting_state(problem, network, algorithm), scaling.resting_point(problem, algorithm))
        report = theory.verify(run, theorems=scaling.THEOREMS)
        common = report["common scaling, bias"]
        row = report["node-wise scaling"] if common.verdict == "not applicable" else common
        found["bound"] = row.measured / row.bound if row is common else row.bound / row.measured
    found["exact"] = float(np.mean(np.sum((limit - optimum) ** 2, axis=1)))
    return found | {"vanishing": float(np.sum((point - optimum) ** 2))}, run.x[0]


def middles() -> dict[str, np.ndarray]:
    """What each method has to find of the centres."""
    from scipy.optimize import minimize

    mean = CENTRES.mean(axis=0)
    nearest = minimize(lambda x: np.linalg.norm(x - CENTRES, axis=1).sum(), mean, tol=1e-12)
    return {"DecentLaM": mean, OWN_LARS: nearest.x, "DAdam": np.median(CENTRES, axis=0)}


def summary(table: Any) -> Any:
    """A row a method and step size: simulated and exact bias, that as γ → 0, and the bound of the theorem."""
    squares = table[table["case"] == "least squares"]
    columns = ["bias", "exact", "vanishing", "bound"]
    return squares.groupby(["algorithm", "lr"], sort=False)[columns].mean().reset_index()


def draw(table: Any) -> Any:
    """Bias against γ, with exact limits, and where nodes of one centre each are led."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    squares = table[table["case"] == "least squares"]
    for name in dict.fromkeys(squares["algorithm"]):
        look = LOOKS.get(name, style.look(name))
        shown = {"color": look.color, "marker": look.marker, "markerfacecolor": "white" if look.open else look.color}
        runs = squares[squares["algorithm"] == name]
        means = summarize(runs, ["lr"], "bias")
        style.mark(left, means["lr"], means["bias"], name, means["low"].clip(lower=1e-6), means["high"], **shown)
        exact = runs.groupby("lr")[["exact", "vanishing"]].mean()
        if exact["exact"].notna().all():
            style.line(left, exact.index, exact["exact"], name, color=look.color, linestyle=style.FLOOR)
        if name in NODE_WISE:
            left.axhline(exact["vanishing"].iloc[0], color=look.color, linewidth=0.8, linestyle=":", zorder=1)
    left.set(xscale="log", yscale="log", xlabel=r"step size $\gamma$", title="least squares")
    left.set_ylabel(r"$\frac{1}{n}\sum_i\,\|x_i-x^\star\|^2$")
    lrs = sorted(set(squares["lr"]))
    left.set_xticks(lrs, [f"{lr:g}" for lr in lrs])
    left.set_xticks([], minor=True)
    right.plot(*CENTRES.T, "o", color="#bbbbbb", markersize=6)
    right.annotate("$c_i$, minimizers\nof the nodes", CENTRES[0], (-8, 0), textcoords="offset points", ha="right",
                   va="center")  # fmt: skip
    names = {"DecentLaM": "mean", OWN_LARS: "geometric\nmedian", "DAdam": "median of\ncoordinates"}
    ends = table[table["case"] == "centres"].set_index("algorithm")
    for name, place in middles().items():
        look = LOOKS.get(name, style.look(name))
        right.plot(*place, "+", color="#000000", markersize=13, markeredgewidth=0.8, zorder=2)
        at = ends.loc[name, ["first", "second"]].to_numpy(float)
        right.plot(*at, look.marker, color=look.color, markersize=4.5, zorder=3)
        leftwards = name == OWN_LARS
        right.annotate(names[name], place, (-9 if leftwards else 9, 0), textcoords="offset points", va="center",
                       ha="right" if leftwards else "left", color=look.color)  # fmt: skip
    right.set(xlim=(-0.7, 4.7), xlabel=r"$x_1$", ylabel=r"$x_2$", title=r"nodes $\|x-c_i\|^2/2$: where they are led")
    handles, labels = left.get_legend_handles_labels()
    figure.legend([*handles, *style.keys(style.FLOOR, ":")], [*labels, "exact", r"exact, $\gamma\to0$"],
                  loc="outside upper center", ncols=4)  # fmt: skip
    return figure


def of(table: Any, algorithm: str, column: str) -> Any:
    """A row a data set, a column a step size."""
    squares = table[(table["case"] == "least squares") & (table["algorithm"] == algorithm)]
    return squares.pivot(index="data_set", columns="lr", values=column).sort_index(axis=1)


def power(table: Any, algorithm: str, points: int = 3) -> Interval:
    """Exponent of the bias in γ, over the smallest step sizes."""
    runs = of(table, algorithm, "bias").iloc[:, :points]
    return exponent(runs.columns, runs.to_numpy())


def geometric(ratios: Any) -> Interval:
    """Geometric mean with its interval."""
    return Interval(*map(float, np.exp(interval(np.log(ratios)))))


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    known, least = table[table["exact"].notna()], table["lr"].min()
    ends = table[table["case"] == "centres"].set_index("algorithm")[["first", "second"]]
    away = max(float(np.linalg.norm(ends.loc[name] - place)) for name, place in middles().items())
    apart = of(table, "DecentLaM, own rates", "bias")[least] / of(table, "LayerwiseDecentLaM", "bias")[least]
    adam = of(table, "DAdam", "bias")[least] / of(table, "Adam, averaged moments", "bias")[least]
    circles = of(table, "QGAdam", "bias")[least] / of(table, "Adam, averaged moments", "bias")[least]
    return [
        judge("limits are exact", "largest |simulated over exact bias − 1|",
              float((known["bias"] / known["exact"] - 1).abs().max()), high=1e-6),
        judge("the theorems hold", "largest bound over measured from below, or measured over bound from above",
              float(table["bound"].max()), high=1.0),
        *(judge(f"{name}: it stays", f"bias at γ = {least:g} over that as γ → 0",
                interval(of(table, name, "bias")[least] / of(table, name, "vanishing")[least]), 0.9, 1.1)
          for name in NODE_WISE),
        *(judge(f"{name}: it goes", "exponent of the bias in γ, smallest three", power(table, name), 1.8, 2.05)
          for name in COMMON),
        judge("what rates of one's own cost", f"bias over LayerwiseDecentLaM's at γ = {least:g}", geometric(apart),
              low=10),
        judge("what moments of one's own cost", f"DAdam's bias over that with averaged moments at γ = {least:g}",
              geometric(adam), low=5),
        judge("QG-Adam circles", "exponent of its squared distance in γ", power(table, "QGAdam", 99), 0.6, 1.3),
        judge("farther than Adam with averaged moments stops", f"ratio at γ = {least:g}", geometric(circles), low=5),
        judge("mean, geometric median, median", "largest distance of an end from what the method has to find", away,
              high=0.05),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["adaptive_bias", *sys.argv[1:]]))
