"""A table of verdicts, printed, and as a frame, HTML or LaTeX."""

from __future__ import annotations

import html
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from simlab import checks
from simlab.markup import NO_BREAK, rendered

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

HEADINGS = ("theorem", "measured", "95 % interval", "bound", "ratio", "verdict", "reason")
LEFT = ("theorem", "verdict", "reason")
NARROWEST = 100  # characters of a printed table; narrower ones would fold every reason into a ribbon
STYLES = {"holds": "green", "violated": "bold red", "inconclusive": "yellow", "not applicable": "dim"}


class Row(NamedTuple):
    """One line of a report.

    Attributes
    ----------
    theorem : str
        Its name.
    measured, low, high : float
        Mean over replicates and its 95 % confidence interval; NaN where not applicable.
    bound, ratio : float
        The bound, or the prediction, and measured/bound.
    verdict : {"holds", "violated", "inconclusive", "not applicable"}
    reason : str
        Why: for "not applicable" the assumption that fails, with its numbers.
    """

    theorem: str
    measured: float
    low: float
    high: float
    bound: float
    ratio: float
    verdict: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Verdicts on one run.

    Prints as a table, in a terminal or a notebook; ``report["B1, bias"]`` is one row. Those that are not applicable
    come after the table.

    Attributes
    ----------
    title : str
    rows : tuple of Row
    """

    title: str
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """Columns theorem, measured, low, high, bound, ratio, verdict, reason."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(Row._fields))

    def __getitem__(self, theorem: str) -> Row:
        """The row of a theorem, by name."""
        name = checks.one_of("theorem", theorem, [row.theorem for row in self.rows])
        return next(row for row in self.rows if row.theorem == name)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        counts = Counter(row.verdict for row in self.rows)
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return f"Report({self.title}: {verdicts}; print it for the table)"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The report as rich prints it."""
        from rich.text import Text

        judged = [row for row in self.rows if row.verdict != "not applicable"]
        yield self._table(judged) if judged else Text(self.title, style="italic")
        if len(judged) < len(self.rows):
            yield Text("\n".join(self._not_applicable(options.max_width)), style="dim")

    def _table(self, rows: list[Row]) -> Table:
        """Without columns that have nothing to say, such as the intervals of a run without randomness."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        cells = [_cells(row) for row in rows]
        shown = [k for k in range(len(HEADINGS)) if any(line[k] for line in cells)]
        for name in (HEADINGS[k] for k in shown):
            justify: Literal["left", "right"] = "left" if name in LEFT else "right"
            table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "reason")
        for row, line in zip(rows, cells, strict=True):
            table.add_row(*(Text(line[k]) for k in shown), style=STYLES[row.verdict])
        return table

    def _not_applicable(self, width: int) -> Iterator[str]:
        """Lines: each reason, and below it the theorems that it keeps from applying."""
        names: dict[str, list[str]] = {}
        for row in self.rows:
            if row.verdict == "not applicable":
                names.setdefault(row.reason, []).append(row.theorem.replace(" ", NO_BREAK))
        yield "not applicable"
        for reason, theorems in names.items():
            yield textwrap.fill(reason, width, initial_indent="  ", subsequent_indent="  ")
            listed = textwrap.fill(
                "; ".join(theorems), width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
            yield listed.replace(NO_BREAK, " ")

    def __str__(self) -> str:
        from rich.console import Console

        width = max(NARROWEST, shutil.get_terminal_size((160, 24)).columns)
        console = Console(width=width, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def to_html(self) -> str:
        """The table in HTML."""
        return self._rendered("html")

    def _repr_html_(self) -> str:
        """For notebooks: what was judged, and folded away below what is not applicable."""
        judged = [row for row in self.rows if row.verdict != "not applicable"]
        others = [(row.theorem, row.reason) for row in self.rows if row.verdict == "not applicable"]
        shown = self._rendered("html", judged) if judged else f"<p>{html.escape(self.title)}</p>"
        folded = rendered(("theorem", "reason"), others, (False, False), "html")
        return shown + (f"<details><summary>{len(others)} not applicable</summary>{folded}</details>" if others else "")

    def to_latex(self) -> str:
        """The table as a LaTeX tabular, for pdfLaTeX and its successors."""
        return self._rendered("latex")

    def to_markdown(self) -> str:
        """The table in Markdown."""
        return self._rendered("markdown")

    def _rendered(self, format: str, rows: Iterable[Row] | None = None) -> str:
        right = [name not in LEFT for name in HEADINGS]
        listed = self.rows if rows is None else rows
        return rendered(HEADINGS, [_cells(row) for row in listed], right, format, self.title)


def _cells(row: Row) -> list[str]:
    def number(value: float) -> str:
        return "" if np.isnan(value) else f"{value:.4g}"

    span = f"[{row.low:.4g}, {row.high:.4g}]" if row.low < row.high else ""
    return [
        row.theorem,
        number(row.measured),
        span,
        number(row.bound),
        number(row.ratio),
        row.verdict,
        row.reason,
    ]
