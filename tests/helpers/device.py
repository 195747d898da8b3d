"""What stands in for a GPU where there is none: the way to it, on the arrays of another library."""

from __future__ import annotations

import contextlib
import sys
import types

import array_api_strict
import numpy as np
import pytest

import simlab
from simlab.engine import gpu


class Device(contextlib.nullcontext):
    """The part of CuPy that `simulate` needs beside arrays, on a machine without a GPU."""

    ndarray = generic = type("ndarray", (), {})

    def __init__(self) -> None:
        super().__init__()
        self.cuda = self
        self.synchronized = 0

    def get_current_stream(self) -> Device:
        return self

    def synchronize(self) -> None:
        self.synchronized += 1


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Device:
    """From now on ``engine="cupy"`` does all that it does, but on array-api-strict's arrays."""
    device = Device()
    monkeypatch.setitem(sys.modules, "cupy", device)
    monkeypatch.setattr(gpu, "cupy_namespace", lambda: array_api_strict)
    monkeypatch.setattr(gpu, "new_stream", lambda: contextlib.nullcontext())
    return device


def check_model(
    monkeypatch: pytest.MonkeyPatch,
    model: simlab.ModelProblem,
    batch_size: int | None,
    precision: str,
    tolerance: float,
) -> None:
    """A model runs on the arrays of another library, slices and broadcast ones among them, as on NumPy's."""
    stand_in(monkeypatch)
    options = {"steps": 20, "record_every": 5, "batch_size": batch_size, "replicates": 2, "dtype": precision}
    network, algorithm = simlab.topologies.ring(model.n_nodes), simlab.DmSGD(0.1, 0.9)
    there, here = (
        simlab.simulate(model, network, algorithm, engine=engine, x0=model.initial(), **options)
        for engine in ("cupy", "numpy")
    )
    np.testing.assert_allclose(there.x, here.x, rtol=0, atol=tolerance)
    x = np.random.default_rng(2).standard_normal((4, model.dim)).astype(precision)
    moved = array_api_strict.asarray(x)
    found = model.convert(array_api_strict, moved.dtype).global_loss_and_gradient(moved[1::2, :])
    for one, two in zip(found, model.global_loss_and_gradient(x[1::2]), strict=True):
        assert isinstance(one, type(moved))
        np.testing.assert_allclose(np.from_dlpack(one), two, rtol=0, atol=10 * tolerance)


def check_refusal(monkeypatch: pytest.MonkeyPatch, model: simlab.ModelProblem) -> None:
    """A model whose framework sees no GPU is not moved there."""
    monkeypatch.setattr(model._model, "sees_gpu", lambda: False)
    with pytest.raises(
        RuntimeError, match=rf"engine = 'cupy' needs {model.framework} built for the GPU, .* or use eng"
    ):
        model.convert(types.SimpleNamespace(__name__="array_api_compat.cupy"))
