"""Rates and limits over classes: closed forms, and never below what random members of the class do."""

from __future__ import annotations

import numpy as np
import pytest

import simlab
import theory

pytest.importorskip("cvxpy", reason="needs simlab[worst-case]")

KAPPA, RHO = 10.0, 0.6
METHODS = {
    "DSGD": simlab.DSGD(0.3),
    "CTA": simlab.DSGD(0.3, order="cta"),
    "DmSGD": simlab.DmSGD(0.1, 0.5),
    "DecentLaM": simlab.DecentLaM(0.1, 0.5),
    "QG": simlab.QGDmSGD(0.1, 0.5),
    "EXTRA": simlab.EXTRA(0.2),
    "ExactDiffusion": simlab.ExactDiffusion(0.3),
    "GradientTracking": simlab.GradientTracking(0.05),
}
EXACT = ("EXTRA", "ExactDiffusion", "GradientTracking")


def member(rng: np.random.Generator, k: int) -> tuple[simlab.Quadratic, simlab.Network]:
    """Quadratics with spectra in [1/κ, 1], b = 1, and a symmetric W with ‖W − J‖ = ρ; equal ones at k = 0."""
    n = int(rng.integers(2, 6))
    axes = np.linalg.qr(rng.standard_normal((n, 2, 2)))[0]
    curvature = (axes * rng.choice([1 / KAPPA, 1.0, 0.5], (n, 1, 2))) @ axes.swapaxes(1, 2)
    if k == 0:
        curvature = np.tile(np.diag([1 / KAPPA, 1.0]), (n, 1, 1))
    stars = rng.standard_normal((n, 2))
    stars -= stars.mean(axis=0)
    stars /= np.sqrt(np.mean(np.sum(stars**2, axis=1)))
    basis = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, n - 1))]))[0]
    values = rng.uniform(-RHO, RHO, n - 1)
    values[0] = RHO * rng.choice([-1, 1], p=[0.2, 0.8])
    w = basis @ np.diag([1.0, *values]) @ basis.T
    return simlab.Quadratic(curvature, -stars), simlab.Network.from_matrix((w + w.T) / 2)


