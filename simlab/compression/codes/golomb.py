"""Golomb's code of run lengths, with the parameter that is best for geometric ones.

References
----------
S. Golomb, "Run-length encodings", IEEE Trans. Inform. Theory 12 (1966).
R. Gallager, D. van Voorhis, "Optimal source codes for geometrically distributed integer alphabets",
IEEE Trans. Inform. Theory 21 (1975).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from simlab import checks
from simlab.compression.codes.bitstream import read_bits, write_bits


def log_ratio(z: float) -> float:
    """ln((1 + z)/(1 - z)) for |z| <= 1/3 by its series: sums and products only, the same on every machine."""
    power = z
    total = z
    k = 1
    while True:
        power *= z * z
        k += 2
        longer = total + power / k
        if longer == total:
            return 2.0 * total
        total = longer


def golomb_parameter(count: int, remaining: int) -> int:
    """Least m with q**m + q**(m + 1) <= 1, where q = 1 - count / remaining.

    Encoder and decoder both derive m from the transmitted integers, hence no library
    logarithm: m = ceil(ln(1 + q) / -ln(q)), both logarithms by their series.

    Parameters
    ----------
    count, remaining : int
        Occurrences of the level, positions not yet taken; 1 <= count <= remaining < 2**31.

    Returns
    -------
    int
        The parameter m >= 1 of shortest expected length (Gallager, van Voorhis 1975).
    """
    if 2 * count >= remaining:
        return 1
    minus_log_q = log_ratio(count / (2 * remaining - count))
    log_one_plus_q = 0.6931471805599453 - log_ratio(count / (4 * remaining - count))
    return int(np.ceil(log_one_plus_q / minus_log_q))


def write_golomb(words: np.ndarray, position: int, run: int, parameter: int, floor: int) -> int:
    """Write run // m in unary and run % m in `floor` = floor(log2 m) bits or one more; return the next position."""
    quotient = run // parameter
    remainder = run - quotient * parameter
    while quotient >= 32:
        position = write_bits(words, position, 0xFFFFFFFF, 32)
        quotient -= 32
    position = write_bits(words, position, (2 << quotient) - 2, quotient + 1)
    short = (2 << floor) - parameter
    if remainder < short:
        return write_bits(words, position, remainder, floor)
    return write_bits(words, position, remainder + short, floor + 1)


def read_golomb(words: np.ndarray, position: int, parameter: int, floor: int) -> tuple[int, int]:
    """The run length at `position` and the next position."""
    quotient = 0
    while read_bits(words, position, 1) == 1:
        quotient += 1
        position += 1
    position += 1
    remainder = read_bits(words, position, floor)
    position += floor
    short = (2 << floor) - parameter
    if remainder >= short:
        remainder = 2 * remainder + read_bits(words, position, 1) - short
        position += 1
    return quotient * parameter + remainder, position


GOLOMB = (log_ratio, golomb_parameter, write_golomb, read_golomb)
"""The functions of this file, for `program`; they use those of `elias.ELIAS`."""


@checks.keywords
def golomb_expected_length(probability: ArrayLike) -> np.ndarray | float:
    """Expected bits of one run length with the best parameter.

    ⌊log₂ m⌋ + 1 + q^j/(1 − q^m), j = 2^(⌊log₂ m⌋ + 1) − m,

    with q = 1 - p and m the least integer such that q^m + q^(m+1) <= 1.

    Parameters
    ----------
    probability : array_like
        p in (0, 1]: run length r has probability p (1 - p)^r. At most 4.3 % above
        the entropy for p <= 1/2.

    Returns
    -------
    ndarray or float
        Bits a run, the shape of `probability`.

    Raises
    ------
    ValueError
        If a probability is not in (0, 1].
    """
    p = checks.array("probability", probability).astype(np.float64)
    if not np.all((p > 0) & (p <= 1)):
        raise ValueError(f"probability = {probability!r} must be in (0, 1]; leave out levels that never occur")
    with np.errstate(divide="ignore"):
        log_q = np.log1p(-p)
    m = np.maximum(np.ceil(np.log(2 - p) / -log_q), 1)
    floor = np.floor(np.log2(m))
    # expm1: for small p the difference 1 - q**m would cancel
    result = floor + 1 + np.exp((2 ** (floor + 1) - m) * log_q) / -np.expm1(m * log_q)
    return result if result.ndim else float(result)
