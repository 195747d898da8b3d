"""simlab.data: what is loaded, and that partitions lose, duplicate and misplace nothing."""

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st

import simlab
from simlab.data import load, partition, signals

SCHEMES = ("iid", "sorted", "shards", "dirichlet")


def quiet_partition(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return partition(*args, **kwargs)


@st.composite
def labelled(draw):
    """Samples that name themselves: features[k] = (k, -k)."""
    n_total = draw(st.integers(1, 120))
    targets = draw(st.lists(st.integers(0, 4), min_size=n_total, max_size=n_total))
    index = np.arange(n_total)
    return np.stack([index, -index], axis=1).astype(float), np.array(targets)


@given(labelled(), st.integers(1, 10), st.sampled_from(SCHEMES), st.integers(0, 99), st.integers(1, 3))
def test_every_sample_is_at_one_node_or_named_as_dropped(data, n_nodes, scheme, seed, shards):
    features, targets = data
    options = {"shards_per_node": shards} if scheme == "shards" else {}
    n_parts = n_nodes * options.get("shards_per_node", 1)
    if len(targets) < n_parts:
        with pytest.raises(ValueError, match=f"n_nodes = {n_nodes} .* at least {n_parts} samples"):
            partition(features, targets, n_nodes, scheme, seed, **options)
        return
    n_dropped = len(targets) % n_parts
    said = (
        pytest.warns(UserWarning, match=f"dropped {n_dropped} of {len(targets)} ")
        if n_dropped
        else contextlib.nullcontext()
    )
    with said:
        result = partition(features, targets, n_nodes, scheme, seed, **options)

    n_samples = len(targets) // n_parts * n_parts // n_nodes
    assert result.features.shape == (n_nodes, n_samples, 2)
    assert result.targets.shape == (n_nodes, n_samples)
    placed = result.features[..., 0].astype(int)
    np.testing.assert_array_equal(np.sort(np.concatenate([placed.ravel(), result.dropped])), np.arange(len(targets)))
    np.testing.assert_array_equal(result.indices, placed)
    np.testing.assert_array_equal(result.features[..., 1], -placed)
    np.testing.assert_array_equal(result.targets, targets[placed])
    assert len(result.dropped) == n_dropped
    assert np.all(np.diff(result.dropped) > 0)


@given(labelled(), st.integers(1, 8), st.sampled_from(SCHEMES), st.integers(0, 99))
def test_the_seed_decides_everything(data, n_nodes, scheme, seed):
    features, targets = data
    if len(targets) < 2 * n_nodes:
        return
    first, second = (quiet_partition(features, targets, n_nodes, scheme, seed) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_seed_gives_another_partition(scheme):
    features, targets = np.zeros((120, 1)), np.arange(120) % 5
    partitions = [partition(features, targets, 4, scheme, seed).indices for seed in range(5)]
    assert len({p.tobytes() for p in partitions}) == 5


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=80), st.integers(1, 4))
def test_sorted_nodes_hold_successive_ranges_of_the_target(targets, n_nodes):
    result = quiet_partition(np.zeros((len(targets), 1)), targets, n_nodes, "sorted")
    assert np.all(np.diff(result.targets.ravel()) >= 0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_dropped_does_not_depend_on_the_target(scheme):
    # 9 samples over 8 nodes (1 over 4 nodes of 2 shards): one of 9 is dropped, each alike. Chi-square with 8 degrees of
    # freedom over 2,000 seeds; false alarm 1e-6 at 42.7.
    n_nodes = 4 if scheme == "shards" else 8
    dropped = [quiet_partition(np.zeros((9, 1)), np.arange(9), n_nodes, scheme, seed).dropped for seed in range(2000)]
    counts = np.bincount(np.concatenate(dropped), minlength=9)
    assert counts.sum() == 2000
    assert np.sum((counts - 2000 / 9) ** 2) / (2000 / 9) < 42.7


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 6), st.integers(0, 99))
def test_shards_are_runs_of_the_sorted_targets(n_nodes, shards_per_node, size, seed):
    n_total = n_nodes * shards_per_node * size
    targets = np.random.default_rng(seed).permutation(n_total).astype(float)
    result = partition(np.zeros((n_total, 1)), targets, n_nodes, "shards", seed, shards_per_node=shards_per_node)
    for node in result.targets:
        runs = np.sort(node).reshape(shards_per_node, size)
        np.testing.assert_array_equal(runs % size, np.tile(np.arange(size), (shards_per_node, 1)))


