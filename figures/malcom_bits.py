"""Bits a parameter of Malcom-PSGD's messages along training: the stream, its closed form, and the entropy.

Digits on a ring, with 32 and with 256 hidden units. Every message of a shown step is quantized as the algorithm does
it, and its stream counted, beside the closed form and the entropy at the frequencies of the message's own levels, and
beside the ideal adaptive code (Krichevsky, Trofimov), which a real arithmetic code meets to a bit. That code pays for
levels that do not occur, of which trained networks have many: it takes more bits than the level-by-level code. The
closed form is an upper estimate for messages this short, since it charges a run after a level's last position; the
entropy leaves out the norm and the frequencies, which a receiver needs too. The last panel does the same for Gaussian
vectors of 10 to 10^5 entries, without the norm, in units of the ideal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import gammaln

import simlab
from figures.claims import Claim, interval, judge, summarize
from figures.digits import BATCH_SIZE, LEVELS, N_NODES, digits, malcom
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "hidden": "units of the hidden layer; 0 for Gaussian vectors",
    "dim": "parameters, the levels in a message",
    "seed": "of the images held out, the start, the mini-batches and the rounding",
    "step": "iterations done",
    "zeros": "part of the levels that are zero, mean over nodes",
    "stream": "bits a parameter of the level-by-level code, mean over nodes",
    "closed_form": "the same by its closed form at each message's frequencies",
    "entropy": "bits a parameter, empirical entropy of each message's levels",
    "adaptive": "bits a parameter of the adaptive arithmetic code, mean over nodes",
    "ideal": "bits a parameter of the norm and the ideal adaptive code",
    "elias": "bits a parameter of QSGD's Elias code, mean over nodes",
    "fixed": "bits a parameter at fixed length",
}


def measure(
    steps: int = 400,
    seeds: int = 3,
    hidden: tuple[int, ...] = (32, 256),
    shown: int = 12,
    lengths: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000),
) -> Any:
    """Train; a row is all messages of one shown step, or the Gaussian vectors of one length."""
    import pandas as pd

    rows = []
    at = sorted({int(step) for step in np.geomspace(1, steps, shown)})
    for units in hidden:
        for seed in range(seeds):
            problem = digits(seed, units)
            for step, levels in messages(problem, at, seed):
                rows.append((units, problem.dim, seed, step, float(np.mean(levels == 0)), *bits_a_parameter(levels)))
    for seed in range(seeds):
        for dim in lengths:
            levels = gaussian(dim, seed)
            rows.append((0, dim, seed, 0, float(np.mean(levels == 0)), *bits_a_parameter(levels)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def messages(problem: Any, steps: list[int], seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """Levels (n, d) that the nodes send at the wanted steps."""
    algorithm, network = malcom(), simlab.topologies.ring(N_NODES)
    random = np.random.default_rng(seed)
    state = algorithm.init(np.tile(problem.initial(seed), (N_NODES, 1)))
    for step in range(1, steps[-1] + 1):
        indices = random.integers(problem.n_samples, size=(N_NODES, BATCH_SIZE))
        batch = simlab.operations.Batch(indices, dither=random.random((1, N_NODES, problem.dim)))
        after = algorithm.step(state, problem, network, batch)
        if step in steps:
            residual = state.x - algorithm.lr * problem.gradient(state.x, batch) - state.replica
            levels, norm = algorithm.compressor.quantize(residual, batch.dither[0])
            sent = algorithm.compressor.reconstruct(levels, norm)
            if not np.allclose(after.replica - state.replica, sent, atol=1e-12):
                raise AssertionError(f"the levels of step {step} are not those that the algorithm sent")
            yield step, levels
        state = after


def gaussian(dim: int, seed: int) -> np.ndarray:
    """Levels of Gaussian vectors, (m, d): the more, the shorter they are."""
    random = np.random.default_rng([seed, dim])
    v = random.standard_normal((max(N_NODES, 20_000 // dim), dim))
    return simlab.compression.DitheredUniform(LEVELS).quantize(v, random.random(v.shape, np.float32))[0]


def ideal_bits(message: np.ndarray) -> float:
    """-log2 of the probability under Krichevsky and Trofimov's estimate, (c + 1/2)/(n + A/2) for a level seen c times
    among n, A = 2s + 1.
    """
    _, counts = np.unique(message, return_counts=True)
    total = gammaln(message.size + LEVELS + 0.5) - gammaln(LEVELS + 0.5)
    return float(total - np.sum(gammaln(counts + 0.5) - gammaln(0.5))) / np.log(2)


def bits_a_parameter(levels: np.ndarray) -> tuple[float, ...]:
    """Stream, closed form, entropy, adaptive, ideal, Elias code and fixed length, means over the messages (n, d)."""
    compression = simlab.compression
    d = levels.shape[-1]
    level, adaptive, elias = (compression.source_code(name, LEVELS) for name in ("level", "adaptive", "elias"))
    closed, entropy = [], []
    for message in levels:
        values, counts = np.unique(message, return_counts=True)
        closed.append(level.expected_bits(counts / d, d, values) / d)
        entropy.append(compression.empirical_entropy(message))
    return (
        float(np.mean(level.count_bits(levels))) / d,
        float(np.mean(closed)),
        float(np.mean(entropy)),
        float(np.mean(adaptive.count_bits(levels))) / d,
        32 / d + float(np.mean([ideal_bits(message) for message in levels])) / d,
        float(np.mean(elias.count_bits(levels))) / d,
        compression.fixed_length_bits(d, LEVELS) / d,
    )


def summary(table: Any) -> Any:
    """Means over the shown steps and seeds."""
    values = ["zeros", "stream", "closed_form", "entropy", "adaptive", "ideal", "elias", "fixed"]
    return table.groupby(["hidden", "dim"], sort=False)[values].mean().reset_index()


def draw(table: Any) -> Any:
    """Bits a parameter against iterations, a panel for each size of the network; bits over the ideal against length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.0))
    trained, vectors = table[table["hidden"] > 0], table[table["hidden"] == 0]
    sizes = list(trained.groupby(["hidden", "dim"], sort=False))
    *panels, last = figure.subplots(1, len(sizes) + 1, squeeze=False)[0]
    for axes in panels[1:]:
        axes.sharey(panels[0])
    for axes, ((units, dim), runs) in zip(panels, sizes, strict=True):
        means = runs.groupby("step")[["closed_form", "entropy", "adaptive", "elias", "fixed"]].mean()
        axes.plot(means["fixed"], color="#666666", linestyle=(0, (1, 1.5)), label="fixed length")
        axes.plot(means["elias"], color="#009E73", linestyle=(0, (2, 1)), label="Elias code")
        axes.plot(means["adaptive"], color="#D55E00", linestyle=(0, (4, 1.5)), label="adaptive code")
        axes.plot(means["closed_form"], color="#CC79A7", label="closed form, level by level")
        axes.plot(means["entropy"], color="#000000", linestyle=style.FLOOR, label="entropy")
        stream = summarize(runs, ["step"], "stream")
        style.mark(axes, stream["step"], stream["stream"], "MalcomPSGD", stream["low"], stream["high"],
                   label="stream, level by level")  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="iterations", title=f"{units} hidden units, {dim} parameters")
    panels[0].set_ylabel("bits a parameter")
    ticks = [0.2, 0.5, 1, 2, 5]
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for axes in panels:
        axes.minorticks_off()
    means = vectors.groupby("dim")[["stream", "adaptive", "elias", "fixed", "ideal"]].mean()
    means = means.sub(32 / means.index.to_numpy(), axis=0)
    means = means.div(means["ideal"], axis=0)
    last.plot(means["fixed"], color="#666666", linestyle=(0, (1, 1.5)))
    last.plot(means["elias"], color="#009E73", linestyle=(0, (2, 1)))
    last.plot(means["adaptive"], color="#D55E00", linestyle=(0, (4, 1.5)))
    style.mark(last, means.index, means["stream"], "MalcomPSGD")
    last.set(xscale="log", ylim=(0.9, 2.0), xlabel="length", ylabel="bits over the ideal", title="Gaussian vectors")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows; each seed gives one number, the mean over its shown steps."""
    found = []
    for dim, runs in table[table["hidden"] > 0].groupby("dim", sort=False):
        by_seed = runs.groupby("seed")[["stream", "closed_form", "entropy", "elias", "adaptive"]].mean()
        adaptive = interval(by_seed["adaptive"] / by_seed["stream"])
        closed, entropy, elias = (interval(by_seed["stream"] / by_seed[c]) for c in ("closed_form", "entropy", "elias"))
        found += [
            judge(f"closed form, {dim} parameters", "stream over its closed form", closed, 0.96, 1.005),
            judge(f"entropy, {dim} parameters", "stream over the empirical entropy", entropy, 1.0, 1.06),
            judge(f"beside Elias, {dim} parameters", "stream over QSGD's Elias code", elias, high=1.0),
            judge(
                f"adaptive code saves nothing, {dim} parameters", "adaptive code over the stream", adaptive, 1.0, 1.05
            ),
        ]
    for dim, runs in table[table["hidden"] == 0].groupby("dim"):
        ideal = (runs["ideal"] - 32 / dim).to_numpy()
        adaptive, stream = (interval((runs[c] - 32 / dim).to_numpy() / ideal) for c in ("adaptive", "stream"))
        found.append(
            judge(f"ideal, length {dim}", "adaptive code over the ideal", adaptive, 0.999, 1 + 1 / (dim * ideal.min()))
        )
        found.append(judge(f"level by level, length {dim}", "stream over the ideal", stream, high=1.1))
    return found


if __name__ == "__main__":
    sys.exit(main(["malcom_bits", *sys.argv[1:]]))
