"""Links that fail, one by one or in bursts: exact errors in the long run, over simulation.

Least squares on a lazy ring of 4 nodes, exact gradients, one step size γ. What a link does is drawn anew at each step,
or by a Markov chain whose failures last 4 times as long. Bias and network variance are predicted exactly; so is that
D² and gradient tracking stay exact, as at x* nothing moves, unless their mean square diverges.

What claims expect is what small γ and few failures leave: a mode λ of E W is a linear filter, into which failures send
white noise, the same for all methods. DSGD's x⁺ = λx + ξ makes 1/(1 − λ²) of it; with DecentLaM's β(x − x⁻) it is
(1 + β)(1 + λ)/((1 − β)(1 + 2β + λ)) times as much, with quasi-global momentum `quasi_gain`, and where failures last B
times as long, so that noise is correlated by κ = 1 − 1/B, (1 + κλ)/(1 − κλ). Beyond that failures act on what they
caused, which amplifies most where most is caused. A first claim, that quasi-global momentum stays below 1.3 times
DSGD's network variance, was false: its gain is 1 at λ = 0 and grows with λ, to 1.77 where 0.6 of the links are down.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, agrees, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name; those with momentum have β = 0.8",
    "burst": "how many times as long failures last as such drawn anew at each step; 0: these",
    "failures": "share of the time that a link is down",
    "data_set": "number of the data set",
    "bias": "(1/n) Σ ||E x_i − x*||², exact; infinite where the mean square diverges",
    "network_variance": "(1/n) Σ E||x_i − E x_i||², exact",
    "rate": "factor a step in mean square, exact",
    "simulated": "mse over the second half of the run, mean over replicates; NaN where it is not simulated",
    "error": "standard error of that mean",
}

NODES, LR, MOMENTUM, BURST, REPLICATES = 4, 0.01, 0.8, 4.0, 16
FAILURES = (0.1, 0.2, 0.4, 0.6)
SIMULATED = 0.4
METHODS: dict[str, Any] = {
    "DSGD": simlab.DSGD(LR),
    "DmSGD": simlab.DmSGD(LR, MOMENTUM),
    "DecentLaM": simlab.DecentLaM(LR, MOMENTUM),
    "QGDmSGD": simlab.QGDmSGD(LR, MOMENTUM),
    "D2": simlab.D2(LR),
    "GradientTracking": simlab.GradientTracking(LR),
}
EXACT = ("D2", "GradientTracking")


def measure(data_sets: int = 3, failures: tuple[float, ...] = FAILURES, steps: int = 16_000) -> Any:
    """Predict, and simulate at one share of failures; a row is one algorithm, kind of failure, share and data set."""
    import pandas as pd

    ring = simlab.topologies.ring(NODES, lazy=True)
    rows = []
    for seed in range(data_sets):
        problem = simlab.LeastSquares.synthetic(NODES, 20, 1, seed=seed)
        for burst in (0.0, BURST):
            for share in failures:
                network = simlab.dynamics.link_failures(ring, share, **({"burst": burst} if burst else {}))
                runs = [None] * len(METHODS)
                if share == SIMULATED:
                    runs = simlab.simulate(problem, network, list(METHODS.values()), steps=steps, record_every=40,
                                           replicates=REPLICATES, seed=seed)  # fmt: skip
                for (name, algorithm), run in zip(METHODS.items(), runs, strict=True):
                    exact = theory.predict(problem, network, algorithm)
                    found = (np.nan, np.nan)
                    if run is not None:
                        late = run.frame[run.frame["step"] >= steps // 2].groupby("replicate")["mse"].mean()
                        found = (float(late.mean()), float(late.sem()))
                    rows.append((name, burst, share, seed, exact.bias, exact.network_variance, exact.rate, *found))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def chosen(table: Any, column: str, algorithm: str, burst: float) -> Any:
    """A row a data set, a column a share of failures."""
    rows = table[(table["algorithm"] == algorithm) & (table["burst"] == burst)]
    return rows.pivot(index="data_set", columns="failures", values=column)


def over(table: Any, column: str, one: str, other: str, burst: float = 0.0) -> Any:
    """One algorithm's column over another's, a row a data set."""
    return chosen(table, column, one, burst) / chosen(table, column, other, burst)


def summary(table: Any) -> Any:
    """A row an algorithm and kind: exact mse at each share of failures, mean over data sets."""
    import pandas as pd

    rows = []
    for burst in (0.0, BURST):
        for name in METHODS:
            mse = (chosen(table, "bias", name, burst) + chosen(table, "network_variance", name, burst)).mean()
            rows.append({"algorithm": name, "failures": f"{burst:g} times as long" if burst else "drawn anew",
                         **{f"q = {q:g}": f"{value:.2e}" for q, value in mse.items()}})  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Bias and network variance against the share of failures: drawn anew in the upper row, in bursts in the lower."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 4.6))
    axes = figure.subplots(2, 2, sharex=True)
    for row, burst in zip(axes, (0.0, BURST), strict=True):
        for name in METHODS:
            if name in EXACT:
                continue
            for here, column in zip(row, ("bias", "network_variance"), strict=True):
                mean = chosen(table, column, name, burst).mean()
                style.line(here, mean.index, mean, name)
                if column == "bias":
                    style.mark(here, mean.index, mean, name, label=name)
            mse = chosen(table, "simulated", name, burst) - chosen(table, "bias", name, burst)
            mean = mse.mean().dropna()
            style.mark(row[1], mean.index, mean, name)
        kind = "anew at each step" if not burst else f"{burst:g} times as long"
        row[0].set(yscale="log", ylabel=f"links fail {kind}")
        row[1].set(yscale="log")
    axes[0, 0].set_title("squared bias of the mean")
    axes[0, 1].set_title("network variance")
    for here in axes[1]:
        here.set_xlabel("share of the time that a link is down")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-")], [*labels, "exact; markers right: simulated"],
                  loc="outside upper center", ncols=5)  # fmt: skip
    return figure


def modes(share: float) -> np.ndarray:
    """Eigenvalues of E W but for the 1."""
    weights = simlab.topologies.ring(NODES, lazy=True).weights
    return 1 - (1 - share) * (1 - np.linalg.eigvalsh(weights)[:-1])


def gain(eigenvalue: Any, momentum: float) -> Any:
    """Variance of DecentLaM over DSGD's, driven by white noise in a mode."""
    return (1 + momentum) * (1 + eigenvalue) / ((1 - momentum) * (1 + 2 * momentum + eigenvalue))


