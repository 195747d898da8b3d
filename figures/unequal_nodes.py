"""Nodes with unequal amounts of data: what weighing nodes alike costs in data, and weighing samples alike in noise.

N samples of a linear model are dealt out to n nodes at random, in log-normal amounts m_i: the nodes differ by how much
they hold, and by chance. `weighting="samples"` seeks the minimizer of all samples, `"nodes"` that of the mean of the
nodes' own losses, whose samples at small nodes count for more. Of ever so many samples two numbers say what follows,
with means over nodes: samples that count unequally are worth fewer by mean(1/m) mean(m), in the error of the minimizer
and in the heterogeneity b² that biases decentralized methods; and with equal mini-batches at all nodes the noise of
weighted samples is mean(m²)/mean(m)² as large. Minimizers and limits are those of theory.predict, exactly.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.bias import simulated_bias
from figures.claims import Claim, Interval, interval, judge, summarize
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "weighting": "whether the objective weighs nodes alike, or samples",
    "skew": "standard deviation σ of the logarithms of the amounts",
    "data_set": "number of the random data set, and of how it is dealt out",
    "data_factor": "mean(1/m) mean(m) of the amounts m of the nodes",
    "noise_factor": "mean(m²)/mean(m)²",
    "from_pooled": "‖x* − the least-squares solution of all samples‖, x* the objective's minimizer",
    "error": "‖x* − true coefficients‖², a mean over drawings of the targets",
    "expected_error": "its expectation over the targets, given the features",
    "heterogeneity": "b², mean of ‖∇f_i(x*)‖²",
    "bias": "(1/n) Σ ‖x_i,∞ − x*‖² with full batches, simulated",
    "exact_bias": "the same by theory",
    "mse": "(1/n) Σ ‖x_i − x*‖² with mini-batches, simulated, a mean over steps and replicates",
    "exact_mse": "its stationary expectation by theory",
}

NODES, SAMPLES, DIM, NOISE = 8, 960, 8, 1.0
DRAWS = 10  # of the targets
WEIGHTINGS = ("nodes", "samples")


def problems(skew: float, seed: int) -> tuple[dict[str, list[Any]], np.ndarray]:
    """One data set, dealt out, targets drawn `DRAWS` times: problems by weighting, and the true coefficients."""
    rng = np.random.default_rng(seed)
    truth, features = rng.standard_normal(DIM), rng.standard_normal((SAMPLES, DIM))
    targets = features @ truth + NOISE * rng.standard_normal((DRAWS, SAMPLES))
    parts = simlab.data.partition(features, targets[0], NODES, "lognormal", seed, sigma=skew, equal=False)
    made = {
        kind: [
            simlab.LeastSquares(parts.features, [drawn[mine] for mine in parts.indices], weighting=kind)
            for drawn in targets
        ]
        for kind in WEIGHTINGS
    }
    return made, truth


def pooled(problem: Any) -> np.ndarray:
    """The least-squares solution of all samples."""
    return np.linalg.lstsq(np.concatenate(problem.features), np.concatenate(problem.targets), rcond=None)[0]


def expected_error(problem: Any) -> float:
    """E‖x* − truth‖² over the targets, in which x* is linear: its covariance is σ²H⁻¹(Σ s_i²A_iᵀA_i/(nm_i)²)H⁻¹."""
    weights = problem.shares / (NODES * problem.counts)  # of a sample
    inverse = np.linalg.inv(sum(w * a.T @ a for w, a in zip(weights, problem.features, strict=True)))
    noise = sum(w**2 * a.T @ a for w, a in zip(weights, problem.features, strict=True))
    return NOISE**2 * float(np.trace(inverse @ noise @ inverse))


def measure(
    lr: float = 0.01, momentum: float = 0.8, batch_size: int = 8, skews: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5),
    data_sets: int = 8, steps: int = 2000, replicates: int = 2,
) -> Any:  # fmt: skip
    """Simulate to the limits; a row is one method with one weighting on one data set."""
    import pandas as pd

    network, rows = simlab.topologies.ring(NODES, lazy=True), []
    for skew in skews:
        for seed in range(data_sets):
            made, truth = problems(skew, seed)
            for kind, (problem, *others) in made.items():
                m, x = problem.counts, problem.minimizer
                about = {
                    "weighting": kind, "skew": skew, "data_set": seed,
                    "data_factor": np.mean(1 / m) * np.mean(m), "noise_factor": np.mean(m**2) / np.mean(m) ** 2,
                    "from_pooled": np.linalg.norm(x - pooled(problem)),
                    "error": np.mean([np.sum((one.minimizer - truth) ** 2) for one in (problem, *others)]),
                    "expected_error": expected_error(problem), "heterogeneity": problem.heterogeneity**2,
                }  # fmt: skip
                for algorithm in (simlab.DmSGD(lr, momentum), simlab.DecentLaM(lr, momentum)):
                    exact = theory.predict(problem, network, algorithm, batch_size=batch_size)
                    run = simlab.simulate(problem, network, algorithm, steps=steps, batch_size=batch_size, seed=seed,
                                          replicates=replicates, record_every=10, x0=x)  # fmt: skip
                    rows.append(about | {
                        "algorithm": type(algorithm).__name__,
                        "bias": simulated_bias(problem, network, algorithm, exact.rate), "exact_bias": exact.bias,
                        "mse": run.frame.loc[run.frame["step"] > steps // 5, "mse"].mean(), "exact_mse": exact.mse,
                    })  # fmt: skip
    return pd.DataFrame(rows)[list(COLUMNS)]


def summary(table: Any) -> Any:
    """A row a weighting and skew: means over data sets."""
    means = table.groupby(["skew", "weighting", "algorithm"], sort=False).mean(numeric_only=True)
    columns = ["data_factor", "noise_factor", "error", "expected_error", "heterogeneity", "bias", "exact_bias", "mse",
               "exact_mse"]  # fmt: skip
    return means[columns].reset_index()


def draw(table: Any) -> Any:
    """Against the skew: errors of the minimizers, limits with full batches, and errors with mini-batches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    panels = figure.subplots(1, 3)
    minimizers = table.drop_duplicates(["skew", "data_set", "weighting"]).assign(algorithm="minimizer")
    quantities = ("error", "expected_error"), ("bias", "exact_bias"), ("mse", "exact_mse")
    for axes, rows, (found, exact) in zip(panels, (minimizers, table, table), quantities, strict=True):
        for (name, kind), runs in rows.groupby(["algorithm", "weighting"], sort=False):
            look = {} if name in style.LOOKS else {"color": "#444444"}
            expected = runs.groupby("skew")[exact].mean()
            style.line(axes, expected.index, expected, name, linestyle=style.FLOOR, **look)
            means = summarize(runs, ["skew"], found)
            face = {"markerfacecolor": "white"} if kind == "nodes" else {}
            style.mark(axes, means["skew"], means[found], name, means["low"], means["high"],
                       label=f"{name}, {kind}", **look, **(look and {"marker": "o"}),
                       **({"markerfacecolor": "#444444"} if look else {}) | face)  # fmt: skip
        axes.set(yscale="log", xlabel=r"skew $\sigma$ of the amounts")
    panels[0].set_ylabel(r"$\|x^\star-x_{\mathrm{true}}\|^2$")
    panels[1].set_ylabel(r"$\frac{1}{n}\sum_i\,\|x_i-x^\star\|^2$")
    for axes, title in zip(panels, ("minimizer of the objective", "limit, full batches", "mini-batches"), strict=True):
        axes.set_title(title)
    handles, labels = (a + b for a, b in zip(*(axes.get_legend_handles_labels() for axes in panels[:2]), strict=True))
    figure.legend([*handles, *style.keys(style.FLOOR)], [*labels, "exact"], loc="outside upper center",
                  ncols=4)  # fmt: skip
    return figure


