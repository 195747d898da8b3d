"""Bytes that no encoder wrote: an error or a vector of the right length, never a crash, a hang or a memory bomb."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from simlab.compression import CorruptStreamError, source_code
from simlab.compression.codes.bitstream import to_bytes, write_bits
from simlab.compression.codes.elias import write_omega

CODED = ["level", "adaptive", "elias"]


def decodes_or_refuses(code, data, length=None, max_length=10_000):
    """Whether `data` decodes; anything but a right-sized int32 vector or CorruptStreamError fails.

    What decodes is a stream that the encoder would send, or a longer one of the level code's forms.
    """
    try:
        levels, norm = code.decode(data, length=length, max_length=max_length)
    except CorruptStreamError:
        return False
    assert isinstance(levels, np.ndarray)
    assert levels.dtype == np.int32
    assert len(levels) <= max_length
    assert length is None or len(levels) == length
    again = code.encode(levels, norm)
    assert again == data or (code.name == "level" and len(again) <= len(data))
    return True


@pytest.mark.parametrize("name", CODED)
@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 500)))
def test_random_bytes(name, data, length):
    decodes_or_refuses(source_code(name), data, length)


@pytest.mark.parametrize("name", CODED)
@given(st.binary(max_size=200), st.integers(0, 500))
def test_random_bytes_after_a_sound_front(name, data, length):
    """The length is right, what follows is not."""
    words = np.zeros(4, np.uint64)
    end = write_omega(words, 32, length + 1)
    front = "".join(f"{byte:08b}" for byte in to_bytes(words, end))[:end]
    bits = front + "".join(f"{byte:08b}" for byte in data)
    stream = int(bits + "0" * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8)
    decodes_or_refuses(source_code(name), stream, length)


def originals(rng):
    """Vectors of every kind: sparse, dense, wide, constant, empty, sorted."""
    n = int(rng.integers(0, 400))
    yield rng.choice([-1, 0, 1], n, p=[0.025, 0.95, 0.025])
    yield rng.integers(-200, 200, n) * (rng.random(n) < 0.01)
    yield np.rint(rng.normal(0, 3, n)).astype(int)
    yield rng.integers(-(2**31), 2**31, n)
    yield np.repeat(rng.integers(-(2**31), 2**31, 8), n // 8)
    yield np.full(n, rng.integers(-5, 5))
    yield rng.permutation(n)


def altered(data, rng):
    """Copies with flipped bits, other bytes, bytes put in, left out or moved, and all of these."""
    for _ in range(20):
        copy = bytearray(data)
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(0, len(copy)))
            match int(rng.integers(0, 5)):
                case 0:
                    copy[at] ^= 1 << int(rng.integers(0, 8))
                case 1:
                    copy[at] = int(rng.choice([0, 255, rng.integers(0, 256)]))
                case 2:
                    copy[at:at] = rng.bytes(int(rng.integers(1, 4)))
                case 3 if len(copy) > 8:
                    del copy[at : at + int(rng.integers(1, 4))]
                case 4:
                    copy[at:], copy[:at] = copy[:at], copy[at:]
            copy = copy or bytearray(1)
        yield bytes(copy)


def fuzz(rounds, seed):
    rng = np.random.default_rng(seed)
    decoded = refused = 0
    for _ in range(rounds):
        for levels in originals(rng):
            for name in CODED:
                code = source_code(name)
                data = code.encode(levels, 1.0)
                np.testing.assert_array_equal(code.decode(data)[0], levels)
                for copy in altered(data, rng):
                    for length in (None, len(levels)):
                        if decodes_or_refuses(code, copy, length):
                            decoded += 1
                        else:
                            refused += 1
    # both happen, or the fuzzer tries nothing
    assert decoded > rounds
    assert refused > rounds


def test_altered_streams():
    fuzz(60, seed=1)


@pytest.mark.slow
def test_altered_streams_at_length():
    fuzz(3000, seed=2)


@pytest.mark.slow
def test_no_index_is_out_of_range(tmp_path):
    """The fuzzer again with Numba's bounds checks, which the compiled loops otherwise do without."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "SIMLAB_CACHE_DIR": str(tmp_path)}
    tests = [f"{__file__}::{test}" for test in ("test_altered_streams", "test_random_bytes", "test_every_cut")]
    tests += [f"{Path(__file__).with_name('test_source_coding.py')}::test_rows_are_counted_as_the_encoder_counts"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", CODED)
def test_every_cut(name):
    """A stream says where it ends, so every cut is noticed, and every byte too many."""
    rng = np.random.default_rng(3)
    code = source_code(name)
    for levels in originals(rng):
        data = code.encode(levels, 1.0)
        for length in (None, len(levels)):
            for cut in range(len(data)):
                with pytest.raises(CorruptStreamError):
                    code.decode(data[:cut], length=length)
            for more in (b"\0", b"\1", data):
                with pytest.raises(CorruptStreamError):
                    code.decode(data + more, length=length)


@pytest.mark.parametrize("name", CODED)
def test_another_length_is_refused(name):
    code = source_code(name)
    data = code.encode([0, 1, 0], 1.0)
    with pytest.raises(CorruptStreamError, match="3 levels where length = 4"):
        code.decode(data, length=4)
    with pytest.raises(CorruptStreamError, match="raise max_length"):
        code.decode(data, max_length=2)
    assert code.decode(bytearray(data), length=3, max_length=2)[0].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="norm"):
        code.decode(b"\xff" * 4 + data[4:])


def stream(*numbers, form=""):
    """Norm 0, then `numbers` in omega's code with the bit `form` s `form` after the first."""
    words, position = np.zeros(64, np.uint64), 32
    for k, n in enumerate(numbers):
        position = write_omega(words, position, n)
        if k == 0 and form:
            position = write_bits(words, position, int(form, 2), len(form))
    return to_bytes(words, position)


BOMBS = {
    "2^40 levels": stream(2**40, form="10"),
    "more than 2^41 levels": b"\0" * 4 + b"\xff" * 60,
    "2^24 different levels": stream(2**24 + 1, 2**24, 1, form="10"),
    "a count of 2^24": stream(2**24 + 1, 2, 1, 2**24, 1, form="10"),
    "a count of 2^24 - 1": stream(2**24 + 1, 2, 1, 2**24 - 1, 1, form="10"),
    "half of 2^24 runs": stream(2**24 + 1, 2, 1, 2**23, 1, form="10"),
    "2^24 of 32 bits": stream(2**24 + 1, 1, 33, form="11"),
    "a width of 2^40": stream(2**24 + 1, 1, 2**40, form="11"),
    "a level of 2^39": stream(2**10, 1, 2**40, form="10"),
    "2^24 non-zeros": stream(2**24 + 1, 2, 1, form="0"),
    "a largest level of 2^40": stream(2**10, 2**40, form="0"),
    "a gap of 2^40": stream(2**10, 2, 1, 1, 2**40, form="10"),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("name", CODED)
def test_counts_that_the_bytes_cannot_hold(name, bomb):
    """Refused within the memory of max_length = 2^24 levels of int32 and the map of free positions, 1/16 of it."""
    code = source_code(name)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStreamError):
            code.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**26 + 2**22 + 2**20
    finally:
        tracemalloc.stop()
