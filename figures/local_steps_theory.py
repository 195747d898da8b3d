"""Local steps by theory: exact errors, simulated ones and the bounds D2 and D3, against the number of local steps.

Quadratics with Hessian I and a minimizer of their own at each of 8 nodes of a ring, noise on the gradients, one small
step size γ. Then ∇f(x̄) = x̄ − x*, and (1/K)ΣE‖∇f(x̄_k)‖², which the theorems bound, is the mean of the exact mse less
consensus. Local SGD averages exactly at every τ-th step, Gossip-PGA gossips between; DSGD and DmSGD exchange with the
ring at every τ-th step alone.

After j local steps at small γ nodes disagree by γj times their gradients' differences, and γ²j times the noise's
variance; gossip after each of them leaves of the first λ(1 − λ^j)/(1 − λ) in a mode λ in place of j, and of the second
Σ_{i<=j} λ^2i. So Local SGD's disagreement, the mean over j < τ, grows between (τ − 1)/2 and (τ − 1)(2τ − 1)/6. A first
claim, an exponent of 1 to 2.2 in τ, was false: from τ = 4 on both grow faster, as the powers 1 and 2 are theirs for
large τ only.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, Interval, agrees, judge
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
    "error": "standard error of that mean",
    "bound": "the theorem's",
    "bias": "(1/n) Σ ||E x_i − x*||² in the long run, exact, mean over a period",
    "consensus": "(1/n) Σ E||x_i − x̄||² in the long run, exact, mean over a period",
}

NODES, DIM, LR, MOMENTUM, STD, REPLICATES = 8, 1, 0.001, 0.5, 0.3, 20
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


def measure(local_steps: tuple[int, ...] = TAUS, data_sets: int = 3, steps: int = 500) -> Any:
    """Predict, simulate and bound; a row is one method with one τ on one data set."""
    import pandas as pd

    rows = []
    for seed in range(data_sets):
        problem = simlab.Quadratic(np.ones((NODES, DIM)), np.random.default_rng([seed, 19]).normal(1, 1, (NODES, DIM)))
        for tau in local_steps:
            bound = bounds(problem, tau, steps)
            for name, (network, algorithm) in methods(tau).items():
                run = simlab.simulate(problem, network, algorithm, steps=steps, noise_std=STD, replicates=REPLICATES,
                                      record_every=1, seed=seed)  # fmt: skip
                rows_seen = run.frame[run.frame["step"] < steps].groupby("replicate")
                seen = rows_seen["squared_gradient_norm"].mean()
                exact = theory.predict(problem, network, algorithm, noise_std=STD)
                path = exact.transient(steps - 1)
                rows.append((
                    name, THEOREMS[name], tau, seed, float((path["mse"] - path["consensus"]).mean()),
                    float(seen.mean()), float(seen.sem()), bound[name], exact.bias, exact.consensus,
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


def disagreement(tau: int, eigenvalue: float) -> np.ndarray:
    """Mean over a period of what differences of gradients, and their noise, make in a mode at γ = 1, to first order."""
    powers = eigenvalue ** np.arange(1, tau)
    return np.array([np.sum(np.cumsum(powers) ** 2), np.sum(np.cumsum(powers**2))]) / tau


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    plain = table[table["algorithm"] != "PD-SGDM"].groupby(["local_steps", "data_set"])["exact"]
    taus = np.array(sorted(set(table["local_steps"])))
    first, last = int(taus[taus >= 4][0]), int(taus[-1])
    local = by_tau(table, "LocalSGD", "consensus")
    grown = local[last] / local[first]
    least, most = np.sort(disagreement(last, 1.0) / disagreement(first, 1.0))
    helped = local[last] / by_tau(table, "GossipPGA", "consensus")[last]
    slowest = np.linalg.eigvalsh(simlab.topologies.ring(NODES).weights)[-2]
    return [
        agrees("exact is simulated", "farthest simulated mean squared gradient from the exact one, in standard errors",
               table["exact"], table["simulated"], table["error"], REPLICATES),
        judge("bounds hold", "largest exact value over its bound", float((table["exact"] / table["bound"]).max()),
              high=1.0),
        judge("and are no idle ones", "least of Local SGD's exact values over its bound",
              float((by_tau(table, "LocalSGD", "exact") / by_tau(table, "LocalSGD", "bound")).min(axis=None)), low=0.1),
        judge("equal Hessians: the mean feels no local step", "largest over least exact value without momentum − 1",
              float((plain.max() / plain.min() - 1).max()), high=1e-6),
        judge("local steps drive nodes apart", f"Local SGD's disagreement at τ = {last} over that at {first}, all data",
              Interval(grown.mean(), grown.min(), grown.max()), least, most),
        judge("gossip between averages helps", f"least of Local SGD's disagreement over Gossip-PGA's at τ = {last}",
              float(helped.min()), low=float(np.min(disagreement(last, 1.0) / disagreement(last, slowest)))),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["local_steps_theory", *sys.argv[1:]]))
