"""The worst case: momentum amplifies DmSGD's bias and not DecentLaM's over all functions; and which step size is best.

Left: bounds of the limiting bias over all smooth strongly convex functions and all networks with ‖W − 11'/n‖ <= ρ, by
matrix inequalities, and the largest bias that random quadratics of the class have, exactly. Right: the largest error
after K steps on a ring over all such functions, exactly, against the step size, which is that over all networks of its
spectrum; the markers are runs on the functions that attain it; and the error of the same steps on one data set.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import simlab
import theory
from figures.claims import Claim, judge
from figures.study import main
from simlab.plot import style

COLUMNS = {
    "part": "bias (over a class, in the limit), steps (on a ring, after K steps), networks (over its spectrum)",
    "algorithm": "name",
    "momentum": "β; 0 is DSGD",
    "lr": "γ, in units of 1/L",
    "worst": "bias: bound of (1/n) Σ ||x_i − x*||² in the limit; else its largest value after K steps, exact",
    "attained": "bias: the largest among random members of the class; else that of a run on the worst functions",
    "data": "steps: after K steps on least squares scaled to the class; NaN in the other parts",
}

KAPPA, RHO, LR, HETEROGENEITY = 10.0, 0.8, 0.002, 0.5
MOMENTA = (0.0, 0.5, 0.7, 0.8, 0.9)
NODES, STEPS, MOMENTUM = 6, 8, 0.5
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
METHODS = {"DmSGD": simlab.DmSGD, "DecentLaM": simlab.DecentLaM}


def measure(members: int = 100, momenta: tuple[float, ...] = MOMENTA, rates: tuple[float, ...] = RATES) -> Any:
    """Bounds, searches, worst cases and runs; a row is one setting of one method."""
    import pandas as pd

    rows = []
    some = [member(np.random.default_rng(seed)) for seed in range(members)]
    for name, method in METHODS.items():
        for momentum in momenta:
            algorithm = method(LR, momentum)
            bias = theory.worst_case_bias(algorithm, condition_number=KAPPA, rho=RHO, heterogeneity=HETEROGENEITY)
            largest = max(theory.predict(problem, network, algorithm).bias for problem, network in some)
            rows.append(("bias", name, momentum, LR, bias**2, largest, np.nan))
    network = simlab.topologies.ring(NODES)
    spectrum = theory.Spectrum(network.smallest_eigenvalue, network.second_eigenvalue)
    problem, x0 = _data(network)
    for name, method in METHODS.items():
        for lr in rates:
            algorithm = method((1 - MOMENTUM) * lr, MOMENTUM)
            data = _after(problem, network, algorithm, x0)
            for kind, where, on_data in (("steps", network, data), ("networks", spectrum, np.nan)):
                worst = theory.worst_case(
                    where, algorithm, steps=STEPS, smoothness=1.0, strong_convexity=1 / KAPPA,
                    heterogeneity=HETEROGENEITY,
                )  # fmt: skip
                attained = _after(worst.instance, worst.network, algorithm, worst.x0, "numpy")
                rows.append((kind, name, MOMENTUM, lr, worst.value, attained, on_data))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def member(rng: np.random.Generator) -> tuple[simlab.Quadratic, simlab.Network]:
    """Random quadratics and weights of the class, at its edges."""
    n = int(rng.integers(2, 7))
    axes = np.linalg.qr(rng.standard_normal((n, 2, 2)))[0]
    curvature = (axes * rng.choice([1 / KAPPA, 1.0], (n, 1, 2))) @ axes.swapaxes(1, 2)
    stars = rng.standard_normal((n, 2))
    stars -= stars.mean(axis=0)
    basis = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, n - 1))]))[0]
    w = basis @ np.diag([1.0, *np.full(n - 1, RHO)]) @ basis.T
    scale = HETEROGENEITY / np.sqrt(np.mean(np.sum(stars**2, axis=1)))
    return simlab.Quadratic(curvature, -scale * stars), simlab.Network.from_matrix((w + w.T) / 2)


def _data(network: simlab.Network) -> tuple[simlab.Problem, np.ndarray]:
    """Least squares with L = 1, b and R as in the class, started at distance 1."""
    found = simlab.LeastSquares.synthetic(network.n_nodes, 40, 5, seed=0)
    hessians = found.hessians / found.smoothness
    floor = 1 / KAPPA - min(0.0, np.linalg.eigvalsh(hessians)[:, 0].min())
    hessians = (1 - 1 / KAPPA) * hessians + floor * np.eye(found.dim)
    stars = found.gradient(np.broadcast_to(found.minimizer, (network.n_nodes, found.dim)))
    stars *= HETEROGENEITY / np.sqrt(np.mean(np.sum(stars**2, axis=1)))
    direction = np.ones(found.dim) / np.sqrt(found.dim)
    return simlab.Quadratic(hessians, -stars), direction


def _after(problem: Any, network: Any, algorithm: Any, x0: np.ndarray, engine: str = "compiled") -> float:
    trace = simlab.simulate(
        problem, network, algorithm, steps=STEPS, x0=x0, record_every=STEPS, engine=engine, progress=False
    )
    return float(trace.frame["mse"].iloc[-1])


def part(table: Any, name: str, algorithm: str) -> Any:
    """The rows of one part and algorithm."""
    return table[(table["part"] == name) & (table["algorithm"] == algorithm)]


def growth(table: Any, algorithm: str) -> float:
    """Exponent of the worst squared bias in 1/(1 − β)."""
    rows = part(table, "bias", algorithm)
    return float(np.polyfit(-np.log(1 - rows["momentum"]), np.log(rows["worst"]), 1)[0])


def summary(table: Any) -> Any:
    """A row an algorithm: exponents of the worst bias, the best step sizes in the worst case and on data."""
    import pandas as pd

    rows = []
    for name in METHODS:
        steps = part(table, "steps", name).set_index("lr")
        rows.append({
            "algorithm": name,
            "exponent of worst bias": f"{growth(table, name):.2f}",
            "best γ/(1−β), worst case": steps["worst"].idxmin(),
            "best γ/(1−β), data": steps["data"].idxmin(),
            "worst mse there": f"{steps['worst'].min():.3g}",
            "worst mse at the data's": f"{steps['worst'][steps['data'].idxmin()]:.3g}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: Any) -> Any:
    """Bias against 1/(1 − β), error after K steps against the step size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.8))
    left, right = figure.subplots(1, 2)
    for name in METHODS:
        rows = part(table, "bias", name)
        amplification = 1 / (1 - rows["momentum"].to_numpy())
        style.line(left, amplification, rows["worst"].to_numpy(), name)
        style.mark(left, amplification, rows["attained"].to_numpy(), name, label=name)
        rows = part(table, "steps", name)
        style.line(right, rows["lr"].to_numpy(), rows["worst"].to_numpy(), name)
        style.mark(right, rows["lr"].to_numpy(), rows["attained"].to_numpy(), name, label=name)
        right.plot(rows["lr"], rows["data"], color=style.look(name).color, linestyle=":", linewidth=1)
    left.set(xscale="log", yscale="log", xlabel=r"$1/(1-\beta)$", title="squared bias over the class")
    right.set(yscale="log", xlabel=r"$\gamma/(1-\beta)$", title=f"mse after {STEPS} steps")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        [*handles, *style.keys("-", ":")], [*labels, "worst case; markers: attained", "on data"],
        loc="outside upper center", ncols=4,
    )  # fmt: skip
    return figure


