"""Settings of one algorithm, in replicates: their states, what is recorded of them, and where they diverge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.citation import references
from simlab.network import AnyNetwork, NetworkProcess
from simlab.operations import sample_table
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.run.clock import Clock
from simlab.run.code import code
from simlab.run.metrics import RESERVED, Traffic, measure, recorded
from simlab.run.provenance import describe
from simlab.run.settings import LARGEST, Settings, same
from simlab.step.graph import REPLICAS, ForeignNounError, Steps, is_algorithm, is_shared, numeric_fields, step_graphs
from simlab.step.streams import Draws
from simlab.trace import Position, Trace

SHOWN = 3  # settings that one warning names
LARGEST_TABLE = 2**33  # bytes of the gradients of all samples in all runs
KEPT = 2**22  # numbers in x up to which a chunk's start is kept, to go back to


class Start(NamedTuple):
    """What there was after so many steps; `state` is None where it is not kept."""

    done: int
    active: list[int]
    state: Any
    sent: np.ndarray
    spent: np.ndarray
    clock: np.ndarray | None
    streams: list[dict[str, list[int]]]


def _finite(x: np.ndarray) -> np.ndarray:
    """Which of the states (..., n, d) are."""
    return np.isfinite(x).all(axis=(-2, -1))


class Runs:
    """Settings of one algorithm, each in R replicates, advanced as one batch: run s R + r is replicate r of setting s.

    Parameters
    ----------
    problem, network : Problem, Network
        What is simulated.
    algorithms : list of (algorithm, label, table)
        Algorithms that differ in numeric hyperparameters alone, their names in traces and messages, and these
        hyperparameters at every step, (steps, H).
    start : array (n, d)
        Initial states.
    settings : Settings
    new_engine : function
        Makes an engine from an algorithm, its graph, states and form, see `backends.backend`.
    first : int
        The number of the first replicate.
    form
        That of the engine; None for what is fastest.
    earlier : list of Trace, optional
        One a setting, from whose positions the runs go on.
    """

    def __init__(
        self,
        problem: Problem,
        network: AnyNetwork,
        algorithms: list[tuple[Any, str, np.ndarray]],
        start: np.ndarray,
        settings: Settings,
        new_engine: Callable[[Any, Steps, Any, Any], Any],
        *,
        first: int = 0,
        form: Any = None,
        earlier: list[Trace] | None = None,
    ) -> None:
        self.problem, self.network, self.settings, self.first = problem, network, settings, first
        self.algorithms = [algorithm for algorithm, _, _ in algorithms]
        self.labels = [label for _, label, _ in algorithms]
        self.hyper = [table for _, _, table in algorithms]
        self.x0 = start
        algorithm, runs = algorithms[0][0], len(algorithms) * settings.replicates
        state = first_state(algorithm, np.broadcast_to(start, (runs, *start.shape)))
        if settings.batch_size is not None:
            state = with_tables(state, algorithm, problem, settings.dtype)
        self.state = type(state)(*(np.array(field, dtype=settings.dtype, order="C") for field in state))
        self.graphs = traced(problem, network, algorithm, self.state, settings)
        self.traffic = Traffic(self.graphs, network, problem.dim, 8 * settings.dtype.itemsize)
        self.clock = self._new_clock()
        self.sent = np.zeros((runs, 2), np.int64)  # by compressed messages, counted once and once a receiver
        self.spent = np.zeros((runs, 3), np.int64)  # on a network that changes, see `Traffic`
        self.last: dict[int, np.ndarray] = {}  # states of the runs that have ended
        self.active = list(range(runs))
        self.done = 0
        self.streams: list[dict[str, list[int]]] = [{}] * settings.replicates  # where they are at that step
        self.diverged: dict[int, int] = {}
        self.met: dict[int, int] = {}  # the step at which a run had come to the target
        self.stopped: dict[int, Position | None] = {}  # where settings go on that have come to it
        self.messages: list[str] = []  # warnings for the caller's thread to give
        self.records: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
        self.earlier = earlier or []
        if earlier:
            self._go_on(earlier)
        self.new_engine = new_engine
        self.engine = self.new_engine(self.algorithms[0], self.graphs, self.state, form)
        self._pending: Any = None  # the chunk that is planned and not finished
        if not earlier:
            nothing = np.zeros((runs, 1, 3), np.int64)
            all_usable = np.ones((runs, 1), bool)
            begin = self._start()
            self._record(
                np.array([0]),
                self.state[0][:, None],
                self.sent[:, None],
                nothing,
                np.zeros((runs, 1)),
                all_usable,
                begin,
            )
            self._drop_ended()

    def _go_on(self, earlier: list[Trace]) -> None:
        """Take over what there was at the positions of these traces."""
        positions = [trace.position for trace in earlier if trace.position is not None]
        self.done, r = positions[0].step, self.settings.replicates
        self.streams = positions[0].streams
        for s, trace in enumerate(earlier):
            self.diverged.update({s * r + int(k) - self.first: step for k, step in trace.diverged.items()})
            self.last.update({run: trace.x[run % r] for run in self.diverged if run // r == s})
            if self.settings.stop_when is not None:
                table = trace.frame[trace.frame["step"] <= self.done]
                met = table[self._met(table.drop(columns=["algorithm", "replicate", "step"]))]
                first_met = met.drop_duplicates("replicate")
                for k, step in zip(first_met["replicate"], first_met["step"], strict=True):
                    self.met[s * r + int(k) - self.first] = int(step)
            mine = [run for run in range(s * r, (s + 1) * r) if run not in self.diverged]
            if mine and self.met.keys() >= set(mine):
                raise ValueError(
                    f"stop_when = {str(self.settings.stop_when)!r} is met already, at step "
                    f"{max(self.met[run] for run in mine)} of {self.labels[s]}; choose another target, or leave it out"
                )
        self.active = [run for run in self.active if run not in self.diverged]
        whole = (np.concatenate([p.state[f] for p in positions]) for f in type(self.state)._fields)
        self.state = type(self.state)(*(np.ascontiguousarray(field[self.active]) for field in whole))
        self.sent, self.spent = (np.concatenate([getattr(p, n) for p in positions]) for n in ("sent", "spent"))
        if self.clock is not None and positions[0].clock is not None:
            self.clock.at = positions[0].clock.copy()

    def _new_clock(self) -> Clock | None:
        cluster = self.settings.cluster
        if cluster is None or getattr(self.network, "keeps_time", False):
            return None
        return Clock(
            cluster, self.graphs, self.network, self.problem.dim, 8 * self.settings.dtype.itemsize,
            self.settings.replicates,
        )  # fmt: skip

    def plan(
        self, done: int, size: int, draws: list[Draws], streams: list[dict[str, list[int]]]
    ) -> list[Callable[[], Any]]:
        """The jobs of `size` steps after `done`; of the replicates the draws, and where the streams are after these."""
        if not self.active:
            return []
        # Kept to find where a run diverges, and for Ctrl-C; of a large network that has to do, whatever else is run.
        small = self.settings.replicates * max(field[0].size for field in self.state) <= KEPT
        start = self._start(kept=small or self.settings.stop_when is not None)
        tables = [table[done : done + size] for table in self.hyper]
        mine = [tables[run // self.settings.replicates] for run in self.active]
        drawn = [draws[run % self.settings.replicates] for run in self.active]
        plan = self.engine.plan(self.state, mine, drawn, done, self.settings.record_every)
        times = None if self.clock is None else self.clock.ahead(draws, done)
        self._pending = plan, start, mine, drawn, size, streams, times
        return plan.jobs

    def _start(self, *, kept: bool = True) -> Start:
        """What there is now, to be gone back to: copies."""
        state = type(self.state)(*(field.copy() for field in self.state)) if kept else None
        clock = None if self.clock is None else self.clock.at.copy()
        return Start(self.done, self.active, state, self.sent.copy(), self.spent.copy(), clock, self.streams)

    def finish(self) -> None:
        """Record what the jobs of the last `plan` did, and drop the runs that have ended."""
        if not self.active:
            return
        (plan, start, tables, draws, size, streams, times), self._pending = self._pending, None
        done, every = start.done, self.settings.record_every
        self.state, snapshots, sent, total = plan.outcome()
        self.done, self.streams = done + size, streams
        sent = sent + self.sent[self.active, None]
        self.sent[self.active] += total.sum(axis=1)
        steps = np.arange(done // every + 1, (done + size) // every + 1) * every
        if done + size == self.settings.steps and self.settings.steps % every:
            steps = np.append(steps, self.settings.steps)
            snapshots = np.concatenate([snapshots, self.state[0][:, None]], axis=1)
            sent = np.concatenate([sent, self.sent[self.active, None]], axis=1)
        finished = None
        if self.clock is not None:
            finished, self.clock.at = times
        costs, times = self._costs(steps, draws, done, size, finished)
        usable = self._in_range(snapshots)
        for k in np.flatnonzero(~usable.all(axis=1) | ~_finite(self.state[0])).tolist():
            out = np.flatnonzero(~usable[k])
            first = None if not len(out) else (int(steps[out[0]]), bool(_finite(snapshots[k, out[0]])))
            run = self.active[k]
            self.diverged[run], self.last[run] = self._left(k, start, tables[k], draws[k], size, first)
            usable[k] = steps < self.diverged[run]
        self._record(steps, snapshots, sent, costs, times, usable, start)
        lost = [run for run in self.active if run in self.diverged]
        if lost:
            self.messages.append(self._message(lost))
        self._drop_ended()

    def _drop_ended(self) -> None:
        kept = [k for k, run in enumerate(self.active) if run not in self.last]
        if len(kept) < len(self.active):
            self.active = [self.active[k] for k in kept]
            self.state = type(self.state)(*(field[kept] for field in self.state))
            if kept and not self.engine.suits(len(kept)):
                self.engine = self.new_engine(self.algorithms[0], self.graphs, self.state, self.engine.form)

    def _costs(
        self, steps: np.ndarray, draws: list[Draws], done: int, size: int, finished: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of each active run what its steps have cost, (A, S, 3), and the time, (A, S): the network's own, or that at
        which the cluster has `finished` each step.
        """
        shape = len(self.active), len(steps)
        times = np.zeros(shape)
        if finished is not None:
            replicates = np.array([run % self.settings.replicates for run in self.active])
            times = finished[replicates[:, None], steps - done - 1]
        if draws[0].links is None:
            return np.broadcast_to(self.traffic.after(steps), (*shape, 3)), times
        costs = np.empty((*shape, 3), np.int64)
        for k, (run, mine) in enumerate(zip(self.active, draws, strict=True)):
            assert mine.links is not None
            each = self.spent[run] + np.cumsum(self.traffic.each(mine.links, done), axis=0)
            costs[k] = each[steps - done - 1]
            if mine.links.times is not None:
                times[k] = mine.links.times[steps - done - 1]
            self.spent[run] = each[size - 1]
        return costs, times

    def _in_range(self, x: np.ndarray) -> np.ndarray:
        """Which of the states (..., n, d) are; none with NaN."""
        limit, lead = LARGEST[self.settings.dtype.name], x.shape[:-2]
        if not x.size or (x.max() <= limit and -x.min() <= limit):
            return np.ones(lead, bool)
        return np.maximum(x.max(axis=(-2, -1)), -x.min(axis=(-2, -1))) <= limit

    def _left(
        self, k: int, start: Start, table: np.ndarray, draws: Draws, size: int, first: tuple[int, bool] | None
    ) -> tuple[int, np.ndarray]:
        """The step at which active run k diverged, and its states before: that at which it is not finite, or, if that
        is earlier, the first recorded one out of range. Both are the same however steps are cut into chunks, which the
        first step out of range would not be: a run may come back from there, from what is not finite it never does.

        `first` is the first recorded step of the chunk that is out of range, and whether it is finite. The other is
        found by bisection on replays; where the chunk's start is not kept, it counts as the next recorded one.
        """
        step, finite = (start.done + size, False) if first is None else first
        if start.state is None:
            every = self.settings.record_every
            return min(-(-step // every) * every, self.settings.steps), self.state[0][k].copy()
        good, bad = 0, step - start.done
        state = type(start.state)(*(field[k : k + 1] for field in start.state))
        while bad - good > 1:
            middle = bad - 1 if finite else (good + bad) // 2
            copy = type(state)(*(field.copy() for field in state))
            part, never = draws.part(good, middle), start.done + size + 1  # recorded
            then = self.engine.plan(copy, [table[good:middle]], [part], start.done + good, never).run().state
            if _finite(then[0])[0]:
                good, state = middle, then
            else:
                bad = middle
        return start.done + bad, state[0][0]

    def _message(self, lost: list[int]) -> str:
        """The warning that these runs diverged."""
        settings: dict[int, list[int]] = {}
        for run in lost:
            settings.setdefault(run // self.settings.replicates, []).append(run)
        parts = []
        for setting, runs in list(settings.items())[:SHOWN]:
            at = [self.diverged[run] for run in runs]
            first, last = min(at), max(at)
            when = f"at step {first}" if first == last else f"at steps {first} to {last}"
            replicates = (
                f"replicate {self.first + runs[0] % self.settings.replicates}"
                if len(runs) == 1
                else f"{len(runs)} replicates"
            )
            parts.append(f"{self.labels[setting]} diverged {when} ({replicates})")
        more = f" and {len(settings) - SHOWN} more settings" if len(settings) > SHOWN else ""
        ends = "its trace ends" if len(lost) == 1 else "their traces end"
        return f"{', '.join(parts)}{more}; {ends} before. {self._remedy()}"

    def _remedy(self) -> str:
        """What to do about a divergence."""
        hyper = self.graphs.first.hyper
        smaller = " or ".join(f"a smaller {name}" for name in ("lr", "consensus_lr") if name in hyper)
        if "lr" not in hyper or self.graphs.compressions:
            return f"Use {smaller or 'smaller steps'}"
        if self.settings.batch_size is not None:
            return f"Use {smaller}, or ask theory.predict(..., batch_size=...) whether the mini-batches are stable"
        return f"Use {smaller}, or ask theory.stability_limit for the largest stable one"

    def _record(
        self,
        steps: np.ndarray,
        snapshots: np.ndarray,
        sent: np.ndarray,
        costs: np.ndarray,
        times: np.ndarray,
        usable: np.ndarray,
        start: Start,
    ) -> None:
        """Measure the active runs at `steps`, where they are `usable` (A, S), and end those that are at the target."""
        if not usable.any():
            return
        of = (lambda a: a) if usable.all() else (lambda a: a[usable])  # as it is, without a copy
        metrics = measure(self.problem, of(snapshots))
        metrics["payload_bits"], metrics["bits"] = (of(costs[..., c] + sent[..., c]) for c in range(2))
        metrics["gradients"] = of(costs[..., 2])
        if self.clock is not None or getattr(self.network, "keeps_time", False):
            metrics["time"] = of(times)
        taken = self.settings.record.keys() & {*RESERVED, *metrics}
        if taken:
            raise ValueError(f"record has the name {min(taken)!r}, which is a column already; choose another one")
        metrics.update(recorded(self.settings.record, of(snapshots)))
        rows = {name: np.reshape(value, -1) for name, value in metrics.items()}
        who, when = np.repeat(self.active, len(steps)), np.tile(steps, len(self.active))
        who, when = who[usable.reshape(-1)], when[usable.reshape(-1)]
        if self.settings.stop_when is not None:
            shown = self._stop_at_target(steps, snapshots, who, when, rows, start)
            who, when, rows = who[shown], when[shown], {name: value[shown] for name, value in rows.items()}
        self.records.append((who, when, rows))

    def _stop_at_target(
        self,
        steps: np.ndarray,
        snapshots: np.ndarray,
        who: np.ndarray,
        when: np.ndarray,
        rows: dict[str, np.ndarray],
        start: Start,
    ) -> np.ndarray:
        """Stop every setting at the first step by which all its replicates have come to the target, but for those that
        have diverged; which of the rows are not after that.
        """
        met = self._met(rows)
        for run, step in zip(who[met], when[met], strict=True):
            self.met.setdefault(int(run), int(step))
        shown = np.ones(len(who), bool)
        settings = np.array(self.active) // self.settings.replicates
        for setting in np.unique(settings):
            mine = np.array(self.active)[settings == setting].tolist()
            by = max(self.met.get(run, self.diverged.get(run, math.inf)) for run in mine)
            if by > steps[-1]:
                continue
            k = int(np.searchsorted(steps, by))
            left = [run for run in mine if self.diverged.get(run, math.inf) > steps[k]]
            if not left:
                continue
            self.stopped[int(setting)] = self._position(int(setting), start)
            for run in left:
                self.diverged.pop(run, None)  # later, in the steps that count no more
                self.last[run] = snapshots[self.active.index(run), k].copy()
            shown &= ~((who // self.settings.replicates == setting) & (when > steps[k]))
        return shown

    def _met(self, columns: Any) -> np.ndarray:
        """Which rows of the columns are at the target."""
        target = self.settings.stop_when
        assert target is not None
        checks.one_of("stop_when's column", target.column, columns)
        return target.met(np.asarray(columns[target.column]))

    def _position(self, setting: int, start: Start) -> Position | None:
        """Where a setting goes on from `start`."""
        if start.state is None:
            return None
        r = self.settings.replicates
        mine = slice(setting * r, (setting + 1) * r)
        rows = [k for k, run in enumerate(start.active) if run // r == setting]
        there = [start.active[k] % r for k in rows]
        state = {}
        for name, field in zip(start.state._fields, start.state, strict=True):
            state[name] = np.zeros((r, *field.shape[1:]), field.dtype)
            state[name][there] = field[rows]
        counts = start.sent[mine].copy(), start.spent[mine].copy()
        return Position(start.done, self.settings.steps, self.engine.form, state, *counts, start.clock, start.streams)

    def _tables(self) -> list[Any]:
        """What was recorded so far of each setting: a row a replicate and step, in this order."""
        import pandas as pd

        r, parts = self.settings.replicates, self.records.copy()
        for setting, trace in enumerate(self.earlier):
            assert trace.position is not None
            step = trace.frame["step"]
            asked = (step % self.settings.record_every == 0) | (step == self.settings.steps)
            before = {
                str(name): column.to_numpy()
                for name, column in trace.frame[(step <= trace.position.step) & asked].items()
            }
            who = before.pop("replicate") - self.first + setting * r
            del before["algorithm"]
            parts.append((who, before.pop("step"), before))
        who, when = (np.concatenate([part[k] for part in parts]) for k in range(2))
        rows = {name: np.concatenate([part[2][name] for part in parts]) for name in parts[0][2]}
        order = np.lexsort((when, who))
        bounds = np.searchsorted(who, r * np.arange(len(self.labels) + 1), sorter=order)
        found = []
        for setting, label in enumerate(self.labels):
            mine = order[bounds[setting] : bounds[setting + 1]]
            about = {"algorithm": label, "replicate": who[mine] - setting * r + self.first, "step": when[mine]}
            found.append(pd.DataFrame(about | {name: values[mine] for name, values in rows.items()}))
        return found

    def traces(self, about: dict[str, Any]) -> list[Trace]:
        """What was recorded so far, a trace for each setting."""
        r, tables = self.settings.replicates, self._tables()
        # Of an interrupted chunk some runs have taken steps, in place, and others have not: all go back to its start.
        now = self._start(kept=False)._replace(state=self.state) if self._pending is None else self._pending[1]
        x = np.empty((len(self.algorithms) * r, *self.state[0].shape[1:]), self.settings.dtype)
        x[self.active] = self.state[0] if now.state is None else now.state[0]
        for run, last in self.last.items():
            x[run] = last
        found = []
        for setting, (algorithm, label) in enumerate(zip(self.algorithms, self.labels, strict=True)):
            mine = range(setting * r, (setting + 1) * r)
            table = tables[setting]
            provenance = {
                "label": label,
                "algorithm": describe(algorithm),
                "code": code(type(algorithm)),
                "references": [*references(algorithm), *references(self.network)],
                "diverged": {str(run - mine[0] + self.first): at for run, at in self.diverged.items() if run in mine},
                **about,
            }
            if setting in self.stopped:
                provenance |= {"stopped": provenance["stop_when"], "steps": int(table["step"].max())}
            position = self.stopped[setting] if setting in self.stopped else self._position(setting, now)
            nouns = self.problem, self.network, algorithm
            found.append(
                Trace(x[mine.start : mine.stop].copy(), table, provenance, self.x0, *nouns, position, self.settings)
            )
        return found


def batches(algorithms: Sequence[Any], start: np.ndarray, engine: str) -> list[list[int]]:
    """Positions of the algorithms that run as one batch: equal but for numeric hyperparameters, in one traceable
    step.
    """
    groups: list[list[int]] = []

    @cache
    def takes_more(first: int) -> bool:  # steps that are the same are traceable alike
        return engine == "compiled" or traceable(algorithms[first], start)

    for k, algorithm in enumerate(algorithms):
        alike = [g for g in groups if same_step(algorithms[g[0]], algorithm)]
        if alike and takes_more(alike[0][0]):
            alike[0].append(k)
        else:
            groups.append([k])
    return groups


def same_step(a: Any, b: Any) -> bool:
    """Whether two algorithms differ in numeric hyperparameters alone."""
    numeric = numeric_fields(a)
    fixed = [name for name in a._fields if name not in numeric]
    return (
        type(a) is type(b)
        and numeric == numeric_fields(b)
        and all(_alike(getattr(a, name), getattr(b, name)) for name in fixed)
    )


def _alike(a: Any, b: Any) -> bool:
    return same_step(a, b) if is_algorithm(a) and is_algorithm(b) else same(a, b)


def traceable(algorithm: Algorithm, start: np.ndarray) -> bool:
    """Whether the step consists of array operations, which take a hyperparameter for each run as well as a number."""
    try:
        step_graphs(algorithm, first_state(algorithm, start[None]))
    except ForeignNounError:
        raise
    except TypeError:
        return False
    return True


def first_state(algorithm: Algorithm, x: np.ndarray) -> Any:
    """`algorithm.init(x)`; TypeError unless it is a NamedTuple of arrays shaped like `x`, or (..., n, 1).

    Or if its class names tables that it does not have.
    """
    state = algorithm.init(x)
    shapes = x.shape, (*x.shape[:-1], 1)
    fits = hasattr(state, "_fields") and np.shape(state[0]) == x.shape
    if not (fits and all(np.shape(field) in shapes for field in state)):
        raise TypeError(
            f"{type(algorithm).__name__}.init returned {type(state).__name__}; it must return a NamedTuple whose "
            "fields are arrays shaped like its argument, or of one number a node, (..., n, 1); the parameters first"
        )
    tables = getattr(state, "tables", ())
    if isinstance(tables, str) or not set(tables) <= set(state._fields[1:]):
        raise TypeError(
            f"{type(algorithm).__name__}.init returned a {type(state).__name__} with tables = {tables!r}; name fields "
            f"in a tuple, such as tables = ({state._fields[-1]!r},), and not the parameters"
        )
    return state


def with_tables(state: Any, algorithm: Algorithm, problem: Problem, dtype: np.dtype) -> Any:
    """A first `state` (runs, n, ...) whose tables hold the gradients of all samples; ValueError if they are too large.

    Runs start from the same x.
    """
    tables = getattr(state, "tables", ())
    if not tables:
        return state
    runs, n, d = state[0].shape
    most = int(max(problem.counts))
    size = runs * n * (most + 1) * d * dtype.itemsize
    if size > LARGEST_TABLE:
        raise ValueError(
            f"{type(algorithm).__name__} keeps a gradient of every sample: {n} nodes of {most} samples and dim = {d} "
            f"in {runs} runs take {size / 2**30:.3g} GiB, more than {LARGEST_TABLE / 2**30:.3g}; use fewer replicates "
            "in a call, dtype='float32', or simlab.GTSVRG, which keeps one gradient a node"
        )
    table = sample_table(problem, state[0][0]).astype(dtype)
    return state._replace(**dict.fromkeys(tables, np.broadcast_to(table, (runs, *table.shape))))


def traced(problem: Problem, network: AnyNetwork, algorithm: Algorithm, state: Any, settings: Settings) -> Steps:
    """The traced steps; of one that the array engine runs but that cannot be traced, what it sends."""
    try:
        sampled, noisy = settings.batch_size is not None, settings.noise_std > 0
        received = getattr(network, "noisy", False)
        steps = step_graphs(algorithm, state, sampled=sampled, noisy=noisy, received=received)
    except ForeignNounError:
        raise
    except TypeError:
        if settings.engine == "compiled":
            raise
        from simlab.run.dry_run import dry_run

        steps = dry_run(algorithm, state, problem, network, settings.steps)
    if isinstance(network, NetworkProcess):
        check_changes(network, steps)
    return steps


def check_changes(network: NetworkProcess, steps: Steps) -> None:
    """ForeignNounError if a step relies on exchanges that a network that changes does not make."""
    for graph in steps.graphs:
        if any(graph.count(name) for name in (*REPLICAS, "degrees")):
            raise ForeignNounError(
                f"{graph.algorithm} keeps replicas of its neighbours' rows, which go stale where {network!r} leaves an "
                "exchange out; use a network that does not change, or a method without replicas such as DSGD"
            )
        server = graph.count("average_replicas") or any(
            each.to != "neighbours" or is_shared(each.compressor, each.to) for each, _ in graph.compressors
        )
        if server:
            raise ForeignNounError(
                f"{graph.algorithm} sends through a server, or draws random numbers that all nodes share, on "
                f"{network!r}, where nodes may sleep; use a network that does not change"
            )
        if graph.networks:
            raise ForeignNounError(
                f"{graph.algorithm}.step mixes over a network of its own, {graph.networks[0]!r}, on {network!r}, where "
                "nodes may sleep; use a network that does not change"
            )
