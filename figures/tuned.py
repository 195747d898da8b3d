"""The best step size of each method, by theory and by a sweep: whether they agree.

Ridge regression on the diabetes data, dealt out in shards of sorted targets to 8 nodes of a ring. Theory
(`theory.tune`) looks for the step size, and momentum, with the fewest steps to a target, by exact predictions without
a run; the sweep (`simlab.sweep` of a `simlab.grid`) runs every combination and takes the best. The sweep has only so
many of them: what theory finds may be better, never worse, and is run as well. With mini-batches the sweep runs as
many steps as theory asks for, and the least error over its step sizes is compared with the target.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, interval, judge
from figures.digits import over_seeds
from figures.momentum_methods import diabetes
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "partition": "seed of the shards",
    "batch_size": "samples a gradient; 0 is all of them",
    "by": "theory: what theory.tune found; sweep: the best momentum at this step size",
    "lr": "γL, step size times the smoothness constant",
    "momentum": "β, NaN without",
    "steps": "until the error is first at most the target, infinite if it never is; with mini-batches theory's",
    "expected": "the same by theory; NaN for the sweep",
    "mse": "(1/n) Σ ||x_i − x*||² after these steps over the target, simulated, a mean over replicates",
    "low": "lower end of its 95 % interval; NaN without noise",
    "high": "upper end",
}  # fmt: skip

NODES, EXACT, NOISY = 8, 1e-2, 3e-2  # targets over the initial error, with full batches and with mini-batches
RATIO, LEAST, MOST = 1.25, 0.005, 4.0  # of the sweep's step sizes, times 1/L
MOMENTA = (0.0, 0.35, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
METHODS = {
    "DSGD": lambda lr, momentum: simlab.DSGD(lr),
    "D2": lambda lr, momentum: simlab.D2(lr),
    "EXTRA": lambda lr, momentum: simlab.EXTRA(lr),
    "ExactDiffusion": lambda lr, momentum: simlab.ExactDiffusion(lr),
    "GradientTracking": lambda lr, momentum: simlab.GradientTracking(lr),
    "AccDNGD": lambda lr, momentum: simlab.AccDNGD(lr, 0.4),
    "PmSGD": simlab.PmSGD,
    "DmSGD": simlab.DmSGD,
    "DecentLaM": simlab.DecentLaM,
    "EDM": simlab.EDM,
}
WITH_NOISE = ("DSGD", "D2", "ExactDiffusion", "GradientTracking")


def measure(partitions: int = 3, batch_size: int = 8, replicates: int = 60, max_steps: int = 200) -> Any:
    """Tune by theory and by sweeps; a row is one step size of one method."""
    import pandas as pd

    network, rows = simlab.topologies.ring(NODES, lazy=True), []
    for seed in range(partitions):
        problem = diabetes(seed)
        with tempfile.TemporaryDirectory() as folder:
            for name, make in METHODS.items():
                rows += without_noise(problem, network, make, max_steps, folder, algorithm=name, partition=seed)
                if name in WITH_NOISE:
                    about = {"algorithm": name, "partition": seed, "batch_size": batch_size}
                    rows += with_noise(problem, network, make, replicates, max_steps, folder, about)
    return pd.DataFrame(rows)[list(COLUMNS)]


def step_sizes(problem: Any) -> np.ndarray:
    """Those of the sweep."""
    return np.geomspace(LEAST, MOST, 1 + round(np.log(MOST / LEAST) / np.log(RATIO))) / problem.smoothness


def without_noise(
    problem: Any, network: Any, make: Any, max_steps: int, folder: str, **about: Any
) -> list[dict[str, Any]]:
    """A row for what theory found, and one a step size of the sweep: the fewest steps over momenta."""
    target = EXACT * float(np.sum(problem.minimizer**2))
    tuned = theory.tune(problem, network, make(0.1, 0.5), target=target, max_steps=max_steps)
    momenta = MOMENTA if hasattr(tuned.algorithm, "momentum") and about["algorithm"] != "AccDNGD" else (0.0,)
    settings = [make(lr, beta) for lr in step_sizes(problem) for beta in momenta]
    shared = {"problem": problem, "network": network, "steps": max_steps, "record_every": 1, "engine": "numpy"}
    cells = simlab.grid(algorithm=[tuned.algorithm, *settings], stop_when=f"mse <= {target!r}", **shared)
    frame = simlab.sweep(cells, folder, workers=0, progress=False)
    frame = frame.assign(steps=frame["step"].where(frame["status"] == "stopped", np.inf).astype(float))
    if "momentum" not in frame or len(momenta) == 1:
        frame["momentum"] = np.nan
    best = frame.iloc[1:].sort_values("steps", kind="stable").groupby("lr", sort=True).first().reset_index()
    given = about | {"batch_size": 0, "low": np.nan, "high": np.nan}
    found = [
        given | {"by": by, "lr": row.lr * problem.smoothness, "momentum": row.momentum, "steps": row.steps,
                 "expected": expected, "mse": row.mse / target}
        for by, part, expected in (("theory", frame.iloc[:1], tuned.steps), ("sweep", best, np.nan))
        for row in part.itertuples()
    ]  # fmt: skip
    return found


def with_noise(
    problem: Any, network: Any, make: Any, replicates: int, max_steps: int, folder: str, about: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row for what theory found, and one a step size of the sweep: the error after theory's steps."""
    target = NOISY * float(np.sum(problem.minimizer**2))
    tuned = theory.tune(problem, network, make(0.1, 0.5), target=target, batch_size=about["batch_size"],
                        max_steps=max_steps)  # fmt: skip
    near = [make(float(tuned.algorithm.lr * RATIO**k), 0.0) for k in range(-5, 6)]
    cells = simlab.grid(problem=problem, network=network, algorithm=near, steps=tuned.steps, record_every=tuned.steps,
                        batch_size=about["batch_size"], replicates=replicates, engine="numpy")  # fmt: skip
    frame = simlab.sweep(cells, folder, workers=0, progress=False)
    found = []
    for lr, part in frame.groupby("lr"):
        mean = interval(part["mse"] / target)
        by_theory = np.isclose(lr, tuned.algorithm.lr)
        row = about | {"lr": lr * problem.smoothness, "momentum": np.nan, "steps": tuned.steps, "mse": mean.mean,
                       "low": mean.low, "high": mean.high}  # fmt: skip
        found.append(row | {"by": "sweep", "expected": np.nan})
        found += [row | {"by": "theory", "expected": tuned.steps}] if by_theory else []
    return found


