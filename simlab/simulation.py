"""The one verb: simulate(problem, network, algorithm, ...) -> Trace."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from simlab import checks
from simlab.cluster import Cluster
from simlab.engine.backends import backend
from simlab.network import AnyNetwork, Exchanges, NetworkProcess
from simlab.network.process import Walk, checked_walk
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.run.provenance import describe, environment, fingerprint
from simlab.run.runs import Runs, batches
from simlab.run.settings import (
    ENGINES,
    LARGEST,
    Settings,
    check_batch_size,
    check_cluster,
    check_nouns,
    check_record,
    dtype_name,
    hyperparameters,
    initial_state,
    label_each,
)
from simlab.step.streams import Draws, Stream
from simlab.trace import Trace

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CHUNK_SECONDS = 0.2  # between looks at divergence, progress and Ctrl-C
CHUNK_BYTES = 64 * 2**20  # draws and snapshots held at once
LINK_BYTES = 64  # of the exchanges of one node in one step, about


class SimulationInterrupted(KeyboardInterrupt):
    """Ctrl-C during `simulate`: what was recorded until then is in `traces`.

    Attributes
    ----------
    traces : list of Trace
        One for each algorithm; `provenance["steps"]` is the last recorded step, `provenance["interrupted"]` is True.
    """

    def __init__(self, traces: list[Trace], step: int) -> None:
        super().__init__(f"interrupted after step {step}; the traces so far are in the exception's `traces`")
        self.traces = traces


@checks.keywords
def simulate(
    problem: Problem,
    network: AnyNetwork,
    algorithm: Algorithm,
    *,
    steps: int,
    batch_size: int | None = None,
    noise_std: float = 0.0,
    replicates: int = 1,
    seed: int = 0,
    record_every: int = 1,
    record: Mapping[str, Callable[[np.ndarray], Any]] | None = None,
    cluster: Cluster | None = None,
    x0: Any = None,
    engine: str = "compiled",
    progress: bool | None = None,
    dtype: str = "float64",
) -> Any:
    """Run a decentralized algorithm on a problem over a network.

    Parameters
    ----------
    problem : Problem
        Local objectives; see `simlab.Quadratic`, `simlab.LeastSquares`, ...
    network : Network
        Mixing matrix over as many nodes.
    algorithm : NamedTuple with `init` and `step`, or a list of them
        The algorithm and its hyperparameters; a list runs on one sample path. Algorithms of a list that differ in
        numbers and schedules alone run as one batch, with the replicates: much faster than one call for each, with
        results that agree to rounding.
    steps : int
        Iterations, at least 0.
    batch_size : int, optional
        Samples a node draws each step, with replacement; None is the full batch.
    noise_std : float, default 0.0
        Standard deviation of Gaussian noise added to each coordinate of each gradient.
    replicates : int, default 1
        Independent runs.
    seed : int, default 0
        Same seed, same sample path: on any engine, thread count and number of replicates.
    record_every : int, default 1
        Metrics are recorded at steps 0, `record_every`, 2 `record_every`, ... and at the last one.
    record : mapping of str to function, optional
        Columns of your own: functions of all node states, an array (..., n, d), that return (...), such as
        ``{"worst": simlab.worst_node_error(problem)}``.
    cluster : Cluster, optional
        Machines whose time is modelled: adds the column `time`, in seconds.
    x0 : array (n, d) or (d,), optional
        Initial states; zeros if None.
    engine : {"compiled", "numpy", "cupy"}, default "compiled"
        Numba, or the step as it stands on NumPy arrays, or on CuPy's on a GPU.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.
    dtype : {"float64", "float32"}, default "float64"
        Precision of states and arithmetic; metrics are float64 always.

    Returns
    -------
    Trace or list of Trace
        A list for a list of algorithms.

    Raises
    ------
    TypeError, ValueError
        For input that cannot be run; the message names the argument, its value and the remedy.
    RuntimeError
        engine="cupy" without CuPy or a GPU.
    SimulationInterrupted
        On Ctrl-C; it carries the traces so far.

    Warns
    -----
    RuntimeWarning
        If a replicate diverges: it stops there, and its trace ends with the last record before.

    Examples
    --------
    >>> import simlab
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
    >>> trace = simlab.simulate(problem, simlab.topologies.grid(8), simlab.DecentLaM(lr=0.01), steps=200)
    >>> list(trace.frame.columns)[:4]
    ['algorithm', 'replicate', 'step', 'mse']
    """
    several = isinstance(algorithm, (list, tuple)) and not hasattr(algorithm, "_fields")
    algorithms = list(algorithm) if several else [algorithm]
    check_nouns(problem, network, algorithms)
    settings = Settings(
        steps=checks.integer("steps", steps, minimum=0),
        batch_size=check_batch_size(problem, batch_size),
        noise_std=checks.real("noise_std", noise_std, minimum=0.0),
        replicates=checks.integer("replicates", replicates, minimum=1),
        seed=checks.seed(seed),
        record_every=checks.integer("record_every", record_every, minimum=1),
        engine=checks.one_of("engine", engine, ENGINES),
        dtype=np.dtype(checks.one_of("dtype", dtype_name(dtype), LARGEST)),
        record=check_record(record),
        cluster=check_cluster(cluster),
    )
    start = initial_state(problem, x0, settings.dtype)
    tables = [hyperparameters(a, settings.steps) for a in algorithms]
    labels = label_each(algorithms)
    about = _provenance(problem, network, settings, start)
    groups = batches(algorithms, start, settings.engine)
    new_engine = backend(
        problem,
        network,
        settings.engine,
        dtype=settings.dtype,
        sampled=settings.batch_size is not None,
        noisy=settings.noise_std > 0,
        threads=max(1, THREADS // len(groups)),
    )
    runs = []
    for group in groups:
        mine = [(algorithms[k], labels[k], tables[k]) for k in group]
        runs.append(Runs(problem, network, mine, start, settings, new_engine))
    began = time.perf_counter()

    def traces() -> list[Trace]:
        seconds = time.perf_counter() - began
        found = [trace for run in runs for trace in run.traces({**about, "seconds": seconds})]
        return [found[k] for k in np.argsort([k for group in groups for k in group])]

    done = 0
    try:
        with _progress_bar(settings.steps, progress) as show:
            for done in _lockstep(runs, problem, settings):
                show(done)
    except KeyboardInterrupt:
        raise SimulationInterrupted([_cut_short(trace) for trace in traces()], done) from None
    finished = traces()
    return finished if several else finished[0]


@checks.keywords
def generated_source(
    problem: Problem, network: AnyNetwork, algorithm: Algorithm, *, sampled: bool = False, noisy: bool = False
) -> str:
    """The program that the compiled engine runs for this algorithm and problem.

    Parameters
    ----------
    problem, network, algorithm
        As for `simulate`.
    sampled, noisy : bool
        Whether gradients take mini-batches, whether noise is added to them.

    Returns
    -------
    str
        Python source; every loop is the one that Numba compiles.

    Raises
    ------
    TypeError, ValueError
        As `simlab.simulate` raises for the same problem, network and algorithm.
    """
    from simlab.engine.compiler.program import program

    check_nouns(problem, network, [algorithm])
    state = algorithm.init(np.zeros((network.n_nodes, problem.dim)))
    sampled, noisy = checks.flag("sampled", sampled), checks.flag("noisy", noisy)
    text = program(problem, algorithm, state, dtype=np.dtype(np.float64), sampled=sampled, noisy=noisy).text
    return "\n\n".join([text.source, *(part.source for part in text.parts)])


def _cut_short(trace: Trace) -> Trace:
    """`trace`, which says that it ends with its last record and not where it was asked to."""
    steps = int(trace.frame["step"].max())
    return replace(trace, provenance={**trace.provenance, "steps": steps, "interrupted": True})


def _lockstep(runs: list[Runs], problem: Problem, settings: Settings) -> Iterator[int]:
    """Advance all runs chunk by chunk on the same draws; yield the number of steps done."""
    streams = [Stream(settings.seed, r) for r in range(settings.replicates)]
    network = runs[0].network
    changes = isinstance(network, NetworkProcess)
    walks = [checked_walk(network, stream.network()) if changes else None for stream in streams]
    awake = network.awake if isinstance(network, NetworkProcess) else problem.n_nodes
    shape = (awake, problem.dim)
    compressions = max(run.graphs.compressions for run in runs)
    heard = max(run.graphs.heard for run in runs)
    step_bytes = settings.replicates * (
        (awake * settings.batch_size * 4 if settings.batch_size is not None else 0)
        + (np.prod(shape) * 8 if settings.noise_std > 0 else 0)
        + compressions * np.prod(shape) * 4
        + heard * np.prod(shape) * settings.dtype.itemsize
        + (awake * LINK_BYTES if isinstance(network, NetworkProcess) else 0)
        + sum(len(run.algorithms) for run in runs)
        * (problem.n_nodes * problem.dim * settings.dtype.itemsize / settings.record_every)
    )
    largest = max(1, int(CHUNK_BYTES // max(step_bytes, 1.0)))
    done, size, chunk = 0, 1, (0, math.inf)
    with ThreadPoolExecutor(THREADS) as pool:
        while done < settings.steps and any(run.active for run in runs):
            began = time.perf_counter()
            size = min(size, settings.steps - done)
            draw = partial(_draw, size=size, compressions=compressions, heard=heard, problem=problem, settings=settings)
            draws = _each(pool, draw, list(zip(streams, walks, strict=True)))
            jobs = [job for run in runs for job in run.plan(done, size, draws)]
            _each(pool, lambda job: job(), jobs)
            _each(pool, Runs.finish, runs)
            done += size
            for run in runs:
                while run.messages:
                    warnings.warn(run.messages.pop(0), RuntimeWarning, stacklevel=4)
            last, chunk = chunk, (size, time.perf_counter() - began)
            size = min(largest, next_size(chunk, last))
            yield done


def _each(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """`function` of every item; of many small ones several are one task, which alone would cost more than they do."""
    size = max(1, len(items) // (4 * THREADS))
    parts = [items[k : k + size] for k in range(0, len(items), size)]
    return [result for part in pool.map(lambda part: [function(item) for item in part], parts) for result in part]


def next_size(chunk: tuple[int, float], last: tuple[int, float]) -> int:
    """Steps of the next chunk, from the steps and seconds of the last two; chunks never change what is computed.

    They grow, at most 16-fold, towards half of CHUNK_SECONDS; and fourfold while the last growth did not even double
    the time: then most of it is the cost of a chunk, whatever its size, which longer chunks share.
    """
    size, seconds = chunk
    shared = size >= 4 * last[0] and seconds < 2 * last[1]
    room = CHUNK_SECONDS / 2 / max(seconds, 1e-9)
    growth = min(16.0, max(room, 4.0 if shared else 1.0))
    return int(size * growth) if growth >= 2 else size


def _draw(
    source: tuple[Stream, Walk | None],
    size: int,
    compressions: int,
    heard: int,
    problem: Problem,
    settings: Settings,
) -> Draws:
    (stream, walk), n, d, batch_size = source, problem.n_nodes, problem.dim, settings.batch_size
    seconds = None if settings.cluster is None else settings.cluster.seconds(stream.clock(), size, n)
    if walk is not None:
        links = walk(size)
        drawn = _draw_awake(stream, links, compressions, problem, settings)._replace(seconds=seconds)
        if links.noise is None:
            return drawn
        return drawn._replace(received=stream.received(links.noise[links.taken], heard, d, settings.dtype))
    return Draws(
        None if batch_size is None else stream.indices(size, n, batch_size, problem.sample_count),
        stream.noise(size, n, d, settings.noise_std, settings.dtype) if settings.noise_std > 0 else None,
        stream.dither(size, compressions, n, d) if compressions else None,
        seconds=seconds,
    )


def _draw_awake(stream: Stream, links: Exchanges, compressions: int, problem: Problem, settings: Settings) -> Draws:
    """The same for the nodes that are awake, step after step."""
    rows, d, batch_size = int(links.drawn[-1]), problem.dim, settings.batch_size
    return Draws(
        None if batch_size is None else stream.indices(1, rows, batch_size, problem.sample_count)[0],
        stream.noise(1, rows, d, settings.noise_std, settings.dtype)[0] if settings.noise_std > 0 else None,
        np.moveaxis(stream.dither(1, compressions, rows, d)[0], 0, 1) if compressions else None,
        links,
    )


def _provenance(problem: Problem, network: AnyNetwork, settings: Settings, start: np.ndarray) -> dict[str, Any]:
    return {
        "problem": {"repr": repr(problem), "data": fingerprint(problem.given)},
        "network": {
            "repr": repr(network),
            "data": fingerprint(network.given if isinstance(network, NetworkProcess) else network.weights),
        },
        "x0": fingerprint(start),
        **settings._asdict(),
        "cluster": None if settings.cluster is None else repr(settings.cluster),
        "dtype": settings.dtype.name,
        "record": {name: describe(function) for name, function in settings.record.items()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
    }


@contextmanager
def _progress_bar(steps: int, progress: bool | None) -> Iterator[Any]:
    """A function that shows how many steps are done: a bar on a terminal (or on request), else nothing."""
    import sys

    if progress is not None:
        checks.flag("progress", progress)
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compile", total=steps)  # where a program is new, that takes most of the first chunk
        yield lambda done: bar.update(task, completed=done, description="simulate")
