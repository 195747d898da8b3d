"""Batch size against accuracy, DecentLaM's table retold: a convolutional network, classes that differ by node, JAX.

One-dimensional images (simlab.data.signals) of six classes, dealt to 8 nodes by Dirichlet proportions; a network of two
convolutions, written here in JAX as a ModelProblem. All methods pass over the data equally often, whatever the batch,
at momentum 0.9 and a constant step size: of the same grid of effective step sizes for all, the one with the best mean
accuracy for each method, batch size and network. Test accuracy is that of the mean of the nodes' parameters; data sets
have curves, partition, start and mini-batches of their own. PmSGD and LARS average exactly, and are the same on all
networks. D²-DmSGD needs a symmetric network, which the one-peer exponential is not. DecentLaM is run on it, but at this
momentum its errors grow over one-peer exchanges: theory knows (`factor`), and training shows it. On the exponential
graph, whose gap is large, the methods differ by less than the data sets do. Bars are over data sets, and claims compare
data set by data set. Needs the extra jax.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, interval, judge, summarize
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "algorithm": "name",
    "network": "name",
    "batch_size": "samples of all nodes a step; the largest is all data",
    "effective": "α, step size over 1 − β",
    "data_set": "seed of everything that is random",
    "accuracy": "on test data, of the mean of the nodes' parameters, at the end",
    "worst_accuracy": "of the node that has the least",
    "loss": "training loss of the mean parameters at the end",
    "factor": "of errors in a step, on quadratics at a tiny step size, by theory; NaN: not predicted",
}

NODES, SAMPLES, TEST, LENGTH, CLASSES = 8, 160, 1000, 28, 6
KERNELS, CHANNELS, STRIDE = (5, 3), (6, 8), 2
BETA, PERIOD, TRUST = 0.9, 4, 0.05
GRID = (0.8, 1.6, 3.2, 6.4)
EXACT = ("PmSGD", "LARS")
LOOKS = {
    "LARS": style.Look("#666666", "H", (0, (3, 1)), open=True),
    "D2DmSGD": style.Look("#56B4E9", ">", (0, (3, 3))),
    "SlowMo": style.Look("#8C6D1F", "*", (0, (8, 2, 2, 2))),
}


def methods(effective: float, problem: Any) -> dict[str, Any]:
    """All at one effective step size."""
    lr = effective * (1 - BETA)
    return {
        "PmSGD": simlab.PmSGD(lr, BETA),
        "LARS": simlab.LARS(lr, BETA, TRUST, blocks=problem.block_sizes, form="larc"),
        "DmSGD": simlab.DmSGD(lr, BETA),
        "DADmSGD": simlab.DADmSGD(lr, BETA),
        "AWCDmSGD": simlab.AWCDmSGD(lr, BETA),
        "QGDmSGD": simlab.QGDmSGD(lr, BETA),
        "D2DmSGD": simlab.D2DmSGD(lr, BETA),
        "SlowMo": simlab.SlowMo(simlab.DSGD(lr), PERIOD, BETA),
        "DecentLaM": simlab.DecentLaM(lr, BETA),
    }


def networks() -> dict[str, Any]:
    """Those of the paper; lazy, so that W is positive definite."""
    return {
        "ring": simlab.topologies.ring(NODES, lazy=True),
        "exponential": simlab.topologies.exponential(NODES, lazy=True),
        "one-peer": simlab.dynamics.one_peer_exponential(NODES),
    }


def factor(method: str, network: Any) -> float:
    """What a step multiplies errors by in the end, by theory at a tiny step size; NaN where nothing is predicted."""
    problem = simlab.Quadratic(np.ones((NODES, 1)), np.linspace(-1, 1, NODES)[:, None])
    try:
        return float(theory.predict(problem, network, methods(1e-3, problem)[method]).rate)
    except (TypeError, ValueError):
        return float("nan")


def windows(values: Any, kernel: int) -> Any:
    """What a convolution sees of values (..., positions, channels): (..., places, kernel · channels)."""
    places = (values.shape[-2] - kernel) // STRIDE + 1
    seen = [values[..., k : k + STRIDE * (places - 1) + 1 : STRIDE, :] for k in range(kernel)]
    return np.concatenate(seen, axis=-1) if isinstance(values, np.ndarray) else _joined(seen)


def _joined(parts: list[Any]) -> Any:
    import jax.numpy as jnp

    return jnp.concatenate(parts, axis=-1)  # a convolution as a product of matrices: XLA's own is slow under vmap


def convolutional(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Random parameters of the network."""
    rng, places = np.random.default_rng(seed), LENGTH
    for kernel in KERNELS:
        places = (places - kernel) // STRIDE + 1
    sizes = (KERNELS[0], CHANNELS[0]), (KERNELS[1] * CHANNELS[0], CHANNELS[1]), (places * CHANNELS[1], CLASSES)
    gains = (2.0, 2.0, 0.2)
    return {
        name: {
            "weights": (rng.standard_normal(size) * np.sqrt(gain / size[0])).astype(np.float32),
            "biases": np.zeros(size[1], np.float32),
        }
        for name, size, gain in zip(("first", "second", "last"), sizes, gains, strict=True)
    }


