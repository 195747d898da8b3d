"""The study of batch sizes in JAX: it runs, its network is what it says, and false claims are caught."""

import numpy as np
import pytest

from figures import large_batch
from figures.claims import violated
from tests.figures.test_changing_figures import scaled
from tests.helpers import studies

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.extras

QUICK = {"large_batch": {"batches": (40, 160), "epochs": 8, "data_sets": 2}}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset({("large_batch", "factor"), ("large_batch", "loss")})


def test_what_is_no_matter_of_training_holds(study):
    _, _, claims = study
    verdicts = {c.name: c.verdict for c in claims}
    assert verdicts["one-peer networks forbid DecentLaM this momentum"] == verdicts["and only there"] == "holds"


def shifted(by, **only):
    """Accuracy moved up or down in the rows that have these values."""

    def change(table):
        rows = np.all([table[name] == value for name, value in only.items()], axis=0)
        table.loc[rows, "accuracy"] += by
        return table

    return change


FALSE = [
    (shifted(2.0, batch_size=1280), "large batches cost accuracy"),
    (shifted(-2.0, algorithm="DecentLaM"), "DecentLaM is ahead of the others"),
    (shifted(-2.0, algorithm="DecentLaM"), "DecentLaM is ahead of DmSGD"),
    (scaled("factor", 0.9, algorithm="DecentLaM"), "one-peer networks forbid DecentLaM this momentum"),
    (scaled("factor", 1.2, algorithm="DmSGD"), "and only there"),
    (shifted(2.0, algorithm="DecentLaM", network="one-peer"), "so that it is behind DmSGD there"),
]


def test_false_claims_are_caught(study):
    name, folder, claims = study
    for falsify, broken in FALSE:
        assert broken in {c.name for c in violated(studies.claims_of(name, falsify(studies.read(name, folder))))}, (
            broken
        )
    assert {c.name for c in claims} == {broken for _, broken in FALSE}


def test_the_network_is_two_convolutions():
    """Against JAX's own."""
    from jax.lax import conv_general_dilated

    parameters = large_batch.convolutional(0)
    images = np.random.default_rng(1).standard_normal((3, large_batch.LENGTH, 1)).astype(np.float32)
    hidden = images
    for name, kernel in zip(("first", "second"), large_batch.KERNELS, strict=True):
        weights = parameters[name]["weights"].reshape(kernel, hidden.shape[-1], -1)
        hidden = conv_general_dilated(
            hidden, weights, (large_batch.STRIDE,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )
        hidden = np.maximum(np.asarray(hidden) + parameters[name]["biases"], 0)
    last = parameters["last"]
    found = large_batch.logits(parameters, large_batch.windows(images, large_batch.KERNELS[0]))
    np.testing.assert_allclose(found, hidden.reshape(3, -1) @ last["weights"] + last["biases"], atol=2e-5)


def test_the_best_step_size_is_that_of_the_mean_over_data_sets(study):
    table = studies.read(study[0], study[1])
    chosen = large_batch.best(table)
    case = ["algorithm", "network", "batch_size"]
    assert len(chosen) == len(table) / len(large_batch.GRID)
    means = table.groupby([*case, "effective"])["accuracy"].mean().groupby(level=case).max()
    np.testing.assert_allclose(chosen.groupby(case)["accuracy"].mean(), means)
