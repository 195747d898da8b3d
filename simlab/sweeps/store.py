"""The folder of a sweep: a Parquet file a cell, named by what its numbers depend on, and an index of them.

A file is whole or not there. The index only saves reading: it knows each file by its size and time, and may be missing
or old.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlab import checks
from simlab.run.provenance import describe
from simlab.trace import Trace, read, whole_file, write

if TYPE_CHECKING:
    import pandas as pd

INDEX = "index.parquet"
CELL = re.compile(r"[0-9a-f]{32}\.parquet")
SHARE = 0.1  # of the cells that may be missing in the index
FEW = 500
READERS = 4


def path_of(folder: str | os.PathLike[str], key: str) -> Path:
    """The file of a cell."""
    return Path(folder) / f"{key}.parquet"


def keep(
    folder: str, key: str, names: Mapping[str, Any], algorithms: tuple[str, ...], traces: list[Trace], seconds: float
) -> str:
    """Write the file of a cell that has run; its summary, as JSON."""
    settings = []
    for called, trace in zip(algorithms, traces, strict=True):
        described = trace.provenance["algorithm"]
        columns = {name: trace.frame[name].to_numpy() for name in trace.frame.columns if name != "algorithm"}
        replicate = columns["replicate"]
        last = np.flatnonzero(np.append(replicate[1:] != replicate[:-1], True))
        rows = [{name: column[k].item() for name, column in columns.items()} for k in last]
        for row in rows:
            row["status"], row["reason"] = _outcome(trace, row["replicate"])
        settings.append({"algorithm": called, **_numbers(described), "rows": rows})
    about = {"names": dict(names), "settings": settings, "seconds": round(seconds, 4), "reason": ""}
    write(path_of(folder, key), traces, cell=about)
    return json.dumps(about)


def keep_failure(
    folder: str, key: str, names: Mapping[str, Any], algorithms: Mapping[str, Any], replicates: Any, reason: str
) -> str:
    """Write the file of a cell that cannot run, with the reason; its summary."""
    about = failure(names, algorithms, replicates, "failed", reason)
    write(path_of(folder, key), [], cell=about)
    return json.dumps(about)


def failure(
    names: Mapping[str, Any], algorithms: Mapping[str, Any], replicates: Any, status: str, reason: str
) -> dict[str, Any]:
    """The summary of a cell without numbers."""
    count = replicates if isinstance(replicates, int) and replicates > 0 else 1
    rows = [{"replicate": r, "status": status, "reason": reason} for r in range(count)]
    settings = [{"algorithm": called, **_numbers(describe(a)), "rows": rows} for called, a in algorithms.items()]
    return {"names": dict(names), "settings": settings, "seconds": 0.0, "reason": reason}


def _outcome(trace: Trace, replicate: int) -> tuple[str, str]:
    if replicate in trace.diverged:
        return "diverged", f"at step {trace.diverged[replicate]}"
    return ("stopped", trace.stopped) if trace.stopped else ("finished", "")


def _numbers(described: Mapping[str, Any]) -> dict[str, Any]:
    """The class of an algorithm and its hyperparameters that are numbers."""
    numbers = {k: v for k, v in described.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {"algorithm_class": described["name"], **numbers}


class Store:
    """What is in a folder: the summaries of its cells, as JSON, by their keys.

    Attributes
    ----------
    folder : Path
    found : dict of str to str
    damaged : dict of str to str
        Files that are not whole, with the reason.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(checks.instance("folder", folder, str | os.PathLike, "the name of a folder"))
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"folder = {str(folder)!r} is a file; pass the name of a folder")
        self.found: dict[str, str] = {}
        self.damaged: dict[str, str] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._unlisted = 0
        self.look()

    def look(self) -> None:
        """Take in what is there."""
        if not self.folder.is_dir():
            return
        stamps = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if CELL.fullmatch(entry.name):
                    stat = entry.stat()
                    stamps[entry.name[:32]] = stat.st_size, stat.st_mtime_ns
        for key, stamp, listed in self._listed():
            if stamps.get(key) == stamp:
                self._take(key, stamp, listed)
        new = [key for key in stamps if key not in self.found]
        with ThreadPoolExecutor(READERS) as pool:
            for key, (summary, reason) in zip(new, pool.map(self._read, new), strict=True):
                if summary is None:
                    self.damaged[key] = reason
                else:
                    self._take(key, stamps[key], summary)
        self._unlisted = len([key for key in new if key in self.found])
        self.list_again()

    def add(self, key: str, summary: str) -> None:
        """A cell whose file has been written."""
        stat = os.stat(path_of(self.folder, key))
        self._take(key, (stat.st_size, stat.st_mtime_ns), summary)
        self.damaged.pop(key, None)
        self._unlisted += 1
        self.list_again()

    def list_again(self, *, now: bool = False) -> None:
        """Write the index, once a tenth of the cells is not in it."""
        if not self._unlisted or not (now or self._unlisted > max(FEW, SHARE * len(self.found))):
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys = list(self.found)
        table = pa.table(
            {
                "cell": keys,
                "size": [self._stamps[key][0] for key in keys],
                "time": [self._stamps[key][1] for key in keys],
                "summary": [self.found[key] for key in keys],
            }
        )
        try:
            whole_file(self.folder / INDEX, lambda path: pq.write_table(table, path, write_page_checksum=True))
        except OSError:  # a full disk, a folder of others: it is not needed
            return
        self._unlisted = 0

    def _take(self, key: str, stamp: tuple[int, int], summary: str) -> None:
        self.found[key], self._stamps[key] = summary, stamp

    def _listed(self) -> Iterator[tuple[str, tuple[int, int], str]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.folder / INDEX, page_checksum_verification=True) as file:
                columns = file.read().to_pydict()
            yield from zip(
                columns["cell"], zip(columns["size"], columns["time"], strict=True), columns["summary"], strict=True
            )
        except (OSError, pa.ArrowException, KeyError):
            return

    def _read(self, key: str) -> tuple[str | None, str]:
        try:
            return json.dumps(read(path_of(self.folder, key))[0]["cell"]), ""
        except (ValueError, KeyError, OSError) as error:
            return None, str(error)


