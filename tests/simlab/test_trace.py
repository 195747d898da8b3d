"""Traces: on disk and back, joined, cited, with all that they depend on."""

from __future__ import annotations

import json
import os
import pickle
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import simlab
import theory
from simlab import simulation
from simlab.operations import gradient
from simlab.run.provenance import fingerprint
from tests.helpers import strategies

PROBLEM = strategies.objective("least_squares", 4, 3, 6, np.random.default_rng(0)).problem
NETWORK = simlab.topologies.ring(4)


def run(algorithm: Any, **choices: Any) -> Any:
    options = {"steps": 9, "record_every": 4, "engine": "numpy", "noise_std": 0.1, "progress": False, **choices}
    return simlab.simulate(PROBLEM, NETWORK, algorithm, **options)


def assert_same(one: Any, two: Any) -> None:
    np.testing.assert_array_equal(one.x, two.x)
    assert one.x.dtype == two.x.dtype
    np.testing.assert_array_equal(one.x0, two.x0)
    assert one.x0.dtype == two.x0.dtype
    pd.testing.assert_frame_equal(one.frame, two.frame)
    assert json.loads(json.dumps(one.provenance)) == two.provenance


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("replicates", [1, 3])
def test_round_trip(tmp_path: Path, dtype: str, replicates: int) -> None:
    trace = run(simlab.DecentLaM(0.1), dtype=dtype, replicates=replicates, batch_size=2, x0=np.arange(3.0))
    path = tmp_path / "not" / "yet" / "there.parquet"
    trace.save(path)
    loaded = simlab.Trace.load(str(path))
    assert_same(trace, loaded)
    assert loaded.problem is loaded.network is loaded.algorithm is None
    loaded.save(tmp_path / "again.parquet")
    assert_same(simlab.Trace.load(tmp_path / "again.parquet"), loaded)
    assert os.listdir(path.parent) == ["there.parquet"]


def test_round_trip_of_a_diverged_replicate(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="diverged"):
        trace = run(simlab.DSGD(50.0), steps=500, replicates=2, x0=np.ones(3))
    trace.save(tmp_path / "trace.parquet")
    loaded = simlab.Trace.load(tmp_path / "trace.parquet")
    assert_same(trace, loaded)
    assert loaded.provenance["diverged"].keys() == {"0", "1"}


def test_round_trip_of_no_steps(tmp_path: Path) -> None:
    trace = run(simlab.DSGD(0.1), steps=0, replicates=2, x0=np.arange(12.0).reshape(4, 3))
    trace.save(tmp_path / "trace.parquet")
    assert_same(trace, simlab.Trace.load(tmp_path / "trace.parquet"))


def test_frame_is_plain_parquet(tmp_path: Path) -> None:
    """Other programs read the frame without simlab."""
    trace = run(simlab.DSGD(0.1))
    trace.save(tmp_path / "trace.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trace.parquet").drop(columns=["x", "x0"]), trace.frame)


@pytest.mark.parametrize("x0", [None, np.arange(12.0).reshape(4, 3)])
def test_a_loaded_trace_is_judged_like_the_one_that_was_saved(tmp_path: Path, x0: Any) -> None:
    trace = run(simlab.DSGD(0.1), x0=x0, noise_std=0.0)
    trace.save(tmp_path / "trace.parquet")
    loaded = simlab.Trace.load(tmp_path / "trace.parquet")
    with pytest.raises(ValueError, match="attach them with dataclasses"):
        theory.verify(loaded)
    attached = replace(loaded, problem=PROBLEM, network=NETWORK, algorithm=simlab.DSGD(0.1))
    assert theory.verify(attached)["prediction, mse"].verdict == "holds"
    pd.testing.assert_frame_equal(theory.verify(attached).frame, theory.verify(trace).frame)


