"""What a simulation leaves: final states, a tidy frame, and everything the result depends on."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.markup import described, number
from simlab.network import AnyNetwork
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd


class Position(NamedTuple):
    """Where a run of R replicates can go on, to the last bit: its last step or, of one cut short, a step before.

    Attributes
    ----------
    step : int
        Steps taken.
    steps : int
        Steps that were asked for.
    form : str or int
        How runs were advanced beside one another, which rounding depends on; see `simlab.protocols.Engine`.
    state : dict of arrays (R, n, d) or (R, n, 1)
        Every field of the method's state.
    sent, spent : int arrays (R, 2) and (R, 3)
        Bits of compressed messages; costs on a network that changes.
    clock : array (R, n) or None
        When each node has finished, on a modelled cluster.
    streams : list of R dicts
        Where the random numbers of each purpose are.
    """

    step: int
    steps: int
    form: Any
    state: dict[str, np.ndarray]
    sent: np.ndarray
    spent: np.ndarray
    clock: np.ndarray | None
    streams: list[dict[str, list[int]]]


@dataclass(frozen=True, eq=False)
class Trace:
    """One algorithm's run.

    Attributes
    ----------
    x : array (replicates, n, d)
        Final states; of a replicate that diverged, those before it did (of networks so large that a chunk's start is
        not kept, later ones); of an interrupted run, those at which it stopped, maybe later than the last record.
    frame : pandas.DataFrame
        Columns algorithm, replicate, step, mse, consensus, loss, squared_gradient_norm, stationarity, those of the
        problem's own metrics (such as accuracy), payload_bits, bits, those of `record`; one row for each recorded step
        of each replicate. With x̄ the mean over nodes, x* the problem's minimizer: mse (1/n) Σ ||x_i − x*||², consensus
        (1/n) Σ ||x_i − x̄||², loss f(x̄), squared_gradient_norm ||∇f(x̄)||²; bits since the start, each message counted
        once or once a receiver.
    provenance : dict
        Parameters, seed, versions, host, git commit: all that the numbers depend on.
    x0 : array (n, d)
        Initial states.
    problem, network, algorithm
        What was simulated; None in a trace that was loaded from disk.
    position : Position, optional
        The whole state from which `simlab.resume` goes on: all buffers, and the position of the random streams.
    settings
        What else `simulate` was given; None in a trace that was loaded from disk.
    """

    x: np.ndarray
    frame: pd.DataFrame
    provenance: dict[str, Any]
    x0: np.ndarray | None = field(default=None, repr=False)
    problem: Problem | None = field(default=None, repr=False)
    network: AnyNetwork | None = field(default=None, repr=False)
    algorithm: Algorithm | None = field(default=None, repr=False)
    position: Position | None = field(default=None, repr=False)
    settings: Any = field(default=None, repr=False)

    @property
    def diverged(self) -> dict[int, int]:
        """The step at which each replicate that diverged did so; its rows end before.

        It is the first whose state is not finite, or, if that is earlier, the first recorded one with an entry beyond
        1e100 (in float32 1e18), up to which sums of squares are finite.
        """
        return {int(replicate): step for replicate, step in self.provenance["diverged"].items()}

    @property
    def stopped(self) -> str | None:
        """The target that ended the run before the steps that were asked for, such as "loss <= 0.3"; None if none."""
        return self.provenance.get("stopped")

    def __repr__(self) -> str:
        replicates, n, d = self.x.shape
        last = self.frame.groupby("replicate")[["mse", "loss"]].last().mean()
        measure = "loss" if np.isnan(last["mse"]) else "mse"  # without a known minimizer there is no mse
        return (
            f"Trace({self.provenance.get('label', '?')}: {self.provenance.get('steps', '?')} steps, "
            f"{replicates} replicate(s), n = {n}, d = {d}, last {measure} {last[measure]:.3g})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the last records, means over replicates with their 95 % intervals."""
        last = self.frame.groupby("replicate").last().select_dtypes("number")
        about = {}
        for name in last.columns:
            values = last[name].to_numpy(float)
            about[name] = number(float(values.mean()))
            if len(values) > 1 and np.ptp(values) > 0:
                low, high = mean_interval(values)[1:]
                about[name] += f" [{number(low)}, {number(high)}]"
        ended = {"stopped at": self.stopped, "diverged": len(self.diverged)}
        return described(repr(self), {**about, **{name: value for name, value in ended.items() if value}})

    @checks.keywords
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to one Parquet file.

        The frame is the table. A column `x` holds the final states in each replicate's last row, `state` the rest of
        what `simlab.resume` goes on from, `x0` the initial states in the first row; the provenance is the file's
        metadata. The file is complete or absent: it is written beside `path` and then renamed.

        Parameters
        ----------
        path : str or path
            Directories that are missing are made.
        """
        write(path, [self])

    @classmethod
    @checks.keywords
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace that `save` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Trace
            Without problem, network and algorithm objects; the provenance describes them.

        Raises
        ------
        TypeError
            If `path` is neither text nor a path.
        FileNotFoundError
            If there is no file.
        ValueError
            If it is a folder, or the file is not a trace.
        """
        traces = load_traces(path)
        if len(traces) > 1:
            labels = ", ".join(str(trace.provenance.get("label")) for trace in traces)
            raise ValueError(
                f"path = {str(path)!r} holds {len(traces)} traces ({labels}); pass it to simlab.load_traces"
            )
        return traces[0]


