"""Cells of a sweep: what calls of `simulate` it takes, and what their rows are told apart by."""

from __future__ import annotations

import inspect
import itertools
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.run.runs import same_step
from simlab.run.settings import hyperparameters, label_each
from simlab.schedules import check_fields
from simlab.simulation import simulate
from simlab.step.graph import numeric_fields

_PARAMETERS = inspect.signature(simulate).parameters
DEFAULTS = {
    name: parameter.default
    for name, parameter in _PARAMETERS.items()
    if name not in ("progress", "checkpoint", "every")
}
REQUIRED = tuple(name for name, default in DEFAULTS.items() if default is inspect.Parameter.empty)
WHOLE = ("record", "x0", "cluster")  # a list is one value of these
NOUNS = ("problem", "network")


class Cell(NamedTuple):
    """One call of `simulate`, whose result is one file.

    Attributes
    ----------
    arguments : dict
        Of the call, all by name; `algorithm` is a list of settings of one method.
    names : dict
        Columns of its rows: how its arguments are called, and labels.
    algorithms : tuple of str
        How its settings are called.
    """

    arguments: dict[str, Any]
    names: dict[str, Any]
    algorithms: tuple[str, ...]


def grid(**options: Any) -> list[Cell]:
    """Cells for every combination of arguments of `simlab.simulate`.

    Parameters
    ----------
    **options
        Of each argument one value, a list of them, or a dict of names and values; problem, network, algorithm and steps
        are needed. A list of algorithms is cut by method: settings of one method share a run, and so a cell. What is no
        argument of `simulate`, nor nearly one, is a label: a column, the same in all rows.

    Returns
    -------
    list of Cell
        For `simlab.sweep`; lists of several grids may be added.

    Raises
    ------
    TypeError, ValueError
        Arguments that are missing, misspelled, or empty.

    Examples
    --------
    >>> import simlab
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, seed=1)
    >>> networks = {"ring": simlab.topologies.ring(8), "grid": simlab.topologies.grid(8)}
    >>> algorithms = [simlab.DSGD(lr=0.01), simlab.DSGD(lr=0.02), simlab.DecentLaM(lr=0.01)]
    >>> len(simlab.grid(problem=problem, network=networks, algorithm=algorithms, steps=100, batch_size=[1, 10]))
    8
    """
    for name in REQUIRED:
        if name not in options:
            raise TypeError(f"grid misses {name}; it takes the arguments of simlab.simulate, each one value or several")
    labels = {name: value for name, value in options.items() if name not in DEFAULTS}
    for name, value in labels.items():
        near = checks.nearest(name, list(DEFAULTS), cutoff=0.7)
        if near and not any(name.startswith(f"{argument}_") for argument in DEFAULTS):
            raise TypeError(f"grid takes no {name} = {value!r}; {near}call a label what is less like an argument")
        if not (value is None or isinstance(value, (str, bool, numbers.Real))):
            raise TypeError(f"grid takes no {name} = {value!r}; {near}labels are texts or numbers")
    several = {name: _several(name, options[name]) for name in DEFAULTS if name in options and name != "algorithm"}
    algorithms = _settings(options["algorithm"])
    groups: list[list[tuple[str, Any]]] = []
    alone: list[list[tuple[str, Any]]] = []
    for name, algorithm in algorithms:
        alike = [group for group in groups if same_step(group[0][1], algorithm)]
        if not _is_sound(algorithm, [steps for _, steps in several["steps"]]):
            alone.append([(name, algorithm)])  # it will fail, and nothing else with it
        elif alike:
            alike[0].append((name, algorithm))
        else:
            groups.append([(name, algorithm)])
    methods = [
        ([algorithm for _, algorithm in group], tuple(called for called, _ in group)) for group in [*groups, *alone]
    ]
    found = []
    for chosen in itertools.product(*several.values()):
        arguments = {**DEFAULTS, **{name: value for name, (_, value) in zip(several, chosen, strict=True)}}
        named = zip(several, chosen, strict=True)
        names = {name: called for name, (called, _) in named if name not in WHOLE or isinstance(options[name], Mapping)}
        names.pop("record", None)
        for settings, called in methods:
            found.append(Cell({**arguments, "algorithm": settings}, {**labels, **names}, called))
    return found


def _several(name: str, value: Any) -> list[tuple[Any, Any]]:
    """The values of one argument, each with what it is called."""
    if name != "record" and isinstance(value, Mapping):
        values = list(value.items())
    elif name not in WHOLE and _is_list(value):
        values = [(_called(name, each), each) for each in value]
    else:
        values = [(_called(name, value), value)]
    if not values:
        raise ValueError(f"{name} = {value!r} holds no value; pass one at least")
    if name in NOUNS and len({called for called, _ in values}) < len(values):
        twice = next(called for called, _ in values if [c for c, _ in values].count(called) > 1)
        raise ValueError(
            f"{name} holds two of {twice}, which no column would tell apart; pass a dict of names, such as "
            f"{{'first': ..., 'second': ...}}"
        )
    return values


def _settings(value: Any) -> list[tuple[str, Any]]:
    values = list(value.items()) if isinstance(value, Mapping) else None
    if values is None:
        listed = list(value) if _is_list(value) else [value]
        for each in listed:
            if not hasattr(each, "_fields"):
                raise TypeError(f"algorithm holds {each!r}; pass algorithms such as simlab.DSGD(lr=0.01)")
        values = list(zip(label_each(listed), listed, strict=True))
    if not values:
        raise ValueError(f"algorithm = {value!r} holds no algorithm; pass one at least")
    return values


def _is_sound(algorithm: Any, steps: list[Any]) -> bool:
    """Whether its hyperparameters are in their ranges."""
    try:
        check_fields(algorithm, numeric_fields(algorithm))
        hyperparameters(algorithm, max(steps))
    except (TypeError, ValueError):
        return False
    return True


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) and not hasattr(value, "_fields")


def _called(name: str, value: Any) -> Any:
    if name == "network":
        return getattr(value, "name", repr(value))
    if name in NOUNS:
        return repr(value)
    return value.item() if isinstance(value, np.generic) else value