def logits(parameters: Any, seen: Any) -> Any:
    """Of images as the first convolution sees them, (B, places, kernel)."""
    import jax

    first, second, last = (parameters[name] for name in ("first", "second", "last"))
    hidden = jax.nn.relu(seen @ first["weights"] + first["biases"])
    hidden = jax.nn.relu(windows(hidden, KERNELS[1]) @ second["weights"] + second["biases"])
    return hidden.reshape(len(seen), -1) @ last["weights"] + last["biases"]


def cross_entropy(parameters: Any, seen: Any, labels: Any) -> Any:
    """Mean over a batch."""
    import jax

    chances = jax.nn.log_softmax(logits(parameters, seen))
    return -chances[np.arange(len(seen)), labels].mean()


def accuracy(parameters: Any, seen: Any, labels: Any) -> Any:
    """Share of a batch that is classified correctly."""
    return (logits(parameters, seen).argmax(axis=1) == labels).mean()


def task(seed: int) -> Any:
    """The problem, everything that is random in it drawn by `seed`."""
    data = simlab.data.signals(NODES * SAMPLES + TEST, CLASSES, LENGTH, seed=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropped")
        parts = simlab.data.partition(data.features[TEST:], data.targets[TEST:], NODES, "dirichlet", seed, alpha=0.2)
    seen, test = (windows(images[..., None], KERNELS[0]) for images in (parts.features, data.features[:TEST]))
    return simlab.ModelProblem(
        cross_entropy, convolutional(seed), seen, parts.targets, test=(test, data.targets[:TEST]),
        metrics={"accuracy": accuracy},
    )  # fmt: skip


def measure(batches: tuple[int, ...] = (32, 160), epochs: int = 60, data_sets: int = 4) -> Any:
    """Train; a row is one method, network, batch size of a node, step size and data set."""
    import pandas as pd

    rows = []
    for seed in range(data_sets):
        problem = task(seed)
        for name, network in networks().items():
            for method in methods(1.0, problem):
                if (method in EXACT and name != "ring") or (method == "D2DmSGD" and name == "one-peer"):
                    continue
                about = {"algorithm": method, "network": name, "data_set": seed, "factor": factor(method, network)}
                for size in batches if name == "ring" else batches[-1:]:
                    forms = [methods(effective, problem)[method] for effective in GRID]
                    ends = train(problem, network, forms, size, epochs, seed)
                    rows += [about | {"batch_size": NODES * size, "effective": effective} | end
                             for effective, end in zip(GRID, ends, strict=True)]  # fmt: skip
    return pd.DataFrame(rows)[list(COLUMNS)]


def best(table: Any) -> Any:
    """The rows of the step size with the best mean accuracy, for each method, network and batch size."""
    case = ["algorithm", "network", "batch_size"]
    means = table.groupby([*case, "effective"], sort=False)["accuracy"].mean()
    chosen = means.loc[means.groupby(level=case, sort=False).idxmax()].reset_index()[[*case, "effective"]]
    return chosen.merge(table)


def train(
    problem: Any, network: Any, algorithms: list[Any], size: int, epochs: int, seed: int
) -> list[dict[str, float]]:
    """The last record of each algorithm; of one that diverges the last before it did."""
    steps = epochs * SAMPLES // size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*diverged", RuntimeWarning)
        runs = simlab.simulate(
            problem, network, algorithms, steps=steps, batch_size=size if size < SAMPLES else None, seed=seed,
            record_every=steps, x0=problem.initial(), engine="numpy",
        )  # fmt: skip
    return [dict(run.frame.iloc[-1][["accuracy", "worst_accuracy", "loss"]].astype(float)) for run in runs]


def summary(table: Any) -> Any:
    """A row a method and network: accuracy at each batch size, and of the worst node at the largest."""
    import pandas as pd

    table, rows = best(table), []
    for (network, method), part in table.groupby(["network", "algorithm"], sort=False):
        most, by_size = part[part["batch_size"] == table["batch_size"].max()], part.groupby("batch_size")["accuracy"]
        rows.append({
            "network": network, "algorithm": method,
            **{f"batch {size}": f"{values.mean():.3f}" for size, values in by_size},
            "worst node": f"{most['worst_accuracy'].mean():.3f}",
            "best α": ", ".join(f"{a:g}" for a in part.groupby("batch_size")["effective"].first()),
        })  # fmt: skip
    return pd.DataFrame(rows).fillna("")


def draw(table: Any) -> Any:
    """Accuracy against batch size on the ring, and at the largest batch on every network."""
    from matplotlib.figure import Figure

    table, figure = best(table), Figure(figsize=(style.PAGE, 3.4))
    left, right = figure.subplots(1, 2, sharey=True)
    names, most = list(dict.fromkeys(table["algorithm"])), table["batch_size"].max()
    places = list(dict.fromkeys(table["network"]))
    for k, name in enumerate(names):
        look = LOOKS.get(name, style.look(name))
        shown = {"color": look.color, "marker": look.marker, "markerfacecolor": "white" if look.open else look.color}
        mine = table[table["algorithm"] == name]
        means = summarize(mine[mine["network"] == "ring"], ["batch_size"], "accuracy")
        along = means["batch_size"] * 1.02 ** (k - len(names) / 2)  # beside one another
        style.line(left, along, means["accuracy"], name, color=look.color, linestyle=look.line, linewidth=0.8)
        style.mark(left, along, means["accuracy"], name, means["low"], means["high"], **shown)
        means = summarize(mine[mine["batch_size"] == most], ["network"], "accuracy")
        at = [places.index(network) + 0.07 * (k - len(names) / 2) for network in means["network"]]
        style.mark(right, at, means["accuracy"], name, means["low"], means["high"], **shown)
    sizes = sorted(set(table["batch_size"]))
    left.set(xscale="log", xlabel="samples a step", ylabel="test accuracy", title="ring")
    left.set_xticks(sizes, [str(size) for size in sizes])
    left.set_xticks([], minor=True)
    right.set_xticks(range(len(places)), places)
    right.set(title=f"{most} samples a step, all data")
    right.grid(axis="x", visible=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def of(table: Any, algorithm: str, network: str, size: int, column: str = "accuracy") -> Any:
    """By data set."""
    rows = table[(table["algorithm"] == algorithm) & (table["network"] == network) & (table["batch_size"] == size)]
    return rows.set_index("data_set")[column]


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    table = best(table)
    least, most = table["batch_size"].min(), table["batch_size"].max()
    factors = table.groupby(["algorithm", "network"])["factor"].first()
    others = [name for name in dict.fromkeys(table["algorithm"]) if name not in (*EXACT, "DecentLaM")]

    def mean(size: int) -> Any:
        return sum(of(table, name, "ring", size) for name in others) / len(others)

    ours = of(table, "DecentLaM", "ring", most)
    apart = of(table, "DecentLaM", "one-peer", most) - of(table, "DmSGD", "one-peer", most)
    return [
        judge("large batches cost accuracy", f"from batches of {least} to {most}, ring, mean of {', '.join(others)}",
              interval(mean(least) - mean(most)), low=0.0),
        judge("DecentLaM is ahead of the others", f"accuracy less their mean, batches of {most}, ring",
              interval(ours - mean(most)), low=0.0),
        judge("DecentLaM is ahead of DmSGD", f"accuracy less DmSGD's, batches of {most}, ring",
              interval(ours - of(table, "DmSGD", "ring", most)), low=0.0),
        judge("one-peer networks forbid DecentLaM this momentum", "factor of its errors in a step, by theory",
              float(factors["DecentLaM", "one-peer"]), low=1.05),
        judge("and only there", "largest factor of all others", float(factors.drop(("DecentLaM", "one-peer")).max()),
              high=1.0),
        judge("so that it is behind DmSGD there", f"accuracy less DmSGD's, batches of {most}", interval(apart),
              high=0.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["large_batch", *sys.argv[1:]]))
