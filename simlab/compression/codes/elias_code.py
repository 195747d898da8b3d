"""QSGD's own code: gaps and magnitudes of the non-zero levels in Elias' omega code.

Stream: norm (float32), omega(length + 1), then for each non-zero level omega(distance from the previous one), a sign
bit and omega(magnitude); a last distance leads one past the end. The length and the last distance, which the paper
leaves out, make the stream self-contained.

References
----------
D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, "QSGD: communication-efficient SGD via gradient quantization
and encoding", NeurIPS 2017, appendix on the code Elias(s, v).
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from simlab import checks
from simlab.compression.codes.bitstream import floor_log2, read_bits, to_bytes, write_bits
from simlab.compression.codes.elias import ELIAS, expected_omega_bits, omega_bits, read_omega, write_omega
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


def count_elias_row(levels: np.ndarray, table: np.ndarray, agreed: int) -> int:
    """Exact bits of the stream of one (d,) vector; `table` is not used (see `level_count.count_row`)."""
    bits = front_bits(levels.size, agreed)
    if levels.size == 0:
        return bits
    previous = -1
    for i in range(levels.size):
        if levels[i] != 0:
            magnitude = abs(np.int64(levels[i]))  # of the least int32 it is no int32
            bits += omega_bits(i - previous) + 1 + omega_bits(magnitude)  # type: ignore[arg-type]
            previous = i
    return bits + omega_bits(levels.size - previous)


def count_elias_rows(levels: np.ndarray, table: np.ndarray, agreed: int, out: np.ndarray) -> None:
    """`count_elias_row` of each row."""
    for i in range(levels.shape[0]):
        out[i] = count_elias_row(levels[i], table, agreed)


def write_nonzeros(levels: np.ndarray, words: np.ndarray, position: int) -> None:
    """Write what follows the length."""
    previous = -1
    for i in range(levels.size):
        if levels[i] != 0:
            position = write_omega(words, position, i - previous)
            position = write_bits(words, position, 1 if levels[i] < 0 else 0, 1)
            magnitude = abs(np.int64(levels[i]))
            position = write_omega(words, position, magnitude)  # type: ignore[arg-type]
            previous = i
    write_omega(words, position, levels.size - previous)


def read_nonzeros(words: np.ndarray, n_bits: int, position: int, out: np.ndarray, agreed: int) -> int:
    """Read what follows the length into `out`; the next position, or -1 if the stream cannot be one."""
    out[:] = 0
    i = -1
    while True:
        gap, position = read_omega(words, position)
        if gap < 1 or position > n_bits or i + gap > out.size:
            return -1
        i += gap
        if i == out.size:
            return position
        negative = read_bits(words, position, 1)
        magnitude, position = read_omega(words, position + 1)
        if magnitude < 1 or position > n_bits or magnitude > 2147483647 + negative:
            return -1
        out[i] = -magnitude if negative else magnitude


COUNT_ELIAS_ROW = (floor_log2, omega_bits, front_bits, count_elias_row)
"""`count_elias_row` after the functions it uses, for a compiled simulator's own program."""


@cache
def _compiled() -> ModuleType:
    return program(
        helpers=(*ELIAS, front_bits),
        entries=(count_elias_rows, write_front, write_nonzeros, read_front, read_nonzeros),
        shared=(COUNT_ELIAS_ROW,),
    )


@checks.keywords
def count_elias_bits(levels: ArrayLike, n_levels: int | None = None) -> int | np.ndarray:
    """Exact length of the stream that `encode_elias` would send.

    Parameters
    ----------
    levels : (d,) or (..., d) array of integers
        One vector, or one a row; within the range of int32.
    n_levels : int, optional
        s, where the receiver knows it and the length: no level exceeds it, and neither is sent.

    Returns
    -------
    int or (...) ndarray of int64
        Bits, the norm's 32 included: 8 len(encode_elias(levels, norm)) less the padding, which is under 8.

    Raises
    ------
    TypeError, ValueError
        If `levels` are not integers within the range of int32.
    """
    return count_each(levels, n_levels, _compiled().count_elias_rows)


@checks.keywords
def encode_elias(levels: ArrayLike, norm: float, n_levels: int | None = None) -> bytes:
    """Code a vector of integers and its norm as QSGD does.

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
        A stream of ``count_elias_bits(levels, n_levels)`` bits, filled up with zero bits to whole bytes.

    Raises
    ------
    TypeError, ValueError
        If `levels` is not a vector of integers within the range of int32, or `norm` is not finite.
    """
    array, norm_bits = check_vector(levels), norm_to_bits(norm)
    n_bits = int(count_elias_bits(array, n_levels))
    words = np.zeros(n_bits // 64 + 1, np.uint64)
    position = _compiled().write_front(words, norm_bits, array.size, int(n_levels is not None))
    _compiled().write_nonzeros(array, words, position)
    return to_bytes(words, n_bits)


@checks.keywords
def decode_elias(
    data: bytes | bytearray | memoryview,
    *,
    length: int | None = None,
    n_levels: int | None = None,
    max_length: int = MAX_LENGTH,
) -> tuple[np.ndarray, float]:
    """Levels and norm of a stream of `encode_elias`.

    Parameters
    ----------
    data : bytes
        One whole stream.
    length : int, optional
        What the receiver knows the vector's length to be; a stream that says otherwise is refused.
    n_levels : int, optional
        As given to `encode_elias`; needs `length`.
    max_length : int, default 2**24
        Without `length`: the longest vector to make room for.

    Returns
    -------
    levels : (d,) ndarray of int32
    norm : float
        As rounded to float32 by `encode_elias`.

    Raises
    ------
    CorruptStreamError
        (a ValueError) If no vector has this stream.
    """
    return decode_message(data, length, n_levels, max_length, _compiled().read_front, _compiled().read_nonzeros)


@checks.keywords
def expected_elias_bits(
    probabilities: ArrayLike, length: int, levels: ArrayLike | None = None, n_levels: int | None = None
) -> float:
    """Closed form of the stream's length for independent levels.

    A fraction p of non-zero levels takes p length gaps of a geometric law with parameter p, a sign
    each and a magnitude each. (The last gap is counted as one more, which it is on average.)

    Parameters
    ----------
    probabilities : (D,) array_like
        Of each level; they sum to 1.
    length : int
        Symbols in the vector.
    levels : (D,) array_like of int, optional
        Ascending. Default: D consecutive ones with 0 in the middle.
    n_levels : int, optional
        s, where the receiver knows it and the length: no level exceeds it, and neither is sent.

    Returns
    -------
    float
        Bits of the whole stream.
    """
    p, values = check_distribution(probabilities, levels)
    length = checks.integer("length", length, minimum=0, maximum=2**31 - 1)
    nonzero = (values != 0) & (p > 0)
    magnitudes = np.array([1 + omega_bits(abs(int(v))) for v in values[nonzero]])
    density = min(float(p[nonzero].sum()), 1.0)
    front = front_bits(length, check_agreed(values[p > 0], n_levels))
    if length == 0:
        return float(front)
    if density == 0:
        return float(front + omega_bits(length + 1))
    gaps = (length * density + 1) * expected_omega_bits(density)
    return float(front + length * np.sum(p[nonzero] * magnitudes) + gaps)
