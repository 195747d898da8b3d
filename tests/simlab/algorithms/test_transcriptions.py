"""Methods against plain transcriptions of their definitions: states to 1e-10, and every bit that is sent.

The transcriptions are in tests/helpers/transcriptions.py; they see the mini-batches, noise and dither of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import simlab
from simlab.compression import Identity, PermK, RandomK, Sign, TopK
from simlab.schedules import Inverse, InverseSqrt
from tests.helpers import strategies, transcriptions as plain
from tests.helpers.interpreted import interpreted


class Case(NamedTuple):
    """A random problem with draws, and hyperparameters; of what may change, the values at all steps, too."""

    objective: strategies.Objective
    network: Any
    x0: np.ndarray
    run: plain.Run
    options: dict[str, Any]
    random: np.random.Generator
    lr: Any
    lrs: np.ndarray
    beta: float
    zeta: float
    tau: int
    c: Any  #: of triggers
    cs: np.ndarray
    rho: float

    def given(self, names: tuple[str, ...]) -> list[Any]:
        """Hyperparameters as a method takes them."""
        return [getattr(self, name) for name in names]

    def seen(self, names: tuple[str, ...]) -> list[Any]:
        """The same as a transcription takes them."""
        changing = {"lr": self.lrs, "c": self.cs}
        return [changing.get(name, getattr(self, name)) for name in names]

    @property
    def quadratics(self) -> tuple[np.ndarray, np.ndarray]:
        """H_i and b_i of f_i(x) = x'H_i x/2 - b_i'x + constant, from the data."""
        problem = self.objective.problem
        a, y, m = problem.features, problem.targets, problem.features.shape[1]
        hessians = [a_i.T @ a_i / m + problem.l2 * np.eye(self.run.d) for a_i in a]
        return np.array(hessians), np.array([a_i.T @ y_i / m for a_i, y_i in zip(a, y, strict=True)])


def case(seed: int, alike: bool = False) -> Case:
    """Nodes that start `alike` where the method's paper has one start."""
    random = np.random.default_rng(seed)
    n, d, m, steps = (int(random.integers(*span)) for span in ((3, 8), (2, 6), (3, 7), (9, 14)))
    objective = strategies.objective("least_squares", n, d, m, random)
    network = strategies.network(n, "metropolis", False, random)
    if network.smallest_eigenvalue < -0.3 or random.random() < 0.3:
        network = simlab.Network.from_matrix((2 * np.array(network.weights) + np.eye(n)) / 3)
    x0 = random.standard_normal((1 if alike else n, d)) * np.ones((n, 1))
    batch = None if random.random() < 0.3 else int(random.integers(1, m + 1))
    noise = float(random.choice([0.0, 0.3]))
    lr: Any = float(random.uniform(0.03, 0.3))
    lr = InverseSqrt(lr, 3.0) if random.random() < 0.4 else lr
    c: Any = float(random.uniform(3, 30))
    c = Inverse(5 * c, 2.0) if random.random() < 0.5 else c
    k = np.arange(steps)
    return Case(
        objective, network, x0,
        plain.Run(objective.gradient, network, x0, steps, m, batch, noise, seed),
        {"steps": steps, "x0": x0, "batch_size": batch, "noise_std": noise, "seed": seed, "progress": False},
        random, lr, lr(k) if callable(lr) else np.full(steps, lr), float(random.choice([0.0, 0.3, 0.6, 0.9])),
        float(random.uniform(0.1, 0.9)), int(random.integers(2, 5)), c, c(k) if callable(c) else np.full(steps, c),
        float(random.uniform(network.rho, 1.0)),
    )  # fmt: skip


def paired(c: Case) -> tuple[Any, Any]:
    """The same contraction, ours and plain."""
    k = int(c.random.integers(1, c.run.d + 1))
    pairs = [
        (TopK(k), plain.top(k)),
        (RandomK(k), plain.random_entries(k, False)),
        (Sign(), plain.scaled_sign),
        (Identity(), plain.dense),
    ]
    return pairs[int(c.random.integers(4))]


def unbiased(c: Case) -> tuple[Any, Any]:
    k = int(c.random.integers(1, c.run.d + 1))
    pairs = [(RandomK(k, unbiased=True), plain.random_entries(k, True)), (Identity(), plain.dense)]
    return pairs[int(c.random.integers(2))]


Pair = tuple[Any, Callable[[], np.ndarray]]  # the algorithm, and its transcription's rows
METHODS: dict[str, Callable[[Case], Pair]] = {}


def method(name: str) -> Callable[[Callable[[Case], Pair]], Callable[[Case], Pair]]:
    def add(pair: Callable[[Case], Pair]) -> Callable[[Case], Pair]:
        METHODS[name] = pair
        return pair

    return add


def simple(name: str, *values: str, rule: Any, **fixed: Any) -> None:
    """A method whose hyperparameters are those of the case called `values`."""

    def pair(c: Case) -> Pair:
        return getattr(simlab, name)(*c.given(values), **fixed), lambda: rule(c.run, *c.seen(values))

    METHODS[f"{name}, Nesterov" if fixed else name] = pair


