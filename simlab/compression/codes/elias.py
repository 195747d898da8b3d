r"""The Elias omega code of the positive integers.

A number is its binary digits, preceded by the code of their count less one, and so on down to 1; a 0 ends it:
1 = 0, 2 = 10 0, 17 = 10 100 10001 0.

References
----------
P. Elias, "Universal codeword sets and representations of the integers", IEEE Trans. Inform. Theory 21 (1975).
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.bitstream import floor_log2, read_bits, write_bits


def omega_bits(n: int) -> int:
    """Length of a code word.

    Parameters
    ----------
    n : int
        At least 1.

    Returns
    -------
    int
        Bits: 1 for 1, 3 for 2 and 3, 6 for 4 to 7, 7 for 8 to 15, 11 for 16 to 31, ...
    """
    bits = 1
    while n > 1:
        n = floor_log2(n)
        bits += n + 1
    return bits


def write_omega(words: np.ndarray, position: int, n: int) -> int:
    """Write a code word.

    Parameters
    ----------
    words : (m,) array of uint64
        Zero from `position` on, and long enough.
    position : int
        Bit at which the word begins, the first one 0.
    n : int
        At least 1, below 2**63.

    Returns
    -------
    int
        The position after the word.
    """
    end = position + omega_bits(n)
    start = end - 1
    while n > 1:
        width = floor_log2(n) + 1
        start -= width
        write_bits(words, start, n, width)
        n = width - 1
    return end


def read_omega(words: np.ndarray, position: int) -> tuple[int, int]:
    """Read a code word.

    Parameters
    ----------
    words : (m,) array of uint64
        Its last two words zero, as `from_bytes` makes them; what lies beyond is read as zeros.
    position : int
        Bit at which the word begins.

    Returns
    -------
    n : int
        The number, or -1 if it has more than 41 digits, which no stream holds.
    position : int
        The position after the word.
    """
    n = 1
    while read_bits(words, position, 1) == 1:
        if n > 40:
            return -1, position
        width = n + 1
        n = read_bits(words, position, width)
        position += width
    return n, position + 1


def zigzag(n: int) -> int:
    """Number the integers 0, -1, 1, -2, 2, ... as 1, 2, 3, 4, 5, ...

    Parameters
    ----------
    n : int

    Returns
    -------
    int
        2n + 1 for n >= 0, -2n for n < 0: at least 1, as code words need it.
    """
    return 2 * n + 1 if n >= 0 else -2 * n


def unzigzag(n: int) -> int:
    """Inverse of `zigzag`.

    Parameters
    ----------
    n : int
        At least 1.

    Returns
    -------
    int
        The integer whose number is n.
    """
    return n // 2 if n % 2 == 1 else -(n // 2)


ELIAS = (
    floor_log2,
    write_bits,
    read_bits,
    omega_bits,
    write_omega,
    read_omega,
    zigzag,
    unzigzag,
)
"""The functions of this file and the ones they use, for `program`."""


def expected_omega_bits(probability: float) -> float:
    """Mean code length of a geometric gap.

    Parameters
    ----------
    probability : float
        Chance, in (0, 1], that a position ends the gap: gap g has probability p (1 - p)^(g - 1).

    Returns
    -------
    float
        Bits. All numbers with the same count of digits cost the same, so the sum has one term a digit.
    """
    digits = 2.0 ** np.arange(42)
    tail = np.power(1.0 - probability, digits - 1.0)
    lengths = np.array([omega_bits(1 << k) for k in range(41)])
    return float(np.sum(lengths * (tail[:-1] - tail[1:])))
