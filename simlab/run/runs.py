"""Settings of one algorithm, in replicates: their states, what is recorded of them, and where they diverge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from simlab.citation import references
from simlab.network import AnyNetwork, NetworkProcess
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.run.clock import Clock
from simlab.run.metrics import Traffic, measure, recorded
from simlab.run.provenance import describe
from simlab.run.settings import LARGEST, Settings, same
from simlab.step.graph import ForeignNounError, Steps, is_algorithm, numeric_fields, step_graphs
from simlab.step.streams import Draws
from simlab.trace import Trace

SHOWN = 3  # settings that one warning names
KEPT = 2**22  # numbers in x up to which a chunk's start is kept, to find the step of a divergence


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
        Makes an engine from an algorithm, its graph and states, see `backends.backend`.
    """

    def __init__(
        self,
        problem: Problem,
        network: AnyNetwork,
        algorithms: list[tuple[Any, str, np.ndarray]],
        start: np.ndarray,
        settings: Settings,
        new_engine: Callable[[Any, Steps, Any], Any],
    ) -> None:
        self.problem, self.network, self.settings = problem, network, settings
        self.algorithms = [algorithm for algorithm, _, _ in algorithms]
        self.labels = [label for _, label, _ in algorithms]
        self.hyper = [table for _, _, table in algorithms]
        self.x0 = start
        algorithm, runs = algorithms[0][0], len(algorithms) * settings.replicates
        state = first_state(algorithm, np.broadcast_to(start, (runs, *start.shape)))
        self.state = type(state)(*(np.array(field, dtype=settings.dtype, order="C") for field in state))
        self.graphs = traced(problem, network, algorithm, self.state, settings)
        self.traffic = Traffic(self.graphs, network, problem.dim, 8 * settings.dtype.itemsize)
        self.clock = self._new_clock()
        self._finished = np.zeros((settings.replicates, 0))  # times of the chunk's steps
        self.sent = np.zeros((runs, 2), np.int64)  # by compressed messages, counted once and once a receiver
        self.spent = np.zeros((runs, 3), np.int64)  # on a network that changes, see `Traffic`
        self.lost: dict[int, np.ndarray] = {}  # last states of the runs that diverged, in range where `KEPT` allows
        self.active = list(range(runs))
        self.diverged: dict[int, int] = {}
        self.messages: list[str] = []  # warnings for the caller's thread to give
        self.records: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
        self.new_engine = new_engine
        self.engine = self.new_engine(self.algorithms[0], self.graphs, self.state)
        self._pending: Any = None  # the chunk that is planned and not finished
        nothing = np.zeros((runs, 1, 3), np.int64)
        self._record(np.array([0]), self.state[0][:, None], self.sent[:, None], nothing, np.zeros((runs, 1)))

    def _new_clock(self) -> Clock | None:
        cluster = self.settings.cluster
        if cluster is None or getattr(self.network, "keeps_time", False):
            return None
        return Clock(
            cluster, self.graphs, self.network, self.problem.dim, 8 * self.settings.dtype.itemsize,
            self.settings.replicates,
        )  # fmt: skip

    def plan(self, done: int, size: int, draws: list[Draws]) -> list[Callable[[], Any]]:
        """The jobs of `size` steps after `done`; `draws` are those of the replicates."""
        if not self.active:
            return []
        # Kept to find the step at which a run diverges; of a large network the chunk has to do, whatever else is run.
        small = self.settings.replicates * self.state[0][0].size <= KEPT
        before = type(self.state)(*(field.copy() for field in self.state)) if small else None
        tables = [table[done : done + size] for table in self.hyper]
        mine = [tables[run // self.settings.replicates] for run in self.active]
        drawn = [draws[run % self.settings.replicates] for run in self.active]
        plan = self.engine.plan(self.state, mine, drawn, done, self.settings.record_every)
        if self.clock is not None:
            self._finished = self.clock.advance(draws, done)
        self._pending = plan, before, mine, drawn, done, size
        return plan.jobs

    def finish(self) -> None:
        """Record what the jobs of the last `plan` did, and drop the runs that diverged."""
        if not self.active:
            return
        (plan, before, tables, draws, done, size), self._pending = self._pending, None
        every = self.settings.record_every
        self.state, snapshots, sent, total = plan.outcome()
        sent = sent + self.sent[self.active, None]
        self.sent[self.active] += total.sum(axis=1)
        steps = np.arange(done // every + 1, (done + size) // every + 1) * every
        if done + size == self.settings.steps and self.settings.steps % every:
            steps = np.append(steps, self.settings.steps)
            snapshots = np.concatenate([snapshots, self.state[0][:, None]], axis=1)
            sent = np.concatenate([sent, self.sent[self.active, None]], axis=1)
        costs, times = self._costs(steps, draws, done, size)
        lost = [k for k in range(len(self.active)) if not self._in_range(self.state[0][k])]
        for k in lost:
            usable = self._stop(k, before, tables[k], draws[k], done, steps)
            mine = [a[k : k + 1, usable] for a in (snapshots, sent, costs, times)]
            self._record(steps[usable], mine[0], mine[1], mine[2], mine[3], [self.active[k]])
        if lost:
            self.messages.append(self._message([self.active[k] for k in lost], done if before is None else None))
            kept = [k for k in range(len(self.active)) if k not in lost]
            self.active = [self.active[k] for k in kept]
            self.state = type(self.state)(*(field[kept] for field in self.state))
            snapshots, sent, costs, times = snapshots[kept], sent[kept], costs[kept], times[kept]
            if kept and not self.engine.suits(len(kept)):
                self.engine = self.new_engine(self.algorithms[0], self.graphs, self.state)
        if self.active:
            self._record(steps, snapshots, sent, costs, times)

    def _costs(self, steps: np.ndarray, draws: list[Draws], done: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each active run what its steps have cost, (A, S, 3), and the network's own time, (A, S)."""
        shape = len(self.active), len(steps)
        times = np.zeros(shape)
        if self.clock is not None:
            replicates = np.array([run % self.settings.replicates for run in self.active])
            times = self._finished[replicates[:, None], steps - done - 1]
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

    def _in_range(self, x: np.ndarray) -> bool:
        return bool(np.abs(x).max() <= LARGEST[self.settings.dtype.name])  # False for NaN too

    def _stop(
        self,
        k: int,
        before: Any,
        table: np.ndarray,
        draws: Draws,
        done: int,
        steps: np.ndarray,
    ) -> np.ndarray:
        """Find the step at which active run k left the range, by bisection on replays of its chunk; which of the
        recorded `steps` were before.
        """
        run = self.active[k]
        good, bad = 0, len(table)
        if before is None:
            self.lost[run] = self.state[0][k].copy()
        else:
            start = type(before)(*(field[k : k + 1] for field in before))
            while bad - good > 1:
                middle = (good + bad) // 2
                part = draws.part(good, middle)
                copy = type(start)(*(field.copy() for field in start))
                state = (
                    self.engine.plan(copy, [table[good:middle]], [part], done + good, done + len(table) + 1).run().state
                )
                if self._in_range(state[0]):
                    good, start = middle, state
                else:
                    bad = middle
            self.lost[run] = start[0][0]
        self.diverged[run] = done + bad
        return steps <= done + good

    def _message(self, lost: list[int], since: int | None) -> str:
        """The warning that these runs diverged: at known steps, or somewhere in the chunk that began at `since`."""
        settings: dict[int, list[int]] = {}
        for run in lost:
            settings.setdefault(run // self.settings.replicates, []).append(run)
        parts = []
        for setting, runs in list(settings.items())[:SHOWN]:
            at = [self.diverged[run] for run in runs]
            first, last = min(at), max(at)
            when = f"at step {first}" if first == last else f"at steps {first} to {last}"
            when = when if since is None else f"between steps {since + 1} and {last}"
            replicates = (
                f"replicate {runs[0] % self.settings.replicates}" if len(runs) == 1 else f"{len(runs)} replicates"
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
        runs: list[int] | None = None,
    ) -> None:
        if not len(steps):
            return
        who = np.array(self.active if runs is None else runs)
        metrics = measure(self.problem, snapshots)
        metrics["payload_bits"], metrics["bits"] = (costs[..., c] + sent[..., c] for c in range(2))
        metrics["gradients"] = costs[..., 2]
        if self.clock is not None or getattr(self.network, "keeps_time", False):
            metrics["time"] = times
        taken = self.settings.record.keys() & {"algorithm", "replicate", "run", "step", *metrics}
        if taken:
            raise ValueError(f"record has the name {min(taken)!r}, which is a column already; choose another one")
        metrics.update(recorded(self.settings.record, snapshots))
        self.records.append((who, steps, metrics))

    def traces(self, about: dict[str, Any]) -> list[Trace]:
        """What was recorded so far, a trace for each setting."""
        import pandas as pd

        parts = []
        for who, steps, metrics in self.records:
            columns = {"run": np.repeat(who, len(steps)), "step": np.tile(steps, len(who))}
            parts.append(pd.DataFrame({**columns, **{name: value.reshape(-1) for name, value in metrics.items()}}))
        whole = pd.concat(parts, ignore_index=True).sort_values(["run", "step"])
        tables = dict(list(whole.groupby(whole["run"] // self.settings.replicates)))
        x = np.empty((len(self.algorithms) * self.settings.replicates, *self.state[0].shape[1:]), self.settings.dtype)
        # Of an interrupted chunk some runs have taken steps, in place, and others have not: all go back to its start.
        interrupted = self._pending is not None and self._pending[1] is not None
        x[self.active] = self._pending[1][0] if interrupted else self.state[0]
        for run, last in self.lost.items():
            x[run] = last
        found = []
        for setting, (algorithm, label) in enumerate(zip(self.algorithms, self.labels, strict=True)):
            first = setting * self.settings.replicates
            mine = range(first, first + self.settings.replicates)
            table = tables[setting].reset_index(drop=True)
            table.insert(0, "algorithm", label)
            table.insert(1, "replicate", table.pop("run") - first)
            provenance = {
                "label": label,
                "algorithm": describe(algorithm),
                "references": [*references(algorithm), *references(self.network)],
                "diverged": {str(run - first): step for run, step in self.diverged.items() if run in mine},
                **about,
            }
            last = x[first : first + self.settings.replicates].copy()
            found.append(Trace(last, table, provenance, self.x0, self.problem, self.network, algorithm))
        return found


def batches(algorithms: Sequence[Any], start: np.ndarray, engine: str) -> list[list[int]]:
    """Positions of the algorithms that run as one batch: equal but for numeric hyperparameters, in one traceable
    step.
    """
    groups: list[list[int]] = []
    for k, algorithm in enumerate(algorithms):
        alike = [g for g in groups if same_step(algorithms[g[0]], algorithm)]
        if alike and (engine == "compiled" or traceable(algorithm, start)):
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
    """`algorithm.init(x)`; TypeError unless it is a NamedTuple of arrays shaped like `x`, or (..., n, 1)."""
    state = algorithm.init(x)
    shapes = x.shape, (*x.shape[:-1], 1)
    fits = hasattr(state, "_fields") and np.shape(state[0]) == x.shape
    if not (fits and all(np.shape(field) in shapes for field in state)):
        raise TypeError(
            f"{type(algorithm).__name__}.init returned {type(state).__name__}; it must return a NamedTuple whose "
            "fields are arrays shaped like its argument, or of one number a node, (..., n, 1); the parameters first"
        )
    return state


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
        if graph.count("mix_replicas"):
            raise ForeignNounError(
                f"{graph.algorithm} keeps replicas of its neighbours' rows, which go stale where {network!r} leaves an "
                "exchange out; use a network that does not change, or a method without replicas such as DSGD"
            )
        if graph.networks:
            raise ForeignNounError(
                f"{graph.algorithm}.step mixes over a network of its own, {graph.networks[0]!r}, on {network!r}, where "
                "nodes may sleep; use a network that does not change"
            )