def test_two_shards_of_pure_classes_give_a_node_two_classes_at_most():
    targets = np.repeat(np.arange(10), 20)
    result = partition(np.zeros((200, 1)), targets, 10, "shards")
    assert max(len(set(node)) for node in result.targets.tolist()) == 2


def test_iid_nodes_share_the_classes_by_chance_alone():
    # The count of class 0 at node 0 is hypergeometric: 50 of 200 drawn, mean 25, variance 50/4 (150/199). Limits of 5
    # standard errors over 400 seeds: false alarm 6e-7.
    targets = np.repeat([0, 1], 100)
    counts = [np.sum(partition(np.zeros((200, 1)), targets, 4, "iid", s).targets[0] == 0) for s in range(400)]
    variance = 50 * 0.5 * 0.5 * (150 / 199)
    assert abs(np.mean(counts) - 25) < 5 * np.sqrt(variance / 400)
    assert abs(np.var(counts) / variance - 1) < 5 * np.sqrt(2 / 399)


def distance_from_iid(alpha, seed, n_nodes=10, n_classes=5, n_samples=100):
    """Mean total variation between a node's class proportions and the whole's."""
    targets = np.arange(n_nodes * n_samples) % n_classes
    result = partition(np.zeros((len(targets), 1)), targets, n_nodes, "dirichlet", seed, alpha=alpha)
    proportions = np.stack([np.bincount(node, minlength=n_classes) for node in result.targets]) / n_samples
    return np.abs(proportions - 1 / n_classes).sum(axis=1).mean() / 2


def test_dirichlet_approaches_iid_as_alpha_grows():
    distances = np.array([[distance_from_iid(alpha, seed) for seed in range(10)] for alpha in (0.01, 0.3, 3, 1e6)])
    means, errors = distances.mean(axis=1), distances.std(axis=1, ddof=1) / np.sqrt(10)
    assert np.all(means[:-1] - means[1:] > 5 * np.hypot(errors[:-1], errors[1:]))
    # In the limit draws are at most as variable as multinomial ones, with a mean distance of
    # 5/2 sqrt(2/pi 0.16/100) = 0.080 and a standard error below 0.003 over 100 nodes; limit 5 of them.
    assert means[-1] < 0.080 + 5 * 0.003


@given(st.integers(0, 999))
def test_dirichlet_nodes_take_one_class_each_as_alpha_vanishes(seed):
    # 5 nodes take 100 samples in 20 rounds: no class of 100 can run out in them. Seldom (1e-6) does a node mix classes.
    targets = np.arange(500) % 5
    result = partition(np.zeros((500, 1)), targets, 5, "dirichlet", seed, alpha=1e-9)
    assert np.all(result.targets[:, :20] == result.targets[:, :1])


def test_dirichlet_proportions_have_the_variance_of_their_distribution():
    # Two classes of 40 cannot run out in the first 20 rounds of 2 nodes, so a node's count of one class in them is
    # beta-binomial(20, 3, 3) for alpha = 3: variance 20 (1/4) (6 + 20) / (6 + 1) = 18.57. Its kurtosis is below 3, so
    # a sample variance of 1,000 has a relative standard error below sqrt(2/1000). Limits of 5: false alarm 6e-7.
    targets = np.arange(80) % 2
    nodes = [
        partition(np.zeros((80, 1)), targets, 2, "dirichlet", seed, alpha=3).targets[0, :20] for seed in range(1000)
    ]
    counts = np.sum(nodes, axis=1)
    assert abs(counts.mean() - 10) < 5 * np.sqrt(18.57 / 1000)
    assert abs(counts.var() / 18.57 - 1) < 5 * np.sqrt(2 / 1000)


