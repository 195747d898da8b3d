"""Under noise DecentLaM's nodes disagree less than DmSGD's on slow modes of the network, and more on fast ones.

One mode of disagreement: eigenvalue λ of the mixing matrix, equal Hessians h → 0, gradient noise of variance s² a
coordinate. Its state obeys z⁺⁺ = (λ(1 − γh) + β)z⁺ − βmz, m = λ for DmSGD and 1 for DecentLaM. Two nodes with edge
weight (1 − λ)/2 have the eigenvalues 1 and λ, and are simulated. As λ → 1 the stationary variance of DecentLaM is 1 − β
times that of DmSGD; for small λ it is larger, as DecentLaM forgets disagreement at √β, DmSGD at max(λ, β) a step.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, Interval, interval, judge, summarize
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "momentum": "β",
    "eigenvalue": "λ of the mode",
    "quantity": "'variance' of one coordinate of the mode over γ²s², or 'factor' by which the mode shrinks in a step",
    "replicate": "number of the independent run; 0 for the factor, which is found without noise",
    "measured": "simulated: time average after the burn-in, or fitted to the decay of an initial disagreement",
    "exact": "the same in closed form",
}

EIGENVALUES = (-0.6, -0.3, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)
ALGORITHMS = {"DmSGD": simlab.DmSGD, "DecentLaM": simlab.DecentLaM}
LR, CURVATURE = 1e-3, 1e-3  # γ and h; γh is nearly zero
BURN_IN = 10.0  # time constants; the runs start without disagreement
WINDOW = (100, 450)  # steps of the noiseless run that the factor is fitted to: past the start, above rounding


def measure(momentum: float = 0.9, replicates: int = 8, steps: int = 10_000, dim: int = 20) -> Any:
    """Simulate with and without noise; a row is one replicate of one algorithm at one eigenvalue."""
    import pandas as pd

    problem = simlab.Quadratic(np.full((2, dim), CURVATURE), np.zeros((2, dim)))
    apart = np.outer([1.0, -1.0], np.ones(dim))
    rows: list[tuple[Any, ...]] = []
    for eigenvalue in EIGENVALUES:
        network = simlab.Network.from_matrix(
            np.array([[1 + eigenvalue, 1 - eigenvalue], [1 - eigenvalue, 1 + eigenvalue]]) / 2
        )
        for name, algorithm in ALGORITHMS.items():
            run = {"problem": problem, "network": network, "algorithm": algorithm(LR, momentum)}
            about = (name, momentum, eigenvalue)
            factor, variance = (
                float(exact(name, eigenvalue, momentum)) for exact in (contraction, stationary_variance)
            )
            noisy = simlab.simulate(**run, steps=steps, noise_std=1.0, replicates=replicates, record_every=4).frame
            settled = noisy[noisy["step"] > -BURN_IN / np.log(factor)].groupby("replicate")["consensus"].mean()
            # Consensus is half the mode's square, summed over the coordinates.
            rows += [(*about, "variance", r, 2 * level / dim / LR**2, variance) for r, level in settled.items()]
            free = simlab.simulate(**run, steps=WINDOW[1], x0=apart).frame
            fit = theory.fit_rate(free["step"], np.sqrt(free["consensus"]), window=WINDOW)
            rows.append((*about, "factor", 0, fit.estimate, factor))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def coefficients(algorithm: str, eigenvalue: Any, momentum: float) -> tuple[Any, Any]:
    """p₁ and p₂ of z⁺⁺ = p₁z⁺ + p₂z."""
    factor = momentum if algorithm == "DecentLaM" else momentum * eigenvalue
    return eigenvalue * (1 - LR * CURVATURE) + momentum, -factor


def stationary_variance(algorithm: str, eigenvalue: Any, momentum: float) -> Any:
    """λ²(1 − p₂)/((1 + p₂)((1 − p₂)² − p₁²)), in units of γ²s²."""
    p1, p2 = coefficients(algorithm, eigenvalue, momentum)
    return eigenvalue**2 * (1 - p2) / ((1 + p2) * ((1 - p2) ** 2 - p1**2))


def contraction(algorithm: str, eigenvalue: Any, momentum: float) -> Any:
    """Larger modulus of the roots of z² − p₁z − p₂."""
    p1, p2 = coefficients(algorithm, eigenvalue, momentum)
    root = np.sqrt(np.asarray(p1**2 + 4 * p2, dtype=complex))
    return np.maximum(np.abs(p1 + root), np.abs(p1 - root)) / 2


def summary(table: Any) -> Any:
    """A row an eigenvalue: variance and factor of both algorithms with their closed forms in brackets, and the
    ratio.
    """
    import pandas as pd

    rows = []
    for eigenvalue, points in table.groupby("eigenvalue"):
        row: dict[str, Any] = {"λ": eigenvalue}
        for (quantity, algorithm), cell in points.groupby(["quantity", "algorithm"], sort=False):
            row[f"{quantity}, {algorithm}"] = f"{cell['measured'].mean():.4g} ({cell['exact'].iloc[0]:.4g})"
        found, exact = ratios(points)
        rows.append({**row, "variance, DecentLaM/DmSGD": f"{interval(found)} ({exact:.4g})"})
    return pd.DataFrame(rows)


def ratios(points: Any) -> tuple[np.ndarray, float]:
    """Variance of DecentLaM over DmSGD's, in each replicate on the same noise, and exactly."""
    both = points[points["quantity"] == "variance"].pivot(index="replicate", columns="algorithm")
    found, exact = (both[column]["DecentLaM"] / both[column]["DmSGD"] for column in ("measured", "exact"))
    return found.to_numpy(), float(exact.iloc[0])


