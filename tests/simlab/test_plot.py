"""Pictures show what they say: lines are means, bands intervals or quantiles, crosses what was lost."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from scipy import stats

import simlab
import theory
from simlab import dynamics, plot, topologies

PROBLEM = simlab.LeastSquares.synthetic(n_nodes=6, n_samples=20, dim=3, seed=1)
RING = topologies.ring(6)
OPTIONS: dict[str, Any] = {
    "steps": 30,
    "record_every": 3,
    "replicates": 5,
    "noise_std": 0.2,
    "engine": "numpy",
    "progress": False,
}
TRACES = simlab.simulate(PROBLEM, RING, [simlab.DSGD(0.05), simlab.DmSGD(0.01)], **OPTIONS)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def band(ax: Any, k: int = 0) -> Any:
    """Lower and upper edge of the k-th band at each place."""
    corners = ax.collections[k].get_paths()[0].vertices
    by_place = pd.DataFrame(corners, columns=["x", "y"]).groupby("x")["y"]
    return by_place.min().to_numpy(), by_place.max().to_numpy()


def test_a_line_is_the_mean_and_its_band_students_interval():
    ax = plot.convergence(TRACES, "mse")
    for k, trace in enumerate(TRACES):
        values = trace.frame.pivot(index="step", columns="replicate", values="mse").to_numpy()
        line = ax.get_lines()[k]
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
        np.testing.assert_array_equal(line.get_xdata(), np.arange(0, 31, 3))
        low, high = stats.t.interval(0.95, 4, values.mean(axis=1)[1:], stats.sem(values, axis=1)[1:])
        np.testing.assert_allclose(band(ax, k)[0][1:], low, rtol=1e-9)
        np.testing.assert_allclose(band(ax, k)[1][1:], high, rtol=1e-9)
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["DSGD", "DmSGD"]
    assert legend.get_title().get_text() == "band: 95 % interval of the mean"
    assert ax.get_yscale() == "log"


def test_quantiles_bits_names_and_given_axes():
    _, axes = plt.subplots()
    ax = plot.convergence({"one": TRACES[0]}, "loss", x="bits", bands="quantiles", ax=axes)
    assert ax is axes
    values = TRACES[0].frame.pivot(index="step", columns="replicate", values="loss").to_numpy()
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), np.median(values, axis=1))
    np.testing.assert_allclose(band(ax)[1], np.quantile(values, 0.9, axis=1))
    assert ax.get_lines()[0].get_xdata()[-1] == TRACES[0].frame["bits"].max()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one"]
    assert "10 to 90 %" in ax.get_legend().get_title().get_text()


def test_predictions_are_drawn_over_their_traces():
    expected = [theory.predict(PROBLEM, RING, trace.algorithm, noise_std=0.2) for trace in TRACES]
    ax = plot.convergence(TRACES, "consensus", predictions=expected)
    drawn = ax.get_lines()[2]
    np.testing.assert_allclose(drawn.get_ydata(), expected[0].transient(30, 3)["consensus"])
    with pytest.raises(ValueError, match="predictions holds nothing on 'loss'"):
        plot.convergence(TRACES, "loss", predictions=expected)
    with pytest.raises(ValueError, match="holds 1 for 2 traces"):
        plot.convergence(TRACES, predictions=expected[:1])


def test_what_diverges_hides_no_other():
    with pytest.warns(RuntimeWarning, match="diverged"):
        traces = simlab.simulate(PROBLEM, RING, [simlab.DSGD(0.05), simlab.DSGD(20.0)], **{**OPTIONS, "steps": 300})
    ax = plot.convergence(traces, "mse")
    start = traces[0].frame["mse"].iloc[0]
    assert start < ax.get_ylim()[1] < 100 * start
    assert [line.get_marker() for line in ax.get_lines()].count("x") == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.convergence(TRACES, "los"), "y = 'los' is unknown; did you mean 'loss'"),
        (lambda: plot.convergence(TRACES, x="stp"), "x = 'stp' is unknown; did you mean 'step'"),
        (lambda: plot.convergence(TRACES, x="time"), "of which DSGD has no record; simulate with cluster="),
        (lambda: plot.convergence(TRACES, bands="sd"), "bands = 'sd' is unknown"),
        (lambda: plot.convergence([3]), "holds 3, which is not a Trace"),
        (lambda: plot.convergence([TRACES[0], TRACES[0]]), "holds two of DSGD; pass a mapping"),
        (lambda: plot.sweep(TRACES[0].frame, "lr"), "x = 'lr' is unknown"),
        (lambda: plot.network(3), "is not a"),
        (lambda: plot.report(3), "is no report"),
    ],
)
def test_refusals(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_sweep_shows_means_and_crosses(tmp_path):
    rates = [simlab.DSGD(lr) for lr in (0.01, 0.1, 50.0)]
    cells = simlab.grid(
        problem=PROBLEM,
        network=RING,
        algorithm=rates,
        **{k: v for k, v in OPTIONS.items() if k != "progress"} | {"steps": 300},
    )
    frame = simlab.sweep(cells, tmp_path, workers=0)
    ax = plot.sweep(frame, "lr", "mse")
    (bars,) = ax.containers
    np.testing.assert_allclose(bars[0].get_xdata(), [0.01, 0.1])
    np.testing.assert_allclose(bars[0].get_ydata(), frame.groupby("lr")["mse"].mean()[:2])
    (cross,) = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert cross.get_xdata()[0] == 50.0
    assert "diverged or failed" in ax.get_legend().get_title().get_text()
    named = plot.sweep(frame[frame["lr"] < 1], "network", "mse", hue="lr")
    assert [tick.get_text() for tick in named.get_xticklabels()] == [RING.name]


def test_many_names_are_below_the_axes_and_hide_nothing():
    for count in (4, 5):
        ax = plot.convergence({f"number {k}": TRACES[0] for k in range(count)})
        ax.figure.draw_without_rendering()
        names, inside = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert (names.y1 < inside.y0) == (count == 5)
        assert inside.height > 100  # and leave room for the lines
        assert names.y0 >= 0


def test_a_grid_is_drawn_untwisted():
    """Its longest links are about as long as its shortest."""
    for n in (8, 16):
        grid = simlab.topologies.grid(n)
        ax = plot.network(grid)
        nodes = next(c for c in ax.collections if isinstance(c, PathCollection)).get_offsets()
        indptr, indices, _ = grid.csr
        lengths = [
            np.linalg.norm(nodes[i] - nodes[j]) for i in range(n) for j in indices[indptr[i] : indptr[i + 1]] if i != j
        ]
        assert max(lengths) < 1.3 * min(lengths)


def test_a_path_has_room_above_and_below():
    ax = plot.network(simlab.topologies.path(8))
    ax.figure.draw_without_rendering()
    assert ax.get_window_extent().height > 50


def test_a_method_without_a_hyperparameter_has_none_of_it():
    frame = pd.DataFrame(
        {"algorithm_class": ["A", "B"], "momentum": [0.5, np.nan], "batch_size": [1, np.nan], "mse": [1.0, 2.0]}
    )
    for column, missing in {"momentum": "none", "batch_size": "all"}.items():
        assert [tick.get_text() for tick in plot.sweep(frame, column).get_xticklabels()][-1] == missing


@pytest.mark.parametrize(
    ("network", "links"),
    [
        (RING, 6),
        (topologies.grid(6), 7),
        (topologies.star(5), 4),
        (topologies.directed_ring(5), 5),
        (dynamics.link_failures(topologies.star(5), 0.5), 4),
        (topologies.ring(1), 0),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_network_has_a_point_a_node_and_a_line_a_link(network, links):
    ax = plot.network(network)
    points = [c for c in ax.collections if len(c.get_offsets()) == network.n_nodes]
    assert points
    lines = [c for c in ax.collections if c not in points]
    drawn = len(ax.patches) or (len(lines[0].get_segments()) if lines else 0)
    assert drawn == links


def test_large_networks_are_patterns():
    assert "pattern of W" in plot.network(topologies.ring(300)).get_title()


def test_a_report_shows_ratios_by_verdict():
    report = theory.verify(TRACES[0])
    shown = [row for row in report if row.verdict != "not applicable" and np.isfinite(row.ratio)]
    ax = plot.report(report)
    assert [label.get_text() for label in ax.get_yticklabels()] == [row.theorem for row in shown][::-1]
    points = {(x, y) for bars in ax.containers for x, y in zip(*bars[0].get_data(), strict=True)}
    assert points == {(row.ratio, len(shown) - 1 - k) for k, row in enumerate(shown)}
