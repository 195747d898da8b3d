r"""Positions of the non-zeros of a sparse vector, by an arithmetic coder.

First their number k, then each run of zeros. Of left non-zeros in the remaining positions, the run before the next one
is at least t long with probability

.. math:: \binom{remaining - t}{left} \Big/ \binom{remaining}{left}
          \approx \Big(1 - \frac{t}{remaining - (left - 1)/2}\Big)^{left},

which is exact for one, and close for as few as form 0 has, a 64th: all positions of k non-zeros take the logarithm of
the number of such vectors, wherever they are (fewer bits where all crowd at the end).

k is 0 with probability 1/2. Of the other C classes 2^c - 1, ..., 2^(c+1) - 2 up to 1/64 of the length, class c has
2^-(c+2) + 1/(4 C), midway between Elias' gamma code and equal parts, and its numbers are equally likely. Probabilities
are multiples of 2^-32 of an interval's `size`, from 2^61 to 2^62, as in `adaptive_kernels`.
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.adaptive_kernels import add_bits
from simlab.compression.codes.bitstream import floor_log2, read_bits


def class_bounds(which: int, classes: int) -> tuple[int, int]:
    """The part of 2^32 at which class number `which` of `classes` begins, and its width."""
    if which == 0:
        return 0, 1 << 31
    equal = (1 << 30) // (classes - 1)
    return (3 << 30) - (1 << (31 - which)) + (which - 1) * equal, (1 << (30 - which)) + equal


def number_bits(others: int, length: int) -> float:
    """Bits of the number of non-zeros, before rounding."""
    which = floor_log2(others + 1)
    width = class_bounds(which, floor_log2(length // 64 + 1) + 1)[1]
    return float(32 + which - np.log2(width))


def reach(run: int, left: int, remaining: int) -> int:
    """Probability of a run of at least `run`, of 2^32: sums, products and quotients only, as in `log_ratio`."""
    n_runs = remaining - left + 1
    if run >= n_runs:
        return 0
    square = 1.0 - run / (remaining - 0.5 * (left - 1))
    power = 1.0
    while left > 0:
        if left & 1:
            power *= square
        square *= square
        left >>= 1
    # a part of its own for each run, so that none is impossible
    return int(power * (4294967296 - n_runs)) + n_runs - run


def narrow(words: np.ndarray, position: int, size: int, below: int, width: int) -> tuple[int, int]:
    """Take the part from `below` of `width`, of 2^32, of the interval; the next position and size."""
    size >>= 32
    if words.size > 0:
        add_bits(words, position, size * below)
    size *= width
    shift = 61 - floor_log2(size)
    return position + shift, size << shift


def code_positions(
    levels: np.ndarray, others: int, nonzeros: np.ndarray, words: np.ndarray, position: int
) -> tuple[int, int]:
    """Write number and positions of the non-zeros, which `nonzeros` gets; the next position and the interval's size."""
    length = levels.size
    which = floor_log2(others + 1)
    below, width = class_bounds(which, floor_log2(length // 64 + 1) + 1)
    position, size = narrow(words, position, 1 << 62, below, width)
    part = 1 << (32 - which)
    position, size = narrow(words, position, size, (others + 1) % (1 << which) * part, part)
    left, begin = others, 0
    for i in range(length):
        if levels[i] != 0:
            nonzeros[others - left] = levels[i]
            below = reach(i - begin + 1, left, length - begin)
            width = reach(i - begin, left, length - begin) - below
            position, size = narrow(words, position, size, below, width)
            begin = i + 1
            left -= 1
    return position, size


def widen(words: np.ndarray, position: int, rest: int, size: int, below: int, width: int) -> tuple[int, int, int]:
    """Inverse of `narrow`: the next position, what the stream says beyond the interval's begin, and the size."""
    size >>= 32
    rest -= size * below
    size *= width
    shift = 61 - floor_log2(size)
    return position + shift, (rest << shift) | read_bits(words, position + 62, shift), size << shift


def read_number(words: np.ndarray, position: int, length: int) -> tuple[int, int, int, int]:
    """The number of non-zeros, or -1; the next position, rest and size."""
    classes = floor_log2(length // 64 + 1) + 1
    size, rest = 1 << 62, read_bits(words, position, 62)
    target = rest // (size >> 32)
    which = 0
    while which + 1 < classes and class_bounds(which + 1, classes)[0] <= target:
        which += 1
    below, width = class_bounds(which, classes)
    if target >= below + width:
        return -1, position, rest, size
    position, rest, size = widen(words, position, rest, size, below, width)
    target = rest // (size >> 32)
    if target >> 32:
        return -1, position, rest, size
    place = target >> (32 - which)
    position, rest, size = widen(words, position, rest, size, place << (32 - which), 1 << (32 - which))
    return (1 << which) - 1 + place, position, rest, size


def read_positions(
    words: np.ndarray, n_bits: int, position: int, rest: int, size: int, length: int, places: np.ndarray
) -> tuple[int, int, int]:
    """Fill `places`; the next position, or -1 if no vector has them, rest and size."""
    begin = 0
    for k in range(places.size):
        left, remaining = places.size - k, length - begin
        target = rest // (size >> 32)
        if target >> 32 or position > n_bits:
            return -1, rest, size
        run, beyond = 0, remaining - left + 1
        # near the root of the real function, which need not be the same on every machine
        root = int((remaining - 0.5 * (left - 1)) * (1 - ((target + 0.5) / 4294967296) ** (1 / left)))
        for probe in (root - 1, root + 2):
            if run < probe < beyond:
                if reach(probe, left, remaining) > target:
                    run = probe
                else:
                    beyond = probe
        while beyond - run > 1:
            middle = (run + beyond) >> 1
            if reach(middle, left, remaining) > target:
                run = middle
            else:
                beyond = middle
        below = reach(beyond, left, remaining)
        position, rest, size = widen(words, position, rest, size, below, reach(run, left, remaining) - below)
        begin += run + 1
        places[k] = begin - 1
    return position, rest, size


CODE_POSITIONS = (class_bounds, reach, narrow, code_positions)
"""What the encoder and a count need, beside `floor_log2` and `add_bits`."""

READ_POSITIONS = (widen, read_number, read_positions)
"""What a decoder needs in addition."""
