"""Compressed and triggered methods: their special cases, where they stop, what they send, how they fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.compression import QSGD, Identity, Induced, Natural, PermK, RandomK, RankOne, Scaled, Sign, TopK
from simlab.operations import Batch
from simlab.step.streams import Stream
from tests.helpers import algorithms, strategies
from tests.helpers.agreement import SETTING, assert_same
from tests.helpers.interpreted import ENGINES, simulate
from theory import transfer

STEPS = 12
FORMS = algorithms.forms(lr=0.05)
COMPRESSED = [name for name, a in FORMS.items() if hasattr(a, "compressor") or name in ("EFSignSGD", "SignSGD")]
PROBLEM, NETWORK = SETTING.objective.problem, SETTING.network
N, D = SETTING.x0.shape
EQUAL = np.broadcast_to(SETTING.x0[0], (N, D))


def trace(algorithm: Any, setting: strategies.Setting = SETTING, **options: Any) -> Any:
    choices = {"steps": STEPS, "seed": setting.seed, "x0": setting.x0, "engine": "numpy", "progress": False, **options}
    return simulate(setting.objective.problem, setting.network, algorithm, **choices)


# Engines.


@pytest.mark.parametrize("name", COMPRESSED)
def test_engines_agree(name: str) -> None:
    """States, and bits exactly; programs are interpreted, in milliseconds."""
    options = {"replicates": 2, "record_every": 5, "batch_size": 3, "noise_std": 0.3}
    expected = trace(FORMS[name], **options)
    assert_same(trace(FORMS[name], engine="interpreted", **options), expected)


COMPRESSORS = [PermK(N), RankOne(2), Natural(), Scaled(Natural()), Induced(TopK(1), RandomK(3, unbiased=True))]


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=repr)
def test_compressors_run_in_programs(compressor: Any) -> None:
    """In a triggered message to the server, and one to all; as in a method of one's own. Two are compiled."""
    algorithm: Any = simlab.MARINA(0.1, compressor, 0.3)
    if isinstance(compressor, RankOne | Scaled):
        algorithm = simlab.DoubleSqueeze(0.1, compressor)
    compiled = isinstance(compressor, PermK | RankOne)
    for engine in ("interpreted", *["compiled"] * compiled):
        assert_same(trace(algorithm, engine=engine, x0=EQUAL), trace(algorithm, x0=EQUAL))


# Which method it is in a special case.

TOP = TopK(2)
CASES: dict[str, tuple[Any, Any]] = {
    "LEAD, CEDAS": (simlab.LEAD(0.1, 0.4, QSGD(8)), simlab.CEDAS(0.1, 0.4, QSGD(8))),
    "LEAD, exact diffusion": (simlab.LEAD(0.1, 1.0, Identity()), simlab.ExactDiffusion(0.1)),
    "SPARQ, CHOCO": (simlab.SPARQSGD(0.1, 0.3, TOP, 1, 0.0), simlab.ChocoSGD(0.1, 0.3, TOP)),
    "SQuARM, SPARQ": (simlab.SQuARMSGD(0.1, 0.3, TOP, 3, 0.5, 0.0), simlab.SPARQSGD(0.1, 0.3, TOP, 3, 0.5)),
    "SQuARM, Nesterov": (simlab.SQuARMSGD(0.1, 1.0, Identity(), 1, 0.0, 0.6), simlab.DmSGD(0.1, 0.6, nesterov=True)),
    "MoTEF, BEER": (simlab.MoTEF(0.1, 0.3, TOP, 0.0), simlab.BEER(0.1, 0.3, TOP)),
    "DCD, DSGD": (simlab.DCDPSGD(0.1, Identity()), simlab.DSGD(0.1, "cta")),
    "ECD, DSGD": (simlab.ECDPSGD(0.1, Identity()), simlab.DSGD(0.1, "cta")),
    "DeepSqueeze, DSGD": (simlab.DeepSqueeze(0.1, 1.0, Identity()), simlab.DSGD(0.1)),
    "DoubleSqueeze, SGD": (simlab.DoubleSqueeze(0.1, Identity()), simlab.PmSGD(0.1, 0.0)),
}