def test_dirichlet_mean_is_the_frequency_of_each_class():
    # A node's first sample is a one with probability 0.1, the mean of its beta distribution. Limit 5 standard errors.
    targets = np.array([0] * 18 + [1] * 2)
    first = [partition(np.zeros((20, 1)), targets, 1, "dirichlet", seed, alpha=1).targets[0, 0] for seed in range(2000)]
    assert abs(np.mean(first) - 0.1) < 5 * np.sqrt(0.09 / 2000)


def test_dirichlet_string_is_short_for_alpha():
    features, targets = np.zeros((60, 1)), np.arange(60) % 3
    short = partition(features, targets, 3, "dirichlet(0.1)", 7)
    np.testing.assert_array_equal(short.indices, partition(features, targets, 3, "dirichlet", 7, alpha=0.1).indices)
    assert not np.array_equal(short.indices, partition(features, targets, 3, "dirichlet", 7, alpha=10.0).indices)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scheme": "dirichlett"}, ValueError, "scheme = 'dirichlett' .*did you mean 'dirichlet'"),
        ({"scheme": 3}, TypeError, "scheme = 3 "),
        ({"scheme": "dirichlet(x)"}, ValueError, r"scheme = 'dirichlet\(x\)' holds no number"),
        ({"scheme": "dirichlet(0)"}, ValueError, "alpha = 0.0 must be greater than 0"),
        ({"scheme": "dirichlet(1)", "alpha": 2.0}, ValueError, "alpha = 2.0 is given twice"),
        ({"scheme": "dirichlet", "alpha": -1.0}, ValueError, "alpha = -1.0 must be greater than 0"),
        ({"scheme": "dirichlet", "targets": [0.5] * 6}, ValueError, "targets holds 0.5, which is no class label"),
        ({"scheme": "iid", "alpha": 1.0}, ValueError, "alpha = 1.0 belongs to 'dirichlet', not to 'iid'"),
        ({"scheme": "iid", "shards_per_node": 2}, ValueError, "shards_per_node = 2 belongs to 'shards'"),
        ({"scheme": "shards", "shards_per_node": 0}, ValueError, "shards_per_node = 0 must be at least 1"),
        ({"n_nodes": 7}, ValueError, "n_nodes = 7 .*needs at least 7 samples, there are 6"),
        ({"n_nodes": 0}, ValueError, "n_nodes = 0 must be at least 1"),
        ({"n_nodes": 2.0}, TypeError, "n_nodes = 2.0 is not an integer"),
        ({"seed": -1}, ValueError, "seed = -1 must be at least 0"),
        ({"features": np.full((6, 2), np.nan)}, ValueError, "features holds 12 .*NaN"),
        ({"features": np.zeros(6)}, ValueError, "features has shape"),
        ({"targets": [0, 1]}, ValueError, r"targets has shape \(2,\), not \(6\)"),
        ({"targets": [["a"]] * 6}, TypeError, "targets is not an array of numbers: it holds 'a'"),
    ],
)
def test_partition_names_what_is_wrong(change, error, message):
    arguments = {"features": np.zeros((6, 2)), "targets": [0, 1, 0, 1, 0, 1], "n_nodes": 2} | change
    with pytest.raises(error, match=message):
        partition(**arguments)


@pytest.mark.parametrize(
    ("name", "shape", "constant"),
    [("diabetes", (442, 10), []), ("breast_cancer", (569, 30), []), ("digits", (1797, 64), [0, 32, 39])],
)
def test_bundled_features_are_standardized(name, shape, constant):
    data = load(name)
    assert data.name == name
    assert data.features.shape == shape
    assert data.targets.shape == shape[:1]
    np.testing.assert_allclose(data.features.mean(axis=0), 0, atol=1e-13)
    variance = np.ones(shape[1])
    variance[constant] = 0
    np.testing.assert_allclose(data.features.var(axis=0), variance, rtol=1e-12)
    assert ("columns " + ", ".join(map(str, constant)) in data.description) == bool(constant)


