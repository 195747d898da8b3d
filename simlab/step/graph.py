"""An algorithm's step, traced once into a graph of array expressions.

The compiled engine calls `step` on symbolic arrays; what the step did to them is the graph. Hyperparameters are
symbols too, so that one program serves every value and every schedule.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np

from simlab.protocols import Algorithm, Mixing, Objective
from simlab.schedules import whole_fields
from simlab.step.batch import Batch, Receivers
from simlab.step.operation import kind

SCALARS = ("hyper", "const", "steps")  # leaves that are numbers
LONGEST_PERIOD = 10_000  # phases that are traced
ARRAYS = ("input", "fires", "degrees", "received")  # leaves that are arrays
SENDS = ("mix", "differences")  # along the edges of a network
REPLICAS = ("mix_replicas", "differences_replicas", "sum_replicas")  # of what neighbours hold already
MIXES = (*SENDS, *REPLICAS)
AVERAGES = ("average", "average_replicas")


class ForeignNounError(TypeError):
    """A step hands an operation another problem, network or batch than it was given, where that cannot work."""


class Expression:
    """A symbolic scalar or (n, d) array: an operation, its arguments, and the object that does it, if any."""

    __array_ufunc__ = None  # NumPy scalars defer to the reflected operators below
    __slots__ = ("args", "by", "is_array", "narrow", "op")

    def __init__(self, op: str, args: tuple[Any, ...], by: Any = None, *, narrow: bool = False) -> None:
        self.op = op
        self.by = by
        self.args = args if kind(op) == "leaf" else tuple(lift(a) for a in args)
        self.is_array: bool = op in ARRAYS or (op not in SCALARS and any(a.is_array for a in self.args))
        arrays = [] if kind(op) == "leaf" else [a for a in self.args if a.is_array]
        self.narrow: bool = narrow or (bool(arrays) and all(a.narrow for a in arrays))

    def __add__(self, other: Any) -> Expression:
        return Expression("add", (self, other))

    def __radd__(self, other: Any) -> Expression:
        return Expression("add", (other, self))

    def __sub__(self, other: Any) -> Expression:
        return Expression("sub", (self, other))

    def __rsub__(self, other: Any) -> Expression:
        return Expression("sub", (other, self))

    def __mul__(self, other: Any) -> Expression:
        return Expression("mul", (self, other))

    def __rmul__(self, other: Any) -> Expression:
        return Expression("mul", (other, self))

    def __truediv__(self, other: Any) -> Expression:
        return Expression("div", (self, other))

    def __rtruediv__(self, other: Any) -> Expression:
        return Expression("div", (other, self))

    def __pow__(self, other: Any) -> Expression:
        return Expression("pow", (self, other))

    def __rpow__(self, other: Any) -> Expression:
        return Expression("pow", (other, self))

    def __neg__(self) -> Expression:
        return Expression("neg", (self,))

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return Expression("abs", (self,))

    def __lt__(self, other: Any) -> Expression:
        return Expression("lt", (self, other))

    def __le__(self, other: Any) -> Expression:
        return Expression("le", (self, other))

    def __gt__(self, other: Any) -> Expression:
        return Expression("gt", (self, other))

    def __ge__(self, other: Any) -> Expression:
        return Expression("ge", (self, other))

    def __eq__(self, other: Any) -> Expression:  # type: ignore[override]
        return Expression("eq", (self, other))

    def __ne__(self, other: Any) -> Expression:  # type: ignore[override]
        return Expression("ne", (self, other))

    def __and__(self, other: Any) -> Expression:
        return Expression("and", (self, other))

    __rand__ = __and__

    def __or__(self, other: Any) -> Expression:
        return Expression("or", (self, other))

    __ror__ = __or__

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a step cannot branch with `if` on array or hyperparameter values when it is compiled; "
            "use simlab.operations.where"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a step cannot hand its arrays to NumPy functions when it is compiled")

    __float__ = __int__ = __index__ = __array__

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a step cannot use .{name} of its arrays when it is compiled")


class Unseen:
    """What a step is given, while it is traced: only operations may use it, and they know it again.

    Parameters
    ----------
    noun : str
        What it stands for, for messages.
    width : int, default 0
        Of the dither: numbers in a message.
    """

    def __init__(self, noun: str, width: int = 0) -> None:
        self._noun, self._width = noun, width

    def __repr__(self) -> str:
        return f"the step's {self._noun}"

    def __getattr__(self, name: str) -> NoReturn:
        raise TypeError(f"a step cannot use {self._noun}.{name} when it is compiled")


class Noisy(Unseen):
    """The network that adds noise to what is received; it counts the exchanges.

    Parameters
    ----------
    noun : str
        See `Unseen`.
    """

    def __init__(self, noun: str) -> None:
        super().__init__(noun)
        self.heard = 0

    def received(self, exchanged: Expression) -> Expression:
        """`exchanged` with the noise of one more exchange."""
        self.heard += 1
        return exchanged + Expression("received", (self.heard - 1,), narrow=exchanged.narrow)


class Table:
    """A table of gradients, one a sample, while a step is traced; `saga_gradient` alone may use it, and once.

    Parameters
    ----------
    field : str
        Of the state.
    call : Expression, optional
        What has renewed it.
    """

    def __init__(self, field: str, call: Expression | None = None) -> None:
        self.field, self.call, self._used = field, call, False

    def renewed(self, x: Expression, noisy: bool) -> tuple[Expression, Table]:
        """The estimate of the gradients at `x`, with noise or not, and the table after it."""
        if self.call is not None or self._used:
            raise TypeError(f"the table {self.field} is renewed twice in a step; call saga_gradient once")
        self._used = True
        estimate = Expression("saga", (x,), (self.field, noisy))
        return estimate, Table(self.field, estimate)

    def check_returned(self, field: str, value: Any) -> None:
        """TypeError unless `value` is this table, as it stands after the step."""
        ends = isinstance(value, Table) and value.field == self.field and (value.call is not None) == self._used
        if not ends:
            raise TypeError(
                f"the field {field} of a state is a table of gradients; return what saga_gradient made of it, or the "
                "table itself where that is not called"
            )


def is_given(value: Any, noun: str) -> bool:
    """Whether `value` is the problem, network or part of a batch that the traced step was given as `noun`."""
    return isinstance(value, Unseen) and value._noun == noun


def lift(value: Any) -> Expression:
    """A number as a constant; an expression as it is."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, numbers.Real):
        return Expression("const", (float(value),))
    raise TypeError(
        f"a compiled step combines state arrays with {type(value).__name__}; only numbers and state arrays can enter: "
        "keep constant arrays in the problem"
    )


