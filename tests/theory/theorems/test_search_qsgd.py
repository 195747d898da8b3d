"""Adversaries of the bounds of QSGD."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.helpers.adversary import assert_tight, assert_unbroken, effort
from theory.theorems import qsgd


def qsgd_ratio(cases, levels, what):
    scale = np.exp(cases[:, -1:] - 2)
    v = np.exp(scale * cases[:, :-1]) * np.sign(cases[:, :-1])
    d = v.shape[1]
    if what == "variance":
        return qsgd.expected_variance(v, levels) / qsgd.variance_bound(d, levels)
    if what == "sharper":
        return qsgd.expected_variance(v, levels) / qsgd.sharper_variance(d, levels)
    if what == "sparsity":
        return qsgd.expected_sparsity(v, levels) / qsgd.sparsity_bound(d, levels)
    omega = qsgd.contraction(d, levels)  # E‖ωQ − v‖² = ω²E‖Q − v‖² + (1 − ω)²‖v‖²
    return (omega**2 * qsgd.expected_variance(v, levels) + (1 - omega) ** 2) / (1 - omega)


@effort
@pytest.mark.parametrize("what", ["variance", "sharper", "sparsity", "contraction"])
@pytest.mark.parametrize(("d", "levels"), [(1, 1), (2, 1), (4, 1), (9, 2), (16, 4), (100, 3), (400, 1), (50, 16)])
def test_qsgd(d, levels, what, tries):
    if what == "contraction" and d == 1 and levels == 1:
        return  # Q(v) = v, ω = 1/2: nothing to divide by but a true statement, 1/4 <= 1/2
    assert_unbroken(lambda cases: qsgd_ratio(cases, levels, what), d + 1, tries)


@pytest.mark.parametrize(("d", "levels", "what"), [(400, 1, "variance"), (4, 1, "sharper")])
def test_qsgd_variance_too_small_is_caught(d, levels, what):
    assert_tight(lambda cases: qsgd_ratio(cases, levels, what), d + 1)


def test_qsgd_expectations_are_those_of_the_quantizer():
    """All 2^d outcomes of the stochastic rounding, weighted."""
    v, levels = np.array([0.3, -1.2, 0.05, 2.0, 0.0]), 3
    norm = np.linalg.norm(v)
    mean, square, count = np.zeros(5), 0.0, 0.0
    lower = np.floor(levels * np.abs(v) / norm)
    fraction = levels * np.abs(v) / norm - lower
    for ups in itertools.product([0, 1], repeat=5):
        ups = np.array(ups)
        probability = np.prod(np.where(ups == 1, fraction, 1 - fraction))
        quantized = norm * np.sign(v) * (lower + ups) / levels
        mean += probability * quantized
        square += probability * np.sum((quantized - v) ** 2)
        count += probability * np.count_nonzero(quantized)
    np.testing.assert_allclose(mean, v, atol=1e-14)
    assert qsgd.expected_variance(v, levels) == pytest.approx(square / norm**2, rel=1e-12)
    assert qsgd.expected_sparsity(v, levels) == pytest.approx(count, rel=1e-12)
