"""The worst case: attained by its instance, equal to PEPit's and to closed forms, never below what a search finds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import networkx as nx
import numpy as np
import pytest

import simlab
import theory
from theory.prediction import expected_errors
from theory.worst.symmetry import automorphisms, blocks
from theory.worst.trajectory import trajectory

pytest.importorskip("cvxpy", reason="needs simlab[worst-case]")

KITE = simlab.Network.from_graph(nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)]))
NETWORKS = {
    "ring": simlab.topologies.ring(4),
    "kite": KITE,
    "star": simlab.topologies.star(4),
    "cycle": simlab.dynamics.cycle([simlab.topologies.ring(4), simlab.topologies.star(4)]),
    "every": simlab.dynamics.every(simlab.topologies.complete(3), 2),
    "pull": simlab.Network.from_matrix(np.array([[0.5, 0.5, 0], [0.2, 0.5, 0.3], [0.6, 0, 0.4]]), stochastic="row"),
}
CLASS = {"smoothness": 2.0, "strong_convexity": 0.2, "heterogeneity": 0.5, "radius": 1.5}


def measured(worst: theory.WorstCase, network: Any, algorithm: Any, steps: int, measure: str) -> float:
    """The error of a run on the instance."""
    trace = simlab.simulate(worst.instance, network, algorithm, steps=steps, x0=worst.x0, engine="numpy")
    if measure != "objective":
        return float(trace.frame[measure].iloc[-1])
    ends = np.stack([trace.x.reshape(network.n_nodes, -1).mean(axis=0), np.zeros(worst.instance.dim)])
    end, start = worst.instance.global_loss(ends)
    return float(end - start)


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "network", "measure"),
    [
        (simlab.DSGD(0.4), "pull", "mse"),
        (simlab.DSGD(lambda k: 0.4 / (k + 1)), "kite", "objective"),
        (simlab.DSGD(0.2, order="cta"), "every", "mse"),
        (simlab.DmSGD(0.2, 0.5), "star", "consensus"),
        (simlab.DecentLaM(0.2, 0.5), "cycle", "mse"),
        (simlab.PmSGD(0.2, 0.5), "ring", "objective"),
        (simlab.GradientTracking(0.1), "kite", "mse"),
        (simlab.EXTRA(0.2), "ring", "objective"),
        (simlab.LocalSGD(0.2, local_steps=2), "ring", "consensus"),
    ],
)  # fmt: skip
def test_the_instance_attains_the_value(algorithm: Any, network: str, measure: str, quadratic: bool) -> None:
    net = NETWORKS[network]
    worst = theory.worst_case(net, algorithm, steps=3, measure=measure, quadratic=quadratic, **CLASS)
    assert abs(worst.gap) <= 1e-5 * worst.value
    assert measured(worst, net, algorithm, 3, measure) == pytest.approx(worst.value, rel=1e-5)
    stars = worst.instance.gradient(np.zeros((net.n_nodes, worst.instance.dim)))
    assert np.allclose(stars.mean(axis=0), 0, atol=1e-6)
    assert np.mean(np.sum(stars**2, axis=1)) <= 0.5**2 * (1 + 1e-5)
    assert np.linalg.norm(worst.x0) <= 1.5 * (1 + 1e-6)
    if quadratic:
        spectra = np.linalg.eigvalsh(worst.instance.hessians)
        assert spectra.min() >= 0.2 - 1e-9 and spectra.max() <= 2.0 + 1e-9


@pytest.mark.parametrize(
    ("algorithm", "network", "measure"),
    [
        (simlab.DSGD(0.3, order="cta"), "kite", "mse"),
        (simlab.DmSGD(0.1, 0.5), "star", "objective"),
        (simlab.DecentLaM(0.1, 0.5), "ring", "consensus"),
    ],
)
def test_the_worst_limit_is_a_limit(algorithm: Any, network: str, measure: str) -> None:
    """Of quadratics, exactly; of functions, of a run from x̄."""
    net, options = NETWORKS[network], {**CLASS, "measure": measure}
    worst = theory.worst_case(net, algorithm, steps=math.inf, quadratic=True, **options)
    assert abs(worst.gap) <= 1e-5 * worst.value
    if measure == "mse":
        assert theory.predict(worst.instance, net, algorithm).bias == pytest.approx(worst.value, rel=1e-5)
    assert measured(worst, net, algorithm, 300, measure) == pytest.approx(worst.value, rel=1e-5)
    general = theory.worst_case(net, algorithm, steps=math.inf, **options)
    assert measured(general, net, algorithm, 100, measure) == pytest.approx(general.value, rel=1e-3)
    assert worst.value <= general.value * (1 + 1e-6)
    assert general.multipliers["radius"] == 0
    assert general.multipliers["heterogeneity"] * 0.5**2 == pytest.approx(general.value, rel=1e-5)


@pytest.mark.parametrize("quadratic", [False, True])
def test_any_ratio_of_radius_and_heterogeneity(quadratic: bool) -> None:
    """Tolerances are absolute. At rest b² is a factor; the closed form of one step is (b + (L − μ)R/2)²."""
    options: dict[str, Any] = {"smoothness": 2.0, "strong_convexity": 0.2, "quadratic": quadratic}
    net, method = NETWORKS["ring"], simlab.DmSGD(0.1, 0.5)
    one, *others = (
        theory.worst_case(net, method, steps=math.inf, heterogeneity=b, **options).value / b**2
        for b in (1.0, 1e-6, 1e4)
    )
    assert others == pytest.approx([one, one], rel=1e-5)
    two = simlab.Network.from_matrix(np.array([[0.75, 0.25], [0.25, 0.75]]))
    for radius, b in ((1e-3, 1.0), (1.0, 1e-3), (3.0, 3e3)):
        options |= {"measure": "consensus", "radius": radius, "heterogeneity": b}
        worst = theory.worst_case(two, simlab.DSGD(0.3), steps=1, **options)
        assert worst.value == pytest.approx((0.3 * 0.5 * (b + 1.8 * radius / 2)) ** 2, rel=1e-6)
        assert measured(worst, two, simlab.DSGD(0.3), 1, "consensus") == pytest.approx(worst.value, rel=1e-4)
        bound = worst.multipliers["radius"] * radius**2 + worst.multipliers["heterogeneity"] * b**2
        assert bound == pytest.approx(worst.value, rel=1e-5)


def test_functions_of_the_instance_are_of_the_class() -> None:
    """Their gradients are those of their losses, and satisfy the inequality of smooth strongly convex functions."""
    worst = theory.worst_case(NETWORKS["ring"], simlab.DmSGD(0.2, 0.5), steps=2, **CLASS)
    problem, rng = worst.instance, np.random.default_rng(1)
    x = rng.standard_normal((4, problem.dim))
    y = rng.standard_normal((4, problem.dim))
    dx, dg = x - y, problem.gradient(x) - problem.gradient(y)
    least = np.sum(dg**2 / 2 + 0.2 * dx**2 - 2 * 0.2 / 2 * dg * dx, axis=1) / (2 * (1 - 0.1))
    lower = problem.loss(y) + np.sum(problem.gradient(y) * dx, axis=1) + least
    assert (problem.loss(x) >= lower - 1e-9).all()
    step = 1e-5 * rng.standard_normal(x.shape)
    slopes = (problem.loss(x + step) - problem.loss(x - step)) / 2
    np.testing.assert_allclose(slopes, np.sum(problem.gradient(x) * step, axis=1), rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("mu", [0.0, 0.1])
@pytest.mark.parametrize("measure", ["mse", "objective"])
def test_one_machine_is_what_pepit_says(measure: str, mu: float) -> None:
    pepit = pytest.importorskip("PEPit", reason="an oracle of the tests: pip install PEPit")
    functions = pytest.importorskip("PEPit.functions")
    steps = 4

    def gradient_descent(f: Any, x: Any) -> Any:
        for _ in range(steps):
            x = x - 0.9 * f.gradient(x)
        return x

    def heavy_ball(f: Any, x: Any) -> Any:
        before = x
        for _ in range(steps):
            x, before = x - 0.4 * f.gradient(x) + 0.5 * (x - before), x
        return x

    def nesterov(f: Any, x: Any) -> Any:
        m = 0.0 * x
        for _ in range(steps):
            g = f.gradient(x)
            m = 0.5 * m + g
            x = x - 0.4 * (g + 0.5 * m)
        return x

    one = simlab.topologies.complete(1)
    for method, algorithm in (
        (gradient_descent, simlab.DSGD(0.9)),
        (heavy_ball, simlab.PmSGD(0.4, 0.5)),
        (nesterov, simlab.DmSGD(0.4, 0.5, nesterov=True)),
    ):
        problem = pepit.PEP()
        if mu:
            f = problem.declare_function(functions.SmoothStronglyConvexFunction, mu=mu, L=1.0)
        else:
            f = problem.declare_function(functions.SmoothConvexFunction, L=1.0)
        star = f.stationary_point()
        start = problem.set_initial_point()
        problem.set_initial_condition((start - star) ** 2 <= 1)
        end = method(f, start)
        problem.set_performance_metric(f(end) - f(star) if measure == "objective" else (end - star) ** 2)
        known = problem.solve(verbose=0)
        worst = theory.worst_case(one, algorithm, steps=steps, smoothness=1.0, strong_convexity=mu, measure=measure)
        assert worst.value == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize("lr", [0.3, 1.0, 1.7])
def test_closed_forms_of_gradient_descent(lr: float) -> None:
    """Drori and Teboulle's, of convex functions; contraction, of strongly convex ones."""
    steps, one = 3, simlab.topologies.complete(1)
    worst = theory.worst_case(one, simlab.DSGD(lr), steps=steps, smoothness=1.0, measure="objective")
    assert worst.value == pytest.approx(max(1 / (2 * steps * lr + 1), (1 - lr) ** (2 * steps)) / 2, rel=1e-5)
    strong = theory.worst_case(one, simlab.DSGD(lr), steps=steps, smoothness=1.0, strong_convexity=0.2)
    assert strong.value == pytest.approx(max(abs(1 - lr), abs(1 - 0.2 * lr)) ** (2 * steps), rel=1e-5)