def test_targets_are_in_the_stated_units():
    diabetes, cancer, digits = (load(name).targets for name in ("diabetes", "breast_cancer", "digits"))
    assert abs(diabetes.mean()) < 1e-13
    assert abs(diabetes.var() - 1) < 1e-12
    assert np.unique(cancer).tolist() == [-1, 1]
    assert np.sum(cancer == 1) == 357  # benign, by the data set's own description
    assert np.unique(digits).tolist() == list(range(10))
    assert np.issubdtype(digits.dtype, np.integer)


def test_libsvm_file(tmp_path):
    from sklearn.datasets import dump_svmlight_file

    rng = np.random.default_rng(0)
    raw = np.round(rng.normal(3, 5, size=(12, 4)), 3)
    raw[:, 2] = 0.1  # 12 of them do not have a mean of 0.1 exactly
    targets = np.round(rng.normal(size=12), 3)
    path = tmp_path / "regression.svm"
    dump_svmlight_file(raw, targets, str(path))
    data = load(path)
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    expected[:, 2] = 0
    np.testing.assert_allclose(data.features, expected, rtol=1e-12, atol=1e-12)
    assert np.all(data.features[:, 2] == 0)
    np.testing.assert_allclose(data.targets, targets)
    assert data.name == str(path)
    assert "zero: columns 2;" in data.description


def test_two_valued_libsvm_targets_become_signs(tmp_path):
    path = tmp_path / "two.svm"
    path.write_text("2 1:1\n1 1:2\n2 1:4\n")
    assert load(str(path)).targets.tolist() == [1, -1, 1]


def test_a_test_file_is_taken_like_its_training_file(tmp_path):
    """Columns that it lacks, means, scales and classes are the training set's."""
    train, test = tmp_path / "train.svm", tmp_path / "test.svm"
    train.write_text("1 1:1 3:5 4:7\n2 1:2 4:7\n1 1:6 3:1 4:7\n")
    test.write_text("2 1:3\n2 1:-1 2:4\n")
    first = load(train, n_features=5)
    second = load(test, n_features=5, standardize=first)
    raw = np.array([[3, 0, 0, 0, 0], [-1, 4, 0, 0, 0]])
    columns = np.array([[1, 0, 5, 7, 0], [2, 0, 0, 7, 0], [6, 0, 1, 7, 0]])
    mean, scale = columns.mean(axis=0), columns.std(axis=0)
    expected = np.where(scale > 0, (raw - mean) / np.where(scale > 0, scale, 1), 0)
    np.testing.assert_allclose(second.features, expected, rtol=1e-14)
    assert second.targets.tolist() == [1, 1]
    assert first.targets.tolist() == [-1, 1, -1]
    np.testing.assert_array_equal(load(test, n_features=5, standardize=False).features, raw)
    np.testing.assert_array_equal(load(train, n_features=5, standardize=first).features, first.features)
    for options, error, message in [
        ({"n_features": 1}, ValueError, "n_features = 1 is less than the 2 of"),
        ({"n_features": 2.5}, TypeError, "n_features = 2.5 is not an integer"),
        ({"standardize": first}, ValueError, "standardize has 5 features and 2 are loaded"),
        ({"standardize": "yes"}, TypeError, "standardize = 'yes' is neither"),
        ({"n_feature": 2}, TypeError, "load takes no n_feature = 2; did you mean 'n_features'"),
    ]:
        with pytest.raises(error, match=message):
            load(test, **options)
    test.write_text("3 1:3\n")
    with pytest.raises(ValueError, match="has the target 3, but standardize has the classes 1 and 2"):
        load(test, n_features=5, standardize=first)
    with pytest.raises(ValueError, match="n_features = 5 belongs to files"):
        load("digits", n_features=5)


