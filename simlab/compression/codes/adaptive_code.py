"""The adaptive code of integer vectors: Krichevsky and Trofimov's estimate with an arithmetic coder.

Stream: norm (float32), omega(length + 1), omega(largest magnitude + 1), then the levels as in `adaptive_kernels`. To a
receiver who knows the number of levels and the length, neither is sent. For any vector of up to 65 levels the stream is
within two bits of the ideal: (A - 1)/2 log2(length) + O(1) above the entropy, whatever the frequencies.

References
----------
R. E. Krichevsky, V. K. Trofimov, "The performance of universal encoding", IEEE Trans. Inform. Theory 27 (1981).
J. Rissanen, G. G. Langdon, "Arithmetic coding", IBM J. Res. Develop. 23 (1979).
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from simlab import checks
from simlab.compression.codes.adaptive_kernels import (
    COUNT_ADAPTIVE,
    READ_ADAPTIVE,
    code_adaptive,
    read_adaptive,
    start_frequencies,
    symbol_of,
)
from simlab.compression.codes.bitstream import floor_log2, read_bits, to_bytes
from simlab.compression.codes.elias import ELIAS, omega_bits, read_omega, write_omega, zigzag
from simlab.compression.codes.message import (
    MAX_LENGTH,
    check_agreed,
    check_distribution,
    check_vector,
    count_each,
    decode_message,
    front_bits,
    norm_to_bits,
    read_front,
    write_front,
)
from simlab.compression.codes.program import program


def count_adaptive_row(levels: np.ndarray, table: np.ndarray, agreed: int) -> int:
    """Exact bits of the stream of one (d,) vector; `table` is not used (see `level_count.count_row`)."""
    bits = front_bits(levels.size, agreed)
    if levels.size == 0:
        return bits
    largest = np.int64(agreed)
    if agreed <= 0:
        for level in levels:
            largest = max(largest, abs(np.int64(level)))
        bits += omega_bits(largest + 1)  # type: ignore[arg-type]
    return code_adaptive(levels, largest, 0, np.empty(0, np.uint64), bits, 1 << 62)  # type: ignore[arg-type]


def count_adaptive_rows(levels: np.ndarray, table: np.ndarray, agreed: int, out: np.ndarray) -> None:
    """`count_adaptive_row` of each row."""
    for i in range(levels.shape[0]):
        out[i] = count_adaptive_row(levels[i], table, agreed)


def write_adaptive(levels: np.ndarray, agreed: int, words: np.ndarray, position: int) -> None:
    """Write what follows the length, for length > 0."""
    largest = np.int64(agreed)
    if agreed <= 0:
        for level in levels:
            largest = max(largest, abs(np.int64(level)))
        position = write_omega(words, position, largest + 1)  # type: ignore[arg-type]
    code_adaptive(levels, largest, 0, words, position, 1 << 62)  # type: ignore[arg-type]


def read_all_adaptive(words: np.ndarray, n_bits: int, position: int, out: np.ndarray, agreed: int) -> int:
    """Read what follows the length into `out`; the next position, or -1 if the stream cannot be one."""
    if agreed > 0:
        return read_adaptive(words, n_bits, position, read_bits(words, position, 62), 1 << 62, agreed, 0, out)
    code, position = read_omega(words, position)
    if code < 1 or code > 2147483649:
        return -1
    rest = read_bits(words, position, 62)
    position = read_adaptive(words, n_bits, position, rest, 1 << 62, code - 1, 0, out)
    largest = np.int64(0)
    for level in out:
        largest = max(largest, abs(np.int64(level)))
    return position if largest == code - 1 else -1  # the encoder sends the largest magnitude that occurs


COUNT_ADAPTIVE_ROW = (floor_log2, zigzag, omega_bits, front_bits, *COUNT_ADAPTIVE, count_adaptive_row)
"""`count_adaptive_row` after the functions it uses, for a compiled simulator's own program."""


@cache
def _compiled() -> ModuleType:
    return program(
        helpers=(*ELIAS, front_bits, *COUNT_ADAPTIVE, *READ_ADAPTIVE),
        entries=(count_adaptive_rows, write_front, write_adaptive, read_front, read_all_adaptive),
        shared=(COUNT_ADAPTIVE_ROW,),
    )


@checks.keywords
def count_adaptive_bits(levels: ArrayLike, n_levels: int | None = None) -> int | np.ndarray:
    """Exact length of the stream that `encode_adaptive` would send.

    Parameters
    ----------
    levels : (d,) or (..., d) array of integers
        One vector, or one a row; within the range of int32.
    n_levels : int, optional
        s, where the receiver knows it and the length: no level exceeds it, and neither is sent.

    Returns
    -------
    int or (...) ndarray of int64
        Bits, the norm's 32 included: 8 len(encode_adaptive(levels, norm)) less the padding, which is under 8.

    Raises
    ------
    TypeError, ValueError
        If `levels` are not integers within the range of int32, or of -n_levels..n_levels.
    """
    return count_each(levels, n_levels, _compiled().count_adaptive_rows)


