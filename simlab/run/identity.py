"""What the numbers of a call depend on, as one hash: data, weights, the method and its code, settings, precision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

import simlab
from simlab.network import Network, NetworkProcess
from simlab.run.code import code
from simlab.run.provenance import fingerprint
from simlab.schedules import values
from simlab.step.graph import is_algorithm, numeric_fields


class Identities:
    """Hashes of calls that share objects, each of which is looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Any], tuple[Any, str]] = {}  # by id, with the object, so that the id stays its own

    def of(self, arguments: Mapping[str, Any]) -> str:
        """Hash of the arguments of a call of `simlab.simulate`.

        Parameters
        ----------
        arguments : mapping
            All by their names, but for those that change no number; `algorithm` is a list.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        about = {
            "simlab": simlab.__version__,
            **{name: self._plain(value) for name, value in arguments.items() if name not in ("algorithm", "record")},
            "algorithm": self._once(
                arguments["algorithm"], arguments["steps"], partial(self._algorithms, arguments["steps"])
            ),
            "record": {name: code(function) for name, function in (arguments["record"] or {}).items()},
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    def noun(self, value: Any) -> str:
        """Hash of a problem, a network, a cluster, arrays: of their code and data."""
        return self._once(value, None, _content)

    def _plain(self, value: Any) -> Any:
        """A number or text as it is, anything else by its content."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        return value.item() if isinstance(value, np.generic) else self.noun(value)

    def _algorithms(self, steps: int, algorithms: Sequence[Any]) -> str:
        return fingerprint(json.dumps([self._algorithm(each, steps) for each in algorithms]))

    def _algorithm(self, algorithm: Any, steps: int) -> list[Any]:
        """A method by what it does and its hyperparameters: schedules by their values at all steps."""
        numeric = numeric_fields(algorithm)
        found: list[Any] = [code(type(algorithm))]
        for name in numeric:
            value = attrgetter(name)(algorithm)
            table = lambda schedule: fingerprint(values(schedule, np.arange(steps)))  # noqa: E731
            found.append(self._once(value, steps, table) if callable(value) else float(value))
        for name, value in zip(algorithm._fields, algorithm, strict=True):
            if name not in numeric:
                found.append(self._algorithm(value, steps) if is_algorithm(value) else self._plain(value))
        return found

    def _once(self, value: Any, further: Any, function: Callable[[Any], str]) -> str:
        key = id(value), further
        if key not in self._known:
            self._known[key] = value, function(value)
        return self._known[key][1]


def _content(value: Any) -> str:
    if isinstance(value, Network):
        data: Any = value.weights
    elif isinstance(value, NetworkProcess) or hasattr(value, "given"):
        data = value.given
    elif hasattr(value, "__dict__"):
        data = vars(value)
    else:
        data = value
    return f"{code(type(value))} {fingerprint(data)}"