@pytest.mark.parametrize("quadratic", [False, True])
def test_closed_forms_of_dsgd_on_two_nodes(quadratic: bool) -> None:
    """One step from x⁰: x_i = x⁰ − γ Σ_j w_ij ∇f_j(x⁰).

    The consensus error is γ² λ² (1/n)‖half the difference of two gradients‖²; they differ by 2b at x*, and by
    (L − μ) R further away at x⁰ at most. The mean contracts by 1 − γμ as gradient descent does.
    """
    lam, lr, b, radius = 0.4, 0.3, 0.7, 1.3
    network = simlab.Network.from_matrix(np.array([[1 + lam, 1 - lam], [1 - lam, 1 + lam]]) / 2)
    options = {"smoothness": 1.0, "strong_convexity": 0.25, "heterogeneity": b, "radius": radius}
    found = theory.worst_case(network, simlab.DSGD(lr), steps=1, measure="consensus", quadratic=quadratic, **options)
    assert found.value == pytest.approx((lr * lam * (b + 0.75 * radius / 2)) ** 2, rel=1e-6)
    mse = theory.worst_case(network, simlab.DSGD(lr), steps=1, quadratic=quadratic, **options)
    # Rows are A_i x⁰ − γ λ g_i with averages A = 1 − γ h̄ and differences γ λ(h_1 − h_2)/2.
    grid = np.linspace(0.25, 1.0, 151)
    h, k = np.meshgrid(grid, grid)
    even, odd = 1 - lr * (h + k) / 2, lr * lam * (abs(h - k) / 2 * radius + b)
    assert mse.value >= np.max((even * radius) ** 2 + odd**2) - 1e-9


