"""Momentum methods at equal effective step α: bias, rate, noise and messages, on real data that differ by node.

Ridge regression on the diabetes data, dealt out in shards of sorted targets to 8 nodes of a ring. With momentum β the
mean moves at γ/(1 − β) where the buffer adds gradients (DmSGD, its relatives, momentum tracking, DecentLaM), at γ
where it averages them (EDM, which is D²-DmSGD, DSGT-HB, DSMT), and at γ/(1 − β) of SlowMo's slow momentum: γ is
chosen so that all move at α. DmSGD and AWC-DmSGD then stop where DSGD(α) does, DecentLaM and QG-DmSGD where DSGD((1 −
β)α) does; Nesterov's step moves no limit but QG-DmSGD's. Limits, rates and stationary errors are exact predictions;
SlowMo's are of its period, an affine map that is written out here.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, Interval, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "effective": "αL, effective step size times the smoothness constant",
    "partition": "seed of the shards",
    "batch_size": "samples a gradient; 0 is all of them",
    "step": "steps done; with mini-batches the last of those averaged over",
    "mse": "(1/n) Σ ||x_i − x*||², simulated; with mini-batches a mean over steps and replicates",
    "exact": "its limit, or stationary expectation, by theory; NaN where it was not computed",
    "rate": "factor a step by which the distance to the limit falls in the end, simulated; NaN with mini-batches",
    "exact_rate": "the same by theory",
    "vectors": "vectors that a node sends in a step, by the bits counted",
}

NODES, PERIOD, L2 = 8, 4, 0.3
BIASED = ("DmSGD", "DmSGD, Nesterov", "AWCDmSGD", "DADmSGD", "QGDmSGD", "QGDmSGD, Nesterov", "DecentLaM", "SlowMo")
TWO_VECTORS = ("DADmSGD", "MomentumTracking", "DSGTHB", "DSMT")
DRAWN = (
    "PmSGD",
    "DmSGD",
    "DADmSGD",
    "QGDmSGD, Nesterov",
    "DecentLaM",
    "SlowMo",
    "EDM",
    "MomentumTracking",
    "DSGTHB",
    "DSMT",
)
POINTS, BURN_IN = 60, 0.4  # of a curve; part of a run with mini-batches that is not averaged


def methods(effective: float, momentum: float, network: Any) -> dict[str, Any]:
    """All at the effective step size `effective`."""
    small = effective * (1 - momentum)
    return {
        "PmSGD": simlab.PmSGD(small, momentum),
        "DmSGD": simlab.DmSGD(small, momentum),
        "DmSGD, Nesterov": simlab.DmSGD(small, momentum, nesterov=True),
        "AWCDmSGD": simlab.AWCDmSGD(small, momentum),
        "DADmSGD": simlab.DADmSGD(small, momentum),
        "QGDmSGD": simlab.QGDmSGD(small, momentum),
        "QGDmSGD, Nesterov": simlab.QGDmSGD(small, momentum, nesterov=True),
        "DecentLaM": simlab.DecentLaM(small, momentum),
        "SlowMo": simlab.SlowMo(simlab.DSGD(small), PERIOD, momentum),
        "EDM": simlab.EDM(effective, momentum),
        "MomentumTracking": simlab.MomentumTracking(small, momentum),
        "DSGTHB": simlab.DSGTHB(effective, momentum),
        "DSMT": simlab.DSMT.tuned(effective, network),
    }


def diabetes(seed: int) -> Any:
    """The problem; `seed` deals the shards."""
    import warnings

    data = simlab.data.load("diabetes")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropped 10 of 442 samples")
        parts = simlab.data.partition(data.features, data.targets, NODES, "shards", seed)
    return simlab.LeastSquares(parts.features, parts.targets, L2)


def measure(
    effective: tuple[float, ...] = (0.1, 0.2, 0.4), noisy: float = 0.2, momentum: float = 0.8, batch_size: int = 4,
    partitions: int = 4, steps: int = 5000, replicates: int = 4,
) -> Any:  # fmt: skip
    """Simulate all methods with full batches to their limits, and at one α with mini-batches."""
    import pandas as pd

    network, tables = simlab.topologies.ring(NODES, lazy=True), []
    curve = PERIOD * np.unique(np.geomspace(1, steps // PERIOD, POINTS).astype(int))
    for seed in range(partitions):
        problem = diabetes(seed)
        grid = [methods(a / problem.smoothness, momentum, network) for a in effective]
        for name in grid[0]:
            forms = [one[name] for one in grid]
            limits, rates = zip(*(exact(problem, network, one) for one in forms), strict=True)
            record = {f"to_{k}": distance(limit) for k, limit in enumerate(limits)}
            runs = simlab.simulate(problem, network, forms, steps=steps, record_every=PERIOD, record=record)
            for k, (a, run) in enumerate(zip(effective, runs, strict=True)):
                frame = run.frame[run.frame["step"].isin(curve if a == noisy else [steps])]
                tables.append(pd.DataFrame({
                    "algorithm": name, "effective": a, "partition": seed, "batch_size": 0, "step": frame["step"],
                    "mse": frame["mse"], "exact": np.mean(np.sum((limits[k] - problem.minimizer) ** 2, axis=1)),
                    "rate": late_rate(run.frame, f"to_{k}"), "exact_rate": rates[k], "vectors": vectors(run, problem),
                }))  # fmt: skip
            one = methods(noisy / problem.smoothness, momentum, network)[name]
            tables.append(with_noise(problem, network, name, one, batch_size, steps, replicates, seed).assign(
                effective=noisy
            ))  # fmt: skip
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def with_noise(
    problem: Any, network: Any, name: str, algorithm: Any, batch_size: int, steps: int, replicates: int, seed: int
) -> Any:
    """One row: the stationary error with mini-batches, and what theory expects."""
    import pandas as pd

    run = simlab.simulate(problem, network, algorithm, steps=steps, batch_size=batch_size, replicates=replicates,
                          record_every=PERIOD, seed=seed)  # fmt: skip
    found = run.frame.loc[run.frame["step"] > BURN_IN * steps, "mse"].mean()
    expected = np.nan if name == "SlowMo" else theory.predict(problem, network, algorithm, batch_size=batch_size).mse
    row = {
        "algorithm": name, "partition": seed, "batch_size": batch_size, "step": steps, "mse": found, "exact": expected,
        "rate": np.nan, "exact_rate": np.nan, "vectors": vectors(run, problem),
    }  # fmt: skip
    return pd.DataFrame([row])


def distance(limit: np.ndarray) -> Any:
    """A column: (1/n) Σ ||x_i − limit_i||²."""
    return lambda x: np.square(x - limit).sum(axis=-1).mean(axis=-1)


def vectors(run: Any, problem: Any) -> float:
    """Of d numbers, sent by a node in a step."""
    end = run.frame.iloc[-1]
    return float(end["payload_bits"] / end["step"] / (64 * problem.dim * NODES))


def late_rate(frame: Any, column: str) -> float:
    """From a fit to the logarithms of the distance between 1e-8 and 1e-12 of what it was."""
    part = frame[(frame[column] < 1e-16 * frame[column].iloc[0]) & (frame[column] > 1e-24 * frame[column].iloc[0])]
    return float(np.exp(np.polyfit(part["step"], np.log(part[column]) / 2, 1)[0]))


def exact(problem: Any, network: Any, algorithm: Any) -> tuple[np.ndarray, float]:
    """Limit (n, d) and rate; of SlowMo at the ends of periods."""
    if not isinstance(algorithm, simlab.SlowMo):
        prediction = theory.predict(problem, network, algorithm)
        return prediction.limit, prediction.rate
    n, d, lr = problem.n_nodes, problem.dim, algorithm.base.lr
    hessian = np.zeros((n, d, n, d))
    hessian[np.arange(n), :, np.arange(n)] = problem.hessians
    mix = np.kron(network.weights, np.eye(d))
    step, pull = mix @ (np.eye(n * d) - lr * hessian.reshape(n * d, n * d)), lr * mix @ problem.linear.ravel()
    average = np.kron(np.ones((1, n)) / n, np.eye(d))
    outer, offset = np.tile(np.eye(d), (n, 1)), np.zeros(n * d)
    for _ in range(algorithm.period):
        outer, offset = step @ outer, step @ offset + pull
    move, start = average @ outer - np.eye(d), average @ offset  # x̄ − x₀ = move x₀ + start
    beta = algorithm.slow_momentum  # x⁺ = x + v⁺, v⁺ = βv + x̄ − x₀
    period = np.block([[np.eye(d) + move, beta * np.eye(d)], [move, beta * np.eye(d)]])
    rate = np.abs(np.linalg.eigvals(period)).max() ** (1 / algorithm.period)
    return np.tile(np.linalg.solve(-move, start), (n, 1)), float(rate)


def limits(table: Any) -> Any:
    """The last record of every run with full batches."""
    full = table[table["batch_size"] == 0]
    return full.groupby(["algorithm", "effective", "partition"], sort=False).last().reset_index()


def column(found: Any, algorithm: str, name: str) -> Any:
    """A row a partition, a column an α."""
    return found[found["algorithm"] == algorithm].pivot(index="partition", columns="effective", values=name)


def summary(table: Any) -> Any:
    """A row a method: exact limit at each α; rate, stationary error with mini-batches and vectors at one of them."""
    import pandas as pd

    ends, noisy = limits(table), table[table["batch_size"] > 0]
    shown = noisy["effective"].iloc[0]
    rows = []
    for name in dict.fromkeys(table["algorithm"]):
        mine = noisy[noisy["algorithm"] == name]
        rows.append({
            "algorithm": name,
            **{f"αL = {a:g}": f"{v:.1e}" if v > 1e-18 else "0" for a, v in column(ends, name, "mse").mean().items()},
            f"1 − rate, αL = {shown:g}": f"{1 - column(ends, name, 'exact_rate')[shown].mean():.4f}",
            "with mini-batches": f"{mine['mse'].mean():.2e}",
            "vectors": f"{mine['vectors'].iloc[0]:.2f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Errors against vectors sent with exact limits dashed, limits against α, and errors with mini-batches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.6))
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.75))
    ends, noisy = limits(table), table[table["batch_size"] > 0]
    shown = noisy["effective"].iloc[0]
    curves = table[(table["batch_size"] == 0) & (table["effective"] == shown)]
    for k, name in enumerate(DRAWN):
        run = curves[curves["algorithm"] == name]
        mean = np.exp(np.log(run.set_index("step")["mse"]).groupby(level=0).mean())
        sent = mean.index.to_numpy() * run["vectors"].iloc[0]
        style.line(left, sent, mean, name, linewidth=0.9)
        style.mark(left, sent[k % 7 + 2 :: 12], mean.iloc[k % 7 + 2 :: 12], name, markersize=3.8)
        if name not in BIASED:
            continue
        mse, exactly = column(ends, name, "mse").mean(), column(ends, name, "exact").mean()
        left.axhline(exactly[shown], color=style.look(name).color, linewidth=0.8, linestyle=style.FLOOR, zorder=1)
        style.line(middle, exactly.index, exactly, name)
        style.mark(middle, mse.index, mse, name)
    names = list(dict.fromkeys(table["algorithm"]))[::-1]
    for row, name in enumerate(names):
        mine = noisy[noisy["algorithm"] == name]
        found, bias = interval(mine["mse"]), column(ends, name, "exact")[shown].mean()
        style.mark(right, [found.mean], [row], name)
        right.hlines(row, found.low, found.high, color=style.look(name).color, linewidth=0.9)
        if mine["exact"].notna().all():
            right.plot([mine["exact"].mean()], [row], "|", color="#000000", markersize=9, zorder=4)
        if bias > 1e-18:
            right.plot([bias], [row], "x", color="#888888", markersize=4, zorder=2)
    alphas = sorted(set(table["effective"]))
    left.set(xscale="log", yscale="log", xlabel="vectors sent by a node", title=rf"full batches, $\alpha L={shown:g}$")
    left.set(ylim=(1e-13, None))
    left.set_ylabel(r"$\frac{1}{n}\sum_i\,\|x_i-x^\star\|^2$")
    middle.set(xscale="log", yscale="log", xlabel=r"effective step $\alpha L$", title="limit, full batches")
    middle.set_xticks(alphas, [f"{a:g}" for a in alphas])
    middle.set_xticks([], minor=True)
    right.set(xscale="log", title=rf"mini-batches, $\alpha L={shown:g}$")
    right.set_xlabel("mean square error\n× bias alone, | exact")
    right.set_yticks(range(len(names)), names, fontsize=6.5)
    right.grid(axis="y", visible=False)
    handles, labels = left.get_legend_handles_labels()
    figure.legend([*handles, *style.keys(style.FLOOR, "-")], [*labels, "exact limit", "middle: exact limit"],
                  loc="outside upper center", ncols=5)  # fmt: skip
    return figure


def ratio(found: Any, algorithm: str, reference: str, name: str, effective: float) -> Interval:
    """Of a column of two algorithms at one α, over partitions."""
    values = [column(found, one, name)[effective] for one in (algorithm, reference)]
    return interval(values[0] / values[1])


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    ends, noisy = limits(table), table[table["batch_size"] > 0]
    shown, least, beta = noisy["effective"].iloc[0], ends["effective"].min(), 0.8
    biased, rest = ends[ends["algorithm"].isin(BIASED)], ends[~ends["algorithm"].isin(BIASED)]
    known, slowest = noisy[noisy["exact"].notna()], ends[ends["effective"] == least]
    slow = 1 - ends.pivot(index=["effective", "partition"], columns="algorithm", values="exact_rate").loc[least]
    counted = {name: 2.0 if name in TWO_VECTORS else 1.0 for name in ends["algorithm"]}
    counted["PmSGD"] = 2 * (NODES - 1) / NODES
    counted["SlowMo"] = 1 + counted["PmSGD"] / PERIOD
    over = known.assign(over=known["mse"] / known["exact"]).groupby("partition")["over"].mean()
    lines = table["vectors"] / table["algorithm"].map(counted)
    return [
        judge("limits are exact", "largest |simulated over exact limit − 1| of methods with bias",
              float((biased["mse"] / biased["exact"] - 1).abs().max()), high=1e-5),
        judge("no bias", f"largest limit of {', '.join(dict.fromkeys(rest['algorithm']))}", float(rest["mse"].max()),
              high=1e-20),
        judge("rates are exact", f"largest |1 − rate, simulated, over that of theory − 1| at αL = {least:g}",
              float(((1 - slowest["rate"]) / (1 - slowest["exact_rate"]) - 1).abs().max()), high=0.05),
        judge("noise is as expected", "error with mini-batches over its exact expectation, mean of methods",
              interval(over), 0.95, 1.05),
        judge("what momentum costs DmSGD", f"its limit over DecentLaM's at αL = {least:g}, 1/(1 − β)² = 25 as α → 0",
              ratio(ends, "DmSGD", "DecentLaM", "mse", least), low=5),
        judge("QG-DmSGD stops where DecentLaM does", "largest |ratio of their limits − 1|",
              float((column(ends, "QGDmSGD", "mse") / column(ends, "DecentLaM", "mse") - 1).abs().max(axis=None)),
              high=1e-5),
        judge("Nesterov's step and QG-DmSGD", f"its limit over QG-DmSGD's at αL = {least:g}, over (1 + β)²",
              interval(column(ends, "QGDmSGD, Nesterov", "mse")[least] / column(ends, "QGDmSGD", "mse")[least]
                       / (1 + beta) ** 2), 0.8, 1.2),
        judge("Nesterov's step and DmSGD", "largest |ratio of their limits − 1|",
              float((column(ends, "DmSGD, Nesterov", "mse") / column(ends, "DmSGD", "mse") - 1).abs().max(axis=None)),
              high=1e-5),
        judge("equal effective step, equal rate", f"1 − rate over PmSGD's at αL = {least:g}, the one farthest from 1",
              float(max(slow.div(slow["PmSGD"], axis=0).stack(), key=lambda v: abs(np.log(v)))), 0.8, 1.25),
        judge("vectors as counted", "largest |vectors a step over those counted by hand − 1|",
              float((lines - 1).abs().max()), high=1e-12),
        judge("with mini-batches DmSGD loses", f"its error over DecentLaM's at αL = {shown:g}",
              ratio(noisy, "DmSGD", "DecentLaM", "mse", shown), low=1.5),
        judge("EDM is near parallel momentum", f"its error over PmSGD's at αL = {shown:g} with mini-batches",
              ratio(noisy, "EDM", "PmSGD", "mse", shown), 0.9, 1.5),
        judge("one vector is enough", f"error of EDM over DSGT-HB's, which sends two, at αL = {shown:g}, mini-batches",
              ratio(noisy, "EDM", "DSGTHB", "mse", shown), high=1.05),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["momentum_methods", *sys.argv[1:]]))
