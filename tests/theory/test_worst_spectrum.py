"""The worst case over all networks with a spectrum: attained by one, never below members, equal to closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
import theory
from theory.worst.spectrum import attain

pytest.importorskip("cvxpy", reason="needs simlab[worst-case]")

SPECTRUM = theory.Spectrum(-0.4, 0.6)
CLASS = {"smoothness": 2.0, "strong_convexity": 0.2, "heterogeneity": 0.5, "radius": 1.5}


def with_eigenvalues(values: np.ndarray, rng: np.random.Generator) -> simlab.Network:
    n = len(values) + 1
    basis = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, n - 1))]))[0]
    w = (basis * np.append(1.0, values)) @ basis.T
    return simlab.Network.from_matrix((w + w.T) / 2)


def alike(eigenvalue: float, n: int) -> simlab.Network:
    return with_eigenvalues(np.full(n - 1, eigenvalue), np.random.default_rng(0))


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "measure"),
    [
        (simlab.DSGD(0.3), "mse"),
        (simlab.DSGD(lambda k: 0.4 / (k + 1), order="cta"), "objective"),
        (simlab.DmSGD(0.2, 0.5), "consensus"),
        (simlab.EXTRA(0.2), "objective"),
        (simlab.GradientTracking(0.1), "mse"),
        (simlab.GossipPGA(0.2, period=2), "consensus"),
    ],
)
def test_a_network_of_the_class_attains_it(algorithm: Any, measure: str, quadratic: bool) -> None:
    worst = theory.worst_case(SPECTRUM, algorithm, steps=3, measure=measure, quadratic=quadratic, **CLASS)
    assert abs(worst.gap) <= 1e-5 * worst.value
    eigenvalues = np.linalg.eigvalsh(worst.network.weights)
    assert eigenvalues[0] >= -0.4 - 1e-9 and eigenvalues[-2] <= 0.6 + 1e-9
    assert np.allclose(worst.network.weights.sum(axis=1), 1)
    trace = simlab.simulate(worst.instance, worst.network, algorithm, steps=3, x0=worst.x0, engine="numpy")
    if measure == "objective":
        n = worst.network.n_nodes
        ends = worst.instance.global_loss(np.stack([trace.x.reshape(n, -1).mean(axis=0), np.zeros(worst.instance.dim)]))
        found = float(ends[0] - ends[1])
    else:
        found = float(trace.frame[measure].iloc[-1])
    assert found == pytest.approx(worst.value, rel=1e-5)
    stars = worst.instance.gradient(np.zeros((worst.network.n_nodes, worst.instance.dim)))
    assert np.allclose(stars.mean(axis=0), 0, atol=1e-6)
    assert np.mean(np.sum(stars**2, axis=1)) <= 0.5**2 * (1 + 1e-5)
    assert np.linalg.norm(worst.x0) <= 1.5 * (1 + 1e-6)


def test_many_steps_and_exchanges() -> None:
    """Ten steps of two exchanges each, two of twelve, attained."""
    method = simlab.GradientTracking(0.1)
    worst = theory.worst_case(SPECTRUM, method, steps=10, **CLASS)
    trace = simlab.simulate(worst.instance, worst.network, method, steps=10, x0=worst.x0, engine="numpy")
    assert trace.frame["mse"].iloc[-1] == pytest.approx(worst.value, rel=1e-5)
    many = simlab.ChebyshevGossip(simlab.DSGD(0.1), 12, 0.6)
    worst = theory.worst_case(SPECTRUM, many, steps=2, **CLASS)
    trace = simlab.simulate(worst.instance, worst.network, many, steps=2, x0=worst.x0, engine="numpy")
    assert trace.frame["mse"].iloc[-1] == pytest.approx(worst.value, rel=1e-5)


@pytest.mark.parametrize("tries", [4, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", [simlab.DSGD(0.3), simlab.DecentLaM(0.2, 0.5), simlab.EXTRA(0.2)])
def test_never_below_networks_of_the_class(algorithm: Any, tries: int) -> None:
    """Their own worst cases, random spectra and those at the ends, of two to four nodes."""
    rng = np.random.default_rng(4)
    worst = theory.worst_case(SPECTRUM, algorithm, steps=3, **CLASS).value
    networks = [with_eigenvalues(rng.uniform(*SPECTRUM, int(rng.integers(1, 4))), rng) for _ in range(tries)]
    networks += [alike(end, 2) for end in SPECTRUM] + [with_eigenvalues(np.array(SPECTRUM), rng)]
    values = [theory.worst_case(network, algorithm, steps=3, **CLASS).value for network in networks]
    assert 0.9 * worst < max(values) <= worst * (1 + 1e-6)


@pytest.mark.parametrize("quadratic", [False, True])
def test_one_eigenvalue_is_that_of_any_number_of_nodes(quadratic: bool) -> None:
    """W = J + λ(I − J) of 2 and 5 nodes, and a spectrum around λ alone."""
    options = {"steps": 2, "quadratic": quadratic, **CLASS}
    few, more = (theory.worst_case(alike(0.5, n), simlab.DmSGD(0.2, 0.5), **options).value for n in (2, 5))
    around = theory.worst_case(theory.Spectrum(0.5 - 1e-5, 0.5 + 1e-5), simlab.DmSGD(0.2, 0.5), **options)
    assert more == pytest.approx(few, rel=1e-6)
    assert around.value == pytest.approx(few, rel=1e-4)


def test_closed_form_of_one_step() -> None:
    """From one x⁰, γ²λ²(1/n)Σ‖g_i − ḡ‖² at x⁰: b from x*, (L − μ)R/2 from the way to x⁰; largest |λ|."""
    options = {"smoothness": 1.0, "strong_convexity": 0.25, "heterogeneity": 0.7, "radius": 1.3}
    for spectrum, size in ((theory.Spectrum(-0.4, 0.3), 0.4), (theory.Spectrum(-0.2, 0.7), 0.7)):
        worst = theory.worst_case(spectrum, simlab.DSGD(0.3), steps=1, measure="consensus", **options)
        assert worst.value == pytest.approx((0.3 * size * (0.7 + 0.75 * 1.3 / 2)) ** 2, rel=1e-6)


def test_wider_spectra_are_worse() -> None:
    values = [
        theory.worst_case(theory.Spectrum(-r, r), simlab.DSGD(0.3), steps=3, **CLASS).value for r in (0.1, 0.5, 0.9)
    ]
    assert values[0] < values[1] < values[2]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 6), rows=st.integers(1, 4))
def test_patterns_of_signs_are_eigenvectors(seed: int, dim: int, rows: int) -> None:
    """Rows go to their images under a known matrix, node by node, in the network that is found."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    operator = (axes * rng.uniform(*SPECTRUM, dim)) @ axes.T
    sent = rng.standard_normal((rows, dim))
    found = attain(sent, sent @ operator, SPECTRUM)
    before, after = (found.signs[:, None] * (each @ found.axes) for each in (sent, sent @ operator))
    mixed = np.einsum("ij,jkd->ikd", found.network.weights, before)
    np.testing.assert_allclose(mixed, after, atol=1e-6 * np.max(np.abs(sent)))
    assert np.allclose(found.signs.sum(axis=0), 0)


@pytest.mark.parametrize(
    ("spectrum", "algorithm", "options", "message"),
    [
        (theory.Spectrum(0.5, 0.5), simlab.DSGD(0.1), {}, "low"),
        (theory.Spectrum(-0.5, 1.0), simlab.DSGD(0.1), {}, "high"),
        (SPECTRUM, simlab.D2(0.1), {}, "smallest eigenvalue"),
        (SPECTRUM, simlab.DSGD(0.1), {"steps": np.inf}, "worst_case_bias"),
        (SPECTRUM, simlab.ChocoSGD(0.1, 0.5, simlab.compression.TopK(1)), {}, "uncompressed form"),
    ],
)
def test_refusals(spectrum: Any, algorithm: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theory.worst_case(spectrum, algorithm, **{"steps": 2, **CLASS, **options})
