"""Spectral gaps in closed form, against eigenvalues at every size."""

from __future__ import annotations

import numpy as np
import pytest

import simlab
from theory.theorems import spectral_gaps


@pytest.mark.parametrize("largest", [1_100, pytest.param(4_096, marks=pytest.mark.slow)], ids=["quick", "full"])
def test_exponential_gap(largest):
    """Every n: exact where n is even, a strict bound where it is odd. Eigenvalues of a circulant matrix by the FFT."""
    for n in range(2, largest + 1):
        column = np.zeros(n)
        hops = int(np.ceil(np.log2(n)))
        for offset in [0, *(2**j for j in range(hops))]:
            column[offset % n] += 1 / (1 + hops)
        gap = 1 - np.abs(np.fft.fft(column))[1:].max()
        if n % 2 == 0:
            assert gap == pytest.approx(spectral_gaps.exponential_gap(n), rel=1e-10)
        else:
            assert gap > spectral_gaps.exponential_gap(n)


@pytest.mark.parametrize("n", [2, 3, 6, 7, 16, 33])
def test_directed_exponential_graph(n):
    w = spectral_gaps.directed_exponential(n)
    np.testing.assert_allclose(w.sum(axis=0), 1)
    np.testing.assert_allclose(w.sum(axis=1), 1)
    gap = 1 - np.linalg.norm(w - 1 / n, 2)
    assert gap >= spectral_gaps.exponential_gap(n) - 1e-12
    if n % 2 == 0:
        assert gap == pytest.approx(spectral_gaps.exponential_gap(n), rel=1e-10)
    assert n <= 3 or not np.allclose(w, w.T)


@pytest.mark.parametrize("largest", [150, pytest.param(1_000, marks=pytest.mark.slow)], ids=["quick", "full"])
def test_ring_gap(largest):
    for n in range(3, largest + 1):
        w = np.eye(n) + np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0)
        values = np.linalg.eigvalsh(w / 3)
        assert 1 - max(values[-2], -values[0]) == pytest.approx(spectral_gaps.ring_gap(n), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_gap_is_caught(factor):
    assert factor * spectral_gaps.ring_gap(8) != pytest.approx(simlab.topologies.ring(8).spectral_gap, rel=1e-9)
