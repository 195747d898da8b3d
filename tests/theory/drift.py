"""How rounding moves what a step conserves: `python -m tests.theory.drift` prints the tables of docs/theory.md,
"Rounding, and what a verdict cannot see". Of D2 by its form, in plain loops on NumPy, about a minute; then of the
algorithms as they are, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import simlab

PROBLEM = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=5, seed=0)
RING, LR, STEPS = simlab.topologies.ring(8, lazy=True), 0.1, (1_000, 50_000)
Step = Callable[..., tuple[np.ndarray, ...]]
ALGORITHMS = (simlab.D2(LR), simlab.NIDS(LR), simlab.EXTRA(LR), simlab.D2DmSGD(0.02), simlab.GradientTracking(LR))


def by_last_update(x, old, update, mix, differences, gradient):
    new = LR * gradient(x)
    return mix(2 * x - old - new + update), x, new


def by_correction(x, correction, _, mix, differences, gradient):
    moved = x - (LR * gradient(x) - correction)
    mixed = mix(moved)
    return mixed, correction + mixed - moved, _


def by_differences(x, correction, _, mix, differences, gradient):
    moved = x - (LR * gradient(x) - correction)
    change = differences(moved)
    return moved + change, correction + change, _


def tracking(x, y, old, mix, differences, gradient):
    new = gradient(x)
    y = mix(y + new - old)
    return mix(x - LR * y), y, new


# Names of the rows, the step, and what the second field starts as: X or 0.
FORMS: dict[str, tuple[Step, int]] = {
    "D2, by X, X⁻ and γG⁻, X⁺ = W(2X − X⁻ − γG + γ⁻G⁻)": (by_last_update, 1),
    "D2, by X and its correction C, C⁺ = C + X⁺ − φ with X⁺ = Wφ": (by_correction, 0),
    "D2, C⁺ = C + Lφ with Lφ summed from differences φ_j − φ_i of neighbours": (by_differences, 0),
    "gradient tracking": (tracking, 0),
}


def errors(form: str, dtype: type) -> list[float]:
    """The mse of a form after STEPS steps; infinite once it has overflown."""
    step, start = FORMS[form]
    problem, w = PROBLEM.convert(np, dtype), RING.weights.astype(dtype)
    neighbours = [[j for j in np.flatnonzero(row) if j != i] for i, row in enumerate(w)]

    def differences(x: np.ndarray) -> np.ndarray:
        return np.stack([sum(w[i, j] * (x[j] - x[i]) for j in near) for i, near in enumerate(neighbours)])

    x = np.zeros((8, 5), dtype)
    fields, found = (x, start * x, x), []
    with np.errstate(all="ignore"):
        for k in range(1, max(STEPS) + 1):
            fields = step(*fields, lambda v: w @ v, differences, problem.gradient)
            if k in STEPS:
                error = np.mean(np.sum((fields[0].astype(float) - PROBLEM.minimizer) ** 2, axis=1))
                found.append(float(error) if error < 1e3 else np.inf)
    return found


def simulated(algorithm: Any, engine: str, dtype: str) -> list[float]:
    """The mse of an algorithm after STEPS steps, on an engine."""
    options = {"steps": max(STEPS), "record_every": min(STEPS), "engine": engine, "dtype": dtype, "progress": False}
    frame = simlab.simulate(PROBLEM, RING, algorithm, **options).frame
    return [float(frame.mse[frame.step == k].iloc[0]) for k in STEPS]


def table() -> pd.DataFrame:
    """A row a form, a column a precision and a number of steps."""
    rows = {form: [*errors(form, np.float64), *errors(form, np.float32)] for form in FORMS}
    for algorithm in ALGORITHMS:
        for engine in ("numpy", "compiled"):
            row = f"{type(algorithm).__name__}, {engine}"
            rows[row] = [e for dtype in ("float64", "float32") for e in simulated(algorithm, engine, dtype)]
    columns = [f"{dtype}, {steps:,} steps" for dtype in ("float64", "float32") for steps in STEPS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


if __name__ == "__main__":
    print(table().to_string(float_format="{:.0e}".format))
