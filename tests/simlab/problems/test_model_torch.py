"""ModelProblem, in PyTorch, against the built-in network."""

import numpy as np
import pytest

import simlab
from simlab.operations import Batch
from tests.helpers.device import check_model, check_refusal

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.extras

P, H, C = 5, 4, 3


def entropy(model, a, b):
    return torch.nn.functional.cross_entropy(model(a), b)


def accuracy(model, a, b):
    return (model(a).argmax(-1) == b).double().mean()


def pair(lengths, precision="float64"):
    random = np.random.default_rng(0)
    features = [random.standard_normal((m, P)) for m in lengths]
    labels = [np.arange(m) % C for m in lengths]
    test = random.standard_normal((7, P)), np.arange(7) % C
    options = {"l2": 0.1, "weighting": "samples", "test": test}
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(P, H), torch.nn.Tanh(), torch.nn.Linear(H, C))
    more = {"framework": "torch", "metrics": {"accuracy": accuracy}, "precision": precision}
    return (
        simlab.ModelProblem(entropy, module, features, labels, **options, **more),
        simlab.NeuralNetwork([H], features, labels, **options),
    )


@pytest.mark.parametrize("lengths", [[8, 8, 8], [9, 4, 1]])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
def test_values_are_those_of_the_built_in_network(lengths, precision, tolerance):
    model, built = pair(lengths, precision)
    random = np.random.default_rng(2)
    x = random.standard_normal((2, 3, built.dim))
    indices = np.stack([random.integers(0, m, (2, 6)) for m in lengths], axis=1)
    for values in (
        lambda p: p.loss(x),
        lambda p: p.gradient(x),
        lambda p: p.gradient(x, Batch(indices)),
        lambda p: p.global_gradient(x[0]),
        lambda p: p.global_loss_and_gradient(x)[0],
        lambda p: p.global_loss_and_gradient(x)[1],
        lambda p: p.scores(x[0])["test_loss"],
        lambda p: p.scores(x[0])["accuracy"],
    ):
        np.testing.assert_allclose(values(model), values(built), rtol=0, atol=10 * tolerance)


def test_runs_are_those_of_the_built_in_network():
    model, built = pair([9, 4, 1])
    options = {"steps": 5, "batch_size": 3, "replicates": 2, "engine": "numpy", "x0": model.initial()}
    runs = [simlab.simulate(p, simlab.topologies.ring(3), simlab.DmSGD(0.1, 0.9), **options) for p in (model, built)]
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=0, atol=1e-12)
    assert list(model.blocks) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"parameters is a dict; with framework='torch' pass a torch.nn.Module"):
        simlab.ModelProblem(entropy, {}, np.zeros((2, 3, 2)), np.zeros((2, 3)), framework="torch")


@pytest.mark.parametrize("lengths", [[8, 8, 8], [9, 4, 1]])
@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
def test_the_way_to_the_gpu(lengths, batch_size, precision, tolerance, monkeypatch):
    model, _ = pair(lengths, precision)
    check_model(monkeypatch, model, batch_size, precision, tolerance)


def test_a_framework_that_sees_no_gpu_is_named_with_the_remedy(monkeypatch):
    model, _ = pair([8, 8, 8])
    check_refusal(monkeypatch, model)


def test_frozen_parameters_stay_as_they_are():
    module = torch.nn.Linear(P, 1)
    module.bias.requires_grad_(False)

    def loss(model, a, b):
        return ((model(a)[:, 0] - b) ** 2).mean() / 2

    random = np.random.default_rng(0)
    features, targets = random.standard_normal((3, 8, P)), random.standard_normal((3, 8))
    problem = simlab.ModelProblem(loss, module, features, targets, framework="torch", precision="float64")
    assert list(problem.blocks) == ["weight"]
    shifted = simlab.LeastSquares(features, targets - module.bias.item())
    x = random.standard_normal((3, P))
    np.testing.assert_allclose(problem.gradient(x), shifted.gradient(x), rtol=0, atol=1e-12)
    module.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="none that requires a gradient"):
        simlab.ModelProblem(loss, module, features, targets, framework="torch")


def test_a_module_without_its_framework_is_named():
    with pytest.raises(TypeError, match="parameters is a Linear of torch, and framework = 'jax'; pass"):
        simlab.ModelProblem(entropy, torch.nn.Linear(2, 1), np.zeros((2, 3, 2)), np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["loss", "mse", "bits", "step", "test_loss"])
def test_a_metric_of_the_name_of_a_column_is_refused(name):
    module, features, targets = torch.nn.Linear(2, 2), np.zeros((2, 3, 2)), np.zeros((2, 3), int)
    with pytest.raises(ValueError, match=f"{name!r}, which is"):
        problem = simlab.ModelProblem(
            entropy, module, features, targets, "torch", metrics={name: accuracy}, test=(features[0], targets[0])
        )
        simlab.simulate(problem, simlab.topologies.path(2), simlab.DSGD(0.1), steps=1, engine="numpy")
