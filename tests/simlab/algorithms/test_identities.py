"""Where two methods are one, path by path, with mini-batches and noise; what steps conserve; where they rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import simlab
from simlab.operations import Batch
from tests.helpers import strategies
from tests.helpers.agreement import SETTING
from theory import transfer

STEPS = 12


def path(setting: strategies.Setting, algorithm: Any, engine: str = "numpy", **options: Any) -> np.ndarray:
    choices = {"steps": STEPS, "batch_size": setting.batch_size, "noise_std": setting.noise_std, "seed": setting.seed}
    choices |= {"x0": setting.x0, "engine": engine, "progress": False, **options}
    return simlab.simulate(setting.objective.problem, setting.network, algorithm, **choices).x[0]


def assert_one(setting: strategies.Setting, one: Any, other: Any, **options: Any) -> None:
    a, b = (path(setting, algorithm, **options) for algorithm in (one, other))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * max(1, np.abs(b).max()))


RATE = simlab.schedules.InverseSqrt(0.2, 3.0)


def same(lr: Any, beta: float) -> dict[str, tuple[Any, Any]]:
    """Pairs that are one method, by name."""
    return {
        "EDM, D2DmSGD": (simlab.EDM(0.2, beta), simlab.D2DmSGD(0.2 * (1 - beta), beta)),
        "ExactDiffusion, NIDS": (simlab.ExactDiffusion(lr), simlab.NIDS(lr)),
        "LED, D2": (simlab.LED(lr, 1, 1.0), simlab.D2(lr)),
        "DSMT, DSGTHB": (simlab.DSMT(lr, beta, 0.0), simlab.DSGTHB(lr, beta)),
        "Nesterov, SGD": (simlab.DmSGD(lr, 0.0, nesterov=True), simlab.DSGD(lr)),
        "QG Nesterov, SGD": (simlab.QGDmSGD(lr, 0.0, nesterov=True), simlab.DSGD(lr)),
        "SGP, DmSGD": (simlab.SGP(lr, beta), simlab.DmSGD(lr, beta)),
        "OSGP, AWCDmSGD": (simlab.SGP(lr, beta, overlap=True), simlab.AWCDmSGD(lr, beta)),
    }


@pytest.mark.parametrize("lr", [0.1, RATE], ids=["constant", "changing"])
@pytest.mark.parametrize("name", same(0.1, 0.5))
@given(setting=strategies.settings("least_squares"))
@settings(max_examples=8)
def test_pairs_are_one_method(name: str, lr: Any, setting: strategies.Setting) -> None:
    assert_one(setting, *same(lr, setting.momentum)[name])


@given(setting=strategies.settings("least_squares"))
@settings(max_examples=8)
def test_tracking_of_momentum_is_momentum_of_tracking(setting: strategies.Setting) -> None:
    """Filters over time and over nodes change places: MomentumTracking against a tracker whose output is filtered."""
    n, beta, lr, network = len(setting.x0), setting.momentum, setting.lr, setting.network
    problem = setting.objective.problem
    x, m, y, last = setting.x0, 0 * setting.x0, 0 * setting.x0, 0 * setting.x0
    for _ in range(STEPS):
        g = problem.gradient(x)
        y, last = network.mix(y) + g - last, g
        m = beta * m + y
        x = network.mix(x) - lr * m
    found = path(setting, simlab.MomentumTracking(lr, beta), batch_size=None, noise_std=0.0)
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-10 * max(1, np.abs(x).max()))
    assert n == len(found)


@given(setting=strategies.settings("least_squares"))
@settings(max_examples=8)
def test_one_local_step_is_gradient_tracking(setting: strategies.Setting) -> None:
    """K-GT's G + C is a tracker: X⁺ = W(X − γY), Y⁺ = WY + G⁺ − G, from Y = G⁰."""
    network, problem, x = setting.network, setting.objective.problem, setting.x0
    y = g = problem.gradient(x)
    for _ in range(STEPS):
        x = network.mix(x - setting.lr * y)
        last, g = g, problem.gradient(x)
        y = network.mix(y) + g - last
    found = path(setting, simlab.KGT(setting.lr, 1), batch_size=None, noise_std=0.0)
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-10 * max(1, np.abs(x).max()))


@given(setting=strategies.settings("least_squares"))
@settings(max_examples=8)
def test_compressed_momentum_tracking_is_momentum_tracking_where_nothing_is_lost(setting: strategies.Setting) -> None:
    """MoTEF with C(v) = v and ζ = 1, from replicas that are exact, at γ(1 − β); its own start has replicas at zero."""
    lr, beta, zero = setting.lr, setting.momentum, 0 * setting.x0
    algorithm = simlab.MoTEF(lr, 1.0, simlab.compression.Identity(), beta)
    state = algorithm.init(setting.x0)._replace(replica=setting.x0, v=zero, v_replica=zero, m=zero)
    for k in range(1, STEPS + 1):  # from the second step on: no start within
        state = algorithm.step(state, setting.objective.problem, setting.network, Batch(ledger=[], step=k))
    expected = path(setting, simlab.MomentumTracking(lr * (1 - beta), beta), batch_size=None, noise_std=0.0)
    np.testing.assert_allclose(state.x, expected, rtol=0, atol=1e-10 * max(1, np.abs(expected).max()))


