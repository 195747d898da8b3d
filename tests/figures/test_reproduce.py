"""All studies in one run: which of them run, what they leave when they are stopped, what the records say."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import figures.reproduce
from figures import STUDIES, record
from figures.study import run

PACKAGE = Path(figures.__file__).parent

# A study as light as can be: its claim is that a number is 2.
STUDY = '''"""Invented."""
import os, sys, time
from figures.claims import judge
from figures.study import main
{imports}

class Thing:
    columns = ()
    def itertuples(self, index):
        return []
    def set_layout_engine(self, engine):
        pass
    def to_csv(self, path, **_):
        open(path, "w").write("x" * 1000)
    def savefig(self, path, **_):
        open(path, "w").write("y" * 1000)
        {more}

COLUMNS = {{"x": "a number"}}
def measure(): return Thing()
def summary(table): return table
def draw(table): return table
def claims(table): return [judge("two", "1 + 1", {value}, 2.0, 2.0)]

if __name__ == "__main__":
    sys.exit(main(["{name}", *sys.argv[1:]]))
'''


class Clone:
    """A copy of the runner with studies of its own; the other packages are those of the project."""

    def __init__(self, path: Path, *studies: str) -> None:
        self.path, self.results, self.studies = path, path / "results", studies
        shutil.copytree(PACKAGE, path / "figures", ignore=shutil.ignore_patterns("__pycache__"))
        for room in ("simlab", "theory"):
            (path / room).symlink_to(PACKAGE.parent / room)
        self.needs()
        # Quick, and nothing else imports it.
        self.write("preload", "import atexit, sched\natexit.register(print, 'the fork server ends')")

    def needs(self, **libraries: str) -> None:
        self.write("__init__", f"STUDIES = {self.studies}\nNEEDS = {libraries}")

    def write(self, module: str, text: str) -> None:
        (self.path / f"figures/{module}.py").write_text(text)

    def study(self, name: str, value: str = "2.0", imports: str = "", more: str = "") -> None:
        self.write(name, STUDY.format(name=name, value=value, imports=imports, more=more))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # In a shell's background SIGINT is ignored, which children inherit.
        main = "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", f"import signal, sys; from figures.reproduce import main; {main}", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(self.path), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            command, env=environment, cwd=self.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate()
        return process.returncode, output

    def ran(self, output: str) -> set[str]:
        return {name for name in ("first", "second", "third") if f"{name} runs" in output}


def test_only_what_changed_runs_again(tmp_path):
    """The second study imports a module that imports `deep`; the third fails at first, and stops no other."""
    clone = Clone(tmp_path, "first", "second", "third")
    clone.write("deep", "VALUE = 2.0")
    clone.write("middle", "from figures.deep import VALUE")
    clone.study("first")
    clone.study("second", "VALUE", "from figures.middle import VALUE")
    clone.study("third", "1 / 0")
    status, output = clone.run()
    assert status == 1 and clone.ran(output) == {"first", "second", "third"}
    assert "ZeroDivisionError" in output and "failed: third" in output
    assert "Verdicts" in output
    assert {path.stem for path in clone.results.iterdir()} == {"first", "second"}
    clone.write("deep", "VALUE = 3.0")
    clone.study("third")
    status, output = clone.run()
    assert status == 1 and clone.ran(output) == {"second", "third"}
    assert "unchanged, kept (--force repeats them): first" in output
    assert "second (figures/deep.py changed)" in output
    verdicts = [line.split("│")[-2].strip() for line in output.split("Verdicts")[1].splitlines() if "│" in line]
    assert verdicts == ["holds", "violated", "holds"]
    status, output = clone.run()
    assert status == 1 and not clone.ran(output) and "violated" in output
    assert clone.ran(clone.run("first", "--force")[1]) == {"first"}


def test_what_lacks_a_library_is_left_out_and_said(tmp_path):
    """Unless it is asked for by name; what stands is kept, though the library of the other is missing."""
    clone = Clone(tmp_path, "first", "second")
    clone.study("first")
    clone.study("second", imports="import no_such_library")
    clone.needs(second="no_such_library")
    status, output = clone.run()
    assert status == 0 and clone.ran(output) == {"first"}
    assert "left out: second, which needs no_such_library; pip install 'simlab[no_such_library]' brings it" in output
    status, output = clone.run("second")
    assert status == 1 and clone.ran(output) == {"second"} and "No module named 'no_such_library'" in output


def test_interrupted(tmp_path):
    """The second study is stopped amid a picture: no half file, no process stays; the first is complete and stands."""
    clone = Clone(tmp_path, "first", "second", "third")
    clone.study("first")
    clone.study("second", more="open('at', 'w').write(str(os.getpid())); time.sleep(60)")
    clone.study("third", more="time.sleep(60)")
    process = clone.start()
    at, done = tmp_path / "at", clone.results / "first.json"
    while process.poll() is None and not (at.exists() and at.read_text() and done.exists()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "interrupted; complete: first; the next run does second, third" in output
    assert {path.name for path in clone.results.iterdir()} == {f"first.{kind}" for kind in (*record.DRAWN, "json")}
    with pytest.raises(ProcessLookupError):
        os.kill(int(at.read_text()), 0)


def test_killed(tmp_path):
    """Who kills the run kills its studies, which nobody would wait for."""
    clone = Clone(tmp_path, "first")
    clone.study("first", more="open('at', 'w').write(str(os.getpid())); time.sleep(600)")
    at = tmp_path / "at"
    with clone.start() as process:  # its output is not waited for: the study would hold it open
        while process.poll() is None and not (at.exists() and at.read_text()):
            time.sleep(0.02)
        process.kill()
    study = int(at.read_text())
    for _ in range(600):
        time.sleep(0.1)
        try:
            os.kill(study, 0)
        except ProcessLookupError:
            return
    os.kill(study, signal.SIGKILL)
    pytest.fail("the study goes on")


def test_studies_are_forks_that_have_imported_libraries_alone(tmp_path):
    """Of a run of more studies than cores; those of one or two import what they need."""
    names = [f"study_{k}" for k in range(figures.reproduce.CORES + 1)]
    clone = Clone(tmp_path, *names)
    for name in names:
        clone.study(name, more="print('imported', *sorted({'sched', 'simlab.simulation'} & set(sys.modules)))")
    runner = clone.path / "figures/reproduce.py"
    runner.write_text(runner.read_text().replace("FIRST = (", f"FIRST = (*{names},"))
    status, output = clone.run()
    forked = "imported sched" if sys.platform == "linux" else "imported"
    assert status == 0 and [line for line in output.splitlines() if line[:8] == "imported"] == [forked] * 2 * len(names)
    assert output.count("the fork server ends") <= 1  # its own end is no study's
    output = clone.run(names[0], "--force")[1]
    assert [line for line in output.splitlines() if line[:8] == "imported"] == ["imported"] * 2
    for name in names[:2]:  # one that was no fork, and one that was
        sources = record.read(name, clone.results)["made_from"]["sources"]
        assert sources and not {path for path in sources if "reproduce" in path or "preload" in path}


def test_a_process_that_dies_at_once_is_a_study_that_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures.reproduce, "run_apart", os._exit)
    assert figures.reproduce.main(["spectral_gaps", "spectral_gaps", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("spectral_gaps failed with exit status") == 1  # though it is named twice


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """A study's results as if they were the published ones."""
    folder = tmp_path_factory.mktemp("results")
    run("spectral_gaps", folder, largest=256)
    about = record.read("spectral_gaps", folder)
    assert about["made_from"]["settings"] == {"largest": 256}
    assert "largest" in record.changed("spectral_gaps", folder)
    about["made_from"]["settings"] = {}
    (folder / "spectral_gaps.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def results(gaps, tmp_path):
    return Path(shutil.copytree(gaps, tmp_path / "results"))


def test_results_stand(results):
    assert record.changed("spectral_gaps", results) == ""
    sources = record.read("spectral_gaps", results)["made_from"]["sources"]
    assert {"simlab/network/network.py", "simlab/__init__.pyi", "figures/spectral_gaps.py"} <= sources.keys()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"made_from": {}, "claims": []}', "\0"])
