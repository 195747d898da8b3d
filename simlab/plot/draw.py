"""The pictures of `simlab.plot`."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from simlab import checks
from simlab.markup import number
from simlab.network import Network, NetworkProcess
from simlab.plot.style import COLORS, COLUMN, LINES, MARKERS, RC, Look, look
from simlab.statistics import mean_interval
from simlab.trace import Trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

P = ParamSpec("P")

MEANINGS = {
    "step": "step",
    "bits": "bits received",
    "payload_bits": "bits sent",
    "time": "seconds",
    "gradients": "gradients",
    "mse": r"$\frac{1}{n}\sum_i\|x_i-x^\star\|^2$",
    "consensus": r"$\frac{1}{n}\sum_i\|x_i-\bar x\|^2$",
    "loss": r"$f(\bar x)$",
    "squared_gradient_norm": r"$\|\nabla f(\bar x)\|^2$",
    "stationarity": "stationarity",
    "lr": "step size",
    "batch_size": "mini-batch",
}
ABSCISSAS = ("step", "bits", "payload_bits", "gradients", "time")
BANDS = ("interval", "quantiles")
QUANTILES = (0.1, 0.9)
MARKS = 8  # on a line
WITHIN = 4  # names of lines that find room within the axes
WIDE = 20.0  # ratio from which an axis is logarithmic
OUT, BEYOND = 1e4, 30.0  # times the start: what is cut off, and where
LARGEST = 150  # nodes that are drawn as points
DRAWN = 200  # steps from which the links of a network that changes are counted
VERDICTS = {
    "holds": Look("#009E73", "o"),
    "violated": Look("#D55E00", "X"),
    "inconclusive": Look("#E69F00", "s", open=True),
}


def styled(function: Callable[P, Axes]) -> Callable[P, Axes]:
    """`function`, within the style of all pictures."""

    @wraps(function)
    def drawn(*args: P.args, **options: P.kwargs) -> Axes:
        import matplotlib as mpl

        with mpl.rc_context(RC):
            return function(*args, **options)

    return drawn


@checks.keywords
@styled
def convergence(
    traces: Trace | Sequence[Trace] | Mapping[str, Trace],
    y: str = "mse",
    *,
    x: str = "step",
    bands: str | None = "interval",
    predictions: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Errors on the way, one line a trace.

    Parameters
    ----------
    traces : Trace, list of Trace, or mapping of str to Trace
        The names of a mapping are those of the legend.
    y : str, default "mse"
        A recorded column.
    x : {"step", "bits", "payload_bits", "gradients", "time"}, default "step"
        Against which; the mean over replicates, where they differ.
    bands : {"interval", "quantiles"} or None, default "interval"
        Over replicates: the mean and its 95 % confidence interval (Student), or the median and the 10 % and 90 %
        quantiles; None is the mean alone. Where a replicate has diverged, the line ends with a cross.
    predictions : list or mapping, optional
        What theory expects of each trace: of `theory.predict`, or a frame with columns step and `y`; None for none.
        Drawn as thin black lines.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError, ValueError
        What are no traces, columns that are not there, or hold no number.
    """
    named = _named(traces)
    if bands is not None:
        checks.one_of("bands", bands, BANDS)
    checks.one_of("x", x, ABSCISSAS)
    for label, trace in named.items():
        if x == "time" and x not in trace.frame:
            raise ValueError(f"x = 'time', of which {label} has no record; simulate with cluster=simlab.Cluster(...)")
        for name, column in {"x": x, "y": y}.items():
            checks.one_of(name, column, _numeric(trace.frame))
        checks.some_number(f"y = {y!r} of {label}", trace.frame[y])
    ax = _axes(ax, _size(named))
    looks = _looks(named)
    lines = {label: _line(trace.frame, x, y, bands) for label, trace in named.items()}
    top = _top([line[1] for line in lines.values()])
    several, values = False, []
    for label, (at, middle, low, high, ended) in lines.items():
        gone = np.flatnonzero(~(middle <= top))  # from there on it is far above all others
        shown = slice(0, gone[0] + 1 if len(gone) and np.isfinite(middle).any() else len(middle))
        drawn, every = looks[label], max(1, len(at[shown]) // MARKS)
        ax.plot(
            at[shown], middle[shown], color=drawn.color, linestyle=drawn.line, marker=drawn.marker, label=label,
            zorder=3, markevery=(every // 2 if len(at) > 1 else 0, every),
            markerfacecolor="white" if drawn.open else drawn.color,
        )  # fmt: skip
        values.append(middle[shown][middle[shown] <= top])
        if low is not None and high is not None:
            several = True
            ax.fill_between(at[shown], low[shown], high[shown], color=drawn.color, alpha=0.2, linewidth=0, zorder=2)
        if ended or len(gone):
            ax.plot(at[shown][-1:], np.minimum(middle[shown][-1:], top), "x", color=drawn.color, markersize=8, zorder=4)
    for label, expected in _predictions(predictions, named).items():
        trace = named[label]
        table = _expected(expected, trace, y)
        mean = trace.frame.groupby("step")[x].mean() if x != "step" else None
        at = table["step"].to_numpy(float) if mean is None else np.interp(table["step"], mean.index, mean)
        ax.plot(at, table[y], color="black", linewidth=0.8, linestyle=(0, (1, 1)), zorder=5)
        values.append(table[y].to_numpy(float))
    _scale(ax, "y", np.concatenate(values))
    if ax.get_yscale() == "log":  # where an interval reaches below zero it has no end on such an axis
        positive = np.concatenate(values)
        ax.set_ylim(bottom=positive[positive > 0].min() / 3)
    if np.isfinite(top):
        ax.set_ylim(top=top)
    ax.set_xlabel(MEANINGS.get(x, x))
    ax.set_ylabel(MEANINGS.get(y, y))
    words = {"interval": "band: 95 % interval of the mean", "quantiles": "line: median; band: 10 to 90 %", None: ""}
    title = words[bands] if several else ""
    if predictions is not None:
        ax.plot([], [], color="black", linewidth=0.8, linestyle=(0, (1, 1)), label="theory")
    _legend(ax, named, title)
    return ax


@checks.keywords
@styled
def sweep(frame: pd.DataFrame, x: str, y: str = "mse", *, hue: str = "algorithm_class", ax: Axes | None = None) -> Axes:
    """Results of a sweep: means over all that is not on the axes, with their 95 % confidence intervals.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `simlab.sweep` or `simlab.load_sweep`.
    x, y : str
        Columns: what was varied, and what came of it.
    hue : str, default "algorithm_class"
        A column: one line for each of its values.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
        Where a run diverged or failed there is a cross at the upper edge, and no mean.

    Raises
    ------
    ValueError
        A column that is not there, or no number.
    """
    checks.frame("frame", frame)
    checks.one_of("y", y, _numeric(frame))
    for name, column in {"x": x, "hue": hue}.items():
        checks.one_of(name, column, frame.columns)
    names = {str(value): value for value in frame[hue].dropna().unique()}
    ax = _axes(ax, _size(names))
    looks = _looks(dict.fromkeys(names))
    places, ticks = _places(frame[x])
    placed = frame.assign(_at=places)
    lost, values, reached = [], [], []
    for label, value in names.items():
        mine = placed[placed[hue] == value]
        sound = (
            mine.groupby("_at")["status"].apply(lambda s: s.isin(["finished", "stopped"]).all())
            if "status" in mine
            else None
        )
        means = []
        for at, group in mine.groupby("_at"):
            if sound is not None and not sound[at]:
                lost.append((at, looks[label].color))
                continue
            means.append((at, *_interval(group[y].to_numpy(float))))
        if not means:
            ax.plot(
                [], [], color=looks[label].color, marker=looks[label].marker, linestyle=looks[label].line, label=label
            )
            continue
        at, middle, low, high = np.array(means).T
        values += [middle]
        reached += [at]
        drawn = looks[label]
        bars = np.nan_to_num(np.stack([middle - low, high - middle]))
        ax.errorbar(
            at, middle, bars if bars.any() else None, color=drawn.color, marker=drawn.marker, linestyle=drawn.line,
            markerfacecolor="white" if drawn.open else drawn.color, label=label, elinewidth=0.9, linewidth=0.9,
        )  # fmt: skip
    if values:
        _scale(ax, "y", np.concatenate(values))
    if ticks is not None:
        ax.set_xticks(range(len(ticks)), ticks)
    elif reached:
        _scale(ax, "x", np.concatenate(reached))
    for at, color in lost:
        if ax.get_xscale() == "log" and at <= 0:
            continue
        ax.plot([at], [0.98], "x", color=color, transform=ax.get_xaxis_transform(), markersize=7, clip_on=False)
    ax.set_xlabel(MEANINGS.get(x, x))
    ax.set_ylabel(MEANINGS.get(y, y))
    notes = ["bars: 95 % intervals of means"] if any(c.has_yerr for c in ax.containers) else []  # type: ignore[attr-defined]
    notes += ["×: diverged or failed"] if lost else []
    _legend(ax, names, "; ".join(notes))
    return ax


@checks.keywords
@styled
def network(network: Network | NetworkProcess, *, ax: Axes | None = None) -> Axes:
    """A network: nodes and links, the wider the greater their weight; of more than 150 nodes the pattern of W.

    Parameters
    ----------
    network : Network or NetworkProcess
        Of one that changes the links of 200 steps, the darker the more often they are used.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
    """
    import networkx as nx

    remedy = "a simlab.Network, e.g. simlab.topologies.ring(n), or one that changes"
    checks.instance("network", network, (Network, NetworkProcess), remedy)
    ax = _axes(ax, (2.6, 2.6))
    n, changes = network.n_nodes, isinstance(network, NetworkProcess)
    weights = _mean_weights(network)
    name, directed = getattr(network, "name", ""), abs(weights - weights.T).max() > 1e-12
    if n > LARGEST:
        ax.spy(weights, markersize=max(0.3, 150 / n), color=COLORS[0])
        ax.set_title(_wrapped(f"{name}: pattern of W, n = {n}"))
        return ax
    graph: Any = (nx.DiGraph if directed else nx.Graph)()
    graph.add_nodes_from(range(n))
    # W[i, j] is the weight of what i receives from j.
    graph.add_weighted_edges_from((int(j), int(i), weights[i, j]) for i, j in np.argwhere(weights > 0) if i != j)
    places = _places_of(graph)
    edges = list(graph.edges(data="weight"))
    widths = np.array([weight for *_, weight in edges])
    if len(edges):
        share = widths / widths.max()
        nx.draw_networkx_edges(
            graph, places, ax=ax, width=0.5 + 2.0 * share, edge_color="#555555",
            alpha=(0.15 + 0.85 * share).tolist() if changes else None,
            node_size=_dot(n), **({"arrowsize": 7, "connectionstyle": "arc3,rad=0.12"} if directed else {}),
        )  # fmt: skip
    nx.draw_networkx_nodes(
        graph, places, ax=ax, node_size=_dot(n), node_color=COLORS[0], edgecolors="white", linewidths=0.6
    )
    if n <= 30:
        nx.draw_networkx_labels(graph, places, ax=ax, font_size=6, font_color="white")
    ax.set_title(_wrapped(name))
    ax.set_axis_off()
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.08)
    return ax


@checks.keywords
@styled
def report(report: Any, *, ax: Axes | None = None) -> Axes:
    """Verdicts: measured in units of the bound, with its 95 % interval, one row a theorem that applies.

    Parameters
    ----------
    report : theory.Report
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
        Marker and colour say the verdict. Rows without a finite ratio are left out.
    """
    if not all(hasattr(report, name) for name in ("rows", "title")):
        raise TypeError(f"report = {report!r} is no report; pass what theory.verify returned")
    rows = [row for row in report.rows if row.verdict in VERDICTS and np.isfinite(row.ratio)][::-1]
    ax = _axes(ax, (1.9 * COLUMN, 0.8 + 0.24 * max(1, len(rows))))
    for kind, drawn in VERDICTS.items():
        mine = [(k, row) for k, row in enumerate(rows) if row.verdict == kind]
        if not mine:
            continue
        at = np.array([k for k, _ in mine])
        ratio, low, high = (
            np.array([value for _, row in mine for value in [pick(row)]])
            for pick in (lambda r: r.ratio, lambda r: r.low / r.bound, lambda r: r.high / r.bound)
        )
        low, high = np.where(np.isfinite(low), low, ratio), np.where(np.isfinite(high), high, ratio)
        bars = np.stack([np.maximum(ratio - low, 0), np.maximum(high - ratio, 0)])
        ax.errorbar(
            ratio, at, xerr=bars, linestyle="none", marker=drawn.marker, color=drawn.color, label=kind,
            markerfacecolor="white" if drawn.open else drawn.color, elinewidth=0.9,
        )  # fmt: skip
    ax.axvline(1.0, color="black", linewidth=0.9)
    ax.set_yticks(range(len(rows)), [row.theorem for row in rows])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ratios = np.array([row.ratio for row in rows])
    if len(rows) and ratios.min() > 0 and max(1, ratios.max()) > WIDE * min(1, ratios.min()):
        ax.set_xscale("log")
    ax.set_xlabel("measured / bound, with 95 % interval")
    ax.set_title(report.title)
    if rows:
        ax.legend(loc="best")
    return ax


def _named(traces: Any) -> dict[str, Trace]:
    remedy = "what simlab.simulate returned, a list or a mapping of it"
    if isinstance(traces, Mapping):
        checks.each("traces", traces.values(), Trace, remedy)
        named = {str(name): trace for name, trace in traces.items()}
    else:
        listed = checks.each("traces", [traces] if isinstance(traces, Trace) else traces, Trace, remedy)
        labels = [str(trace.provenance.get("label", "run")) for trace in listed]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"traces holds two of {label}; pass a mapping of names to them")
        named = dict(zip(labels, listed, strict=True))
    if not named:
        raise ValueError("traces holds no trace; pass what simlab.simulate returned")
    return named


