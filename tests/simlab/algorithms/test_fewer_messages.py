"""Methods that send less or minimize more: ADMM and its censored and linearized forms, lazy gradients, dual averaging,
consensus control; and the proximal step that ADMM takes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import simlab
from simlab.operations import average, conjugate, per_node, proximal
from tests.helpers import algorithms, strategies
from tests.helpers.agreement import SETTING, assert_same
from tests.helpers.interpreted import simulate
from theory.theorems import dual_averaging

STEPS = 12
NAMES = ("DADMM", "COCA", "DLM", "LAGWK", "LAGPS", "DualAveraging", "ConsensusControl")
PROBLEM, NETWORK = SETTING.objective.problem, SETTING.network
N, D = SETTING.x0.shape
EQUAL = np.broadcast_to(SETTING.x0[0], (N, D))
EACH = tuple(np.linalg.eigvalsh(PROBLEM.hessians)[:, -1])  # smoothness constants


def trace(algorithm: Any, problem: Any = PROBLEM, network: Any = NETWORK, **options: Any) -> Any:
    choices = {"steps": STEPS, "x0": EQUAL if problem is PROBLEM else None, "engine": "numpy", "progress": False}
    return simulate(problem, network, algorithm, **choices | options)


# The proximal step.

ROWS = [kind for kind in strategies.KINDS if kind != "nonconvex"]


@pytest.mark.parametrize("kind", strategies.KINDS)
@given(seed=st.integers(0, 2**32 - 1), lead=st.sampled_from([(), (3,), (2, 2)]), each=st.booleans())
@settings(max_examples=15)
def test_proximal_points_are_stationary(kind: str, seed: int, lead: tuple[int, ...], each: bool) -> None:
    """∇f_i(u) + w(u − v) = 0, of every index alone, with one weight or one a node."""
    random = np.random.default_rng(seed)
    problem = strategies.objective(kind, 4, 3, 5, random).problem
    v = random.standard_normal((*lead, 4, problem.dim))
    weight = 10.0 ** random.uniform(-1, 1, (4, 1)) + (2 if kind == "nonconvex" else 0) if each else 2.5
    u = proximal(problem, v, weight)
    size = np.abs(weight * (u - v)).max() + 1
    np.testing.assert_allclose(problem.gradient(u) + weight * (u - v), 0, atol=1e-10 * size)
    if getattr(problem, "l2", 0.0) > 0.01:  # every f_i is strongly convex
        np.testing.assert_allclose(problem.gradient(conjugate(problem, v)), v, atol=1e-9 * (1 + np.abs(v).max()))


class Proximal(simlab.DADMM):
    """Proximal steps alone, with a weight for each node that is known after an exchange only."""

    def init(self, x: Any) -> Any:
        return super().init(x)

    def step(self, state: Any, problem: Any, network: Any, batch: Any) -> Any:
        from simlab.operations import degrees, mix

        weight = degrees(network, state.x) * 0.5 + 2 + 0 * self.penalty
        late = mix(network, state.dual)
        x = proximal(problem, state.x + 0.1, weight)
        return type(state)(proximal(problem, late - 0.2 * state.x, self.penalty), x, x)


@pytest.mark.parametrize("kind", ROWS)
def test_proximal_rows_are_the_array_form(kind: str) -> None:
    """With nodes of different degrees. What solves by factors, entry by entry and in steps of Newton's is compiled."""
    random = np.random.default_rng(3)
    problem, network = strategies.objective(kind, 5, 3, 6, random).problem, simlab.topologies.star(5, lazy=True)
    x0 = random.standard_normal((5, problem.dim))
    options = {"x0": x0, "steps": 4}
    one, two = (trace(Proximal(0.7), problem, network, engine=engine, **options) for engine in ("interpreted", "numpy"))
    assert_same(one, two)
    if kind not in ("quadratic", "diagonal", "logistic"):
        return
    assert_same(trace(Proximal(0.7), problem, network, engine="compiled", **options), two)
    if kind == "logistic":  # takes seconds to compile
        return
    single = trace(Proximal(0.7), problem, network, engine="compiled", dtype="float32", **options)
    np.testing.assert_allclose(single.x, two.x, rtol=0, atol=1e-5)


class Weighted(NamedTuple):
    """Parameters, and one number a node."""

    x: Any
    w: Any


