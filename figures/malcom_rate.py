"""The rate of Malcom-PSGD: stationarity averaged over a run falls at least as 1/√T, or as ln T/√T if the step decays.

Digits on a ring, 16 hidden units, c = 2. The consensus step is the same constant in both series: CHOCO's analysis
chooses it by the graph and the compressor alone. What is averaged is the squared proximal gradient G_t at the mean
parameters.

* Constant: step size c/√T, a run for each T. The theorem bounds the mean of G_t over the iterations by O(1/√T).
* Decaying: step size γ_t = c/√(t + 1), one run for all T. Summing the descent of each iteration bounds Σ γ_t G_t by
  O(1 + Σ γ_t²), so that what falls as O(ln T/√T) is the average weighted by the step sizes, Σ γ_t G_t / Σ γ_t. Its
  exponent is fitted as it is, and after division by ln T, which must leave −1/2. The plain mean is in the table.

Nothing forbids a faster fall while terms of order 1/T, those of consensus and compression, are not yet small. Where G_t
itself falls faster than 1/√t, as here, Σ γ_t G_t converges, and the weighted average has the exponent of 1/Σ γ_t: −1/2,
without a logarithm.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
from figures.claims import Claim, Interval, exponent, judge, reaches, summarize
from figures.digits import L1, N_NODES, digits, malcom
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "schedule": "of the step size: constant, c/√T in a run of T iterations; decaying, c/√(t + 1) at iteration t",
    "horizon": "T, iterations",
    "lr": "step size of the last iteration, c/√T",
    "seed": "of the images held out, the start, the mini-batches and the rounding",
    "stationarity": "squared proximal gradient at the mean parameters, averaged over iterations 0 ... T − 1 with the "
    "step sizes as weights",
    "plain": "its mean over these iterations, without weights",
    "last": "its mean over the last fifth of them",
}

HORIZONS = (500, 1000, 2000, 4000, 8000)
RESOLUTION = 0.25  # half an interval of an exponent that tells −1/2 from −1/4
RECORDS = 250  # of each run; the decaying one, which is steepest at its start, has its first 250 iterations more


def measure(seeds: int = 5, scale: float = 2.0, horizons: tuple[int, ...] = HORIZONS, hidden: int = 16) -> Any:
    """Train; a row is one schedule, horizon and seed."""
    import pandas as pd

    rows = []
    for seed in range(seeds):
        problem = digits(seed, hidden).with_l1(L1)
        for horizon in horizons:
            lr = scale / np.sqrt(horizon)
            found = recorded(problem, seed, lr, horizon, max(1, horizon // RECORDS))
            rows.append(("constant", horizon, lr, seed, *averages(found, lr, horizon)))
        decaying = simlab.schedules.InverseSqrt(scale)
        found = recorded(problem, seed, decaying, max(horizons), max(1, max(horizons) // RECORDS))
        # The same sample path: the first iterations again, all of them.
        found = found | recorded(problem, seed, decaying, min(RECORDS, max(horizons)), 1)
        rows += [("decaying", t, scale / np.sqrt(t), seed, *averages(found, decaying, t)) for t in horizons]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def recorded(problem: Any, seed: int, lr: Any, steps: int, every: int) -> dict[int, float]:
    """Stationarity along a run, by iteration."""
    trace = simlab.simulate(
        problem, simlab.topologies.ring(N_NODES), malcom(lr=lr), steps=steps, batch_size=8, seed=seed,
        record_every=every, x0=problem.initial(seed),
    )  # fmt: skip
    return dict(zip(trace.frame["step"], trace.frame["stationarity"], strict=True))


def averages(found: dict[int, float], lr: Any, horizon: int) -> tuple[float, float, float]:
    """Weighted average, mean, and mean of the last fifth before `horizon`; a record stands until the next."""
    step = np.array(sorted(t for t in found if t < horizon))
    values = np.array([found[t] for t in step])
    iterations = np.diff(step, append=horizon)
    weights = np.add.reduceat(simlab.schedules.values(lr, np.arange(horizon)), step)
    late = step >= 0.8 * horizon
    return (
        float(np.average(values, weights=weights)),
        float(np.average(values, weights=iterations)),
        float(np.average(values[late], weights=iterations[late])),
    )


def exponents(table: Any, schedule: str, over_logarithm: bool = False) -> dict[str, Interval]:
    """Fitted exponents over all horizons, and over the three longest, which tell whether it still changes."""
    runs = table[table["schedule"] == schedule].pivot(index="seed", columns="horizon", values="stationarity")
    horizons = runs.columns.to_numpy(float)
    values = runs.to_numpy() / (np.log(horizons) if over_logarithm else 1.0)
    found = {}
    for name, first in (("all", 0), ("longest", len(horizons) - 3)):
        found[name] = exponent(horizons[first:], values[:, first:])
    return found


def summary(table: Any) -> Any:
    """Mean and interval for each schedule and horizon."""
    means = summarize(table, ["schedule", "horizon", "lr"], "stationarity")
    return means.merge(table.groupby(["schedule", "horizon"])[["plain", "last"]].mean().reset_index())


def draw(table: Any) -> Any:
    """Averaged stationarity against T, with the fitted lines and the theorems' order; a panel for each schedule."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, schedule in ((left, "constant"), (right, "decaying")):
        means = summarize(table[table["schedule"] == schedule], ["horizon"], "stationarity")
        _series(axes, means, schedule, *(exponents(table, schedule, reduced)["all"] for reduced in (False, True)))
        axes.set(xscale="log", yscale="log", xlabel="iterations $T$")
        axes.set_xticks(means["horizon"], [f"{t}" for t in means["horizon"]])
        axes.minorticks_off()
    left.set(title=r"step size $c/\sqrt{T}$", ylabel="averaged stationarity", ylim=(left.get_ylim()[0] / 1.8, None))
    right.set(title=r"step size $c/\sqrt{t+1}$")
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if left.get_ylim()[0] <= tick <= left.get_ylim()[1]]
    left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    for axes in (left, right):
        axes.legend(loc="lower left")
    return figure


