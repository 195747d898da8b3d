r"""The adaptive code as loops: plain functions that Numba compiles.

Symbol a has weight 2 c_a + 1 after c_a occurrences: Krichevsky and Trofimov's estimate
(c_a + 1/2)/(n + A/2) of its probability. An arithmetic coder keeps an interval of the numbers between 0 and 1; the
stream is the binary fraction in the last interval that has the fewest digits, so that its length follows from the
interval's length alone. `frequencies` holds the weights, and their sum as its last entry.

There are four alphabets: SIGNED = 0 numbers the levels 0, -1, 1, -2, 2, ... as 0, 1, 2, ...; NONZERO = 1 the same
without 0, less one; SIZES = 2 the magnitudes 1, 2, ... as 0, 1, ..., and sends each sign as one bit; EVEN = 3 is
NONZERO with other weights. The first 65 numbers are symbols. The others follow in groups of 1, 2, 4, ...: a group is a
symbol, the place in it has equal probabilities. In SIZES weights begin with 4 instead of 1, as few large levels are of
much the same number; in EVEN with 2, Laplace's estimate, so that all vectors of counts are equally likely.
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.bitstream import floor_log2, read_bits
from simlab.compression.codes.elias import unzigzag, zigzag


def start_frequencies(largest: int, alphabet: int, frequencies: np.ndarray) -> int:
    """Equal weights for levels in -largest..largest; return how many numbers the alphabet has."""
    size = largest if alphabet == 2 else 2 * largest + (alphabet == 0)
    n_symbols = size if size <= 65 else 66 + floor_log2(size - 65)
    weight = 4 if alphabet == 2 else 2 if alphabet == 3 else 1
    for a in range(frequencies.size):
        frequencies[a] = weight if a < n_symbols else 0
    frequencies[-1] = weight * n_symbols
    return size


def symbol_of(level: int, alphabet: int) -> tuple[int, int, int]:
    """The symbol of a level, its place in the symbol's group and how many bits that has, a sign as the last one."""
    number = zigzag(level) - 1 - (alphabet > 0)
    sign = number & 1
    if alphabet == 2:
        number >>= 1
    symbol, place, width = number, 0, 0
    if number >= 65:
        width = floor_log2(number - 64)
        symbol, place = 65 + width, number - 64 - (1 << width)
    if alphabet == 2:
        return symbol, 2 * place + sign, width + 1
    return symbol, place, width


def level_of(symbol: int, place: int, alphabet: int, size: int) -> int:
    """Inverse of `symbol_of`, or 2^31 for what no level has."""
    sign = place & 1
    if alphabet == 2:
        place >>= 1
    number = symbol if symbol < 65 else 64 + (1 << (symbol - 65)) + place
    if number >= size:
        return 2147483648
    if alphabet == 2:
        number = 2 * number + sign
    return unzigzag(number + 1 + (alphabet > 0))


def update(frequencies: np.ndarray, symbol: int) -> None:
    """Count one more; halve all weights when they pass 2^24, so that the intervals stay divisible."""
    frequencies[symbol] += 2
    frequencies[-1] += 2
    if frequencies[-1] > 16777216:
        frequencies[-1] = 0
        for a in range(frequencies.size - 1):
            frequencies[a] = (frequencies[a] + 1) >> 1
            frequencies[-1] += frequencies[a]


def add_bits(words: np.ndarray, position: int, value: int) -> None:
    """Add a number of 62 bits to the binary fraction in `words`, its first bit at `position`."""
    index, offset = position >> 6, position & 63
    if offset <= 2:
        high = np.uint64(value) << np.uint64(2 - offset)
    else:
        low = np.uint64(value) << np.uint64(66 - offset)
        high = np.uint64(value) >> np.uint64(offset - 2)
        words[index + 1] += low
        if words[index + 1] < low:
            high += np.uint64(1)
    words[index] += high
    carry = words[index] < high
    while carry:
        index -= 1
        words[index] += np.uint64(1)
        carry = words[index] == 0


def code_adaptive(levels: np.ndarray, largest: int, alphabet: int, words: np.ndarray, position: int, size: int) -> int:
    """Write the levels, all of which the alphabet has, and end the fraction; return the next position.

    `size` is that of the interval, in units of the last bit of the 62 at `position`: 2^62 where the fraction begins.
    With no `words` (of size 0) the bits are only counted.
    """
    frequencies = np.empty(100, np.int64)  # 65 + 33 symbols, and the sum
    start_frequencies(largest, alphabet, frequencies)
    for level in levels:
        symbol, place, width = symbol_of(np.int64(level), alphabet)  # type: ignore[arg-type]
        size //= frequencies[-1]
        if words.size > 0:
            below = 0
            for a in range(symbol):
                below += frequencies[a]
            add_bits(words, position, size * below)
        size *= frequencies[symbol]
        update(frequencies, symbol)
        while size < 4294967296:
            size <<= 30
            position += 30
        while width > 0:
            step = min(width, 16)
            width -= step
            size >>= step
            if words.size > 0:
                add_bits(words, position, size * ((place >> width) & ((1 << step) - 1)))
            while size < 4294967296:
                size <<= 30
                position += 30
    digits = floor_log2(size)
    end = position + 62 - digits
    if words.size > 0:
        add_bits(words, position, (1 << digits) - 1)
        for w in range(end >> 6, min(words.size, (position + 62 >> 6) + 1)):
            keep = max(end - 64 * w, 0)
            words[w] &= ~(np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(keep))
    return end


def read_adaptive(
    words: np.ndarray,
    n_bits: int,
    position: int,
    rest: int,
    size: int,
    largest: int,
    alphabet: int,
    out: np.ndarray,
) -> int:
    """Read as many levels as `out` takes and end the fraction; the next position, or -1.

    `rest` is what the 62 bits at `position` say beyond the begin of the interval.
    """
    frequencies = np.empty(100, np.int64)  # 65 + 33 symbols, and the sum
    n_numbers = start_frequencies(largest, alphabet, frequencies)
    for k in range(out.size):
        size //= frequencies[-1]
        target = rest // size
        if target >= frequencies[-1] or position > n_bits:
            return -1
        symbol, below = 0, 0
        while below + frequencies[symbol] <= target:
            below += frequencies[symbol]
            symbol += 1
        rest -= size * below
        size *= frequencies[symbol]
        update(frequencies, symbol)
        while size < 4294967296:
            size <<= 30
            rest = (rest << 30) | read_bits(words, position + 62, 30)
            position += 30
        width = max(symbol - 65, 0) + (alphabet == 2)
        place = 0
        while width > 0:
            step = min(width, 16)
            width -= step
            size >>= step
            digit = rest // size
            if digit >> step:
                return -1
            rest -= size * digit
            place = (place << step) | digit
            while size < 4294967296:
                size <<= 30
                rest = (rest << 30) | read_bits(words, position + 62, 30)
                position += 30
        level = level_of(symbol, place, alphabet, n_numbers)
        if level > 2147483647:
            return -1
        out[k] = level
    digits = floor_log2(size)
    if rest >> digits:  # the encoder takes the first such fraction
        return -1
    return position + 62 - digits


COUNT_ADAPTIVE = (start_frequencies, symbol_of, update, add_bits, code_adaptive)
"""What a count needs, beside `floor_log2` and `zigzag`."""

READ_ADAPTIVE = (level_of, read_adaptive)
"""What a decoder needs in addition."""