@pytest.mark.parametrize("scheme", ["iid", "sorted", "shards", "dirichlet"])
@pytest.mark.parametrize("kind", [list, np.array, lambda t: np.array(t, dtype=object)])
def test_labels_that_are_text_are_numbered_and_their_names_kept(scheme, kind):
    names = np.array(["dog", "cat", "eel"])[np.arange(12) % 3]
    parts = partition(np.eye(12), kind(names.tolist()), n_nodes=3, scheme=scheme)
    assert parts.classes.tolist() == ["cat", "dog", "eel"]
    np.testing.assert_array_equal(parts.classes[parts.targets], names[parts.indices])
    assert (
        partition(np.eye(12), np.arange(12.0), n_nodes=3, scheme=scheme if scheme != "dirichlet" else "iid").classes
        is None
    )


def test_two_labels_that_are_text_are_signs():
    parts = partition(np.eye(4), ["no", "yes", "no", "yes"], n_nodes=2)
    assert (parts.targets == np.where(parts.indices % 2, 1, -1)).all()
    assert parts.classes.tolist() == ["no", "yes"]


def test_load_names_what_is_wrong(tmp_path):
    (tmp_path / "mushrooms.svm").write_text("1 1:1\n")
    bad, nan, empty = tmp_path / "bad.svm", tmp_path / "nan.svm", tmp_path / "empty.svm"
    bad.write_text("one two three\n")
    nan.write_text("1 1:nan\n2 1:3\n")
    empty.write_text("")
    for name, error, message in [
        ("diabets", ValueError, "name = 'diabets' .*did you mean 'diabetes'"),
        (tmp_path / "mushroom.svm", ValueError, "neither .*did you mean '.*mushrooms.svm'"),
        (tmp_path, ValueError, "is a folder; pass the path of a libsvm file in it$"),
        (tmp_path / "no" / "such", ValueError, "neither a bundled data set nor a file"),
        (bad, ValueError, "bad.svm' is not a libsvm file"),
        (nan, ValueError, "features holds 1 .*NaN"),
        (empty, ValueError, "no samples"),
        (5, TypeError, "name = 5 is not text"),
    ]:
        with pytest.raises(error, match=message):
            load(name)


KEEPING = {
    "iid": {}, "sorted": {}, "shards": {"shards_per_node": 2}, "dirichlet": {"alpha": 0.1}, "lognormal": {"sigma": 2.0},
    "zipf": {"exponent": 1.5}, "classes": {"classes_per_node": 2}, "column": {"by": 0},
}  # fmt: skip


@given(st.integers(3, 6), st.integers(24, 90), st.integers(0, 99), st.sampled_from(sorted(KEEPING)))
def test_without_equal_amounts_every_sample_is_at_one_node(n_nodes, n_total, seed, scheme):
    random = np.random.default_rng(seed)
    features = np.stack([random.permutation(np.arange(n_total) % 7), np.arange(n_total)], axis=1).astype(float)
    targets = np.arange(n_total) % 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = partition(features, targets, n_nodes, scheme, seed, equal=False, **KEEPING[scheme])
    assert len(result.indices) == n_nodes and min(map(len, result.indices)) > 0 and not len(result.dropped)
    np.testing.assert_array_equal(np.sort(np.concatenate(result.indices)), np.arange(n_total))
    for a, b, mine in zip(*result[:3], strict=True):
        np.testing.assert_array_equal(a, features[mine])
        np.testing.assert_array_equal(b, targets[mine])
    sizes = np.array([len(mine) for mine in result.indices])
    if scheme in ("iid", "sorted"):
        assert np.ptp(sizes) <= 1
    if scheme == "classes":
        assert max(len(set(mine.tolist())) for mine in result.targets) == 2
    if scheme == "column":
        homes = [set(a[:, 0]) for a in result.features]
        assert sum(map(len, homes)) == 7
    again = partition(features, targets, n_nodes, scheme, seed, equal=False, **KEEPING[scheme])
    assert all(np.array_equal(x, y) for x, y in zip(result.indices, again.indices, strict=True))


