"""Local steps: what they save in bits, and what they cost in bias.

Least squares with a model of its own at each of 8 nodes of a ring, full batches, one effective step size γ.
Parallel SGD (PmSGD without momentum) averages exactly at every step, Local SGD at every τ-th; Gossip-PGA exchanges with
the neighbours between those averages; PD-SGDM (DmSGD on `simlab.dynamics.every`) exchanges with the neighbours at every
τ-th step alone; SlowMo takes a slow momentum step at every second average of Local SGD. A limit is the fixed point of a
period of steps, an affine map written out here in NumPy alone. Local SGD's squared bias grows as γ²(τ − 1)².
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

import simlab
from figures.claims import Claim, Interval, exponent, interval, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name; PmSGD (parallel SGD) and DSGD (gossip) communicate at every step",
    "slow_momentum": "that of SlowMo, 0 for the others",
    "local_steps": "τ, steps from average to average, of PD-SGDM from exchange to exchange",
    "data_set": "number of the random data set",
    "gradients": "local gradients evaluated so far by all nodes, at the end of a period; the last record is the limit",
    "bits": "sent so far by all nodes, an exact average being a ring all-reduce",
    "mse": "(1/n) Σ ||x_i − x*||², simulated",
    "limit": "its limit by theory, exact",
    "leading": "the limit's leading term for small γ",
    "bits_per_gradient": "bits of a period over its gradients, counted by hand",
}

NODES, SAMPLES, DIM = 8, 50, 10
SHOWN = 8  # the τ whose curves are drawn
SLOW_MOMENTA = (0.3, 0.6)
TARGET = 0.02  # of the initial error, above all limits at the τ that is shown
POINTS = 60  # of a curve
NAMES = {"PmSGD": "parallel SGD", "DSGD": "gossip (DSGD)", "LocalSGD": "Local SGD", "GossipPGA": "Gossip-PGA"}


class Method(NamedTuple):
    """A method on its network, by slow momenta; the matrices of a period, and the messages sent in so many steps."""

    name: str
    network: Any
    algorithms: dict[float, Any]
    mixings: list[np.ndarray]
    messages: float
    period: int
    momentum: float = 0.0


def methods(lr: float, momentum: float, tau: int) -> list[Method]:
    """Those with τ local steps; with τ = 1 the two that have none besides."""
    ring = simlab.topologies.ring(NODES)
    alone, gossip, average = np.eye(NODES), ring.weights, np.full((NODES, NODES), 1 / NODES)
    exchange, all_reduce = 2 * NODES, 2 * (NODES - 1)  # to two neighbours each; 2(n − 1)/n of a message from each node
    local, then_average = simlab.LocalSGD(lr, tau), [alone] * (tau - 1) + [average]
    outer = {slow: simlab.SlowMo(local, 2 * tau, slow) for slow in SLOW_MOMENTA}
    found = [
        Method("LocalSGD", ring, {0.0: local}, then_average, all_reduce, tau),
        Method("GossipPGA", ring, {0.0: simlab.GossipPGA(lr, tau)}, [gossip] * (tau - 1) + [average],
               (tau - 1) * exchange + all_reduce, tau),
        Method("PD-SGDM", simlab.dynamics.every(ring, tau), {0.0: simlab.DmSGD(lr * (1 - momentum), momentum)},
               [alone] * (tau - 1) + [gossip], exchange, tau, momentum),
        Method("SlowMo", ring, outer, then_average, 3 * all_reduce, 2 * tau),  # two averages of the base, and its own
    ]  # fmt: skip
    if tau == 1:
        found.append(Method("PmSGD", ring, {0.0: simlab.PmSGD(lr, 0.0)}, [average], all_reduce, 1))
        found.append(Method("DSGD", ring, {0.0: simlab.DSGD(lr)}, [gossip], exchange, 1))
    return found


def measure(
    lr: float = 0.004, momentum: float = 0.5, local_steps: tuple[int, ...] = (1, 2, 4, 8, 16), data_sets: int = 8,
    steps: int = 8192,
) -> Any:  # fmt: skip
    """Simulate to the limit; a row is one record of one method with one τ on one data set."""
    import pandas as pd

    tables = []
    for seed in range(data_sets):
        problem = simlab.LeastSquares.synthetic(NODES, SAMPLES, DIM, seed=seed)
        for tau in local_steps:
            every = max(2 * tau, 16)
            curve = np.unique(np.geomspace(1, steps // every, POINTS).astype(int)) * every
            for method in methods(lr, momentum, tau):
                runs = simlab.simulate(problem, method.network, list(method.algorithms.values()), steps=steps,
                                       record_every=every)  # fmt: skip
                about = {
                    "algorithm": method.name, "local_steps": tau, "data_set": seed,
                    "limit": limit(problem, lr, method.momentum, method.mixings),
                    "leading": leading(problem, lr, method.mixings),
                    "bits_per_gradient": method.messages * 64 * DIM / (NODES * method.period),
                }  # fmt: skip
                drawn = tau == SHOWN or method.name in ("PmSGD", "DSGD")
                for slow, run in zip(method.algorithms, runs, strict=True):
                    kept = run.frame[run.frame["step"].isin([0, *curve] if drawn else [steps])]
                    tables.append(kept[["gradients", "bits", "mse"]].assign(slow_momentum=slow, **about))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def limit(problem: Any, lr: float, momentum: float, mixings: list[np.ndarray]) -> float:
    """(1/n) Σ ||x_i − x*||² at the fixed point of M⁺ = βM + F'(X), X⁺ = W(X − γ(1 − β)M⁺) over the W of a period."""
    n, d = problem.n_nodes, problem.dim
    size, eye = n * d, np.eye(n * d)
    hessian = np.zeros((n, d, n, d))
    hessian[np.arange(n), :, np.arange(n)] = problem.hessians
    slope = problem.gradient(np.zeros((n, d))).reshape(size, 1)
    # Of (x, m, 1): first m⁺, then x − γ(1 − β)m⁺; W comes last.
    descent = np.block([[hessian.reshape(size, size), momentum * eye, slope]])
    descent = np.concatenate([np.eye(size, 2 * size + 1) - lr * (1 - momentum) * descent, descent])
    period = np.eye(2 * size + 1)
    for w in mixings:
        moved = descent @ period
        moved[:size] = np.tensordot(w, moved[:size].reshape(n, d, -1), 1).reshape(size, -1)
        period[:-1] = moved
    x = np.linalg.solve(np.eye(2 * size) - period[:-1, :-1], period[:-1, -1])[:size].reshape(n, d)
    return float(np.sum((x - problem.minimizer) ** 2) / n)