def write(path: str | os.PathLike[str], traces: Sequence[Trace], **more: Any) -> None:
    """Write traces of one call to one Parquet file; `more` is kept beside them, as JSON. There may be none."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = [trace.frame for trace in traces] or [pd.DataFrame()]
    whole = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    columns: dict[str, list[Any]] = {"x": [], "x0": [], "state": [], "clock": []}
    about = []
    for trace in traces:
        described, arrays = _described(trace)
        about.append(described)
        replicate = trace.frame["replicate"].to_numpy()
        last = np.append(replicate[1:] != replicate[:-1], True)
        for name in ("x", "state", "clock"):
            ends = iter(arrays[name] if name in arrays else [None] * int(last.sum()))
            columns[name] += [next(ends) if is_last else None for is_last in last]
        columns["x0"] += [None if trace.x0 is None else trace.x0.reshape(-1), *[None] * (len(replicate) - 1)]
    table = pa.Table.from_pandas(whole, preserve_index=False)
    real = pa.from_numpy_dtype(traces[0].x.dtype) if traces else pa.float64()
    for name, rows in columns.items():
        if name in ("x", "x0") or any(row is not None for row in rows):
            table = table.append_column(name, pa.array(rows, pa.list_(pa.float64() if name == "clock" else real)))
    metadata = {"simlab": json.dumps({"traces": about, **more})}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    whole_file(path, partial(pq.write_table, table, write_page_checksum=True))


def whole_file(path: str | os.PathLike[str], fill: Callable[[Path], Any]) -> None:
    """Let `fill` write the file `path`, which is then complete or as it was before."""
    target = Path(checks.instance("path", path, str | os.PathLike, "the name of a file"))
    if not target.name or target.is_dir():
        raise ValueError(f"path = {str(path)!r} is a folder; pass the name of a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        fill(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _described(trace: Trace) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A trace but for its frame: what is JSON, and arrays of one row a replicate."""
    replicates = len(trace.x)
    arrays = {"x": trace.x.reshape(replicates, -1)}
    described: dict[str, Any] = {
        "rows": len(trace.frame), "shape": trace.x.shape, "provenance": trace.provenance,
    }  # fmt: skip
    if trace.position is not None:
        position = trace.position
        first, *others = position.state
        # The first field is x, unless the run was cut short.
        kept = others if np.array_equal(position.state[first], trace.x) else [first, *others]
        described["position"] = {
            **position._asdict(),
            "state": {name: a.shape[-1] for name, a in position.state.items()},
            "kept": kept,
            "sent": position.sent.tolist(),
            "spent": position.spent.tolist(),
            "clock": None,
        }
        if kept:
            arrays["state"] = np.concatenate([position.state[name].reshape(replicates, -1) for name in kept], axis=1)
        if position.clock is not None:
            arrays["clock"] = position.clock
    return described, arrays


