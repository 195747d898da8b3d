"""Sweeps: cells computed by local processes, or by the workers of a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from simlab import checks
from simlab.run.identity import Identities
from simlab.run.progress import progress_bar
from simlab.simulation import THREADS, simulate, single_threaded
from simlab.sweeps.cells import NOUNS, Cell
from simlab.sweeps.store import Row, Store, failure, framed, keep, keep_failure, path_of, rows, warn_of_damage

if TYPE_CHECKING:
    import pandas as pd

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
AHEAD = 2  # cells that a worker is given at once: it need not wait for the next
DEATHS = 2  # of workers, until it is put down to the cell


class Task(NamedTuple):
    """A cell on its way to a worker; its problem and network go another way."""

    folder: str
    key: str
    cell: Cell


class Outcome(NamedTuple):
    """What became of a cell: the summary of its file, as JSON, or why there is none."""

    summary: str | None
    reason: str = ""


@checks.keywords
def sweep(
    cells: Sequence[Cell],
    folder: str | os.PathLike[str],
    *,
    client: Any = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Run cells that a folder does not hold yet, and return the results of all.

    A cell is known by all that its numbers depend on: data, weights, the method and its code, settings, precision,
    version. What is there is not run again, so that a sweep that was killed is simply started again, and several
    processes may share a folder. Results are the same to the last bit, whoever runs a cell.

    Parameters
    ----------
    cells : list of Cell
        From `simlab.grid`.
    folder : path
        One Parquet file a cell; made if missing.
    client : dask.distributed.Client, optional
        Whose workers run the cells; they have to see the folder under the same name. Needs ``simlab[cluster]``.
    workers : int, optional
        Local processes otherwise, with one thread each; as many as there are cores by default, 0 for this process.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.

    Returns
    -------
    pandas.DataFrame
        A row for each setting and replicate: the names of the cell's arguments and labels, algorithm, its class and
        numeric hyperparameters, replicate, then its last record (step, mse, ...), and

        status, reason
            "finished"; "stopped" at its target; "diverged", and when; "failed", with the error, which is kept and not
            tried again (delete the file to do so); "lost", where a worker died or a file could not be written, which
            the next call tries again.
        seconds, cell
            Of the whole cell, and the name of its file; ``simlab.load_traces(f"{folder}/{cell}.parquet")`` are the
            traces.

    Raises
    ------
    TypeError, ValueError
        For what are no cells.
    OSError
        If the folder cannot be written to, and cells are missing.

    Warns
    -----
    RuntimeWarning
        If files were damaged (they are run again), or cells are failed or lost.

    Examples
    --------
    >>> import simlab, tempfile
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=3, seed=1)
    >>> rates = [simlab.DSGD(lr=0.01), simlab.DSGD(lr=0.02)]
    >>> cells = simlab.grid(problem=problem, network=simlab.topologies.ring(8), algorithm=rates, steps=100, seed=[0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frame = simlab.sweep(cells, folder, workers=0)
    >>> frame[["seed", "lr", "step", "status"]].values.tolist()[0]
    [0, 0.01, 100, 'finished']
    """
    listed = checks.each("cells", cells, Cell, "what simlab.grid returned")
    if not listed:
        raise ValueError("cells = [] holds no cell; pass what simlab.grid returned")
    count = THREADS if workers is None else checks.integer("workers", workers, minimum=0)
    if client is not None and not all(hasattr(client, name) for name in ("submit", "cancel")):
        raise TypeError(f"client = {client!r} is not a dask.distributed.Client; pass one, or workers=...")
    store, identities = Store(folder), Identities()
    warn_of_damage(store, "and run again")
    keys = [identities.of(cell.arguments) for cell in listed]
    missing = {key: cell for key, cell in zip(keys, listed, strict=True) if key not in store.found}
    lost: dict[str, str] = {}
    if missing:
        _check_folder(store.folder)
        tasks = [Task(str(store.folder), key, cell) for key, cell in missing.items()]
        # Processes that share a folder start at different ends of it.
        random.Random(os.getpid() ^ time.time_ns()).shuffle(tasks)
        compute = _dask(client) if client is not None else _local(count) if count else _here
        with progress_bar(len(listed), progress, "sweep", "sweep") as show:
            done = len(listed) - len(missing)
            try:
                for task, outcome in compute(tasks, identities):
                    done += 1
                    show(done)
                    if outcome.summary is None:
                        lost[task.key] = outcome.reason
                    else:
                        store.add(task.key, outcome.summary)
            finally:
                store.list_again(now=True)
    frame = _results(listed, keys, store, lost)
    bad = frame[frame["status"].isin(["failed", "lost"])]
    if len(bad):
        first = bad.iloc[0]
        warnings.warn(
            f"{bad['cell'].nunique()} of {len(set(keys))} cells have no result, see the column `reason`; the first, "
            f"{first['algorithm']} in cell {first['cell']}, is {first['status']}: {first['reason']}",
            RuntimeWarning,
            stacklevel=3,
        )
    return frame