def leading(problem: Any, lr: float, mixings: list[np.ndarray]) -> float:
    """The same for small γ: nodes drift apart by X̃⁺ = W(X̃ − γF'(X*)), and x̄ − x* = −H̄⁻¹ (1/n) Σ H_i x̃_i, mean x̃_i.

    With momentum, too: steps γ(1 − β)M have the mean γF'.
    """
    n = problem.n_nodes
    force = lr * problem.gradient(np.tile(problem.minimizer, (n, 1)))
    product, drift = np.eye(n), np.zeros_like(force)
    for w in mixings:
        product, drift = w @ product, w @ (drift - force)
    apart = start = np.linalg.solve(np.eye(n) - product + 1 / n, drift)
    total = np.zeros_like(force)
    for w in mixings:
        total, apart = total + apart, w @ (apart - force)
    pull = np.einsum("nij,nj->i", problem.hessians, total) / (n * len(mixings))
    mean = -np.linalg.solve(problem.hessians.mean(axis=0), pull)
    return float(np.sum((mean + start) ** 2) / n)


def limits(table: Any) -> Any:
    """The last record of every run."""
    return table.groupby(["algorithm", "slow_momentum", "local_steps", "data_set"], sort=False).last().reset_index()


def curves(table: Any) -> dict[tuple[str, float], Any]:
    """Name and slow momentum of what is drawn, and its records on all data sets."""
    drawn = table["algorithm"].isin(["PmSGD", "DSGD"]) | (table["local_steps"] == SHOWN)
    return dict(list(table[drawn].groupby(["algorithm", "slow_momentum"], sort=False)))


