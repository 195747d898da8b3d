"""Rooms and the order in which they may import one another, read off the imports, lazy ones and those of types too."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("simlab", "theory", "figures", "benchmarks")


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@functools.cache
def imports() -> networkx.DiGraph:
    """An edge from each module to each module that it imports."""
    known, graph = modules(), networkx.DiGraph()
    graph.add_nodes_from(known)
    for module, path in known.items():
        for name in imported(path):
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and name != module:
                graph.add_edge(module, name)
    return graph


def room(module: str) -> str:
    """The file or folder of a package that a module stands in; ``simlab.engine.gpu`` is in ``simlab.engine``.

    The protocols are the step room's face: its batches are in their signatures, and theirs are in the graph's.
    """
    return ".".join(module.replace("simlab.protocols", "simlab.step").split(".")[:2])


def circles(graph: networkx.DiGraph) -> list[set[str]]:
    return [part for part in networkx.strongly_connected_components(graph) if len(part) > 1]


def test_no_module_imports_in_a_circle():
    assert imports().number_of_edges() > 400  # they are seen at all
    assert not circles(imports())


def test_no_room_imports_in_a_circle():
    rooms = networkx.DiGraph((room(a), room(b)) for a, b in imports().edges if room(a) != room(b))
    assert not circles(rooms)


# What may not be imported by what, beyond circles: a room's users stand above it.
UPWARD = [
    ("simlab", ("theory", "figures", "benchmarks")),
    ("theory", ("figures", "benchmarks", "simlab.engine", "simlab.simulation")),
    ("figures", ("benchmarks", "simlab.engine")),
    ("simlab.problems", ("simlab.engine", "simlab.run", "simlab.algorithms", "simlab.network")),
    ("simlab.network", ("simlab.engine", "simlab.run", "simlab.step", "simlab.problems")),
    ("simlab.compression", ("simlab.engine", "simlab.run", "simlab.network", "simlab.problems")),
    ("simlab.algorithms", ("simlab.engine", "simlab.run", "simlab.network", "simlab.problems")),
    ("simlab.step", ("simlab.engine", "simlab.run", "simlab.operations")),
    ("simlab.engine", ("simlab.run", "simlab.algorithms", "simlab.simulation", "simlab.trace")),
    ("simlab.run", ("simlab.simulation",)),
]


@pytest.mark.parametrize(("below", "above"), UPWARD, ids=[below for below, _ in UPWARD])
def test_no_room_imports_upward(below, above):
    def within(module: str, place: str) -> bool:
        return module == place or module.startswith(place + ".")

    wrong = [(a, b) for a, b in imports().edges if within(a, below) and any(within(b, place) for place in above)]
    assert not wrong