@checks.keywords
def encode_adaptive(levels: ArrayLike, norm: float, n_levels: int | None = None) -> bytes:
    """Code a vector of integers and its norm by the adaptive code.

    Parameters
    ----------
    levels : (d,) array of integers
        Within the range of int32.
    norm : float
        Sent as a float32.
    n_levels : int, optional
        s, where the receiver knows it and the length: no level exceeds it, and neither is sent.

    Returns
    -------
    bytes
        A stream of ``count_adaptive_bits(levels, n_levels)`` bits, filled up with zero bits to whole bytes.

    Raises
    ------
    TypeError, ValueError
        If `levels` is not a vector of integers in range, or `norm` is not finite.
    """
    array, norm_bits = check_vector(levels), norm_to_bits(norm)
    agreed = check_agreed(array, n_levels)
    n_bits = int(count_adaptive_bits(array, n_levels))
    words = np.zeros(n_bits // 64 + 3, np.uint64)
    position = _compiled().write_front(words, norm_bits, array.size, agreed)
    if array.size:
        _compiled().write_adaptive(array, agreed, words, position)
    return to_bytes(words, n_bits)


@checks.keywords
def decode_adaptive(
    data: bytes | bytearray | memoryview,
    *,
    length: int | None = None,
    n_levels: int | None = None,
    max_length: int = MAX_LENGTH,
) -> tuple[np.ndarray, float]:
    """Levels and norm of a stream of `encode_adaptive`.

    Parameters
    ----------
    data : bytes
        One whole stream.
    length : int, optional
        What the receiver knows the vector's length to be; a stream that says otherwise is refused.
    n_levels : int, optional
        As given to `encode_adaptive`; needs `length`.
    max_length : int, default 2**24
        Without `length`: the longest vector to make room for.

    Returns
    -------
    levels : (d,) ndarray of int32
    norm : float
        As rounded to float32 by `encode_adaptive`.

    Raises
    ------
    CorruptStreamError
        (a ValueError) If no vector has this stream.
    """
    return decode_message(data, length, n_levels, max_length, _compiled().read_front, _compiled().read_all_adaptive)


@checks.keywords
def expected_adaptive_bits(
    probabilities: ArrayLike, length: int, levels: ArrayLike | None = None, n_levels: int | None = None
) -> float:
    """Mean of the stream's length for independent levels, up to the rounding to whole bits.

    With cₐ ~ Bin(d, pₐ) occurrences of symbol a of A, the levels take

    log₂ Γ(d + A/2)/Γ(A/2) − Σₐ E log₂ Γ(cₐ + 1/2)/Γ(1/2) + 1/2

    bits, where 1/2 stands for the rounding up.

    Parameters
    ----------
    probabilities : (D,) array_like
        Of each level; they sum to 1.
    length : int
        Symbols in the vector.
    levels : (D,) array_like of int, optional
        Ascending. Default: D consecutive ones with 0 in the middle.
    n_levels : int, optional
        s, where the receiver knows it and the length. Otherwise the largest level is taken for that which at least
        half of the vectors hold.

    Returns
    -------
    float
        Bits of the whole stream.
    """
    p, values = check_distribution(probabilities, levels)
    length = checks.integer("length", length, minimum=0, maximum=2**31 - 1)
    agreed = check_agreed(values[p > 0], n_levels)
    bits = float(front_bits(length, agreed))
    if length == 0:
        return bits
    largest = agreed or likely_largest(p, values, length)
    bits += 0 if agreed else omega_bits(largest + 1)
    return bits + adaptive_estimate(p, values, length, largest, 0)


def likely_largest(p: np.ndarray, values: np.ndarray, length: int) -> int:
    """The largest magnitude that at least half of the vectors reach."""
    size = np.abs(values)
    beyond = [
        m for m in np.unique(size[p > 0]) if -np.expm1(length * np.log1p(-min(p[size >= m].sum(), 1 - 1e-16))) >= 0.5
    ]
    return int(max(beyond))


def adaptive_estimate(p: np.ndarray, values: np.ndarray, length: int, largest: int, alphabet: int) -> float:
    """Mean bits that `code_adaptive` writes."""
    frequencies = np.empty(100, np.int64)
    start_frequencies(largest, alphabet, frequencies)
    sent = (p > 0) & ((values != 0) | (alphabet == 0))
    if not sent.any():
        return 0.0
    symbols, _, widths = np.array([symbol_of(int(v), alphabet) for v in values[sent]]).T
    chance = np.minimum(np.bincount(symbols, p[sent]), 1)
    bits = mean_log_gamma(length, min(float(chance.sum()), 1.0), frequencies[-1] / 2)
    bits -= sum(mean_log_gamma(length, float(c), frequencies[0] / 2) for c in chance if c > 0)
    bits = float(bits / math.log(2) + length * np.sum(p[sent] * widths))
    return bits + 0.5 if bits > 1e-9 else 0.0


def mean_log_gamma(n: int, p: float, a: float) -> float:
    """E ln(Gamma(c + a)/Gamma(a)) of a binomial c: exactly for means below 1000, else to second order in its spread."""
    from scipy.special import gammaln, polygamma

    if p <= 0 or p >= 1:
        return float(gammaln(n + a) - gammaln(a)) if p > 0 else 0.0
    mean, variance = n * p, n * p * (1 - p)
    if mean > 1000:
        return float(gammaln(mean + a) - gammaln(a) + variance / 2 * polygamma(1, mean + a))
    counts = np.arange(min(n, int(mean + 12 * math.sqrt(variance)) + 40) + 1)
    ratios = (n - counts[:-1]) * p / (counts[1:] * (1 - p))  # of the probability of a count to that of the one before
    probabilities = np.exp(n * math.log1p(-p) + np.append(0.0, np.cumsum(np.log(ratios))))
    return float(probabilities @ (gammaln(counts + a) - gammaln(a)) / probabilities.sum())