def test_an_interrupted_trace_is_judged_at_its_last_record(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupting(steps: int, progress: bool | None) -> Iterator[Any]:
        def show(done: int) -> None:
            if done > 10:
                raise KeyboardInterrupt

        yield show

    monkeypatch.setattr(simulation, "_progress_bar", interrupting)
    with pytest.raises(simlab.SimulationInterrupted) as caught:
        run(simlab.DSGD(0.01), steps=10**6, record_every=5, noise_std=0.0)
    (trace,) = caught.value.traces
    assert trace.provenance["interrupted"]
    assert 10 <= trace.provenance["steps"] == trace.frame["step"].max() < 10**6
    assert theory.verify(trace)["prediction, mse"].verdict == "holds"


def test_only_traces_are_joined() -> None:
    trace = run(simlab.DSGD(0.1))
    with pytest.raises(TypeError, match="is a single trace; pass a list"):
        simlab.frame(trace)
    with pytest.raises(TypeError, match="holds 7, which is not a Trace"):
        simlab.frame([trace, 7])
    with pytest.raises(ValueError, match="holds no trace; pass"):
        simlab.frame([])


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    import pyarrow.parquet

    path = tmp_path / "trace.parquet"
    old = run(simlab.DSGD(0.1))
    old.save(path)

    def write_half(table: Any, where: Any, *arguments: Any, **choices: Any) -> None:
        Path(where).write_bytes(b"PAR1 and then nothing")
        raise failure

    monkeypatch.setattr(pyarrow.parquet, "write_table", write_half)
    with pytest.raises(type(failure)):
        run(simlab.DSGD(0.2)).save(path)
    assert_same(old, simlab.Trace.load(path))
    assert os.listdir(tmp_path) == ["trace.parquet"]


def test_saved_files_have_ordinary_permissions(tmp_path: Path) -> None:
    run(simlab.DSGD(0.1)).save(tmp_path / "trace.parquet")
    (tmp_path / "plain").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("trace.parquet", "plain")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("content", [b"", b"step,mse\n0,1\n", b"PAR1garbage", "other parquet", "truncated"])
def test_what_is_not_a_trace(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.parquet"
    if content == "other parquet":
        pd.DataFrame({"x": [1.0]}).to_parquet(path)
    elif content == "truncated":
        run(simlab.DSGD(0.1)).save(path)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"path = '{re.escape(str(path))}' .*; pass a file that Trace\.save wrote"):
        simlab.Trace.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.parquet' does not exist; pass"):
        simlab.Trace.load(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="is a folder; pass"):
        simlab.Trace.load(tmp_path)
    with pytest.raises(TypeError, match="path = 7 is not a path"):
        simlab.Trace.load(7)  # type: ignore[arg-type]


def test_frames_are_joined() -> None:
    traces = run([simlab.DSGD(0.1), simlab.DecentLaM(0.1)], replicates=2)
    joined = simlab.frame(traces)
    assert joined.index.tolist() == list(range(len(joined)))
    for trace, (_, part) in zip(traces, joined.groupby("algorithm", sort=False), strict=True):
        pd.testing.assert_frame_equal(part.reset_index(drop=True), trace.frame)
    pd.testing.assert_frame_equal(simlab.frame(iter(traces)), joined)


def test_frames_that_cannot_be_told_apart_need_names() -> None:
    ring, other = run(simlab.DSGD(0.1)), run(simlab.DSGD(0.1), seed=1)
    with pytest.raises(ValueError, match=r"two of DSGD, which .* mapping such as"):
        simlab.frame([ring, other])
    joined = simlab.frame({"ring": ring, "other": other})
    assert joined.columns[0] == "run"
    for name, trace in (("ring", ring), ("other", other)):
        part = joined.loc[joined["run"] == name].drop(columns="run").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, trace.frame)


def test_hyperparameters_as_columns(tmp_path: Path) -> None:
    algorithms = [simlab.DSGD(np.float64(0.1)), simlab.DSGD(0.2), simlab.DmSGD(simlab.schedules.InverseSqrt(0.1), 0.5)]
    traces = run(algorithms)
    traces[0].save(tmp_path / "trace")
    assert traces[0].provenance["label"] == "DSGD(lr=0.1)"
    for first in (traces[0], simlab.Trace.load(tmp_path / "trace")):
        joined = simlab.frame([first, *traces[1:]], hyperparameters=True)
        found = joined.groupby("algorithm", sort=False)[["algorithm_class", "lr", "momentum"]].first()
        expected = {
            "algorithm_class": ["DSGD", "DSGD", "DmSGD"],
            "lr": [0.1, 0.2, np.nan],
            "momentum": [np.nan, np.nan, 0.5],
        }
        pd.testing.assert_frame_equal(found.reset_index(drop=True), pd.DataFrame(expected))


def test_a_trace_says_which_replicates_diverged() -> None:
    assert run(simlab.DSGD(0.1)).diverged == {}
    with pytest.warns(RuntimeWarning, match="diverged"):
        trace = run(simlab.DSGD(60.0), steps=400, replicates=2)
    assert trace.diverged == {int(r): step for r, step in trace.provenance["diverged"].items()}
    assert trace.diverged.keys() == {0, 1}


# Provenance.


