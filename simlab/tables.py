"""Tables of results: when targets were met; as LaTeX, Markdown and HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simlab import checks
from simlab.statistics import mean_interval
from simlab.targets import Target
from simlab.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("step", "bits", "payload_bits", "gradients", "time")
FORMATS = ("markdown", "latex", "html")
NO_BREAK = "\N{NO-BREAK SPACE}"


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
        if column not in trace.frame:
            hint = checks.nearest(column, list(trace.frame.columns))
            raise ValueError(f"{label} has no column {column!r}; {hint}choose one of {', '.join(trace.frame.columns)}")
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
    if not hasattr(frame, "columns"):
        raise TypeError(f"frame = {frame!r} is no pandas.DataFrame; pass one, such as simlab.first(...) returns")
    checks.one_of("format", format, FORMATS)
    digits = checks.integer("digits", digits, minimum=1, maximum=17)
    names = [name for name in frame.columns if not _is_end(str(name), frame)]
    cells = [[_cell(row, name, digits) for name in names] for row in frame.to_dict("records")]
    right = [frame[name].dtype.kind in "iuf" for name in names]
    return rendered([str(name) for name in names], cells, right, format)


def rendered(
    heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], format: str, caption: str = ""
) -> str:
    """A table of texts; which columns are aligned to the right."""
    if format == "latex":
        lines = [" & ".join(map(latex, line)) + r" \\" for line in (heads, *cells)]
        columns = "".join("r" if each else "l" for each in right)
        body = "\n".join([r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"])
        return f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"
    if format == "html":
        head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
        style = [' style="text-align:right"' if each else "" for each in right]
        body = "".join(
            "<tr>" + "".join(f"<td{s}>{html.escape(c)}</td>" for s, c in zip(style, line, strict=True)) + "</tr>\n"
            for line in cells
        )
        above = f"<caption>{html.escape(caption)}</caption>\n" if caption else ""
        return f"<table>\n{above}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    escaped = [[cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in (heads, *cells)]
    rule = ["---:" if each else "---" for each in right]
    return "\n".join("| " + " | ".join(line) + " |" for line in (escaped[0], rule, *escaped[1:])) + "\n"


def _is_end(name: str, frame: Any) -> bool:
    base = name.removesuffix("_low").removesuffix("_high")
    return base != name and {base, f"{base}_low", f"{base}_high"} <= set(frame.columns)


def _cell(row: Mapping[Any, Any], name: Any, digits: int) -> str:
    text = number(row[name], digits)
    low, high = (row.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
    if text and not isinstance(low, str) and np.isfinite(low) and np.isfinite(high):
        return f"{text} [{number(low, digits)}, {number(high, digits)}]"
    return text


def number(value: Any, digits: int = 4) -> str:
    """A value as a cell: numbers to so many digits, nothing for NaN and None."""
    if value is None or value != value:
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.0f}" if value == round(value) and abs(value) < 10 ** max(digits, 6) else f"{value:.{digits}g}"
    return str(value)


SYMBOLS = {
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "^": r"\^{}", "~": r"\~{}",
    "<": r"$<$", ">": r"$>$", "≤": r"$\le$", "φ": r"$\varphi$", "γ": r"$\gamma$", "κ": r"$\kappa$", "λ": r"$\lambda$",
    "μ": r"$\mu$", "ρ": r"$\rho$", "σ": r"$\sigma$", "ς": r"$\varsigma$", "β": r"$\beta$", "δ": r"$\delta$",
    "ζ": r"$\zeta$", "ω": r"$\omega$", "π": r"$\pi$", "ψ": r"$\psi$", "x̄": r"$\bar x$", "√": r"$\surd$",
    "²": r"$^2$", "ₙ": r"$_n$", "₁": r"$_1$", "₂": r"$_2$", "Σ": r"$\Sigma$", "∇": r"$\nabla$", "−": r"$-$",
    "‖": r"$\|$", "⌈": r"$\lceil$", "⌉": r"$\rceil$", "≠": r"$\ne$", "±": r"$\pm$", "∞": r"$\infty$",
    "\\": r"\textbackslash{}",
    NO_BREAK: "~",
}  # fmt: skip


def latex(text: str) -> str:
    """A text as LaTeX."""
    return re.sub("x̄|.", lambda found: SYMBOLS.get(found[0], found[0]), text, flags=re.DOTALL)