def test_amounts_follow_their_laws():
    features, targets = np.zeros((100_000, 1)), np.zeros(100_000)
    zipf = [len(b) for b in partition(features, targets, 10, "zipf", equal=False, exponent=1.0).targets]
    weights = 1 / np.arange(1, 11)
    np.testing.assert_allclose(np.sort(zipf)[::-1], 1e5 * weights / weights.sum(), rtol=1e-2)
    lognormal = [len(b) for b in partition(features, targets, 2000, "lognormal", equal=False, sigma=0.5).targets]
    # The standard deviation of 2,000 normal numbers, within 5 of its standard errors; whole amounts blur it by 2%.
    assert abs(np.log(lognormal).std() / 0.5 - 1) < 5 / np.sqrt(4000) + 0.02


def test_a_class_is_at_about_as_many_nodes_as_any_other_and_shared_evenly():
    targets = np.repeat(np.arange(10), 60)
    result = partition(np.zeros((600, 1)), targets, 15, "classes", equal=False, classes_per_node=2)
    counts = np.array([np.bincount(b, minlength=10) for b in result.targets])
    assert ((counts > 0).sum(axis=0) == 3).all() and set(counts[counts > 0]) == {20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "zipf", "equal": True}, "scheme = 'zipf' gives the nodes unequal amounts; pass equal=False"),
        ({"scheme": "column"}, "by = None, and scheme = 'column' needs it"),
        ({"scheme": "column", "by": [1, 2]}, r"by has shape \(2,\), not \(6,\)"),
        ({"scheme": "column", "by": 5}, "by = 5 must be at most 1"),
        ({"scheme": "column", "by": [1] * 6}, "by takes 1 values, fewer than n_nodes = 2"),
        ({"scheme": "classes", "classes_per_node": 4}, "classes_per_node = 4 exceeds the 3 classes"),
        (
            {"scheme": "classes", "classes_per_node": 1},
            "classes_per_node = 1 leaves some of the 3 classes .*at least 2",
        ),
        ({"scheme": "iid", "sigma": 1.0}, "sigma = 1.0 belongs to 'lognormal', not to 'iid'"),
        ({"scheme": "iid", "n_nodes": 7}, "n_nodes = 7 .*needs at least 7 samples, there are 6"),
    ],
)
def test_impossible_unequal_partitions_are_refused(change, message):
    arguments = {"features": np.zeros((6, 2)), "targets": np.arange(6) % 3, "n_nodes": 2, "equal": False} | change
    with pytest.raises(ValueError, match=message):
        partition(**arguments)


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("wine", (178, 13), 3), ("iris", (150, 4), 3), ("linnerud", (20, 3), 0)]
)
def test_small_sets_are_loaded_standardized(name, shape, classes):
    found = load(name)
    assert found.features.shape == shape
    np.testing.assert_allclose(found.features.std(axis=0), 1)
    if classes:
        assert set(found.targets) == set(range(classes))
    else:
        np.testing.assert_allclose([found.targets.mean(), found.targets.std()], [0, 1], atol=1e-12)


def test_signals_are_hard_for_a_linear_model_and_not_for_a_network():
    found = signals(1500, n_classes=5, seed=3)
    assert np.ptp(np.bincount(found.targets)) == 0
    kept, held_out = slice(0, 1200), slice(1200, None)
    parts = partition(found.features[kept], found.targets[kept], 2)
    test = found.features[held_out], found.targets[held_out]
    accuracy = []
    for layers in ([], [48]):
        problem = simlab.NeuralNetwork(layers, parts.features, parts.targets, test=test)
        run = simlab.simulate(
            problem, simlab.topologies.complete(2), simlab.DmSGD(0.05, 0.9), steps=1500, batch_size=32,
            x0=problem.initial(0), record_every=1500,
        )  # fmt: skip
        accuracy.append(run.frame.accuracy.iloc[-1])
    assert accuracy[0] < 0.65 and accuracy[1] > accuracy[0] + 0.1
    again = signals(1500, n_classes=5, seed=3)
    np.testing.assert_array_equal(found.features, again.features)
