"""When targets were met, and tables as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import simlab
import theory

PROBLEM = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=20, dim=3, seed=1)
RING = simlab.topologies.ring(6)


def run(*algorithms: Any, **options: Any) -> Any:
    chosen = {"steps": 60, "replicates": 4, "noise_std": 0.3, "engine": "numpy", "progress": False, **options}
    return simlab.simulate(PROBLEM, RING, list(algorithms), **chosen)


def test_first_is_the_first_record_of_each_replicate():
    traces = run(simlab.DSGD(0.1), simlab.DSGD(0.001), cluster=simlab.Cluster(2.0))
    table = simlab.first(traces, "mse", 0.2)
    assert list(table["run"]) == ["DSGD(lr=0.1)", "DSGD(lr=0.001)"]
    frame = traces[0].frame
    steps = [frame[(frame["replicate"] == r) & (frame["mse"] <= 0.2)]["step"].min() for r in range(4)]
    low, high = stats.t.interval(0.95, 3, np.mean(steps), stats.sem(steps))
    row = table.iloc[0]
    assert (row["step"], row["time"]) == (np.mean(steps), pytest.approx(2 * np.mean(steps)))
    assert (row["step_low"], row["step_high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["reached"] == 4
    assert table.iloc[1]["reached"] < 4
    assert np.isnan(table.iloc[1]["step"])
    rising = simlab.first({"a": traces[0]}, "bits", 10_000, at_least=True)
    assert rising["bits"][0] == frame[frame["bits"] >= 10_000]["bits"].min()
    assert np.isnan(simlab.first(run(simlab.DSGD(0.1), replicates=1), "mse", 0.2)["step_low"][0])
    with pytest.raises(ValueError, match="column = 'ms' is unknown; did you mean 'mse'"):
        simlab.first(traces, "ms", 0.1)


def test_first_is_where_a_run_with_that_target_stops():
    (trace,) = run(simlab.DSGD(0.1), replicates=1)
    (stopped,) = run(simlab.DSGD(0.1), replicates=1, stop_when="mse <= 0.2")
    assert simlab.first(trace, "mse", 0.2)["step"][0] == stopped.provenance["steps"]


FRAME = pd.DataFrame(
    {
        "run": ["a_b | 1", "β<2"],
        "step": [12.0, np.nan],
        "step_low": [10.5, np.nan],
        "step_high": [13.25, 1.0],
        "n": [3, 4],
    }
)


def test_tables():
    assert simlab.table(FRAME) == (
        "| run | step | n |\n| --- | ---: | ---: |\n| a_b \\| 1 | 12 [10.5, 13.25] | 3 |\n| β<2 |  | 4 |\n"
    )
    latex = simlab.table(FRAME, "latex", digits=2)
    assert latex.isascii()
    assert r"a\_b | 1 & 12 [10, 13] & 3 \\" in latex
    assert latex.startswith("\\begin{tabular}{lrr}")
    page = simlab.table(FRAME, "html")
    assert "<td>β&lt;2</td>" in page
    with pytest.raises(ValueError, match="format = 'tex' is unknown; did you mean 'latex'"):
        simlab.table(FRAME, "tex")
    with pytest.raises(TypeError, match=r"is no pandas\.DataFrame"):
        simlab.table([1])


def test_notebooks_show_what_things_are():
    (trace,) = run(simlab.DSGD(0.1))
    report = theory.verify(trace)
    prediction = theory.predict(PROBLEM, RING, simlab.DSGD(0.1), noise_std=0.3)
    failing = simlab.dynamics.link_failures(RING, 0.25)
    for value, words in [
        (RING, ["ring(6)", "spectral gap", "double stochastic"]),
        (failing, ["link_failures", "0.25"]),
        (trace, ["DSGD", "mse", "["]),
        (report, ["prediction, mse", "holds"]),
        (prediction, ["rate", "consensus"]),
    ]:
        shown = value._repr_html_()
        assert shown.startswith("<table>")
        assert all(word in shown for word in words), shown
    assert report.to_markdown().count("\n") == len(report.rows) + 2
    loaded = type(trace)(trace.x, trace.frame, {**trace.provenance, "stopped": "loss <= 0.3"})
    assert "loss &lt;= 0.3" in loaded._repr_html_()
