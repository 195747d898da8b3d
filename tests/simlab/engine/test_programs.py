"""The compiler: random step functions, compiled or interpreted, against the step as it stands."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from simlab.engine import compiled
from simlab.engine.array import ArrayEngine
from simlab.engine.compiled import CompiledEngine
from simlab.operations import absolute, average, gradient, mix, sign, soft_threshold, where
from simlab.step.streams import Draws
from tests.helpers import programs, strategies
from tests.helpers.interpreted import interpreted

STEPS = 3


def advance_both(
    algorithm: Any,
    *,
    replicates: int = 1,
    noisy: bool = False,
    sampled: bool = False,
    kind: str = "quadratic",
    seed: int = 0,
    dtype: type = np.float64,
    threads: int = 1,
) -> tuple[Any, Any]:
    """A few steps of `algorithm` on a small problem, by the compiled engine and as it stands."""
    random = np.random.default_rng(seed)
    n_nodes, n_samples = 4, 3
    problem = strategies.objective(kind, n_nodes, 2, n_samples, random).problem
    network = strategies.network(n_nodes, "metropolis", False, random)
    start = random.standard_normal((replicates, n_nodes, problem.dim))
    state = algorithm.init(start)
    state = type(state)(*(np.array(field, dtype=dtype) for field in state))
    table = np.tile([algorithm.lr, algorithm.momentum], (STEPS, 1)) * np.linspace(1, 0.5, STEPS)[:, None]
    hyper = [table / (1 + 0.1 * r) for r in range(replicates)]
    shape = (STEPS, n_nodes, problem.dim)
    draws = [
        Draws(
            random.integers(0, n_samples, (STEPS, n_nodes, 2), dtype=np.int32) if sampled else None,
            random.standard_normal(shape).astype(dtype) if noisy else None,
            random.random((STEPS, 12, n_nodes, problem.dim), np.float32),
        )
        for _ in range(replicates)
    ]
    choices = {"state": state, "dtype": np.dtype(dtype), "sampled": sampled, "noisy": noisy, "threads": threads}
    copy = type(state)(*(field.copy() for field in state))
    one = CompiledEngine(problem, network, algorithm, **choices).plan(copy, hyper, draws, 0, 2).run()
    two = ArrayEngine(problem, network, algorithm, xp=np, dtype=np.dtype(dtype)).plan(state, hyper, draws, 0, 2).run()
    return one, two


def assert_equal(one: Any, two: Any, relative: float = 1e-9) -> None:
    """Every field of the state, the snapshots and the bits."""
    assert one.state._fields == two.state._fields
    largest = max(1.0, *(np.abs(field).max() for field in two.state))
    for name, a, b in zip(one.state._fields, one.state, two.state, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=relative * largest, err_msg=name)
    np.testing.assert_allclose(one.snapshots, two.snapshots, rtol=0, atol=relative * largest)
    np.testing.assert_array_equal(one.sent_snapshots, two.sent_snapshots)
    np.testing.assert_array_equal(one.sent, two.sent)


# Steps that are easy to get wrong.


class Pair(NamedTuple):
    x: Any
    y: Any


class Written(NamedTuple):
    """An algorithm whose step is a function given with it."""

    lr: float
    momentum: float
    rule: Any

    def init(self, x: Any) -> Pair:
        return Pair(x, 2 * x + 1)

    def step(self, state: Pair, problem: Any, network: Any, batch: Any) -> Pair:
        return self.rule.write(self, state, lambda x: gradient(problem, x, batch), lambda x: mix(network, x))


class Rule:
    """Holds a step; no number and no callable, so that it is no hyperparameter."""

    def __init__(self, write: Any) -> None:
        self.write = write


CASES = {
    "swap": lambda h, s, g, w: Pair(s.y, s.x),
    "copy": lambda h, s, g, w: Pair(s.x, s.x),
    "unchanged": lambda h, s, g, w: Pair(s.x - h.lr * g(s.x), s.y),
    "mixed while overwritten": lambda h, s, g, w: Pair(w(s.x) - h.lr * g(s.x), s.x),
    "both mixed and crossed": lambda h, s, g, w: Pair(w(s.y), w(s.x)),
    "mix of mix": lambda h, s, g, w: Pair(w(w(s.x)), w(w(w(s.y)))),
    "mix of mix of a step": lambda h, s, g, w: Pair(w(w(s.x - h.lr * g(s.x)) + s.y), s.x),
    "two gradients": lambda h, s, g, w: Pair(s.x - h.lr * g(s.x) + h.lr * g(s.y), g(s.x)),
    "gradient of an expression": lambda h, s, g, w: Pair(s.x - h.lr * g(s.x + h.momentum * s.y), s.x),
    "gradient of a gradient": lambda h, s, g, w: Pair(g(g(s.x)), g(s.y - g(s.x))),
    "gradient of a mix": lambda h, s, g, w: Pair(s.x - h.lr * g(w(s.x)), w(g(w(s.y)))),
    "gradient of an average": lambda h, s, g, w: Pair(s.x - h.lr * g(average(s.x)), s.y),
    "gradient of an averaged expression": lambda h, s, g, w: Pair(s.x, g(average(s.x - h.lr * g(s.y)))),
    "average of an expression": lambda h, s, g, w: Pair(average(s.x - h.lr * g(s.x)), s.x),
    "average of a mix, mix of an average": lambda h, s, g, w: Pair(average(w(s.x) * s.y), w(average(s.y) * s.x)),
    "average of an average": lambda h, s, g, w: Pair(average(average(s.x)) + s.y, average(s.y)),
    "average kept to a later stage": lambda h, s, g, w: Pair(w(w(s.x)) - average(s.y), average(s.x) + s.y),
    "old x after two exchanges": lambda h, s, g, w: Pair(w(w(s.x)), w(s.y) + s.x),
    "old y after its overwriting": lambda h, s, g, w: Pair(w(s.x + s.y), s.y + w(s.x) - w(w(s.y) + s.y)),
    "scalars": lambda h, s, g, w: Pair((1 - h.momentum) * s.x + h.lr * h.momentum / (2 - h.lr) - 1, s.y**2),
    "scalar power": lambda h, s, g, w: Pair(h.momentum**2 * s.x, (1 - h.lr) ** 0.5 * s.y),
    "constants": lambda h, s, g, w: Pair(-0.5 + s.x * -3, 1e-300 + 2 * s.y - np.float64(0.1)),
    "infinite constant": lambda h, s, g, w: Pair(where(s.x < float("inf"), s.x, s.y), where(s.y > -np.inf, s.y, s.x)),
    "soft threshold": lambda h, s, g, w: Pair(soft_threshold(s.x, h.lr), soft_threshold(w(s.y), h.momentum)),
    "where": lambda h, s, g, w: Pair(where(s.x > s.y, g(s.x), w(s.y)), where(s.y <= 0.3, 1, 0) * s.x),
    "reflected comparison": lambda h, s, g, w: Pair(where(s.x > 0.3, s.x, 0.3), where(h.lr >= s.y, h.lr, s.y)),
    "equality": lambda h, s, g, w: Pair(where(s.x == s.x, s.x, s.y), where(s.x != s.y, s.y, s.x)),
    "sign": lambda h, s, g, w: Pair(s.x - h.lr * sign(s.y), absolute(s.x) + abs(s.y)),
    "sign of zero": lambda h, s, g, w: Pair(sign(s.x - s.x) + s.y, s.x),
    "number to the power x": lambda h, s, g, w: Pair(2**s.x, h.lr**s.y),
    "same exchange twice": lambda h, s, g, w: Pair(w(s.x) + h.lr * g(s.x), w(s.x) - g(s.x)),
    "same value in two fields": lambda h, s, g, w: Pair(w(s.x - s.y), w(s.x - s.y)),
    "field is what is mixed": lambda h, s, g, w: Pair(w(s.x - h.lr * g(s.x)), s.x - h.lr * g(s.x)),
    "field is what is averaged": lambda h, s, g, w: Pair(average(s.x * s.y), s.x * s.y),
    "division by zero": lambda h, s, g, w: Pair(s.x, where(s.x > s.x, s.y, 1 / (1 / (s.x - s.x)))),
    "noise of two calls": lambda h, s, g, w: Pair(g(s.x) - g(s.x + 1), g(s.y)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("replicates", [1, 5])
def test_written_steps_interpreted(case: str, replicates: int) -> None:
    for noisy in (False, True):
        with interpreted():
            assert_equal(*advance_both(Written(0.1, 0.9, Rule(CASES[case])), noisy=noisy, replicates=replicates))


COMPILED = ("gradient of an average", "infinite constant", "division by zero", "where", "equality")


@pytest.mark.parametrize("case", COMPILED)
def test_written_steps_compiled(case: str) -> None:
    assert_equal(*advance_both(Written(0.1, 0.9, Rule(CASES[case])), noisy=True))


@given(
    algorithm=programs.random_methods(),
    noisy=st.booleans(),
    sampled=st.booleans(),
    replicates=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=400)
def test_random_steps_interpreted(
    algorithm: programs.RandomMethod, noisy: bool, sampled: bool, replicates: int, seed: int
) -> None:
    kind = "least_squares" if sampled else "quadratic"
    with interpreted():
        assert_equal(
            *advance_both(algorithm, noisy=noisy, sampled=sampled, replicates=replicates, seed=seed, kind=kind)
        )


@given(algorithm=programs.random_methods(), seed=st.integers(0, 2**16))
@settings(max_examples=100)
def test_random_steps_by_nodes_interpreted(algorithm: programs.RandomMethod, seed: int) -> None:
    """Threads that share the nodes of one replicate."""
    with interpreted(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "LARGE", 0)
        patch.setattr(compiled, "TILE", 1)  # tiles of one node, some of which wait for other threads
        assert_equal(*advance_both(algorithm, noisy=True, seed=seed, threads=3))


@given(
    algorithm=programs.random_methods(), noisy=st.booleans(), replicates=st.sampled_from([1, 19]), single=st.booleans()
)
@settings(max_examples=8)
def test_random_steps_compiled(algorithm: programs.RandomMethod, noisy: bool, replicates: int, single: bool) -> None:
    dtype = np.float32 if single else np.float64
    one, two = advance_both(algorithm, noisy=noisy, replicates=replicates, dtype=dtype)
    assert_equal(one, two, 1e-4 if single else 1e-9)


@pytest.mark.slow
@given(
    algorithm=programs.random_methods(), noisy=st.booleans(), sampled=st.booleans(), replicates=st.sampled_from([1, 9])
)
@settings(max_examples=150)
def test_many_random_steps_compiled(
    algorithm: programs.RandomMethod, noisy: bool, sampled: bool, replicates: int
) -> None:
    kind = "least_squares" if sampled else "diagonal"
    assert_equal(*advance_both(algorithm, noisy=noisy, sampled=sampled, replicates=replicates, kind=kind))


@pytest.mark.slow
@given(
    algorithm=programs.random_methods(),
    noisy=st.booleans(),
    sampled=st.booleans(),
    replicates=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=5000)
def test_many_random_steps_interpreted(
    algorithm: programs.RandomMethod, noisy: bool, sampled: bool, replicates: int, seed: int
) -> None:
    kind = "least_squares" if sampled else "quadratic"
    with interpreted():
        assert_equal(
            *advance_both(algorithm, noisy=noisy, sampled=sampled, replicates=replicates, seed=seed, kind=kind)
        )
