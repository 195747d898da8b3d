"""Every algorithm against its formula in docs/theory.md, "Algorithms", written out node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.step.streams import Stream
from tests.helpers import strategies
from tests.helpers.interpreted import ENGINES, simulate

STEPS = 10

Row = np.ndarray
Gradient = Callable[[int, int, Row], Row]  # (step, node, point) -> stochastic gradient
LearningRate = Callable[[int], float]


def mixed(w: np.ndarray, rows: list[Row]) -> list[Row]:
    """Sum of w_ij x_j over i's neighbours j and i itself, for each node i."""
    n = len(rows)
    return [sum((w[i, j] * rows[j] for j in range(n) if w[i, j] != 0), np.zeros_like(rows[i])) for i in range(n)]


def mean(rows: list[Row]) -> Row:
    total = np.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total / len(rows)


# Each takes (x, gradient, w, lr, beta) and returns the states after STEPS steps.


def pmsgd(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, m = len(x), [0 * row for row in x]
    for k in range(STEPS):
        average = mean([g(k, i, x[i]) for i in range(n)])
        m = [beta * m[i] + average for i in range(n)]
        x = [x[i] - lr(k) * m[i] for i in range(n)]
    return x


def dsgd_atc(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    for k in range(STEPS):
        x = mixed(w, [x[i] - lr(k) * g(k, i, x[i]) for i in range(len(x))])
    return x


def dsgd_cta(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    for k in range(STEPS):
        combined = mixed(w, x)
        x = [combined[i] - lr(k) * g(k, i, x[i]) for i in range(len(x))]
    return x


def dmsgd(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, m = len(x), [0 * row for row in x]
    for k in range(STEPS):
        m = [beta * m[i] + g(k, i, x[i]) for i in range(n)]
        x = mixed(w, [x[i] - lr(k) * m[i] for i in range(n)])
    return x


def awc_dmsgd(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, m = len(x), [0 * row for row in x]
    for k in range(STEPS):
        m = [beta * m[i] + g(k, i, x[i]) for i in range(n)]
        combined = mixed(w, x)
        x = [combined[i] - lr(k) * m[i] for i in range(n)]
    return x


def da_dmsgd(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, m = len(x), [0 * row for row in x]
    for k in range(STEPS):
        u = [beta * m[i] + g(k, i, x[i]) for i in range(n)]
        x = mixed(w, [x[i] - lr(k) * u[i] for i in range(n)])
        m = mixed(w, u)
    return x


def qg_dmsgd(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, m = len(x), [0 * row for row in x]
    for k in range(STEPS):
        new = mixed(w, [x[i] - lr(k) * (beta * m[i] + g(k, i, x[i])) for i in range(n)])
        m = [beta * m[i] + (1 - beta) * (x[i] - new[i]) / lr(k) for i in range(n)]
        x = new
    return x


def d2(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    return corrected(x, g, w, lr, 0.0)


def corrected(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    """D2-DmSGD; with beta = 0 D2 itself. With a changing step size gamma G - gamma^- G^-, as the docstrings say."""
    n, m = len(x), [0 * row for row in x]
    m = [beta * m[i] + g(0, i, x[i]) for i in range(n)]
    old, x = x, mixed(w, [x[i] - lr(0) * m[i] for i in range(n)])
    for k in range(1, STEPS):
        before = m
        m = [beta * m[i] + g(k, i, x[i]) for i in range(n)]
        half = [2 * x[i] - old[i] - (lr(k) * m[i] - lr(k - 1) * before[i]) for i in range(n)]
        old, x = x, mixed(w, half)
    return x


def extra(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    """Summed from the start, each disagreement over twice the step size at that time."""
    past = [0 * row for row in x]
    for k in range(STEPS):
        combined = mixed(w, x)
        now = [(x[i] - combined[i]) / (2 * lr(k)) for i in range(len(x))]
        x, past = (
            [combined[i] - lr(k) * g(k, i, x[i]) - lr(k) * past[i] for i in range(len(x))],
            [past[i] + now[i] for i in range(len(x))],
        )
    return x


def extra_second_form(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    """As published: X1 = W X0 - gamma G0, then X+ = X + W X - V X- - gamma (G - G-)."""
    n, v = len(x), (np.eye(len(x)) + w) / 2
    last = [g(0, i, x[i]) for i in range(n)]
    combined = mixed(w, x)
    old, x = x, [combined[i] - lr(0) * last[i] for i in range(n)]
    for k in range(1, STEPS):
        before, last = last, [g(k, i, x[i]) for i in range(n)]
        combined, lagged = mixed(w, x), mixed(v, old)
        old, x = x, [x[i] + combined[i] - lagged[i] - lr(k) * (last[i] - before[i]) for i in range(n)]
    return x


def gradient_tracking(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, y, last = len(x), [0 * row for row in x], [0 * row for row in x]
    for k in range(STEPS):
        before, last = last, [g(k, i, x[i]) for i in range(n)]
        y = mixed(w, [y[i] + last[i] - before[i] for i in range(n)])
        x = mixed(w, [x[i] - lr(k) * y[i] for i in range(n)])
    return x


def nids(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    """Without an l1 term: D2 with (I + W)/2."""
    return corrected(x, g, (np.eye(len(x)) + w) / 2, lr, 0.0)


def decentlam(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    n, m = len(x), [0 * row for row in x]
    for k in range(STEPS):
        combined = mixed(w, [x[i] - lr(k) * g(k, i, x[i]) for i in range(n)])
        implied = [(x[i] - combined[i]) / lr(k) for i in range(n)]
        m = [beta * m[i] + implied[i] for i in range(n)]
        x = [x[i] - lr(k) * m[i] for i in range(n)]
    return x


def decentlam_second_form(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    old = x
    for k in range(STEPS):
        combined = mixed(w, [x[i] - lr(k) * g(k, i, x[i]) for i in range(len(x))])
        old, x = x, [combined[i] + beta * (x[i] - old[i]) for i in range(len(x))]
    return x


def dmsgd_second_form(x: list[Row], g: Gradient, w: np.ndarray, lr: LearningRate, beta: float) -> list[Row]:
    old: list[Row] | None = None  # an empty buffer: no momentum in the first step
    for k in range(STEPS):
        combined = mixed(w, [x[i] - lr(k) * g(k, i, x[i]) for i in range(len(x))])
        lagged = x if old is None else mixed(w, old)
        old, x = x, [combined[i] + beta * (x[i] - lagged[i]) for i in range(len(x))]
    return x


# The plain transcriptions above; an algorithm that is added brings its own in a test of its own.
FORMULAS = {
    "PmSGD": pmsgd,
    "DSGD-atc": dsgd_atc,
    "DSGD-cta": dsgd_cta,
    "DmSGD": dmsgd,
    "AWCDmSGD": awc_dmsgd,
    "DADmSGD": da_dmsgd,
    "QGDmSGD": qg_dmsgd,
    "D2": d2,
    "D2DmSGD": corrected,
    "DecentLaM": decentlam,
    "EXTRA": extra,
    "GradientTracking": gradient_tracking,
    "NIDS": nids,
}
SCHEDULES = {
    "sqrt": (simlab.schedules.InverseSqrt(0.3, 2.0), lambda k: 0.3 / (1 + k / 2.0) ** 0.5),
    "linear": (simlab.schedules.WarmUp(0.2, 4), lambda k: 0.2 * min(k + 1, 4) / 4),
    "own": (lambda k: 0.1 + 0.05 * (np.asarray(k) % 3), lambda k: 0.1 + 0.05 * (k % 3)),
}


def stochastic_gradient(setting: strategies.Setting, sampled: bool, noisy: bool, replicate: int = 0) -> Gradient:
    """The gradients of one replicate's sample path, drawn from its stream."""
    problem, stream = setting.objective.problem, Stream(setting.seed, replicate)
    n, d = problem.n_nodes, problem.dim
    indices = stream.indices(STEPS, n, setting.batch_size, problem.n_samples) if sampled else None
    noise = stream.noise(STEPS, n, d, setting.noise_std, np.dtype(float)) if noisy else np.zeros((STEPS, n, d))

    def gradient(k: int, i: int, x: Row) -> Row:
        return setting.objective.gradient(i, x, None if indices is None else indices[k, i]) + noise[k, i]

    return gradient


def simulated(
    setting: strategies.Setting, algorithm: Any, engine: str, *, sampled: bool, noisy: bool, replicates: int = 1
) -> np.ndarray:
    trace = simulate(
        setting.objective.problem,
        setting.network,
        algorithm,
        steps=STEPS,
        batch_size=setting.batch_size if sampled else None,
        noise_std=setting.noise_std if noisy else 0.0,
        replicates=replicates,
        seed=setting.seed,
        record_every=STEPS,
        x0=setting.x0,
        engine=engine,
        progress=False,
    )
    return trace.x


def assert_close(x: np.ndarray, expected: Any, relative: float = 1e-10) -> None:
    """Largest difference at most `relative` times the largest entry."""
    expected = np.asarray(expected)
    assert np.abs(x - expected).max() <= relative * max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize("name", list(FORMULAS))
@given(setting=strategies.settings("least_squares"), sampled=st.booleans(), noisy=st.booleans())
@settings(max_examples=20)
def test_array_engine_is_the_formula(name: str, setting: strategies.Setting, sampled: bool, noisy: bool) -> None:
    algorithm = strategies.algorithm(name, setting.lr, setting.momentum)
    gradient = stochastic_gradient(setting, sampled, noisy)
    weights = dense(setting.network)
    expected = FORMULAS[name](list(setting.x0), gradient, weights, lambda k: setting.lr, setting.momentum)
    assert_close(simulated(setting, algorithm, "numpy", sampled=sampled, noisy=noisy)[0], expected)


# Programs are interpreted; that compiled ones do the same is in tests/simlab/engine/test_engines.py.
@pytest.mark.parametrize("name", list(FORMULAS))
@given(setting=strategies.settings("least_squares"))
@settings(max_examples=10)
def test_program_is_the_formula(name: str, setting: strategies.Setting) -> None:
    algorithm = strategies.algorithm(name, setting.lr, setting.momentum)
    x = simulated(setting, algorithm, "interpreted", sampled=True, noisy=True, replicates=2)
    for replicate in range(2):
        gradient = stochastic_gradient(setting, True, True, replicate)
        expected = FORMULAS[name](
            list(setting.x0), gradient, dense(setting.network), lambda k: setting.lr, setting.momentum
        )
        assert_close(x[replicate], expected)


@pytest.mark.parametrize("kind", [k for k in strategies.KINDS if k != "least_squares"])
@given(data=st.data(), sampled=st.booleans(), noisy=st.booleans())
@settings(max_examples=20)
def test_formula_on_every_problem(kind: str, data: st.DataObject, sampled: bool, noisy: bool) -> None:
    setting = data.draw(strategies.settings(kind))
    sampled = sampled and kind in strategies.SAMPLED_KINDS
    gradient = stochastic_gradient(setting, sampled, noisy)
    expected = decentlam(list(setting.x0), gradient, dense(setting.network), lambda k: setting.lr, setting.momentum)
    algorithm = simlab.DecentLaM(setting.lr, setting.momentum)
    assert_close(simulated(setting, algorithm, "numpy", sampled=sampled, noisy=noisy)[0], expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", list(FORMULAS))
@given(setting=strategies.settings("least_squares"))
@settings(max_examples=3)
def test_changing_step_size(name: str, schedule: str, setting: strategies.Setting) -> None:
    given_lr, lr = SCHEDULES[schedule]
    algorithm = strategies.algorithm(name, given_lr, setting.momentum)
    gradient = stochastic_gradient(setting, True, True)
    expected = FORMULAS[name](list(setting.x0), gradient, dense(setting.network), lr, setting.momentum)
    for engine in ENGINES:
        assert_close(simulated(setting, algorithm, engine, sampled=True, noisy=True)[0], expected)


@given(setting=strategies.settings("least_squares"))
def test_other_forms_of_the_same_method(setting: strategies.Setting) -> None:
    """X+ = W(X - gamma G) + beta (X - X-) and DmSGD's beta (X - W X-), at a constant step size; EXTRA as published."""
    gradient, weights = stochastic_gradient(setting, True, True), dense(setting.network)
    for algorithm, formula in (
        (simlab.DecentLaM(setting.lr, setting.momentum), decentlam_second_form),
        (simlab.DmSGD(setting.lr, setting.momentum), dmsgd_second_form),
        (simlab.EXTRA(setting.lr), extra_second_form),
    ):
        expected = formula(list(setting.x0), gradient, weights, lambda k: setting.lr, setting.momentum)
        assert_close(simulated(setting, algorithm, "numpy", sampled=True, noisy=True)[0], expected)


def test_decentlam_forms_differ_when_the_step_size_changes() -> None:
    """The docstring says which form is used; this is the other."""
    random = np.random.default_rng(0)
    objective = strategies.objective("least_squares", 4, 3, 5, random)
    x0 = random.standard_normal((4, 3))
    setting = strategies.Setting(objective, simlab.topologies.ring(4), x0, 0.1, 0.9, 0, 1, 0.1)
    schedule, lr = SCHEDULES["sqrt"]
    x = simulated(setting, simlab.DecentLaM(schedule, 0.9), "numpy", sampled=False, noisy=False)[0]
    gradient = stochastic_gradient(setting, False, False)
    other = np.array(decentlam_second_form(list(x0), gradient, dense(setting.network), lr, 0.9))
    assert np.abs(x - other).max() > 1e-2
    assert "With a changing step size the two forms differ; this is the first" in simlab.DecentLaM.__doc__


@given(setting=strategies.settings("least_squares", max_nodes=3))
@settings(max_examples=10)
def test_changing_momentum(setting: strategies.Setting) -> None:
    """Any numeric hyperparameter may be a schedule."""
    schedule = simlab.schedules.Cosine(0.9, 5, 0.1)
    betas = [0.1 + 0.8 * (1 + np.cos(np.pi * min(k / 5, 1))) / 2 for k in range(STEPS)]
    gradient, weights = stochastic_gradient(setting, True, True), dense(setting.network)
    n, x = len(setting.x0), list(setting.x0)
    m = [0 * row for row in x]
    for k in range(STEPS):
        m = [betas[k] * m[i] + gradient(k, i, x[i]) for i in range(n)]
        x = mixed(weights, [x[i] - setting.lr * m[i] for i in range(n)])
    for engine in ENGINES:
        assert_close(simulated(setting, simlab.DmSGD(setting.lr, schedule), engine, sampled=True, noisy=True)[0], x)


def test_a_large_network_is_mixed_the_same_way() -> None:
    """Above 64 nodes the array engine mixes by a sparse matrix."""
    random = np.random.default_rng(3)
    objective = strategies.objective("least_squares", 80, 3, 4, random)
    x0 = random.standard_normal((80, 3))
    setting = strategies.Setting(objective, simlab.topologies.ring(80, lazy=True), x0, 0.2, 0.5, 11, 2, 0.1)
    for replicate, gradient in enumerate([stochastic_gradient(setting, True, True, r) for r in range(2)]):
        for name in FORMULAS:
            expected = FORMULAS[name](list(x0), gradient, dense(setting.network), lambda k: 0.2, 0.5)
            for engine in ("numpy", *["compiled"] * (name == "DecentLaM")):
                algorithm = strategies.algorithm(name, 0.2, 0.5)
                x = simulated(setting, algorithm, engine, sampled=True, noisy=True, replicates=2)
                assert_close(x[replicate], expected)


def dense(network: Any) -> np.ndarray:
    return network.weights if isinstance(network.weights, np.ndarray) else network.weights.toarray()
