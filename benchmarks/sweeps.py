"""Sweeps: what two workers gain over one, what a cell costs beside its run, how soon finished cells are recognized."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import simlab
from benchmarks.measure import Row, ratio, seconds
from simlab.run.identity import Identities
from simlab.sweeps.cells import Cell
from simlab.sweeps.store import path_of

RUNS, CELLS, MANY = 24, 200, 100_000
REPEATS = 3


def run() -> list[Row]:
    """Speedup by two local processes and by two of Dask's, milliseconds a cell, seconds for 10^5 cells."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        long = grid(steps=300_000, seed=range(RUNS))
        number = iter(range(10**6))

        def sweep(cells: list[Cell], **options: Any) -> None:
            simlab.sweep(cells, Path(folder) / str(next(number)), progress=False, **options)

        for workers in (1, 2):  # compiled programs are kept from here
            sweep(long[:2], workers=workers)
        took = seconds({str(workers): partial(sweep, long, workers=workers) for workers in (1, 2)}, REPEATS)
        rows.append(ratio("sweeps", "one local worker / two", took["1"] / took["2"], at_least=1.8))
        rows.append(ratio("sweeps", "Dask, one worker / two", by_dask(long, sweep), at_least=1.7))
        short = grid(steps=100, seed=range(CELLS))
        took = seconds(
            {
                "sweep": partial(sweep, short, workers=0),
                "runs": lambda: [simlab.simulate(**cell.arguments, progress=False) for cell in short],
            },
            REPEATS,
        )
        beside = 1000 * (took["sweep"] - took["runs"]) / CELLS
        rows.append(ratio("sweeps", "milliseconds of a cell beside its run", beside, at_most=5.0))
        rows.append(ratio("sweeps", f"seconds to recognize {MANY} finished cells", recognized(folder), at_most=10.0))
    return rows


def grid(**options: Any) -> list[Cell]:
    """Cells of DecentLaM on mini-batches."""
    problem = simlab.LeastSquares.synthetic(n_nodes=16, n_samples=50, dim=10, seed=1)
    network = simlab.topologies.ring(16)
    algorithm = simlab.DecentLaM(lr=0.01)
    return simlab.grid(
        problem=problem, network=network, algorithm=algorithm, batch_size=5, record_every=options["steps"], **options
    )


def by_dask(cells: list[Cell], sweep: Any) -> Any:
    """The same cells by one and by two processes of a real scheduler."""
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.ERROR}
    with (
        LocalCluster(n_workers=1, **options) as small,
        LocalCluster(n_workers=2, **options) as large,
        Client(small) as one,
        Client(large) as two,
    ):
        for client in (one, two):
            sweep(cells[:2], client=client)
        took = seconds({"1": partial(sweep, cells, client=one), "2": partial(sweep, cells, client=two)}, REPEATS)
    return took["1"] / took["2"]


def recognized(folder: str) -> Any:
    """Seconds of a sweep whose cells, copies of one, are all there."""
    cells = grid(steps=10, seed=range(MANY))
    place = Path(folder) / "many"
    simlab.sweep(cells[:1], place, workers=0, progress=False)
    identities = Identities()
    first, *others = (path_of(place, identities.of(cell.arguments)) for cell in cells)
    for path in others:
        shutil.copyfile(first, path)
    simlab.sweep(cells, place, progress=False)  # lists them
    began = time.perf_counter()
    simlab.sweep(cells, place, progress=False)
    return [time.perf_counter() - began]
