"""Series with a known rate, for the coverage of `theory.fit_rate`: ``python -m tests.theory.family`` prints the table.

"linear": q^k, q one of .97, .99, .997, alone, with a transient (1 to 10 times as large, ten times as fast) or a second
mode (.2 to 2 times as large, 2 to 5 times as fast), over a floor of 0, 1e-3 or 1e-2, for .4 to 3 times the steps in
which the floor (or 1e-3) is reached, at least 100 and at most 6000. "power": k^a, a one of -.5, -1, -2, alone,
(1 + c/k) or (1 + 20 exp(-k/c)) times as large, or (k + c)^a, with c up to .03 K, over a floor of 0, .03 or .3 times the
last error, for 200 to 5000 steps. Noise of size .05, .1 or .3: log-normal, or squares (sqrt(v) + e)^2; correlated by 0,
.5 or .9 from step to step; 1 to 30 replicates.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from theory import fit_rate

CASES = 300
REPLICATES = (1, 2, 3, 5, 10, 30)


def case(kind, seed):
    """Steps, values, true rate, and what of the family they are."""
    random = np.random.default_rng(seed)
    replicates, correlation = int(random.choice(REPLICATES)), random.choice([0.0, 0.5, 0.9])
    noise, floor, size = (
        random.choice(["log-normal", "square"]),
        random.choice([0, 1e-3, 1e-2]),
        random.choice([0.05, 0.1, 0.3]),
    )
    if kind == "linear":
        true = random.choice([0.97, 0.99, 0.997])
        time = -1 / np.log(true)
        steps = int(np.clip(time * np.log(1 / (floor or 1e-3)) * random.uniform(0.4, 3), 100, 6000))
        k = np.arange(1, steps + 1.0)
        series = true**k
        transient = random.choice(["none", "fast", "mode"])
        if transient == "fast":
            series = series + random.uniform(1, 10) * np.exp(-10 * k / time)
        elif transient == "mode":
            series = series + random.uniform(0.2, 2) * np.exp(-random.uniform(2, 5) * k / time)
        series = series + floor
    else:
        true, steps = random.choice([-0.5, -1.0, -2.0]), int(10 ** random.uniform(2.3, 3.7))
        k = np.arange(1, steps + 1.0)
        transient, c = random.choice(["none", "1/k", "shift", "exponential"]), random.uniform(1, 0.03 * steps)
        series = {
            "none": k**true,
            "1/k": k**true * (1 + c / k),
            "shift": (k + c) ** true,
            "exponential": k**true * (1 + 20 * np.exp(-k / c)),
        }[transient] + 30 * floor * steps**true
    white = random.standard_normal((replicates, steps))
    start = correlation * random.standard_normal((replicates, 1))  # so that the noise is stationary
    error = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], white, axis=1, zi=start)[0]
    if noise == "log-normal":
        values = series * np.exp(size * error - size**2 / 2)
    else:
        spread = np.sqrt(floor) * 0.7 if kind == "linear" and floor else size * np.sqrt(series) / 2
        values = (np.sqrt(series - spread**2) + spread * error) ** 2
    about = {
        "replicates": replicates,
        "correlation": correlation,
        "transient": transient,
        "floor": floor,
        "noise": noise,
    }
    return k, values, true, about


def judged(kind, seed):
    """Whether the interval covers the rate; None if the fit is refused."""
    k, values, true, _ = case(kind, seed)
    try:
        fit = fit_rate(k, values, kind=kind)
    except ValueError:
        return None
    return bool(fit.low <= true <= fit.high)


def table(cases=CASES):
    """Coverage and refusals, by each property of the family."""
    import pandas as pd

    rows = []
    for kind in ("linear", "power"):
        for seed in range(cases):
            covered = judged(kind, seed)
            about = {"all": "", **case(kind, seed)[3]}
            rows += [(kind, f"{name} {value}".strip(), covered is None, covered) for name, value in about.items()]
    frame = pd.DataFrame(rows, columns=["kind", "series", "refused", "covered"])
    groups = frame.groupby(["kind", "series"])
    return pd.DataFrame(
        {
            "cases": groups.size(),
            "refused, %": 100 * groups["refused"].mean(),
            "covered, % of the others": groups["covered"].apply(
                lambda found: 100 * found.dropna().astype(float).mean()
            ),
        }
    )


if __name__ == "__main__":
    print(table().round(1).to_string())
