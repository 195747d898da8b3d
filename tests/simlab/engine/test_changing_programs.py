"""Random steps on networks that change: both engines against the same expressions on dense matrices, row by row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.engine.array import ArrayEngine
from simlab.engine.compiled import CompiledEngine
from simlab.network import Exchanges, NetworkProcess
from simlab.step.streams import Draws
from tests.helpers import programs
from tests.helpers.interpreted import interpreted

N, D, M, B, STEPS, FIRST, EVERY = 5, 2, 4, 2, 7, 3, 3
PROBLEM = simlab.LeastSquares.synthetic(n_nodes=N, n_samples=M, dim=D, seed=0)


class Block(NamedTuple):
    """What happens in a step: W with rows of the sleeping as they are, who is awake and fires, receivers."""

    w: np.ndarray
    awake: np.ndarray
    fires: np.ndarray
    receivers: np.ndarray


def random_block(random: np.random.Generator) -> Block:
    """From nobody to everybody awake; entries and receivers of all kinds, rows that need not sum to 1."""
    awake = random.random(N) < random.choice([0.0, 0.5, 0.8, 1.0], p=[0.05, 0.35, 0.3, 0.3])
    w = random.standard_normal((N, N)) * (random.random((N, N)) < 0.5) * awake / 2
    w[~awake] = np.eye(N)[~awake]
    return Block(w, awake, random.random(N) < 0.7, random.integers(0, 4, N))


def exchanges(blocks: list[Block], which: np.ndarray) -> Exchanges:
    """The blocks as a run stores them, entry by entry."""
    start, rows, fires, receivers, indptr, indices, weights = [0], [], [], [], [0], [], []
    for block in blocks:
        for i in range(N):
            if block.awake[i]:
                rows.append(i)
                fires.append(block.fires[i])
                receivers.append(block.receivers[i])
                for j in range(N):
                    if block.w[i, j]:
                        indices.append(j)
                        weights.append(block.w[i, j])
                indptr.append(len(indices))
        start.append(len(rows))
    return Exchanges(
        which, np.array(start), np.array(rows, np.int32), np.array(fires, bool), np.array(receivers, np.int64),
        np.array(indptr), np.array(indices, np.int32), np.array(weights, float),
    )  # fmt: skip


class Given(NetworkProcess):
    """Stands for any process; the engines take the exchanges from the draws."""

    def __init__(self) -> None:
        super().__init__(
            N, "given", double=False, column=True, symmetric=False, asynchronous=True
        )  # rows sum to anything


class Outcome(NamedTuple):
    state: tuple[np.ndarray, ...]
    snapshots: np.ndarray
    sent: np.ndarray


def replay(algorithm: Any, state: Any, hyper: np.ndarray, drawn: tuple[Any, ...], path: list[Block]) -> Outcome:
    """The steps of one run; `drawn` has a row for each awake node, step after step."""
    indices, noise, dither = drawn
    sent, snapshots, used = np.zeros((N, 2), np.int64), [], 0
    for k, block in enumerate(path):
        row = {i: used + u for u, i in enumerate(np.flatnonzero(block.awake))}
        used += len(row)
        calls = iter(range(100))

        def call(name: str, a: Any, b: Any, i: int, j: int, *, k: int = k, block: Block = block, row=row, calls=calls):
            match name:
                case "mix":
                    return block.w @ a
                case "differences":
                    return block.w @ a - block.w.sum(axis=1, keepdims=True) * a
                case "average":
                    return np.broadcast_to(a[block.awake].sum(axis=0) / max(1, len(row)), a.shape)
                case "phase":
                    return a if (FIRST + k) % (2 + j % 3) == i % 2 else b
                case "steps":
                    return a / (1 + FIRST + k)
                case "fires":
                    return np.where(block.fires[:, None], a, b)
                case "gradient":
                    g = np.zeros((N, D))
                    for node, u in row.items():
                        if block.fires[node]:
                            some = slice(None) if indices is None else indices[u]
                            f, y = PROBLEM.features[node, some], PROBLEM.targets[node, some]
                            g[node] = f.T @ (f @ a[node] - y) / len(y) + PROBLEM.l2 * a[node]
                            g[node] += 0 if noise is None else noise[u]
                    return g
                case "compress":
                    q, call = np.zeros_like(a), next(calls)
                    for node, u in row.items():
                        q[node] = 0.25 * a[node] + 0.5 * a[node] * dither[u, call, : a.shape[1]]
                        size = 10 + i + node if block.receivers[node] else 0
                        sent[node] += size, size * block.receivers[node]
                    return q

        mine = algorithm._replace(lr=hyper[k, 0], momentum=hyper[k, 1])
        new = mine.evaluate(state, call, np.zeros((N, D)))
        state = type(state)(*(np.where(block.awake[:, None], a, b) for a, b in zip(new, state, strict=True)))
        if (FIRST + k + 1) % EVERY == 0:
            snapshots.append(state[0])
    return Outcome(tuple(state), np.array(snapshots), sent)


def check(algorithm: Any, seed: int, *, sampled: bool, noisy: bool, runs: int, single: bool = False) -> None:
    """Both engines against the replay."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(np.float32 if single else np.float64)
    state = algorithm.init(random.standard_normal((runs, N, D)))
    state = type(state)(*(np.array(field, dtype) for field in state))
    table = np.tile([algorithm.lr, algorithm.momentum], (STEPS, 1)) * np.linspace(1, 0.5, STEPS)[:, None]
    hyper = [table / (1 + 0.1 * r) for r in range(runs)]
    draws, expected = [], []
    for r in range(runs):
        blocks = [random_block(random) for _ in range(4)]
        which = random.integers(0, 4, STEPS)
        path = [blocks[b] for b in which]
        used = sum(block.awake.sum() for block in path)
        drawn = (
            random.integers(0, M, (used, B), dtype=np.int32) if sampled else None,
            random.standard_normal((used, D)).astype(dtype) if noisy else None,
            random.random((used, 12, D), np.float32),
        )
        draws.append(Draws(*drawn, exchanges(blocks, which)))
        mine = type(state)(*(field[r].astype(float) for field in state))
        with np.errstate(all="ignore"):
            expected.append(replay(algorithm, mine, hyper[r], drawn, path))
    network = Given()
    compiled = CompiledEngine(
        PROBLEM, network, algorithm, state=state, dtype=dtype, sampled=sampled, noisy=noisy, threads=2
    )
    array = ArrayEngine(PROBLEM, network, algorithm, xp=np, dtype=dtype)
    for engine in (array, compiled):
        copy = type(state)(*(field.copy() for field in state))
        chunk = engine.plan(copy, hyper, draws, FIRST, EVERY).run()
        for r, one in enumerate(expected):
            size = max(1.0, *(np.abs(field).max() for field in one.state), np.abs(one.snapshots).max())
            options = {"rtol": 0, "atol": (1e-4 if single else 1e-10) * size}
            for field, name in zip(one.state, state._fields, strict=True):
                found = getattr(chunk.state, name)[r]
                assert found.dtype == dtype and found.shape == field.shape
                np.testing.assert_allclose(found, field, err_msg=f"{type(engine).__name__}: {name}", **options)
            np.testing.assert_allclose(chunk.snapshots[r], one.snapshots, **options)
            np.testing.assert_array_equal(chunk.sent[r], one.sent)


