"""Whatever is left of the files of a program, it runs: they are made again, with one warning."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simlab.programs import load

ROOT = Path(__file__).parents[3]
SOURCE = '''"""Two functions, two compiled forms."""

from numba import njit


@njit(cache=True, nogil=True)
def run(x):
    return 2.0 * x + 1.0


@njit(cache=True, nogil=True)
def other(x):
    return 3.0 * x
'''


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def garbage(file: Path) -> None:
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def zero_page(file: Path) -> None:
    """What a file system may leave of a block that was never written."""
    content = bytearray(file.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 512)
    content[middle] = bytes(len(content[middle]))
    file.write_bytes(content)


def replaced_by_a_number(file: Path) -> None:
    file.write_bytes(b"\x80\x04K\x07.")  # a pickle, of 7


def missing(file: Path) -> None:
    file.unlink()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIMLAB_CACHE_DIR", str(tmp_path))
    return tmp_path


def results() -> tuple[list[str], int]:
    """A run as of a new process: its warnings, and how many functions were found compiled."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = load.__wrapped__(SOURCE)
        assert (module.run(20.5), module.other(2.0)) == (42.0, 6.0)
    hits = sum(sum(f.stats.cache_hits.values()) for f in (module.run, module.other))
    return [str(w.message) for w in caught], hits


@pytest.mark.parametrize("damage", [truncated, emptied, garbage, zero_page, replaced_by_a_number, missing])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_compiled_forms_are_made_again(suffix: str, damage: Callable[[Path], None], directory: Path) -> None:
    assert results() == ([], 0)
    assert results() == ([], 2)
    files = list(directory.rglob(f"*.{suffix}"))
    assert len(files) == 2
    for file in files:
        damage(file)
    said, _ = results()
    if damage is missing or (suffix == "nbi" and damage in (zero_page, replaced_by_a_number)):
        assert len(said) <= 1  # such an index may be that of another Numba, or of other types
    else:
        (message,) = said  # one, though both functions' files are damaged
        assert "program_" in message
        assert "compiled again" in message
    assert results() == ([], 2)


@pytest.mark.parametrize("damage", [truncated, garbage])
def test_a_damaged_text_is_written_again(damage: Callable[[Path], None], directory: Path) -> None:
    results()
    files = [*directory.rglob("*.py"), *directory.rglob("*.pyc")]
    for file in files:
        damage(file)
    assert results()[0] == []
    assert next(directory.glob("*.py")).read_text() == SOURCE
    assert results() == ([], 2)


@pytest.mark.parametrize("full", [("nbi", "nbc"), ("py",)])
def test_a_full_disk_is_no_cache(full: tuple[str, ...], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def no_space(source: str, target: str | Path) -> None:
        if Path(target).suffix[1:] in full and Path(target).is_relative_to(directory):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", no_space)
    said, _ = results()
    assert all("cannot be kept ([Errno 28] No space left on device)" in message for message in said)
    assert said
    assert [file for file in directory.rglob("*") if ".tmp" in file.name] == []


RUN = """
import warnings

import simlab

problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=5, dim=3, seed=0)
algorithm = simlab.ChocoSGD(0.01, 0.5, simlab.compression.QSGD(3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    trace = simlab.simulate(problem, simlab.topologies.ring(4), algorithm, steps=5, replicates=2)
print(trace.x.sum(), sum("compiled again" in str(w.message) for w in caught), len(caught))
"""


@pytest.mark.slow
def test_a_run_survives_damage_to_all_its_programs(directory: Path) -> None:
    def run() -> list[str]:
        search = os.pathsep.join([str(Path.cwd()), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": search}
        done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    first = run()
    for file in directory.rglob("*.nb[ic]"):
        truncated(file)
    second = run()
    assert first[0] == second[0]
    assert first[1:] == ["0", "0"]
    assert 1 <= int(second[1]) == int(second[2]) <= len(list(directory.glob("program_*.py")))
    assert run() == first