def claims(table: Any) -> list[Claim]:
    """What the table shows."""
    steps, bias, every = (table[table["part"] == name] for name in ("steps", "bias", "networks"))
    finite = table[table["part"] != "bias"]
    of_spectrum = steps["worst"].to_numpy() / every["worst"].to_numpy()
    best = {name: part(table, "steps", name).set_index("lr")[["worst", "data"]].idxmin() for name in METHODS}
    found = bias["attained"] / bias["worst"]
    by_lr = steps.pivot(index="lr", columns="algorithm", values="worst")
    return [
        judge("the worst functions attain the worst case", "largest |mse of the run over it − 1|",
              float((finite["attained"] / finite["worst"] - 1).abs().max()), high=1e-5),
        judge("a ring is the worst network of its spectrum", "least worst mse over that of the spectrum",
              float(of_spectrum.min()), 0.999, 1 + 1e-5),
        judge("the worst case asks for larger steps than data", "largest best γ on data over that in the worst case",
              max(float(each["data"] / each["worst"]) for each in best.values()), high=0.99),
        judge("no data set is worse", "largest mse on data over the worst case",
              float((steps["data"] / steps["worst"]).max()), high=1.0),
        judge("DmSGD's worst bias grows with momentum", "exponent in 1/(1 − β)", growth(table, "DmSGD"), low=1.5),
        judge("DecentLaM's worst bias does not", "exponent in 1/(1 − β)", growth(table, "DecentLaM"), high=0.1),
        judge("bounds over the class are near", "smallest share that random quadratics reach", float(found.min()),
              0.5, 1.0 + 1e-6),
        judge("DecentLaM is the better one in the worst case", "largest worst mse over DmSGD's",
              float((by_lr["DecentLaM"] / by_lr["DmSGD"]).max()), high=1.0),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(["worst_case", *sys.argv[1:]]))