class Overwritten(NamedTuple):
    """A weight that reads a number which the same row's work replaces."""

    lr: float = 1.0

    def init(self, x: Any) -> Weighted:
        return Weighted(x, per_node(x) + x[..., :1])

    def step(self, state: Weighted, problem: Any, network: Any, batch: Any) -> Weighted:
        return Weighted(proximal(problem, state.x + 0.1, 1 + state.w * state.w), average(state.w) * self.lr)


def test_a_weight_is_read_before_it_is_overwritten() -> None:
    assert_same(*(trace(Overwritten(), x0=SETTING.x0, engine=engine) for engine in ("interpreted", "numpy")))


def test_proximal_steps_that_are_not_written_are_refused() -> None:
    problem = strategies.objective("nonconvex", 5, 3, 6, np.random.default_rng(3)).problem
    with pytest.raises(NotImplementedError, match=r"NonconvexLogistic\.tilted_kernel.*engine='numpy'"):
        trace(Proximal(2.0), problem, simlab.topologies.star(5, lazy=True), engine="compiled")


# Engines.


@pytest.mark.parametrize("name", NAMES)
def test_engines_agree(name: str) -> None:
    """States, and bits exactly; programs are interpreted. On nodes of different degrees."""
    form, network = (
        algorithms.forms(lr=0.05)[name],
        strategies.network(N, "metropolis", False, np.random.default_rng(4)),
    )
    options = {"replicates": 2, "record_every": 5, "batch_size": 3, "noise_std": 0.1, "network": network}
    expected = trace(form, **options)
    assert_same(trace(form, engine="interpreted", **options), expected)


# Special cases.

FAR = 1e6
CASES = {
    "COCA, DADMM": (simlab.COCA(0.4, 0.0, 0.9), simlab.DADMM(0.4)),
    "LAG-WK, SGD": (simlab.LAGWK(0.1, 0.0, 3), simlab.PmSGD(0.1, 0.0)),
    "LAG-PS, SGD": (simlab.LAGPS(0.1, 0.0, EACH, 3), simlab.PmSGD(0.1, 0.0)),
    "control, DSGD": (simlab.ConsensusControl(0.1, FAR), simlab.DSGD(0.1)),
    "dual averaging": (simlab.DualAveraging(0.1, FAR), simlab.DualAveraging(0.1)),
}


@pytest.mark.parametrize("name", CASES)
def test_special_cases(name: str) -> None:
    one, other = (trace(a) for a in CASES[name])
    np.testing.assert_allclose(one.x, other.x, rtol=0, atol=1e-12)
    if "LAG" not in name:
        assert one.frame.bits.equals(other.frame.bits)


def test_dlm_is_a_gradient_method_on_its_lagrangian() -> None:
    """x⁺ = x − γ(∇f + cLx + λ), λ⁺ = λ + cLx⁺, with the Laplacian of a graph of unequal degrees."""
    network, lr, c = strategies.network(N, "metropolis", False, np.random.default_rng(4)), 0.1, 0.3
    adjacency = (np.asarray(network.weights) > 0) & ~np.eye(N, dtype=bool)
    laplacian = np.diag(adjacency.sum(axis=1)) - adjacency
    x, dual = EQUAL, np.zeros((N, D))
    for _ in range(STEPS):
        x = x - lr * (PROBLEM.gradient(x) + c * laplacian @ x + dual)
        dual = dual + c * laplacian @ x
    np.testing.assert_allclose(trace(simlab.DLM(lr, c), network=network).x[0], x, atol=1e-12)


# Limits.

EXACT = {
    "DADMM": simlab.DADMM(0.4),
    "COCA": simlab.COCA(0.4, 1.0, 0.9),
    "DLM": simlab.DLM(0.3, 0.4),
    "LAGWK": simlab.LAGWK(0.3, 0.05),
    "LAGPS": simlab.LAGPS(0.3, 0.05, EACH),
}


@pytest.mark.parametrize(("name", "engine"), [*((name, "numpy") for name in EXACT), ("COCA", "compiled")])
def test_limit_is_the_minimizer(name: str, engine: str) -> None:
    x = trace(EXACT[name], steps=1500, record_every=1500, engine=engine).x[0]
    np.testing.assert_allclose(x - PROBLEM.minimizer, 0, atol=1e-9)


