"""Decoding of the level-by-level code as loops.

Every function returns the next position, or -1 when the stream cannot be one that was encoded. Reads are in range by
construction (`read_bits`), and beyond the end they give zeros, which end every code word; so a loop over runs stops at
the first run that the stream does not hold. Nothing is allocated that the bits left over cannot fill.
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.adaptive_kernels import read_adaptive
from simlab.compression.codes.bitstream import floor_log2, popcount, read_bits
from simlab.compression.codes.elias import read_omega, unzigzag, zigzag
from simlab.compression.codes.golomb import read_golomb
from simlab.compression.codes.level_kernels import alphabet_bounds, plan_levels, tries_sparse
from simlab.compression.codes.positions import read_number, read_positions, widen


def free_positions(length: int) -> tuple[np.ndarray, np.ndarray]:
    """All positions as free: a bit each, and a Fenwick tree of the words' counts."""
    n_words = (length + 63) >> 6
    free = np.full(n_words, np.uint64(0xFFFFFFFFFFFFFFFF), dtype=np.uint64)
    tree = np.zeros(n_words + 1, dtype=np.int64)
    for w in range(1, n_words + 1):
        tree[w] += min(64, length - 64 * (w - 1))
        above = w + (w & -w)
        if above <= n_words:
            tree[above] += tree[w]
    return free, tree


def take(free: np.ndarray, tree: np.ndarray, target: int) -> int:
    """The free position with `target` free ones before it, which must exist; it is free no longer."""
    n_words = free.size
    step = 1
    while 2 * step <= n_words:
        step *= 2
    word = 0
    while step > 0:
        above = word + step
        if above <= n_words:
            if tree[above] <= target:
                target -= tree[above]
                word = above
            else:
                tree[above] -= 1
        step >>= 1
    bits = free[word]
    bit = 0
    half = 32
    while half > 0:
        below = popcount(bits & ((np.uint64(1) << np.uint64(half)) - np.uint64(1)))
        if target >= below:
            target -= below
            bits >>= np.uint64(half)
            bit += half
        half >>= 1
    free[word] ^= np.uint64(1) << np.uint64(bit)
    return (word << 6) + bit


def read_levels(words: np.ndarray, n_bits: int, position: int, out: np.ndarray) -> int:
    """Read form 10 into `out`, whose length is known and positive."""
    present, position = read_omega(words, position)
    # a level takes two bits at least
    if present < 1 or present > out.size or 2 * (present - 1) > n_bits - position:
        return -1
    values = np.empty(present, dtype=np.int64)
    counts = np.empty(present, dtype=np.int64)
    code, position = read_omega(words, position)
    if code < 1:
        return -1
    values[0] = unzigzag(code)
    unused = out.size
    for a in range(present - 1):
        counts[a], position = read_omega(words, position)
        gap, position = read_omega(words, position)
        if counts[a] < 1 or gap < 1 or position > n_bits:
            return -1
        unused -= counts[a]
        values[a + 1] = values[a] + gap
        if unused < 1 or values[a + 1] > 2147483647:
            return -1
    counts[present - 1] = unused
    if position > n_bits or values[0] < -2147483648 or values[present - 1] > 2147483647:
        return -1
    table = np.empty((4, present), dtype=np.int64)  # the rows that plan_levels fills
    plan_levels(counts, table)
    order, parameter, floor = table[0], table[2], table[3]
    last = present - 1
    # a run takes one bit at least
    if out.size - counts[order[last]] > n_bits - position:
        return -1
    out[:] = values[order[last]]
    free, tree = free_positions(out.size)
    n_free = out.size
    for k in range(last):
        value = values[order[k]]
        target = 0
        for _ in range(counts[order[k]]):
            run, position = read_golomb(words, position, parameter[k], floor[k])
            target += run
            if position > n_bits or run < 0 or target >= n_free:
                return -1
            out[take(free, tree, target)] = value
            n_free -= 1
    return position


def read_fixed(words: np.ndarray, n_bits: int, position: int, out: np.ndarray, agreed: int) -> int:
    """Read form 11 into `out`."""
    if agreed > 0:
        code, width = zigzag(-agreed), floor_log2(agreed) + 2
    else:
        code, position = read_omega(words, position)
        width, position = read_omega(words, position)
        width -= 1
    if code < 1 or width < 0 or width > 32 or out.size * width > n_bits - position:
        return -1
    low = unzigzag(code)
    if low < -2147483648:
        return -1
    least = 1 << 40
    most = 0
    for i in range(out.size):
        excess = read_bits(words, position, width)
        least = min(least, excess)
        most = max(most, excess)
        out[i] = low + excess
        position += width
    if agreed > 0:
        return position if most <= 2 * agreed else -1
    # the encoder takes the least level and the least width
    if least > 0 or most >> max(width - 1, 0) != min(width, 1) or low + most > 2147483647:
        return -1
    return position


def read_sparse(words: np.ndarray, n_bits: int, position: int, out: np.ndarray, agreed: int) -> int:
    """Read form 0 into `out`."""
    largest = agreed
    if agreed == 0:
        code, position = read_omega(words, position)
        largest = code - 1
        if code < 1 or largest > 2147483648:
            return -1
    if out.size <= 128:
        rest = read_bits(words, position, 62)
        position = read_adaptive(words, n_bits, position, rest, 1 << 62, largest, 0, out)
    else:
        position = read_nonzeros(words, n_bits, position, largest, out)
    if agreed == 0:  # the encoder sends the largest magnitude that occurs
        most = np.int64(0)
        for level in out:
            most = max(most, abs(np.int64(level)))
        if most != largest:
            return -1
    return position


def read_nonzeros(words: np.ndarray, n_bits: int, position: int, largest: int, out: np.ndarray) -> int:
    """Read number, positions and values of the non-zeros of form 0 into `out`."""
    others, position, rest, size = read_number(words, position, out.size)
    # a non-zero takes a bit at least
    if others < 0 or others > n_bits - position or (others > 0 and largest == 0):
        return -1
    if not tries_sparse(out.size, out.size - others):
        return -1
    places = np.empty(others, np.int32)
    position, rest, size = read_positions(words, n_bits, position, rest, size, out.size, places)
    alphabet = 1
    if position >= 0 and others > 1:
        target = rest // (size >> 32)
        if target >> 32:
            return -1
        alphabet += (target >= 3 << 29) + (target >= 5 << 29)
        position, rest, size = widen(words, position, rest, size, *alphabet_bounds(alphabet))
    if position < 0:
        return -1
    values = np.empty(others, np.int32)
    position = read_adaptive(words, n_bits, position, rest, size, largest, alphabet, values)
    out[:] = 0
    for k in range(others):
        out[places[k]] = values[k]
    return position


def read_vector(words: np.ndarray, n_bits: int, position: int, out: np.ndarray, agreed: int) -> int:
    """Read whichever form follows the length into `out`."""
    if read_bits(words, position, 1) == 0:
        return read_sparse(words, n_bits, position + 1, out, agreed)
    if read_bits(words, position + 1, 1) == 0:
        return read_levels(words, n_bits, position + 2, out)
    return read_fixed(words, n_bits, position + 2, out, agreed)
