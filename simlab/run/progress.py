"""What is shown of long work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simlab import checks


@contextmanager
def progress_bar(
    total: int, progress: bool | None, first: str = "compile", then: str = "simulate"
) -> Iterator[Callable[[int], None]]:
    """A function that shows how much is done: a bar on a terminal (or on request), else nothing.

    Parameters
    ----------
    total : int
    progress : bool, optional
        As of `simlab.simulate`.
    first, then : str
        What is said to be done until it is called first, and after.
    """
    if progress is not None:
        checks.flag("progress", progress)
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first, total=total)  # where a program is new, that takes most of the first chunk
        yield lambda done: bar.update(task, completed=done, description=then)
