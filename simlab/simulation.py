"""The one verb: simulate(problem, network, algorithm, ...) -> Trace."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import Context, ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.arrays import one_thread_of_blas
from simlab.cluster import Cluster
from simlab.engine.backends import backend
from simlab.network import AnyNetwork, Exchanges, NetworkProcess
from simlab.network.process import Walk, checked_walk
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.run.checkpoint import Keeper, again, joined
from simlab.run.metrics import filled, pass_size
from simlab.run.progress import progress_bar as _progress_bar
from simlab.run.provenance import circumstances
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
from simlab.targets import Target
from simlab.trace import Trace

_limit: ContextVar[float] = ContextVar("limit", default=math.inf)
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CHUNK_SECONDS = 0.2  # between looks at divergence, progress and Ctrl-C
CHUNK_BYTES = 64 * 2**20  # draws and snapshots held at once
ONE_THREAD = 2**24  # numbers in a pass over the data up to which records have one thread of BLAS: more wait for cores
LINK_BYTES = 64  # of the exchanges of one node in one step, about


class SimulationInterrupted(KeyboardInterrupt):
    """Ctrl-C during `simulate`: what was recorded until then is in `traces`, and `simlab.resume` goes on from there.

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
    stop_when: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 60.0,
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
    stop_when : str, optional
        A target of any recorded column, such as ``"loss <= 0.3"`` or ``"accuracy >= 0.9"``. An algorithm stops at the
        first recorded step by which each of its replicates has come to it once (those that diverged are not waited
        for); `Trace.stopped` is then the target.
    checkpoint : path, optional
        A file to which the traces are written as they are, every so often and at the end. If it is there already, from
        the same call, the run goes on from it, bit for bit: a job that was killed is simply started again.
    every : float, default 60.0
        Seconds between two checkpoints.

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
        If a replicate diverges: it stops there, and its trace ends with the last record before. If a checkpoint cannot
        be written: the run goes on without.

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
        stop_when=None if stop_when is None else Target.parse("stop_when", stop_when),
    )
    start = initial_state(problem, x0, settings.dtype)
    call = Call(problem, network, algorithms, label_each(algorithms), start, settings)
    keeper = Keeper(checkpoint, checks.real("every", every, minimum=0.0))
    traces = call.run(earlier=keeper.found(*call), keeper=keeper, progress=progress)
    return traces if several else traces[0]


@checks.keywords
def resume(
    trace: Trace,
    *,
    steps: int | None = None,
    replicates: int | None = None,
    problem: Problem | None = None,
    network: AnyNetwork | None = None,
    algorithm: Algorithm | None = None,
    record: Mapping[str, Callable[[np.ndarray], Any]] | None = None,
    cluster: Cluster | None = None,
    progress: bool | None = None,
    stop_when: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 60.0,
) -> Any:
    """Go on with a run, bit for bit as if it had not ended: to more steps, more replicates, or both.

    Parameters
    ----------
    trace : Trace, or list of them
        What `simulate` returned, or what was loaded; those of a list go on together, as they ran.
    steps : int, optional
        Steps in all, those of the trace among them; unless given, as many as were asked for.
    replicates : int, optional
        Replicates in all; unless given, those of the trace.
    problem, network, algorithm, record, cluster
        Those of the run, where the trace was loaded: files describe them, and they are checked against what is said
        there. For a list of traces a list of algorithms.
    progress, stop_when, checkpoint, every
        As of `simulate`. A run that stopped at a target goes on beyond it.

    Returns
    -------
    Trace or list of Trace
        Its provenance lists in `resumed` the steps from which it went on.

    Raises
    ------
    TypeError, ValueError
        For what cannot be gone on with; the message says why and what can.
    SimulationInterrupted
        On Ctrl-C.

    Notes
    -----
    Random numbers go on from where their streams were; a network that changes is walked anew from its first step, which
    costs a part of what these steps did. Where more replicates would share other matrix products (engine "numpy", or
    runs side by side), which round otherwise, all are run from the start.

    Examples
    --------
    >>> import simlab
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
    >>> half = simlab.simulate(problem, simlab.topologies.grid(8), simlab.DecentLaM(lr=0.01), steps=100)
    >>> whole = simlab.simulate(problem, simlab.topologies.grid(8), simlab.DecentLaM(lr=0.01), steps=200)
    >>> bool((simlab.resume(half, steps=200).x == whole.x).all())
    True
    """
    several = isinstance(trace, list | tuple)
    traces = checks.each(
        "trace", trace if several else [trace], Trace, "what simlab.simulate returned, or a list of it"
    )
    if not traces:
        raise ValueError("trace = [] holds no trace; pass what simlab.simulate returned")
    given = {"problem": problem, "network": network, "algorithm": algorithm, "record": record, "cluster": cluster}
    call = Call(*again(traces, {name: value for name, value in given.items() if value is not None}, several))
    position = traces[0].position
    assert position is not None
    asked = position.steps if steps is None else checks.integer("steps", steps, minimum=position.step)
    old = call.settings.replicates
    number = old if replicates is None else checks.integer("replicates", replicates, minimum=old)
    target = None if stop_when is None else Target.parse("stop_when", stop_when)
    if target is not None and number > old:
        raise ValueError(
            f"stop_when = {stop_when!r} and replicates = {number} at once: when to stop depends on all replicates; add "
            "replicates first, then stop"
        )
    keeper = Keeper(checkpoint, checks.real("every", every, minimum=0.0))
    whole = call.asked(steps=asked, replicates=number, stop_when=target)
    if number > old and whole.forms() != [each.position.form for each in traces if each.position]:
        found = whole.run(keeper=keeper, progress=progress)
    else:
        longer = call.asked(steps=asked, stop_when=target)
        found = longer.run(earlier=list(traces), keeper=keeper, progress=progress)
        if number > old:
            forms = [each.position.form for each in traces if each.position]
            added = call.asked(steps=asked, replicates=number - old).run(first=old, forms=forms, progress=progress)
            found = [joined(one, two) for one, two in zip(found, added, strict=True)]
            keeper.write(found)
    return found if several else found[0]


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
    pending, sources = list(text.parts), [text.source]
    for part in pending:
        sources.append(part.source)
        pending += part.parts
    return "\n\n".join(sources)


