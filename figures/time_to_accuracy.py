"""Seconds to an accuracy: all-reduce, parameter server, gossip and asynchronous pairs, with and without stragglers.

Left, pace: seconds a step against n, compute times exponential with mean 1, messages for nothing. A barrier takes the
largest of n, E max = H_n = 1 + 1/2 + ... + 1/n. Gossip on a directed ring is a queue of n customers at n servers in a
circle, all of whose states are equally likely, so that a server is busy for n/(2n − 1) of the time: a step takes
2 − 1/n. On a ring at most n 3^k chains of k exponential times end in step k, so that it
spends at most c, c − 1 − ln c = ln 3, at any n. Asynchronous nodes spend 1. Right, accuracy: least squares on a torus
of 16 nodes, mini-batches, messages that take time, one effective step size; node 0 may be slow. AD-PSGD has no momentum
and steps γ/(1 − β); its nodes add the time of their message to that of their gradient. n events count as one step.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy.special import digamma, lambertw

import simlab
from figures.claims import Claim, Interval, interval, judge, summarize
from figures.study import main
from simlab.cluster import Exponential
from simlab.plot import style

COLUMNS = {
    "stragglers": "'exponential' compute times of mean 1 s, 'equal' (1 s), or a 'slow node' (5 s, 1 s for the others)",
    "messages": "whether messages take time",
    "method": "name, or network in the panel on pace",
    "n_nodes": "n",
    "replicate": "number of the independent run",
    "step": "steps, or events over n",
    "time": "modelled seconds",
    "mse": "(1/n) Σ ||x_i − x*||² over its value at the start",
    "pace": "seconds a step, after the first quarter of the run",
    "expected": "seconds a step in closed form, where there is one",
}

NODES = (2, 4, 8, 16, 32, 64)
SIZE, SAMPLES, DIM, BATCH = 16, 100, 10, 10
SLOW = 5.0
LATENCY, BANDWIDTH = 0.02, 12_800.0
MESSAGE = LATENCY + 64 * DIM / BANDWIDTH
TARGET = 0.01
LATE = 400  # steps from which on errors have settled
STRAGGLERS = ("equal", "exponential", "slow node")
BOUND = float(-lambertw(-1 / (3 * np.e), -1).real)  # c − 1 − ln c = ln 3
BARRIER, DIRECTED, RING, EVENTS = "barrier", "directed ring", "ring", "asynchronous"
LOOKS = {BARRIER: "PmSGD", DIRECTED: "SGP", RING: "DecentLaM", EVENTS: "ADPSGD"}
METHODS = ("PmSGD", "PmSGD, server", "DecentLaM", "DmSGD", "ADPSGD")


def measure(
    nodes: tuple[int, ...] = NODES, pace_steps: int = 2000, steps: int = 480, lr: float = 0.002, momentum: float = 0.9,
    replicates: int = 8,
) -> Any:  # fmt: skip
    """Simulate; a row is one record of one method, of the panel on pace the last one alone."""
    import pandas as pd

    runs = [pace_run(n, name, pace_steps, replicates) for n in nodes for name in LOOKS]
    for stragglers in STRAGGLERS:
        runs += [accuracy_run(stragglers, name, steps, lr, momentum, replicates) for name in METHODS]
    return pd.concat(runs, ignore_index=True)[list(COLUMNS)]


def pace_run(n: int, name: str, steps: int, replicates: int) -> Any:
    """Exponential times and no communication; what is computed does not matter."""
    problem = simlab.Quadratic(np.ones((n, 1)), np.zeros((n, 1)))
    ring, cluster = simlab.topologies.ring(n), simlab.Cluster(Exponential(1.0))
    expected = {BARRIER: harmonic(n), DIRECTED: 2 - 1 / n, RING: np.nan, EVENTS: 1.0}[name]
    network, algorithm, size = {
        BARRIER: (ring, simlab.PmSGD(0.1), 1),
        DIRECTED: (simlab.topologies.directed_ring(n), simlab.DSGD(0.1), 1),
        RING: (ring, simlab.DSGD(0.1), 1),
        EVENTS: (simlab.dynamics.asynchronous(ring), simlab.ADPSGD(0.1), n),
    }[name]
    frame = simlab.simulate(
        problem, network, algorithm, steps=steps * size, record_every=steps * size // 4, replicates=replicates, seed=n,
        cluster=None if name == EVENTS else cluster,
    ).frame  # fmt: skip
    frame = with_pace(frame.assign(step=frame["step"] / size))
    last = frame[frame["step"] == frame["step"].max()]
    return last[["replicate", "step", "time", "pace"]].assign(
        stragglers="exponential", messages=False, method=name, n_nodes=n, mse=1.0, expected=expected
    )


def accuracy_run(stragglers: str, name: str, steps: int, lr: float, momentum: float, replicates: int) -> Any:
    """On the same data and step sizes, with messages that take time."""
    problem = simlab.LeastSquares.synthetic(SIZE, SAMPLES, DIM, heterogeneity=0.5, seed=3)
    network, size = simlab.topologies.torus(SIZE), 1
    seconds = np.where(np.arange(SIZE) == 0, SLOW if stragglers == "slow node" else 1.0, 1.0)
    compute: Any = Exponential(1.0) if stragglers == "exponential" else seconds
    collective = "server" if name == "PmSGD, server" else "ring"
    cluster = simlab.Cluster(compute, LATENCY, BANDWIDTH, collective)
    algorithm: Any = {"DecentLaM": simlab.DecentLaM, "DmSGD": simlab.DmSGD}.get(name, simlab.PmSGD)(lr, momentum)
    if name == "ADPSGD":
        algorithm, size, cluster = simlab.ADPSGD(lr / (1 - momentum)), SIZE, None
        drawn = stragglers == "exponential"
        network = simlab.dynamics.asynchronous(network, exponential_and_message if drawn else seconds + MESSAGE)
    frame = simlab.simulate(
        problem, network, algorithm, steps=steps * size, record_every=4 * size, replicates=replicates, seed=1,
        batch_size=BATCH, cluster=cluster,
    ).frame  # fmt: skip
    frame = with_pace(frame.assign(step=frame["step"] / size, mse=frame["mse"] / np.sum(problem.minimizer**2)))
    return frame[["replicate", "step", "time", "mse", "pace"]].assign(
        stragglers=stragglers, messages=True, method=name, n_nodes=SIZE, expected=expected_pace(stragglers, name)
    )


def exponential_and_message(random: np.random.Generator, node: int) -> float:
    """Seconds from one event of an asynchronous node to its next."""
    return random.standard_exponential() + MESSAGE


def with_pace(frame: Any) -> Any:
    """The column `pace`, from a quarter of the run to its end, when it no longer feels the common start."""
    last = frame["step"].max()
    ends = frame[frame["step"].isin([last / 4, last])].pivot(index="replicate", columns="step", values="time")
    return frame.assign(pace=frame["replicate"].map((ends[last] - ends[last / 4]) / (0.75 * last)))


def harmonic(n: Any) -> Any:
    """H_n, E max of n independent exponential times of mean 1."""
    return digamma(n + 1) + np.euler_gamma


def expected_pace(stragglers: str, name: str) -> float:
    """Seconds a step with messages; NaN where gossip has no closed form."""
    slowest = {"equal": 1.0, "exponential": harmonic(SIZE), "slow node": SLOW}[stragglers]
    if name == "PmSGD":  # 2(n − 1) messages of 1/n of the numbers
        return slowest + 2 * (SIZE - 1) * (LATENCY + 64 * DIM / SIZE / BANDWIDTH)
    if name == "PmSGD, server":  # n messages through one link, each way
        return slowest + 2 * (LATENCY + SIZE * 64 * DIM / BANDWIDTH)
    if name == "ADPSGD":
        slow = SLOW if stragglers == "slow node" else 1.0
        return SIZE / ((SIZE - 1) / (1 + MESSAGE) + 1 / (slow + MESSAGE))
    # The largest cycle mean: two nodes that wait for one another, or the slow one for itself.
    return {"equal": 1 + MESSAGE, "exponential": np.nan, "slow node": SLOW}[stragglers]


def until(table: Any, stragglers: str, method: str, column: str = "time") -> np.ndarray:
    """Seconds (or steps) to the target in each replicate, log-linear between records; infinite if not reached."""
    runs = table[table["messages"] & (table["stragglers"] == stragglers) & (table["method"] == method)]
    found = []
    for _, run in runs.groupby("replicate"):
        fallen = -np.log(np.minimum.accumulate(run["mse"].to_numpy()))
        found.append(np.interp(-np.log(TARGET), fallen, run[column], right=np.inf))
    return np.array(found)


def paces(table: Any, messages: bool) -> Any:
    """A row a run: its pace, and that of the closed form."""
    by = ["stragglers", "method", "n_nodes", "replicate"]
    return table[table["messages"] == messages].groupby(by, sort=False)[["pace", "expected"]].last().reset_index()


def summary(table: Any) -> Any:
    """A row a method and kind of stragglers: seconds a step (closed form), steps and seconds to the target."""
    import pandas as pd

    rows = []
    for (stragglers, method), runs in paces(table, True).groupby(["stragglers", "method"], sort=False):
        steps, seconds = (until(table, stragglers, method, column) for column in ("step", "time"))
        rows.append({
            "stragglers": stragglers, "method": method, "seconds a step": str(interval(runs["pace"])),
            "closed form": float(runs["expected"].iloc[0]),
            f"steps to {TARGET:g}": _shown(steps), f"seconds to {TARGET:g}": _shown(seconds),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _shown(values: np.ndarray) -> str:
    return str(interval(values)) if np.isfinite(values).all() else "never"


def draw(table: Any) -> Any:
    """Pace against n with its closed forms as lines, then errors against seconds, a panel a kind of stragglers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 5.2))
    grid = figure.subplots(2, 2)
    first, *others = grid.flat
    alone = paces(table, False)
    n = np.geomspace(alone["n_nodes"].min(), alone["n_nodes"].max(), 100)
    for name, runs in alone.groupby("method", sort=False):
        found = summarize(runs, ["n_nodes"], "pace")
        style.mark(first, found["n_nodes"], found["pace"], LOOKS[name], found["low"], found["high"])
        at, text = found["n_nodes"].iloc[-1], {BARRIER: "barrier: $H_n$", DIRECTED: "directed ring: $2-1/n$",
                                               RING: "gossip on a ring", EVENTS: "asynchronous: 1"}[name]  # fmt: skip
        first.annotate(text, (at, found["pace"].iloc[-1]), (0, -11 if name == DIRECTED else 5), ha="right",
                       textcoords="offset points", size=7, color=style.look(LOOKS[name]).color)  # fmt: skip
        exact = {BARRIER: harmonic(n), DIRECTED: 2 - 1 / n, EVENTS: np.ones_like(n)}.get(name)  # fmt: skip
        if exact is not None:
            style.line(first, n, exact, LOOKS[name])
    first.axhline(BOUND, color="#888888", linewidth=0.8, linestyle=style.FLOOR, zorder=1)
    first.annotate(f"no ring over {BOUND:.2f}", (n[0], BOUND), (0, 3), textcoords="offset points", size=7)
    ticks = sorted(set(alone["n_nodes"]))
    first.set(xscale="log", ylim=(0.5, 6), xlabel="nodes $n$", title="seconds a step, exponential times")
    first.set_xticks(ticks, [str(k) for k in ticks])
    first.set_xticks([], minor=True)
    for axes, stragglers in zip(others, STRAGGLERS, strict=True):
        drawn = table[table["messages"] & (table["stragglers"] == stragglers)]
        ends = drawn[drawn["method"] == "DecentLaM"]["time"].max()
        for k, (name, runs) in enumerate(drawn.groupby("method", sort=False)):
            # Replicates at equal steps; their mean time is the abscissa.
            mean = np.exp(runs.assign(mse=np.log(runs["mse"])).groupby("step")["mse"].mean())
            time = runs.groupby("step")["time"].mean()
            style.line(axes, time, mean, name, linewidth=0.9)
            style.mark(axes, time.iloc[3 + 2 * k :: 14], mean.iloc[3 + 2 * k :: 14], name)
        axes.axhline(TARGET, color="#888888", linewidth=0.8, linestyle=style.FLOOR, zorder=1)
        axes.set(yscale="log", xlim=(0, 0.6 * ends), ylim=(1e-4, 1.5), xlabel="modelled seconds")
        about = {"equal": "no stragglers", "exponential": "exponential times", "slow node": "one slow node"}
        axes.set_title(f"relative error, {about[stragglers]}")
    handles, labels = others[0].get_legend_handles_labels()
    labels = ["PmSGD, ring all-reduce" if label == "PmSGD" else label for label in labels]
    figure.legend([*handles, *style.keys("-", style.FLOOR)], [*labels, "pace: closed form", "bound; target"],
                  loc="outside upper center", ncols=4)  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    alone, timed = paces(table, False), paces(table, True)
    ratios = (alone["pace"] / alone["expected"]).groupby([alone["method"], alone["replicate"]]).mean()
    widest = sorted(set(alone["n_nodes"]))[-1]
    by_size = alone[alone["method"] == RING].pivot(index="replicate", columns="n_nodes", values="pace")
    off = (timed["pace"] / timed["expected"]).groupby([timed["stragglers"], timed["method"]]).agg(list).map(np.array)
    off = off[off.map(lambda values: bool(np.isfinite(values).all()))]
    worst = max(off, key=lambda values: abs(values.mean() - 1))
    late = table[table["messages"] & (table["stragglers"] == "exponential") & (table["step"] >= LATE)]
    floors = late.groupby(["method", "replicate"])["mse"].mean()

    def seconds(over: str, under: str, stragglers: str) -> Interval:
        return interval(until(table, stragglers, over) / until(table, stragglers, under))

    return [
        judge("a barrier waits for the last", "seconds a step over H_n, mean over n", interval(ratios[BARRIER]), 0.98,
              1.02),
        judge("a directed ring waits for its neighbour", "seconds a step over 2 − 1/n, mean over n",
              interval(ratios[DIRECTED]), 0.98, 1.02),
        judge("asynchronous nodes wait for nobody", "seconds of n events over 1, mean over n",
              interval(ratios[EVENTS]), 0.98, 1.02),
        judge("a ring stays bounded", f"seconds a step at n = {widest} in units of the bound",
              interval(by_size[widest] / BOUND), high=1.0),
        judge("a ring does not grow", f"seconds a step at n = {widest} over those at a quarter of the nodes",
              interval(by_size[widest] / by_size[widest // 4]), high=1.06),
        judge("seconds a step with messages", "over the closed form, of the method that is farthest off",
              interval(worst), 0.97, 1.03),
        judge("all-reduce before server", "seconds to the target of the server over those of the ring, exponential",
              seconds("PmSGD, server", "PmSGD", "exponential"), low=1.1),
        judge("gossip before all-reduce", "seconds to the target of PmSGD over DecentLaM's, exponential times",
              seconds("PmSGD", "DecentLaM", "exponential"), low=1.2),
        judge("asynchronous before gossip", "seconds to the target of DecentLaM over ADPSGD's, exponential times",
              seconds("DecentLaM", "ADPSGD", "exponential"), low=1.2),
        judge("gossip waits for a slow node", "seconds to the target of DecentLaM, slow node over equal",
              interval(until(table, "slow node", "DecentLaM") / until(table, "equal", "DecentLaM")), low=3.0),
        judge("asynchronous nodes do not", "seconds to the target of ADPSGD, slow node over equal",
              interval(until(table, "slow node", "ADPSGD") / until(table, "equal", "ADPSGD")), high=1.5),
        judge("asynchronous nodes stop higher", "log10 of the late error of ADPSGD over DecentLaM's, exponential times",
              interval(np.log10(floors["ADPSGD"] / floors["DecentLaM"])), low=0.3),
        judge("DmSGD is as fast", "seconds to the target of DmSGD over DecentLaM's, exponential times",
              seconds("DmSGD", "DecentLaM", "exponential"), 0.98, 1.02),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["time_to_accuracy", *sys.argv[1:]]))
