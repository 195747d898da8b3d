"""The set-up: one set of dependencies, light imports, public names that resolve, a citation that names the papers."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import simlab

ROOT = Path(__file__).parents[2]
HEAVY = {"numba", "llvmlite", "pandas", "sklearn", "matplotlib", "networkx", "scipy", "pyarrow", "rich", "cupy"}
CONDA_NAMES = {"matplotlib": "matplotlib-base"}  # the same library without a GUI toolkit
CONTRACT = [
    *("Network", "topologies", "data", "schedules", "operations"),
    *("Problem", "Quadratic", "LeastSquares", "LogisticRegression", "NonconvexLogistic"),
    *("PmSGD", "DSGD", "DmSGD", "AWCDmSGD", "DADmSGD", "QGDmSGD", "D2", "D2DmSGD", "DecentLaM"),
    *("simulate", "frame", "Trace", "cite", "generated_source", "SimulationInterrupted", "Kernel"),
]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bounds(requirements):
    """Name -> bounds; every requirement is `name>=version` or `name>=version,<version`."""
    pairs = [re.fullmatch(r"([A-Za-z0-9_-]+)>=([0-9.]+(?:,<[0-9.]+)?)", line).groups() for line in requirements]
    assert len(pairs) == len(dict(pairs)), "a dependency is named twice"
    return {name.lower(): version for name, version in pairs}


def test_conda_and_pip_name_the_same_dependencies():
    pip = bounds(project()["dependencies"] + project()["optional-dependencies"]["dev"])
    listed = [line for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if line != "pip"]
    conda = bounds(listed)
    assert conda.pop("python") == project()["requires-python"].removeprefix(">=")
    assert {CONDA_NAMES.get(name, name): version for name, version in pip.items()} == conda


def test_every_import_is_a_declared_dependency():
    declared = {name.replace("-", "_") for name in bounds(project()["dependencies"])} | {"sklearn"}
    optional = {"clarabel", "cupy", "cupyx", "cvxpy", "distributed", "jax", "torch"}
    ours = {"simlab", "theory", "figures"}
    pattern = re.compile(r"^\s*(?:from|import) ([a-z_0-9]+)", re.MULTILINE)
    for folder in sorted(ours):
        for file in (ROOT / folder).rglob("*.py"):
            code = re.sub(r'"""[\s\S]*?"""', "", file.read_text())
            foreign = set(pattern.findall(code)) - set(sys.stdlib_module_names) - declared - ours - optional
            assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}, which pyproject.toml does not name"


def test_import_is_light():
    code = "import sys, simlab; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "simlab" in loaded
    assert not loaded & HEAVY


def test_public_names_are_the_contract():
    assert set(CONTRACT) <= set(simlab.__all__)
    assert set(simlab.__all__) == set(dir(simlab))


@pytest.mark.parametrize("name", CONTRACT)
def test_public_name_resolves_and_is_documented(name):
    public = getattr(simlab, name)
    docstring = public.__doc__  # its own: not the one that inspect.getdoc would inherit
    assert docstring
    assert not docstring.startswith(f"{name}("), "this is the docstring that NamedTuple writes"
    if inspect.isfunction(public):
        assert "Parameters\n" in docstring
        assert "Returns\n" in docstring


def test_each_name_resolves_first_in_a_fresh_process():
    # Lazy names must not depend on which other was used before.
    loop = "import subprocess, sys, simlab; [getattr(simlab, name) for name in sys.argv[1:]]"
    for names in (CONTRACT, CONTRACT[::-1]):
        subprocess.run([sys.executable, "-c", loop, *names], check=True)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="DecentLam"):
        simlab.DecentLam  # noqa: B018


def test_citation_names_the_software_and_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == simlab.__version__
    assert citation["license"] == "BSD-3-Clause"
    papers = {reference["title"]: reference for reference in citation["references"]}
    assert any("DecentLaM" in title for title in papers)
    assert any("Malcom" in title.title() for title in papers)
    for paper in papers.values():
        assert paper["authors"]
        assert paper["year"]


def test_changelog_has_this_version():
    assert f"## [{simlab.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


def dry_run(target, folder, **variables):
    """What make would do in a copy of the Makefile's folder."""
    arguments = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", "-n", target, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def clone(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


def environment(folder, made_at=None, interpreter="import pip"):
    """An environment as `python -m venv` leaves it, with a shell script for an interpreter."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n[ "$2" = "{interpreter}" ]\n')
    python.chmod(0o755)
    made_at = made_at or folder / ".venv"
    (folder / ".venv" / "pyvenv.cfg").write_text(f"home = /usr/bin\ncommand = /usr/bin/python3 -m venv {made_at}\n")
    (folder / ".venv" / ".installed").touch()


@pytest.mark.parametrize("target", ["test", "reproduce", "benchmark", "lint", "format", "test-slow", "docs"])
def test_make_builds_a_missing_environment_first(clone, target):
    plan = dry_run(target, clone)
    assert plan.index("-m venv .venv") < plan.index("pip install") < plan.rindex(".venv/bin/python -m")


def test_make_keeps_a_sound_environment(clone):
    environment(clone)
    plan = dry_run("test", clone)
    assert "venv .venv" not in plan
    assert "pip install" not in plan
    assert "pytest" in plan


def test_make_installs_again_when_pyproject_changes(clone):
    environment(clone)
    later = (clone / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(clone / "pyproject.toml", (later, later))
    plan = dry_run("reproduce", clone)
    assert "venv .venv" not in plan
    assert "pip install" in plan
    assert "-m figures" in plan


@pytest.mark.parametrize("fault", [{"made_at": "/elsewhere/.venv"}, {"interpreter": "nothing at all"}])
def test_make_rebuilds_a_moved_or_broken_environment(clone, fault):
    environment(clone, **fault)
    plan = dry_run("test", clone)
    assert plan.index("rm -rf .venv") < plan.index("-m venv .venv") < plan.index("pip install")


def test_make_says_when_python_is_too_old(clone):
    old = clone / "python3.10"  # this interpreter, told that it is older
    code = "import sys; sys.version_info = (3, 10, 13); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$2\"\n")
    old.chmod(0o755)
    result = subprocess.run(["make", "test", f"PYTHON={old}"], cwd=clone, capture_output=True, text=True)
    assert result.returncode
    assert "needs Python >= 3.11" in result.stdout
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("name", "hint"), [("DSDG", "; did you mean DSGD?"), ("Decentlam", "; did you mean DecentLaM?")]
)
def test_misspelt_names_are_answered_with_the_nearest(name, hint):
    with pytest.raises(AttributeError, match=re.escape(f"module 'simlab' has no attribute {name!r}{hint}")):
        getattr(simlab, name)


def test_names_like_no_other_are_just_missing():
    with pytest.raises(AttributeError, match=r"no attribute 'xyzzy'$"):
        simlab.xyzzy  # noqa: B018
