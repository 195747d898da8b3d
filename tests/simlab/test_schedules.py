"""Schedules against their formulas, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import simlab
from simlab import schedules

positive = st.floats(1e-3, 1e3)
steps = st.integers(0, 10**6)
whole = st.integers(1, 1000)
length_or_none = st.integers(0, 1000)


def same(schedule: Any, formula: Callable[[int], float], k: int) -> None:
    counters = np.array([0, 1, k, k + 1])
    values = schedule(counters)
    assert values.dtype == np.float64 and values.shape == (4,)
    np.testing.assert_allclose(values, [formula(int(c)) for c in counters], rtol=1e-12, atol=1e-15)
    for c, value in zip(counters, values, strict=True):  # one by one as in one call
        assert schedules.values(schedule, np.array([c]))[0] == value


@given(initial=positive, k=steps)
def test_constant(initial: float, k: int) -> None:
    same(schedules.Constant(initial), lambda k: initial, k)


@given(initial=positive, scale=positive, k=steps)
def test_inverse_sqrt(initial: float, scale: float, k: int) -> None:
    same(schedules.InverseSqrt(initial, scale), lambda k: initial / math.sqrt(1 + k / scale), k)


@given(initial=positive, scale=positive, k=steps)
def test_inverse(initial: float, scale: float, k: int) -> None:
    same(schedules.Inverse(initial, scale), lambda k: initial / (1 + k / scale), k)


@given(initial=positive, every=whole, factor=st.floats(0.1, 1.0), k=st.integers(0, 3000))
def test_step_decay(initial: float, every: int, factor: float, k: int) -> None:
    def formula(k: int) -> float:
        value = initial
        for j in range(1, k + 1):
            if j % every == 0:
                value *= factor
        return value

    same(schedules.StepDecay(initial, every, factor), formula, k)


@given(initial=positive, length=length_or_none, final=positive, k=st.integers(0, 3000))
def test_cosine(initial: float, length: int, final: float, k: int) -> None:
    def formula(k: int) -> float:
        if k >= length:
            return final
        return final + (initial - final) * math.cos(math.pi * k / length / 2) ** 2  # half-angle

    same(schedules.Cosine(initial, length, final), formula, k)


@given(initial=positive, length=length_or_none, scale=positive, k=st.integers(0, 3000))
def test_warm_up(initial: float, length: int, scale: float, k: int) -> None:
    """A straight line to the first value, which is reached, then the schedule by its own clock."""

    def formula(k: int) -> float:
        if k < length:
            return initial * (k + 1) / length
        return initial / (1 + (k - length) / scale)

    same(schedules.WarmUp(schedules.Inverse(initial, scale), length), formula, k)
    number = schedules.WarmUp(initial, length)
    same(number, lambda k: initial * (min(1, (k + 1) / length) if length else 1), k)
    assert number(np.array([max(length - 1, 0)]))[0] == initial


def test_schedules_compare_and_print() -> None:
    assert schedules.Cosine(0.1, 5) == schedules.Cosine(0.1, 5, 0.0) != schedules.Cosine(0.2, 5)
    assert repr(schedules.InverseSqrt(0.1, 2.0)) == "InverseSqrt(initial=0.1, scale=2.0)"


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_schedule_is_used_at_its_step(engine: str) -> None:
    """From the first step on, across chunks, whatever is recorded: x_{k+1} = x_k - lr_k here."""
    problem = simlab.Quadratic(np.full((2, 1), 1e-300), -np.ones((2, 1)))
    schedule = schedules.WarmUp(schedules.InverseSqrt(0.3, 7.0), 10)
    trace = simlab.simulate(
        problem, simlab.topologies.path(2), simlab.DSGD(schedule), steps=300, record_every=77, engine=engine
    )
    total = sum(0.3 * (k + 1) / 10 if k < 10 else 0.3 / math.sqrt(1 + (k - 10) / 7) for k in range(300))
    np.testing.assert_allclose(trace.x, -total, rtol=1e-12)


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_constant_schedule_is_the_number(engine: str) -> None:
    problem = simlab.LeastSquares.synthetic(4, 10, 3)
    network = simlab.topologies.ring(4)
    one, two = (
        simlab.simulate(problem, network, simlab.DecentLaM(lr), steps=30, batch_size=2, engine=engine)
        for lr in (0.05, schedules.Constant(0.05))
    )
    np.testing.assert_array_equal(one.x, two.x)
