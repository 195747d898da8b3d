"""The command: what it prints, writes and answers."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import simlab
from figures import STUDIES, command, reproduce

SWEEP = """
steps = 20
engine = "numpy"
seed = [0, 1]

[problem]
kind = "LeastSquares.synthetic"
n_nodes = 4
n_samples = 9
dim = 3
seed = 3

[network]
ring = { kind = "topologies.ring", n = 4 }
star = { kind = "topologies.star", n = 4 }

[[algorithm]]
kind = "DSGD"
lr = [0.01, 0.1, { kind = "schedules.InverseSqrt", initial = 0.1 }]

[[algorithm]]
kind = "DecentLaM"
lr = 0.01
"""


def ask(*arguments: object) -> tuple[int, str]:
    answer = CliRunner().invoke(command.app, list(map(str, arguments)))
    return answer.exit_code, answer.output + str(answer.exception or "")


def test_info_and_studies(tmp_path: Path) -> None:
    status, text = ask("info")
    assert status == 0
    assert all(
        re.search(rf"^{name} +\S", text, re.MULTILINE)
        for name in ("simlab", "numpy", "threads", "BLAS", "programs", "GPU")
    )
    status, text = ask("studies", "--results", tmp_path)
    assert status == 0
    assert all(name in text for name in STUDIES)


def test_run_is_what_make_reproduce_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(reproduce, "main", lambda arguments: calls.append(arguments) or 1)
    assert ask("run", "sparsity", "directed", "--results", tmp_path, "--force")[0] == 1
    assert calls == [["sparsity", "directed", "--results", str(tmp_path), "--force"]]


def test_a_sweep_and_its_page(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    arguments = ("sweep", tmp_path / "sweep.toml", "--folder", tmp_path / "cells", "--workers", 0)
    status, text = ask(*arguments)
    assert (status, "8 cells" in text, "16 finished" in text) == (0, True, True), text
    assert ask(*arguments) == (status, text)
    status, text = ask("report", tmp_path / "cells", "-o", tmp_path / "page.html")
    assert status == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)  # nothing is fetched
    assert "DecentLaM" in page
    assert "viewport" in page


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 20", "stps = 20", "grid misses steps"),
        ("DecentLaM", "DecentLam", "did you mean DecentLaM"),
        ('kind = "topologies.star", ', "", "has no kind"),
        ("topologies.star", "__class__.mro", "is no public name"),
        ("steps = 20", "steps = ", "sweep.toml is not TOML: Invalid value"),
    ],
)
def test_a_file_that_is_no_sweep(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP.replace(old, new))
    status, text = ask("sweep", tmp_path / "sweep.toml", "--folder", tmp_path / "cells")
    assert status == 1
    assert message in text
    assert ask("report", tmp_path / "nowhere")[1].endswith("pass one that simlab run or simlab sweep has filled")


def test_an_interrupted_sweep_says_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)

    def pressed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simlab.sweep", pressed)
    status, text = ask("sweep", tmp_path / "sweep.toml", "--folder", tmp_path / "cells")
    assert status == 130
    assert "what is finished is kept, and the same command goes on" in text


def test_a_folder_that_a_file_names_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "sweep.toml").write_text('folder = "cells"\n' + SWEEP)
    monkeypatch.chdir(tmp_path)
    assert ask("sweep", Path("there", "sweep.toml"), "--workers", 0)[0] == 0
    assert len(list((tmp_path / "there" / "cells").glob("*.parquet"))) >= 8
    assert not (tmp_path / "cells").exists()


def test_version() -> None:
    assert ask("--version") == (0, f"simlab {simlab.__version__}\n")


def test_what_is_not_there_is_named() -> None:
    assert "'sparsty' is no study; did you mean 'sparsity'?" in ask("run", "sparsty")[1]
    assert "nowhere.toml does not exist" in ask("sweep", "nowhere.toml")[1]


def test_panels_hold_what_was_varied_but_not_tuned(tmp_path: Path) -> None:
    """Of mini-batches none is the best: each has its pictures of the step size."""
    text = SWEEP.replace("steps = 20", "steps = 20\nbatch_size = [1, 4]").replace("[0.01, 0.1, {", "[0.01, 0.1] # {")
    (tmp_path / "sweep.toml").write_text(text)
    ask("sweep", tmp_path / "sweep.toml", "--folder", tmp_path / "cells", "--workers", 0)
    ask("report", tmp_path / "cells", "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    about = re.findall(r'alt="(mse against [^"]+)"', page)
    panels = [set(re.split("[ ,]+", line)) for line in about if line.startswith("mse against lr")]
    assert len(panels) == 4
    for network, size in itertools.product(("ring", "star"), (1, 4)):
        assert any({f"network={network}", f"batch_size={size}"} <= panel for panel in panels)
    rows = re.findall(r"<tr><td>(DSGD|DecentLaM)", page[page.index("<h2>Results") :])
    assert rows == sorted(rows)


def test_the_sweep_of_the_page_on_the_command_is_one(tmp_path: Path) -> None:
    """Its file is read, and makes the cells that it says."""
    text = (Path(__file__).parents[2] / "docs" / "command.md").read_text()
    options = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert options.pop("folder") == "cells"
    cells = simlab.grid(**{name: command._value(name, value) for name, value in options.items()})
    assert len(cells) == 2 * 2 * 2
    assert sum(len(cell.algorithms) for cell in cells) == 2 * 2 * (3 + 6)
