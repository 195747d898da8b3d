"""A bit stream in memory: whole 64-bit words, the most significant bit first, as bytes on the wire."""

from __future__ import annotations

import numpy as np


class CorruptStreamError(ValueError):
    """The bytes are not what `encode` writes: cut short, altered, or not a stream at all."""


def floor_log2(n: int) -> int:
    """Whole part of log2(n) for 1 <= n < 2^63."""
    result = 0
    for step in (32, 16, 8, 4, 2, 1):
        if n >> step > 0:
            n >>= step
            result += step
    return result


def popcount(word: np.uint64) -> int:
    """Bits that are set in a word of 64."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


def write_bits(words: np.ndarray, position: int, value: int, width: int) -> int:
    """Write the low `width` <= 63 bits of `value` at bit `position` of zeroed words; return the next position."""
    if width > 0:
        index = position >> 6
        spill = width - (64 - (position & 63))
        bits = np.uint64(value)
        if spill <= 0:
            words[index] |= bits << np.uint64(-spill)
        else:
            words[index] |= bits >> np.uint64(spill)
            words[index + 1] |= bits << np.uint64(64 - spill)
    return position + width


def read_bits(words: np.ndarray, position: int, width: int) -> int:
    """The `width` <= 63 bits at bit `position`; beyond the end every bit is 0 (`from_bytes` adds two zero words)."""
    if width == 0:
        return 0
    index = min(position >> 6, words.size - 2)
    offset = position & 63
    window = words[index] << np.uint64(offset)
    if offset > 0:
        window |= words[index + 1] >> np.uint64(64 - offset)
    return np.int64(window >> np.uint64(64 - width))  # type: ignore[return-value]


def to_bytes(words: np.ndarray, n_bits: int) -> bytes:
    """The first `n_bits` bits, filled up with zero bits to whole bytes."""
    return words.astype(">u8").tobytes()[: (n_bits + 7) // 8]


def from_bytes(data: bytes | bytearray | memoryview) -> np.ndarray:
    """The bytes as words, with at least two zero words after the last bit."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data is a {type(data).__name__}, not bytes; pass what encode returned")
    raw = bytes(data)
    return np.frombuffer(raw + bytes(16 + -len(raw) % 8), ">u8").astype(np.uint64)


def check_end(data: bytes | bytearray | memoryview, position: int) -> None:
    """CorruptStreamError unless the stream ends at bit `position`, but for fewer than eight zero bits."""
    raw = memoryview(data).cast("B")
    padding = 8 * len(raw) - position
    if padding < 0:
        raise CorruptStreamError(f"the stream of {len(raw)} bytes is cut short; send all bytes that encode returned")
    if padding >= 8 or (padding and raw[-1] & ((1 << padding) - 1)):
        raise CorruptStreamError(
            f"the stream ends at bit {position} but is followed by others; pass one message, unaltered"
        )
