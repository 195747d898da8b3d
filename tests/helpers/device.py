"""What stands in for a GPU where there is none: the way to it, on the arrays of another library."""

from __future__ import annotations

import contextlib
import sys

import array_api_strict
import pytest

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