class Message(NamedTuple):
    """How rows are sent: by which compressor, in which of the step's calls, to whom, and whether zeros are silence."""

    compressor: Any
    call: int
    to: Receivers
    triggered: bool


def is_shared(compressor: Any, to: Receivers) -> bool:
    """Whether all nodes draw the same random numbers for a message: as the compressor asks, or as it is one message."""
    return to == "all" or getattr(compressor, "shared", False)


class Node(NamedTuple):
    """One operation of a graph; `args` are positions of earlier nodes (of a leaf: its name or value).

    A `narrow` one is an array of one number a node, (n, 1).
    """

    op: str
    args: tuple[Any, ...]
    is_array: bool
    by: Any = None
    narrow: bool = False


class Graph(NamedTuple):
    """One step: new state fields as functions of the old ones, common subexpressions merged.

    Attributes
    ----------
    algorithm : str
        Class name of the algorithm.
    hyper : tuple of str
        Names of the numeric hyperparameters, in the order of the hyperparameter table.
    nodes : tuple of Node
        Arguments before the nodes that use them.
    outputs : dict
        Field of the state -> position of the node that is its new value; the first field is x.
    narrow : frozenset of str
        Fields of one number a node, (n, 1).
    heard : int
        Exchanges over a noisy network, each call counted: "received" is the noise on one of them, by its number.
    tables : tuple of str
        Fields that hold a gradient of each sample, which a "saga" changes in place; they are no outputs.
    """

    algorithm: str
    hyper: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: dict[str, int]
    narrow: frozenset[str] = frozenset()
    heard: int = 0
    tables: tuple[str, ...] = ()

    def count(self, op: str) -> int:
        """How many different nodes are an `op`."""
        return sum(node.op == op for node in self.nodes)

    def exchanges(self) -> list[tuple[Any, bool]]:
        """Of each `mix` and `differences` its network, None for the simulated one, and whether it is of one number."""
        return [(node.by, node.narrow) for node in self.nodes if node.op in SENDS]

    @property
    def networks(self) -> list[Any]:
        """The other networks that a step mixes over, each once."""
        return list(dict.fromkeys(node.by for node in self.nodes if node.op in SENDS and node.by is not None))

    @property
    def gradients(self) -> list[bool]:
        """Which gradients a step takes: on mini-batches (True), of all samples (False); in the order of the nodes."""
        taken = {"gradient": lambda node: node.by[0], "saga": lambda node: True}
        return list(dict.fromkeys(taken[node.op](node) for node in self.nodes if node.op in taken))

    @property
    def oracles(self) -> list[bool | str]:
        """What a step asks of the problem: its gradients, and its "tilted" minimizers."""
        return [*self.gradients, *(["tilted"] if self.count("tilted") else [])]

    @property
    def compressors(self) -> list[tuple[Message, bool]]:
        """Each compression of a step, in the order of the calls, and whether it is of one number."""
        calls = [(node.by, node.narrow) for node in self.nodes if node.op == "compress"]
        return sorted(calls, key=lambda call: call[0].call)


