"""Columns of the user's own."""

import numpy as np
import pytest

import simlab

PROBLEM = simlab.LeastSquares.synthetic(n_nodes=5, n_samples=10, dim=3, seed=2)
NETWORK = simlab.topologies.ring(5)


def run(algorithm=None, **options):
    options = {"steps": 7, "record_every": 3, "replicates": 2, "noise_std": 0.1, **options}
    return simlab.simulate(PROBLEM, NETWORK, algorithm or simlab.DSGD(0.1), **options)


@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_columns_of_ones_own(engine, tmp_path):
    seen = []

    def range_of_first(x):
        seen.append(x.shape)
        return np.ptp(x[..., 0], axis=-1)

    record = {"spread_0": range_of_first, "worst": simlab.worst_node_error(PROBLEM)}
    traces = run([simlab.DSGD(0.1), simlab.DmSGD(0.1, 0.5)], record=record, engine=engine)
    plain = run([simlab.DSGD(0.1), simlab.DmSGD(0.1, 0.5)], engine=engine)
    for trace, bare in zip(traces, plain, strict=True):
        assert trace.frame.drop(columns=["spread_0", "worst"]).equals(bare.frame)
        last = trace.frame.groupby("replicate").last()
        errors = np.sum((trace.x - PROBLEM.minimizer) ** 2, axis=-1)
        np.testing.assert_allclose(last.worst, errors.max(axis=-1), rtol=1e-13)
        np.testing.assert_allclose(last.spread_0, trace.x[..., 0].max(axis=-1) - trace.x[..., 0].min(axis=-1))
        assert list(trace.frame.step.unique()) == [0, 3, 6, 7]
        assert "ptp" in trace.provenance["record"]["spread_0"]["source"]
    assert all(shape[-2:] == (5, 3) for shape in seen)
    traces[0].save(tmp_path / "trace")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([len], r"record = .*is not a mapping.*worst_node_error"),
        ({1: len}, r"record has the key 1"),
        ({"a": 3}, r"record\['a'\] = 3 is not a function"),
        ({"mse": lambda x: x[..., 0, 0]}, r"'mse', which is a column already"),
        ({"a": lambda x: x.mean()}, r"record\['a'\] returned float64 of shape \(\).*\(2, 1\)"),
        ({"a": lambda x: x[..., 0, 0] * 1j}, r"complex128"),
    ],
)
def test_what_cannot_be_recorded(record, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(record=record)


def test_states_cannot_be_changed_by_what_records_them():
    def spoil(x):
        x[...] = 0.0
        return x[..., 0, 0]

    with pytest.raises(ValueError, match="read-only"):
        run(record={"a": spoil})
