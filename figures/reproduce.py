"""All studies, shared among the cores: `python -m figures`. Those whose results stand do not run again.

Each study is a process of its own, which does what `python -m figures.<name>` does and writes into a folder that
vanishes; what it has finished is moved from there, file by file, its record last.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from figures import NEEDS, STUDIES, record
from figures.claims import unsupported
from figures.study import RESULTS, new_console, run_apart, say, verdicts
from simlab import checks

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# After the first study, whose picture is the README's, the longest: one that began last would keep one core busy alone.
LONGEST = (
    "large_batch", "malcom_rate", "bias_vs_batch_size", "transients", "malcom_convergence", "sparsity",
    "malcom_ablation", "malcom_bits", "linear_speedup",
)  # fmt: skip
FIRST = (STUDIES[0], *LONGEST, *(name for name in STUDIES[1:] if name not in LONGEST))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies that are named, or all, unless their results stand.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line by default.

    Returns
    -------
    int
        The exit status: 1 if a claim is violated or inconclusive, or a study fails, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m figures", description="Run the studies and judge their claims.")
    parser.add_argument("studies", nargs="*", metavar="study", help=f"from {', '.join(STUDIES)}; all by default")
    parser.add_argument("--results", default=RESULTS, help="folder for pictures and tables (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="run studies whose results stand, too")
    options = parser.parse_args(arguments)
    try:
        names = [checks.one_of("study", name, STUDIES) for name in dict.fromkeys(options.studies)] or list(STUDIES)
    except ValueError as error:
        parser.error(str(error))
    results = Path(options.results)
    results.mkdir(parents=True, exist_ok=True)
    console = new_console()
    reasons = {name: "--force" if options.force else record.changed(name, results) for name in names}
    if not options.studies:
        for name in [name for name in names if reasons[name] and not record.installed(name)]:
            names.remove(name)
            say(console, f"left out: {name}, which needs {NEEDS[name]}; pip install 'simlab[{NEEDS[name]}]' brings it")
    stand = [name for name in names if not reasons[name]]
    if stand:
        say(console, f"unchanged, kept (--force repeats them): {', '.join(stand)}")
    for name in filter(reasons.get, names):
        say(console, f"to run: {name} ({reasons[name]})")
    failed = [name for name in names if reasons[name]]
    try:
        for name in share(failed.copy(), results, console):
            failed.remove(name)
    except KeyboardInterrupt:
        left = [name for name in failed if options.force or record.changed(name, results)]
        whole = [name for name in names if name not in left]
        say(
            console,
            f"interrupted; complete: {', '.join(whole) or 'none'}; the next run does {', '.join(left) or 'none'}",
        )
        return 130
    claims = {name: record.claims(name, results) for name in names if name not in failed}
    if len(names) > 1:
        verdicts(claims)
    if failed:
        say(console, f"failed: {', '.join(failed)}")
    return 1 if failed or unsupported(claim for found in claims.values() for claim in found) else 0


def share(names: Sequence[str], results: Path, console: Any) -> Iterator[str]:
    """Run the studies, one a core at a time; yield the name of each whose files are complete.

    However the caller leaves, no process and no half-written file stays behind.
    """
    waiting = sorted(names, key=FIRST.index)
    running: list[Run] = []
    with _hangups_interrupt(), tempfile.TemporaryDirectory(dir=results, prefix=".unfinished-") as folder:
        try:
            with console.status("libraries are imported") as status:
                processes = _processes(many=len(waiting) > CORES)
                while waiting or running:
                    while waiting and len(running) < CORES:
                        running.append(Run(waiting.pop(0), Path(folder), console, processes))
                        if not console.is_terminal:
                            say(console, f"{running[-1].name} runs; left: {', '.join(waiting) or 'none'}")
                    for run in [run for run in running if run.process.exitcode is not None]:
                        running.remove(run)
                        if run.finish(results, console):
                            yield run.name
                    now = ", ".join(f"{run.name} ({run.seconds:.0f} s)" for run in running)
                    status.update(f"{now}; left: {', '.join(waiting) or 'none'}")
                    time.sleep(0.05)
        finally:
            for run in running:
                run.process.kill()
                run.process.join()


def _processes(many: bool) -> Any:
    """How processes begin: many of them as forks of one that has imported what all need, see `figures.preload`."""
    if sys.platform != "linux":  # a fork is safe only where no library of the system runs threads
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["figures.preload"] if many else [])
    return context


class Run:
    """The process of one study.

    Parameters
    ----------
    name : str
    folder : Path
        Where it writes.
    console : rich.console.Console
        For which its tables are made.
    processes : multiprocessing context
    """

    def __init__(self, name: str, folder: Path, console: Any, processes: Any):
        self.name, self.folder, self.began = name, folder, time.perf_counter()
        self.output = folder / f"{name}.txt"
        self.output.touch()  # for a process that dies before it writes
        color = {"FORCE_COLOR": "1"} if console.is_terminal else {}
        about = {"COLUMNS": str(console.width), **color}
        self.process = processes.Process(target=run_apart, args=(name, folder, self.output, about))
        self.process.start()

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self.began

    def finish(self, results: Path, console: Any) -> bool:
        """Print what the process has printed, and move its files to the results; False if it failed."""
        from rich.text import Text

        console.print(Text.from_ansi(self.output.read_text(errors="replace")), end="")
        whole = (self.folder / f"{self.name}.json").exists()  # written last
        if whole:
            for kind in (*record.DRAWN, "json"):
                os.replace(self.folder / f"{self.name}.{kind}", results / f"{self.name}.{kind}")
        how = "done" if whole else f"failed with exit status {self.process.exitcode}"
        say(console, f"{self.name} {how}, {self.seconds:.1f} s\n")
        return whole


@contextmanager
def _hangups_interrupt() -> Iterator[None]:
    """A closed terminal and a request to end are what Ctrl-C is: the processes of the studies end, too."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has one
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as `nohup` asks for
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
