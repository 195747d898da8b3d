"""The command `simlab`: studies, sweeps, pages of results, and what it runs on."""

from __future__ import annotations

import itertools
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from figures import STUDIES
from figures.study import RESULTS
from simlab.checks import nearest

app = typer.Typer(
    help="Simulate decentralized optimization, and check the runs against theory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Results = Annotated[Path, typer.Option(help="Folder for pictures and tables.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        import simlab

        typer.echo(f"simlab {simlab.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def studies(results: Results = Path(RESULTS)) -> None:
    """List the studies, and which of them have results that stand."""
    import importlib

    from rich.table import Table

    from figures import record
    from figures.study import new_console

    table = Table("study", "results", "about")
    for name in STUDIES:
        about = " ".join((importlib.import_module(f"figures.{name}").__doc__ or "").split("\n\n")[0].split())
        reason = record.changed(name, results)
        table.add_row(name, f"to run: {reason}" if reason else "stand", about)
    new_console().print(table)


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="[STUDY]...", help="All unless named.")] = None,
    results: Results = Path(RESULTS),
    force: Annotated[bool, typer.Option("--force", help="Run those whose results stand, too.")] = False,
) -> None:
    """Run studies, as `make reproduce` does; status 1 where a claim does not hold."""
    from figures.reproduce import main as reproduce

    for name in names or []:
        if name not in STUDIES:
            near = nearest(name, STUDIES)
            raise SystemExit(f"simlab run: {name!r} is no study; {near}simlab studies lists them")
    raise typer.Exit(reproduce([*(names or []), "--results", str(results), *(["--force"] if force else [])]))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Arguments of simlab.grid; see docs/command.md.")],
    folder: Annotated[
        Path | None, typer.Option(help="Of the cells; the one that the file names, beside it, unless given.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Local processes; as many as cores unless given.")] = None,
) -> None:
    """Run the cells of a sweep that its folder does not hold yet."""
    import simlab
    from figures.study import new_console, say

    if not file.is_file():
        raise SystemExit(f"simlab sweep: {file} does not exist; docs/command.md has one to begin with")
    try:
        options = tomllib.loads(file.read_text(encoding="utf-8"))
        named = options.pop("folder", None)
        if folder is None and named is None:
            raise ValueError(f"{file} names no folder; add folder = '...', or pass --folder")
        target = folder or file.parent / named
        cells = simlab.grid(**{name: _value(name, value) for name, value in options.items()})
        frame = simlab.sweep(cells, target, workers=workers)
    except tomllib.TOMLDecodeError as error:
        raise SystemExit(f"simlab sweep: {file} is not TOML: {error}") from None
    except KeyboardInterrupt:
        typer.echo("interrupted; what is finished is kept, and the same command goes on with the rest")
        raise typer.Exit(130) from None
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise SystemExit(f"simlab sweep: {error}") from None
    counts = ", ".join(f"{count} {status}" for status, count in frame["status"].value_counts().items())
    say(new_console(), f"{len(cells)} cells in {target}, runs: {counts}; see them by simlab report {target}")
    if frame["status"].isin(["failed", "lost"]).any():
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of a sweep, or of studies.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("report.html"),
) -> None:
    """Write one self-contained page of the results in a folder: pictures, tables, verdicts, provenance."""
    from figures.page import page
    from simlab.trace import whole_file

    try:
        text = page(folder)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"simlab report: {error}") from None
    whole_file(output, lambda path: path.write_text(text, encoding="utf-8"))
    typer.echo(f"{output}: {len(text) / 2**20:.1f} MiB")


@app.command()
def info() -> None:
    """Versions, threads, caches, GPU."""
    for name, value in about().items():
        typer.echo(f"{name:<12} {value}")


def about() -> dict[str, Any]:
    """What simlab runs on, by names."""
    import scipy.linalg  # noqa: F401  it brings a BLAS of its own
    from threadpoolctl import threadpool_info

    from simlab.programs import cache_directory
    from simlab.run.provenance import environment
    from simlab.simulation import THREADS

    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    blas = ", ".join(
        sorted({f"{each['internal_api']} {each['version']}, {each['num_threads']} threads" for each in libraries})
    )
    directory = cache_directory()
    programs = sum(1 for _ in directory.glob("program_*.py"))
    return {**environment(), "threads": THREADS, "BLAS": blas, "programs": f"{programs} in {directory}", "GPU": _gpu()}


def _gpu() -> str:
    try:
        import cupy

        devices = [
            cupy.cuda.runtime.getDeviceProperties(k)["name"].decode() for k in range(cupy.cuda.runtime.getDeviceCount())
        ]
        return f"CuPy {cupy.__version__}: {', '.join(devices) or 'no device'}"
    except ImportError:
        return "no CuPy; install simlab[cuda12] or simlab[cuda13]"
    except Exception as error:  # whatever a driver makes of it
        return f"not usable: {error}"


def _value(name: str, value: Any) -> Any:
    """An argument of `grid` as TOML says it: tables with a `kind` are objects of simlab, others names of such."""
    if name == "algorithm":
        listed = value if isinstance(value, list) else [value]
        return [made for each in listed for made in _each(each)]
    if isinstance(value, dict) and "kind" not in value:
        return {called: _made(each) for called, each in value.items()}
    return [_made(each) for each in value] if isinstance(value, list) else _made(value)


def _each(table: dict[str, Any]) -> list[Any]:
    """A method for each combination of what is listed."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
    return [_made(dict(zip(lists, chosen, strict=True))) for chosen in itertools.product(*lists.values())]


def _made(value: Any) -> Any:
    """A table with a `kind`, a name in simlab, as what that makes of the rest; anything else as it is."""
    import simlab

    if not isinstance(value, dict):
        return value
    if "kind" not in value:
        raise ValueError(f"{value} has no kind; add one, such as kind = 'DSGD' or kind = 'topologies.ring'")
    found: Any = simlab
    for part in str(value["kind"]).split("."):
        if part.startswith("_"):
            raise ValueError(f"kind = {value['kind']!r} is no public name of simlab")
        found = getattr(found, part)
    return found(**{name: _made(each) for name, each in value.items() if name != "kind"})


def main() -> None:
    """The entry point."""
    sys.exit(app())