def test_the_fingerprint_of_a_problem_is_that_of_its_data() -> None:
    """Whatever is drawn from it, and whatever was asked of it before."""
    random = np.random.default_rng(0)
    features, targets = random.standard_normal((4, 6, 3)), random.standard_normal((4, 6))

    def fingerprint(problem: Any, **choices: Any) -> str:
        network = simlab.topologies.ring(problem.n_nodes)
        trace = simlab.simulate(problem, network, simlab.DSGD(0.01), steps=1, progress=False, **choices)
        return trace.provenance["problem"]["data"]

    problem = simlab.LeastSquares(features, targets, l2=0.1)
    full = fingerprint(problem)
    assert problem.minimizer is not None and problem.smoothness > 0
    assert full == fingerprint(problem, batch_size=2) == fingerprint(simlab.LeastSquares(features, targets, l2=0.1))
    others = [
        simlab.LeastSquares(features, targets, l2=0.2),
        simlab.LeastSquares(features, 1.0 + targets, l2=0.1),
        problem.with_l1(0.1),
        simlab.LeastSquares(features.reshape(4, 3, 6), targets[:, :3], l2=0.1),
        simlab.Quadratic(np.ones((4, 3)), np.ones((4, 3))),
        simlab.Quadratic(2 * np.ones((4, 3)), np.ones((4, 3))),
        simlab.Quadratic(np.ones((3, 4)), np.ones((3, 4))),
    ]
    assert len({full, *map(fingerprint, others)}) == 1 + len(others)


def test_a_schedule_of_the_users_is_in_the_provenance() -> None:
    trace, other = run([simlab.DSGD(lambda k: 0.1 / (1 + k / 50)), simlab.DSGD(lambda k: 0.1 / (1 + k / 70))])
    assert "0.1 / (1 + k / 50)" in trace.provenance["algorithm"]["lr"]["source"]
    assert (trace.provenance["label"], other.provenance["label"]) == ("DSGD(lr=<lambda>) #1", "DSGD(lr=<lambda>) #2")


def test_provenance_says_what_the_numbers_depend_on() -> None:
    schedule = simlab.schedules.WarmUp(simlab.schedules.InverseSqrt(np.float32(0.5)), np.int64(5))
    trace = run(
        simlab.DecentLaM(schedule, momentum=np.float64(0.5)), batch_size=2, replicates=2, seed=2**63, x0=np.ones(3)
    )
    about = json.loads(json.dumps(trace.provenance, allow_nan=False))
    settings = {"steps": 9, "batch_size": 2, "noise_std": 0.1, "replicates": 2, "seed": 2**63, "record_every": 4}
    assert settings.items() <= about.items()
    assert about["engine"] == "numpy" and about["dtype"] == "float64"
    assert about["algorithm"] == {
        "name": "DecentLaM",
        "lr": {"name": "WarmUp", "schedule": {"name": "InverseSqrt", "initial": 0.5, "scale": 1.0}, "steps": 5},
        "momentum": 0.5,
    }
    for key in ("simlab", "python", "numpy", "numba", "scipy", "host", "commit", "started", "seconds"):
        assert key in about, key
    assert about["numpy"] == np.__version__
    assert about["diverged"] == {}


def test_provenance_tells_data_apart() -> None:
    """Another problem, network or start has another fingerprint; the same one has the same."""

    def prints(problem: Any, network: Any, x0: Any, batch_size: int | None) -> tuple[str, str, str]:
        about = simlab.simulate(
            problem, network, simlab.DSGD(0.1), steps=1, x0=x0, batch_size=batch_size, engine="numpy"
        ).provenance
        return about["problem"]["data"], about["network"]["data"], about["x0"]

    def problem(change: float, l2: float = 0.0) -> Any:
        features = np.array(PROBLEM.features)
        features[1, 2, 0] += change
        return simlab.LeastSquares(features, PROBLEM.targets, l2)

    for batch_size in (None, 2):
        base = prints(problem(0), NETWORK, None, batch_size)
        assert base == prints(problem(0), simlab.topologies.ring(4), np.zeros(3), batch_size)
        assert base[0] != prints(problem(1e-15), NETWORK, None, batch_size)[0]
        assert base[0] != prints(problem(0, 1e-3), NETWORK, None, batch_size)[0]
        assert base[1] != prints(problem(0), simlab.topologies.path(4), None, batch_size)[1]
        assert base[2] != prints(problem(0), NETWORK, np.ones(3), batch_size)[2]


# Citations.


def keys(bibtex: str) -> list[str]:
    return re.findall(r"@\w+\{([^,]+),", bibtex)


