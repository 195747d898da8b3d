"""Codes of single integers: Golomb's of runs, Elias's of anything."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from simlab.compression import (
    golomb_expected_length,
)
from simlab.compression.codes.elias import expected_omega_bits, omega_bits, read_omega, unzigzag, write_omega, zigzag
from simlab.compression.codes.golomb import golomb_parameter, log_ratio, read_golomb, write_golomb
from simlab.compression.codes.program import program
from tests.simlab.compression.test_source_coding import HIGH, LOW, RNG, as_bits, best_parameter, golomb, omega

# --- Golomb ----------------------------------------------------------------------------------------------------------


def test_golomb_parameter_is_the_exact_one():
    for remaining in range(1, 120):
        for count in range(1, remaining + 1):
            assert golomb_parameter(count, remaining) == best_parameter(count, remaining)


def test_golomb_parameter_of_long_vectors():
    """Against the inequality in 60 decimal digits; compiled and plain Python agree."""
    from decimal import Decimal, localcontext

    compiled = program((log_ratio,), (golomb_parameter,)).golomb_parameter
    for _ in range(300):
        remaining = int(2 ** RNG.uniform(8, 31)) - 1
        count = max(1, int(remaining * 2 ** RNG.uniform(-25, -1)))
        m = golomb_parameter(count, remaining)
        assert compiled(count, remaining) == m
        with localcontext() as context:
            context.prec = 60
            q = 1 - Decimal(count) / remaining
            assert q**m * (1 + q) <= 1
            assert m == 1 or q ** (m - 1) * (1 + q) > 1


def mean_length(q: float, m: int, terms: int = 4000) -> float:
    """Direct sum over the run lengths."""
    return sum((1 - q) * q**run * len(golomb(run, m)) for run in range(terms))


@pytest.mark.parametrize("p", [0.5, 0.45, 0.39, 0.38, 0.3, 0.2, 0.1, 0.05, 0.02])
def test_golomb_expected_length_is_the_least_over_parameters(p):
    lengths = [mean_length(1 - p, m) for m in range(1, 60)]
    assert golomb_expected_length(p) == pytest.approx(min(lengths), rel=1e-9)
    exact = Fraction(str(p))
    assert min(lengths) == pytest.approx(lengths[golomb_parameter(exact.numerator, exact.denominator) - 1], rel=1e-12)


@pytest.mark.parametrize("p", [0.4, 0.1, 0.003])
def test_golomb_expected_length_by_simulation(p):
    """Written runs: the mean of 20,000 lies within five standard errors, a false alarm of 1 in a million."""
    m = best_parameter(round(p * 1000), 1000)
    words = np.zeros(8, np.uint64)
    runs = np.random.default_rng(3).geometric(p, 20_000) - 1
    lengths = np.array([write_golomb(words, 0, int(run), m, m.bit_length() - 1) for run in np.minimum(runs, 300 * m)])
    assert abs(lengths.mean() - golomb_expected_length(p)) < 5 * lengths.std() / np.sqrt(20_000)


def test_golomb_length_stays_near_the_entropy():
    """At most 4.3 % above it for p <= 1/2 (docs/theory.md, "Source coding"), 1.5 % on average over log p."""
    p = np.geomspace(1e-6, 0.5, 4000)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) / p
    excess = golomb_expected_length(p) / entropy - 1
    assert excess.min() > -1e-12
    assert excess.max() < 0.043
    assert excess.mean() < 0.015
    assert golomb_expected_length(1.0) == 1
    for bad in (0.0, -0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="probability"):
            golomb_expected_length(bad)


@given(st.integers(0, 5000), st.integers(1, 400), st.integers(0, 130))
def test_golomb_words_are_read_back(run, m, position):
    words = np.zeros(200, np.uint64)
    floor = m.bit_length() - 1
    end = write_golomb(words, position, run, m, floor)
    assert as_bits(words.astype(">u8").tobytes())[position:end] == golomb(run, m)
    assert read_golomb(words, position, m, floor) == (run, end)


# --- Elias -----------------------------------------------------------------------------------------------------------


def test_omega_words_of_the_textbook():
    words = {1: "0", 2: "100", 3: "110", 4: "101000", 7: "101110", 8: "1110000", 16: "10100100000", 17: "10100100010"}
    for n, word in words.items():
        assert omega(n) == word
    for n in [*range(1, 3000), *(2**k + d for k in range(12, 41) for d in (-1, 0, 1))]:
        buffer = np.zeros(4, np.uint64)
        end = write_omega(buffer, 61, n)
        assert as_bits(buffer.astype(">u8").tobytes())[61:end] == omega(n)
        assert end - 61 == omega_bits(n)
        assert read_omega(buffer, 61) == (n, end)


def test_omega_is_a_prefix_code():
    words = sorted(omega(n) for n in range(1, 2**14))
    # in sorted order a prefix stands right before a word that it begins
    assert not any(following.startswith(word) for word, following in pairwise(words))
    kraft = [sum(Fraction(1, 2 ** omega_bits(n)) for n in range(1, 2**k)) for k in range(1, 13)]
    assert all(a < b < 1 for a, b in pairwise(kraft))


@given(st.integers(LOW, HIGH))
def test_zigzag_is_a_bijection_onto_the_positive_integers(n):
    assert unzigzag(zigzag(n)) == n
    assert zigzag(unzigzag(abs(n) + 1)) == abs(n) + 1


@pytest.mark.parametrize("p", [1.0, 0.5, 0.05, 0.003])
def test_expected_omega_bits_by_direct_sum(p):
    direct = sum(p * (1 - p) ** (gap - 1) * len(omega(gap)) for gap in range(1, 20_000))
    assert expected_omega_bits(p) == pytest.approx(direct, rel=1e-9)