Row = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]  #: names, the algorithm, its record and outcome


def rows(summary: Mapping[str, Any], key: str, names: Mapping[str, Any], algorithms: Iterable[str]) -> Iterator[Row]:
    """The rows of a cell, a run each, under these names."""
    for called, setting in zip(algorithms, summary["settings"], strict=True):
        about = {"algorithm": called, **{k: v for k, v in setting.items() if k not in ("rows", "algorithm")}}
        for row in setting["rows"]:
            yield dict(names), about, {**row, "seconds": summary["seconds"], "cell": key}


def framed(listed: list[Row]) -> pd.DataFrame:
    """Rows as a frame, with what became of each run at its end."""
    import pandas as pd

    columns = [name for k in range(3) for name in dict.fromkeys(name for row in listed for name in row[k])]
    last = [name for name in ("status", "reason", "seconds", "cell") if name in columns]
    columns = [*dict.fromkeys(name for name in columns if name not in last), *last]
    return pd.DataFrame([{**names, **about, **row} for names, about, row in listed], columns=columns)


def warn_of_damage(store: Store, what: str) -> None:
    """A warning that names the files that are not whole."""
    if store.damaged:
        key, reason = next(iter(store.damaged.items()))
        more = f" and {len(store.damaged) - 1} more" if len(store.damaged) > 1 else ""
        warnings.warn(
            f"{path_of(store.folder, key)}{more} is not whole, {what}: {reason}", RuntimeWarning, stacklevel=4
        )


@checks.keywords
def load_sweep(folder: Any, **columns: Any) -> pd.DataFrame:
    """The results of sweeps, as `simlab.sweep` returns them.

    Parameters
    ----------
    folder : path, or list of paths
        Those of several are merged: a cell that is in two of them counts once. To merge the folders themselves copy the
        files of one into the other.
    **columns
        Which rows: of a column a value, or a list of them.

    Returns
    -------
    pandas.DataFrame
        See `simlab.sweep`. Under the names that they had when they ran. The traces of a row are
        ``simlab.load_traces(f"{folder}/{cell}.parquet")``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder.
    ValueError
        There is no cell in it, or no such column.

    Warns
    -----
    RuntimeWarning
        If files are damaged, with their names.
    """
    single = [folder] if isinstance(folder, str | os.PathLike) else folder
    folders = checks.each("folder", single, str | os.PathLike, "the name of a folder, or a list of them")
    found: dict[str, str] = {}
    for each in folders:
        if Path(each).is_file():
            raise NotADirectoryError(f"folder = {str(each)!r} is a file; simlab.load_traces reads the traces of one")
        if not Path(each).is_dir():
            raise FileNotFoundError(f"folder = {str(each)!r} does not exist; pass one that simlab.sweep has filled")
        store = Store(each)
        warn_of_damage(store, "and left out")
        found = {**store.found, **found}
    if not found:
        named = ", ".join(repr(os.fspath(each)) for each in folders)
        raise ValueError(f"folder = {named} holds no cell; pass one that simlab.sweep has filled")
    listed: list[Row] = []
    for key, text in sorted(found.items()):
        summary = json.loads(text)
        listed += rows(summary, key, summary["names"], [setting["algorithm"] for setting in summary["settings"]])
    frame = framed(listed)
    for name, value in columns.items():
        checks.one_of("column", name, frame.columns)
        wanted = list(value) if isinstance(value, (list, tuple, set, range, np.ndarray)) else [value]
        frame = frame[frame[name].isin(wanted)]
    return frame.reset_index(drop=True)