class Steps(NamedTuple):
    """The steps of an algorithm that depend on their number through its remainder, its phase; one graph a kind of step.

    Attributes
    ----------
    graphs : tuple of Graph
        Each once.
    order : tuple of int
        Which of them is taken in each phase.
    """

    graphs: tuple[Graph, ...]
    order: tuple[int, ...]

    @property
    def first(self) -> Graph:
        """The graph of phase 0, which has the hyperparameters and fields of all."""
        return self.graphs[0]

    @property
    def compressions(self) -> int:
        """Compressions in a step, at most."""
        return max(len(graph.compressors) for graph in self.graphs)

    @property
    def heard(self) -> int:
        """Exchanges over a noisy network in a step, at most."""
        return max(graph.heard for graph in self.graphs)


class Counter:
    """The step counter while a step is traced: its phases are known, and noted.

    Parameters
    ----------
    value : int
        Any step of the phase that is traced.
    """

    def __init__(self, value: int) -> None:
        self.value = value
        self.periods: set[int] = set()

    def phase(self, period: int) -> int:
        """The step's phase."""
        self.periods.add(period)
        return self.value % period


def numeric_fields(algorithm: Algorithm) -> tuple[str, ...]:
    """Names of the hyperparameters that are numbers or schedules (callables of the step counter).

    A field whose type is ``int`` is none: a step may count with it. Those of an algorithm within another one have the
    names ``base.lr``, ...
    """
    whole = whole_fields(type(algorithm))
    found: list[str] = []
    for name, value in zip(algorithm._fields, algorithm, strict=True):
        if is_algorithm(value):
            found += [f"{name}.{inner}" for inner in numeric_fields(value)]
        elif name in whole or isinstance(value, bool):
            continue
        elif isinstance(value, numbers.Real) or callable(value):
            found.append(name)
    return tuple(found)


def is_algorithm(value: Any) -> bool:
    """Whether `value` is a NamedTuple with `init` and `step`."""
    return not isinstance(value, type) and all(hasattr(value, name) for name in ("_fields", "init", "step"))


def with_values(algorithm: Algorithm, values: Mapping[str, Any]) -> Algorithm:
    """`algorithm` with other hyperparameters, by the names of `numeric_fields`."""
    own = {name: value for name, value in values.items() if "." not in name}
    for field in {name.partition(".")[0] for name in values if "." in name}:
        inner = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{field}.")}
        own[field] = with_values(getattr(algorithm, field), inner)
    return algorithm._replace(**own)


