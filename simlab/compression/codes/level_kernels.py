r"""The level-by-level code as loops: plain functions that Numba compiles.

A vector is given as `symbols`, `offset` and the alphabet: level ``values[a]``, ascending, occurs ``counts[a]`` times
and appears as symbol ``a + offset``. Levels of count 0 are allowed. `table` (int64, ``TABLE_ROWS`` rows, a column for
each entry of the alphabet) is working memory:

====== =========== ==================================================================================
row    name        entry
====== =========== ==================================================================================
0      `order`     k -> alphabet index of the level of rank k; rank 0 is the rarest
1      `rank`      alphabet index -> rank
2      `parameter` k -> Golomb parameter
3      `floor`     k -> floor(log2 parameter)
4      `start`     k -> first free position after the level's last occurrence, counted among the free ones
5      `tree`      Fenwick tree over ranks: how many rarer levels stand before this position
6      `cursor`    k -> bits of the level's runs; then where its next run is written
====== =========== ==================================================================================

Stream: norm (float32), omega(length + 1), and if length > 0 one bit for the form:

* 0, level by level: omega(levels), omega(zigzag(first level)), omega of each difference to the next level, each but
  the last level followed by omega(count); then the runs of each level, rarest first, the most frequent left out.
  Levels of equal count go in ascending order.
* 1, fixed width: omega(zigzag(least level)), omega(width + 1), then each level less the least in `width` bits.
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.bitstream import floor_log2, write_bits
from simlab.compression.codes.elias import omega_bits, write_omega, zigzag
from simlab.compression.codes.golomb import golomb_parameter, write_golomb

TABLE_ROWS = 7


def plan_levels(counts: np.ndarray, table: np.ndarray) -> int:
    """Rank the levels by count and choose their Golomb parameters; return how many levels occur."""
    order, rank, parameter, floor = table[0], table[1], table[2], table[3]
    size = counts.size
    present = 0
    remaining = 0
    for a in range(size):
        if counts[a] > 0:
            order[present] = counts[a] * size + a
            remaining += counts[a]
            present += 1
    order[:present].sort()
    for k in range(present):
        a = order[k] % size
        order[k] = a
        rank[a] = k
        parameter[k] = golomb_parameter(counts[a], remaining)
        floor[k] = floor_log2(parameter[k])
        remaining -= counts[a]
    return present


def side_bits(values: np.ndarray, counts: np.ndarray, length: int, present: int) -> int:
    """Bits of everything but the runs."""
    bits = 32 + omega_bits(length + 1)
    if length == 0:
        return bits
    bits += 1 + omega_bits(present)
    previous = -1
    for a in range(counts.size):
        if counts[a] > 0:
            if previous < 0:
                bits += omega_bits(zigzag(values[a]))
            else:
                bits += omega_bits(counts[previous]) + omega_bits(values[a] - values[previous])
            previous = a
    return bits


def fixed_bits(low: int, high: int, length: int) -> int:
    """Bits of the stream of fixed width, for length > 0."""
    width = floor_log2(high - low) + 1 if high > low else 0
    return 33 + omega_bits(length + 1) + omega_bits(zigzag(low)) + omega_bits(width + 1) + length * width


def next_run(i: int, k: int, last: int, start: np.ndarray, tree: np.ndarray) -> int:
    """Free positions between position i, where rank k stands, and that level's last; position i is taken."""
    rarer = 0
    node = k
    while node > 0:
        rarer += tree[node]
        node -= node & -node
    run = i - rarer - start[k]
    start[k] = i - rarer + 1
    node = k + 1
    while node <= last:
        tree[node] += 1
        node += node & -node
    return run


def count_symbols(symbols: np.ndarray, offset: int, values: np.ndarray, counts: np.ndarray, table: np.ndarray) -> int:
    """Plan, and bits of the level-by-level stream; `cursor` gets the bits of each level's runs."""
    rank, parameter, floor, start, tree, cursor = table[1], table[2], table[3], table[4], table[5], table[6]
    last = plan_levels(counts, table) - 1
    bits = side_bits(values, counts, symbols.size, last + 1)
    for k in range(last):
        start[k] = 0
        tree[k + 1] = 0
        cursor[k] = counts[table[0, k]] * (floor[k] + 1)
    implied = table[0, last] + offset
    for i in range(symbols.size):
        if symbols[i] != implied:
            k = rank[symbols[i] - offset]
            run = next_run(i, k, last, start, tree)
            quotient = run // parameter[k]
            cursor[k] += quotient
            if run - quotient * parameter[k] >= (2 << floor[k]) - parameter[k]:
                cursor[k] += 1
    for k in range(last):
        bits += cursor[k]
    return bits


def count_alphabet(symbols: np.ndarray, offset: int, counts: np.ndarray) -> None:
    """Occurrences of each symbol."""
    for i in range(symbols.size):
        counts[symbols[i] - offset] += 1


def write_levels(
    symbols: np.ndarray,
    offset: int,
    values: np.ndarray,
    counts: np.ndarray,
    table: np.ndarray,
    words: np.ndarray,
    position: int,
) -> None:
    """Write form 0 after the length, as planned by `count_symbols`."""
    order, rank, parameter, floor = table[0], table[1], table[2], table[3]
    start, tree, cursor = table[4], table[5], table[6]
    present = 0
    for a in range(counts.size):
        present += counts[a] > 0
    last = present - 1
    position = write_omega(words, write_bits(words, position, 0, 1), present)
    previous = -1
    for a in range(counts.size):
        if counts[a] > 0:
            if previous < 0:
                position = write_omega(words, position, zigzag(values[a]))
            else:
                position = write_omega(words, position, counts[previous])
                position = write_omega(words, position, values[a] - values[previous])
            previous = a
    for k in range(last):
        bits = cursor[k]
        cursor[k] = position
        position += bits
        start[k] = 0
        tree[k + 1] = 0
    implied = order[last] + offset
    for i in range(symbols.size):
        if symbols[i] != implied:
            k = rank[symbols[i] - offset]
            run = next_run(i, k, last, start, tree)
            cursor[k] = write_golomb(words, cursor[k], run, parameter[k], floor[k])


def write_fixed(levels: np.ndarray, low: int, high: int, words: np.ndarray, position: int) -> None:
    """Write form 1 after the length."""
    width = floor_log2(high - low) + 1 if high > low else 0
    position = write_omega(words, write_bits(words, position, 1, 1), zigzag(low))
    position = write_omega(words, position, width + 1)
    for i in range(levels.size):
        position = write_bits(words, position, levels[i] - low, width)
