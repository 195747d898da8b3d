"""The studies: they run, their claims hold, false claims are caught, and what they write can be relied on."""

import math
import runpy
import sys
import types

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

import figures.study
from figures import STUDIES
from figures.claims import Interval, exponent, interval, judge, reaches, summarize, violated
from figures.study import main, save
from simlab.plot import style
from tests.helpers import studies

# Fewer data sets, replicates and networks than the published figures have; the claims are the same.
QUICK = {
    "convergence": {},
    "bias_vs_batch_size": {"data": ("diabetes",), "replicates": 4},
    "bias_vs_momentum": {"amplifications": (1, 4, 16), "data_sets": 2},
    "topologies": {"data_sets": 2},
}


study = studies.runs(QUICK)


class TestWritten(studies.Written):
    pass


def test_claims_hold(study):
    _, _, claims = study
    assert [c for c in claims if c.verdict != "holds"] == []


def test_exchanged_methods_are_caught(study):
    """With DmSGD's numbers under DecentLaM's name, each study's central claim is violated."""
    name, folder, _ = study
    table = studies.read(name, folder)
    table["algorithm"] = table["algorithm"].replace({"DmSGD": "DecentLaM", "DecentLaM": "DmSGD"})
    claims = studies.claims_of(name, table)
    central = {
        "convergence": {"stops where DSGD stops", "DmSGD stops higher"},
        "bias_vs_batch_size": {"diabetes: large batches", "diabetes: full batch"},
        "bias_vs_momentum": {"DmSGD's exponent is 2", "DecentLaM's exponent is 0"},
        "topologies": {"DmSGD is biased more", "momentum's factor", "B1 is tight"},
    }
    assert central[name] <= {c.name for c in violated(claims)}


def test_wrong_theory_is_caught(study):
    name, folder, _ = study
    column, claim = {
        "convergence": ("limit", "limits are exact"),
        "bias_vs_batch_size": ("expected", "diabetes: theory"),
        "bias_vs_momentum": ("exact", "limits are exact"),
        "topologies": ("exact", "limits are exact"),
    }[name]
    table = studies.read(name, folder)
    table[column] *= 1.1
    claims = studies.claims_of(name, table)
    assert claim in {c.name for c in violated(claims)}


def test_a_violated_claim_ends_with_status_1(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "figures.true", invented("true", judge("one", "1 + 1", 2.0, 2.0, 2.0)))
    monkeypatch.setitem(sys.modules, "figures.false", invented("false", judge("two", "1 + 1", 2.0, high=1.0)))
    assert main(["true", "--results", str(tmp_path)]) == 0
    assert main(["false", "--results", str(tmp_path)]) == 1


def test_an_inconclusive_claim_ends_with_status_1(monkeypatch, tmp_path):
    claim = judge("three", "1 + 1", Interval(2.0, 0.0, 4.0), 1.5, 2.5)
    monkeypatch.setitem(sys.modules, "figures.vague", invented("vague", claim))
    assert claim.verdict == "inconclusive"
    assert main(["vague", "--results", str(tmp_path)]) == 1


def test_a_curve_that_bends_has_no_exponent():
    """Between n² and n³: 2.5 on the whole, which the claim of 2.5 must not be told to be."""
    n = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    straight, bent = (exponent(n, n**2.5 * factor) for factor in (np.ones(5), 2 ** (0.09 * (np.log2(n) - 2) ** 2)))
    assert judge("straight", "", straight, 2.45, 2.55).verdict == "holds"
    assert bent.mean == pytest.approx(2.5)
    assert judge("bent", "", bent, 2.45, 2.55).verdict == "inconclusive"


def invented(name, claim):
    """A study that claims `claim`."""
    from matplotlib.figure import Figure

    module = types.ModuleType(f"figures.{name}", "An invented study.")
    module.COLUMNS = {"x": "a number"}
    module.measure = lambda: pd.DataFrame({"x": [1.0]})
    module.summary = lambda table: table
    module.draw = lambda table: Figure()
    module.claims = lambda table: [claim]
    return module


def test_every_study_is_listed():
    from pathlib import Path

    folder = Path(figures.__file__).parent
    runnable = {path.stem for path in folder.glob("*.py") if 'sys.exit(main(["' in path.read_text()}
    assert runnable == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_alone(name, monkeypatch):
    asked = []
    monkeypatch.setattr(figures.study, "main", lambda arguments: asked.append(arguments) or 7)
    monkeypatch.setattr(sys, "argv", ["figures", "--results", "elsewhere"])
    monkeypatch.delitem(sys.modules, f"figures.{name}", raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"figures.{name}", run_name="__main__")
    assert stopped.value.code == 7
    assert asked == [[name, "--results", "elsewhere"]]


