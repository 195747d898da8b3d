"""The array engine: the step as it stands, on NumPy, CuPy or array-api-strict arrays with a leading replicate axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from simlab.arrays import namespace_of, to_host
from simlab.network import AnyNetwork
from simlab.network.network import DENSE_NODES
from simlab.operations import Batch, present, zeros_like
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.step.chunk import Chunk, Plan
from simlab.step.graph import numeric_fields, take_step, with_values
from simlab.step.streams import Draws

FEWEST = 8  # steps from which a recording pays
SLICE = 2**17  # numbers in x of the runs that one job advances: a few such arrays stay in a core's cache


def together(xp: Any, runs: int, size: int) -> int:
    """How many of so many runs, each of `size` numbers, are advanced together: all on a GPU, else few large ones."""
    jobs = -(-runs // max(1, SLICE // size)) if xp is np else 1
    return -(-runs // jobs)


class ArrayEngine:
    """Runs chunks of steps of one algorithm, for all its settings and replicates at once.

    Parameters
    ----------
    problem, network, algorithm
        What is simulated.
    xp : array namespace
        Where states live.
    dtype : numpy dtype
        Precision of states.
    stream : context manager, optional
        Within which all work is done.
    record : function, optional
        Turns a function of no arguments, which does the same work on the same arrays at each call, into one that does
        it with less overhead, see `gpu.cuda_graph`; it may call the function a few times. Only for steps that can be
        traced and compress nothing.
    width : int, optional
        Runs that are advanced together, the last one repeated where there are fewer: products of matrices round by
        their shapes. Unless given, as many as there are, and as fit.
    """

    def __init__(
        self,
        problem: Problem,
        network: AnyNetwork,
        algorithm: Algorithm,
        *,
        xp: Any,
        dtype: np.dtype,
        stream: AbstractContextManager[Any] | None = None,
        record: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
        width: int | None = None,
    ) -> None:
        self.xp = xp
        self.dtype = getattr(xp, np.dtype(dtype).name)
        self.stream: AbstractContextManager[Any] = nullcontext() if stream is None else stream
        self.record, self.form = record, width
        with self.stream:
            self.problem = problem.convert(xp, self.dtype)
        self.network, self.algorithm = network, algorithm
        self.names = numeric_fields(algorithm)

    def plan(self, state: Any, hyper: list[np.ndarray], draws: list[Draws], first_step: int, every: int) -> Plan:
        """Take as many steps as `hyper` has rows; small runs together, large ones in a job each.

        Parameters
        ----------
        state : NamedTuple of arrays (R, n, d)
            Host arrays; not modified.
        hyper : list of R arrays (K, H)
            The numeric hyperparameters of each run at each step, in the order of `numeric_fields`.
        draws : list of R Draws
            The random numbers of each run.
        first_step : int
            Steps taken before.
        every : int
            A snapshot of x is taken whenever the step counter is a multiple of it.

        Returns
        -------
        Plan
        """
        runs = len(hyper)
        width = together(self.xp, runs, state[0][0].size) if self.form is None else self.form
        parts = [np.minimum(np.arange(first, first + width), runs - 1) for first in range(0, runs, width)]
        chunks: dict[int, Chunk] = {}

        def job(k: int, part: np.ndarray) -> None:
            mine = type(state)(*(field[part] for field in state))
            # Divergence is found and reported by simulate.
            with self.stream, np.errstate(all="ignore"):
                chunks[k] = self._advance(mine, [hyper[r] for r in part], [draws[r] for r in part], first_step, every)

        def outcome() -> Chunk:
            final, *rest = zip(*(chunks[k] for k in range(len(parts))), strict=True)
            fields = (np.concatenate(each)[:runs] for each in zip(*final, strict=True))
            return Chunk(type(state)(*fields), *(np.concatenate(each)[:runs] for each in rest))

        return Plan([partial(job, k, part) for k, part in enumerate(parts)], outcome)

    def suits(self, runs: int) -> bool:
        """True: any number of runs is advanced in the same way."""
        return True

    def _advance(self, state: Any, hyper: list[np.ndarray], draws: list[Draws], first_step: int, every: int) -> Chunk:
        xp = self.xp
        start = type(state)(*(xp.asarray(field, dtype=self.dtype, copy=True) for field in state))
        if self.record is None or draws[0].links is not None or len(hyper[0]) < FEWEST:
            steps = self._one_by_one(start, hyper, draws, first_step)
        else:
            steps = self._replayed(start, hyper, draws)
        snapshots: list[Any] = []  # stay on the device until the end of the chunk
        sent_snapshots: list[Any] = []
        for k, (current, sent) in enumerate(steps):
            if (first_step + k + 1) % every == 0:
                snapshots.append(xp.asarray(current[0], copy=True))
                sent_snapshots.append(xp.sum(sent, axis=1))
        shape = start[0].shape
        return Chunk(
            type(state)(*(to_host(field) for field in current)),
            to_host(xp.stack(snapshots, axis=1)) if snapshots else np.empty((shape[0], 0, *shape[1:]), state[0].dtype),
            to_host(xp.stack(sent_snapshots, axis=1)) if snapshots else np.empty((shape[0], 0, 2), np.int64),
            to_host(sent),
        )

    def _random(self, draws: list[Draws]) -> tuple[list[Any], Callable[[list[Any]], Batch]]:
        """The random numbers of the chunk, and a function that deals those of one step out to the runs."""
        xp = self.xp
        distinct = list({id(drawn): drawn for drawn in draws}.values())  # runs of different settings share them
        places = {id(drawn): place for place, drawn in enumerate(distinct)}
        chunk = [
            None if a[0] is None else xp.asarray(np.stack(a))
            for a in zip(*(drawn[:3] for drawn in distinct), strict=True)
        ]
        if len(distinct) == len(draws):
            return chunk, lambda step: Batch(*step)
        which = xp.asarray([places[id(drawn)] for drawn in draws])
        return chunk, lambda step: Batch(*(None if a is None else xp.take(a, which, axis=0) for a in step))

    def _one_by_one(
        self, current: Any, hyper: list[np.ndarray], draws: list[Draws], first_step: int
    ) -> Iterator[tuple[Any, Any]]:
        """State and bits sent after each step."""
        xp = self.xp
        sent = xp.zeros((*current[0].shape[:-1], 2), dtype=xp.int64)
        changing = draws[0].links is not None
        if not changing:
            random, deal = self._random(draws)
            receivers: Any = xp.asarray(getattr(self.network, "degrees"))  # noqa: B009
        if all(table is hyper[0] for table in hyper):
            settings = iter(hyper[0].tolist())
        else:
            table = self._table(hyper)
            settings = ([table[k, h, ...] for h in range(table.shape[1])] for k in range(table.shape[0]))
        for k, setting in enumerate(settings):
            network: Any = self.network
            if changing:
                network, batch = now(xp, self.network, draws, k, current[0].shape)
                receivers = network.receivers
            else:
                batch = deal([None if a is None else a[:, k, ...] for a in random])
            batch = batch._replace(ledger=[], step=first_step + k)
            new = self._step(current, setting, batch, network)
            if changing:
                new = type(new)(*(xp.where(network.awake, a, b) for a, b in zip(new, current, strict=True)))
            current = new
            for bits, to in batch.ledger or ():
                bits = xp.asarray(bits)
                match to:
                    case "neighbours":
                        once = bits if not changing else bits * xp.astype(receivers > 0, bits.dtype)
                        each = bits * receivers
                    case "server":
                        once = each = bits
                    case "all":  # one message, which counts as the first node's
                        first = xp.arange(bits.shape[-1]) == 0
                        once = xp.where(first, bits, xp.zeros_like(bits))
                        each = once * bits.shape[-1]
                sent = sent + xp.stack([once, each], axis=-1)
            yield current, sent

    def _replayed(self, start: Any, hyper: list[np.ndarray], draws: list[Draws]) -> Iterator[tuple[Any, Any]]:
        """The same by a recording of one step, which finds its random numbers by a counter on the device."""
        xp = self.xp
        assert self.record is not None
        random, deal = self._random(draws)
        table = self._table(hyper[:1] if all(each is hyper[0] for each in hyper) else hyper)
        state = type(start)(*(xp.asarray(field, copy=True) for field in start))
        counter = xp.zeros(1, dtype=xp.int64)

        def body() -> None:
            batch = deal([None if a is None else xp.take(a, counter, axis=1)[:, 0, ...] for a in random])
            setting = xp.take(table, counter, axis=0)[0, ...]
            new = self._step(state, [setting[h, ...] for h in range(setting.shape[0])], batch, self.network)
            # A new field may be an old one, which must be read before it is overwritten.
            for field, value in zip(state, [xp.asarray(value, copy=True) for value in new], strict=True):
                field[...] = value
            counter[...] = counter + 1

        replay = self.record(body)
        for field, value in zip(state, start, strict=True):
            field[...] = value
        counter[...] = 0
        sent = xp.zeros((*start[0].shape[:-1], 2), dtype=xp.int64)
        for _ in range(table.shape[0]):
            replay()
            yield state, sent

    def _table(self, hyper: list[np.ndarray]) -> Any:
        """The hyperparameters of each run at each step: (K, H, R, 1, 1)."""
        return self.xp.asarray(np.stack(hyper, axis=-1)[..., None, None], dtype=self.dtype)

    def _step(self, state: Any, setting: list[Any], batch: Batch, network: Any) -> Any:
        algorithm = with_values(self.algorithm, dict(zip(self.names, setting, strict=True)))
        with present(network.awake, network.fires) if isinstance(network, Now) else nullcontext():
            new = take_step(algorithm, state, self.problem, network, batch)
        return type(new)(*(zeros_like(b) + a if isinstance(a, Real) else a for a, b in zip(new, state, strict=True)))


class Now:
    """A network that changes, as it is in one step of R runs.

    Attributes
    ----------
    n_nodes : int
    stochastic : {"double", "row", "column"}
    awake, fires : arrays (R, n, 1) of truth values
        Which nodes take the step, which of them compute gradients.
    receivers : array (R, n)
        Of each node's messages.
    received : array (R, e, n, d) or None
        Noise on what nodes receive in each exchange of the step.
    """

    def __init__(
        self, xp: Any, stochastic: str, matrices: list[Any], awake: Any, fires: Any, receivers: Any, received: Any
    ) -> None:
        self.n_nodes, self.stochastic = awake.shape[1], stochastic
        self.awake, self.fires, self.receivers = awake, fires, receivers
        self._xp, self._matrices = xp, matrices
        self._received, self._exchanges = received, 0

    def mix(self, x: Any) -> Any:
        """W x, each run's own W, with the noise on what is received: (R, n, d) -> (R, n, d)."""
        if self._received is None:
            return self.exact_mix(x)
        self._exchanges += 1
        return self.exact_mix(x) + self._received[:, self._exchanges - 1, :, : x.shape[-1]]

    def exact_mix(self, x: Any) -> Any:
        """W x, of numbers that nobody sends."""
        xp = self._xp
        if xp is np and self.n_nodes > DENSE_NODES:
            return np.stack([w.astype(x.dtype) @ each for w, each in zip(self._matrices, x, strict=True)])
        weights = xp.asarray(np.stack([w.toarray() for w in self._matrices]), dtype=x.dtype)
        return namespace_of(x).matmul(weights, x)