def protected(state: Any) -> Any:
    """`state` with NumPy arrays that cannot be written to: a step that tries would change what it was given."""

    def read_only(field: Any) -> Any:
        if not isinstance(field, np.ndarray):
            return field
        view = field.view()
        view.flags.writeable = False
        return view

    return type(state)(*map(read_only, state))


def take_step(algorithm: Algorithm, state: Any, problem: Objective, network: Mixing, batch: Batch) -> Any:
    """``algorithm.step`` on arrays that it cannot write to.

    Raises
    ------
    ValueError
        It tries.
    """
    try:
        return algorithm.step(protected(state), problem, network, batch)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ValueError(
            f"{type(algorithm).__name__}.step writes into an array that it was given; write x = x + y in place of "
            "x += y, and make new arrays"
        ) from error


def check_new(algorithm: Algorithm, state: Any, new: Any) -> None:
    """TypeError unless the step of `algorithm` turned `state` into a `new` state of the same kind."""
    if type(new) is not type(state):
        raise TypeError(
            f"{type(algorithm).__name__}.step returned {type(new).__name__}; "
            f"it must return a {type(state).__name__}, as init does"
        )


def check_shapes(algorithm: Algorithm, state: Any, new: Any) -> None:
    """TypeError unless the fields of a `new` state are numbers or arrays of the shapes that they have in `state`."""
    check_new(algorithm, state, new)
    for field, old, value in zip(state._fields, state, new, strict=True):
        if not isinstance(value, numbers.Real) and np.shape(value) != old.shape:
            raise TypeError(
                f"{type(algorithm).__name__}.step returned an array {_kind(value)} as {field}, which is {_kind(old)} "
                "in a state; keep its shape"
            )


def _kind(array: Any) -> str:
    """The shape of an array of a state, in words; of others the shape as it is."""
    shape = np.shape(array)
    return f"of shape {shape}" if len(shape) < 2 else "(n, 1)" if shape[-1] == 1 else f"(n, {shape[-1]})"


def step_graph(algorithm: Algorithm, state: Any, *, sampled: bool = False, noisy: bool = False) -> Graph:
    """Call the step of `algorithm`, the same at all times, on symbols; see `step_graphs`.

    Raises
    ------
    TypeError
        Its step has phases.
    """
    steps = step_graphs(algorithm, state, sampled=sampled, noisy=noisy)
    if len(steps.graphs) > 1:
        raise TypeError(f"{type(algorithm).__name__} takes another step every {len(steps.order)} steps, not one step")
    return steps.first


def step_graphs(
    algorithm: Algorithm, state: Any, *, sampled: bool = False, noisy: bool = False, received: bool = False
) -> Steps:
    """Call the step of `algorithm` on symbols, once for each phase that it asks for.

    Parameters
    ----------
    algorithm : NamedTuple with `init` and `step`
    state : NamedTuple
        Any state of it; only its type, its field names and its number of nodes are used.
    sampled, noisy : bool
        Whether the batch has indices of samples, and noise.
    received : bool
        Whether the network adds noise to what is received.

    Raises
    ------
    TypeError
        If the step does what cannot be traced.
    ValueError
        If it has more phases than are traced.
    ForeignNounError
        If it uses what it was not given: on no engine.
    """
    name = type(algorithm).__name__
    counter = Counter(0)
    record = partial(_recorded, algorithm, state, sampled, noisy, received, counter)
    graph = record()
    if graph != record():
        raise ForeignNounError(
            f"{name}.step is not a function of its arguments: two calls on the same state differ; draw random numbers "
            "with noise_std or batch_size, and count steps by a schedule"
        )
    n_nodes = np.shape(state[0])[-2]
    for network in graph.networks:
        if network.n_nodes != n_nodes:
            raise ForeignNounError(
                f"{name}.step mixes over {network!r}, but there are {n_nodes} nodes; pass a network of as many"
            )
    phases = [graph]
    while len(phases) < check_period(name, counter.periods):
        counter.value = len(phases)
        phases.append(record())
    graphs = list(dict.fromkeys(map(_Whole, phases)))
    return Steps(tuple(whole.graph for whole in graphs), tuple(graphs.index(_Whole(each)) for each in phases))