@pytest.mark.parametrize("name", strategies.NAMES)
def test_every_algorithm_is_cited(name: str) -> None:
    algorithm = strategies.algorithm(name, 0.1, 0.9)
    entries = simlab.cite(algorithm)
    assert entries == simlab.cite(type(algorithm))
    assert len(keys(entries)) == len(set(keys(entries))) >= 1
    assert entries.count("{") == entries.count("}")
    for field in ("author", "title", "year"):
        assert len(re.findall(rf"^\s*{field}\s*=", entries, re.M)) == len(keys(entries)), field


def test_decentlam_is_cited_by_its_paper() -> None:
    assert "large-batch" in simlab.cite(simlab.DecentLaM).lower()


@pytest.mark.parametrize(
    ("process", "word"),
    [
        (simlab.dynamics.matchings(simlab.topologies.ring(4), 0.5), "MATCHA"),
        (simlab.dynamics.groups(4, 2), "Prague"),
        (simlab.dynamics.every(simlab.topologies.ring(4), 2), "Periodic"),
        (simlab.dynamics.pairwise(simlab.topologies.ring(4)), "Gossip"),
        (simlab.dynamics.one_peer_exponential(4), "Exponential"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_networks_that_change_are_cited_with_the_method(process: Any, word: str) -> None:
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=5, dim=2, seed=0)
    trace = simlab.simulate(problem, process, simlab.DmSGD(0.01), steps=2, engine="numpy", progress=False)
    assert word in simlab.cite(process)
    assert simlab.cite(trace) == simlab.cite([simlab.DmSGD, process])


def test_traces_are_cited(tmp_path: Path) -> None:
    traces = run([simlab.DSGD(0.1), simlab.DecentLaM(0.1), simlab.PmSGD(0.1)])
    for trace in traces:
        assert simlab.cite(trace) == simlab.cite(trace.algorithm)
        trace.save(tmp_path / "trace.parquet")
        assert simlab.cite(simlab.Trace.load(tmp_path / "trace.parquet")) == simlab.cite(trace)
    together = keys(simlab.cite(traces))
    assert len(together) == len(set(together)) and "yuan2021decentlam" in together
    assert set(together) == {key for trace in traces for key in keys(simlab.cite(trace))}


class Mine(NamedTuple):
    lr: float

    def init(self, x: Any) -> Any:
        return simlab.DSGD(1.0).init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        return type(state)(state.x - self.lr * gradient(problem, state.x, batch))


class Published(Mine):
    references = ("@misc{me2024mine, title={Mine}}", "lian2017can")


class Misspelt(Mine):
    references = ("lian2017cant",)


def test_methods_of_users_are_cited(tmp_path: Path) -> None:
    assert keys(simlab.cite(Published(0.1))) == ["me2024mine", "lian2017can"]
    run(Published(0.1)).save(tmp_path / "trace.parquet")
    assert keys(simlab.cite(simlab.Trace.load(tmp_path / "trace.parquet"))) == ["me2024mine", "lian2017can"]
    run(Mine(0.1)).save(tmp_path / "trace.parquet")
    for unpublished in (Mine(0.1), run(Mine(0.1)), simlab.Trace.load(tmp_path / "trace.parquet"), 7):
        with pytest.raises(TypeError, match="names no references; pass an algorithm"):
            simlab.cite(unpublished)
    with pytest.raises(ValueError, match="'lian2017cant', which is not in"):
        simlab.cite(Misspelt(0.1))


def test_a_hyperparameter_named_as_a_column_is_refused() -> None:
    class Noisy(NamedTuple):
        lr: float
        bits: float = 8.0

        def init(self, x: Any) -> Any:
            return simlab.DSGD(1.0).init(x)

        def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
            return simlab.DSGD(self.lr).step(state, problem, network, batch)

    trace = run(Noisy(0.1))
    assert simlab.frame([trace])["bits"].iloc[-1] > 8
    with pytest.raises(ValueError, match=r"Noisy has one named bits, as is a column"):
        simlab.frame([trace], hyperparameters=True)


def test_fingerprints_tell_data_of_any_kind_apart() -> None:
    from scipy import sparse

    one, two = np.arange(6.0), np.arange(6.0).reshape(2, 3)
    objects, times = np.array([{}, "a"], dtype=object), np.array(["2020-01-01"], dtype="datetime64[D]")
    kinds = [
        *(one, two, one.astype(np.float32), 1, 1.0, "1", True, None, np.float32(1), ()),
        *((1, 2), ((1,), 2), [1.0, 2.0], {"a": 1}, {"a": 2}, {"b": 1}, sparse.csr_array(two), objects, times),
    ]
    found = [fingerprint(kind) for kind in kinds]
    assert len(set(found)) == len(found)
    again = [fingerprint(kind) for kind in pickle.loads(pickle.dumps(kinds))]
    assert found == again
