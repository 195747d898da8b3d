"""The compiled engine: chunks of steps as Numba programs, in threads.

Three ways to share the work, by what there is to share: runs one by one; runs side by side, so that full gradients of
quadratics and linear models are matrix products; nodes, for large networks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from simlab.arrays import aligned, aligned_copy
from simlab.engine.compiler.codegen import LINKS, network_names
from simlab.engine.compiler.program import program
from simlab.engine.tiles import cut
from simlab.kernel import LANES
from simlab.network import AnyNetwork, Network, NetworkProcess
from simlab.problems.base import Problem
from simlab.programs import load
from simlab.protocols import Algorithm
from simlab.step.chunk import Chunk, Plan
from simlab.step.streams import Draws

LARGE = 2**18  # numbers in one state array from which threads share the nodes
TILE = 2**13  # numbers in a tile of one state array: a handful of arrays stay in a core's cache
JOBS = 4  # of runs one by one, for each thread: some take longer than others
SIDE_BY_SIDE = 8  # runs one by one that take as long as a group of `LANES` side by side, whether it is full or not


class CompiledEngine:
    """Runs chunks of steps of one algorithm.

    Parameters
    ----------
    problem, network, algorithm
        What is simulated.
    state : NamedTuple of arrays (R, n, d)
        Any state of the algorithm.
    dtype : numpy dtype
        Precision of states and arithmetic.
    sampled, noisy : bool
        Whether gradients take mini-batches, whether noise is added to them.
    threads : int
        Among which the runs, or the nodes of one run, are shared.
    form : {"one by one", "side by side"}, optional
        How runs lie in memory: full gradients round otherwise. As is fastest unless given.
    """

    def __init__(
        self,
        problem: Problem,
        network: AnyNetwork,
        algorithm: Algorithm,
        *,
        state: Any,
        dtype: np.dtype,
        sampled: bool,
        noisy: bool,
        threads: int = 1,
        form: str | None = None,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.threads = threads
        runs, n_nodes, dim = state[0].shape
        received = getattr(network, "noisy", False)
        choose = partial(
            program, problem, algorithm, state, dtype=self.dtype, sampled=sampled, noisy=noisy, received=received
        )
        built = choose()
        # A message is one run's row, so compressed algorithms run one by one.
        self.changing = isinstance(network, NetworkProcess)
        plain = len(built.layouts) == 1 and not built.steps.first.narrow and not self.changing
        self.has_lanes = plain and len(built.kernels) == 1 and built.kernels[0].lanes is not None
        self.lanes = self._lanes_pay(runs) if form is None else form == "side by side"
        self.form = "side by side" if self.lanes else "one by one"
        self.large = plain and threads <= n_nodes and n_nodes * dim >= LARGE
        self.by_nodes = self._nodes_are_shared(runs)
        if self.changing:
            built = choose(form="changing")
        elif self.lanes or self.by_nodes:
            built = choose(form="side by side" if self.lanes else "by nodes")
        self.layouts, self.fields = built.layouts, type(state)._fields
        self.narrow = built.steps.first.narrow
        self.swapped = {f for layout in self.layouts for f in layout.swapped}
        self.brief = {
            f for f in self.swapped if all(f in layout.brief for layout in self.layouts if f in layout.swapped)
        }
        self.buffers = {name for layout in self.layouts for name in layout.buffers}
        self.averages = max(len(layout.averages) for layout in self.layouts)
        self.module = load(*built.text)
        data = {f"data_{c}_{k}": a for c, each in enumerate(built.kernels) for k, a in enumerate(each.data)}
        self.constants = {
            **{name: self._convert(a) for name, a in data.items()},
            **{
                name: self._convert(a)
                for k, each in enumerate([network, *built.networks])
                if isinstance(each, Network)
                for name, a in zip(network_names(k), each.csr, strict=True)
            },
            "order": np.array(built.steps.order),
            "counts": np.array(problem.counts),
        }
        if isinstance(network, Network):
            self.constants["receivers"] = network.degrees
        self.work = {f"work_{c}_{k}": a for c, each in enumerate(built.kernels) for k, a in enumerate(each.work)}
        if self.by_nodes:
            assert isinstance(network, Network)
            self.tiles = cut(network.csr.indptr, network.csr.indices, rows=max(1, TILE // dim), threads=threads)

    def _lanes_pay(self, runs: int) -> bool:
        groups = -(-runs // LANES)
        return self.has_lanes and SIDE_BY_SIDE * -(-groups // self.threads) <= -(-runs // self.threads)

    def _nodes_are_shared(self, runs: int) -> bool:
        return self.large and runs < self.threads and not self.lanes

    def suits(self, runs: int) -> bool:
        """Whether so many runs of this form share the work in the same way."""
        return self._nodes_are_shared(runs) == self.by_nodes

    def _convert(self, value: np.ndarray | float) -> Any:
        if not isinstance(value, np.ndarray):
            return self.dtype.type(value)
        if not np.issubdtype(value.dtype, np.floating) or value.dtype == self.dtype:
            return value
        return aligned_copy(value, self.dtype)

    def plan(self, state: Any, hyper: list[np.ndarray], draws: list[Draws], first_step: int, every: int) -> Plan:
        """Take as many steps as `hyper` has rows; see `ArrayEngine.plan`. `state` may be overwritten."""
        runs, n_nodes, dim = state[0].shape
        n_snapshots = (first_step + len(hyper[0])) // every - first_step // every
        chunk = Chunk(
            type(state)(*(np.ascontiguousarray(field, dtype=self.dtype) for field in state)),
            np.empty((runs, n_snapshots, n_nodes, dim), self.dtype),
            np.zeros((runs, n_snapshots, 2), np.int64),
            np.zeros((runs, n_nodes, 2), np.int64),
        )
        rest = chunk, hyper, draws, (first_step, every)
        if self.lanes:
            groups = np.array_split(np.arange(runs), -(-runs // LANES))
            jobs: list[Callable[[], None]] = [partial(self._side_by_side, group, *rest) for group in groups]
        else:
            parts = np.array_split(np.arange(runs), min(runs, JOBS * self.threads))
            jobs = [partial(self._one_by_one, part.tolist(), *rest) for part in parts]
        return Plan(jobs, lambda: chunk)

    def _working(self, shape: tuple[int, ...], fields: dict[str, np.ndarray], awake: int) -> dict[str, np.ndarray]:
        """What a program has beside the run itself: constants, and memory that runs use one after another."""
        rows = {f: awake if f in self.brief else shape[0] for f in self.swapped}
        spare = {f"next_{f}": aligned((rows[f], fields[f].shape[-1]), self.dtype) for f in self.swapped}
        spare |= {name: aligned((shape[0], 1 if name[0] == "c" else shape[1]), self.dtype) for name in self.buffers}
        averages = np.empty((self.averages + 1, shape[1]), self.dtype)
        return {**spare, **self._memory(shape[1]), "averages": averages, **self.constants}

    def _memory(self, width: int) -> dict[str, np.ndarray]:
        """Working memory of one thread."""
        work = {name: aligned(a.shape, self.dtype if a.dtype.kind == "f" else a.dtype) for name, a in self.work.items()}
        rows = max(len(layout.scratch) for layout in self.layouts)
        return {"scratch": aligned((rows + 1, width), self.dtype), **work}

    def _of_run(
        self, state: dict[str, np.ndarray], hyper: np.ndarray, sent: np.ndarray, draws: Draws
    ) -> dict[str, Any]:
        """What a program reads and writes of a run."""
        links = draws.links and {
            **{name: getattr(draws.links, name) for name in LINKS},
            "indptr": draws.links.indptr,
            "neighbours": draws.links.indices,
            "weights": self._convert(draws.links.weights),
        }
        return {
            **{f"state_{f}": a for f, a in state.items()},
            "sent": sent,
            "hyper": np.array(hyper, dtype=self.dtype, order="C"),  # writable always: one signature, one compilation
            "indices": draws.indices,
            "noise": draws.noise,
            "dither": draws.dither,
            "received": draws.received,
            **(links or {}),
        }

    def _one_by_one(
        self, runs: list[int], chunk: Chunk, hyper: list[np.ndarray], draws: list[Draws], clock: tuple[int, int]
    ) -> None:
        """Some runs, one after another."""
        fields = chunk.state._asdict()
        shape = chunk.state[0].shape[1:]
        links = [drawn.links for drawn in (draws[run] for run in runs) if drawn.links is not None]
        working = self._working(shape, fields, max((np.diff(each.start).max() for each in links), default=shape[0]))
        for run in runs:
            state = {name: field[run] for name, field in fields.items()}
            arguments = working | self._of_run(state, hyper[run], chunk.sent[run], draws[run])
            final = self._run(arguments, clock, chunk.snapshots[run], chunk.sent_snapshots[run])
            for target, array in zip(state.values(), final, strict=True):
                if array is not target:
                    target[...] = array

    def _side_by_side(
        self, group: np.ndarray, chunk: Chunk, hyper: list[np.ndarray], draws: list[Draws], clock: tuple[int, int]
    ) -> None:
        """At most `LANES` runs as one, with rows of length d * LANES; the last one fills the lanes that are left."""
        n_snapshots, n_nodes, dim = chunk.snapshots.shape[1:]
        who = np.append(group, np.full(LANES - len(group), group[-1]))
        width = dim * LANES

        def interleave(arrays: list[np.ndarray]) -> np.ndarray:
            shape = arrays[0].shape
            result = aligned((*shape, LANES), self.dtype)
            for lane, array in enumerate(arrays):
                result[..., lane] = array
            return result.reshape(*shape[:-1], -1)

        state = {name: interleave([field[run] for run in who]) for name, field in chunk.state._asdict().items()}
        noise = None if draws[0].noise is None else np.stack([draws[run].noise for run in who])
        table = interleave([hyper[run] for run in who]).reshape(*hyper[0].shape, LANES)
        working = self._working(state[self.fields[0]].shape, state, n_nodes)
        arguments = working | self._of_run(state, table, np.zeros((n_nodes, 2), np.int64), Draws(None, noise))
        arguments["hyper_rows"] = aligned((table.shape[1], width), self.dtype)
        snapshots = np.empty((n_snapshots, n_nodes, width), self.dtype)
        final = self._run(arguments, clock, snapshots, np.empty((n_snapshots, 2), np.int64))
        for field, array in zip(chunk.state, final, strict=True):
            field[group] = np.moveaxis(array.reshape(n_nodes, dim, LANES), -1, 0)[: len(group)]
        apart = np.moveaxis(snapshots.reshape(n_snapshots, n_nodes, dim, LANES), -1, 0)
        chunk.snapshots[group] = apart[: len(group)]

    def _run(
        self, arguments: dict[str, Any], clock: tuple[int, int], snapshots: np.ndarray, sent_snapshots: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The program over a chunk of steps: final states; snapshots are filled in."""
        if self.by_nodes:
            return self._run_by_nodes(arguments, clock, snapshots, sent_snapshots)
        arguments |= {"snapshots": snapshots, "sent_snapshots": sent_snapshots}
        self.module.run(*clock, *map(arguments.get, self.module.PARAMETERS))
        swaps = len(self.layouts) == 1 and not self.changing and len(arguments["hyper"]) % 2
        moved = self.layouts[0].swapped if swaps else ()
        return tuple(arguments[f"{'next' if f in moved else 'state'}_{f}"] for f in self.fields)

    def _run_by_nodes(
        self, arguments: dict[str, Any], clock: tuple[int, int], snapshots: np.ndarray, sent_snapshots: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The same with the nodes shared by the threads within each stage of a step."""
        module, (layout,) = self.module, self.layouts
        states = [f"state_{field}" for field in self.fields]
        width = arguments[states[0]].shape[1]
        memory = [self._memory(width) for _ in range(self.threads)]
        first_step, every = clock
        arguments["first_step"] = first_step
        taken = 0
        with ThreadPoolExecutor(self.threads) as pool:

            def share(work: Callable[..., None], parts: list[tuple[Any, ...]]) -> None:
                jobs = [
                    pool.submit(work, *part, *map({**arguments, **mine}.get, module.PARAMETERS))
                    for part, mine in zip(parts, memory, strict=True)
                ]
                for job in jobs:
                    job.result()

            for k in range(len(arguments["hyper"])):
                if layout.wave:
                    share(module.wave, [(*part, k) for part in self.tiles.waves])
                    share(module.finish, [(late, self.tiles.cuts, k) for late in self.tiles.late])
                else:
                    for stage in range(module.N_STAGES):
                        if hasattr(module, f"before_{stage}"):
                            getattr(module, f"before_{stage}")(*map(arguments.get, module.PARAMETERS))
                        share(getattr(module, f"stage_{stage}"), [(*rows, k) for rows in self.tiles.rows])
                for field in layout.swapped:
                    old, new = f"state_{field}", f"next_{field}"
                    arguments[old], arguments[new] = arguments[new], arguments[old]
                if (first_step + k + 1) % every == 0:
                    snapshots[taken] = arguments[states[0]]
                    sent_snapshots[taken] = arguments["sent"].sum(axis=0)
                    taken += 1
        return tuple(arguments[name] for name in states)