@pytest.mark.parametrize("name", CASES)
@given(setting=strategies.settings("least_squares"))
@settings(max_examples=6)
def test_special_cases(name: str, setting: strategies.Setting) -> None:
    if setting.x0.shape[1] == 1 and "Top" in repr(CASES[name]):
        return  # Top-2 of one number
    options = {"batch_size": setting.batch_size, "noise_std": setting.noise_std}
    one, other = (trace(a, setting, **options).x[0] for a in CASES[name])
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-10 * max(1, np.abs(other).max()))


def test_marina_without_noise() -> None:
    """Exact messages, or permuted blocks of equal gradients: gradient descent."""
    same = simlab.Quadratic(np.tile([0.2, 0.5, 1.0], (3, 1)), np.tile([1.0, -2.0, 0.5], (3, 1)))
    network, x0 = simlab.topologies.complete(3), np.zeros((3, 3))
    for compressor, accuracy in ((Identity(), 1e-14), (PermK(3), 1e-6)):  # float32 on the wire
        a, b = (
            simlab.simulate(same, network, algorithm, steps=20, x0=x0, engine="numpy", progress=False).x
            for algorithm in (simlab.MARINA(0.5, compressor, 0.2), simlab.PmSGD(0.5, 0.0))
        )
        np.testing.assert_allclose(a, b, rtol=0, atol=accuracy)


def test_the_first_messages_start_as_the_papers_do() -> None:
    """MoTEF from M = V = G, BEER from V = G; CPD-SGDM averages old replicas: uncompressed it is cta, from zero."""
    first = PROBLEM.gradient(SETTING.x0)
    for algorithm in (simlab.MoTEF(0.1, 0.3, TOP, 0.6), simlab.BEER(0.1, 0.3, TOP)):
        state = algorithm.step(algorithm.init(SETTING.x0), PROBLEM, NETWORK, Batch(ledger=[], step=0))
        for field in (state.v, state[-1]):
            np.testing.assert_allclose(field, first, atol=1e-14)
    one, two = (
        trace(a, x0=np.zeros((N, D))) for a in (simlab.CPDSGDM(0.1, 1.0, Identity(), 1, 0.6), simlab.AWCDmSGD(0.1, 0.6))
    )
    np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-12)


def test_beer_without_compression_is_gradient_tracking() -> None:
    """DIGing with (1 − ζ)I + ζW, but for the start: the replicas are one step behind."""
    zeta, lr = 0.6, 0.1
    w = np.asarray(NETWORK.weights) - np.eye(N)
    x, h, hv, g = SETTING.x0, 0 * SETTING.x0, 0 * SETTING.x0, PROBLEM.gradient(SETTING.x0)
    v = g
    for _ in range(STEPS):
        x = x + zeta * w @ h - lr * v
        h, last, g = x, g, PROBLEM.gradient(x)
        v = v + zeta * w @ hv + g - last
        hv = v
    np.testing.assert_allclose(trace(simlab.BEER(lr, zeta, Identity())).x[0], x, rtol=0, atol=1e-12)


# Where they stop: at the minimizer, or where their bias transfer function says, whatever the compressor.

EXACT = {
    "BEER": simlab.BEER(0.1, 0.3, TOP),
    "MoTEF": simlab.MoTEF(0.1, 0.3, TOP, 0.6),
    "LEAD": simlab.LEAD(0.2, 0.5, QSGD(4), 0.5),
    "CEDAS": simlab.CEDAS(0.2, 0.5, QSGD(4), 0.5),
    "ChocoSGD": simlab.ChocoSGD(0.05, 0.3, TOP),
    "MARINA": simlab.MARINA(0.2, RandomK(2, unbiased=True), 0.3),
}