def until(run: Any, cost: str) -> np.ndarray:
    """What it costs on each data set to reach the target; log-linear between records, infinite if it is not reached."""
    found = []
    for _, one in run.groupby("data_set"):
        error = np.log(one["mse"].to_numpy() / one["mse"].iloc[0])
        found.append(np.interp(-np.log(TARGET), -error[: error.argmin() + 1], one[cost][: error.argmin() + 1],
                               right=np.inf))  # fmt: skip
    return np.array(found)


def summary(table: Any) -> Any:
    """A row a method with τ = 1 or that of the curves: costs to the target, and the limit at each τ."""
    import pandas as pd

    ends = limits(table)
    rows = []
    for (name, slow), run in curves(table).items():
        mine = ends[(ends["algorithm"] == name) & (ends["slow_momentum"] == slow)]
        rows.append({
            "algorithm": f"{name}, {slow:g}" if slow else name,
            "gradients to target": str(interval(until(run, "gradients"))),
            "kbit to target": str(interval(until(run, "bits") / 1e3)),
            **{f"τ = {tau}": f"{mse:.2e}" for tau, mse in mine.groupby("local_steps")["mse"].mean().items()},
        })  # fmt: skip
    return pd.DataFrame(rows).fillna("")


def draw(table: Any) -> Any:
    """Errors against gradients and against bits, simulated; limits against τ, exact ones as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.2))
    left, middle, right = figure.subplots(1, 3)
    for k, ((name, slow), run) in enumerate(curves(table).items()):
        if slow not in (0.0, SLOW_MOMENTA[-1]):
            continue
        label = NAMES.get(name, name) + (rf", $\beta={slow:g}$" if slow else "")
        mean = np.exp(np.log(run.set_index(["gradients", "data_set"])[["mse"]]).groupby(level=0).mean())["mse"]
        bits = run.groupby("gradients")["bits"].first()
        for axes, x in ((left, mean.index.to_numpy()), (middle, bits.to_numpy() / 1e3)):
            style.line(axes, x, mean, name, linewidth=0.9)
            style.mark(axes, x[k % 3 + 1 :: 5], mean.iloc[k % 3 + 1 :: 5], name, label=label, markersize=3.5)
    ends = limits(table)
    for (name, slow), run in ends.groupby(["algorithm", "slow_momentum"], sort=False):
        mean = run.groupby("local_steps")[["mse", "limit"]].mean()
        mean = mean if name == "PD-SGDM" else mean[mean.index > 1]  # no bias without local steps
        if name == "DSGD":
            level = run["limit"].mean()
            style.line(right, [1, ends["local_steps"].max()], [level, level], name)
        elif slow in (0.0, SLOW_MOMENTA[-1]) and len(mean):
            style.line(right, mean.index, mean["limit"], name)
            size = {"markersize": 7} if name == "SlowMo" else {}  # around Local SGD's
            style.mark(right, mean.index, mean["mse"], name, zorder=2 if name == "SlowMo" else 3, **size)
    found = local_exponent(ends)
    right.text(0.97, 0.03, f"Local SGD: exponent in\n$\\tau-1$: {found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]",
               transform=right.transAxes, ha="right", size=7)  # fmt: skip
    start = table["mse"].max()
    least = limits(table).query("mse > 1e-15")["mse"].min()
    left.set(xscale="log", xlabel="local gradients evaluated", title=rf"error, $\tau={SHOWN}$")
    middle.set(xscale="log", xlabel="kilobits sent", title="the same against bits")
    right.set(xscale="log", xlabel=r"local steps $\tau$", title=r"limit against $\tau$")
    taus = sorted(set(table["local_steps"]))
    right.set_xticks(taus, [str(tau) for tau in taus])
    right.set_xticks([], minor=True)
    for axes in (left, middle):
        axes.set(yscale="log", ylim=(least, 3 * start))
        axes.axhline(TARGET * table.loc[table["gradients"] == 0, "mse"].mean(), color="#888888", linewidth=0.8,
                     linestyle=style.FLOOR, zorder=1)  # fmt: skip
    right.set(yscale="log", ylim=(least / 20, None))
    left.set_ylabel(r"$\frac{1}{n}\sum_i\,\|x_i-x^\star\|^2$")
    handles, labels = left.get_legend_handles_labels()
    figure.legend([*handles, *style.keys("-", style.FLOOR)], [*labels, "right: exact limit", "target"],
                  loc="outside upper center", ncols=4)  # fmt: skip
    return figure


def local_exponent(ends: Any) -> Interval:
    """Exponent of Local SGD's limit in τ − 1."""
    runs = ends[(ends["algorithm"] == "LocalSGD") & (ends["local_steps"] > 1)]
    runs = runs.pivot(index="data_set", columns="local_steps", values="mse")
    return exponent(runs.columns - 1, runs.to_numpy())


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    ends, runs = limits(table), curves(table)
    counted = (ends["bits"] / ends["gradients"] / ends["bits_per_gradient"] - 1).abs().max()
    biased = ends[ends["limit"] > 1e-15]
    by_tau = ["data_set", "local_steps"]
    mse = {key: run.set_index(by_tau)["mse"] for key, run in biased.groupby(["algorithm", "slow_momentum"])}
    local, pga = mse["LocalSGD", 0.0], mse["GossipPGA", 0.0]
    gossip = mse["DSGD", 0.0].droplevel("local_steps")
    slow = max(float((mse["SlowMo", momentum] / local - 1).abs().max()) for momentum in SLOW_MOMENTA)
    least = biased[(biased["local_steps"] == 2) & biased["algorithm"].isin(["LocalSGD", "GossipPGA"])]
    least = (least["mse"] / least["leading"]).groupby(least["data_set"])
    gradients, bits = ({key: until(run, cost) for key, run in runs.items()} for cost in ("gradients", "bits"))
    parallel, shown, fast = ("PmSGD", 0.0), ("LocalSGD", 0.0), ("SlowMo", SLOW_MOMENTA[-1])
    return [
        judge("bits as counted", "largest |bits a gradient over those counted by hand − 1|", float(counted),
              high=1e-12),
        judge("limits are exact", "largest |simulated over exact limit − 1|",
              float((biased["mse"] / biased["limit"] - 1).abs().max()), high=1e-5),
        judge("no bias without local steps", "largest limit of parallel SGD, and of Local SGD with τ = 1",
              float(ends[ends["local_steps"] == 1].query("algorithm in ['PmSGD', 'LocalSGD']")["mse"].max()),
              high=1e-15),
        judge("leading terms", "limits of Local SGD and Gossip-PGA over their leading terms at τ = 2, mean",
              interval(least.mean()), 0.95, 1.05),
        judge("bias of local steps", "exponent of Local SGD's limit in τ − 1", local_exponent(ends), 1.9, 2.1),
        judge("slow momentum moves no limit", "largest |limit of SlowMo over Local SGD's − 1|", slow, high=1e-5),
        judge("Gossip-PGA is under gossip", "log10 of its limit over DSGD's, at the worst τ",
              interval(np.log10(pga / gossip).groupby("data_set").max()), high=-1.0),
        judge("Gossip-PGA is under Local SGD", "log10 of its limit over Local SGD's, at the worst τ",
              interval(np.log10(pga / local).groupby("data_set").max()), high=-0.3),
        judge("Gossip-PGA rises", "its limit over that at half the τ, least of all",
              interval((pga / pga.groupby("data_set").shift()).groupby("data_set").min()), low=1.1),
        judge("PD-SGDM is over Local SGD", "log10 of its limit over Local SGD's, at the best τ",
              interval(np.log10(mse["PD-SGDM", 0.0] / local).groupby("data_set").min()), low=1.0),
        judge("same gradients", f"gradients to the target with τ = {SHOWN} local steps over parallel SGD's",
              interval(gradients[shown] / gradients[parallel]), 0.98, 1.02),
        judge("fewer bits", f"bits to the target of parallel SGD over Local SGD's with τ = {SHOWN}, over τ",
              interval(bits[parallel] / bits[shown] / SHOWN), 0.98, 1.02),
        judge("slow momentum is fast", "gradients to the target of SlowMo over Local SGD's",
              interval(gradients[fast] / gradients[shown]), high=0.7),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["local_steps", *sys.argv[1:]]))