EVERYTHING = {
    "algorithm": programs.random_methods(plain=False, replicas=False), "seed": st.integers(0, 2**16),
    "sampled": st.booleans(), "noisy": st.booleans(), "runs": st.sampled_from([1, 3]),
}  # fmt: skip


@given(**EVERYTHING)
@settings(max_examples=150)
def test_random_steps_interpreted(algorithm: Any, seed: int, sampled: bool, noisy: bool, runs: int) -> None:
    with interpreted():
        check(algorithm, seed, sampled=sampled, noisy=noisy, runs=runs)


@given(**EVERYTHING, single=st.booleans())
@settings(max_examples=4)
def test_random_steps_compiled(algorithm: Any, seed: int, sampled: bool, noisy: bool, runs: int, single: bool) -> None:
    check(algorithm, seed, sampled=sampled, noisy=noisy, runs=runs, single=single)


@pytest.mark.slow
@given(**EVERYTHING)
@settings(max_examples=3000)
def test_many_random_steps_interpreted(algorithm: Any, seed: int, sampled: bool, noisy: bool, runs: int) -> None:
    with interpreted():
        check(algorithm, seed, sampled=sampled, noisy=noisy, runs=runs)


@pytest.mark.slow
@given(**EVERYTHING, single=st.booleans())
@settings(max_examples=100)
def test_many_random_steps_compiled(
    algorithm: Any, seed: int, sampled: bool, noisy: bool, runs: int, single: bool
) -> None:
    check(algorithm, seed, sampled=sampled, noisy=noisy, runs=runs, single=single)