# Files


def test_save_replaces_whole_files_or_none(tmp_path):
    from matplotlib.figure import Figure

    old = pd.DataFrame({"x": [1]})
    save(Figure(), old, "a", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["a.csv", "a.pdf", "a.png"]

    class Broken(Figure):
        def savefig(self, path, **_):
            with open(path, "wb") as file:
                file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save(Broken(), old, "a", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_same_figure_same_files(tmp_path):
    from matplotlib.figure import Figure

    for folder in ("one", "two"):
        save(Figure(), pd.DataFrame({"x": [1]}), "a", tmp_path / folder)
    for kind in ("png", "pdf", "csv"):
        assert (tmp_path / f"one/a.{kind}").read_bytes() == (tmp_path / f"two/a.{kind}").read_bytes()
    assert b"CreationDate" not in (tmp_path / "one/a.pdf").read_bytes()


# Claims


def test_interval_is_students():
    from scipy import stats

    values = np.random.default_rng(0).standard_normal(8)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(interval(values), [values.mean(), low, high], rtol=1e-12)
    with pytest.raises(ValueError, match=r"shape \(1,\).*at least two"):
        interval([1.0])


finite = st.floats(-1e6, 1e6)


@given(st.tuples(finite, finite, finite).map(sorted), st.tuples(finite, finite).map(sorted))
def test_verdicts(found, expected):
    low, mean, high = found
    verdict = judge("name", "statement", Interval(mean, low, high), *expected).verdict
    inside = expected[0] <= low and high <= expected[1]
    outside = high < expected[0] or low > expected[1]
    assert verdict == ("holds" if inside else "violated" if outside else "inconclusive")


@pytest.mark.parametrize("measured", [math.nan, math.inf, Interval(1.0, math.nan, math.nan)])
def test_what_is_not_a_number_violates_every_claim(measured):
    assert judge("name", "statement", measured).verdict == "violated"


def test_a_wide_interval_reaches_nothing():
    found = [reaches("name", "statement", Interval(-0.4, low, high), -0.5, 0.25) for low, high in
             ((-0.55, -0.25), (-5.0, 5.0), (-0.45, -0.35))]  # fmt: skip
    assert [claim.verdict for claim in found] == ["holds", "inconclusive", "violated"]


def test_summarize_keeps_order():
    table = pd.DataFrame({"algorithm": ["b", "b", "a", "a"], "x": [1.0, 3.0, 0.0, 0.0]})
    summary = summarize(table, ["algorithm"], "x")
    assert list(summary["algorithm"]) == ["b", "a"]
    assert list(summary["x"]) == [2.0, 0.0]
    assert list(summary["high"] - summary["x"]) == pytest.approx([12.706204736, 0.0])
    assert list(summary["x"] - summary["low"]) == pytest.approx([12.706204736, 0.0])
    with pytest.raises(ValueError, match=r"\['algorithm'\] = b is one row"):
        summarize(table[1:], ["algorithm"], "x")


# Style


def test_every_algorithm_has_a_look():
    drawn = style.look("Toy")  # listed nowhere
    assert drawn == style.look("Toy")
    assert drawn.color in style.COLORS and drawn.marker in style.MARKERS and drawn.line in style.LINES
    assert style.look("DSGD") == style.LOOKS["DSGD"]
    networks = {"one-peer", "exponential", "ring", "complete"}  # in pictures of one method
    marks = [(look.marker, look.open) for name, look in style.LOOKS.items() if name not in networks]
    assert len(set(marks)) == len(marks)
    compressed = ["ProximalDSGD", "ChocoSGD", "ChocoGossip", "MalcomPSGD"]
    changing = ["LocalSGD", "GossipPGA", "PD-SGDM", "SlowMo", "PmSGD, server"]
    changing += ["SGP", "SubgradientPush", "PushDIGing", "ADPSGD"]
    together = ["DSGD", "DmSGD", "DecentLaM", "PmSGD", *changing]
    later = ["DmSGD, Nesterov", "QGDmSGD, Nesterov", "EDM", "MomentumTracking", "DSGTHB", "DSMT"]
    momentum = ["PmSGD", "DmSGD", "DADmSGD", "DecentLaM", "SlowMo", *later[1:]]
    later += ["ExactDiffusion", "AccDNGD"]
    for family in (
        style.LOOKS.keys() - {*compressed, *changing, *later, *networks},
        compressed,
        together,
        momentum,
        networks,
    ):
        looks = [style.LOOKS[name] for name in family]
        assert len({look.color for look in looks}) == len({str(look.line) for look in looks}) == len(looks)
