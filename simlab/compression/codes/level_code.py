"""The level-by-level run-length code of integer vectors.

Levels are coded one after another, the rarest first and the most frequent implied: for each level the run lengths
between its positions, among the positions not yet taken, in Golomb's code with the best parameter for its count.
Levels, counts and the length are in Elias' omega code, the norm is a float32; `level_kernels` states the format.

With N symbols and D different levels, coding takes O(N log D + D log D) time and O(N + D) memory, decoding
O(N log N) time; levels that span more than 4096 + N/8 values are sorted first, in O(N log N). A stream takes at most
32 bits a symbol and 140 bits more, for any vector: where a fixed width is shorter, the encoder sends that form.

References
----------
A. Woldemariam, C.-S. Liu, A. Scaglione (2023), source coding of quantized residuals in Malcom-PSGD.
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from simlab import checks
from simlab.compression.codes import level_count as counter, level_decoder as decoder, level_kernels as kernels
from simlab.compression.codes.adaptive_code import adaptive_estimate, likely_largest, mean_log_gamma
from simlab.compression.codes.adaptive_kernels import COUNT_ADAPTIVE, READ_ADAPTIVE
from simlab.compression.codes.bitstream import popcount, to_bytes
from simlab.compression.codes.elias import ELIAS, omega_bits, zigzag
from simlab.compression.codes.golomb import GOLOMB, golomb_expected_length
from simlab.compression.codes.message import (
    MAX_LENGTH,
    check_agreed,
    check_distribution,
    check_levels,
    check_vector,
    decode_message,
    front_bits,
    norm_to_bits,
    read_front,
    write_front,
)
from simlab.compression.codes.positions import CODE_POSITIONS, READ_POSITIONS, number_bits
from simlab.compression.codes.program import program


@cache
def _compiled() -> ModuleType:
    return program(
        helpers=(
            *(*ELIAS, popcount, *GOLOMB, front_bits, *COUNT_ADAPTIVE, *READ_ADAPTIVE),
            *(*CODE_POSITIONS, *READ_POSITIONS, kernels.alphabet_bounds, kernels.choose),
            *(kernels.all_runs_bits, kernels.order_by_cost, kernels.plan_levels, kernels.side_bits),
            *(kernels.fixed_bits, kernels.tries_sparse, kernels.next_run),
            *(decoder.free_positions, decoder.take, decoder.read_fixed, decoder.read_levels),
            *(decoder.read_nonzeros, decoder.read_sparse),
        ),
        entries=(
            *(
                kernels.count_alphabet,
                kernels.code_sparse,
                kernels.count_symbols,
                counter.count_rows,
            ),
            *(write_front, kernels.write_levels, kernels.write_fixed, read_front, decoder.read_vector),
        ),
        shared=(counter.COUNT_ROW,),
    )


class _Alphabet(NamedTuple):
    """A vector over its alphabet: level ``values[a]`` occurs ``counts[a]`` times, as symbol ``a + offset``."""

    symbols: np.ndarray
    offset: int
    values: np.ndarray
    counts: np.ndarray


def _table_serves(span: int, length: int) -> bool:
    """Whether to look levels up in a table of `span` entries; else they are sorted."""
    return span <= 4096 + length // 8


def _alphabet(levels: np.ndarray) -> _Alphabet:
    low, high = int(levels.min()), int(levels.max())
    if _table_serves(high - low + 1, levels.size):
        counts = np.zeros(high - low + 1, np.int64)
        _compiled().count_alphabet(levels, low, counts)
        return _Alphabet(levels, low, np.arange(low, high + 1), counts)
    values, symbols, counts = np.unique(levels, return_inverse=True, return_counts=True)
    return _Alphabet(symbols.astype(np.int32), 0, values.astype(np.int64), counts.astype(np.int64))


def _plan(levels: np.ndarray, agreed: int) -> tuple[_Alphabet, np.ndarray, tuple[int, int, float]]:
    """Alphabet, planned table, and the bits of each form, for a vector that is not empty."""
    alphabet = _alphabet(levels)
    table = np.empty((kernels.TABLE_ROWS, len(alphabet.counts)), np.int64)
    by_level = _compiled().count_symbols(*alphabet, table, agreed)
    fixed = kernels.fixed_bits(*_range(alphabet.values), levels.size, agreed)
    sparse = math.inf
    if kernels.tries_sparse(levels.size, _zeros(alphabet)):
        sparse = _sparse(levels, alphabet, np.empty(0, np.uint64), front_bits(levels.size, agreed), agreed)
    return alphabet, table, (by_level, fixed, sparse)


def _zeros(alphabet: _Alphabet) -> int:
    return int(alphabet.counts[alphabet.values == 0].sum())


def _sparse(levels: np.ndarray, alphabet: _Alphabet, words: np.ndarray, position: int, agreed: int) -> int:
    largest = int(np.abs(alphabet.values).max())
    return int(_compiled().code_sparse(levels, largest, _zeros(alphabet), words, position, agreed))


def _range(values: np.ndarray) -> tuple[int, int]:
    return int(values[0]), int(values[-1])


@checks.keywords
def count_bits(levels: ArrayLike, n_levels: int | None = None) -> int | np.ndarray:
    """Exact length of the stream that `encode` would send, without building it.

    Parameters
    ----------
    levels : (d,) or (..., d) array of integers
        One vector, or one a row; within the range of int32.
    n_levels : int, optional
        s, where the receiver knows it and the length: no level exceeds it, and neither is sent.

    Returns
    -------
    int or (...) ndarray of int64
        Bits, the norm's 32 included: 8 len(encode(levels, norm)) less the padding, which is under 8.

    Raises
    ------
    TypeError, ValueError
        If `levels` are not integers within the range of int32.
    """
    array = check_levels(levels)
    agreed = check_agreed(array, n_levels)
    rows = array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    bits = np.empty(len(rows), np.int64)
    span = int(rows.max()) - int(rows.min()) + 1 if rows.size else 1
    if _table_serves(span, rows.shape[1]):
        _compiled().count_rows(rows, np.empty((counter.ROW_TABLE_ROWS, span), np.int64), agreed, bits)
    else:
        for i, row in enumerate(rows):
            bits[i] = min(_plan(row, agreed)[2])
    return int(bits[0]) if array.ndim == 1 else bits.reshape(array.shape[:-1])


@checks.keywords
def encode(levels: ArrayLike, norm: float, n_levels: int | None = None) -> bytes:
    """Code a vector of integers and its norm, level by level.

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
        A stream of ``count_bits(levels, n_levels)`` bits, filled up with zero bits to whole bytes; without `n_levels`
        it says all that `decode` needs.

    Raises
    ------
    TypeError, ValueError
        If `levels` is not a vector of integers within the range of int32, or `norm` is not finite.
    """
    array, norm_bits = check_vector(levels), norm_to_bits(norm)
    agreed = check_agreed(array, n_levels)
    bits: float = front_bits(array.size, agreed)
    if array.size:
        alphabet, table, forms = _plan(array, agreed)
        bits = min(forms)
    words = np.zeros(int(bits) // 64 + 3, np.uint64)
    position = _compiled().write_front(words, norm_bits, array.size, agreed)
    if array.size == 0:
        pass
    elif bits == forms[0]:
        _compiled().write_levels(*alphabet, table, words, position)
    elif bits == forms[1]:
        _compiled().write_fixed(array, *_range(alphabet.values), words, position, agreed)
    else:
        _sparse(array, alphabet, words, position, agreed)
    return to_bytes(words, int(bits))


@checks.keywords
def decode(
    data: bytes | bytearray | memoryview,
    *,
    length: int | None = None,
    n_levels: int | None = None,
    max_length: int = MAX_LENGTH,
) -> tuple[np.ndarray, float]:
    """Levels and norm of a stream of `encode`.

    Parameters
    ----------
    data : bytes
        One whole stream.
    length : int, optional
        What the receiver knows the vector's length to be; a stream that says otherwise is refused.
    n_levels : int, optional
        As given to `encode`; needs `length`.
    max_length : int, default 2**24
        Without `length`: the longest vector to make room for (a constant vector of any length is a few bytes).

    Returns
    -------
    levels : (d,) ndarray of int32
    norm : float
        As rounded to float32 by `encode`.

    Raises
    ------
    CorruptStreamError
        (a ValueError) If no vector has this stream. Altered bytes that happen to be the stream of
        another vector cannot be told; with `length` given that vector has the right length.
    """
    return decode_message(data, length, n_levels, max_length, _compiled().read_front, _compiled().read_vector)


@checks.keywords
def expected_bits(
    probabilities: ArrayLike, length: int, levels: ArrayLike | None = None, n_levels: int | None = None
) -> float:
    r"""Closed form of the stream's length for independent levels.

    Ranked from the rarest, level k takes p_k length run lengths of a geometric law with parameter
    p_k / (p_k + p_{k+1} + ...), each of `golomb_expected_length`; the levels, and their counts at their
    expected values, are added. The fixed width is taken where it is shorter, as in the stream. For short vectors
    it is an upper estimate (up to 4 % above the mean of 1,000 symbols, 10 % of 100), since the run after a level's
    last position is not sent.

    Parameters
    ----------
    probabilities : (D,) array_like
        Of each level; they sum to 1.
    length : int
        Symbols in the vector.
    levels : (D,) array_like of int, optional
        Ascending. Default: D consecutive ones with 0 in the middle, -s..s for D = 2s + 1.
    n_levels : int, optional
        s, where the receiver knows it and the length: no level exceeds it, and neither is sent.

    Returns
    -------
    float
        Bits of the whole stream.
    """
    p, values = check_distribution(probabilities, levels)
    length = checks.integer("length", length, minimum=0, maximum=2**31 - 1)
    agreed = check_agreed(values[p > 0], n_levels)
    front = float(front_bits(length, agreed))
    if length == 0:
        return front
    values, p = values[p > 0], p[p > 0]
    runs = length * min(_runs_per_symbol(ranked) for ranked in _orders(np.sort(p)))
    occurs = -np.expm1(length * np.log1p(-np.minimum(p, 1 - 1e-16)))
    counts = np.maximum(np.rint(length * p), 1).astype(np.int64)
    gap_bits = np.array([omega_bits(int(gap)) for gap in np.diff(values)])
    count_bits = np.array([omega_bits(int(count)) for count in counts[:-1]])
    side = 2 + omega_bits(max(1, round(occurs.sum()))) + omega_bits(zigzag(int(values[0])))
    side += np.sum(occurs[1:] * gap_bits) + np.sum(occurs[:-1] * count_bits)
    forms = [front + side + runs, kernels.fixed_bits(*_range(values), length, agreed)]
    zeros = float(p[values == 0].sum())
    if kernels.tries_sparse(length, round(length * zeros)):
        largest = agreed or likely_largest(p, values, length)
        sparse = front + 1 + (0 if agreed else omega_bits(largest + 1))
        if length > 128:
            others = length * (1 - zeros)
            sparse += number_bits(round(others), length) + _mean_log_subsets(length, 1 - zeros)
            chosen = [(a, -math.log2(kernels.alphabet_bounds(a)[1] / 2**32) if others >= 1.5 else 0) for a in (1, 2, 3)]
        else:
            chosen = [(0, 0)]
        values_bits = [bits + adaptive_estimate(p, values, length, largest, a) for a, bits in chosen]
        forms.append(sparse + min(values_bits))
    return float(min(forms))


def _mean_log_subsets(n: int, p: float) -> float:
    """E log2 C(n, k) of a binomial k of mean np."""
    whole, one, other = (mean_log_gamma(n, q, 1.0) for q in (1.0, p, 1 - p))
    return (whole - one - other) / math.log(2)


def _orders(ranked: np.ndarray) -> list[np.ndarray]:
    """The orders of the last three levels among which `order_by_cost` chooses."""
    if ranked.size < 3:
        return [ranked]
    return [np.append(ranked[:-3], ranked[-3:][order]) for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1])]


def _runs_per_symbol(ordered: np.ndarray) -> float:
    """Bits of the runs, in the order given, for each symbol of the vector."""
    remaining = np.cumsum(ordered[::-1])[::-1]
    return float(np.sum(ordered[:-1] * golomb_expected_length(np.minimum(ordered / remaining, 1.0)[:-1])))
