"""A stale compiled step is impossible: whatever a step is made of, an edit gives new numbers, and its reversal the old
program.

Each run is a process of its own on an algorithm or problem in a temporary file, with its own cache directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]

# A user's script: an algorithm whose step calls a helper and reads a global and a closure, and a problem with a kernel
# of two functions. RUN prints the final states of both engines.
USER = """
from typing import Any, NamedTuple

import numpy as np

import simlab
from helper import shrink
from simlab.kernel import Kernel
from simlab.operations import gradient, mix

FACTOR = 0.5


def scaled(by):
    def scale(x):
        return by * x

    return scale


halve = scaled(0.25)


class State(NamedTuple):
    x: Any
    m: Any


class Algorithm(NamedTuple):
    lr: float

    def init(self, x):
        return State(x, x)

    def step(self, state, problem, network, batch):
        m = FACTOR * state.m + halve(state.x) + shrink(gradient(problem, state.x, batch))
        return State(mix(network, state.x - self.lr * m), m)


def slope(z):
    return z - 1.0


def row(i, x, out, diagonals):
    for k in range(x.shape[0]):
        out[k] = diagonals[i, k] * slope(x[k])


class Bowl(simlab.Quadratic):
    def kernel(self, sampled, dtype=np.float64):
        return Kernel((slope, row), (self.diagonals.astype(dtype),))
"""
HELPER = "def shrink(g):\n    return 0.75 * g\n"
RUN = """
import numpy as np
from user import Bowl, Algorithm

import simlab

d = 1 + np.arange(6.0).reshape(3, 2) / 6
x = simlab.simulate(
    Bowl(d, d), simlab.topologies.path(3), Algorithm(0.1), steps=5, x0=[1.0, 2.0], engine="ENGINE", progress=False
).x[0]
print("STATES", *x.ravel())
"""


class Project:
    """A directory with a user's files, and a cache."""

    def __init__(self, path: Path) -> None:
        self.path, self.cache = path, path / "cache"
        path.mkdir(exist_ok=True)
        self.write(USER, HELPER)

    def write(self, user: str, helper: str) -> None:
        for name, text in (("user.py", user), ("helper.py", helper)):
            file = self.path / name
            if not file.exists() or file.read_text() != text:
                file.write_text(text)

    def command(self, engine: str = "compiled") -> tuple[list[str], dict[str, str]]:
        search = os.pathsep.join([str(self.path), str(Path.cwd()), str(ROOT)])
        environment = {**os.environ, "SIMLAB_CACHE_DIR": str(self.cache), "PYTHONPATH": search}
        # Python's own bytecode cache tells edits apart by seconds and size.
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_OPT": "1"}  # compiled sooner
        environment.pop("NUMBA_CACHE_DIR", None)
        return [sys.executable, "-c", RUN.replace("ENGINE", engine)], environment

    def run(self, engine: str = "compiled") -> np.ndarray:
        arguments, environment = self.command(engine)
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, cwd=self.path)
        assert done.returncode == 0, done.stderr
        return states(done.stdout)

    def compiled(self) -> dict[str, int]:
        """Numba's files of machine code and when they were written."""
        return {str(file): file.stat().st_mtime_ns for file in self.cache.rglob("*.nbc")}


def states(output: str) -> np.ndarray:
    (line,) = [line for line in output.splitlines() if line.startswith("STATES")]
    return np.array(line.split()[1:], dtype=float)


def plain(factor: float = 0.5, half: float = 0.25, shrink: float = 0.75, target: float = 1.0) -> np.ndarray:
    """What RUN must print, written out."""
    w = np.array([[2, 1, 0], [1, 1, 1], [0, 1, 2]]) / 3
    d = 1 + np.arange(6.0).reshape(3, 2) / 6
    x = m = np.tile([1.0, 2.0], (3, 1))
    for _ in range(5):
        m = factor * m + half * x + shrink * d * (x - target)
        x = w @ (x - 0.1 * m)
    return x.ravel()


EDITS: dict[str, tuple[str, str, str, dict[str, float]]] = {
    "step": ("user", "FACTOR * state.m", "FACTOR * 3 * state.m", {"factor": 1.5}),
    "global of the step": ("user", "FACTOR = 0.5", "FACTOR = 0.6", {"factor": 0.6}),
    "closure": ("user", "scaled(0.25)", "scaled(0.5)", {"half": 0.5}),
    "body of the closure": ("user", "return by * x", "return by * x + by * x", {"half": 0.5}),
    "helper in another file": ("helper", "0.75", "0.80", {"shrink": 0.8}),
    "helper of the kernel": ("user", "z - 1.0", "z - 2.0", {"target": 2.0}),
    "kernel": ("user", "diagonals[i, k] * slope", "0.5 * diagonals[i, k] * slope", {"shrink": 0.375}),
}

