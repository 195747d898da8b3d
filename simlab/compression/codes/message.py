"""What the messages of all codes share: checked arguments, the norm and the length at the front, the end."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from simlab import checks
from simlab.compression.codes.bitstream import CorruptStreamError, check_end, from_bytes, read_bits, write_bits
from simlab.compression.codes.elias import omega_bits, read_omega, write_omega

MAX_LENGTH = 2**24
INT32 = np.iinfo(np.int32)


def check_levels(levels: ArrayLike) -> np.ndarray:
    """Return `levels` as a C-contiguous int32 array; TypeError unless integers, ValueError outside int32."""
    try:
        array = np.asarray(levels)
    except ValueError:
        raise TypeError(f"levels = {levels!r} has rows of unequal length; pass equal-length rows of integers") from None
    if np.ma.is_masked(levels):
        raise ValueError("levels has masked values; pass the quantizer's integers")
    if array.size == 0 and array.dtype == np.float64:
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"levels has dtype {array.dtype}, not an integer one; pass the quantizer's integers")
    if array.ndim == 0:
        raise ValueError(f"levels = {levels!r} is a single number; pass a vector")
    if array.size and not np.can_cast(array.dtype, np.int32):
        low, high = int(array.min()), int(array.max())
        if low < INT32.min or high > INT32.max:
            raise ValueError(f"levels range from {low} to {high}; keep them within int32, [{INT32.min}, {INT32.max}]")
    return np.ascontiguousarray(array, dtype=np.int32)


def check_agreed(levels: np.ndarray, n_levels: int | None) -> int:
    """0 if the receiver knows nothing, else `n_levels`, which no level may exceed (ValueError)."""
    if n_levels is None:
        return 0
    agreed = checks.integer("n_levels", n_levels, minimum=1, maximum=2**31 - 1)
    if levels.size and max(int(levels.max()), -int(levels.min())) > agreed:
        raise ValueError(f"levels reach beyond n_levels = {agreed}; pass the quantizer's own number of levels")
    return agreed


def check_vector(levels: ArrayLike) -> np.ndarray:
    """`check_levels` for one vector."""
    array = check_levels(levels)
    if array.ndim != 1:
        raise ValueError(f"levels has shape {array.shape}, not (d,); encode each row as a message of its own")
    return array


def count_each(
    levels: ArrayLike, n_levels: int | None, count_rows: Callable[[np.ndarray, np.ndarray, int, np.ndarray], None]
) -> int | np.ndarray:
    """Bits of one vector, or of each row, by a compiled `count_rows` that needs no working memory."""
    array = check_levels(levels)
    agreed = check_agreed(array, n_levels)
    rows = array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    bits = np.empty(len(rows), np.int64)
    count_rows(rows, np.empty((0, 0), np.int64), agreed, bits)
    return int(bits[0]) if array.ndim == 1 else bits.reshape(array.shape[:-1])


def check_distribution(probabilities: ArrayLike, levels: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and their levels, by default consecutive with 0 in the middle; ValueError unless they fit."""
    p = checks.array("probabilities", probabilities, shape=(None,)).astype(np.float64)
    if p.size == 0 or p.min() < 0 or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"probabilities = {probabilities!r} must be non-negative with sum 1; divide by their sum")
    values = np.arange(p.size) - p.size // 2 if levels is None else check_vector(levels).astype(np.int64)
    if values.shape != p.shape or np.any(np.diff(values) <= 0):
        raise ValueError(f"levels = {levels!r} must be ascending, one for each of {p.size} probabilities")
    return p, values


def front_bits(length: int, agreed: int) -> int:
    """Bits of the norm and, unless the receiver knows it (`agreed` > 0), the length."""
    return 32 if agreed > 0 else 32 + omega_bits(length + 1)


def write_front(words: np.ndarray, norm: int, length: int, agreed: int) -> int:
    """Write the norm's 32 bits and, unless the receiver knows it, the length; return the next position."""
    position = write_bits(words, 0, norm, 32)
    return position if agreed > 0 else write_omega(words, position, length + 1)


def read_front(words: np.ndarray) -> tuple[int, int, int]:
    """The norm's bits, the length (negative if unreadable) and the next position."""
    code, position = read_omega(words, 32)
    return read_bits(words, 0, 32), code - 1, position


def norm_to_bits(norm: float) -> int:
    """The bits of `norm` as a float32; ValueError if it is not finite there."""
    with np.errstate(over="ignore"):
        single = np.float32(checks.real("norm", norm))
    if not np.isfinite(single):
        raise ValueError(f"norm = {norm!r} overflows float32; scale the vector down")
    return int(single.view(np.uint32))


def decode_message(
    data: bytes | bytearray | memoryview,
    length: int | None,
    n_levels: int | None,
    max_length: int,
    front: Callable[..., tuple[int, int, int]],
    body: Callable[..., int],
) -> tuple[np.ndarray, float]:
    """Decode one message with the compiled `read_front` and the code's `body(words, n_bits, position, out, agreed)`."""
    agreed = check_agreed(np.empty(0), n_levels)
    if agreed and length is None:
        raise ValueError("length = None, but a stream for a receiver who knows n_levels does not hold it; pass length")
    if length is not None:
        length = checks.integer("length", length, minimum=0, maximum=2**31 - 1)
    checks.integer("max_length", max_length, minimum=0, maximum=2**31 - 1)
    words = from_bytes(data)
    n_bytes = memoryview(data).nbytes
    norm_bits, found, position = front(words)
    if agreed and length is not None:
        found, position = length, 32
    norm = float(np.uint32(norm_bits).view(np.float32))
    if found < 0 or position > 8 * n_bytes or not np.isfinite(norm):
        raise CorruptStreamError(f"{n_bytes} bytes hold no norm and length; pass what encode returned, unaltered")
    if length is not None and found != length:
        raise CorruptStreamError(f"the stream says {found} levels where length = {length}; pass the right message")
    if length is None and found > max_length:
        raise CorruptStreamError(
            f"the stream says {found} levels, more than max_length = {max_length}; raise max_length if that can be true"
        )
    out = np.empty(found, np.int32)
    if found:
        position = body(words, 8 * n_bytes, position, out, agreed)
        if position < 0 or (agreed and np.abs(out.astype(np.int64)).max() > agreed):
            raise CorruptStreamError(f"the stream of {n_bytes} bytes is cut short or altered; send it again")
    check_end(data, position)
    return out, norm