def _looks(named: Mapping[str, Any]) -> dict[str, Look]:
    """One look a label: that of its method, unless several labels share the method."""
    kinds = {label: label.partition("(")[0].partition(" #")[0] for label in named}
    alone = {kind for kind in kinds.values() if list(kinds.values()).count(kind) == 1}
    if alone == set(kinds.values()) and len({look(kind).color for kind in alone}) == len(alone):
        return {label: look(kind) for label, kind in kinds.items()}
    cycle = [Look(COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)], LINES[k % len(LINES)]) for k in range(len(named))]
    return dict(zip(named, cycle, strict=True))


def _axes(ax: Axes | None, size: tuple[float, float] = (COLUMN, 2.6)) -> Axes:
    if ax is not None:
        if not all(hasattr(ax, name) for name in ("errorbar", "add_collection")):
            raise TypeError(f"ax = {ax!r} is none; pass Matplotlib axes, such as plt.subplots() makes")
        return ax
    import matplotlib.pyplot as plt

    _, made = plt.subplots(figsize=size)
    return made


def _size(names: Mapping[str, Any]) -> tuple[float, float]:
    """Of a figure, with room for so many names below the axes where they would hide what is within."""
    return COLUMN, 2.6 + (0.3 + 0.16 * len(names)) * (len(names) > WITHIN)


