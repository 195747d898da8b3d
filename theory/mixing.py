"""Stub."""
from typing import Any, NamedTuple


class Window(NamedTuple):
    steps: int
    p: float


def mixing_parameter(network: Any) -> float:
    raise NotImplementedError


def mixing_window(network: Any) -> Window:
    raise NotImplementedError
