"""The studies of worst cases: their claims hold, and are caught when made false; programs from a gap of values."""

import numpy as np
import pytest

import simlab
from figures import descents
from figures.claims import violated
from tests.helpers import studies

pytest.importorskip("cvxpy", reason="needs simlab[worst-case]")

QUICK = {
    "worst_case": {"members": 20, "momenta": (0.0, 0.5, 0.8), "rates": (0.1, 0.4, 0.5, 0.8)},
    "worst_theorems": {"counts": (2,), "shares": (0.5, 1.0), "members": 5},
}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset({
        ("worst_case", "data"), *(("worst_theorems", column) for column in ("lr", "worst", "bound", "ratio")),
    })  # fmt: skip


def test_claims_hold(study):
    _, _, claims = study
    assert [c for c in claims if c.verdict != "holds"] == []


def changed(column, factor, key, value, algorithm):
    def change(table):
        rows = (table[key] == value) & table["algorithm"].str.fullmatch(algorithm)
        table.loc[rows, column] *= factor(table.loc[rows])
        return table

    return change


WRONG = [
    ("worst_case", "attained", lambda rows: 1.001, "part", "steps", "DmSGD",
     "the worst functions attain the worst case"),
    ("worst_case", "worst", lambda rows: 0.9, "part", "steps", "DecentLaM",
     "a ring is the worst network of its spectrum"),
    ("worst_case", "data", lambda rows: (rows["lr"] > 0.5) * -1.0 + 1.0, "part", "steps", "DmSGD",
     "the worst case asks for larger steps than data"),
    ("worst_case", "data", lambda rows: 1e3, "part", "steps", "DmSGD", "no data set is worse"),
    ("worst_case", "worst", lambda rows: (1 - rows["momentum"]) ** 2, "part", "bias", "DmSGD",
     "DmSGD's worst bias grows with momentum"),
    ("worst_case", "worst", lambda rows: (1 - rows["momentum"]) ** -2, "part", "bias", "DecentLaM",
     "DecentLaM's worst bias does not"),
    ("worst_case", "attained", lambda rows: 0.1, "part", "bias", "DecentLaM", "bounds over the class are near"),
    ("worst_case", "worst", lambda rows: 2.0, "part", "steps", "DecentLaM",
     "DecentLaM is the better one in the worst case"),
    ("worst_theorems", "ratio", lambda rows: 3.0, "theorem", "D1", "DSGD", "no bound is broken"),
    ("worst_theorems", "ratio", lambda rows: 0.9, "theorem", "heavy ball", "PmSGD", "tight in the worst case"),
    ("worst_theorems", "ratio", lambda rows: 0.9, "theorem", "B1, consensus", ".*",
     "B1 on disagreement is tight for small steps"),
    ("worst_theorems", "ratio", lambda rows: 99.0, "theorem", "D-PSGD", "DSGD", "D-PSGD as cited is loose"),
    ("worst_theorems", "ratio", lambda rows: 0.9, "theorem", "rate of EXTRA", "EXTRA",
     "rates over the class are attained"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "column", "factor", "key", "value", "algorithm", "expected"), WRONG)
def test_wrong_programs_are_caught(study, name, column, factor, key, value, algorithm, expected):
    ran, folder, _ = study
    if ran != name:
        pytest.skip("of the other study")
    table = changed(column, factor, key, value, algorithm)(studies.read(name, folder))
    assert expected in {claim.name for claim in violated(studies.claims_of(name, table))}


PAIR = simlab.Network.from_matrix(np.array([[0.75, 0.25], [0.25, 0.75]]))


@pytest.mark.parametrize("lr", [0.5, 1.0, 1.5])
def test_closed_form_of_one_step_of_gradient_descent(lr):
    """‖∇f(x⁰)‖² <= 2L(f(x⁰) − f*), with equality; and the step after it descends."""
    one, method = simlab.topologies.complete(1), simlab.DSGD(lr)
    assert descents.tilted_function(one, method, 1, 1.0, "gradients") == pytest.approx(2.0, rel=1e-6)
    assert descents.own_functions(one, method, 1, "gradients") <= 2.0 * (1 + 1e-6)


@pytest.mark.parametrize("measure", ["gradients", "consensus"])
def test_never_below_a_search(measure):
    """Two quadratics on the line, from where Σ(f_i(x⁰) − f_i*) = 1; and one quadratic, tilted two ways."""
    rng, lr, steps = np.random.default_rng(3), 0.5, 3
    h, s = rng.uniform(0, 1, (20_000, 2)), rng.standard_normal((20_000, 2))
    h[::2] = np.round(h[::2])
    s *= np.sqrt(2 / np.maximum(np.sum(h * s**2, axis=1, keepdims=True), 1e-9))
    x = np.zeros_like(s)
    for _ in range(steps):
        x = x @ PAIR.weights - lr * h * (x - s)
    found = np.max(np.sum((h * (x - s)) ** 2, axis=1) if measure == "gradients" else np.var(x, axis=1))
    worst = descents.own_functions(PAIR, simlab.DSGD(lr, order="cta"), steps, measure)
    assert 0.4 * worst < found <= worst * (1 + 1e-6)

    h = np.append(rng.uniform(0, 1, 500), 1.0)[:, None]
    x, tilt, total = np.sqrt(2 / h) * np.ones((1, 2)), np.array([1.0, -1.0]), np.zeros(len(h))
    for _ in range(steps):
        total = total + (h[:, 0] * x.mean(axis=1)) ** 2 / steps
        x = (x - lr * (h * x + tilt)) @ PAIR.weights
    worst = descents.tilted_function(PAIR, simlab.DSGD(lr), steps, 1.0, measure)
    found = np.max(total if measure == "gradients" else np.var(x, axis=1))
    assert 0.2 * worst < found <= worst * (1 + 1e-6)