def compressed(name: str, *values: str, rule: Any, draw: Any = paired, after: tuple[str, ...] = ()) -> None:
    """The same, with a compressor between `values` and `after`."""

    def pair(c: Case) -> Pair:
        ours, theirs = draw(c)
        algorithm = getattr(simlab, name)(*c.given(values), ours, *c.given(after))
        return algorithm, lambda: rule(c.run, *c.seen(values), theirs, *c.seen(after))

    METHODS[name] = pair


simple("ExactDiffusion", "lr", rule=plain.exact_diffusion)
simple("EDM", "lr", "beta", rule=plain.edm)
simple("MomentumTracking", "lr", "beta", rule=plain.momentum_tracking)
simple("DSGTHB", "lr", "beta", rule=plain.dsgt_hb)
simple("DSMT", "lr", "beta", "zeta", rule=plain.dsmt)
simple("KGT", "lr", "tau", "zeta", rule=plain.k_gt)
simple("LED", "lr", "tau", "zeta", rule=plain.led)
simple("DmSGD", "lr", "beta", rule=plain.nesterov_dmsgd, nesterov=True)
simple("QGDmSGD", "lr", "beta", rule=plain.nesterov_qg, nesterov=True)
simple("EFSignSGD", "lr", "beta", rule=plain.ef_sign_sgd)
simple("SignSGD", "lr", "beta", rule=plain.sign_sgd)
simple("GTSVRG", "lr", "tau", rule=plain.gt_svrg)
simple("GTSAGA", "lr", rule=plain.gt_saga)
simple("GTSARAH", "lr", "tau", rule=plain.gt_sarah)
compressed("DoubleSqueeze", "lr", rule=plain.double_squeeze)
compressed("DeepSqueeze", "lr", "zeta", rule=plain.deep_squeeze)
compressed("DCDPSGD", "lr", rule=plain.dcd_psgd)
compressed("ECDPSGD", "lr", rule=plain.ecd_psgd, draw=unbiased)
compressed("BEER", "lr", "zeta", rule=plain.beer)
compressed("MoTEF", "lr", "zeta", rule=plain.motef, after=("beta",))
compressed("CEDAS", "lr", "zeta", rule=plain.cedas, after=("zeta",))
compressed("CPDSGDM", "lr", "zeta", rule=plain.cpd_sgdm, after=("tau", "beta"))
compressed("SPARQSGD", "lr", "zeta", rule=plain.sparq_sgd, after=("tau", "c"))
compressed("SQuARMSGD", "lr", "zeta", rule=plain.squarm_sgd, after=("tau", "c", "beta"))


@method("LEAD")
def _(c: Case) -> Pair:
    ours, theirs = paired(c)
    l1 = float(c.random.choice([0.0, 0.2]))
    return simlab.LEAD(c.lr, c.zeta, ours, 0.4, l1), lambda: plain.lead(c.run, c.lrs, c.zeta, theirs, 0.4, l1)


@method("MARINA")
def _(c: Case) -> Pair:
    ours, theirs = unbiased(c)
    chances = Inverse(0.5, 4.0)
    return simlab.MARINA(c.lr, ours, chances), lambda: plain.marina(
        c.run, c.lrs, theirs, chances(np.arange(c.run.steps))
    )


@method("MARINA, PermK")
def _(c: Case) -> Pair:
    return simlab.MARINA(c.lr, PermK(c.run.n), 0.3), lambda: plain.marina_permuted(
        c.run, c.lrs, np.full(c.run.steps, 0.3)
    )


@method("LAGWK")
def _(c: Case) -> Pair:
    xi = float(c.random.uniform(0.02, 0.5))
    return simlab.LAGWK(c.lr, xi, c.tau), lambda: plain.lag_wk(c.run, c.lrs, xi, c.tau)


@method("LAGPS")
def _(c: Case) -> Pair:
    xi, each = float(c.random.uniform(0.02, 0.5)), tuple(float(np.linalg.norm(h, 2)) for h in c.quadratics[0])
    return simlab.LAGPS(c.lr, xi, each, c.tau), lambda: plain.lag_ps(c.run, c.lrs, xi, each, c.tau)


@method("COCA")
def _(c: Case) -> Pair:
    values = 0.4, 1.0, 0.8
    return simlab.COCA(*values), lambda: plain.coca(c.run, *c.quadratics, *values)


@method("DADMM")
def _(c: Case) -> Pair:
    return simlab.DADMM(c.zeta), lambda: plain.dadmm(c.run, *c.quadratics, c.zeta)


@method("DLM")
def _(c: Case) -> Pair:
    return simlab.DLM(c.lr, 0.3), lambda: plain.dlm(c.run, c.lrs, 0.3)


@method("DualAveraging")
def _(c: Case) -> Pair:
    radius = None if c.random.random() < 0.3 else 0.5
    return simlab.DualAveraging(c.lr, radius), lambda: plain.dual_averaging(c.run, c.lrs, radius)