class Call(NamedTuple):
    """What is simulated, checked: the nouns, their names, the start (n, d), and all else."""

    problem: Problem
    network: AnyNetwork
    algorithms: list[Any]
    labels: list[str]
    start: np.ndarray
    settings: Settings

    def asked(self, **changes: Any) -> Call:
        """The same with other settings."""
        return self._replace(settings=self.settings._replace(**changes))

    def forms(self) -> list[Any]:
        """Of each algorithm how its runs are advanced, see `Engine`."""
        runs, groups = self._runs(list(range(len(self.algorithms))))
        form = {k: run.engine.form for run, group in zip(runs, groups, strict=True) for k in group}
        return [form[k] for k in range(len(self.algorithms))]

    def run(
        self,
        *,
        earlier: list[Trace] | None = None,
        first: int = 0,
        forms: list[Any] | None = None,
        keeper: Keeper | None = None,
        progress: bool | None = None,
    ) -> list[Trace]:
        """A trace for each algorithm.

        Parameters
        ----------
        earlier : list of Trace, optional
            From which to go on, one an algorithm.
        first : int
            The number of the first replicate.
        forms : list, optional
            How the runs of each algorithm are advanced; as those of `earlier`, or as is fastest, unless given.
        keeper : Keeper, optional
            Of the checkpoint.
        progress : bool, optional
            As of `simulate`.
        """
        found: dict[int, Trace] = {}
        if earlier is not None:
            forms = [trace.position and trace.position.form for trace in earlier]
            found = {k: self._attached(k, trace) for k, trace in enumerate(earlier) if self._finished(trace)}
        left = [k for k in range(len(self.algorithms)) if k not in found]
        if not left:
            return [found[k] for k in range(len(self.algorithms))]
        began, done = time.perf_counter(), 0
        runs, groups = self._runs(left, earlier, first, forms)
        streams = [Stream(self.settings.seed, first + r) for r in range(self.settings.replicates)]
        about: dict[str, Any] = circumstances(self.problem, self.network, self.settings, self.start)
        seconds = 0.0
        if earlier is not None:
            done = _one_step([earlier[k] for k in left])
            about["resumed"] = [*earlier[left[0]].provenance.get("resumed", []), done]
            seconds = earlier[left[0]].provenance["seconds"]
            for stream, position in zip(streams, earlier[left[0]].position.streams, strict=True):  # type: ignore[union-attr]
                stream.restore(position)

        def traces(*, whole: bool = True) -> list[Trace]:
            now = {**about, "seconds": seconds + time.perf_counter() - began}
            for run, group in zip(runs, groups, strict=True):
                for k, trace in zip(group, run.traces(now), strict=True):
                    found[k] = trace if whole else _cut_short(trace)
            return [found[k] for k in range(len(self.algorithms))]

        try:
            with _progress_bar(self.settings.steps, progress) as show:
                for done in _lockstep(runs, self.problem, self.settings, streams):
                    show(done)
                    if keeper is not None and keeper.due():
                        keeper.write(traces(whole=False))
        except KeyboardInterrupt:
            cut = traces(whole=False)
            if keeper is not None:
                keeper.write(cut)
            raise SimulationInterrupted(cut, done) from None
        finished = traces()
        if keeper is not None:
            keeper.write(finished)
        return finished

    def _runs(
        self, chosen: list[int], earlier: list[Trace] | None = None, first: int = 0, forms: list[Any] | None = None
    ) -> tuple[list[Runs], list[list[int]]]:
        """The chosen algorithms in batches, and the numbers of those in each."""
        settings = self.settings
        tables = {k: hyperparameters(self.algorithms[k], settings.steps) for k in chosen}
        batched = batches([self.algorithms[k] for k in chosen], self.start, settings.engine)
        groups = [[chosen[place] for place in batch] for batch in batched]
        new_engine = backend(
            self.problem,
            self.network,
            settings.engine,
            dtype=settings.dtype,
            sampled=settings.batch_size is not None,
            noisy=settings.noise_std > 0,
            threads=max(1, threads() // len(groups)),
        )
        runs = []
        for group in groups:
            mine = [(self.algorithms[k], self.labels[k], tables[k]) for k in group]
            about: dict[str, Any] = {
                "first": first,
                "form": None if forms is None else forms[group[0]],
                "earlier": None if earlier is None else [earlier[k] for k in group],
            }
            runs.append(Runs(self.problem, self.network, mine, self.start, settings, new_engine, **about))
        return runs, groups

    def _finished(self, trace: Trace) -> bool:
        """Whether nothing is left to do of an earlier trace."""
        assert trace.position is not None
        target = self.settings.stop_when
        return trace.position.step == self.settings.steps or (target is not None and trace.stopped == str(target))

    def _attached(self, k: int, trace: Trace) -> Trace:
        """`trace` of algorithm k with the objects that a file does not hold."""
        return replace(
            trace, problem=self.problem, network=self.network, algorithm=self.algorithms[k], settings=self.settings
        )


def _one_step(traces: list[Trace]) -> int:
    """The step at which all traces of a list go on."""
    steps = {trace.provenance["label"]: trace.position.step for trace in traces if trace.position is not None}
    if len(set(steps.values())) > 1:
        listed = ", ".join(f"{label} at step {step}" for label, step in steps.items())
        raise ValueError(f"trace holds runs that ended at different steps ({listed}); resume them one by one")
    return next(iter(steps.values()))


def threads() -> int:
    """Among which the work of a call is shared."""
    return int(min(THREADS, _limit.get()))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within it calls have one thread, and BLAS has one, so that results do not depend on how many there are."""
    token = _limit.set(1)
    try:
        with one_thread_of_blas():
            yield
    finally:
        _limit.reset(token)


def _cut_short(trace: Trace) -> Trace:
    """`trace`, which says that it ends with its last record and not where it was asked to."""
    steps = int(trace.frame["step"].max())
    return replace(trace, provenance={**trace.provenance, "steps": steps, "interrupted": True})


def _lockstep(runs: list[Runs], problem: Problem, settings: Settings, streams: list[Stream]) -> Iterator[int]:
    """Advance all runs, chunk by chunk, on the same draws; yield the number of steps done."""
    network, done = runs[0].network, runs[0].done
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
    small = pass_size(problem) <= ONE_THREAD
    largest = max(1, int(CHUNK_BYTES // max(step_bytes, 1.0)))
    size, chunk = 1, (0, math.inf)
    with ThreadPoolExecutor(threads()) as pool:
        if changes:  # a walk has no position but its steps
            _each(pool, lambda walk: _skip(walk, done, largest), walks)
        while done < settings.steps and any(run.active for run in runs):
            began = time.perf_counter()
            size = min(size, settings.steps - done)
            draw = partial(_draw, size=size, compressions=compressions, heard=heard, problem=problem, settings=settings)
            draws = _each(pool, draw, list(zip(streams, walks, strict=True)))
            places = [stream.position() for stream in streams]
            jobs = [job for run in runs for job in run.plan(done, size, draws, places)]
            _each(pool, lambda job: job(), jobs)
            stepped = time.perf_counter()
            records = (done + size) // settings.record_every - done // settings.record_every
            points = records * max(len(run.active) for run in runs)
            with one_thread_of_blas() if small else nullcontext():
                list(pool.map(Runs.finish, runs))  # not in this thread, where Ctrl-C would leave it half done
            done += size
            for run in runs:
                while run.messages:
                    warnings.warn(run.messages.pop(0), RuntimeWarning, stacklevel=5)
            # Longer chunks share what is measured in vain.
            seconds = stepped - began + filled(problem, points) * (time.perf_counter() - stepped)
            last, chunk = chunk, (size, seconds)
            size = min(largest, next_size(chunk, last))
            yield done


def _skip(walk: Walk, steps: int, at_once: int) -> None:
    """Walk so many steps, and forget them."""
    for first in range(0, steps, at_once):
        walk(min(at_once, steps - first))


def _each(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """`function` of every item; of many small ones several are one task, which alone would cost more than they do.

    A single one is done here, in a context as empty as that of a thread.
    """
    if len(items) == 1:
        return [Context().run(function, items[0])]
    size = max(1, len(items) // (4 * threads()))
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
    samples: Any = None if batch_size is None else problem.sample_count
    if isinstance(samples, np.ndarray):
        samples = samples[links.nodes]
    return Draws(
        None if batch_size is None else stream.indices(1, rows, batch_size, samples)[0],
        stream.noise(1, rows, d, settings.noise_std, settings.dtype)[0] if settings.noise_std > 0 else None,
        np.moveaxis(stream.dither(1, compressions, rows, d)[0], 0, 1) if compressions else None,
        links,
    )
