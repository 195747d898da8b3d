"""The scripts in docs/ run, and say what the text says they say."""

import re
from pathlib import Path

import pytest

import theory

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [page for page in sorted(DOCS.glob("*.md")) if "```python\nfrom typing" in page.read_text()]


def script(page: Path) -> str:
    return re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL).group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_script_runs(page, tmp_path, capsys):
    # As a file, because that is how a user would run it.
    file = tmp_path / f"{page.stem}.py"
    file.write_text(script(page))
    names = {"__name__": page.stem}
    exec(compile(file.read_text(), str(file), "exec"), names)
    assert capsys.readouterr().out


def test_own_method_is_simulated_predicted_and_verified():
    page = DOCS / "own_method.md"
    names = {"__name__": "own_method"}
    exec(compile(script(page), str(page), "exec"), names)
    trace, prediction = names["trace"], names["prediction"]
    assert trace.frame["mse"].iloc[-1] < 1e-20  # exact diffusion has no bias
    assert prediction.stable and prediction.bias < 1e-20
    late = trace.frame["mse"][(trace.frame["mse"] > 1e-18) & (trace.frame["step"] > 300)]
    measured = (late.iloc[-1] / late.iloc[0]) ** (1 / (2 * 20 * (len(late) - 1)))
    assert measured == pytest.approx(prediction.rate, rel=0.01)
    report = theory.verify(trace)
    assert len(report.frame) and not (report.frame["verdict"] == "violated").any()
    code = [line for line in script(page).splitlines() if line.strip()]
    assert len(code) <= 34  # the promise of a short script
