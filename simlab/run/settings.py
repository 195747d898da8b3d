"""What `simulate` accepts: its arguments, checked; each error names the argument, its value and the remedy."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from simlab import checks
from simlab.cluster import Cluster
from simlab.problems.base import Problem
from simlab.protocols import Algorithm
from simlab.schedules import check_fields, ranges, values
from simlab.step.graph import numeric_fields
from simlab.targets import Target

ENGINES = ("compiled", "numpy", "cupy")
LARGEST = {"float64": 1e100, "float32": 1e18}  # beyond it a state counts as diverged; its square is still finite


Recorder = Callable[[np.ndarray], Any]  #: of node states (..., n, d), returns (...)


class Settings(NamedTuple):
    """The checked arguments of `simulate` that are not nouns."""

    steps: int
    batch_size: int | None
    noise_std: float
    replicates: int
    seed: int
    record_every: int
    engine: str
    dtype: np.dtype
    record: Mapping[str, Recorder]
    cluster: Cluster | None
    stop_when: Target | None = None


def check_nouns(problem: Any, network: Any, algorithms: Sequence[Any]) -> None:
    """Raise unless problem, network and algorithms are what they should be and fit each other."""
    from simlab.network import Network, NetworkProcess
    from simlab.problems import Problem

    if not isinstance(problem, Problem):
        raise TypeError(f"problem is a {type(problem).__name__}; pass a simlab.Problem such as simlab.LeastSquares")
    if not isinstance(network, Network | NetworkProcess):
        raise TypeError(
            f"network is a {type(network).__name__}; pass a simlab.Network, e.g. Network.from_graph(graph) "
            "or simlab.topologies.ring(n), or one that changes, e.g. simlab.dynamics.every(network, 10)"
        )
    if isinstance(network, Network) and not network.mixes:
        raise ValueError(
            f"network = {network!r} does not mix by itself; make it a member of one that changes, such as "
            "simlab.dynamics.cycle([network, other]), or pass a connected one"
        )
    if problem.n_nodes != network.n_nodes:
        raise ValueError(
            f"problem has n_nodes = {problem.n_nodes} and network has n_nodes = {network.n_nodes}; they must be equal: "
            "build the network with the problem's number of nodes, or partition the data over the network's"
        )
    if not algorithms:
        raise ValueError("algorithm = [] holds no algorithm; pass one, or a list of at least one")
    for a in algorithms:
        if not (hasattr(a, "_fields") and hasattr(a, "init") and hasattr(a, "step")):
            known = "an algorithm such as simlab.DecentLaM(lr=0.01), a NamedTuple with init and step, or a list of them"
            raise TypeError(f"algorithm = {a!r} is not an algorithm; pass {known}")
        if isinstance(a, type):
            raise TypeError(f"algorithm = {a.__name__} is a class; pass an instance, e.g. {a.__name__}(lr=0.01)")
        check_fields(a, numeric_fields(a))
        check_fit(a, network)
        if hasattr(a, "check"):
            a.check(problem, network)


# What an algorithm may say by `needs`: which networks have it, in words, and what else to pass.
NEEDS: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "symmetric": (
        lambda network: network.is_symmetric and network.stochastic == "double",
        "a symmetric W whose rows sum to 1",
        "an undirected network, such as simlab.topologies.ring(n)",
    ),
    "double": (
        lambda network: network.stochastic == "double",
        "a W whose rows and columns sum to 1",
        "an undirected network or a regular one, such as simlab.topologies.directed_ring(n)",
    ),
    "row": (
        lambda network: network.stochastic in ("row", "double"),
        "a W whose rows sum to 1",
        "a network built with weights='pull'",
    ),
    "column": (
        lambda network: network.stochastic in ("column", "double"),
        "a W whose columns sum to 1",
        "a network built with weights='push'",
    ),
}
FITTING = {"row": "DSGD", "column": "SGP, SubgradientPush or PushDIGing"}  # by what sums to 1


def check_fit(algorithm: Any, network: Any) -> None:
    """ValueError, with what would fit, unless the algorithm works on such a network.

    An algorithm says what it needs by class attributes: `needs` ("symmetric" unless said, "double", "row" or
    "column"), ``static = True`` if the network may not change, ``asynchronous = True`` if it asks who fires.
    """
    from simlab.network import NetworkProcess

    kind, needs = type(algorithm).__name__, getattr(algorithm, "needs", "symmetric")
    fits, what, remedy = NEEDS[checks.one_of(f"{kind}.needs", needs, NEEDS)]
    if not fits(network):
        other = f"{FITTING[network.stochastic]} on this one" if network.stochastic in FITTING else "DSGD on this one"
        has = "is not symmetric" if network.stochastic == "double" else f"has {network.stochastic}s alone that sum to 1"
        said = hasattr(algorithm, "needs") or type(algorithm).__module__.startswith("simlab.")
        own = "" if said else f", or say in {kind} by needs = ... what it works on"
        raise ValueError(f"network = {network!r} {has}, and {kind} needs {what}; pass {remedy}, or run {other}{own}")
    if getattr(algorithm, "static", False) and isinstance(network, NetworkProcess):
        raise ValueError(
            f"network = {network!r} changes, and {kind} needs one that does not, for neighbours keep replicas of each "
            "other that every message has to reach; pass a simlab.Network, or run DSGD on this one"
        )
    if getattr(network, "asynchronous", False) and not getattr(algorithm, "asynchronous", False):
        raise ValueError(
            f"network = {network!r} is asynchronous, where nodes exchange that do not compute, and {kind} does not "
            "tell them apart; run ADPSGD on it, or pass simlab.dynamics.pairwise(...) or another synchronous network"
        )


def hyperparameters(algorithm: Algorithm, steps: int) -> np.ndarray:
    """The numeric hyperparameters at every step, (steps, H), checked."""
    names, kind = numeric_fields(algorithm), type(algorithm).__name__
    given = {name: attrgetter(name)(algorithm) for name in names}
    limits = {name: _limits(algorithm, name) for name in names}
    if not any(map(callable, given.values())):
        constants = [checks.real(f"{kind}.{name}", value, **limits[name]) for name, value in given.items()]
        return np.broadcast_to(np.array(constants, dtype=float), (steps, len(names)))
    table = np.empty((steps, len(names)))
    for column, name in enumerate(names):
        value = given[name]
        label = f"{kind}.{name}"
        if not callable(value):
            checks.real(label, value, **limits[name])
        try:
            table[:, column] = values(value, np.arange(steps))
        except (TypeError, ValueError, NotImplementedError) as error:
            # NumPy's own kinds of TypeError take other arguments than a message.
            raise (ValueError if isinstance(error, ValueError) else TypeError)(
                f"{label} = {value!r} is no schedule: {error}; given an array of steps, return a number for each"
            ) from None
        if callable(value) and steps:
            for k in (table[:, column].argmin(), table[:, column].argmax()):
                try:
                    checks.real(label, float(table[k, column]), **limits[name])
                except ValueError as error:
                    raise ValueError(f"{error}: this is {value!r} at step {k} of {steps}") from None
    return table


def _limits(algorithm: Algorithm, name: str) -> dict[str, float | None]:
    """The range of a hyperparameter, possibly of an algorithm within."""
    owner, _, field = name.rpartition(".")
    declared = ranges(type(attrgetter(owner)(algorithm) if owner else algorithm))
    return declared[field]._asdict() if field in declared else {}


def check_batch_size(problem: Problem, batch_size: Any) -> int | None:
    """`batch_size` as an int, None for the full batch."""
    if batch_size is None:
        return None
    checks.integer("batch_size", batch_size, minimum=1)
    n_samples = getattr(problem, "n_samples", None)
    if n_samples is None:
        raise ValueError(f"batch_size = {batch_size}: {problem!r} has no samples; use batch_size=None and noise_std")
    largest = int(np.max(n_samples))  # draws are with replacement, so that a node may have fewer
    if batch_size > largest:
        raise ValueError(
            f"batch_size = {batch_size} exceeds the {largest} samples a node has; choose at most {largest}, "
            "or batch_size=None for the full batch"
        )
    return int(batch_size)


def check_record(record: Any) -> Mapping[str, Recorder]:
    """`record` as a mapping of names of columns to functions, empty for None."""
    if record is None:
        return {}
    if not isinstance(record, Mapping):
        raise TypeError(
            f"record = {record!r} is not a mapping; pass names and functions of the node states, such as "
            "{'worst': simlab.worst_node_error(problem)}"
        )
    for name, function in record.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"record has the key {name!r}, which is no name of a column; pass a text")
        if not callable(function):
            raise TypeError(
                f"record[{name!r}] = {function!r} is not a function; pass one of node states (..., n, d) that returns "
                "an array (...)"
            )
    return dict(record)


def check_cluster(cluster: Any) -> Cluster | None:
    """`cluster`; TypeError unless it is a Cluster or None."""
    if cluster is not None and not isinstance(cluster, Cluster):
        raise TypeError(f"cluster = {cluster!r} is no cluster; pass simlab.Cluster(compute=..., latency=...) or None")
    return cluster


def dtype_name(dtype: Any) -> str:
    """Name of a data type, however it is given; what is none, as it is."""
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def initial_state(problem: Problem, x0: Any, dtype: np.dtype) -> np.ndarray:
    """`x0` as an array (n, d); zeros for None."""
    shape = (problem.n_nodes, problem.dim)
    if x0 is None:
        return np.zeros(shape, dtype)
    start = checks.array("x0", x0)
    if start.shape not in (shape, shape[1:]):
        raise ValueError(f"x0 has shape {start.shape}; pass (n, d) = {shape}, or (d,) = {shape[1:]} for equal starts")
    largest, limit = float(np.abs(start).max(initial=0.0)), LARGEST[dtype.name]
    if largest > limit:
        raise ValueError(
            f"x0 has an entry of size {largest:.3g}, and states of {dtype.name} count as diverged beyond {limit:g}; "
            "start nearer to 0" + (", or use dtype='float64'" if dtype == np.float32 else "")
        )
    return np.broadcast_to(start, shape).astype(dtype)


def same(a: Any, b: Any) -> bool:
    """Whether two values of a hyperparameter are the same thing; tuples of different types never are."""
    if type(a) is not type(b):
        # Numbers are compared as numbers, of whatever type.
        return isinstance(a, numbers.Real) and isinstance(b, numbers.Real) and bool(a == b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else a is b or bool(a == b)


def _shown(value: Any) -> str:
    """A hyperparameter as it is written: numbers as Python's, functions by their names."""
    if isinstance(value, np.generic):
        value = value.item()
    return getattr(value, "__name__", None) or str(value)


def label_each(algorithms: Sequence[Any]) -> list[str]:
    """Class names; where a name recurs, with the hyperparameters or at last the numbers that tell them apart."""
    labels: list[str] = []
    for a in algorithms:
        kin = [b for b in algorithms if type(b).__name__ == type(a).__name__ and b is not a]
        differing = [f for f in a._fields if not all(same(getattr(b, f, None), getattr(a, f)) for b in kin)]
        settings = ", ".join(f"{f}={_shown(getattr(a, f))}" for f in differing)
        labels.append(type(a).__name__ + (f"({settings})" if settings else ""))
    return [
        label if labels.count(label) == 1 else f"{label} #{labels[:k].count(label) + 1}"
        for k, label in enumerate(labels)
    ]
