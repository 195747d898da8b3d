"""theory.stability_limit and stable_intervals against closed forms, divergence and all roots of a polynomial."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import simlab
import theory
from simlab.operations import Batch
from tests.helpers.matrices import BIASED, EXACT, matrices
from theory import stability
from theory.moments.affine import AffineStep

NETWORK = simlab.topologies.ring(4, lazy=True)


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(0)
    return simlab.LeastSquares(random.standard_normal((4, 8, 3)), random.standard_normal((4, 8)), l2=0.1)


def errors(problem, algorithm, steps):
    """mse of the noiseless run at steps 0, 1, ..., by the step itself."""
    state = algorithm.init(np.zeros((problem.n_nodes, problem.dim)))
    result = []
    for _ in range(steps + 1):
        result.append(np.sum((state.x - problem.minimizer) ** 2) / problem.n_nodes)
        if result[-1] < 1e30:  # then it stays as it is
            state = algorithm.step(state, problem, NETWORK, Batch())
    return np.array(result)


@settings(max_examples=15)
@given(momentum=st.floats(0.0, 0.95), top=st.floats(0.1, 20.0))
def test_stability_limit_of_heavy_ball_is_two_times_one_plus_momentum_over_smoothness(momentum, top):
    problem = simlab.Quadratic([[0.05 * top, top]] * 4, [[1.0, 2.0]] * 4)
    limit = theory.stability_limit(problem, NETWORK, simlab.PmSGD(1.0, momentum))
    assert limit == pytest.approx(2 * (1 + momentum) / top, rel=1e-9)


@pytest.mark.parametrize("mixed", [True, False])
def test_stability_limit_of_equal_hessians_is_that_of_every_mode(mixed):
    """|βm| < 1 and |λ(1 − γh) + β| < 1 + βm, m = λ (DmSGD) or 1 (DecentLaM): the first γ to break one."""
    h, beta = 3.0, 0.6
    problem = simlab.Quadratic([[h]] * 4, [[1.0]] * 4)
    algorithm = (simlab.DmSGD if mixed else simlab.DecentLaM)(1.0, beta)
    limits = []
    for eigenvalue in NETWORK.eigenvalues:
        m = eigenvalue if mixed else 1.0
        if eigenvalue > 1e-12:
            limits.append((1 + (1 + beta + beta * m) / eigenvalue) / h)
    assert theory.stability_limit(problem, NETWORK, algorithm) == pytest.approx(min(limits), rel=1e-9)


@pytest.mark.parametrize("algorithm", [
    simlab.DSGD(1.0), simlab.DSGD(1.0, "cta"), simlab.DmSGD(1.0, 0.8), simlab.DecentLaM(1.0, 0.8),
    simlab.QGDmSGD(1.0, 0.8), simlab.DADmSGD(1.0, 0.8), simlab.AWCDmSGD(1.0, 0.8), simlab.D2(1.0),
    simlab.D2DmSGD(1.0, 0.8),
], ids=lambda m: type(m).__name__ + getattr(m, "order", ""))  # fmt: skip
def test_runs_diverge_above_the_stability_limit_and_not_below(problem, algorithm):
    limit = theory.stability_limit(problem, NETWORK, algorithm)
    below, above = (errors(problem, algorithm._replace(lr=factor * limit), 4000) for factor in (0.97, 1.03))
    assert below[3500:].max() <= 2 * below.max()
    assert below[3500:].max() < 1e6
    assert above[3500:].max() > 1e6 * above[0]


def test_no_step_size_may_be_stable():
    problem = simlab.Quadratic([[1.0, -1.0]] * 4, [[1.0, 0.0]] * 4)
    with pytest.raises(ValueError, match="unbounded below"):
        theory.predict(problem, NETWORK, simlab.DSGD(0.1))
    assert theory.stability_limit(problem, NETWORK, simlab.DSGD(0.1)) == 0.0


def all_intervals(base, slope):
    """Where A + γB is stable, 1e-5 < γ < 1e5, from the roots of det(T ⊗ T − I) on symmetric matrices."""
    size = len(base)
    i, j = np.triu_indices(size)
    symmetric = np.zeros((size, size, len(i)))
    symmetric[i, j, np.arange(len(i))] = symmetric[j, i, np.arange(len(i))] = np.where(i == j, 1.0, np.sqrt(0.5))
    symmetric = symmetric.reshape(size**2, -1)

    def square(left, right):
        return symmetric.T @ (np.kron(left, right) + np.kron(right, left)) @ symmetric / 2

    origin = -0.6123
    here, m = base + origin * slope, len(i)
    rows = np.linalg.solve(np.eye(m) - square(here, here), np.hstack([2 * square(here, slope), square(slope, slope)]))
    with np.errstate(all="ignore"):
        roots = origin + 1 / np.linalg.eigvals(np.vstack([rows, np.eye(m, 2 * m)])).astype(complex)
    roots = roots[np.isfinite(roots)]
    crossings = np.sort(
        roots.real[(np.abs(roots.imag) <= 1e-4 * np.abs(roots)) & (roots.real > 1e-5) & (roots.real < 1e5)]
    )
    points = np.concatenate([[1e-5], crossings, [1e5]])
    stable = [np.max(np.abs(np.linalg.eigvals(base + lr * slope))) < 1 for lr in np.sqrt(points[1:] * points[:-1])]
    ends = [0.0] * int(stable[0]) + [points[k] for k in range(1, len(stable)) if stable[k] != stable[k - 1]]
    return np.array(ends + [np.inf] * (len(ends) % 2))


def check_intervals(seed):
    random = np.random.default_rng(seed)
    name = str(random.choice([*BIASED, *EXACT, *["DecentLaM"] * 6]))
    n, d = int(random.integers(3, 7)), int(random.integers(1, 3))
    if n > 4 and name not in ("DSGD", "DecentLaM"):
        d = 1
    momentum = float(random.choice([0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.99]))
    features = random.standard_normal((n, d, d + int(random.integers(3))))
    if name == "DecentLaM" and random.random() < 0.7:  # several intervals are frequent here
        momentum, features = float(random.choice([0.8, 0.9, 0.95])), features[:, :, :d]
    hessians = (
        features @ features.swapaxes(1, 2) * np.exp(random.choice([0.3, 0.3, 2.0]) * random.standard_normal((n, 1, 1)))
    )
    if random.random() < 0.2:
        hessians = np.tile(hessians[:1], (n, 1, 1))
    if random.random() < 0.6:
        lazy = name == "D2" or bool(random.integers(2))
        network = (simlab.topologies.ring, simlab.topologies.complete)[int(random.integers(2))](n, lazy=lazy)
    else:
        network = simlab.topologies.erdos_renyi(n, 0.6, seed=int(random.integers(1000)), lazy=name == "D2")
    problem = simlab.Quadratic(hessians, random.standard_normal((n, d)))
    algorithm = getattr(simlab, name)
    algorithm = algorithm(1.0, momentum) if "momentum" in algorithm._fields else algorithm(1.0)
    found = theory.stable_intervals(problem, network, algorithm)
    base, slope, _, conserved = matrices(name, network.mix(np.eye(n)), hessians, momentum)
    unit, kept = 1 / problem.smoothness, np.eye(len(base)) - conserved @ conserved.T
    wanted = unit * all_intervals(base @ kept, unit * slope @ kept)
    assert len(wanted) == 2 * len(found), (name, momentum, wanted, found)
    np.testing.assert_allclose(np.ravel(found), wanted, rtol=1e-7, err_msg=name)
    assert theory.stability_limit(problem, network, algorithm) == (found[0][1] if found and found[0][0] == 0 else 0)
    return len(found)


def test_no_interval_of_stable_step_sizes_is_missed():
    assert max(check_intervals(seed) for seed in (*range(12), 119)) > 1  # 119: x is forgotten at lr = 1/L


@pytest.mark.slow
def test_no_interval_of_stable_step_sizes_is_missed_in_a_thousand_settings():
    assert sum(check_intervals(seed) > 1 for seed in range(1000)) >= 30


def test_the_limit_is_the_end_of_the_first_interval():
    """DecentLaM may be stable again beyond step sizes at which it diverges."""
    problem, network = simlab.LeastSquares.synthetic(6, 20, 3, seed=0), simlab.topologies.ring(6)
    algorithm = simlab.DecentLaM(0.1)
    intervals = theory.stable_intervals(problem, network, algorithm)

    def rate(lr):
        return theory.predict(problem, network, algorithm._replace(lr=lr)).rate

    assert rate(0.67) == pytest.approx(1.0023, abs=1e-4)
    assert rate(1.0) == pytest.approx(0.9929, abs=1e-4)
    assert theory.stability_limit(problem, network, algorithm) == intervals[0][1] == pytest.approx(0.66507, abs=1e-5)
    assert intervals[1] == pytest.approx((0.98305, 1.13274), abs=1e-5)
    for low, high in intervals:
        for end, inwards in ((low, 1), (high, -1)):
            if end > 0:
                assert rate(end * (1 + 1e-6 * inwards)) < 1 < rate(end * (1 - 1e-6 * inwards))


def test_modes_and_certificates_agree():
    """Equal Hessians: polynomials for each mode, and the walk along γ for the whole matrix."""
    hessian = np.array([[2.0, 0.3], [0.3, 0.5]])
    problem, network = simlab.Quadratic([hessian] * 5, np.ones((5, 2))), simlab.topologies.ring(5)
    algorithm = simlab.QGDmSGD(1.0, 0.8)
    found = theory.stable_intervals(problem, network, algorithm)
    base, slope, *_ = matrices("QGDmSGD", network.mix(np.eye(5)), problem.hessians, 0.8)
    walked = list(stability._of_matrix(stability.Pencil(base, slope)))
    np.testing.assert_allclose(found, walked, rtol=1e-9)


class Squared(simlab.DSGD):
    """Its step size is lr²: not affine in lr."""

    def step(self, state, problem, network, batch):
        return simlab.DSGD(self.lr**2).step(state, problem, network, batch)


def test_steps_that_are_not_affine_in_lr_take_a_grid(problem):
    limit = theory.stability_limit(problem, NETWORK, simlab.DSGD(1.0))
    assert theory.stability_limit(problem, NETWORK, Squared(1.0)) == pytest.approx(limit**0.5, rel=1e-9)


def test_a_step_may_be_zero():
    """DSGD at γ = 1/h forgets its state at once."""
    problem = simlab.Quadratic([[2.0]] * 4, [[1.0]] * 4)
    network = simlab.topologies.complete(4)
    assert AffineStep(stability.surrogate_of(problem), network, simlab.DSGD(0.5), np.zeros((4, 1))).size == 4
    assert theory.predict(problem, network, simlab.DSGD(0.5)).rate == pytest.approx(0, abs=1e-12)


def test_step_sizes_need_curvature():
    flat = simlab.Quadratic(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"problem = Quadratic\(.* has Hessians of zero.*pass one with curvature"):
        theory.stability_limit(flat, NETWORK, simlab.DSGD(0.1))


def test_a_search_keeps_to_its_budget(monkeypatch):
    """Half the proofs that the walk takes: it goes on without, says from where, and finds the wide intervals still."""
    problem, network = simlab.LeastSquares.synthetic(4, 50, 3, seed=0), simlab.topologies.ring(4)
    whole = theory.stable_intervals(problem, network, simlab.DecentLaM(0.1))
    spent = []

    def proof(*arguments, counted=stability._proof):
        spent.append(1)
        return counted(*arguments)

    monkeypatch.setattr(stability, "_proof", proof)
    theory.stable_intervals(problem, network, simlab.DecentLaM(0.1))
    enough = len(spent)
    states = 4 * 3 * 2
    walk = np.log(100 / 1e-3) / stability.COARSE * stability.RATE
    monkeypatch.setattr(stability, "SEARCH", states**3 * (walk + (enough / 2 + stability.FARTHEST) * stability.PROOF))
    with pytest.warns(
        UserWarning, match=r"proved up to .*/L; above, such as are narrower than [1-5](\.\d)? % may be missed"
    ):
        found = theory.stable_intervals(problem, network, simlab.DecentLaM(0.1))
    assert len(spent) - enough <= 0.75 * enough
    wide = [pair for pair in whole if pair[1] > 1.06 * pair[0]]
    assert np.allclose([pair for pair in found if pair[1] > 1.06 * pair[0]], wide, rtol=1e-9)


def test_what_would_take_hours_is_refused_at_once(monkeypatch):
    problem, network = simlab.LeastSquares.synthetic(4, 50, 3, seed=0), simlab.topologies.ring(4)
    monkeypatch.setattr(stability, "SEARCH", 1e6)
    monkeypatch.setattr(stability, "_hopeless", None)
    for search in (theory.stable_intervals, theory.stability_limit):
        with pytest.raises(ValueError, match=r"cost: finding the stable step sizes of 24 states .* multiplications"):
            search(problem, network, simlab.DecentLaM(0.1))


def test_proofs_leave_a_second_thread_alone(monkeypatch):
    """Their matrices are small, and many: with two threads of BLAS they took 30 times as long on two busy cores."""
    seen = set()
    reach = stability._reach

    def watched(*arguments):
        seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return reach(*arguments)

    monkeypatch.setattr(stability, "_reach", watched)
    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=9, dim=8, heterogeneity=1.0, seed=0)
    with threadpool_limits(2, user_api="blas"):
        theory.stability_limit(problem, NETWORK, simlab.DmSGD(0.1, 0.9))
    assert seen == {1}
