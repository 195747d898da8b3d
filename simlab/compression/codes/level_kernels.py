r"""The level-by-level code as loops: plain functions that Numba compiles.

A vector is given as `symbols`, `offset` and the alphabet: level ``values[a]``, ascending, occurs ``counts[a]`` times
and appears as symbol ``a + offset``. Levels of count 0 are allowed. `table` (int64, ``TABLE_ROWS`` rows, a column for
each entry of the alphabet) is working memory:

====== =========== ==================================================================================
row    name        entry
====== =========== ==================================================================================
0      `order`     k -> alphabet index of the level that is coded k-th; the last one is implied
1      `rank`      alphabet index -> rank
2      `parameter` k -> Golomb parameter
3      `floor`     k -> floor(log2 parameter)
4      `start`     k -> first free position after the level's last occurrence, counted among the free ones
5      `tree`      Fenwick tree over ranks: how many rarer levels stand before this position
6      `cursor`    k -> bits of the level's runs; then where its next run is written
====== =========== ==================================================================================

Stream: norm (float32), omega(length + 1), and if length > 0 one or two bits for the form:

* 10, level by level: omega(levels), omega(zigzag(first level)), omega of each difference to the next level, each but
  the last level followed by omega(count); then the runs of each level, rarest first, the most frequent left out.
  Levels of equal count go in ascending order. Of the last three another goes first where that takes fewer bits.
* 11, fixed width: omega(zigzag(least level)), omega(width + 1), then each level less the least in `width` bits.
* 0, sparse or short: omega(largest magnitude + 1), then up to 128 symbols by the adaptive code. Of more, in one
  arithmetic code, number and positions of the non-zeros (`positions`), then, of two or more, their alphabet, NONZERO,
  SIZES or EVEN, and their levels by the adaptive code. So the counts of the levels alone decide the length.

To a receiver who knows the length and the number of levels, `agreed` = s > 0, the length and, in forms 11 and 0,
least level, width and largest magnitude are not sent: they are -s, that of 2s, and s.
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.adaptive_kernels import code_adaptive
from simlab.compression.codes.bitstream import floor_log2, write_bits
from simlab.compression.codes.elias import omega_bits, write_omega, zigzag
from simlab.compression.codes.golomb import golomb_parameter, write_golomb
from simlab.compression.codes.message import front_bits
from simlab.compression.codes.positions import code_positions, narrow

TABLE_ROWS = 7


def all_runs_bits(count: int, remaining: int) -> float:
    """Expected bits of a level's runs, by sums and products only, as encoder and decoder both decide by it."""
    m = golomb_parameter(count, remaining)
    floor = floor_log2(m)
    q = 1.0 - count / remaining
    powers = [1.0, 1.0]
    for which, exponent in enumerate(((2 << floor) - m, m)):
        square, left = q, exponent
        while left > 0:
            if left & 1:
                powers[which] *= square
            square *= square
            left >>= 1
    return count * (floor + 1 + powers[0] / (1.0 - powers[1]))


def order_by_cost(counts: np.ndarray, order: np.ndarray) -> None:
    """Let another than the rarest of the last three levels go first, if that takes fewer bits.

    Golomb's code is up to 4.3 % above the entropy where a level has a third of the positions or more, 1 % or less
    elsewhere, so that only the last levels matter; where one of the three has more than half, it is implied.
    """
    n = order.size
    if n < 3:
        return
    a, b, c = order[n - 3], order[n - 2], order[n - 1]
    remaining = counts[a] + counts[b] + counts[c]
    if 2 * counts[c] > remaining:
        return
    least = all_runs_bits(counts[a], remaining) + all_runs_bits(counts[b], counts[b] + counts[c])
    bits = all_runs_bits(counts[b], remaining) + all_runs_bits(counts[a], counts[a] + counts[c])
    if bits < least:
        order[n - 3], order[n - 2] = b, a
        least = bits
    if all_runs_bits(counts[c], remaining) + all_runs_bits(counts[a], counts[a] + counts[b]) < least:
        order[n - 3], order[n - 2], order[n - 1] = c, a, b


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
        order[k] %= size
    order_by_cost(counts, order[:present])
    for k in range(present):
        a = order[k]
        rank[a] = k
        parameter[k] = golomb_parameter(counts[a], remaining)
        floor[k] = floor_log2(parameter[k])
        remaining -= counts[a]
    return present


def side_bits(values: np.ndarray, counts: np.ndarray, length: int, present: int, agreed: int) -> int:
    """Bits of everything but the runs."""
    bits = front_bits(length, agreed)
    if length == 0:
        return bits
    bits += 2 + omega_bits(present)
    previous = -1
    for a in range(counts.size):
        if counts[a] > 0:
            if previous < 0:
                bits += omega_bits(zigzag(values[a]))
            else:
                bits += omega_bits(counts[previous]) + omega_bits(values[a] - values[previous])
            previous = a
    return bits