def best(table: Any) -> Any:
    """Full batches: a row a method and partition; steps and γ by theory and by the sweep."""
    full = table[table["batch_size"] == 0].sort_values("steps", kind="stable")
    keys = ["algorithm", "partition"]
    by_theory, by_sweep = (full[full["by"] == by].groupby(keys).first() for by in ("theory", "sweep"))
    chosen = by_sweep[["steps", "lr", "momentum"]].add_suffix("_sweep")
    return by_theory[["steps", "expected", "lr", "momentum"]].join(chosen).reset_index()


def summary(table: Any) -> Any:
    """A row a method: γ, momentum and steps by theory and by the sweep, on the first partition."""
    import pandas as pd

    found = best(table)
    rows = []
    for name in METHODS:
        one = found[(found["algorithm"] == name) & (found["partition"] == 0)].iloc[0]
        rows.append({
            "algorithm": name,
            "γL, theory": f"{one['lr']:.3g}", "γL, sweep": f"{one['lr_sweep']:.3g}",
            "β, theory": f"{one['momentum']:.3g}", "β, sweep": f"{one['momentum_sweep']:.3g}",
            "steps, theory": f"{one['steps']:.0f}", "steps, sweep": f"{one['steps_sweep']:.0f}",
        })  # fmt: skip
    return pd.DataFrame(rows).replace("nan", "")