def now(xp: Any, network: Any, draws: list[Draws], k: int, shape: tuple[int, ...]) -> tuple[Now, Batch]:
    """Step k of a chunk on a network that changes: the network, and the random numbers of the awake at their nodes."""
    runs, n_nodes, _ = shape
    awake, fires = np.zeros((2, runs, n_nodes, 1), bool)
    receivers = np.zeros((runs, n_nodes), np.int64)
    matrices = []
    spread: list[Any] = []
    random = [(mine.indices, mine.noise, mine.dither, mine.received) for mine in draws]
    for a in random[0]:
        lead = (runs, *(() if a is None or a.ndim < 3 else a.shape[1:2]), n_nodes)
        spread.append(None if a is None else np.zeros((*lead, a.shape[-1]), a.dtype))
    for r, mine in enumerate(draws):
        links = mine.links
        assert links is not None
        block = slice(*links.start[links.which[k] : links.which[k] + 2])
        rows = links.rows[block]
        awake[r, rows, 0], fires[r, rows, 0], receivers[r, rows] = True, links.fires[block], links.receivers[block]
        matrices.append(links.matrix(k, n_nodes))
        drawn = slice(*links.drawn[k : k + 2])
        for there, a in zip(spread, random[r], strict=True):
            if a is not None:
                there[r][..., rows, :] = np.moveaxis(a[drawn], 0, -2)
    who = [xp.asarray(a) for a in (awake, fires, receivers)]
    *batch, received = (None if a is None else xp.asarray(a) for a in spread)
    return Now(xp, network.stochastic, matrices, who[0], who[1], who[2], received), Batch(*batch)
