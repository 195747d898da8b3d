"""Run every benchmark (or those named) and write one table: `python -m benchmarks [name ...]`."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))

import argparse
import importlib
import platform
import tempfile
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

NAMES = (
    "sampled",
    "full_batch",
    "large",
    "scaling",
    "source_coding",
    "compression",
    "changing",
    "sweeps",
    "models",
    "sparse",
    "startup",
    "gpu",
)


def main() -> None:
    """Parse the command line, run, print, write results/benchmarks.md and .csv."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NAMES), help=f"among {', '.join(NAMES)}")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder to write to")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose among {', '.join(NAMES)}")
    rows = []
    for name in options.names:
        rows += importlib.import_module(f"benchmarks.{name}").run()
    table = pd.DataFrame(rows)
    show(table)
    write(table, options.results)


def show(table: pd.DataFrame) -> None:
    """Print the table."""
    view = Table(title=f"Benchmarks, {os.cpu_count()} cores, {platform.machine()}")
    for column in ("benchmark", "quantity", "median", "range", "target", "met"):
        view.add_column(column)
    for row in table.itertuples():
        view.add_row(
            row.benchmark, row.quantity, f"{row.value:.3g}", f"{row.low:.3g} .. {row.high:.3g}", row.target, row.met
        )
    Console(width=150).print(view)


def write(table: pd.DataFrame, results: Path) -> None:
    """Write the table as Markdown and CSV; each file is complete or absent."""
    results.mkdir(parents=True, exist_ok=True)
    head = "| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns)
    cells = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in table.itertuples(index=False)]
    text = "\n".join([head, *("| " + " | ".join(row) + " |" for row in cells)]) + "\n"
    for path, content in {
        results / "benchmarks.md": text,
        results / "benchmarks.csv": table.to_csv(index=False),
    }.items():
        with tempfile.NamedTemporaryFile("w", dir=results, delete=False, encoding="utf-8") as file:
            file.write(content)
        os.replace(file.name, path)
    print(f"written to {results / 'benchmarks.md'} and {results / 'benchmarks.csv'}")


if __name__ == "__main__":
    main()
