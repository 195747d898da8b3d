"""Runs that go on: from a trace, or from the file of one that was killed."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simlab.run.code import code
from simlab.run.provenance import circumstances, describe
from simlab.run.settings import Settings, check_cluster, check_nouns, check_record
from simlab.step.graph import is_algorithm
from simlab.trace import Trace, load_traces, write

# What a run that goes on has to share with what it goes on from.
SHARED = (
    "problem", "network", "x0", "batch_size", "noise_std", "seed", "record_every", "engine", "dtype", "record",
    "cluster",
)  # fmt: skip


class Keeper:
    """Of the checkpoint of a call.

    Parameters
    ----------
    path : path or None
        Its file; None for none.
    every : float
        Seconds between two.
    """

    def __init__(self, path: str | os.PathLike[str] | None, every: float) -> None:
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"checkpoint = {path!r} is not a path; pass the name of a file")
        if path is not None and Path(path).is_dir():
            raise ValueError(f"checkpoint = {str(path)!r} is a folder; pass the name of a file")
        self.path = None if path is None else Path(path)
        self.every = every
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self.path is not None and time.monotonic() - self._last >= self.every

    def write(self, traces: list[Trace]) -> None:
        """Replace the file; a warning where it cannot be."""
        if self.path is None:
            return
        try:
            write(self.path, traces)
        except OSError as error:
            warnings.warn(
                f"checkpoint = {str(self.path)!r} cannot be written ({error}); the run goes on without: make room, or "
                "pass another path",
                RuntimeWarning,
                stacklevel=2,
            )
        self._last = time.monotonic()

    def found(
        self,
        problem: Any,
        network: Any,
        algorithms: list[Any],
        labels: list[str],
        start: np.ndarray,
        settings: Settings,
    ) -> list[Trace] | None:
        """The traces of an earlier call like this one, None if there are none.

        Raises
        ------
        ValueError
            If the file is of another call.
        """
        if self.path is None or not self.path.exists():
            return None
        traces = load_traces(self.path)
        remedy = "delete it, or pass another path"
        if [trace.provenance["label"] for trace in traces] != labels:
            raise ValueError(f"checkpoint = {str(self.path)!r} is of other algorithms, {_labels(traces)}; {remedy}")
        about = circumstances(problem, network, settings, start)
        for trace, algorithm in zip(traces, algorithms, strict=True):
            differ = _differ(
                trace.provenance, {**about, "algorithm": describe(algorithm), "code": code(type(algorithm))}
            )
            differ += [name for name in ("replicates", "stop_when") if trace.provenance[name] != about[name]]
            if differ:
                raise ValueError(
                    f"checkpoint = {str(self.path)!r} is of a call with another {', '.join(differ)}; {remedy}, or "
                    "load it with simlab.load_traces and go on with simlab.resume"
                )
            if trace.position is None or trace.position.step > settings.steps:
                raise ValueError(
                    f"checkpoint = {str(self.path)!r} is of a longer run than steps = {settings.steps}; {remedy}"
                )
        return traces


def again(traces: Sequence[Trace], given: Mapping[str, Any], several: bool) -> tuple[Any, ...]:
    """Problem, network, algorithms, labels, start and settings of the runs that left these traces.

    Parameters
    ----------
    traces : sequence of Trace
    given : mapping
        What was passed to `resume` of problem, network, algorithm, record and cluster.
    several : bool
        Whether a list of traces was.
    """
    first = traces[0]
    for trace in traces:
        if trace.position is None:
            raise ValueError(
                f"trace = {trace!r} does not hold where its run can go on; it was interrupted within a step of a "
                "network too large to be kept twice: simulate it with checkpoint=..., or again"
            )
    algorithms: list[Any] = [trace.algorithm for trace in traces]
    if "algorithm" in given:
        one = is_algorithm(given["algorithm"])  # a tuple, too
        algorithms = [given["algorithm"]] if one or not several else list(given["algorithm"])
    if len(algorithms) != len(traces):
        raise ValueError(f"algorithm holds {len(algorithms)} for {len(traces)} traces; pass one for each")
    held = {"problem": first.problem, "network": first.network}
    if first.settings is not None:
        held |= {"record": first.settings.record, "cluster": first.settings.cluster}
    objects = {**held, **given}
    for name in ("problem", "network"):
        if objects[name] is None:
            raise ValueError(f"trace = {first!r} was loaded, without its {name}; pass {name}=...")
    if any(algorithm is None for algorithm in algorithms):
        raise ValueError(f"trace = {first!r} was loaded, without its algorithm; pass algorithm=...")
    about = first.provenance
    for name in ("record", "cluster"):
        if about[name] and objects.get(name) is None:
            raise ValueError(f"trace = {first!r} was loaded, and its run had a {name}; pass {name}=...")
    check_nouns(objects["problem"], objects["network"], algorithms)
    settings = Settings(
        **{name: about[name] for name in ("batch_size", "noise_std", "seed", "record_every", "engine")},
        steps=first.position.steps if first.position is not None else 0,
        replicates=len(first.x),
        dtype=np.dtype(about["dtype"]),
        record=check_record(objects.get("record")),
        cluster=check_cluster(objects.get("cluster")),
    )
    assert first.x0 is not None
    now = circumstances(objects["problem"], objects["network"], settings, first.x0)
    for trace, algorithm in zip(traces, algorithms, strict=True):
        differ = _differ(trace.provenance, {**now, "algorithm": describe(algorithm), "code": code(type(algorithm))})
        if len(trace.x) != len(first.x):
            differ.append("number of replicates")
        if differ:
            raise ValueError(
                f"trace = {trace!r} is of a run with another {', '.join(differ)} than what it shall go on with; "
                "pass what it was simulated with"
            )
    labels = [trace.provenance["label"] for trace in traces]
    return objects["problem"], objects["network"], algorithms, labels, first.x0, settings


def joined(one: Trace, two: Trace) -> Trace:
    """The replicates of two traces of one run, those of `one` first."""
    import pandas as pd

    a, b = one.position, two.position
    assert a is not None and b is not None
    position = a._replace(
        state={name: np.concatenate([a.state[name], b.state[name]]) for name in a.state},
        sent=np.concatenate([a.sent, b.sent]),
        spent=np.concatenate([a.spent, b.spent]),
        clock=None if a.clock is None or b.clock is None else np.concatenate([a.clock, b.clock]),
        streams=[*a.streams, *b.streams],
    )
    provenance = {
        **one.provenance,
        "replicates": len(one.x) + len(two.x),
        "diverged": {**one.provenance["diverged"], **two.provenance["diverged"]},
        "seconds": one.provenance["seconds"] + two.provenance["seconds"],
    }
    frame = pd.concat([one.frame, two.frame], ignore_index=True)
    x = np.concatenate([one.x, two.x])
    return replace(one, x=x, frame=frame, provenance=provenance, position=position)


def _differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of what two runs do not share."""
    plain = json.loads(json.dumps({name: new[name] for name in (*SHARED, "algorithm", "code")}))
    then = json.loads(json.dumps({name: old.get(name) for name in plain}))
    return [{"code": "code of the algorithm"}.get(name, name) for name, value in plain.items() if then[name] != value]


def _labels(traces: Sequence[Trace]) -> str:
    return ", ".join(trace.provenance["label"] for trace in traces)
