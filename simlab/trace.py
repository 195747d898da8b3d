"""What a simulation leaves: final states, a tidy frame, and everything the result depends on."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlab import checks
from simlab.network import AnyNetwork
from simlab.problems.base import Problem
from simlab.protocols import Algorithm

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Trace:
    """One algorithm's run.

    Attributes
    ----------
    x : array (replicates, n, d)
        Final states; of a replicate that diverged, the last ones that were in range (of networks so large that a
        chunk's start is not kept, those out of range); of an interrupted run, those at which it stopped, which may be
        later than the last record.
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
    """

    x: np.ndarray
    frame: pd.DataFrame
    provenance: dict[str, Any]
    x0: np.ndarray | None = field(default=None, repr=False)
    problem: Problem | None = field(default=None, repr=False)
    network: AnyNetwork | None = field(default=None, repr=False)
    algorithm: Algorithm | None = field(default=None, repr=False)

    @property
    def diverged(self) -> dict[int, int]:
        """The step at which each replicate that diverged did so; its rows end before."""
        return {int(replicate): step for replicate, step in self.provenance["diverged"].items()}

    def __repr__(self) -> str:
        replicates, n, d = self.x.shape
        last = self.frame.groupby("replicate")[["mse", "loss"]].last().mean()
        measure = "loss" if np.isnan(last["mse"]) else "mse"  # without a known minimizer there is no mse
        return (
            f"Trace({self.provenance.get('label', '?')}: {self.provenance.get('steps', '?')} steps, "
            f"{replicates} replicate(s), n = {n}, d = {d}, last {measure} {last[measure]:.3g})"
        )

    @checks.keywords
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to one Parquet file.

        The frame is the table; a column `x` holds the final states in each replicate's last row, a column `x0` the
        initial ones in the first row, and the provenance is the file's metadata. The file is complete or absent: it is
        written beside `path` and then renamed.

        Parameters
        ----------
        path : str or path
            Directories that are missing are made.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        last = set(self.frame.groupby("replicate").tail(1).index)
        rows = iter(self.x.reshape(len(self.x), -1))
        states = [next(rows) if index in last else None for index in self.frame.index]
        start = [None if self.x0 is None else self.x0.reshape(-1), *[None] * (table.num_rows - 1)]
        lists = pa.list_(pa.from_numpy_dtype(self.x.dtype))
        table = table.append_column("x", pa.array(states, lists)).append_column("x0", pa.array(start, lists))
        metadata = {"simlab": json.dumps({"shape": self.x.shape, "provenance": self.provenance})}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
        target = Path(checks.instance("path", path, str | os.PathLike, "the name of a file"))
        if not target.name or target.is_dir():
            raise ValueError(f"path = {str(path)!r} is a folder; pass the name of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            pq.write_table(table, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

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
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path = {path!r} is not a path; pass that of a file that Trace.save wrote")
        if Path(path).is_dir():
            raise ValueError(f"path = {str(path)!r} is a folder; pass a file that Trace.save wrote")
        if not Path(path).exists():
            raise FileNotFoundError(f"path = {str(path)!r} does not exist; pass a file that Trace.save wrote")
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"path = {str(path)!r} is not a Parquet file ({error}); pass a file that Trace.save wrote"
            ) from None
        metadata = table.schema.metadata or {}
        if b"simlab" not in metadata:
            raise ValueError(f"path = {str(path)!r} holds no trace; pass a file that Trace.save wrote")
        about = json.loads(metadata[b"simlab"])
        states, start = (
            np.concatenate([chunk.flatten().to_numpy() for chunk in table.column(name).chunks]) for name in ("x", "x0")
        )
        x0 = start.reshape(about["shape"][1:]) if start.size else None
        frame = table.drop_columns(["x", "x0"]).to_pandas()
        return cls(states.reshape(about["shape"]), frame, about["provenance"], x0)


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