def fixed_bits(low: int, high: int, length: int, agreed: int) -> int:
    """Bits of the stream of fixed width, for length > 0."""
    if agreed > 0:
        return 34 + length * (floor_log2(agreed) + 2)
    width = floor_log2(high - low) + 1 if high > low else 0
    return 2 + front_bits(length, 0) + omega_bits(zigzag(low)) + omega_bits(width + 1) + length * width


def tries_sparse(length: int, zeros: int) -> bool:
    """Whether the encoder tries form 0: where it can be shorter by more than a per cent, and takes little time."""
    return length <= 128 or 64 * (length - zeros) <= length


def code_sparse(levels: np.ndarray, largest: int, zeros: int, words: np.ndarray, position: int, agreed: int) -> int:
    """Write form 0 after the length; return the next position. With no `words` the bits are only counted."""
    writes = words.size > 0
    position += 1  # a zero bit
    if agreed > 0:
        largest = agreed
    else:
        if writes:
            write_omega(words, position, largest + 1)
        position += omega_bits(largest + 1)
    # Numbers that are no literals, each of which would be compiled into a coder of its own.
    whole, nonzero, best = np.int64(0), np.int64(1), np.int64(0)
    if levels.size <= 128:
        return code_adaptive(levels, largest, whole, words, position, whole + (1 << 62))  # type: ignore[arg-type]
    nonzeros = np.empty(levels.size - zeros, levels.dtype)
    position, size = code_positions(levels, nonzeros.size, nonzeros, words, position)
    if nonzeros.size < 2:
        return code_adaptive(nonzeros, largest, nonzero, words, position, size)  # type: ignore[arg-type]
    nothing = np.empty(0, np.uint64)
    least = position
    for alphabet in range(1, 4):
        begin, inner = choose(alphabet, nothing, position, size)
        end = code_adaptive(nonzeros, largest, alphabet, nothing, begin, inner)
        if best == 0 or end < least:
            least, best = end, np.int64(alphabet)
    if not writes:
        return least
    position, size = choose(best, words, position, size)  # type: ignore[arg-type]
    return code_adaptive(nonzeros, largest, best, words, position, size)  # type: ignore[arg-type]


def alphabet_bounds(alphabet: int) -> tuple[int, int]:
    """The part of 2^32 at which NONZERO = 1, SIZES = 2 or EVEN = 3 begins, and its width: 3/8, 1/4 and 3/8."""
    if alphabet == 2:
        return 3 << 29, 2 << 29
    return (0, 3 << 29) if alphabet == 1 else (5 << 29, 3 << 29)


def choose(alphabet: int, words: np.ndarray, position: int, size: int) -> tuple[int, int]:
    """Write the alphabet of the non-zeros; the next position and size."""
    below, width = alphabet_bounds(alphabet)
    return narrow(words, position, size, below, width)


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


def count_symbols(
    symbols: np.ndarray, offset: int, values: np.ndarray, counts: np.ndarray, table: np.ndarray, agreed: int
) -> int:
    """Plan, and bits of the level-by-level stream; `cursor` gets the bits of each level's runs."""
    rank, parameter, floor, start, tree, cursor = table[1], table[2], table[3], table[4], table[5], table[6]
    last = plan_levels(counts, table) - 1
    bits = side_bits(values, counts, symbols.size, last + 1, agreed)
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
    """Write form 10 after the length, as planned by `count_symbols`."""
    order, rank, parameter, floor = table[0], table[1], table[2], table[3]
    start, tree, cursor = table[4], table[5], table[6]
    present = 0
    for a in range(counts.size):
        present += counts[a] > 0
    last = present - 1
    position = write_omega(words, write_bits(words, position, 2, 2), present)
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


def write_fixed(levels: np.ndarray, low: int, high: int, words: np.ndarray, position: int, agreed: int) -> None:
    """Write form 11 after the length."""
    position = write_bits(words, position, 3, 2)
    if agreed > 0:
        low, width = -agreed, floor_log2(agreed) + 2
    else:
        width = floor_log2(high - low) + 1 if high > low else 0
        position = write_omega(words, position, zigzag(low))
        position = write_omega(words, position, width + 1)
    for i in range(levels.size):
        position = write_bits(words, position, levels[i] - low, width)


CODE_SPARSE = (tries_sparse, alphabet_bounds, choose, code_sparse)
"""Form 0, beside `positions.CODE_POSITIONS` and the adaptive code."""
