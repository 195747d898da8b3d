"""Reports: the forms in which verdicts are shown."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import theory
from tests.theory.test_verdict import good_trace
from theory.theorems import THEOREMS


def test_report_in_all_its_forms():
    report = theory.verify(good_trace(theory.theorems.b2.MSE))
    assert list(report.frame.columns) == [
        "theorem", "measured", "low", "high", "bound", "ratio", "verdict", "reason",
    ]  # fmt: skip
    assert len(report.frame) == len(THEOREMS) + 2 == len(list(report))
    for text in (str(report), report.to_html(), report._repr_html_()):
        assert all(theorem.name in text for theorem in THEOREMS)
        assert "not applicable" in text
    shown, folded = report._repr_html_().split("<details>")
    assert all((row.theorem in folded) == (row.verdict == "not applicable") for row in report)
    assert "not applicable" not in shown
    latex = report.to_latex()
    assert latex.isascii()
    assert latex.count(r"\\") == len(report.rows) + 1
    assert latex.startswith(r"\begin{tabular}") and latex.rstrip().endswith(r"\end{tabular}")
    assert all(line.count("&") - line.count(r"\&") == 6 for line in latex.splitlines() if "&" in line)


def test_latex_knows_every_character_of_what_theory_says():
    for path in Path(theory.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                latex = theory.Report("run", (report_row(node.value),)).to_latex()
                assert latex.isascii(), (path.name, node.lineno, node.value)


@pytest.mark.parametrize(("terminal", "width"), [("80", 100), ("137", 137)])
def test_a_printed_report_fits_the_terminal_and_breaks_reasons_only(terminal, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", terminal)
    row = report_row("word " * 60)._replace(
        theorem="leading constant, above", verdict="inconclusive", measured=0.1234567
    )
    lines = str(theory.Report("title", (row,))).splitlines()
    assert max(map(len, lines)) == width
    assert sum("leading constant, above" in line and "inconclusive" in line and "0.1235" in line for line in lines) == 1


def test_what_is_not_applicable_is_printed_by_its_reasons(monkeypatch):
    """Once each, below the rest; the theorems in full, whatever they are broken over."""
    monkeypatch.setenv("COLUMNS", "80")
    report = theory.verify(good_trace(theory.theorems.b2.MSE))
    table, below = str(report).split("not applicable\n")
    applicable = [row for row in report if row.verdict != "not applicable"]
    assert 0 < len(applicable) < len(report.rows)
    assert max(map(len, str(report).splitlines())) <= 100
    assert [row.theorem for row in report if f" {row.theorem} " in table] == [row.theorem for row in applicable]
    for row in set(report.rows) - set(applicable):
        assert below.count(f"  {row.reason}\n") == 1
        assert row.theorem in below.split(row.reason)[1]
    assert "95 %" not in table, "a run without randomness has no intervals to show"
    same = theory.Report("title", tuple(report_row("why")._replace(theorem=theorem.name) for theorem in THEOREMS))
    assert all(theorem.name in str(same) for theorem in THEOREMS)
    assert len(str(same).splitlines()) > 4
    nothing = str(theory.Report("title", (report_row("[bold]x[/bold]"),)))
    assert nothing.split() == ["title", "not", "applicable", "[bold]x[/bold]", "B1"]


def test_html_is_escaped():
    report = theory.Report("a<b", (report_row("x & <y>"),))
    assert "<y>" not in report.to_html() and "a<b" not in report.to_html()


def report_row(reason: str) -> Any:
    nan = float("nan")
    return theory.report.Row("B1", nan, nan, nan, nan, nan, "not applicable", reason)