@pytest.mark.parametrize("kind", ["DADMM", "COCA"])
def test_admm_minimizes_logistic_regression(kind: str) -> None:
    problem = strategies.objective("logistic", 6, 3, 9, np.random.default_rng(2)).problem
    x = trace(EXACT[kind], problem, steps=400, record_every=400).x[0]
    np.testing.assert_allclose(x - problem.minimizer, 0, atol=1e-8)


# What is sent.


def test_censored_messages_are_counted_by_hand() -> None:
    """COCA written out; fewer messages than ADMM to the same error, over more steps."""
    c, alpha, rho = 0.4, 1.0, 0.85
    adjacency = (np.asarray(NETWORK.weights) > 0) & ~np.eye(N, dtype=bool)
    degree = adjacency.sum(axis=1)
    x, dual, replica, messages = EQUAL, np.zeros((N, D)), np.zeros((N, D)), [0]
    for k in range(40):
        b = c * (degree[:, None] * replica + adjacency @ replica) - dual
        left = PROBLEM.hessians + 2 * c * degree[:, None, None] * np.eye(D)
        x = np.linalg.solve(left, (PROBLEM.linear + b)[..., None])[..., 0]
        sent = np.linalg.norm(replica - x, axis=1) >= alpha * rho**k
        replica = np.where(sent[:, None], x, replica)
        dual = dual + c * (degree[:, None] * replica - adjacency @ replica)
        messages.append(messages[-1] + sent.sum())
    found = trace(simlab.COCA(c, alpha, rho), steps=40)
    np.testing.assert_allclose(found.x[0], x, atol=1e-11)
    np.testing.assert_array_equal(found.frame.payload_bits, 64 * D * np.array(messages))
    assert 0.2 * 40 * N < messages[-1] < 0.95 * 40 * N


@pytest.mark.parametrize("asked", [False, True])
def test_lazy_gradients_are_counted_by_hand(asked: bool) -> None:
    """LAG written out: who uploads, and what goes down."""
    lr, xi, memory = 0.3, 0.06, 4
    x, uploaded, known = EQUAL[0], np.zeros((N, D)), np.tile(EQUAL[0], (N, 1))
    moves, payload, each = [0.0] * memory, [0], [0]
    for k in range(60):
        threshold = xi * sum(moves) / lr**2
        if asked:
            who = (np.array(EACH) * np.linalg.norm(known - x, axis=1)) ** 2 > threshold
            who = who | (k == 0)
            down = np.sum(who & np.any(known != x, axis=1))
            known[who] = x
            g = PROBLEM.gradient(known)
            costs = down + np.sum(who), down + np.sum(who)
        else:
            g = PROBLEM.gradient(np.tile(x, (N, 1)))
            who = np.linalg.norm(g - uploaded, axis=1) ** 2 > threshold
            costs = np.sum(who) + 1, np.sum(who) + N
        uploaded[who] = g[who]
        move = lr * uploaded.mean(axis=0)
        x, moves = x - move, [move @ move, *moves[:-1]]
        payload.append(payload[-1] + 64 * D * costs[0])
        each.append(each[-1] + 64 * D * costs[1])
    algorithm = simlab.LAGPS(lr, xi, EACH, memory) if asked else simlab.LAGWK(lr, xi, memory)
    found = trace(algorithm, steps=60)
    np.testing.assert_allclose(found.x[0, 0], x, atol=1e-10)
    assert (found.frame.payload_bits.tolist(), found.frame.bits.tolist()) == (payload, each)
    assert payload[-1] < 0.9 * 60 * 64 * D * (2 * N if asked else N + 1)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_flat_nodes_upload_seldom(d: int) -> None:
    """A node with L_i² <= ξ/(dγ²) uploads at most k/(d + 1) + 1 times in k steps (Chen et al. 2018)."""
    lr, xi, memory, steps = 0.5, 0.08, 10, 120
    flat = np.sqrt(xi / d) / lr
    problem = simlab.Quadratic([[1.0], [flat]], [[1.0], [-0.3]])
    network = simlab.Network.from_matrix([[0.5, 0.5], [0.5, 0.5]])
    algorithm = simlab.LAGWK(lr, xi, memory)
    state, uploads = algorithm.init(np.zeros((2, 1))), 0
    for k in range(steps):
        ledger: list[Any] = []
        state = algorithm.step(state, problem, network, simlab.operations.Batch(ledger=ledger, step=k))
        uploads += int(ledger[0][0][1] > 0)
    assert 1 <= uploads <= steps / (d + 1) + 1


