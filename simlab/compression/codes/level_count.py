"""Bits of the level-by-level code of one row, counted as a simulator needs them: for many rows, without the stream.

For few levels their positions are sorted by level, and the free positions before each are counted in a map of bits:
loops without branches, which random levels would mispredict.
"""

from __future__ import annotations

import numpy as np

from simlab.compression.codes.adaptive_kernels import COUNT_ADAPTIVE
from simlab.compression.codes.bitstream import floor_log2, popcount, write_bits
from simlab.compression.codes.elias import omega_bits, write_omega, zigzag
from simlab.compression.codes.golomb import golomb_parameter, log_ratio
from simlab.compression.codes.level_kernels import (
    CODE_SPARSE,
    all_runs_bits,
    code_sparse,
    count_symbols,
    fixed_bits,
    next_run,
    order_by_cost,
    plan_levels,
    side_bits,
    tries_sparse,
)
from simlab.compression.codes.message import front_bits
from simlab.compression.codes.positions import CODE_POSITIONS

ROW_TABLE_ROWS = 9
"""Rows of the table of `count_row`: those of `level_kernels`, then the alphabet's values and counts."""


def count_row(levels: np.ndarray, table: np.ndarray, agreed: int) -> int:
    """Exact bits of the stream of one vector.

    Parameters
    ----------
    levels : (d,) array of int32
    table : (9, width) array of int64
        Working memory; ``width = 2 * s + 1`` serves levels in [-s, s].
    agreed : int
        s if the receiver knows it and the length, else 0.

    Returns
    -------
    int
        Bits, or -1 if the levels span more than `width` values.
    """
    length = levels.size
    if length == 0:
        return front_bits(0, agreed)
    low = levels[0]
    high = levels[0]
    for i in range(length):
        low = min(low, levels[i])
        high = max(high, levels[i])
    offset = int(low)
    size = int(high) - offset + 1
    if size < 1 or size > table.shape[1]:
        return -1
    values, counts = table[7, :size], table[8, :size]
    count_levels(levels, offset, table[3:7, :size], counts)
    for a in range(size):
        values[a] = offset + a
    present = plan_levels(counts, table)
    if present <= 256:
        bits = side_bits(values, counts, length, present, agreed) + count_runs(levels, offset, counts, present, table)
    else:
        bits = count_symbols(levels, offset, values, counts, table, agreed)
    bits = min(bits, fixed_bits(offset, int(high), length, agreed))
    zeros = counts[-offset] if offset <= 0 <= high else 0
    if tries_sparse(length, zeros):
        front = front_bits(length, agreed)
        largest = max(np.int64(high), -np.int64(low))  # of the least int32 it is no int32
        bits = min(bits, code_sparse(levels, largest, zeros, np.empty(0, np.uint64), front, agreed))  # type: ignore[arg-type]
    return bits


def count_levels(levels: np.ndarray, offset: int, lanes: np.ndarray, counts: np.ndarray) -> None:
    """Occurrences of each level; in four lanes, as an increment waits for the one before it of the same number."""
    for a in range(counts.size):
        for lane in range(4):
            lanes[lane, a] = 0
    for i in range(levels.size):
        lanes[i & 3, levels[i] - offset] += 1
    for a in range(counts.size):
        counts[a] = lanes[0, a] + lanes[1, a] + lanes[2, a] + lanes[3, a]


def count_runs(levels: np.ndarray, offset: int, counts: np.ndarray, present: int, table: np.ndarray) -> int:
    """Bits of all runs, as planned by `plan_levels`; time grows with the number of levels times d/64."""
    order, rank, parameter, floor, ends = table[0], table[1], table[2], table[3], table[4]
    last = present - 1
    coded = 0
    for k in range(last):
        ends[k] = coded
        coded += counts[order[k]]
    places = np.empty(coded, np.int32)
    sort_positions(levels, offset, order[last] + offset, rank, ends, places)
    n_words = (levels.size + 63) >> 6
    free = np.empty(n_words, np.uint64)
    for w in range(n_words):
        free[w] = np.uint64(0xFFFFFFFFFFFFFFFF)
    before = np.empty(n_words, np.int32)
    bits = 0
    begin = 0
    for k in range(last):
        taken = places[begin : ends[k]]
        bits += count_level(taken, free, before, parameter[k], floor[k])
        if k < last - 1:
            for i in taken:
                free[i >> 6] ^= np.uint64(1) << np.uint64(i & 63)
        begin = ends[k]
    return bits


def sort_positions(
    levels: np.ndarray, offset: int, implied: int, rank: np.ndarray, ends: np.ndarray, places: np.ndarray
) -> None:
    """Fill `places` with the positions of all but the implied level, by rank; `ends` moves from starts to ends."""
    coded = np.empty(levels.size, np.int32)
    n = 0
    for i in range(levels.size):
        coded[n] = i
        n += levels[i] != implied
    for i in coded[:n]:
        k = rank[levels[i] - offset]
        places[ends[k]] = i
        ends[k] += 1


def count_level(places: np.ndarray, free: np.ndarray, before: np.ndarray, parameter: int, floor: int) -> int:
    """Bits of the runs of one level, whose positions still count as free; `before` is working memory."""
    total = 0
    for w in range(free.size):
        before[w] = total
        total += popcount(free[w])
    inverse = 1.0 / parameter
    short = (2 << floor) - parameter
    bits = places.size * (floor + 1)
    start = 0
    for i in places:
        lower = (np.uint64(1) << np.uint64(i & 63)) - np.uint64(1)
        position = before[i >> 6] + popcount(free[i >> 6] & lower)
        run = position - start
        start = position + 1
        quotient = int((run + 0.5) * inverse)  # run // parameter: rounding errs by less than 0.5 / parameter
        bits += quotient + (run - quotient * parameter >= short)
    return bits


def count_rows(levels: np.ndarray, table: np.ndarray, agreed: int, out: np.ndarray) -> None:
    """`count_row` of each row."""
    for i in range(levels.shape[0]):
        out[i] = count_row(levels[i], table, agreed)


COUNT_ROW = (
    *(floor_log2, popcount, omega_bits, zigzag, front_bits, log_ratio, golomb_parameter),
    *(*COUNT_ADAPTIVE, *CODE_POSITIONS, write_bits, write_omega, *CODE_SPARSE),
    *(all_runs_bits, order_by_cost, plan_levels, side_bits, fixed_bits, next_run),
    *(count_symbols,),
    *(count_levels, sort_positions, count_level, count_runs, count_row),
)
"""`count_row` after the functions it uses: what a compiled simulator prints into its own program, without fast math."""