@pytest.mark.parametrize("name", EXACT)
def test_limits(name: str) -> None:
    algorithm = EXACT[name]
    x0 = EQUAL if name == "MARINA" else SETTING.x0
    x = trace(algorithm, steps=3000, record_every=3000, x0=x0).x[0]
    if hasattr(type(algorithm), "bias_transfer"):
        assert transfer.limit_residual(PROBLEM, NETWORK, algorithm, x) < 1e-8
        assert transfer.limit_residual(PROBLEM, NETWORK, simlab.AWCDmSGD(0.05, 0.5), x) > 1e-3
    if name != "ChocoSGD":
        np.testing.assert_allclose(x - PROBLEM.minimizer, 0, atol=1e-8)


def test_lead_finds_the_minimizer_of_a_composite_objective() -> None:
    problem = PROBLEM.with_l1(0.1)
    algorithm = simlab.LEAD(0.2, 0.5, QSGD(4), 0.5, l1=0.1)
    found = simlab.simulate(problem, NETWORK, algorithm, steps=3000, record_every=3000, engine="numpy", progress=False)
    assert found.frame.mse.iloc[-1] < 1e-16
    assert np.any(problem.minimizer == 0)


def test_squarm_stops_as_its_momentum_says() -> None:
    """φ = (1/(ζ(1−λ)) − 1)/(1 − β) at τ = 1, c = 0."""
    zeta, beta, lr = 0.3, 0.5, 0.05
    x = trace(simlab.SQuARMSGD(lr, zeta, TOP, 1, 0.0, beta), steps=6000, record_every=6000).x[0]
    like = simlab.ChocoSGD(lr / (1 - beta), zeta, TOP)
    assert transfer.limit_residual(PROBLEM, NETWORK, like, x) < 1e-8
    assert transfer.limit_residual(PROBLEM, NETWORK, like._replace(lr=lr), x) > 1e-3


# What balances over the nodes at every step.


@pytest.mark.parametrize("name", ["BEER", "MoTEF", "LEAD", "CEDAS"])
def test_what_is_conserved(name: str) -> None:
    algorithm = EXACT[name]
    random, state = np.random.default_rng(2), algorithm.init(SETTING.x0)
    balanced = {"BEER": lambda s: s.v - s.g, "MoTEF": lambda s: s.v - s.m}.get(name, lambda s: s.dual)
    for k in range(8):
        batch = Batch(dither=random.random((2, N, D), np.float32), ledger=[], step=k)
        state = algorithm.step(state, PROBLEM, NETWORK, batch)
        np.testing.assert_allclose(balanced(state).mean(axis=0), 0, atol=1e-13)
    assert k and np.abs(state[-1]).max() > 1e-2


@pytest.mark.parametrize("name", ["EFSignSGD", "DoubleSqueeze"])
def test_nothing_is_lost(name: str) -> None:
    """Error feedback: x and what is remembered together move, in the mean, as exact SGD at the same points does."""
    algorithm = {"EFSignSGD": simlab.EFSignSGD(0.1), "DoubleSqueeze": simlab.DoubleSqueeze(0.1, Sign())}[name]
    state, total = algorithm.init(EQUAL), EQUAL[0]
    for k in range(9):
        total = total - 0.1 * PROBLEM.gradient(state.x).mean(axis=0)
        state = algorithm.step(state, PROBLEM, NETWORK, Batch(ledger=[], step=k))
        owed = state.error if name == "EFSignSGD" else 0.1 * (state.error + state.server_error)
        np.testing.assert_allclose(state.x[0] - owed.mean(axis=0), total, atol=1e-6)  # scales are float32
        np.testing.assert_array_equal(state.x, np.broadcast_to(state.x[0], state.x.shape))


# What is sent.


def bits_of(algorithm: Any, **options: Any) -> tuple[list[int], list[int]]:
    frame = trace(algorithm, **options).frame
    return frame.payload_bits.tolist(), frame.bits.tolist()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("momentum", [None, 0.6])
