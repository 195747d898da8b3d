"""Tables of results: when targets were met, and any frame as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simlab import checks
from simlab.markup import FORMATS, number, rendered
from simlab.statistics import mean_interval
from simlab.targets import Target
from simlab.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("step", "bits", "payload_bits", "gradients", "time")


@checks.keywords
def first(
    traces: Trace | Sequence[Trace] | Mapping[str, Trace], column: str, target: float, *, at_least: bool = False
) -> pd.DataFrame:
    """What it took each trace to come to a target: steps, bits, gradients, and seconds where they are modelled.

    Parameters
    ----------
    traces : Trace, list of Trace, or mapping of str to Trace
        The names of a mapping are those of the rows.
    column : str
        Any recorded column, such as "loss".
    target : float
        What it has to fall to.
    at_least : bool, default False
        It has to rise to it instead.

    Returns
    -------
    pandas.DataFrame
        A row a trace: `reached` of `replicates`; then of each cost the mean over replicates and, as `step_low` and
        `step_high`, its 95 % confidence interval (Student), at the first record at the target. NaN where some
        replicates never came to it, of which a mean over the others would not tell; no interval of one replicate.

    Examples
    --------
    >>> import simlab
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
    >>> rates = [simlab.DSGD(lr=0.02), simlab.DSGD(lr=0.1)]
    >>> traces = simlab.simulate(problem, simlab.topologies.ring(8), rates, steps=300)
    >>> simlab.first(traces, "loss", 0.4)[["run", "reached", "step"]].values.tolist()
    [['DSGD(lr=0.02)', 1, 37.0], ['DSGD(lr=0.1)', 1, 7.0]]
    """
    import pandas as pd

    remedy = "what simlab.simulate returned, a list or a mapping of it"
    if isinstance(traces, Mapping):
        named = list(zip(traces, checks.each("traces", traces.values(), Trace, remedy), strict=True))
    else:
        listed = checks.each("traces", [traces] if isinstance(traces, Trace) else traces, Trace, remedy)
        named = [(trace.provenance.get("label", "run"), trace) for trace in listed]
    goal = Target(column, checks.real("target", target), checks.flag("at_least", at_least))
    rows = []
    for label, trace in named:
        checks.one_of("column", column, trace.frame.select_dtypes("number").columns)
        checks.some_number(f"column = {column!r} of {label}", trace.frame[column])
        met = trace.frame[goal.met(trace.frame[column].to_numpy())].groupby("replicate").first()
        row: dict[str, Any] = {"run": label, "reached": len(met), "replicates": len(trace.x)}
        for cost in (cost for cost in COSTS if cost in trace.frame):
            values = met[cost].to_numpy(float)
            whole = len(values) == len(trace.x)
            mean = float(values.mean()) if whole else np.nan
            low, high = mean_interval(values)[1:] if whole and len(values) > 1 else (np.nan, np.nan)
            row |= {cost: mean, f"{cost}_low": low, f"{cost}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


@checks.keywords
def table(frame: Any, format: str = "markdown", *, digits: int = 4) -> str:
    """A frame as text for a paper, a page or a notebook.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `simlab.first`, a sweep, a report's `frame`, or any other. Where there are columns a, a_low and a_high they
        are one: "12 [10, 14]".
    format : {"markdown", "latex", "html"}, default "markdown"
        LaTeX is a tabular for pdfLaTeX and its successors.
    digits : int, default 4
        Significant ones of numbers.

    Returns
    -------
    str
    """
    checks.frame("frame", frame)
    checks.one_of("format", format, FORMATS)
    digits = checks.integer("digits", digits, minimum=1, maximum=17)
    names = [name for name in frame.columns if not _is_end(str(name), frame)]
    cells = [[_cell(row, name, digits) for name in names] for row in frame.to_dict("records")]
    right = [frame[name].dtype.kind in "iuf" for name in names]
    return rendered([str(name) for name in names], cells, right, format)


def _is_end(name: str, frame: Any) -> bool:
    base = name.removesuffix("_low").removesuffix("_high")
    return base != name and {base, f"{base}_low", f"{base}_high"} <= set(frame.columns)


def _cell(row: Mapping[Any, Any], name: Any, digits: int) -> str:
    text = number(row[name], digits)
    low, high = (row.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
    if text and not isinstance(low, str) and np.isfinite(low) and np.isfinite(high):
        return f"{text} [{number(low, digits)}, {number(high, digits)}]"
    return text