def against(table: Any, column: str, skew: float, divided_by: str = "") -> Interval:
    """What weighing nodes gives over what weighing samples gives, at one skew; over data sets."""
    runs = table[table["skew"] == skew].groupby(["weighting", "data_set"]).mean(numeric_only=True)
    ratio = runs.loc["nodes", column] / runs.loc["samples", column]
    return interval(ratio / runs.loc["nodes", divided_by] if divided_by else ratio)


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    most, by_data_set = table["skew"].max(), table["data_set"]
    ours = table[table["algorithm"] == "DecentLaM"]
    variance = ours.assign(variance=ours["mse"] - ours["exact_bias"], inverse=1 / ours["noise_factor"])
    middle = sorted(set(table["skew"]))[-2]
    bias = table.pivot(index=["skew", "weighting", "data_set"], columns="algorithm", values="bias")
    return [
        judge("limits are exact", "largest |simulated over exact bias − 1|",
              float((table["bias"] / table["exact_bias"] - 1).abs().max()), high=1e-5),
        judge("noise is as expected", "error with mini-batches over its exact expectation, mean of all",
              interval((table["mse"] / table["exact_mse"]).groupby(by_data_set).mean()), 0.95, 1.05),
        judge("weighing samples is pooling", "largest distance of its minimizer from the fit to all samples",
              float(table.loc[table["weighting"] == "samples", "from_pooled"].max()), high=1e-10),
        judge("minimizers err as expected", "squared error over its expectation, mean of all",
              interval((table["error"] / table["expected_error"]).groupby(by_data_set).mean()), 0.8, 1.2),
        judge("weighing nodes costs data", f"error of the minimizer, over that of all samples, at σ = {most:g}",
              against(table, "error", most), low=2.0),
        judge("as much as mean(1/m) mean(m) says", f"the same at σ = {middle:g} over that factor",
              against(table, "error", middle, "data_factor"), 0.7, 1.3),
        judge("and more bias", f"DecentLaM's squared bias weighing nodes over weighing samples, at σ = {most:g}",
              against(ours, "bias", most), low=2.0),
        judge("weighing samples costs noise", "DecentLaM's variance weighing nodes over weighing samples, times "
              f"mean(m²)/mean(m)², at σ = {most:g}", against(variance, "variance", most, "inverse"), 0.8, 1.2),
        judge("momentum costs DmSGD whatever is weighed", "least squared bias over DecentLaM's",
              float((bias["DmSGD"] / bias["DecentLaM"]).min()), low=5.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["unequal_nodes", *sys.argv[1:]]))
