"""How a study runs: measure, draw, judge; then a picture, its data and the verdicts on disk and on the screen.

A study is a module of this package with

* `COLUMNS`, what each column of its table means, in which units;
* `measure(**settings)`, the table: tidy, one row a measurement;
* `summary(table)`, what is printed of it;
* `draw(table)`, the figure, from the table alone;
* `claims(table)`, what it shows, from the table alone.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import inspect
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from figures import record
from figures.claims import Claim, unsupported
from simlab.plot.style import RC

Paths = str | os.PathLike[str]
RESULTS = "results"


def run(name: str, results: Paths = RESULTS, **settings: Any) -> list[Claim]:
    """Run one study.

    Parameters
    ----------
    name : str
        One of `figures.STUDIES`.
    results : path, default "results"
        Where name.png, name.pdf, name.csv and name.json (provenance, meaning of the columns, claims) go.
    **settings
        Passed to the study's `measure`.

    Returns
    -------
    list of Claim
        What the study shows.
    """
    import matplotlib

    matplotlib.use("Agg")
    before = record.sources()
    study = importlib.import_module(f"figures.{name}")
    began = time.perf_counter()
    table = study.measure(**settings)
    claims = study.claims(table)
    with matplotlib.rc_context(RC):
        figure = study.draw(table)
        save(figure, table, name, results)
    report(name, study.summary(table), claims)
    call = inspect.signature(study.measure).bind(**settings)
    call.apply_defaults()
    about = {
        "seconds": round(time.perf_counter() - began, 1),
        "made_from": record.made_from(name, Path(results), settings, before),
    }
    _provenance(study, call.arguments, claims, about, Path(results) / f"{name}.json")
    return claims


def save(figure: Any, table: Any, name: str, results: Paths = RESULTS) -> None:
    """Write results/name.png, .pdf and .csv; each file is complete or absent.

    Parameters
    ----------
    figure : matplotlib Figure
    table : pandas.DataFrame
        What was drawn.
    name : str
    results : path, default "results"
        Made if missing.
    """
    target = Path(results) / name
    _write(target.with_suffix(".csv"), lambda path: table.to_csv(path, index=False, float_format="%.12g"))
    _write(target.with_suffix(".png"), lambda path: figure.savefig(path, format="png"))
    figure.set_layout_engine("none")  # what is where is found, and takes as long as drawing
    # Without a date the same figure is the same file.
    _write(target.with_suffix(".pdf"), lambda path: figure.savefig(path, format="pdf", metadata={"CreationDate": None}))


def report(name: str, table: Any, claims: Sequence[Claim]) -> None:
    """Print the table behind a picture, and what it shows."""
    from pandas.api.types import is_numeric_dtype
    from rich.table import Table

    columns = Table(title=name, title_style="bold", title_justify="left")
    for column in table.columns:
        columns.add_column(column, justify="right" if is_numeric_dtype(table[column]) else "left")
    for row in table.itertuples(index=False):
        columns.add_row(*map(_cell, row))
    console = new_console()
    console.print(columns)
    for claim in claims:
        console.print(
            f"[bold]{claim.verdict}[/]: {claim.name} ({claim.statement}: {_plain(claim.measured)}; {claim.expected})"
        )
    console.print()


def say(console: Any, text: str) -> None:
    """Print a line as it stands: rich would read brackets as markup, colour numbers and break lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def verdicts(claims: dict[str, list[Claim]]) -> None:
    """Print the one table of verdicts that ends a run of several studies."""
    from rich.table import Table

    table = Table(title="Verdicts", title_style="bold", title_justify="left")
    for column in ("study", "claim", "measured", "expected", "verdict"):
        table.add_column(column)
    colors = {"holds": "green", "violated": "bold red", "inconclusive": "yellow"}
    for study, found in claims.items():
        for c in found:
            table.add_row(study, c.name, _plain(c.measured), c.expected, f"[{colors[c.verdict]}]{c.verdict}[/]")
    new_console().print(table)


def main(arguments: Sequence[str]) -> int:
    """Run one study alone, in this process; the exit status is 1 unless every claim holds.

    Parameters
    ----------
    arguments : sequence of str
        Its name, then those of the command line.
    """
    name, *rest = arguments
    parser = argparse.ArgumentParser(prog=f"python -m figures.{name}", description="Run this study, judge its claims.")
    parser.add_argument("--results", default=RESULTS, help="folder for pictures and tables (default: %(default)s)")
    return 1 if unsupported(run(name, parser.parse_args(rest).results)) else 0


def run_apart(name: str, results: Path, output: Path, environment: dict[str, str]) -> None:
    """`main` of one study as the target of a new process, which ends when the one that began it does.

    Parameters
    ----------
    name : str
    results : Path
    output : Path
        The file to which all that it prints goes.
    environment : dict
        Variables that are set first.
    """
    if sys.modules.pop("figures.preload", None):  # a fork: what is to be done at the end there is not for here
        atexit._clear()
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in the terminal is for the parent alone
    with open(output, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    try:
        sys.exit(main([name, "--results", str(results)]))
    finally:
        atexit._run_exitfuncs()  # which new processes of multiprocessing leave out: temporary folders vanish


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _provenance(study: Any, settings: dict[str, Any], claims: list[Claim], more: dict[str, Any], path: Path) -> None:
    """Beside the data: all that the numbers depend on, what the columns mean, and what was found."""
    from simlab.run.provenance import environment

    about = {
        "study": " ".join(study.__doc__.split("\n\n")[0].split()),
        "settings": settings,
        "columns": study.COLUMNS,
        "claims": [claim._asdict() for claim in claims],
        "environment": environment(),
        **more,
    }
    text = json.dumps(about, indent=2, ensure_ascii=False)
    _write(path, lambda temporary: Path(temporary).write_text(text + "\n", encoding="utf-8"))


def _write(target: Path, write: Callable[[str], Any]) -> None:
    """Let `write` fill a temporary file beside `target`, then rename it."""
    with _temporary(target) as path:
        write(path)
        os.replace(path, target)


@contextmanager
def _temporary(target: Path) -> Iterator[str]:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
    os.close(handle)
    os.chmod(path, 0o644)  # mkstemp's files are the owner's alone
    try:
        yield path
    finally:
        if os.path.exists(path):
            os.unlink(path)


def new_console() -> Any:
    """As wide as the terminal, or as $COLUMNS; wide enough for every table where there is neither."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=160)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


def _plain(text: str) -> str:
    """The text with its brackets kept from rich, which reads them as markup."""
    from rich.markup import escape

    return escape(text)