def draw(table: Any) -> Any:
    """Steps against γ by the sweep with theory's as stars, one against the other, and errors with mini-batches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    left, middle, right = figure.subplots(1, 3)
    first = table[(table["partition"] == 0) & np.isfinite(table["steps"])]
    found = best(table)
    for name in METHODS:
        look = style.look(name)
        mine = first[(first["algorithm"] == name) & (first["batch_size"] == 0)]
        runs, tuned = (mine[mine["by"] == by] for by in ("sweep", "theory"))
        style.line(left, runs["lr"], runs["steps"], name, linewidth=0.9)
        style.mark(left, tuned["lr"], tuned["steps"], name, markersize=6)
        pairs = found[found["algorithm"] == name]
        style.mark(middle, pairs["steps_sweep"], pairs["expected"], name)
        noisy = first[(first["algorithm"] == name) & (first["batch_size"] > 0)]
        if len(noisy):
            runs, tuned = (noisy[noisy["by"] == by] for by in ("sweep", "theory"))
            right.fill_between(runs["lr"], runs["low"], runs["high"], color=look.color, alpha=0.15, linewidth=0)
            style.line(right, runs["lr"], runs["mse"], name, linewidth=0.9)
            style.mark(right, tuned["lr"], [1.0] * len(tuned), name, markersize=6)
    ends = [1, 1.3 * found["steps_sweep"].max()]
    middle.plot(ends, ends, color="#888888", linewidth=0.8, zorder=1)
    right.axhline(1, color="#888888", linewidth=0.8, linestyle=style.FLOOR, zorder=1)
    left.set(xscale="log", yscale="log", xlabel=r"step size $\gamma L$", ylabel="steps to the target",
             title="sweep: lines, theory: markers")  # fmt: skip
    middle.set(xscale="log", yscale="log", xlim=(1, None), ylim=(1, None))
    middle.set(xlabel="fewest steps, sweep", ylabel="fewest steps, theory",
               title="all partitions")  # fmt: skip
    right.set(xscale="log", xlabel=r"step size $\gamma L$", ylabel="error over the target", ylim=(0.6, 3),
              title="mini-batches")  # fmt: skip
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def apart(table: Any, found: Any, name: str) -> float:
    """Largest |log γ| between what theory found and the nearest step size of the sweep with the fewest steps."""
    worst = 0.0
    for row in found[found["algorithm"] == name].itertuples():
        runs = table[(table["algorithm"] == name) & (table["partition"] == row.partition) & (table["by"] == "sweep")]
        ties = runs[(runs["batch_size"] == 0) & (runs["steps"] == row.steps_sweep)]
        worst = max(worst, float(np.abs(np.log(ties["lr"] / row.lr)).min()))
    return worst


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    found = best(table)
    plain = [
        apart(table, found, name) for name in METHODS if found.set_index("algorithm")["momentum"][name].isna().all()
    ]
    noisy = table[table["batch_size"] > 0]
    least = noisy[noisy["by"] == "sweep"].groupby(["algorithm", "partition"])["mse"].min()
    tuned = noisy[noisy["by"] == "theory"]
    gain = np.log(found["steps_sweep"] / found["steps"]).groupby(found["partition"]).mean()
    return [
        judge("theory's steps are the run's", "largest |steps to the target, simulated, over expected − 1|",
              float((found["steps"] / found["expected"] - 1).abs().max()), high=0.0),
        judge("no run is faster", "fewest steps of the sweep over theory's, least",
              float((found["steps_sweep"] / found["steps"]).min()), low=1.0),
        judge("the sweep comes near", "its fewest steps over theory's, geometric mean of methods",
              over_seeds(np.exp(gain)), high=1.25),
        judge("the same step size", "largest |log γ, theory over the nearest of the sweep's best|, without momentum",
              max(plain), high=1.01 * np.log(RATIO)),
        judge("with mini-batches the target is met", "error at theory's step size over the target, mean of methods",
              interval(tuned.groupby("partition")["mse"].mean()), 0.8, 1.1),
        judge("and no step size is better", "least error of the sweep over the target, mean of methods",
              interval(least.groupby("partition").mean()), low=0.85),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["tuned", *sys.argv[1:]]))