@method("ConsensusControl")
def _(c: Case) -> Pair:
    values = InverseSqrt(0.5), 3
    return simlab.ConsensusControl(c.lr, *values), lambda: plain.consensus_control(
        c.run, c.lrs, values[0](np.arange(c.run.steps)), values[1]
    )


@method("DESTRESS")
def _(c: Case) -> Pair:
    values = c.tau, c.rho, int(c.random.integers(1, 4)), int(c.random.integers(1, 4))
    return simlab.DESTRESS(c.lr, *values), lambda: plain.destress(c.run, c.lrs, *values)


@method("AccDNGD")
def _(c: Case) -> Pair:
    return simlab.AccDNGD(c.lr, 0.4), lambda: plain.acc_dngd(c.run, c.lrs, 0.4)


@method("APAPC")
def _(c: Case) -> Pair:
    return simlab.APAPC(c.lr, c.zeta, 1.5, 0.4), lambda: plain.apapc(c.run, c.lrs, c.zeta, 1.5, 0.4)


@method("OPAPC")
def _(c: Case) -> Pair:
    base = simlab.APAPC(c.lr, c.zeta, 1.5, 0.4)
    return simlab.ChebyshevGossip(base, c.tau, c.rho), lambda: plain.opapc(c.run, c.lrs, c.zeta, 1.5, 0.4, c.tau, c.rho)


def stable(c: Case) -> float:
    """A step size for the dual: at most half of μ/λ_max."""
    return float(np.linalg.eigvalsh(c.quadratics[0]).min()) / 4


@method("SSDA")
def _(c: Case) -> Pair:
    values = stable(c), c.beta
    return simlab.SSDA(*values), lambda: plain.ssda(c.run, *c.quadratics, *values)


@method("MSDA")
def _(c: Case) -> Pair:
    values = stable(c), c.beta
    return simlab.ChebyshevGossip(simlab.SSDA(*values), c.tau, c.rho), lambda: plain.msda(
        c.run, *c.quadratics, *values, c.tau, c.rho
    )


@method("ChebyshevGossip")
def _(c: Case) -> Pair:
    return simlab.ChebyshevGossip(simlab.DecentLaM(c.lr, c.beta), c.tau, c.rho), lambda: plain.chebyshev_decentlam(
        c.run, c.lrs, c.beta, c.tau, c.rho
    )


ONE_START = ("LAGWK", "LAGPS")


def check(name: str, seed: int, engine: str) -> None:
    c = case(seed, name in ONE_START)
    algorithm, rows = METHODS[name](c)
    expected = rows()
    found = simlab.simulate(c.objective.problem, c.network, algorithm, engine=engine, **c.options)
    size = np.abs(expected).max()
    assert 0 < size < 1e6
    np.testing.assert_allclose(found.x[0], expected, rtol=1e-10, atol=1e-10 * size)
    assert found.frame.payload_bits.tolist() == c.run.payload
    assert found.frame.bits.tolist() == c.run.received


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_methods_are_what_their_papers_say(name: str, seed: int) -> None:
    check(name, seed, "numpy")
    if seed == 1:
        with interpreted():
            check(name, seed, "compiled")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_methods_are_what_their_papers_say_in_many_cases(name: str) -> None:
    for seed in range(10, 30):
        check(name, seed, "numpy")
        with interpreted():
            check(name, seed, "compiled")
    check(name, 10, "compiled")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tuned_parameters_are_those_of_the_papers(seed: int) -> None:
    c = case(seed)
    problem, network, mu = c.objective.problem, c.network, stable(c) * 4
    values = np.linalg.eigvalsh(np.array(network.weights))[:-1]  # but for the 1
    kappa, largest, chi = problem.smoothness / mu, 1 - values[0], (1 - values[0]) / (1 - values[-1])
    root = np.sqrt(kappa * chi)
    assert simlab.SSDA.tuned(problem, network, mu) == pytest.approx((mu / largest, (root - 1) / (root + 1)), rel=1e-10)
    tau = min(1.0, np.sqrt(chi / kappa) / 2)
    eta = 1 / (4 * tau * problem.smoothness)
    expected = eta, tau, 1 / (eta * largest), mu
    assert simlab.APAPC.tuned(problem, network, strong_convexity=mu) == pytest.approx(expected, rel=1e-10)
    # MSDA: of I - W on [1 - ρ, 1 + ρ].
    rounds, rho = 3, network.rho
    gap = (1 - rho) / (1 + rho)
    power = ((1 - np.sqrt(gap)) / (1 + np.sqrt(gap))) ** rounds
    step, pull = mu * (1 + power**2) / (1 + power) ** 2, (1 + power) * np.sqrt(kappa)
    expected = step, (pull - 1 + power) / (pull + 1 - power)
    assert simlab.SSDA.tuned(problem, network, mu, rounds) == pytest.approx(expected, rel=1e-10)
    # DSMT: of (I + W)/2.
    bend = np.sqrt(1 - ((1 + values[-1]) / 2) ** 2)
    acceleration = (1 + (1 - bend) / (1 + bend)) / 2
    assert simlab.DSMT.tuned(0.1, network) == pytest.approx((0.1, np.sqrt(acceleration), acceleration), rel=1e-10)
