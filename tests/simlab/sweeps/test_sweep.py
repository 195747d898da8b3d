"""Sweeps: the same results whoever runs a cell, however often it is killed; nothing lost where something breaks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import simlab
from simlab.sweeps import run as sweeps, store

PROBLEM = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=9, dim=3, seed=3)
NETWORKS = {"ring": simlab.topologies.ring(4), "star": simlab.topologies.star(4)}
ALGORITHMS = [simlab.DSGD(0.05), simlab.DSGD(0.1), simlab.DecentLaM(0.05)]


def cells(**options: Any) -> list[Any]:
    chosen = {"steps": 20, "record_every": 10, "replicates": 2, "engine": "numpy", "seed": [0, 1], "noise_std": 0.1}
    return simlab.grid(problem=PROBLEM, network=NETWORKS, algorithm=ALGORITHMS, **{**chosen, **options})


def run(some: Any, folder: Any, **options: Any) -> pd.DataFrame:
    return simlab.sweep(some, folder, progress=False, **{"workers": 0, **options})


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="seconds")


def states(folder: Path) -> dict[str, Any]:
    """Of each cell the final states and all records."""
    return {
        path.name: [(trace.x, trace.frame) for trace in simlab.load_traces(path)]
        for path in sorted(folder.glob("*.parquet"))
        if store.CELL.fullmatch(path.name)
    }


def assert_same_folders(one: Path, two: Path) -> None:
    a, b = states(one), states(two)
    assert a.keys() == b.keys()
    for name in a:
        for (x, frame), (y, other) in zip(a[name], b[name], strict=True):
            np.testing.assert_array_equal(x, y)
            pd.testing.assert_frame_equal(frame, other, check_exact=True)


# Grids.


def test_a_grid_is_every_combination_with_settings_of_a_method_in_one_cell():
    grid = cells(batch_size=[1, None], study="first")
    assert len(grid) == 2 * 2 * 2 * 2  # networks, seeds, batch sizes, methods
    assert [len(cell.arguments["algorithm"]) for cell in grid[:2]] == [2, 1]
    assert grid[0].names["network"] == "ring"
    assert grid[0].names["study"] == "first"
    assert {cell.names["batch_size"] for cell in grid} == {1, None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": []}, "steps = \\[\\] holds no value"),
        ({"algorithm": []}, "holds no algorithm"),
        ({"algorithm": [3]}, "algorithm holds 3; pass algorithms"),
        ({"batchsize": [1, 2]}, "did you mean 'batch_size'"),
        ({"problem": [PROBLEM, PROBLEM]}, "holds two of LeastSquares"),
    ],
)
def test_what_is_no_grid(options, message):
    given = {"problem": PROBLEM, "network": NETWORKS, "algorithm": ALGORITHMS, "steps": 5, **options}
    with pytest.raises((TypeError, ValueError), match=message):
        simlab.grid(**given)
    with pytest.raises(TypeError, match="misses steps"):
        simlab.grid(problem=PROBLEM, network=NETWORKS, algorithm=ALGORITHMS)


# Identity.


class Own(NamedTuple):
    lr: float

    def init(self, x):
        return simlab.DSGD(0.1).init(x)

    def step(self, state, problem, network, batch):
        return simlab.DSGD(self.lr).step(state, problem, network, batch)


def key(**options):
    (cell,) = simlab.grid(
        **{"problem": PROBLEM, "network": NETWORKS["ring"], "algorithm": simlab.DSGD(0.1), "steps": 9, **options}
    )
    return sweeps.Identities().of(cell.arguments)


def test_a_cell_is_known_by_all_that_its_numbers_depend_on():
    schedules = simlab.schedules
    changed = [
        {},
        {"problem": simlab.LeastSquares.synthetic(n_nodes=4, n_samples=9, dim=3, seed=4)},
        {"problem": PROBLEM.with_l1(0.1)},
        {"network": NETWORKS["star"]},
        {"network": simlab.topologies.ring(4, lazy=True)},
        {"network": simlab.dynamics.link_failures(NETWORKS["ring"], 0.1)},
        {"network": simlab.dynamics.link_failures(NETWORKS["ring"], 0.2)},
        {"algorithm": simlab.DSGD(0.2)},
        {"algorithm": simlab.DSGD(0.1, "cta")},
        {"algorithm": simlab.DmSGD(0.1)},
        {"algorithm": Own(0.1)},
        {"algorithm": simlab.DSGD(schedules.Inverse(0.1, 3.0))},
        {"algorithm": simlab.DSGD(schedules.InverseSqrt(0.1, 3.0))},  # equal, as tuples are
        {"algorithm": simlab.DSGD(schedules.WarmUp(schedules.Inverse(0.1, 3.0), 2))},
        {"algorithm": simlab.DSGD(schedules.WarmUp(schedules.InverseSqrt(0.1, 3.0), 2))},
        {"algorithm": simlab.ChocoSGD(0.1, 0.2, simlab.compression.TopK(2))},
        {"algorithm": simlab.ChocoSGD(0.1, 0.2, simlab.compression.RandomK(2))},
        {"algorithm": simlab.SlowMo(simlab.DSGD(0.1), 3)},
        {"algorithm": simlab.SlowMo(simlab.DSGD(0.2), 3)},
        *({name: value} for name, value in {"steps": 10, "batch_size": 2, "noise_std": 0.1, "replicates": 2}.items()),
        *(
            {name: value}
            for name, value in {"seed": 1, "record_every": 2, "engine": "numpy", "dtype": "float32"}.items()
        ),
        {"x0": np.ones(3)},
        {"stop_when": "loss <= 1"},
        {"cluster": simlab.Cluster(1.0)},
        {"cluster": simlab.Cluster(simlab.cluster.LogNormal(1.0, 1.0))},
        {"cluster": simlab.Cluster(simlab.cluster.Exponential(1.0, 1.0))},
        {"record": {"worst": simlab.worst_node_error(PROBLEM)}},
        {"record": {"worst": simlab.worst_node_error(PROBLEM.with_l1(0.5))}},
    ]
    keys = [key(**change) for change in changed]
    assert len(set(keys)) == len(keys)
    assert keys == [key(**change) for change in changed]
    same = simlab.LeastSquares(PROBLEM.features, PROBLEM.targets)
    assert key(problem=same, network={"another": simlab.topologies.ring(4)}, label="x") == key()


def test_a_cell_is_known_in_another_process():
    """By a class, a closure and a lambda of a script."""
    script = """
        import numpy as np, simlab
        from simlab.run.identity import Identities
        factor = 0.5
        def helper(x): return factor * x
        class Own(simlab.DSGD):
            def step(self, *given): return helper(super().step(*given))
        def spread(width): return lambda x: np.ptp(x[..., :width], axis=(-1, -2))
        problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=9, dim=3, seed=3)
        (cell,) = simlab.grid(problem=problem, network=simlab.topologies.ring(4), algorithm=Own(lambda k: 1 / (k + 10)),
                              steps=9, record={"spread": spread(2)})
        print(Identities().of(cell.arguments))
    """

    def ask(text: str, seed: str) -> str:
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONHASHSEED": seed}
        return subprocess.check_output([sys.executable, "-c", textwrap.dedent(text)], env=environment, text=True)

    first = ask(script, "1")
    assert ask(script, "2") == ask("\n\n" + script, "3") == first
    for old, new in [
        ("factor = 0.5", "factor = 0.6"),
        ("factor * x", "factor + x"),
        ("spread(2)", "spread(1)"),
        ("k + 10", "k + 9"),
    ]:
        assert ask(script.replace(old, new), "1") != first, new


# Results.


def test_rows_are_the_last_records_of_traces(tmp_path):
    frame = run(cells(), tmp_path)
    assert len(frame) == 2 * 2 * 3 * 2  # networks, seeds, settings, replicates
    assert set(frame["status"]) == {"finished"}
    for row in frame.itertuples():
        traces = simlab.load_traces(tmp_path / f"{row.cell}.parquet")
        (trace,) = [t for t in traces if t.provenance["algorithm"]["lr"] == row.lr]
        last = trace.frame[trace.frame["replicate"] == row.replicate].iloc[-1]
        assert (last["mse"], last["step"], last["bits"]) == (row.mse, row.step, row.bits)
        direct = simlab.simulate(
            PROBLEM, NETWORKS[row.network], [a for a in ALGORITHMS if type(a).__name__ == row.algorithm_class],
            steps=20, record_every=10, replicates=2, engine="numpy", seed=row.seed, noise_std=0.1, progress=False,
        )  # fmt: skip
        assert any(np.array_equal(trace.x, t.x) for t in direct)


def test_what_is_there_is_not_run_again(tmp_path, monkeypatch):
    first = run(cells(), tmp_path)
    monkeypatch.setattr(sweeps, "simulate", None)
    pd.testing.assert_frame_equal(run(cells(), tmp_path), first)
    pd.testing.assert_frame_equal(
        numbers(simlab.load_sweep(tmp_path)).sort_values(["cell", "algorithm"]).reset_index(drop=True)[["mse"]],
        numbers(first).sort_values(["cell", "algorithm"]).reset_index(drop=True)[["mse"]],
    )
    again = run(
        simlab.grid(
            problem=PROBLEM,
            network={"O": NETWORKS["ring"]},
            algorithm={"slow": ALGORITHMS[0], "fast": ALGORITHMS[1]},
            steps=20,
            record_every=10,
            replicates=2,
            engine="numpy",
            seed=1,
            noise_std=0.1,
        ),
        tmp_path,
    )
    assert set(again["network"]) == {"O"}
    assert list(again["algorithm"]) == ["slow", "slow", "fast", "fast"]


def test_cells_go_on_as_runs_do(tmp_path):
    """Settings of one cell that are resumed, one of them or all, are those of a longer sweep."""
    (short,) = simlab.grid(
        problem=PROBLEM, network=NETWORKS["ring"], algorithm=ALGORITHMS[:2], steps=15, noise_std=0.1, engine="numpy"
    )
    (long,) = simlab.grid(
        problem=PROBLEM, network=NETWORKS["ring"], algorithm=ALGORITHMS[:2], steps=40, noise_std=0.1, engine="numpy"
    )
    frame = run([short, long], tmp_path)
    (first, _, last, _) = frame["cell"]
    old, new = (simlab.load_traces(tmp_path / f"{name}.parquet") for name in (first, last))
    nouns = {"problem": PROBLEM, "network": NETWORKS["ring"]}
    both = simlab.resume(old, steps=40, algorithm=ALGORITHMS[:2], **nouns)
    alone = simlab.resume(old[1], steps=40, algorithm=ALGORITHMS[1], **nouns)
    for one, two in [*zip(both, new, strict=True), (alone, new[1])]:
        np.testing.assert_array_equal(one.x, two.x)
        pd.testing.assert_frame_equal(one.frame, two.frame, check_exact=True)


def test_filters_and_folders_that_are_merged(tmp_path):
    whole = cells()
    run(whole[:5], tmp_path / "a")
    run(whole[3:], tmp_path / "b")
    run(whole, tmp_path / "c")
    merged = simlab.load_sweep([tmp_path / "a", tmp_path / "b"])
    complete = simlab.load_sweep(tmp_path / "c")
    by = ["cell", "algorithm", "replicate"]
    pd.testing.assert_frame_equal(
        *(numbers(frame).sort_values(by).reset_index(drop=True) for frame in (merged, complete))
    )
    chosen = simlab.load_sweep(tmp_path / "c", network="ring", seed=[1, 7])
    assert set(chosen["network"]) == {"ring"}
    assert set(chosen["seed"]) == {1}
    with pytest.raises(ValueError, match="column = 'netwrk' is unknown; did you mean 'network'"):
        simlab.load_sweep(tmp_path / "c", netwrk="ring")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        simlab.load_sweep(tmp_path / "d")
    for path in (tmp_path / "b").glob("*.parquet"):
        shutil.copy(path, tmp_path / "a")
    pd.testing.assert_frame_equal(
        *(numbers(f).sort_values(by).reset_index(drop=True) for f in (simlab.load_sweep(tmp_path / "a"), complete))
    )


# What fails.


def test_a_setting_that_raises_is_recorded_and_stops_nothing(tmp_path, monkeypatch):
    wrong = [*ALGORITHMS, simlab.DSGD(-1.0), simlab.EXTRA(0.1)]
    some = simlab.grid(problem=PROBLEM, network=NETWORKS, algorithm=wrong, steps=20, engine="numpy", batch_size=[2, 99])
    with pytest.warns(RuntimeWarning, match="cells have no result, see the column `reason`"):
        frame = run(some, tmp_path)
    failed = frame[frame["status"] == "failed"]
    assert set(failed[failed["batch_size"] == 2]["lr"]) == {-1.0}
    assert failed[failed["batch_size"] == 2]["reason"].str.contains("DSGD.lr = -1.0 must be greater than 0").all()
    assert failed[failed["batch_size"] == 99]["reason"].str.contains("batch_size = 99 exceeds the 9 samples").any()
    assert (frame[(frame["batch_size"] == 2) & (frame["lr"] > 0)]["status"] == "finished").all()
    monkeypatch.setattr(sweeps, "simulate", None)  # not tried again
    with pytest.warns(RuntimeWarning, match="no result"):
        pd.testing.assert_frame_equal(run(some, tmp_path), frame)
    with pytest.raises(ValueError, match="is a cell of a sweep that failed: ValueError"):
        simlab.load_traces(tmp_path / f"{failed.iloc[0]['cell']}.parquet")


def test_what_diverges_says_when(tmp_path):
    some = simlab.grid(
        problem=PROBLEM,
        network=NETWORKS["ring"],
        algorithm=[simlab.DSGD(0.1), simlab.DSGD(50.0)],
        steps=500,
        engine="numpy",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = run(some, tmp_path)
    assert list(frame["status"]) == ["finished", "diverged"]
    assert frame["reason"][1].startswith("at step ")
    stopped = run(cells(stop_when="bits >= 3000"), tmp_path)
    assert set(stopped["status"]) == {"stopped"}
    assert set(stopped["reason"]) == {"bits >= 3000.0"}


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "foreign"])
def test_a_damaged_file_is_named_and_run_again(tmp_path, damage):
    first = run(cells(), tmp_path)
    path = tmp_path / f"{first['cell'][0]}.parquet"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[len(content) // 8] ^= 255
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.warns(RuntimeWarning, match=f"{path.name} is not whole, and left out"):
        left = simlab.load_sweep(tmp_path)
    assert len(left) < len(first)
    with pytest.warns(RuntimeWarning, match=f"{path.name} is not whole, and run again"):
        again = run(cells(), tmp_path)
    pd.testing.assert_frame_equal(numbers(again), numbers(first))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(cells(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_an_index_that_is_damaged_or_old_is_not_needed(tmp_path, content, monkeypatch):
    first = run(cells(), tmp_path)
    if content is None:
        os.remove(tmp_path / store.INDEX)
    else:
        (tmp_path / store.INDEX).write_bytes(content)
    monkeypatch.setattr(sweeps, "simulate", None)
    pd.testing.assert_frame_equal(run(cells(), tmp_path), first)


def test_a_full_disk_is_named_and_tried_again(tmp_path, monkeypatch):
    write, left = store.write, [3]

    def full(*arguments: Any, **more: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **more)

    with (
        monkeypatch.context() as patch,
        pytest.warns(RuntimeWarning, match="is lost: OSError.*No space left on device"),
    ):
        patch.setattr(store, "write", full)
        frame = run(cells(), tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 3 + 1  # and the index
    assert set(frame["status"]) == {"finished", "lost"}
    again = run(cells(), tmp_path)
    assert set(again["status"]) == {"finished"}
    assert_same = frame[frame["status"] == "finished"]
    pd.testing.assert_frame_equal(again.loc[assert_same.index][["mse"]], assert_same[["mse"]])


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", tmp_path], check=False).returncode
    ):
        pytest.skip("needs to mount a small file system")
    try:
        with pytest.warns(RuntimeWarning, match="No space left"):
            frame = run(cells(), tmp_path, workers=1)
        assert 0 < (frame["status"] == "finished").sum() < len(frame)
        assert not list(tmp_path.glob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=10m", tmp_path], check=True)
        assert (run(cells(), tmp_path)["status"] == "finished").all()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        assert (run(cells(), tmp_path)["status"] == "finished").all()  # nothing is to be written
        with pytest.raises(
            OSError, match=r"cannot be written to .Read-only file system.; make room, or pass another one"
        ):
            run(cells(seed=5), tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_what_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written to"):
        run(cells(), tmp_path / "file" / "folder")
    with pytest.raises(ValueError, match="is a file; pass the name of a folder"):
        run(cells(), tmp_path / "file")
    with pytest.raises(TypeError, match=r"is not a dask\.distributed\.Client"):
        run(cells(), tmp_path, client=3)
    with pytest.raises(ValueError, match="holds no cell"):
        run([], tmp_path)
    with pytest.raises(TypeError, match="holds 3, which is not a Cell"):
        run([3], tmp_path)


# Processes.


class Deadly(NamedTuple):
    """Its process is killed when it is run with this step size."""

    lr: float

    def init(self, x):
        if self.lr == 0.66:
            os.kill(os.getpid(), signal.SIGKILL)
        return simlab.DSGD(0.1).init(x)

    def step(self, state, problem, network, batch):
        return simlab.DSGD(self.lr).step(state, problem, network, batch)


@pytest.mark.slow
def test_workers_compute_the_same_bits_and_a_death_takes_one_cell(tmp_path):
    some = [
        *cells(engine="compiled"),
        *simlab.grid(problem=PROBLEM, network=NETWORKS, algorithm=ALGORITHMS, steps=20, seed=range(4), replicates=20),
    ]
    here = run(some, tmp_path / "here")
    there = run(some, tmp_path / "there", workers=2)
    pd.testing.assert_frame_equal(numbers(there), numbers(here))
    assert_same_folders(tmp_path / "here", tmp_path / "there")
    deadly = [
        c
        for lr in (0.1, 0.66, 0.2)
        for c in simlab.grid(problem=PROBLEM, network=NETWORKS["ring"], algorithm=Deadly(lr), steps=5)
    ]
    with pytest.warns(RuntimeWarning, match="1 of 15 cells have no result.*its worker died"):
        frame = run([*deadly, *cells(seed=[4, 5, 6])], tmp_path / "there", workers=2)
    assert set(frame[frame["status"] != "finished"]["lr"]) == {0.66}


SWEEP = """
    import sys
    import simlab

    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=9, dim=3, seed=3)
    cells = simlab.grid(
        problem=problem, network=simlab.topologies.ring(4), algorithm=[simlab.DSGD(0.05), simlab.DmSGD(0.05)], steps=50,
        batch_size=[1, 2, None], seed=range(int(sys.argv[2])), record_every=10,
    )
    simlab.sweep(cells, sys.argv[1], workers=2)
