"""The README's Python blocks run, and what it points to exists."""

import re
from pathlib import Path

import pytest

import simlab.algorithms

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_examples_run_one_after_the_other(capsys):
    assert BLOCKS
    names = {"__name__": "readme"}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
        assert capsys.readouterr().out


@pytest.mark.parametrize("target", [t for t in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in t])
def test_what_it_points_to_exists(target):
    assert (ROOT / target).exists()


def test_the_table_of_algorithms_is_what_the_classes_say():
    from simlab.algorithms.table import table

    shown = [line for line in README.splitlines() if line.startswith("| `")]
    of_classes = [line for line in shown if hasattr(simlab.algorithms, line.split("`")[1])]
    assert len(of_classes) >= 16
    assert set(of_classes) <= set(table().splitlines())