@checks.keywords
def load_traces(path: str | os.PathLike[str]) -> list[Trace]:
    """Read all traces of a file: one that `Trace.save` wrote, a checkpoint of `simlab.simulate`, or a cell of a sweep.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of Trace
        In the order of the algorithms. Without problem, network and algorithm objects; the provenance describes them.

    Raises
    ------
    TypeError
        If `path` is neither text nor a path.
    FileNotFoundError
        If there is no file.
    ValueError
        If it is a folder, or the file is not whole, or holds no traces.
    """
    content, table = read(path)
    about = content["traces"]
    if not about:
        raise ValueError(f"path = {str(path)!r} is a cell of a sweep that failed: {content['cell']['reason']}")
    whole = table.drop_columns(
        [name for name in ("x", "x0", "state", "clock") if name in table.column_names]
    ).to_pandas()
    ends = np.cumsum([each["rows"] for each in about]).tolist()
    found, first = [], 0
    for each, end in zip(about, ends, strict=True):
        shape = each["shape"]
        part = table.slice(first, end - first)
        arrays = {
            name: np.concatenate([chunk.flatten().to_numpy() for chunk in part.column(name).chunks])
            for name in ("x", "x0", "state", "clock")
            if name in part.column_names
        }
        x, x0 = arrays["x"].reshape(shape), arrays["x0"].reshape(shape[1:]) if arrays["x0"].size else None
        position = _position(each["position"], x, arrays) if "position" in each else None
        frame = whole.iloc[first:end].reset_index(drop=True) if len(about) > 1 else whole
        found.append(Trace(x, frame, each["provenance"], x0, position=position))
        first = end
    return found


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Any]:
    """What is JSON in a file of traces, and the table; each byte of it is checked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path = {path!r} is not a path; pass that of a file that Trace.save wrote")
    if Path(path).is_dir():
        raise ValueError(f"path = {str(path)!r} is a folder; pass a file that Trace.save wrote")
    if not Path(path).exists():
        raise FileNotFoundError(f"path = {str(path)!r} does not exist; pass a file that Trace.save wrote")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"path = {str(path)!r} is not a whole Parquet file ({error}); pass a file that Trace.save wrote"
        ) from None
    metadata = table.schema.metadata or {}
    if b"simlab" not in metadata:
        raise ValueError(f"path = {str(path)!r} holds no trace; pass a file that Trace.save wrote")
    return json.loads(metadata[b"simlab"]), table


def _position(described: dict[str, Any], x: np.ndarray, arrays: dict[str, np.ndarray]) -> Position:
    replicates, n_nodes, _ = x.shape
    widths, kept = described["state"], described.pop("kept")
    parts = {}
    if kept:
        rows = arrays["state"].reshape(replicates, -1)
        cuts = np.cumsum([n_nodes * widths[name] for name in kept])[:-1]
        parts = dict(zip(kept, np.split(rows, cuts, axis=1), strict=True))
    state = {name: parts[name].reshape(replicates, n_nodes, w) if name in parts else x for name, w in widths.items()}
    clock = arrays["clock"].reshape(replicates, -1) if "clock" in arrays and arrays["clock"].size else None
    counts = {name: np.array(described[name], np.int64) for name in ("sent", "spent")}
    return Position(**{**described, "state": state, "clock": clock, **counts})


@checks.keywords
def frame(traces: Iterable[Trace] | Mapping[str, Trace], *, hyperparameters: bool = False) -> pd.DataFrame:
    """The frames of several traces, one below the other.

    Parameters
    ----------
    traces : iterable of Trace, or mapping of str to Trace
        The names of a mapping become a column `run`: traces that agree in algorithm and replicate, because problem or
        network differ, need it.
    hyperparameters : bool, default False
        Add columns `algorithm_class`, and one for each hyperparameter that is a number in one of the traces (NaN where
        it is a schedule or there is none), as plots of a sweep want them.

    Returns
    -------
    pandas.DataFrame
        Tidy: told apart by the columns `algorithm` and `replicate`, and `run` if there is one. A replicate that
        diverged has no rows from there on, see `Trace.diverged`.

    Raises
    ------
    TypeError, ValueError
        If `traces` holds anything but traces, nothing, or traces that could not be told apart; if a hyperparameter has
        the name of a column.
    """
    import pandas as pd

    if isinstance(traces, Trace):
        raise TypeError(f"traces = {traces!r} is a single trace; pass a list of them, or take its own `frame`")
    remedy = "a list or a mapping of what simlab.simulate returned"
    listed = checks.each("traces", traces.values() if isinstance(traces, Mapping) else traces, Trace, remedy)
    named = dict(zip(traces if isinstance(traces, Mapping) else range(len(listed)), listed, strict=True))
    frames = []
    seen: set[Any] = set()
    for name, trace in named.items():
        table, label = trace.frame, trace.provenance.get("label")
        if isinstance(traces, Mapping):
            table = table.assign(run=name)[["run", *table.columns]]
        elif label in seen:
            raise ValueError(
                f"traces holds two of {label}, which the frame could not tell apart; simulate them in one list, or "
                "pass a mapping such as {'ring': trace, 'star': other}, whose names become a column"
            )
        seen.add(label)
        if checks.flag("hyperparameters", hyperparameters):
            algorithm = trace.provenance["algorithm"]
            numbers = {k: v for k, v in algorithm.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
            taken = numbers.keys() & {*table.columns, "algorithm_class"}
            if taken:
                raise ValueError(
                    f"hyperparameters = True: {label} has one named {min(taken)}, as is a column; rename it there"
                )
            table = table.assign(algorithm_class=algorithm["name"], **numbers)
        frames.append(table)
    if not frames:
        raise ValueError("traces = [] holds no trace; pass what simlab.simulate returned for a list of algorithms")
    return pd.concat(frames, ignore_index=True)