def test_lag_is_as_fast_as_its_theorem_says() -> None:
    """γ = (1 − √(Dξ))/L: to ε in (κ/(1 − √(Dξ))) log(1/ε) steps, on the distance to the minimum."""
    xi, memory = 0.05, 10
    lr = (1 - np.sqrt(memory * xi)) / PROBLEM.smoothness
    kappa = PROBLEM.smoothness / PROBLEM.strong_convexity
    steps = int(np.ceil(kappa / (1 - np.sqrt(memory * xi)) * np.log(1e8)))
    for algorithm in (simlab.LAGWK(lr, xi, memory), simlab.LAGPS(lr, xi, EACH, memory)):
        frame = trace(algorithm, steps=steps).frame
        gap = frame.loss - PROBLEM.minimum
        assert gap.iloc[-1] <= 1e-8 * gap.iloc[0]


# Dual averaging and consensus control.


@pytest.mark.parametrize("radius", [None, 3.0])
def test_dual_averaging_keeps_its_theorem(radius: float | None) -> None:
    """Of logistic regression without a ridge, which is Lipschitz: at every node, for every number of steps."""
    random = np.random.default_rng(5)
    features = random.standard_normal((8, 10, 3))
    labels = np.where(random.standard_normal((8, 10)) + features[..., 0] > 0, 1, -1)
    problem, network = simlab.LogisticRegression(features, labels, l2=0.0), simlab.topologies.ring(8)
    lipschitz = float(np.linalg.norm(features, axis=-1).mean(axis=-1).max())
    size = float(np.linalg.norm(problem.minimizer)) / np.sqrt(2)  # ψ(x*) = ‖x*‖²/2 = R²
    sigma = float(np.linalg.svd(network.weights)[1][1])
    first = float(dual_averaging.step_sizes(1, size, lipschitz, sigma))
    algorithm = simlab.DualAveraging(simlab.schedules.InverseSqrt(first), radius)
    worst = {"worst": lambda x: problem.global_loss(x).max(axis=-1)}
    frame = trace(algorithm, problem, network, steps=4000, record_every=20, record=worst).frame.iloc[1:]
    bound = dual_averaging.sharper_bound(frame.step + 1, 8, sigma, size, lipschitz)
    gap = frame.worst - problem.minimum
    assert np.all(gap <= bound)
    assert gap.iloc[-1] < 0.5 * gap.iloc[0]
    assert np.all(gap > 0)


@given(setting=strategies.settings("least_squares"), radius=st.floats(0.1, 2.0))
@settings(max_examples=10)
def test_points_stay_in_the_ball(setting: strategies.Setting, radius: float) -> None:
    x0 = np.broadcast_to(setting.x0[0], setting.x0.shape)
    found = trace(simlab.DualAveraging(5.0, radius), setting.objective.problem, setting.network, x0=x0)
    lengths = np.linalg.norm(found.x[0] - x0, axis=1)
    assert np.all(lengths <= radius * (1 + 1e-12)) and lengths.max() > 1e-3 * radius


def test_consensus_is_controlled_and_counted() -> None:
    """The distance is at most Γ wherever fewer than all exchanges were taken; all at Γ = 0."""
    threshold, most = 0.05, 12
    found = trace(simlab.ConsensusControl(0.2, threshold, most), steps=30, x0=SETTING.x0)
    frame, one = found.frame, 64 * D * N
    rounds = np.diff(frame.payload_bits) / one
    assert set(rounds) <= set(range(1, most + 2)) and len(set(rounds)) > 2
    fewer = rounds < most + 1
    assert np.all(np.sqrt(frame.consensus.to_numpy()[1:][fewer]) <= threshold)
    never = trace(simlab.ConsensusControl(0.2, 0.0, 2), steps=5, x0=SETTING.x0).frame
    np.testing.assert_array_equal(np.diff(never.payload_bits), 3 * one)


def test_a_smoothness_constant_for_each_node_is_asked_for() -> None:
    for constants in ((1.0, 1.0), 1.0, (0.0,) * N):
        with pytest.raises(ValueError, match=r"LAGPS\.smoothness = .* the 6 nodes; pass a tuple"):
            trace(simlab.LAGPS(0.1, 0.1, constants))