TOGETHER = [["step", "body of the closure", "helper in another file"], ["helper of the kernel", "kernel"]]
ONE_BY_ONE = pytest.param([[edit] for edit in EDITS], marks=pytest.mark.slow)


@pytest.mark.parametrize("groups", [TOGETHER, ONE_BY_ONE], ids=["together", "one by one"])
def test_edits_give_new_numbers_and_their_reversal_the_old_program(tmp_path: Path, groups: list[list[str]]) -> None:
    project = Project(tmp_path)
    np.testing.assert_allclose(project.run(), plain(), rtol=1e-12)
    for edits in groups:
        before = project.compiled()
        assert before
        texts, changed = {"user": USER, "helper": HELPER}, {}
        for file, old, new, change in map(EDITS.__getitem__, edits):
            assert texts[file].count(old) == 1
            texts[file] = texts[file].replace(old, new)
            changed |= change
        project.write(**texts)
        edited = project.run()
        np.testing.assert_allclose(edited, plain(**changed), rtol=1e-12, err_msg=f"{edits}")
        assert np.abs(edited - plain()).max() > 1e-3
        assert before.items() < project.compiled().items(), edits  # its own program beside the others

    project.write(USER, HELPER)
    after = project.compiled()
    np.testing.assert_allclose(project.run(), plain(), rtol=1e-12)
    assert project.compiled() == after  # found again: nothing was compiled, nothing rewritten


def test_a_kernel_edited_after_its_import_is_refused(tmp_path: Path) -> None:
    """A session that goes on after an edit: the file's new text must not pass for the function that was imported."""
    script = """
import pathlib, sys
from user import Bowl, Algorithm
import numpy as np, simlab
file = pathlib.Path(sys.modules["user"].__file__)
file.write_text(file.read_text().replace("z - 1.0", "z - 2.0"))
try:
    simlab.simulate(Bowl(np.ones((3, 2)), np.ones((3, 2))), simlab.topologies.path(3), Algorithm(0.1), steps=1)
except ValueError as error:
    assert "slope cannot be read, has changed since it was imported" in str(error), error
    print("STATES 1")
"""
    project = Project(tmp_path)
    arguments, environment = project.command()
    done = subprocess.run([*arguments[:-1], script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert states(done.stdout) == 1


def test_a_step_redefined_in_one_session(tmp_path: Path) -> None:
    """As in a notebook: the class is defined anew, under the same name."""
    script = """
import numpy as np, simlab, user
d = 1 + np.arange(6.0).reshape(3, 2) / 6
def x(algorithm):
    return simlab.simulate(
        user.Bowl(d, d), simlab.topologies.path(3), algorithm, steps=5, x0=[1.0, 2.0], progress=False
    ).x[0].ravel()
first = x(user.Algorithm(0.1))
user.FACTOR = 0.6
second = x(user.Algorithm(0.1))
class Algorithm(user.Algorithm):
    def step(self, state, problem, network, batch):
        new = super().step(state, problem, network, batch)
        return user.State(new.x, new.m * 1)
user.FACTOR = 0.5
print("STATES", *first, *second, *x(Algorithm(0.1)))
"""
    project = Project(tmp_path)
    arguments, environment = project.command()
    done = subprocess.run([*arguments[:-1], script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [plain(), plain(factor=0.6), plain()]
    np.testing.assert_allclose(states(done.stdout).reshape(3, -1), expected, rtol=1e-12)


def test_processes_that_compile_at_once(tmp_path: Path) -> None:
    """They share an empty cache; each gets right numbers, and the cache is whole afterwards."""
    project = Project(tmp_path)
    arguments, environment = project.command()
    started: list[Any] = [
        subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        for _ in range(2)
    ]
    for process in started:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        np.testing.assert_allclose(states(output), plain(), rtol=1e-12)
    np.testing.assert_allclose(project.run(), plain(), rtol=1e-12)
    settled = project.compiled()
    np.testing.assert_allclose(project.run(), plain(), rtol=1e-12)
    assert project.compiled() == settled
    assert not list(project.cache.rglob("*.tmp*"))

    # Damaged programs are written again.
    for program in project.cache.glob("program_*.py"):
        program.write_text(program.read_text().replace("real = np.float64", "real = np.float64\nraise SystemExit"))
    np.testing.assert_allclose(project.run(), plain(), rtol=1e-12)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the place of the directory: the run goes on without a lasting cache."""
    project = Project(tmp_path)
    project.cache.write_text("in the way")
    np.testing.assert_allclose(project.run(), plain(), rtol=1e-12)
    assert project.cache.read_text() == "in the way"


def test_without_a_writable_cache_nothing_is_left_behind(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments, environment = project.command()
    environment |= {"SIMLAB_CACHE_DIR": "/dev/null/none", "TMPDIR": str(scratch)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, cwd=project.path)
    np.testing.assert_allclose(states(done.stdout), plain(), rtol=1e-12)
    assert list(scratch.iterdir()) == []