def test_slow_momentum_does_not_move_the_limit() -> None:
    """It is that of the base with averages every τ steps, for every α and slow β; another one for another τ."""

    def limit(period: int, slow_momentum: float, slow_lr: float) -> np.ndarray:
        algorithm = simlab.SlowMo(simlab.DSGD(0.1), period, slow_momentum, slow_lr)
        return path(SETTING, algorithm, steps=2400, record_every=2400, batch_size=None, noise_std=0.0)

    x = limit(3, 0.0, 1.0)
    for slow_momentum, slow_lr in ((0.5, 1.0), (0.7, 0.4)):
        np.testing.assert_allclose(limit(3, slow_momentum, slow_lr), x, rtol=0, atol=1e-10)
    assert np.abs(limit(4, 0.5, 1.0) - x).max() > 1e-4


def steps(algorithm: Any, count: int = 7, setting: strategies.Setting = SETTING) -> list[Any]:
    """States of a run with full gradients, from the first on."""
    states = [algorithm.init(setting.x0)]
    random = np.random.default_rng(3)
    for k in range(count):
        dither = random.random((4, *setting.x0.shape), dtype=np.float32)
        batch = Batch(dither=dither, ledger=[], step=k)
        states.append(algorithm.step(states[-1], setting.objective.problem, setting.network, batch))
    return states


# What has mean zero over nodes at every step.
BALANCED = {
    "ExactDiffusion": (simlab.ExactDiffusion(0.2), lambda s: s.correction),
    "EDM": (simlab.EDM(0.2, 0.6), lambda s: s.correction),
    "MomentumTracking": (simlab.MomentumTracking(0.1, 0.6), lambda s: s.c),
    "DSGTHB": (simlab.DSGTHB(0.2, 0.6), lambda s: s.y - s.g),
    "DSMT": (simlab.DSMT.tuned(0.2, SETTING.network), lambda s: s.y - s.z),
    "KGT": (simlab.KGT(0.1, 2), lambda s: s.c),
    "LED": (simlab.LED(0.1, 2, 0.5), lambda s: s.correction),
}


@pytest.mark.parametrize("name", BALANCED)
def test_what_balances_over_the_nodes(name: str) -> None:
    algorithm, part = BALANCED[name]
    states = steps(algorithm)
    for state in states:
        np.testing.assert_allclose(part(state).mean(axis=0), 0, atol=1e-13)
    assert np.abs(part(states[-1])).max() > 1e-3


EXACT = {
    "KGT": simlab.KGT(0.05, 3),
    "KGT, slow": simlab.KGT(0.05, 3, 0.5),
    "LED": simlab.LED(0.05, 3, 1 / 3),
    "DSMT": simlab.DSMT.tuned(0.1, SETTING.network),
}


@pytest.mark.parametrize(("name", "engine"), [*((name, "numpy") for name in EXACT), ("KGT, slow", "compiled")])
def test_limit_is_the_minimizer(name: str, engine: str) -> None:
    options = {"batch_size": None, "noise_std": 0.0, "steps": 3 * 1500, "record_every": 4500}
    x = path(SETTING, EXACT[name], engine, **options)
    np.testing.assert_allclose(x - SETTING.objective.problem.minimizer, 0, atol=1e-10)


@pytest.mark.parametrize("kind", [simlab.DmSGD, simlab.QGDmSGD])
def test_limits_of_nesterov_steps(kind: Any) -> None:
    """Those of φ = λ/((1−β)(1−λ)) and (1+β)λ/(1−λ); of QG's heavy ball it is another one."""
    problem, algorithm = SETTING.objective.problem, kind(0.05, 0.5, nesterov=True)
    x = path(SETTING, algorithm, steps=4000, record_every=4000, batch_size=None, noise_std=0.0)
    assert transfer.limit_residual(problem, SETTING.network, algorithm, x) < 1e-11
    if kind is simlab.QGDmSGD:
        assert transfer.limit_residual(problem, SETTING.network, kind(0.05, 0.5), x) > 1e-3


def test_acceleration_pays_on_a_ring() -> None:
    """Gossip alone: DSMT on equal quadratics forgets disagreement faster with the paper's acceleration than without."""
    network = simlab.topologies.ring(40)
    problem = simlab.Quadratic(np.ones((40, 1)), np.zeros((40, 1)))
    x0 = np.cos(2 * np.pi * np.arange(40) / 40)[:, None]
    tuned = simlab.DSMT.tuned(0.01, network)
    left = [
        simlab.simulate(problem, network, a, steps=150, x0=x0, record_every=150, engine="numpy").frame.consensus.iloc[
            -1
        ]
        for a in (tuned, simlab.DSMT(0.01, tuned.momentum, 0.0))
    ]
    assert left[0] < 1e-3 * left[1]
