"""The README's Python blocks run, and what it points to exists."""

import re
from pathlib import Path

import pytest

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


def test_every_algorithm_is_in_the_table():
    import simlab.algorithms

    for name in simlab.algorithms.__all__:
        assert f"| `{name}`" in README
