"""The studies of Malcom-PSGD: what they find is found again in little, and false numbers are caught."""

import numpy as np
import pandas as pd
import pytest

import simlab
from figures.claims import violated
from figures.digits import bits_to, digits
from figures.malcom_bits import messages
from figures.malcom_rate import averages
from tests.helpers import studies

# Fewer seeds and shorter runs than the published figures have; the claims are the same.
QUICK = {
    "malcom_convergence": {"steps": 400, "seeds": 2, "records": 20},
    "malcom_ablation": {"steps": 400, "seeds": 2, "records": 20},
    "malcom_bits": {"steps": 4, "seeds": 2, "shown": 2, "lengths": (10, 300, 10_000)},
    "malcom_rate": {"seeds": 2, "horizons": (250, 500, 1000)},
    "sparsity": {"steps": 400, "seeds": 2, "weights": (0.0, 1e-3)},
}


study = studies.runs(QUICK)


class TestWritten(studies.Written):
    pass


def test_claims(study):
    """Two seeds may leave an interval too wide to decide; they contradict no claim that the whole study supports."""
    _, _, claims = study
    assert not violated(claims)


def test_false_numbers_are_caught(study):
    name, folder, _ = study
    table = studies.read(name, folder)
    of_malcom = table[table.columns[0]].astype(str).str.contains("Malcom")
    if name == "malcom_convergence":
        table.loc[of_malcom, "bits"] *= 2
        caught = {"bits saved, ring", "bits saved, random"}
    elif name == "malcom_ablation":
        table.loc[table["algorithm"] == "l1 term", "bits"] *= 0.5
        caught = {"the l1 term's part"}
    elif name == "malcom_bits":
        table["stream"] *= 1.1
        caught = {f"{claim}, {dim} parameters" for claim in ("closed form", "entropy") for dim in (2410, 19210)}
    elif name == "malcom_rate":
        table["stationarity"] *= np.sqrt(table["horizon"])
        caught = {"exponent is below −1/4", "decaying step is below −1/4"}
    else:
        table.loc[of_malcom & (table["l1"] == 1e-3), "accuracy"] *= 0.5
        table.loc[of_malcom & (table["l1"] == 1e-3), "bits"] *= 2
        caught = {"accuracy kept", "fewer bits a message"}
    assert caught <= {c.name for c in violated(studies.claims_of(name, table))}


def test_bits_to_a_loss_are_interpolated():
    run = pd.DataFrame({"loss": [1.0, 0.1, 0.2, 0.01], "bits": [0, 100, 200, 300]})
    assert bits_to(run, 0.1) == pytest.approx(100)
    assert bits_to(run, 10**-0.25) == pytest.approx(25)
    assert bits_to(run, 1.0) == 0
    assert bits_to(run, 1e-3) == np.inf


def test_a_digit_at_each_node():
    """At least nine in ten images of a node show the same digit, and no image is both trained on and held out."""
    problem = digits(0)
    most = [np.bincount(labels).max() for labels in problem.labels]
    assert np.mean(most) / problem.n_samples > 0.9
    held_out = {image.tobytes() for image in problem.held_out[0]}
    assert len(held_out & {image.tobytes() for image in problem.features.reshape(-1, 64)}) == 0


def test_start_and_images_change_with_the_seed():
    first, second = digits(0), digits(1)
    assert not np.array_equal(first.features, second.features)
    [(step, levels)] = messages(digits(0, 4), [1], seed=0)
    assert step == 1 and levels.shape == (10, digits(0, 4).dim)


def test_averages_over_a_run():
    """Of records at every iteration, and of every third, each of which stands until the next."""
    values = np.random.default_rng(0).random(40)
    lr = simlab.schedules.InverseSqrt(2.0)
    for every in (1, 3):
        found = {t: values[t] for t in range(0, 40, every)}
        for horizon in (30, 31, 32):
            each = [values[t - t % every] for t in range(horizon)]
            weights = [2 / np.sqrt(t + 1) for t in range(horizon)]
            weighted, plain, last = averages(found, lr, horizon)
            assert weighted == pytest.approx(np.dot(weights, each) / np.sum(weights), rel=1e-12)
            assert plain == pytest.approx(np.mean(each), rel=1e-12)
            late = [t for t in found if 0.8 * horizon <= t < horizon]
            assert last == pytest.approx(np.mean(each[late[0] :]), rel=1e-12)
            assert averages(found, 0.1, horizon)[0] == pytest.approx(plain, rel=1e-12)