def draw(table: Any) -> Any:
    """Variance, its ratio and the factor against 1 − λ, in which slow modes stand apart; closed forms are lines."""
    import pandas as pd
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    variance, ratio, factor = panels = figure.subplots(1, 3)
    momentum = float(table["momentum"].iloc[0])
    gap = np.geomspace(1.7, 0.0024, 600)
    for name, run in table.groupby("algorithm", sort=False):
        style.line(variance, gap, stationary_variance(name, 1 - gap, momentum), name)
        style.line(factor, gap, contraction(name, 1 - gap, momentum), name)
        noisy = summarize(run[run["quantity"] == "variance"], ["eigenvalue"], "measured")
        style.mark(variance, 1 - noisy["eigenvalue"], noisy["measured"], name, noisy["low"], noisy["high"])
        free = run[run["quantity"] == "factor"]
        style.mark(factor, 1 - free["eigenvalue"], free["measured"], name)
    found = pd.DataFrame(
        [(1 - eigenvalue, *interval(ratios(points)[0])) for eigenvalue, points in table.groupby("eigenvalue")],
        columns=["gap", *Interval._fields],
    )
    exact = stationary_variance("DecentLaM", 1 - gap, momentum) / stationary_variance("DmSGD", 1 - gap, momentum)
    ratio.plot(gap, exact, color="#444444")
    bars = [found["mean"] - found["low"], found["high"] - found["mean"]]
    ratio.errorbar(found["gap"], found["mean"], bars, color="#444444", marker="o", linestyle="none", elinewidth=0.9)
    levels = [(ratio, 1.0, "equal", "left"), (ratio, 1 - momentum, r"$1-\beta$", "right")]
    levels += [(factor, momentum**0.5, r"$\sqrt{\beta}$", "right"), (factor, momentum, r"$\beta$", "left")]
    for axes, level, text, side in levels:
        axes.axhline(level, color="#888888", linewidth=0.8, linestyle=style.FLOOR, zorder=1)
        at = 0.02 if side == "left" else 0.99
        axes.annotate(text, (at, level), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha=side, va="bottom", color="#555555", size=7)  # fmt: skip
    variance.set(yscale="log", ylim=(1e-2, 5e4), title=r"stationary variance $/\,(\gamma^2 s^2)$")
    ratio.set(yscale="log", ylim=(0.08, 3), title="variance, DecentLaM / DmSGD")
    ratio.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    factor.set(title="contraction factor a step")
    for axes in panels:
        axes.set(xscale="log", xlabel=r"$1-\lambda$   (left: slow modes)")
        axes.set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    handles, labels = variance.get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-")], [*(f"{name}, simulated" for name in labels), "closed form"],
                  loc="outside upper center", ncols=3)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    momentum = float(table["momentum"].iloc[0])
    by_eigenvalue = dict(list(table.groupby("eigenvalue")))
    fastest, slowest = min(by_eigenvalue), max(by_eigenvalue)
    noisy = table[table["quantity"] == "variance"]
    agreement = (noisy["measured"] / noisy["exact"]).groupby(noisy["replicate"]).mean()
    factors = table[table["quantity"] == "factor"].pivot(index="eigenvalue", columns="algorithm", values="measured")
    off = table[table["quantity"] == "factor"].eval("measured / exact - 1").abs().max()
    small = factors.loc[factors.index.to_series().between(0, 0.8)]
    return [
        judge("slow modes", f"variance of DecentLaM over DmSGD's at λ = {slowest:g}, in units of 1 − β",
              interval(ratios(by_eigenvalue[slowest])[0] / (1 - momentum)), 0.9, 1.15),
        judge("fast modes", f"variance of DecentLaM over DmSGD's at λ = {fastest:g}",
              interval(ratios(by_eigenvalue[fastest])[0]), low=1.5),
        judge("variance is exact", "simulated over closed form, mean over eigenvalues and algorithms",
              interval(agreement), 0.98, 1.02),
        judge("factors are exact", "largest |simulated over closed form − 1|", float(off), high=0.002),
        judge("DmSGD forgets faster", "factor of DmSGD over DecentLaM's at 0 < λ <= 0.8, largest",
              float((small["DmSGD"] / small["DecentLaM"]).max()), high=0.96),
        judge("DecentLaM forgets faster", f"factor of DecentLaM over DmSGD's at λ = {slowest:g}",
              float(factors.loc[slowest, "DecentLaM"] / factors.loc[slowest, "DmSGD"]), high=0.97),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["consensus_noise", *sys.argv[1:]]))
