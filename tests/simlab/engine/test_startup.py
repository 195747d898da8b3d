"""A new process is quick: light imports, and nothing compiled twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = (
    "numba",
    "llvmlite",
    "pandas",
    "pyarrow",
    "sklearn",
    "matplotlib",
    "networkx",
    "rich",
    "scipy.optimize",
    "scipy.stats",
    "scipy.sparse.linalg",
)
THOUSAND_STEPS = """
import simlab

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, heterogeneity=1.0, noise=0.1, seed=0)
trace = simlab.simulate(problem, simlab.topologies.grid(8), simlab.DecentLaM(lr=0.01, momentum=0.9), steps=1000)
"""


def python(code: str, **environment: str) -> str:
    search = os.pathsep.join([str(Path.cwd()), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = python("import sys, simlab; print(*sys.modules)").split()
    assert "simlab" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_array_engine_needs_no_compiler() -> None:
    code = THOUSAND_STEPS.replace("steps=1000", "steps=10, engine='numpy'") + "\nimport sys; print(*sys.modules)"
    loaded = python(code).split()
    assert [name for name in ("numba", "sklearn", "matplotlib", "rich") if name in loaded] == []


REPORT = """
from numba.core import event

compilations = []
with event.install_recorder("numba:compile") as recorder:
    exec(RUN)
names = [e.data["dispatcher"].py_func.__name__ for _, e in recorder.buffer if e.is_start]
print("COMPILED", *names)
"""


def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    """Neither for the same run nor for other sizes, networks, seeds, hyperparameters or schedules."""
    sampled = THOUSAND_STEPS.replace("steps=1000", "steps=1000, batch_size=5, noise_std=0.1, replicates=3")
    other = (
        THOUSAND_STEPS.replace("n_nodes=8", "n_nodes=100")
        .replace("grid(8)", "ring(100)")
        .replace("dim=30", "dim=7")
        .replace("lr=0.01", "lr=simlab.schedules.Cosine(0.02, 2000)")
        .replace("seed=0", "seed=5")
    )
    runs = (THOUSAND_STEPS + sampled, THOUSAND_STEPS + sampled + other)
    first, second = (python(f"RUN = {run!r}\n{REPORT}", SIMLAB_CACHE_DIR=str(tmp_path)).split() for run in runs)
    assert first[0] == second[0] == "COMPILED"
    assert first.count("run") == 2  # the count counts
    assert second[1:] == []