def test_triggered_messages_are_counted_by_hand(engine: str, momentum: float | None) -> None:
    """Of SPARQ-SGD and SQuARM-SGD, whose steps are written out here with a sign compressor."""
    lr, zeta, period, threshold = 0.1, 0.3, 2, simlab.schedules.InverseSqrt(60.0, 1.0)
    beta, once, each = momentum or 0.0, [0], [0]
    x, m, replica = SETTING.x0, np.zeros((N, D)), np.zeros((N, D))
    w, degrees = np.asarray(NETWORK.weights), [2] * N
    for k in range(30):
        g = PROBLEM.gradient(x)
        m = beta * m + g
        x = x - lr * (beta * m + g)
        payload = total = 0
        if (k + 1) % period == 0:
            for i in range(N):
                news = x[i] - replica[i]
                if news @ news > 60.0 / np.sqrt(1 + k) * lr**2:
                    scale = np.float32(np.abs(news).mean())
                    replica[i] = replica[i] + np.where(news < 0, -scale, scale)
                    payload, total = payload + 32 + D, total + (32 + D) * degrees[i]
            x = x + zeta * (w @ replica - replica)
        once.append(once[-1] + payload)
        each.append(each[-1] + total)
    settings_ = (lr, zeta, Sign(), period, threshold)
    algorithm = simlab.SPARQSGD(*settings_) if momentum is None else simlab.SQuARMSGD(*settings_, momentum)
    found = trace(algorithm, steps=30, engine=engine)
    assert (found.frame.payload_bits.tolist(), found.frame.bits.tolist()) == (once, each)
    np.testing.assert_allclose(found.x[0], x, atol=1e-10)
    assert 0 < once[-1] < 15 * N * (32 + D)  # some are sent, others are not


def test_what_goes_through_a_server_is_counted_up_and_down() -> None:
    """Each message once; and once a receiver: one server, or n nodes."""
    up, down, number = N * D, D, 64 * D
    assert bits_of(simlab.SignSGD(0.1), steps=1) == ([0, up + down], [0, up + N * down])
    sign = 32 + D
    assert bits_of(simlab.EFSignSGD(0.1), steps=1) == ([0, N * sign + number], [0, N * (sign + number)])
    assert bits_of(simlab.DoubleSqueeze(0.1, Sign()), steps=1) == ([0, (N + 1) * sign], [0, 2 * N * sign])


def test_marina_sends_by_its_coin() -> None:
    """Dense at the first step and where the common coin says; else RandK; V goes down at each step."""
    coins = Stream(SETTING.seed, 0).dither(STEPS, 1, N, D)[:, 0, 0, 0] < 0.3
    coins[0] = True
    up = np.cumsum(np.where(coins, N * 64 * D, N * 32 * 3))
    payload, each = bits_of(simlab.MARINA(0.1, RandomK(2, unbiased=True), 0.3), x0=EQUAL)
    steps = np.arange(1, STEPS + 1)
    np.testing.assert_array_equal(payload[1:], up + 64 * D * steps)
    np.testing.assert_array_equal(each[1:], up + N * 64 * D * steps)
    assert 1 < coins.sum() < STEPS


def test_beer_sends_one_message_at_first() -> None:
    payload, _ = bits_of(simlab.BEER(0.1, 0.3, Sign()), steps=3)
    assert payload == [0, N * (32 + D), 3 * N * (32 + D), 5 * N * (32 + D)]


# How they fail.


def test_signs_fail_where_nodes_differ() -> None:
    """Three nodes with gradients x + 1, x + 1, x − 5: the mean is zero at 1, the vote moves to −1."""
    problem = simlab.Quadratic(np.ones((3, 1)), np.array([[-1.0], [-1.0], [5.0]]))
    x0 = np.full((3, 1), 1.0)
    found = simlab.simulate(
        problem, simlab.topologies.complete(3), simlab.SignSGD(0.01), steps=400, x0=x0, engine="numpy", progress=False
    )
    assert problem.minimizer[0] == 1
    assert abs(found.x[0, 0, 0] + 1) < 0.03
    homogeneous = simlab.Quadratic(np.ones((3, 1)), np.full((3, 1), 1.0))
    found = simlab.simulate(
        homogeneous, simlab.topologies.complete(3), simlab.SignSGD(0.01), steps=400, x0=-x0, engine="numpy",
        progress=False,
    )  # fmt: skip
    assert abs(found.x[0, 0, 0] - 1) < 0.03