def _results(cells: Sequence[Cell], keys: Sequence[str], store: Store, lost: dict[str, str]) -> pd.DataFrame:
    listed: list[Row] = []
    for key, cell in zip(keys, cells, strict=True):
        if key in store.found:
            summary = json.loads(store.found[key])
        else:
            summary = failure(
                cell.names, _settings(cell), cell.arguments["replicates"], "lost", lost.get(key, "not run")
            )
        listed += rows(summary, key, cell.names, cell.algorithms)
    return framed(listed)


def _check_folder(folder: Path) -> None:
    """OSError, with a remedy, unless files can be made in the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp"):
            pass
    except OSError as error:
        raise type(error)(
            error.errno,
            f"folder = {str(folder)!r} cannot be written to ({error.strerror}); make room, or pass another one",
        ) from None


def _settings(cell: Cell) -> dict[str, Any]:
    return dict(zip(cell.algorithms, cell.arguments["algorithm"], strict=True))


def run_cell(task: Task, problem: Any, network: Any) -> Outcome:
    """Run one cell and write its file, unless somebody has by now."""
    folder, key, cell = task
    if path_of(folder, key).exists():
        known = Store.__new__(Store)
        known.folder = Path(folder)
        summary, _ = known._read(key)
        if summary is not None:
            return Outcome(summary)
    began = time.perf_counter()
    try:
        with single_threaded(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # divergence, which the rows tell
            arguments = {**cell.arguments, "problem": problem, "network": network}
            traces = simulate(**arguments, progress=False)
        return Outcome(keep(folder, key, cell.names, cell.algorithms, traces, time.perf_counter() - began))
    except (OSError, MemoryError) as error:  # of this machine, not of the cell
        return Outcome(None, f"{type(error).__name__}: {error}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        try:
            return Outcome(keep_failure(folder, key, cell.names, _settings(cell), cell.arguments["replicates"], reason))
        except OSError as full:
            return Outcome(None, f"{reason}; and {type(full).__name__}: {full}")


Computing = Iterator[tuple[Task, Outcome]]


def _here(tasks: list[Task], identities: Identities) -> Computing:
    """In this process."""
    for task in tasks:
        yield task, run_cell(task, *(task.cell.arguments[name] for name in NOUNS))


def _light(task: Task) -> Task:
    """Without its problem and network."""
    arguments = {name: value for name, value in task.cell.arguments.items() if name not in NOUNS}
    return task._replace(cell=task.cell._replace(arguments=arguments))


def _local(workers: int) -> Callable[[list[Task], Identities], Computing]:
    """By local processes, which end with this one."""

    def compute(tasks: list[Task], identities: Identities) -> Computing:
        waiting, deaths = deque(tasks), dict.fromkeys((task.key for task in tasks), 0)
        with _handed_over(tasks, identities) as files:
            pools = [_Worker() for _ in range(min(workers, len(tasks)))]
            try:
                while waiting or any(pool.running for pool in pools):
                    for pool in pools:
                        while waiting and len(pool.running) < AHEAD:
                            pool.give(waiting.popleft(), files)
                    wait([future for pool in pools for future, _ in pool.running], return_when=FIRST_COMPLETED)
                    for pool in pools:
                        yield from pool.finished()
                        if pool.dead:  # its first cell was running, the others had not begun
                            (_, culprit), *others = pool.running
                            pool.begin_again()
                            waiting.extendleft(task for _, task in reversed(others))
                            deaths[culprit.key] += 1
                            if deaths[culprit.key] < DEATHS:
                                waiting.append(culprit)
                            else:
                                reason = f"its worker died {DEATHS} times: killed, or out of memory"
                                yield culprit, Outcome(None, reason)
            finally:
                for pool in pools:
                    pool.end()

    return compute


class _Worker:
    """One process, and the cells that it was given, in their order."""

    def __init__(self) -> None:
        self.running: deque[tuple[Future[Outcome], Task]] = deque()
        self.dead = False
        self._start()

    def _start(self) -> None:
        from loky import ProcessPoolExecutor

        self._pool = ProcessPoolExecutor(1, env=ONE_THREAD, initializer=_end_with, initargs=(os.getpid(),))

    def give(self, task: Task, files: dict[str, str]) -> None:
        from loky.process_executor import ShutdownExecutorError

        nouns = [files[_noun_key(task.cell.arguments[name])] for name in NOUNS]
        try:
            future = self._pool.submit(_from_files, _light(task), *nouns)
        except (RuntimeError, ShutdownExecutorError) as error:  # it has died meanwhile
            future = Future()
            future.set_exception(error)
        self.running.append((future, task))

    def finished(self) -> Computing:
        """The cells that it has done; `dead` where it did not survive one."""
        from concurrent.futures.process import BrokenProcessPool

        while self.running and self.running[0][0].done():
            future, task = self.running[0]
            error = future.exception()
            if isinstance(error, BrokenProcessPool | RuntimeError):
                self.dead = True
                return
            self.running.popleft()
            yield task, Outcome(None, f"{type(error).__name__}: {error}") if error else future.result()

    def begin_again(self) -> None:
        """Another process, with nothing to do."""
        self.end()
        self.running.clear()
        self.dead = False
        self._start()

    def end(self) -> None:
        """End the process, whatever it does."""
        self._pool.shutdown(wait=False, kill_workers=True)


def _end_with(parent: int) -> None:
    """Let this process end when its parent has, even by a kill."""
    import threading

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _noun_key(value: Any) -> str:
    return str(id(value))


@contextmanager
def _handed_over(tasks: list[Task], identities: Identities) -> Iterator[dict[str, str]]:
    """Files of the problems and networks of the tasks, each written once."""
    import cloudpickle

    with tempfile.TemporaryDirectory(prefix="simlab-sweep-") as folder:
        files: dict[str, str] = {}
        for task in tasks:
            for name in NOUNS:
                value = task.cell.arguments[name]
                if _noun_key(value) not in files:
                    content = hashlib.sha256(identities.noun(value).encode()).hexdigest()[:32]
                    path = Path(folder) / content
                    path.write_bytes(cloudpickle.dumps(value))
                    files[_noun_key(value)] = str(path)
        yield files


def _from_files(task: Task, problem: str, network: str) -> Outcome:
    return run_cell(task, _loaded(problem), _loaded(network))


@lru_cache(maxsize=8)
def _loaded(path: str) -> Any:
    import pickle

    return pickle.loads(Path(path).read_bytes())


def _dask(client: Any) -> Callable[[list[Task], Identities], Computing]:
    """By the workers of a Dask cluster."""

    def compute(tasks: list[Task], identities: Identities) -> Computing:
        import cloudpickle
        from distributed import as_completed

        nouns = {}
        for task in tasks:
            for name in NOUNS:
                value = task.cell.arguments[name]
                if id(value) not in nouns:  # not scattered: what a worker that dies held could not be had again
                    nouns[id(value)] = client.submit(cloudpickle.loads, cloudpickle.dumps(value), pure=False)
        futures = {}
        for task in tasks:
            given = (nouns[id(task.cell.arguments[name])] for name in NOUNS)
            futures[client.submit(run_cell, _light(task), *given, pure=False)] = task
        try:
            for future in as_completed(list(futures)):
                task = futures.pop(future)
                error = future.exception()
                if error is not None:
                    yield task, Outcome(None, f"{type(error).__name__}: {error}")
                elif future.result().summary is not None and not path_of(task.folder, task.key).exists():
                    yield task, Outcome(None, f"folder = {task.folder!r} is not the same folder on the workers")
                else:
                    yield task, future.result()
        finally:
            client.cancel(list(futures))

    return compute