@pytest.mark.parametrize("tries", [50, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", [simlab.DSGD(0.3), simlab.DmSGD(0.2, 0.5), simlab.DecentLaM(0.2, 0.5)])
def test_never_below_what_a_search_finds(algorithm: Any, tries: int) -> None:
    """Random quadratics of the class, and the worst x⁰ and x* among those that are tried."""
    steps, net, rng = 3, NETWORKS["kite"], np.random.default_rng(2)
    worst = theory.worst_case(
        net, algorithm, steps=steps, smoothness=1.0, strong_convexity=0.1, heterogeneity=0.5, quadratic=True
    )
    largest = 0.0
    for _ in range(tries):
        axes = np.linalg.qr(rng.standard_normal((4, 2, 2)))[0]
        curvature = (axes * rng.choice([0.1, 1.0], (4, 1, 2))) @ axes.swapaxes(1, 2)
        stars = rng.standard_normal((4, 2))
        stars -= stars.mean(axis=0)
        stars *= 0.5 / math.sqrt(np.mean(np.sum(stars**2, axis=1)))
        problem = simlab.Quadratic(curvature, -stars)
        x0 = rng.standard_normal(2)
        mse, _ = expected_errors(problem, net, algorithm, steps, x0=x0 / np.linalg.norm(x0))
        largest = max(largest, mse)
    assert 0.5 * worst.value < largest <= worst.value * (1 + 1e-6)


def test_symmetry_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"steps": 2, **CLASS}
    with_it = theory.worst_case(NETWORKS["star"], simlab.DmSGD(0.2, 0.5), **options).value
    monkeypatch.setattr("theory.worst.program.automorphisms", lambda weights: [])
    without = theory.worst_case(NETWORKS["star"], simlab.DmSGD(0.2, 0.5), **options).value
    assert with_it == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize(
    ("graph", "orbits"),
    [
        (nx.cycle_graph(6), 4),
        (nx.complete_graph(5), 2),
        (nx.star_graph(4), 5),
        (nx.path_graph(3), 5),
        (nx.hypercube_graph(3), 4),
        (nx.gnp_random_graph(6, 0.5, seed=3), None),
        (nx.cycle_graph(5, nx.DiGraph), None),
    ],
    ids=["ring", "complete", "star", "path", "cube", "random", "directed"],
)
def test_automorphisms_and_blocks(graph: nx.Graph, orbits: int | None) -> None:
    """All permutations that leave W alone are generated; blocks hold a number for each orbit of pairs, and rebuild."""
    w, rng = nx.to_numpy_array(graph), np.random.default_rng(0)
    n = len(w)
    group = [p for p in map(list, itertools.permutations(range(n))) if n < 8 and np.array_equal(w[np.ix_(p, p)], w)]
    generators = automorphisms((w,))
    closed = {tuple(range(n))}
    new = list(closed)
    while new:
        new = [made for p in new for g in generators if (made := tuple(g[list(p)])) not in closed]
        closed |= set(new)
    assert n == 8 or closed == set(map(tuple, group))
    assert n != 8 or len(closed) == 48
    matrix = rng.standard_normal((n, n))
    invariant = np.mean([matrix[np.ix_(p, p)] for p in map(list, closed)], axis=0)
    found = blocks(generators, n)
    again = sum(u @ (c[0].T @ invariant @ c[0]) @ u.T for c in found.classes for u in c)
    np.testing.assert_allclose(again, invariant, atol=1e-9)
    if orbits is not None:
        assert sum(c.shape[2] ** 2 for c in found.classes) == orbits


def test_what_a_step_needs_is_kept() -> None:
    """The tracker's gradient at its last point is not felt."""
    path = trajectory(NETWORKS["ring"], simlab.GradientTracking(0.1), 3)
    assert len(path.points) == 3


@pytest.mark.parametrize(
    ("network", "algorithm", "options", "message"),
    [
        ("ring", simlab.DSGD(0.1), {"heterogeneity": None}, "pass heterogeneity = b"),
        ("ring", simlab.ChocoSGD(0.1, 0.5, simlab.compression.TopK(2)), {}, "uncompressed form"),
        ("ring", simlab.DSGD(0.1), {"strong_convexity": 2.0}, "strong_convexity"),
        ("ring", simlab.DSGD(0.1), {"measure": "error"}, "measure"),
        ("ring", simlab.DSGD(-0.1), {}, "lr"),
        ("ring", simlab.DSGD(0.1), {"steps": math.inf, "strong_convexity": 0.0}, "limits may be anywhere"),
        ("ring", simlab.EXTRA(0.1), {"steps": math.inf}, "is exact"),
        ("ring", simlab.DSGD(0.1), {"steps": math.inf, "heterogeneity": 0.0}, "x\\* alone"),
        ("pull", simlab.DSGD(0.1), {"steps": math.inf}, "not symmetric"),
    ],
)
def test_refusals(network: str, algorithm: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theory.worst_case(NETWORKS[network], algorithm, **{"steps": 2, **CLASS, **options})


def test_a_random_network_is_refused() -> None:
    network = simlab.dynamics.link_failures(simlab.topologies.ring(4), 0.2)
    with pytest.raises(ValueError, match="not over chances"):
        theory.worst_case(network, simlab.DSGD(0.1), steps=2, **CLASS)


def test_an_error_that_cannot_be_is_zero_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    """Exact averages leave no disagreement."""
    found = theory.worst_case(
        simlab.topologies.complete(3), simlab.PmSGD(0.5, 0.5), steps=3, smoothness=1.0, heterogeneity=0.1,
        measure="consensus",
    )  # fmt: skip
    assert abs(found.value) < 1e-9 and not recwarn.list


def test_a_limit_needs_a_constant_step_size() -> None:
    with pytest.raises(TypeError, match=r"lr = .* is a schedule; a limit needs a constant lr"):
        theory.worst_case(NETWORKS["ring"], simlab.DSGD(lambda k: 0.1), steps=math.inf, **CLASS)