class WrongStart(simlab.MoTEF):
    """As the authors' code starts: V⁰ = G⁰, M⁰ = 0."""

    def init(self, x: Any) -> Any:
        return super().init(x)._replace(v=PROBLEM.gradient(x))


def test_motef_from_the_wrong_start_keeps_a_bias() -> None:
    """The mean of V − M is that of G⁰ for ever, and the limit is where the mean gradient is its negative."""
    algorithm = WrongStart(0.1, 0.3, TOP, 0.6)
    state = algorithm.init(SETTING.x0)
    wrong = PROBLEM.gradient(SETTING.x0).mean(axis=0)
    for k in range(1, 3000):  # from the second step on: no start within
        state = algorithm.step(state, PROBLEM, NETWORK, Batch(ledger=[], step=k))
        np.testing.assert_allclose((state.v - state.m).mean(axis=0), wrong, atol=1e-12)
    np.testing.assert_allclose(PROBLEM.gradient(state.x).mean(axis=0), -wrong, atol=1e-8)
    assert np.abs(wrong).max() > 0.1


def test_a_constant_threshold_starves_nodes() -> None:
    """Two nodes that have come near to rest are not heard for 1,000 steps, in which the third drifts and speaks: each
    of them stays off by up to √c γ, and so do those who wait for its news.
    """
    problem = simlab.Quadratic([[1.0], [1.0], [0.02]], [[1.0], [1.0], [0.04]])
    network, x0 = simlab.topologies.complete(3), np.zeros((3, 1))

    def after(steps: int, threshold: float) -> Any:
        algorithm = simlab.SPARQSGD(0.1, 0.3, Identity(), 1, threshold)
        options = {"steps": steps, "record_every": steps, "x0": x0, "engine": "numpy", "progress": False}
        return simlab.simulate(problem, network, algorithm, **options)

    early, starved, heard = after(500, 10.0), after(1500, 10.0), after(1500, 0.0)
    told = [trace.position.state["replica"][0, :, 0] for trace in (early, starved)]
    assert (told[0] == told[1]).tolist() == [True, True, False]
    assert np.all(np.abs(starved.x[0, :2, 0] - told[1][:2]) > 0.02)
    assert starved.frame.bits.iloc[-1] < 0.1 * heard.frame.bits.iloc[-1]
    assert starved.frame.mse.iloc[-1] > 100 * heard.frame.mse.iloc[-1]


def test_coarse_differences_diverge() -> None:
    """DCD-PSGD keeps the error of its compressor, and is refused where that may exceed the message."""
    with pytest.raises(ValueError, match="is not a contraction"):
        trace(simlab.DCDPSGD(0.1, QSGD(1)))
    with pytest.raises(TypeError, match="not known to be unbiased"):
        trace(simlab.ECDPSGD(0.1, TopK(1)))
    with pytest.raises(TypeError, match="not known to be unbiased"):
        trace(simlab.MARINA(0.1, TopK(1), 0.5))


@given(probability=st.floats(0.01, 1.0), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_common_coin_is_common(probability: float, seed: int) -> None:
    """All nodes send dense gradients, or none; bits tell."""
    payload, _ = bits_of(simlab.MARINA(0.01, RandomK(1, unbiased=True), probability), seed=seed, x0=EQUAL, steps=6)
    up = np.diff(payload) - 64 * D
    assert set(up) <= {N * 64 * D, N * 64}


def test_servers_and_shared_numbers_ask_for_a_network_that_does_not_change() -> None:
    class Own(simlab.DoubleSqueeze):
        static = False

    with pytest.raises(TypeError, match=r"Own sends through a server.*does not change"):
        simlab.simulate(PROBLEM, simlab.dynamics.every(NETWORK, 2), Own(0.1, Sign()), steps=2)


def test_receivers_are_known_by_name() -> None:
    from simlab.operations import compress

    with pytest.raises(ValueError, match=r"to = 'serve' is unknown; did you mean 'server'"):
        compress(Sign(), SETTING.x0, Batch(ledger=[]), to="serve")  # type: ignore[arg-type]