def _series(axes: Any, means: Any, schedule: str, slope: Interval, over_logarithm: Interval) -> None:
    """Measurements, the fitted line through their middle, and above them the theorem's order."""
    horizon, values = means["horizon"].to_numpy(float), means["stationarity"].to_numpy()
    middle, level = np.exp(np.log(horizon).mean()), np.exp(np.log(values).mean())
    if schedule == "constant":
        average, order, rate = "mean over the run", r"1/\sqrt{T}", 1 / np.sqrt(horizon)
        fit = f"fit, exponent {_short(slope)}"
    else:
        average, order, rate = "mean weighted by the step sizes", r"\ln T/\sqrt{T}", np.log(horizon) / np.sqrt(horizon)
        fit = f"fit, exponent {_short(slope)},\nof its ratio to $\\ln T$ {_short(over_logarithm)}"
    style.mark(axes, horizon, values, "MalcomPSGD", means["low"], means["high"], label=average)
    style.line(axes, horizon, level * (horizon / middle) ** slope.mean, "MalcomPSGD", label=fit)
    axes.plot(horizon, 1.3 * values[0] * rate / rate[0], color="#555555", linestyle=style.FLOOR, linewidth=0.9,
              label=rf"$\propto {order}$")  # fmt: skip


def _short(slope: Interval) -> str:
    return f"{slope.mean:.2f} [{slope.low:.2f}, {slope.high:.2f}]".replace("-", "−")


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    slope = exponents(table, "constant")
    reduced = exponents(table, "decaying", over_logarithm=True)["all"]
    return [
        reaches("exponent reaches −1/2", "lower end of the interval of the exponent in T",
                slope["all"], -0.5, RESOLUTION),
        judge("exponent is below −1/4", "exponent of averaged stationarity in T", slope["all"], high=-0.25),
        reaches("the three longest horizons", "lower end of the interval of the exponent over them",
                slope["longest"], -0.5, RESOLUTION),
        reaches("decaying step reaches −1/2", "lower end of the interval of the exponent of weighted average / ln T",
                reduced, -0.5, RESOLUTION),
        judge("decaying step is below −1/4", "exponent of weighted average / ln T in T", reduced, high=-0.25),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["malcom_rate", *sys.argv[1:]]))
