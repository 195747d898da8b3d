"""Layer-wise and adaptive methods, decay and clipping, against plain loops over nodes and blocks."""

import itertools

import numpy as np
import pytest

import simlab
from simlab import LAMB, LARS, Clipped, DAdam, DecentLaM, DmSGD, LayerwiseDecentLaM, QGAdam, WeightDecay
from simlab.operations import block_norms, norm
from tests.helpers.interpreted import ENGINES, simulate

N, D, STEPS = 4, 5, 6
BLOCKS = (2, 1, 2)
PROBLEM = simlab.LeastSquares.synthetic(N, 12, D, seed=0)
NETWORK = simlab.topologies.ring(N)
W = NETWORK.weights if isinstance(NETWORK.weights, np.ndarray) else NETWORK.weights.toarray()
X0 = np.random.default_rng(1).standard_normal(D)


def parts():
    ends = np.cumsum((0, *BLOCKS))
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def gradients(x):
    return np.array([PROBLEM.hessians[i] @ x[i] - PROBLEM.linear[i] for i in range(N)])


def lars(form):
    x, m = np.tile(X0, (N, 1)), np.zeros((N, D))
    for _ in range(STEPS):
        g = np.tile(gradients(x).mean(axis=0), (N, 1))
        for i in range(N):
            for b in parts():
                r = 0.3 * np.linalg.norm(x[i, b]) / (np.linalg.norm(g[i, b]) + 0.05 * np.linalg.norm(x[i, b]))
                if form == "clip":
                    r = min(r / 0.1, 1)
                step = r * (g[i, b] + 0.05 * x[i, b])
                m[i, b] = 0.8 * m[i, b] + (0.1 * step if form == "lars" else step)
        x = x - (m if form == "lars" else 0.1 * m)
    return x


def adam(x, m, v, g, k, weight=None):
    m = 0.8 * m + (0.2 if weight is None else weight) * g
    v = 0.9 * v + 0.1 * g**2
    return m, v, m / (1 - 0.8**k), v / (1 - 0.9**k)


def lamb():
    x, m, v = np.tile(X0, (N, 1)), np.zeros((N, D)), np.zeros((N, D))
    for k in range(1, STEPS + 1):
        m, v, a, b = adam(x, m, v, np.tile(gradients(x).mean(axis=0), (N, 1)), k)
        u = a / (np.sqrt(b) + 1e-3) + 0.05 * x
        for i in range(N):
            for part in parts():
                scale = min(np.linalg.norm(x[i, part]), 10) / np.linalg.norm(u[i, part])
                u[i, part] *= scale
        x = x - 0.1 * u
    return x


def dadam():
    x, m, v = np.tile(X0, (N, 1)), np.zeros((N, D)), np.zeros((N, D))
    for k in range(1, STEPS + 1):
        m, v, a, b = adam(x, m, v, gradients(x), k)
        x = W @ (x - 0.1 * a / (np.sqrt(b) + 1e-3))
    return x


def qg_adam():
    x, m, v = np.tile(X0, (N, 1)), np.zeros((N, D)), np.zeros((N, D))
    for k in range(1, STEPS + 1):
        _, _, a, b = adam(x, m, v, gradients(x), k, weight=1.0)
        new = W @ (x - 0.1 * a / (np.sqrt(b) + 1e-3))
        d = (x - new) / (np.linalg.norm(x - new, axis=1, keepdims=True) + 1e-8)
        x, m, v = new, 0.8 * m + 0.2 * d, 0.9 * v + 0.1 * d**2
    return x


def layerwise():
    x, m = np.tile(X0, (N, 1)), np.zeros((N, D))
    for _ in range(STEPS):
        g, lr = gradients(x), np.empty(D)
        for b in parts():
            s, t = (np.sqrt(np.mean([np.sum(a[i, b] ** 2) for i in range(N)])) for a in (x, g))
            lr[b] = 0.1 * 0.7 * s / (s + t)
        m = 0.8 * m + (x - W @ (x - lr * g)) / lr
        x = x - lr * m
    return x


