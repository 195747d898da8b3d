"""Compression a block at a time: what it decodes, what it costs and what it promises, all by hand from the blocks."""

from __future__ import annotations

import math
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.compression import (
    QSGD,
    Blockwise,
    Identity,
    Induced,
    Natural,
    PermK,
    RandomK,
    Scaled,
    Sign,
    TopK,
    check_contraction,
    check_unbiased,
)
from tests.helpers.agreement import assert_same
from tests.helpers.interpreted import interpreted

N, BLOCKS = 6, (3, 1, 4)
D = sum(BLOCKS)
RING = simlab.topologies.ring(N)
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=9, dim=D, seed=3)
MIXED = Blockwise((TopK(2), Sign(), QSGD(4, scaled=True)), BLOCKS)
UNBIASED = Blockwise((RandomK(2, unbiased=True), Natural(), QSGD(8)), BLOCKS)


def trace(algorithm: Any, network: Any = RING, **options: Any) -> Any:
    choices = {"steps": 12, "record_every": 4, "engine": "numpy", "progress": False, "seed": 2}
    return simlab.simulate(PROBLEM, network, algorithm, **choices | options)


@given(seed=st.integers(0, 2**31), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=30)
def test_each_block_is_compressed_by_itself(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    each = [(TopK(1), RandomK(1), Sign(), QSGD(3), Identity())[k] for k in random.integers(0, 5, len(sizes))]
    v = random.standard_normal((2, 3, sum(sizes)))
    dither = random.random(v.shape, np.float32)
    compressor = Blockwise(tuple(each), tuple(sizes))
    decoded, bits = compressor.compress(v, dither)
    total, start = np.zeros(v.shape[:-1]), 0
    for one, size in zip(each, sizes, strict=True):
        expected, cost = one.compress(v[..., start : start + size], dither[..., start : start + size])
        np.testing.assert_array_equal(decoded[..., start : start + size], expected)
        total, start = total + cost, start + size
    np.testing.assert_array_equal(bits, total)
    strict = compressor.compress(array_api_strict.asarray(v), array_api_strict.asarray(dither))
    np.testing.assert_array_equal(np.from_dlpack(strict[0]), decoded)


def test_bits_of_a_run_are_those_counted_by_hand() -> None:
    """Two of three with indices of two bits, a scale and a sign, four numbers as they are; to two neighbours."""
    compressor = Blockwise((TopK(2), Sign(), Identity()), BLOCKS)
    message = 2 * (32 + 2) + (32 + 1) + 4 * 64
    for engine in ("numpy", "compiled"):
        frame = trace(simlab.ChocoSGD(0.05, 0.2, compressor), engine=engine).frame
        assert frame.payload_bits.iloc[-1] == 12 * N * message
        assert frame.bits.iloc[-1] == 2 * 12 * N * message


FORMS = {
    "one for all": (simlab.ChocoSGD(0.05, 0.2, Blockwise(RandomK(1), BLOCKS)), RING),
    "one a block": (simlab.ChocoSGD(0.05, 0.2, MIXED), RING),
    "two messages a step": (simlab.BEER(0.05, 0.2, MIXED), RING),
    "through a server": (simlab.DoubleSqueeze(0.05, MIXED), RING),
    "shared random numbers": (simlab.MARINA(0.05, Blockwise(PermK(N), BLOCKS), 0.3), RING),
    "triggered": (simlab.SPARQSGD(0.05, 0.2, MIXED, 2, 5.0), RING),
    "scaled": (simlab.ChocoSGD(0.05, 0.2, Scaled(UNBIASED)), RING),
    "induced": (simlab.MARINA(0.05, Induced(MIXED, UNBIASED), 0.3), RING),
    "one block": (simlab.ChocoSGD(0.05, 0.2, Blockwise(QSGD(4, scaled=True), (D,))), RING),
    "NumPy's integers": (simlab.ChocoSGD(0.05, 0.2, Blockwise(TopK(1), tuple(np.array(BLOCKS)))), RING),
}


@pytest.mark.parametrize("name", FORMS)
def test_engines_agree(name: str) -> None:
    algorithm, network = FORMS[name]
    expected = trace(algorithm, network, replicates=2)
    with interpreted():
        assert_same(trace(algorithm, network, replicates=2, engine="compiled"), expected)


def test_one_block_is_the_compressor_itself() -> None:
    plain = simlab.ChocoSGD(0.05, 0.2, QSGD(4, scaled=True))
    one, two = trace(FORMS["one block"][0]), trace(plain)
    np.testing.assert_array_equal(one.x, two.x)
    assert one.frame.bits.equals(two.frame.bits)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_bounds_follow_from_the_blocks(seed: int) -> None:
    """Errors of many draws are within them; on a vector of the worst block they are attained."""
    random = np.random.default_rng(seed)
    v = random.standard_normal(D)
    draws = np.broadcast_to(v, (20_000, D))
    dither = random.random(draws.shape, np.float32)
    assert MIXED.contraction(D) == min(2 / 3, 1.0, QSGD(4, scaled=True).contraction(4))
    error = np.mean(np.sum((MIXED.compress(draws, dither)[0] - v) ** 2, axis=-1))
    assert error <= (1 - MIXED.contraction(D)) * np.sum(v**2) * 1.03
    q = UNBIASED.compress(draws, dither)[0]
    variance = UNBIASED.variance_factor(D)
    assert variance == max(3 / 2 - 1, 1 / 8, QSGD(8).variance_factor(4)) == check_unbiased(UNBIASED, D)
    spread = math.sqrt(variance * np.sum(v**2) / len(draws))
    np.testing.assert_allclose(q.mean(axis=0), v, rtol=0, atol=6 * spread)
    assert np.mean(np.sum((q - v) ** 2, axis=-1)) <= variance * np.sum(v**2) * 1.03
    attained = Blockwise(RandomK(1), BLOCKS)
    worst = np.zeros((20_000, D))
    worst[:, 4:] = random.standard_normal(4)
    error = np.mean(np.sum((attained.compress(worst, dither)[0] - worst) ** 2, axis=-1))
    assert error == pytest.approx((1 - attained.contraction(D)) * np.sum(worst[0] ** 2), rel=0.05)
    assert attained.contraction(D) == 1 / 4


def test_layers_of_a_problem_are_blocks() -> None:
    features, labels = np.random.default_rng(1).standard_normal((N, 9, 3)), np.tile(np.arange(9) % 2, (N, 1))
    problem = simlab.NeuralNetwork((4,), features, labels)
    compressor = Blockwise(TopK(1), problem.block_sizes)
    assert check_contraction(compressor, problem.dim) == 1 / max(problem.block_sizes)
    options = {"steps": 5, "progress": False, "engine": "numpy"}
    found = simlab.simulate(problem, RING, simlab.ChocoSGD(0.05, 0.2, compressor), **options)
    sent = sum(32 + math.ceil(math.log2(size)) for size in problem.block_sizes)
    assert found.frame.payload_bits.iloc[-1] == 5 * N * sent


@pytest.mark.parametrize(
    ("compressor", "error", "message"),
    [
        (Blockwise(TopK(1), (3, 3)), ValueError, r"blocks = \(3, 3\) are 6 entries, and a message has 8; pass problem"),
        (Blockwise(TopK(1), [3, 5]), TypeError, r"blocks = \[3, 5\] is no tuple; pass problem\.block_sizes"),
        (Blockwise(TopK(1), (8, 0)), ValueError, r"Blockwise\.blocks = 0"),
        (Blockwise((TopK(1),), (3, 5)), ValueError, r"1 compressors for 2 blocks; pass one for all, or"),
        (Blockwise(TopK(4), (3, 5)), ValueError, r"TopK\.k = 4"),
        (Blockwise(3, (3, 5)), TypeError, r"compressor = 3 has no `compress`"),
        (Blockwise(Scaled(UNBIASED), (3, 5)), TypeError, r"put Scaled around, Scaled\(Blockwise\(\.\.\.\)\)"),
        (
            Blockwise([TopK(1), Sign()], (3, 5)),
            TypeError,
            r"compressor = \[.*\] is no tuple; pass tuple\(compressors\)",
        ),
        (Blockwise(Blockwise(TopK(1), (3,)), (3, 5)), TypeError, r"is made of others; give its compressors to the"),
        (Blockwise(QSGD(1), (3, 5)), ValueError, r"is not a contraction"),
    ],
)
def test_impossible_blocks_are_refused(compressor: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trace(simlab.ChocoSGD(0.05, 0.2, compressor))


def test_random_numbers_are_shared_if_one_block_asks() -> None:
    assert Blockwise((PermK(N), TopK(1)), (4, 4)).shared
    assert not MIXED.shared


def test_references_are_those_of_the_compressors() -> None:
    assert MIXED.references == (*TopK(1).references, *Sign().references, *QSGD(4).references)
