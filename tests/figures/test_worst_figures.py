"""The study of worst cases: its claims hold, and are caught when made false."""

import pytest

from figures.claims import violated
from tests.helpers import studies

pytest.importorskip("cvxpy", reason="needs simlab[worst-case]")

QUICK = {"worst_case": {"members": 20, "momenta": (0.0, 0.5, 0.8), "rates": (0.1, 0.4)}}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset({("worst_case", "data")})


def test_claims_hold(study):
    _, _, claims = study
    assert [c for c in claims if c.verdict != "holds"] == []


def changed(column, factor, part, algorithm):
    def change(table):
        rows = (table["part"] == part) & (table["algorithm"] == algorithm)
        table.loc[rows, column] *= factor(table.loc[rows])
        return table

    return change


WRONG = [
    ("attained", lambda rows: 1.001, "steps", "DmSGD", {"the worst functions attain the worst case"}),
    ("data", lambda rows: 1e3, "steps", "DmSGD", {"no data set is worse"}),
    ("worst", lambda rows: (1 - rows["momentum"]) ** 2, "bias", "DmSGD", {"DmSGD's worst bias grows with momentum"}),
    ("worst", lambda rows: (1 - rows["momentum"]) ** -2, "bias", "DecentLaM", {"DecentLaM's worst bias does not"}),
    ("attained", lambda rows: 0.1, "bias", "DecentLaM", {"bounds over the class are near"}),
    ("worst", lambda rows: 2.0, "steps", "DecentLaM", {"DecentLaM is the better one in the worst case"}),
]


@pytest.mark.parametrize(("column", "factor", "part", "algorithm", "expected"), WRONG)
def test_wrong_programs_are_caught(study, column, factor, part, algorithm, expected):
    name, folder, _ = study
    table = changed(column, factor, part, algorithm)(studies.read(name, folder))
    assert expected <= {claim.name for claim in violated(studies.claims_of(name, table))}
