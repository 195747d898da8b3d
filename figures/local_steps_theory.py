"""Local steps by theory: exact errors, simulated ones and the bounds D2 and D3, against the number of local steps.

Quadratics with Hessian I and a minimizer of their own at each of 8 nodes of a ring, noise on the gradients, one small
step size γ. Then ∇f(x̄) = x̄ − x*, and (1/K)ΣE‖∇f(x̄_k)‖², which the theorems bound, is the mean of the exact mse less
consensus. Local SGD averages exactly at every τ-th step, Gossip-PGA gossips between; DSGD and DmSGD exchange with the
ring at every τ-th step alone.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, exponent, interval, judge
from figures.study import main
from simlab.plot import style
from theory.theorems import gossip_pga, local_momentum, local_updates

COLUMNS = {
    "algorithm": "name; PD-SGDM is DmSGD that exchanges at every τ-th step",
    "theorem": "name, as in `theory.verify`",
    "local_steps": "τ",
    "data_set": "number of the data set",
    "exact": "(1/K)Σ_{k<K} E||∇f(x̄_k)||², exact",
    "simulated": "the same, mean over replicates",
    "bound": "the theorem's",
    "bias": "(1/n) Σ ||E x_i − x*||² in the long run, exact, mean over a period",
    "consensus": "(1/n) Σ E||x_i − x̄||² in the long run, exact, mean over a period",
}

NODES, DIM, LR, MOMENTUM, STD = 8, 1, 0.001, 0.5, 0.3
TAUS = (1, 2, 4, 8, 16)
THEOREMS = {"LocalSGD": "D2 for local SGD", "GossipPGA": "Gossip-PGA", "DSGD": "D2", "PD-SGDM": "D3"}


def methods(tau: int) -> dict[str, tuple[Any, Any]]:
    """Network and algorithm of each."""
    ring = simlab.topologies.ring(NODES)
    seldom = simlab.dynamics.every(ring, tau)
    return {
        "LocalSGD": (ring, simlab.LocalSGD(LR, tau)),
        "GossipPGA": (ring, simlab.GossipPGA(LR, tau)),
        "DSGD": (seldom, simlab.DSGD(LR)),
        "PD-SGDM": (seldom, simlab.DmSGD(LR, MOMENTUM)),
    }


def bounds(problem: Any, tau: int, steps: int) -> dict[str, float]:
    """What the theorems say of each, all of whose assumptions hold: L = 1, ς² that at any point."""
    p = theory.mixing_parameter(simlab.topologies.ring(NODES))
    apart = problem.linear - problem.linear.mean(axis=0)
    about = {
        "lr": LR, "smoothness": 1.0, "steps": steps, "n_nodes": NODES, "variance": DIM * STD**2,
        "initial_gap": float(problem.minimizer @ problem.minimizer) / 2,
        "dissimilarity": float(np.sum(apart**2)) / NODES,
    }  # fmt: skip
    assert p / (8 * tau) >= LR and local_momentum.largest_step(1.0, MOMENTUM, tau, p) >= LR
    return {
        "LocalSGD": local_updates.average_bound(**about, window=tau),
        "GossipPGA": float(gossip_pga.bound(**about, period=tau, p=p)),
        "DSGD": local_updates.bound(**about, window=tau, p=p),
        "PD-SGDM": local_momentum.bound(**about, momentum=MOMENTUM, window=tau, p=p),
    }


def measure(local_steps: tuple[int, ...] = TAUS, data_sets: int = 3, steps: int = 500, replicates: int = 20) -> Any:
    """Predict, simulate and bound; a row is one method with one τ on one data set."""
    import pandas as pd

    rows = []
    for seed in range(data_sets):
        problem = simlab.Quadratic(np.ones((NODES, DIM)), np.random.default_rng([seed, 19]).normal(1, 1, (NODES, DIM)))
        for tau in local_steps:
            bound = bounds(problem, tau, steps)
            for name, (network, algorithm) in methods(tau).items():
                run = simlab.simulate(problem, network, algorithm, steps=steps, noise_std=STD, replicates=replicates,
                                      record_every=1, seed=seed)  # fmt: skip
                seen = run.frame.loc[run.frame["step"] < steps, "squared_gradient_norm"].mean()
                exact = theory.predict(problem, network, algorithm, noise_std=STD)
                path = exact.transient(steps - 1)
                rows.append((
                    name, THEOREMS[name], tau, seed, float((path["mse"] - path["consensus"]).mean()), seen,
                    bound[name], exact.bias, exact.consensus,
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def by_tau(table: Any, algorithm: str, column: str) -> Any:
    """A row a data set, a column a τ."""
    return table[table["algorithm"] == algorithm].pivot(index="data_set", columns="local_steps", values=column)


def summary(table: Any) -> Any:
    """A row a method: exact over bound at each τ, mean over data sets, and the disagreement in the long run."""
    import pandas as pd

    rows = []
    for name in THEOREMS:
        tight = (by_tau(table, name, "exact") / by_tau(table, name, "bound")).mean()
        apart = by_tau(table, name, "consensus").mean()
        rows.append({
            "algorithm": name, "theorem": THEOREMS[name],
            **{f"exact/bound, τ = {tau}": f"{value:.2f}" for tau, value in tight.items()},
            f"consensus, τ = {apart.index[-1]}": f"{apart.iloc[-1]:.2e}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Mean squared gradients with their bounds; disagreement in the long run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.0))
    left, right = figure.subplots(1, 2)
    for name in THEOREMS:
        exact, bound, seen = (by_tau(table, name, column).mean() for column in ("exact", "bound", "simulated"))
        style.line(left, exact.index, exact, name)
        style.line(left, bound.index, bound, name, linestyle=style.FLOOR, linewidth=0.9)
        style.mark(left, seen.index, seen, name, label=name)
        apart = by_tau(table, name, "consensus").mean()
        apart = apart[apart > 1e-15]  # Local SGD with τ = 1 averages at every step
        style.line(right, apart.index, apart, name)
        style.mark(right, apart.index, apart, name)
    taus = sorted(set(table["local_steps"]))
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel=r"local steps $\tau$")
        axes.set_xticks(taus, [str(tau) for tau in taus])
        axes.set_xticks([], minor=True)
    left.set_title(r"$\frac{1}{K}\sum_k\,E\|\nabla f(\bar x_k)\|^2$")
    right.set_title(r"disagreement in the long run, exact")
    handles, labels = left.get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-", style.FLOOR)], [*labels, "exact; markers: simulated", "bound"],
                  loc="outside upper center", ncols=6)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    ratio = (table["simulated"] / table["exact"]).groupby(table["data_set"]).mean()
    plain = table[table["algorithm"] != "PD-SGDM"].groupby(["local_steps", "data_set"])["exact"]
    taus = np.array(sorted(set(table["local_steps"])))
    long = taus[taus >= 4]
    local = by_tau(table, "LocalSGD", "consensus")[list(long)]
    gossip = by_tau(table, "GossipPGA", "consensus")[taus[-1]]
    return [
        judge("exact is simulated", "simulated over exact mean squared gradient, mean over methods and τ",
              interval(ratio), 0.99, 1.01),
        judge("bounds hold", "largest exact value over its bound", float((table["exact"] / table["bound"]).max()),
              high=1.0),
        judge("and are no idle ones", "least of Local SGD's exact values over its bound",
              float((by_tau(table, "LocalSGD", "exact") / by_tau(table, "LocalSGD", "bound")).min(axis=None)), low=0.1),
        judge("equal Hessians: the mean feels no local step", "largest over least exact value without momentum − 1",
              float((plain.max() / plain.min() - 1).max()), high=1e-6),
        judge("local steps drive nodes apart", "exponent of Local SGD's disagreement in τ",
              exponent(long, local.to_numpy()), 1.5, 2.6),
        judge("gossip between averages helps", f"Local SGD's disagreement over Gossip-PGA's at τ = {taus[-1]}",
              interval(local[taus[-1]] / gossip), low=2.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["local_steps_theory", *sys.argv[1:]]))