def _legend(ax: Axes, names: Mapping[str, Any], title: str) -> None:
    """Names within the axes; of many lines below them."""
    below: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.2)} if len(names) > WITHIN else {}
    ax.legend(title=title or None, title_fontsize=6.5, alignment="left", **below)


def _band(values: np.ndarray, bands: str | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Middle, low and high of values (S, R)."""
    if bands is None or values.shape[1] < 2:
        return values.mean(axis=1), None, None
    if bands == "quantiles":
        low, high = np.quantile(values, QUANTILES, axis=1)
        return np.median(values, axis=1), low, high
    middle, low, high = np.array([mean_interval(row) for row in values]).T.reshape(3, -1)
    return middle, low, high


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    if len(values) < 2:
        return float(values[0]), float(values[0]), float(values[0])
    return mean_interval(values)


def _scale(ax: Axes, axis: str, values: np.ndarray) -> None:
    """A logarithmic axis where values are positive and far from each other."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > WIDE * finite.min():
        (ax.set_xscale if axis == "x" else ax.set_yscale)("log")


def _line(frame: pd.DataFrame, x: str, y: str, bands: str | None) -> tuple[Any, ...]:
    """Where, middle, low, high; whether a replicate has ended before the others."""
    table = frame.pivot(index="step", columns="replicate", values=y)
    whole = table if frame[y].isna().all() else table.dropna()
    at = whole.index if x == "step" else frame.groupby("step")[x].mean().loc[whole.index]
    with np.errstate(all="ignore"):  # of states that diverge
        return at.to_numpy(float), *_band(whole.to_numpy(float), bands), len(whole) < len(table)


def _top(middles: list[np.ndarray]) -> float:
    """Where an axis ends, so that a line that diverges hides no other: infinite where none does."""
    starts = [middle[0] for middle in middles if len(middle) and np.isfinite(middle[0])]
    highest = max((np.nanmax(middle) for middle in middles if np.isfinite(middle).any()), default=0.0)
    return BEYOND * max(starts) if starts and highest > OUT * max(starts) > 0 else math.inf


def _places(column: pd.Series[Any]) -> tuple[Any, list[str] | None]:
    """Where values of a column lie on an axis, and their names where they are no numbers; None is a name: of a
    mini-batch "all" samples, of a hyperparameter that a method has not "none".
    """
    if column.dtype.kind in "iuf" and not column.isna().any():
        return column, None
    missing = "all" if column.name == "batch_size" else "none"
    names = [number(value) or missing for value in column]
    order = list(dict.fromkeys(number(value) or missing for value in _sorted(column)))
    return np.array([order.index(name) for name in names]), order


def _sorted(column: pd.Series[Any]) -> Any:
    """Numbers in their order, None last; names as they come."""
    return column.sort_values() if column.dtype.kind in "iuf" else column


def _predictions(predictions: Any, named: Mapping[str, Trace]) -> dict[str, Any]:
    if predictions is None:
        return {}
    if not isinstance(predictions, Mapping):
        listed = list(predictions) if isinstance(predictions, list | tuple) else [predictions]
        if len(listed) != len(named):
            raise ValueError(
                f"predictions holds {len(listed)} for {len(named)} traces; pass one for each, or a mapping"
            )
        predictions = dict(zip(named, listed, strict=True))
    for label in predictions:
        checks.one_of("predictions", label, named)
    return {label: each for label, each in predictions.items() if each is not None}


def _expected(expected: Any, trace: Trace, y: str) -> Any:
    """Columns step and `y` of what is expected."""
    if hasattr(expected, "transient"):
        expected = expected.transient(int(trace.frame["step"].max()), int(trace.provenance["record_every"]))
    if not hasattr(expected, "columns") or y not in expected or "step" not in expected:
        raise ValueError(
            f"predictions holds nothing on {y!r}; theory expects mse and consensus, or pass frames with it"
        )
    return expected


def _mean_weights(network: Network | NetworkProcess) -> np.ndarray:
    """The mean over steps of W without its diagonal, dense."""
    n = network.n_nodes
    if isinstance(network, Network):
        indptr, indices, values = network.csr
        weights = np.zeros((n, n))
        weights[np.repeat(np.arange(n), np.diff(indptr)), indices] = np.abs(values)
    else:
        path = network.sample(DRAWN)
        weights = np.mean([np.abs(path[k]) for k in range(DRAWN)], axis=0)
    np.fill_diagonal(weights, 0.0)
    return weights


def _places_of(graph: Any) -> Any:
    """A circle, unless the graph is sparse enough to be laid out."""
    import networkx as nx

    n = graph.number_of_nodes()
    if graph.number_of_edges() <= 2.5 * n and n > 2 and graph.number_of_edges() != n:
        links = graph.to_undirected()
        hops = dict(nx.all_pairs_shortest_path_length(links))
        apart = {v: {w: hops[v].get(w, n) for w in links} for v in links}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Laid out from a circle alone, a grid may stay twisted.
            starts = nx.circular_layout(links), nx.spectral_layout(links, weight=None)
            laid = [nx.kamada_kawai_layout(links, dist=apart, pos=start) for start in starts]
        return min(laid, key=lambda places: _stress(apart, places))
    return nx.circular_layout(graph)


def _stress(apart: Mapping[Any, Mapping[Any, float]], places: Mapping[Any, np.ndarray]) -> float:
    """How far lengths on paper are from numbers of links, in the best scale; infinite where nodes coincide."""
    nodes = list(places)
    at, hops = np.array([places[v] for v in nodes]), np.array([[apart[v][w] for w in nodes] for v in nodes], float)
    lengths, hops = (m[np.triu_indices(len(nodes), 1)] for m in (np.linalg.norm(at[:, None] - at, axis=-1), hops))
    ratio = lengths / hops
    return float(np.mean((ratio / ratio.mean() - 1) ** 2)) if ratio.min() > 0 else math.inf


def _wrapped(title: str) -> str:
    return textwrap.fill(title, 32)


def _dot(n: int) -> float:
    return float(np.clip(2400 / n, 15, 160))


def _numeric(frame: Any) -> list[str]:
    """Columns that can be drawn."""
    return [str(name) for name in frame.columns if frame[name].dtype.kind in "iufb"]