"""  # without a guard of its main module


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_and_one_that_shares_its_folder(tmp_path):
    script, seeds = tmp_path / "sweep.py", 100
    script.write_text(textwrap.dedent(SWEEP))

    def start(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / folder), str(seeds)],
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )

    def finished() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for path in (tmp_path / "killed").glob("*.parquet")
            if path.name != store.INDEX
        }

    one, two = start("shared"), start("shared")
    assert one.wait() == two.wait() == 0
    random, written, kills = np.random.default_rng(3), {}, 0
    while True:
        job, more = start("killed"), random.integers(1, 80)
        while kills < 5 and job.poll() is None and len(finished()) < len(written) + more:
            time.sleep(0.01)
        if kills < 5 and job.poll() is None:
            job.kill()
        if job.wait() == 0:
            break
        assert job.returncode == -signal.SIGKILL
        kills += 1
        time.sleep(1.5)  # its workers notice
        now = finished()
        assert all(now[path] == then for path, then in written.items())  # what was finished was not done again
        written = now
    assert kills == 5
    assert len(written) > 0
    assert_same_folders(tmp_path / "shared", tmp_path / "killed")
    assert len(states(tmp_path / "killed")) == 6 * seeds


@pytest.mark.slow
def test_the_workers_of_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    some = [*cells(engine="compiled"), *cells(engine="numpy")]
    here = run(some, tmp_path / "here")
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        warnings.simplefilter("ignore")
        there = simlab.sweep(some, tmp_path / "there", client=client)
        deadly = [
            c
            for lr in (0.1, 0.66)
            for c in simlab.grid(problem=PROBLEM, network=NETWORKS["ring"], algorithm=Deadly(lr), steps=5)
        ]
        lost = simlab.sweep(deadly, tmp_path / "there", client=client)
    pd.testing.assert_frame_equal(numbers(there), numbers(here))
    assert list(lost["status"]) == ["finished", "lost"]
    assert "KilledWorker" in lost["reason"][1]


def test_json_of_the_index_is_that_of_the_files(tmp_path):
    run(cells(), tmp_path)
    listed = store.Store(tmp_path).found
    os.remove(tmp_path / store.INDEX)
    read = store.Store(tmp_path).found
    assert {k: json.loads(v) for k, v in listed.items()} == {k: json.loads(v) for k, v in read.items()}


@pytest.mark.parametrize("name", ["batchsize", "batch_sizes", "noise", "replicate", "Steps", "recordevery", "stop_wen"])
def test_a_misspelled_argument_is_no_label(name):
    with pytest.raises(TypeError, match=rf"grid takes no {name} = 3; did you mean"):
        cells(**{name: 3})
    assert cells(**{f"batch_size_{name}": 3})[0].names[f"batch_size_{name}"] == 3