ADAM = {"momentum": 0.8, "second": 0.9, "epsilon": 1e-3}
CASES = {
    **{form: (LARS(0.1, 0.8, 0.3, 0.05, BLOCKS, form), lars(form)) for form in ("lars", "larc", "clip")},
    "LAMB": (LAMB(0.1, **ADAM, weight_decay=0.05, blocks=BLOCKS), lamb()),
    "DAdam": (DAdam(0.1, **ADAM), dadam()),
    "QGAdam": (QGAdam(0.1, **ADAM), qg_adam()),
    "LayerwiseDecentLaM": (LayerwiseDecentLaM(0.1, 0.8, 0.7, BLOCKS), layerwise()),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_steps_are_those_of_plain_loops(name, engine):
    algorithm, expected = CASES[name]
    run = simulate(PROBLEM, NETWORK, algorithm, steps=STEPS, x0=X0, engine=engine)
    np.testing.assert_allclose(run.x[0], expected, rtol=0, atol=1e-12)


def test_runs_side_by_side_have_blocks_of_their_own():
    algorithm, options = CASES["LayerwiseDecentLaM"][0], {"steps": STEPS, "x0": X0, "replicates": 17, "noise_std": 0.2}
    runs = [simlab.simulate(PROBLEM, NETWORK, algorithm, engine=e, **options).x for e in ("compiled", "numpy")]
    np.testing.assert_allclose(*runs, rtol=0, atol=1e-13)


def test_norms_of_blocks():
    x = np.random.default_rng(0).standard_normal((2, 3, D))
    found = block_norms(x, BLOCKS)
    for b in parts():
        np.testing.assert_allclose(found[..., b], np.linalg.norm(x[..., b], axis=-1, keepdims=True) + 0 * x[..., b])
    np.testing.assert_array_equal(block_norms(x, ()), norm(x))


def test_a_block_at_zero_moves():
    x0 = np.concatenate([np.zeros(2), X0[2:]])
    for algorithm in (LARS(0.1, blocks=BLOCKS), LAMB(0.1, blocks=BLOCKS), LayerwiseDecentLaM(0.1, blocks=BLOCKS)):
        run = simlab.simulate(PROBLEM, NETWORK, algorithm, steps=1, x0=x0, engine="numpy")
        assert np.all(run.x[0][:, :2] != 0)


@pytest.mark.parametrize("kind", [LARS, LAMB, LayerwiseDecentLaM])
def test_blocks_of_another_problem_are_refused(kind):
    with pytest.raises(
        ValueError, match=r"blocks = \(2, 2\) are 4 entries, and the problem has dim = 5; pass problem.block"
    ):
        simlab.simulate(PROBLEM, NETWORK, kind(0.1, blocks=(2, 2)), steps=1)


def test_blocks_of_problems():
    assert PROBLEM.blocks == {"x": slice(0, D)} and PROBLEM.block_sizes == (D,)
    model = simlab.NeuralNetwork([4], np.ones((2, 3, 5)), np.array([[0, 1, 2], [0, 1, 2]]))
    assert model.block_sizes == (20, 4, 12, 3) and list(model.blocks)[:2] == ["weights 0", "biases 0"]
    assert sum(model.block_sizes) == model.dim


@pytest.mark.parametrize("base", [DmSGD(0.1, 0.8), DecentLaM(0.1, 0.8), simlab.GradientTracking(0.1)])
def test_coupled_decay_is_a_ridge(base):
    ridge = simlab.LeastSquares(PROBLEM.features, PROBLEM.targets, l2=0.3)
    one = simlab.simulate(PROBLEM, NETWORK, WeightDecay(base, 0.3), steps=20, batch_size=3, engine="numpy")
    other = simlab.simulate(ridge, NETWORK, base, steps=20, batch_size=3, engine="numpy")
    np.testing.assert_allclose(one.x, other.x, rtol=0, atol=1e-13)


def test_decoupled_decay_is_beside_the_step():
    x0 = np.random.default_rng(2).standard_normal((N, D))
    base = DAdam(0.1)
    plain = simlab.simulate(PROBLEM, NETWORK, base, steps=1, x0=x0, engine="numpy").x[0]
    found = simlab.simulate(PROBLEM, NETWORK, WeightDecay(base, 0.3, "decoupled"), steps=1, x0=x0, engine="numpy").x[0]
    np.testing.assert_allclose(found, plain - 0.03 * x0, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="has no step size lr; take kind='coupled'"):
        simlab.simulate(PROBLEM, NETWORK, WeightDecay(simlab.DADMM(0.3), 0.1, "decoupled"), steps=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_long_gradients_are_shortened_and_short_ones_left(engine):
    x0 = 2 * np.random.default_rng(2).standard_normal((N, D))
    g = gradients(x0)
    lengths = np.linalg.norm(g, axis=1, keepdims=True)
    threshold = float(np.median(lengths))
    expected = W @ (x0 - 0.1 * np.where(lengths > threshold, threshold / lengths, 1.0) * g)
    run = simulate(PROBLEM, NETWORK, Clipped(simlab.DSGD(0.1), threshold), steps=1, x0=x0, engine=engine)
    np.testing.assert_allclose(run.x[0], expected, rtol=0, atol=1e-14)


def test_wrappers_go_around_one_another():
    algorithm = Clipped(WeightDecay(DmSGD(0.05, 0.8), 0.1), 0.5)
    runs = [simulate(PROBLEM, NETWORK, algorithm, steps=5, engine=e).x for e in ENGINES]
    np.testing.assert_allclose(*runs, rtol=0, atol=1e-14)


def test_rates_of_each_node_bias_the_limit_and_common_ones_do_not():
    # A quadratic whose nodes disagree: Adam's error stays when the step size falls tenfold, that of common layer-wise
    # rates falls about as much squared.
    random = np.random.default_rng(3)
    problem = simlab.Quadratic(random.uniform(0.5, 2, (N, D)), 2 * random.standard_normal((N, D)) + 1)
    start = problem.minimizer + 0.1

    def error(algorithm, steps):
        run = simlab.simulate(problem, NETWORK, algorithm, steps=steps, x0=start, record_every=steps)
        return float(np.sum((run.x[0].mean(axis=0) - problem.minimizer) ** 2))

    adam = [error(DAdam(lr, second=0.9), round(60 / lr)) for lr in (0.02, 0.002)]
    common = [error(LayerwiseDecentLaM(lr, 0.5, blocks=BLOCKS), round(60 / lr)) for lr in (0.1, 0.01)]
    assert adam[1] > 0.5 * adam[0] > 1e-3
    assert common[1] < 0.05 * common[0]