def check_period(name: str, periods: set[int]) -> int:
    """The number of phases of a step that asks for its phase in these periods; ValueError if there are too many."""
    period = math.lcm(*periods)
    if period > LONGEST_PERIOD:
        raise ValueError(
            f"{name}.step has {period} phases, of the periods {sorted(periods)}; at most {LONGEST_PERIOD} are traced: "
            "choose periods with common factors, or smaller ones"
        )
    return period


class _Whole:
    """A graph that is compared and hashed as a whole."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole) and self.graph == other.graph

    def __hash__(self) -> int:
        return hash((self.graph.nodes, tuple(self.graph.outputs.items())))


def _recorded(algorithm: Algorithm, state: Any, sampled: bool, noisy: bool, received: bool, counter: Counter) -> Graph:
    """One call of the step on symbols."""
    hyper = numeric_fields(algorithm)
    symbolic = with_values(algorithm, {name: Expression("hyper", (name,)) for name in hyper})
    width = np.shape(state[0])[-1]
    narrow = frozenset(f for f, a in zip(state._fields, state, strict=True) if np.shape(a)[-1] == 1 < width)
    tables = {name: Table(name) for name in getattr(state, "tables", ())}
    inputs = type(state)(
        *(tables.get(name, Expression("input", (name,), narrow=name in narrow)) for name in state._fields)
    )
    batch = Batch(
        Unseen("batch.indices") if sampled else None,
        Unseen("batch.noise") if noisy else None,
        Unseen("batch.dither", width),
        [],
        counter,
    )
    name, network = type(algorithm).__name__, Noisy("network") if received else Unseen("network")
    try:
        new = symbolic.step(inputs, Unseen("problem"), network, batch)
    except ForeignNounError as error:
        raise ForeignNounError(f"{name}.step: {error}") from None
    except (TypeError, AttributeError) as error:
        raise TypeError(
            f"{name}.step cannot be compiled: {error}; use array operators and the functions of simlab.operations, "
            "or engine='numpy'"
        ) from error
    check_new(algorithm, state, new)
    nodes: list[Node] = []
    known: dict[Node, int] = {}
    outputs = {}
    for field, value in zip(new._fields, new, strict=True):
        if field in tables:
            tables[field].check_returned(field, value)
            if value.call is not None:
                _merge(value.call, nodes, known, {})
            continue
        expression = lift(value)
        if not expression.is_array:
            raise TypeError(f"{name}.step returned a number as {field}; a state holds arrays of shape (n, d)")
        if width > 1 and expression.narrow != (field in narrow):
            one, two = ("(n, 1)", "(n, d)") if expression.narrow else ("(n, d)", "(n, 1)")
            raise TypeError(
                f"{name}.step returned an array {one} as {field}, which is {two} in a state; keep its shape"
            )
        outputs[field] = _merge(expression, nodes, known, {})
    for message in batch.ledger or ():  # sent, even if the new state does not depend on it
        _merge(message, nodes, known, {})
    heard = network.heard if isinstance(network, Noisy) else 0
    return Graph(name, hyper, tuple(nodes), outputs, narrow, heard, tuple(tables))


def _merge(expression: Expression, nodes: list[Node], known: dict[Node, int], visited: dict[int, int]) -> int:
    """Position of `expression` among `nodes`, which it joins if no equal one is known."""
    if id(expression) in visited:
        return visited[id(expression)]
    args = expression.args
    if kind(expression.op) != "leaf":
        args = tuple(_merge(a, nodes, known, visited) for a in args)
    node = Node(expression.op, args, expression.is_array, expression.by, expression.narrow)
    if node not in known:
        known[node] = len(nodes)
        nodes.append(node)
    visited[id(expression)] = known[node]
    return known[node]
