"""Held-out data: what traces say of them, for the mean state and for the worst node, written out sample by sample."""

import math

import numpy as np
import pytest

import simlab

N, M, D, T = 4, 6, 3, 9
NETWORK = simlab.topologies.ring(N)


def problem(kind, **options):
    random = np.random.default_rng(0)
    features, held_out = random.standard_normal((N, M, D)), random.standard_normal((T, D))
    targets, unseen = random.standard_normal((N, M)), random.standard_normal(T)
    if kind == "least squares":
        return simlab.LeastSquares(features, targets, 0.1, test=(held_out, unseen), **options)
    build = simlab.LogisticRegression if kind == "logistic" else simlab.NonconvexLogistic
    return build(features, targets > 0, 0.1, test=(held_out, unseen > 0), **options)


def scores(problem, x):
    features, targets = problem.test
    predictions = [float(np.dot(a, x)) for a in features]
    pairs = list(zip(predictions, targets, strict=True))
    if isinstance(problem, simlab.LeastSquares):
        errors = sum((p - b) ** 2 for p, b in pairs)
        return errors / (2 * T), 1 - errors / sum((b - np.mean(targets)) ** 2 for b in targets)
    return sum(math.log(1 + math.exp(-b * p)) for p, b in pairs) / T, sum(p * b > 0 for p, b in pairs) / T


@pytest.mark.parametrize("kind", ["least squares", "logistic", "nonconvex"])
@pytest.mark.parametrize("engine", ["compiled", "numpy"])
def test_traces_hold_the_scores_of_the_mean_and_of_the_worst_node(kind, engine):
    it, quality = problem(kind), "r2" if kind == "least squares" else "accuracy"
    x0 = 2 * np.random.default_rng(1).standard_normal((N, D))
    trace = simlab.simulate(it, NETWORK, simlab.DSGD(0.1), steps=3, x0=x0, replicates=2, noise_std=0.1, engine=engine)
    for r in range(2):
        last = trace.frame[trace.frame.replicate == r].iloc[-1]
        loss, good = scores(it, trace.x[r].mean(axis=0))
        each = [scores(it, x) for x in trace.x[r]]
        np.testing.assert_allclose([last["test_loss"], last[quality]], [loss, good], rtol=1e-12)
        worst = max(loss for loss, _ in each), min(good for _, good in each)
        np.testing.assert_allclose([last["worst_test_loss"], last[f"worst_{quality}"]], worst, rtol=1e-12)


def test_of_a_network_the_worst_node_is_recorded_too():
    random = np.random.default_rng(0)
    test = random.standard_normal((T, D)), np.arange(T) % 3
    it = simlab.NeuralNetwork([4], random.standard_normal((N, M, D)), np.arange(N * M).reshape(N, M) % 3, test=test)
    x0 = random.standard_normal((N, it.dim))
    trace = simlab.simulate(it, NETWORK, simlab.DSGD(0.1), steps=2, x0=x0)
    last, right = trace.frame.iloc[-1], [np.mean(it.predict(x, test[0]) == test[1]) for x in trace.x[0]]
    assert last.worst_accuracy == min(right)
    alone = [simlab.NeuralNetwork([4], test[0][None], test[1][None]).loss(x[None])[0] for x in trace.x[0]]
    np.testing.assert_allclose(last.worst_test_loss, max(alone), rtol=1e-12)


def test_without_test_data_there_are_no_such_columns():
    it = simlab.LeastSquares.synthetic(N, M, D)
    assert not [c for c in simlab.simulate(it, NETWORK, simlab.DSGD(0.1), steps=1).frame if "test" in c or "r2" in c]


def test_a_target_may_be_a_score_and_test_data_change_no_step():
    it = problem("least squares")
    without = simlab.LeastSquares(it.features, it.targets, 0.1)
    runs = [simlab.simulate(p, NETWORK, simlab.DSGD(0.1), steps=9, batch_size=2) for p in (it, without)]
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    stopped = simlab.simulate(it, NETWORK, simlab.DSGD(0.1), steps=500, stop_when="worst_test_loss <= 100")
    assert stopped.frame.step.max() == 0


@pytest.mark.parametrize(
    ("test", "error", "message"),
    [
        (3, TypeError, r"test = 3 is not a pair; pass \(features, targets\)"),
        ((np.ones((T, D + 1)), np.ones(T)), ValueError, r"test features has shape \(9, 4\), not \(any, 3\)"),
        ((np.ones((T, D)), np.ones(T - 1)), ValueError, r"test targets has shape \(8,\), not \(9\)"),
        ((np.ones((0, D)), np.ones(0)), ValueError, r"test features has shape \(0, 3\); pass at least one"),
    ],
)
def test_wrong_test_data_are_refused(test, error, message):
    with pytest.raises(error, match=message):
        simlab.LeastSquares(np.ones((N, M, D)), np.ones((N, M)), test=test)


def test_wrong_test_labels_are_refused():
    with pytest.raises(ValueError, match="test labels holds the values 1, 2"):
        simlab.LogisticRegression(np.ones((N, M, D)), np.ones((N, M)), 0.1, test=(np.ones((2, D)), [1, 2]))