def quasi_gain(eigenvalue: Any, momentum: float) -> Any:
    """Of QG-DmSGD: x is (z − β)/(z² − az + c) of the noise, a = β + λ(1 + β − β²), c = λβ(2 − β)."""
    a = momentum + eigenvalue * (1 + momentum - momentum**2)
    c = eigenvalue * momentum * (2 - momentum)
    variance = ((1 + momentum**2) * (1 + c) - 2 * momentum * a) / ((1 - c) * ((1 + c) ** 2 - a**2))
    return variance * (1 - eigenvalue**2)


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    inexact = table[~table["algorithm"].isin(EXACT)]
    shown = inexact.dropna(subset="simulated")
    exact = table[table["algorithm"].isin(EXACT)]
    stable = exact[exact["rate"] < 1]
    bias = over(table, "bias", "DecentLaM", "DSGD")
    variance = over(table, "network_variance", "DecentLaM", "DSGD")
    fewest = min(table["failures"])
    quasi = over(table, "network_variance", "QGDmSGD", "DSGD")[fewest]
    bursts = chosen(table, "network_variance", "DSGD", BURST) / chosen(table, "network_variance", "DSGD", 0.0)
    correlated = (1 - 1 / BURST) * np.array([modes(share).min() for share in variance])
    least = [gain(modes(share), MOMENTUM).min() for share in variance]
    gains = quasi_gain(modes(fewest), MOMENTUM)
    return [
        agrees("exact is simulated", "farthest simulated mse from the exact one, in standard errors",
               shown["bias"] + shown["network_variance"], shown["simulated"], shown["error"], REPLICATES),
        judge("DecentLaM's bias stays", "largest |bias over DSGD's − 1|, links failing anew",
              float((bias - 1).abs().max(axis=None)), high=1e-6),
        judge("DecentLaM's network variance does not", "network variance over DSGD's, over the least gain of a mode",
              float((variance / least).min(axis=None)), low=1.0),
        judge("quasi-global momentum's nearly does", f"network variance over DSGD's, {fewest:g} of the links down",
              interval(quasi), float(gains.min()), float(gains.max())),
        judge("bursts cost", "network variance of DSGD in bursts over that anew, over the least gain of a mode",
              float((bursts * (1 - correlated) / (1 + correlated)).min(axis=None)), low=1.0),
        judge("exact methods stay exact", "largest exact mse of D² and gradient tracking where they are stable",
              float((stable["bias"] + stable["network_variance"]).max()), high=1e-18),
        judge("and so when simulated", "their largest simulated mse there", float(stable["simulated"].max()),
              high=1e-18),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["link_failures", *sys.argv[1:]]))