def test_a_damaged_record_is_a_reason_to_run(results, text):
    path = results / "spectral_gaps.json"
    path.write_text(text)
    assert record.changed("spectral_gaps", results) == f"{path} is no record of it"
    path.write_bytes(b"\xff")
    assert record.changed("spectral_gaps", results)


@pytest.mark.parametrize(
    ("part", "name"), [("sources", "simlab/network/network.py"), ("versions", "numpy"), ("files", "spectral_gaps.pdf")]
)
def test_whatever_differs_is_named(results, part, name):
    about = record.read("spectral_gaps", results)
    about["made_from"][part][name] = "other"
    (results / "spectral_gaps.json").write_text(json.dumps(about))
    assert record.changed("spectral_gaps", results) == f"{name} changed"


@pytest.mark.parametrize("kind", record.DRAWN)
def test_files_that_are_not_as_they_were_written(results, kind):
    path = results / f"spectral_gaps.{kind}"
    path.write_bytes(path.read_bytes()[:-1])
    assert record.changed("spectral_gaps", results) == f"{path.name} changed"
    path.unlink()
    assert record.changed("spectral_gaps", results) == f"{path} is missing"


def test_an_edit_during_a_run_is_not_taken_for_what_ran(tmp_path):
    """The record holds the hashes from before the study began."""
    before = {"figures/record.py": "old", "figures/never_imported.py": "old"}
    for kind in record.DRAWN:
        (tmp_path / f"x.{kind}").touch()
    assert record.made_from("x", tmp_path, {}, before)["sources"] == {"figures/record.py": "old"}


def test_unknown_study_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        figures.reproduce.main(["convergense"])
    assert stopped.value.code == 2
    assert "'convergense' is unknown; did you mean 'convergence'?" in capsys.readouterr().err


def test_every_study_has_its_turn():
    assert sorted(figures.reproduce.FIRST) == sorted(STUDIES)
    assert figures.reproduce.FIRST[0] == "convergence"  # the README's picture