@pytest.mark.parametrize("tries", [25, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", METHODS)
def test_never_below_members_of_the_class(name: str, tries: int) -> None:
    algorithm, rng = METHODS[name], np.random.default_rng(5)
    rate = theory.worst_case_rate(algorithm, condition_number=KAPPA, rho=RHO)
    bias = theory.worst_case_bias(algorithm, condition_number=KAPPA, rho=RHO)
    rates, biases = [], []
    for k in range(tries):
        problem, network = member(rng, k)
        predicted = theory.predict(problem, network, algorithm)
        rates.append(predicted.rate)
        biases.append(np.sqrt(predicted.bias))
    assert max(rates) <= rate + 1e-5
    assert rate - max(rates) < 1e-4  # and attained
    if name in EXACT:
        assert bias == 0
    else:
        assert 0.4 * bias < max(biases) <= bias * (1 + 1e-4)


def turned(angle: float) -> simlab.Network:
    """Three nodes, eigenvalues ± ρ, the eigenvectors turned."""
    ones, a = np.ones(3) / np.sqrt(3), np.array([1, -1, 0]) / np.sqrt(2)
    b = np.cross(ones, a)
    u, v = np.cos(angle) * a + np.sin(angle) * b, np.cos(angle) * b - np.sin(angle) * a
    return simlab.Network.from_matrix(np.outer(ones, ones) + RHO * (np.outer(u, u) - np.outer(v, v)))


@pytest.mark.parametrize(
    ("name", "period", "turn", "stable"),
    [
        ("DSGD", 4, 1 / 4, True),
        ("DmSGD", 4, 1 / 4, True),
        ("GradientTracking", 4, 1 / 4, True),
        ("EXTRA", 4, 1 / 4, False),
        ("ExactDiffusion", 4, 1 / 4, False),
        ("DecentLaM", 5, 7 / 18, False),
    ],
)
def test_where_networks_change(name: str, period: int, turn: float, stable: bool) -> None:
    """Never below cycles, and near; stable over each W, three methods are not where W turns from step to step."""
    algorithm, options = METHODS[name], {"condition_number": KAPPA, "rho": RHO}
    rate = theory.worst_case_rate(algorithm, changing=True, **options)
    network = simlab.dynamics.cycle([turned(k * turn * np.pi) for k in range(period)])
    found = []
    for curvature in (1 / KAPPA, 1.0):
        problem = simlab.Quadratic(np.full((3, 1), curvature), np.zeros((3, 1)))
        found.append(theory.predict(problem, network, algorithm).rate)
    assert rate - 1e-2 < max(found) <= rate + 1e-5
    fixed = theory.worst_case_rate(algorithm, **options)
    assert fixed < 1 and fixed <= rate + 1e-5
    assert (max(found) < 1) == (rate < 1) == stable
    assert not stable or rate == pytest.approx(fixed, abs=1e-5)


@pytest.mark.parametrize("lr", [0.2, 1.0, 1.7, 2.2])
def test_dsgd_contracts_as_gradient_descent(lr: float) -> None:
    """W is not expansive, and the mean attains it."""
    rate = theory.worst_case_rate(simlab.DSGD(lr), condition_number=KAPPA, rho=RHO)
    assert rate == pytest.approx(max(abs(1 - lr), abs(1 - lr / KAPPA)), abs=2e-6)


def test_the_first_order_of_a_bias() -> None:
    """γ φ(ρ) b for small γ, as transfer functions say: DmSGD's is 1/(1 − β) times DecentLaM's at one effective γ."""
    lr, beta = 1e-3, 0.8
    first = lr * RHO / (1 - RHO)
    for algorithm, expected in (
        (simlab.DSGD(lr), first),
        (simlab.DecentLaM(lr * (1 - beta), beta), first * (1 - beta)),
        (simlab.DmSGD(lr * (1 - beta), beta), first),
    ):
        bias = theory.worst_case_bias(algorithm, condition_number=KAPPA, rho=RHO)
        x = theory.transfer.bias_transfer(algorithm, RHO) * algorithm.lr
        assert x == pytest.approx(expected)
        assert bias >= expected * (1 - 1e-6)


@pytest.mark.parametrize("lr", [1e-2, 1e-4, 1e-6, 1e-8])
def test_small_steps_have_small_biases_and_not_none(lr: float) -> None:
    """Between γ φ(ρ) b and twice that, and 0 only where the limit is exact; inf where nothing is proven."""
    first = lr * RHO / (1 - RHO)
    bias = theory.worst_case_bias(simlab.DSGD(lr), condition_number=KAPPA, rho=RHO)
    assert first <= bias <= 2 * first
    for algorithm, most in ((simlab.DecentLaM(lr, 0.8), 2 * first), (simlab.DmSGD(lr, 0.8), 10 * first)):
        bias = theory.worst_case_bias(algorithm, condition_number=KAPPA, rho=RHO)
        assert first <= bias <= most or (bias == np.inf and lr < 1e-6)
    for algorithm in (simlab.GradientTracking(lr), simlab.ExactDiffusion(lr), simlab.D2(lr)):
        assert theory.worst_case_bias(algorithm, condition_number=KAPPA, rho=RHO) == 0


def test_what_is_not_one_linear_step_is_refused() -> None:
    for algorithm in (
        simlab.DSGD(lambda k: 0.1 / (k + 1)),
        simlab.LocalSGD(0.1, local_steps=2),
        simlab.ChocoSGD(0.1, 0.5, simlab.compression.TopK(2)),
    ):
        with pytest.raises(ValueError, match="no matrix inequality"):
            theory.worst_case_rate(algorithm, condition_number=KAPPA, rho=RHO)
    with pytest.raises(ValueError, match="rho = 1"):
        theory.worst_case_bias(simlab.DSGD(0.1), condition_number=KAPPA, rho=1.0)
    assert theory.worst_case_rate(simlab.DSGD(40.0), condition_number=KAPPA, rho=RHO) == np.inf


def test_fields_that_stay_and_are_not_read_are_no_states() -> None:
    """With full batches GT-SAGA is gradient tracking, its table left as it is."""
    options = {"condition_number": KAPPA, "rho": RHO}
    rates = [theory.worst_case_rate(method(0.02), **options) for method in (simlab.GTSAGA, simlab.GradientTracking)]
    assert rates[0] == pytest.approx(rates[1], abs=1e-6)
    assert theory.worst_case_bias(simlab.GTSAGA(0.02), **options) == 0
