"""The studies of theory against measurement: their claims hold, and are caught when made false."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import studies

# Fewer replicates and smaller networks than the published figures have; the claims are the same.
QUICK = {
    "transients": {"groups": 12, "size": 40},
    "linear_speedup": {"nodes": (1, 4, 16), "steps": (1024, 4096, 16384), "replicates": 12},
    "consensus_noise": {"steps": 4000},
    "critical_batch_size": {"batch_sizes": (1, 16, 256)},
    "theorem_table": {"tries": 2500},
    "spectral_gaps": {"largest": 256},
}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset({("spectral_gaps", "formula")})


def test_claims_hold(study):
    _, _, claims = study
    assert [c for c in claims if c.verdict != "holds"] == []


# What a wrong program would have measured, and the claims that must then be violated.


def exchanged_methods(table):
    return table.assign(algorithm=table["algorithm"].replace({"DmSGD": "DecentLaM", "DecentLaM": "DmSGD"}))


def scaled(column, factor, **only):
    """One column multiplied, in the rows that have the values `only`."""

    def change(table):
        rows = np.all([table[name] == value for name, value in only.items()], axis=0) if only else slice(None)
        table.loc[rows, column] *= factor
        return table

    return change


def no_speedup(table):
    """More nodes do not help."""
    return table.assign(gradient=table["gradient"] * table["n_nodes"] ** 0.5)


def slower(table):
    """The gradients fall as 1/T^0.4."""
    return table.assign(gradient=table["gradient"] * table["steps"] ** 0.1)


def closing(table):
    """Random graphs mix ever more slowly."""
    table.loc[table["topology"] == "erdos_renyi", "spectral_gap"] /= table["n_nodes"] ** 0.5
    return table


def bent(table):
    """Gaps of rings and tori fall by another power of n."""
    grids = table["topology"].isin(["ring", "torus"])
    table.loc[grids, "spectral_gap"] *= table["n_nodes"] ** 0.1
    return table


def exchanged_exponential(table):
    names = {"exponential": "directed exponential", "directed exponential": "exponential"}
    return table.assign(topology=table["topology"].replace(names))


FALSE = [
    ("transients", scaled("expected", 1.05), {"intervals miss as often as they say", "no bias"}),
    ("transients", scaled("expected", 1.2, algorithm="QGDmSGD"), {"every algorithm"}),
    ("linear_speedup", no_speedup, {"exponent in n"}),
    ("linear_speedup", slower, {"exponent in T"}),
    ("linear_speedup", scaled("leading", 1.2), {"leading constant"}),
    ("linear_speedup", scaled("noise_share", 0.5), {"noise dominates"}),
    ("consensus_noise", exchanged_methods, {"slow modes", "fast modes"}),
    ("consensus_noise", exchanged_methods, {"DmSGD forgets faster", "DecentLaM forgets faster"}),
    ("consensus_noise", scaled("exact", 1.1, quantity="variance"), {"variance is exact"}),
    ("consensus_noise", scaled("exact", 1.01, quantity="factor"), {"factors are exact"}),
    ("critical_batch_size", exchanged_methods, {"DecentLaM over DmSGD", "DecentLaM over DSGD"}),
    ("critical_batch_size", scaled("variance_at_critical", 1 + 1e-6), {"variance equals squared bias"}),
    ("critical_batch_size", scaled("mse", 1.15), {"theory", "simulated at B*"}),
    ("theorem_table", scaled("ratio", 1.1, theorem="DGD, consensus"), {"no bound is broken"}),
    ("theorem_table", scaled("ratio", 0.9, theorem="heavy ball"), {"tight bounds"}),
    ("theorem_table", scaled("ratio", 1 + 1e-6, theorem="ring gap"), {"equalities"}),
    ("theorem_table", scaled("tries", 0), {"enough tries"}),
    ("spectral_gaps", scaled("spectral_gap", 1.01, topology="ring"), {"closed forms"}),
    ("spectral_gaps", bent, {"ring", "torus"}),
    ("spectral_gaps", exchanged_exponential, {"exponential graphs"}),
    ("spectral_gaps", closing, {"random graphs stay open"}),
]


def test_false_claims_are_caught(study):
    caught, claims = studies.caught(study, FALSE), study[2]
    assert caught == {c.name for c in claims}


def test_every_theorem_is_searched():
    """In the table of this study, or by a test of its own in tests/theory/theorems."""
    from figures.instances import FAMILIES
    from theory import theorems

    in_the_table = {family.theorem for family in FAMILIES}
    names = {theorem.name for theorem in theorems.THEOREMS}
    assert len(names & in_the_table) >= 13
    for start in ("CHOCO-Gossip", "QSGD", "dual averaging", "local SGD"):
        assert any(name.startswith(start) for name in in_the_table)
    tests = Path(__file__).parents[1] / "theory" / "theorems"
    searches = "".join(path.read_text() for path in tests.glob("test_search_*.py"))
    for theorem in theorems.THEOREMS:
        module = theorem.bound.__module__.split(".")[-1]
        assert theorem.name in in_the_table or f"{module}." in searches, theorem.name


@pytest.mark.parametrize("theorem", ["B1, consensus", "DGD, gradients", "heavy ball", "QSGD, variance, sharper"])
def test_a_bound_made_too_small_is_broken_by_the_search(theorem):
    from figures.instances import FAMILIES
    from figures.theorem_table import tightest

    family = next(family for family in FAMILIES if family.theorem == theorem)
    assert tightest(lambda cases: family.ratio(cases) / 0.9, family.size, 2000).ratio > 1.05


@pytest.mark.parametrize("size", [8, 16, 24, 36, 64])
def test_closed_form_gaps_are_the_eigenvalues(size):
    """The formulas against numpy's eigenvalues of the package's networks, where a kind has this size."""
    import simlab
    from figures.spectral_gaps import formula

    for topology in ("complete", "hypercube", "exponential", "torus", "ring"):
        if (topology == "hypercube" and size & (size - 1)) or (topology == "torus" and round(size**0.5) ** 2 != size):
            continue
        values = np.linalg.eigvalsh(getattr(simlab.topologies, topology)(size).mix(np.eye(size)))
        assert formula(topology, size) == pytest.approx(1 - max(values[-2], -values[0]), rel=1e-10), topology


def test_limits_of_two_nodes_are_those_of_a_run():
    """The closed form that the search uses, against the simulator."""
    import simlab
    from figures.instances import limits

    case = np.array([[0.3, 0.2, -0.1, 0.8]])
    found = {name: float(value[0]) for name, value in limits(case, any_network=False).items()}
    eigenvalue = found["transfer"] / (1 + found["transfer"])
    second = found["smoothness"] * (2 / found["condition_number"] - 1)
    network = simlab.Network.from_matrix((1 + eigenvalue * np.array([[1, -1], [-1, 1]])) / 2)
    problem = simlab.Quadratic([[found["smoothness"]], [second]], [[-1.0], [1.0]])
    trace = simlab.simulate(problem, network, simlab.DSGD(found["lr"]), steps=2000, engine="numpy")
    assert trace.frame["mse"].iloc[-1] == pytest.approx(found["mse"], rel=1e-9)
    assert trace.frame["consensus"].iloc[-1] == pytest.approx(found["consensus"], rel=1e-9)
