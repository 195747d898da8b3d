"""The codes by name, and the yardsticks: fixed length, float32, entropy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from simlab import checks
from simlab.compression.codes.adaptive_code import (
    COUNT_ADAPTIVE_ROW,
    count_adaptive_bits,
    decode_adaptive,
    encode_adaptive,
    expected_adaptive_bits,
)
from simlab.compression.codes.elias_code import (
    COUNT_ELIAS_ROW,
    count_elias_bits,
    decode_elias,
    encode_elias,
    expected_elias_bits,
)
from simlab.compression.codes.level_code import count_bits, decode, encode, expected_bits
from simlab.compression.codes.level_count import COUNT_ROW
from simlab.compression.codes.message import check_levels


@checks.keywords
def float32_bits(length: int) -> int:
    """Bits of `length` numbers as float32: 32 length, the uncompressed message."""
    return 32 * checks.integer("length", length, minimum=0)


@checks.keywords
def fixed_length_bits(length: int, n_levels: int) -> int:
    """Bits of a float32 norm and `length` levels in -s..s, s = `n_levels`: 32 + length (1 + ceil(log2(s + 1)))."""
    length = checks.integer("length", length, minimum=0)
    return 32 + length * (1 + checks.integer("n_levels", n_levels, minimum=1).bit_length())


@checks.keywords
def empirical_entropy(levels: ArrayLike) -> float:
    """Entropy of the empirical distribution of a vector's levels.

    Parameters
    ----------
    levels : (d,) array of integers

    Returns
    -------
    float
        Bits a symbol, -sum f log2 f over the levels' frequencies f; 0 for an empty vector. No code
        of one symbol after another that knows only these frequencies takes fewer.
    """
    _, counts = np.unique(check_levels(levels), return_counts=True)
    frequencies = counts / max(int(counts.sum()), 1)
    return float(-np.sum(frequencies * np.log2(frequencies))) + 0.0


class Code(NamedTuple):
    """One way to send a message.

    Attributes
    ----------
    name : str
    count_bits : function
        Levels (..., d) -> exact bits of each row's message.
    expected_bits : function
        (probabilities, length) -> closed form of the mean for independent levels in -s..s.
    encode, decode : functions or None
        The stream itself; None for a yardstick, which is only counted. If the code was made with `n_levels`, `decode`
        needs the length.
    count_row : tuple of functions
        The count of one row, for a compiled simulator: helpers first, ``row(levels, table, agreed)`` last, where
        `agreed` is the quantizer's s if the receiver knows it and the length, else 0. Empty if the bits depend on the
        length alone.
    """

    name: str
    count_bits: Callable[[ArrayLike], Any]
    expected_bits: Callable[[ArrayLike, int], float]
    encode: Callable[[ArrayLike, float], bytes] | None = None
    decode: Callable[..., tuple[np.ndarray, float]] | None = None
    count_row: tuple[Callable[..., object], ...] = ()


STREAMS: dict[str, tuple[Any, Any, Any, Any, tuple[Callable[..., object], ...]]] = {
    "level": (count_bits, expected_bits, encode, decode, COUNT_ROW),
    "adaptive": (count_adaptive_bits, expected_adaptive_bits, encode_adaptive, decode_adaptive, COUNT_ADAPTIVE_ROW),
    "elias": (count_elias_bits, expected_elias_bits, encode_elias, decode_elias, COUNT_ELIAS_ROW),
}
CODES = (*STREAMS, "fixed", "float32")


@checks.keywords
def source_code(name: str, n_levels: int | None = None) -> Code:
    """A code by its name.

    Parameters
    ----------
    name : {"level", "adaptive", "elias", "fixed", "float32"}
        Level by level (`encode`), adaptive (`encode_adaptive`), QSGD's own (`encode_elias`), fixed length,
        uncompressed.
    n_levels : int, optional
        s of the quantizer, whose levels are -s..s: needed by "fixed". Messages are then for a receiver who knows it and
        the length, as those in a compressor; without it, a stream says all that its decoder needs.

    Returns
    -------
    Code

    Raises
    ------
    ValueError
        If the name is unknown, or n_levels is missing.
    """
    checks.one_of("code", name, CODES)
    if name in STREAMS:
        count, expected, encoder, decoder, row = STREAMS[name]
        if n_levels is not None:
            s = checks.integer("n_levels", n_levels, minimum=1)
            count, expected = partial(count, n_levels=s), partial(expected, n_levels=s)
            encoder, decoder = partial(encoder, n_levels=s), partial(decoder, n_levels=s)
        return Code(name, count, expected, encoder, decoder, row)
    if name == "float32":
        return _constant(name, float32_bits, math.inf)
    if n_levels is None:
        raise ValueError("n_levels = None, but code 'fixed' needs the quantizer's number of levels; pass n_levels=s")
    s = checks.integer("n_levels", n_levels, minimum=1)
    return _constant(name, lambda length: fixed_length_bits(length, s), s)


def _constant(name: str, bits: Callable[[int], int], largest: float) -> Code:
    """The code of a message whose bits depend on its length alone."""

    def count(levels: ArrayLike) -> int | np.ndarray:
        array = check_levels(levels)
        if array.size and np.abs(array.astype(np.int64)).max() > largest:
            raise ValueError(f"levels reach beyond n_levels = {largest}; pass the quantizer's own number of levels")
        each = bits(array.shape[-1])
        return each if array.ndim == 1 else np.full(array.shape[:-1], each, np.int64)

    return Code(name, count, lambda probabilities, length: float(bits(length)))
