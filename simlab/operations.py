"""What an algorithm's step may use, besides array operators.

Each function takes arrays of any namespace (NumPy, CuPy, array-api-strict) or the symbolic arrays on
which the compiled engine traces a step.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast, get_args

import numpy as np

from simlab import checks
from simlab.arrays import namespace_of
from simlab.kernel import Kernel
from simlab.protocols import Compressor, Mixing, Objective
from simlab.step.batch import Batch as Batch, Receivers
from simlab.step.graph import (
    MIXES,
    Counter,
    Expression,
    ForeignNounError,
    Message,
    Noisy,
    Table,
    Unseen,
    is_given,
    is_shared,
)
from simlab.step.operation import Kind, Operation, add

__all__ = [
    "Array",
    "Batch",
    "Polynomial",
    "absolute",
    "average",
    "average_replicas",
    "common_uniform",
    "compress",
    "conjugate",
    "degrees",
    "differences",
    "differences_replicas",
    "fires",
    "gradient",
    "maximum",
    "minimum",
    "mix",
    "mix_replicas",
    "norm",
    "per_node",
    "phase",
    "proximal",
    "saga_gradient",
    "sample_table",
    "sign",
    "soft_threshold",
    "sqrt",
    "steps_taken",
    "sum_replicas",
    "where",
    "zeros_like",
]

Array = Any  #: an array of shape (..., n, d): one row a node; leading axes are independent runs

F = TypeVar("F", bound=Callable[..., Any])


def operation(name: str, kind: Kind, printed: str = "", helper: str = "") -> Callable[[F], F]:
    """A row of the step language: the decorated function is its array form.

    Called on symbols, it becomes a node of the step's graph. Adding an operation is writing one function here.

    Parameters
    ----------
    name, kind, printed, helper
        See ``simlab.step.operation.Operation``.
    """
    add(Operation(name, kind, printed, helper))

    def decorate(function: F) -> F:
        @wraps(function)
        def apply(*args: Any) -> Any:
            return Expression(name, args) if any(isinstance(a, Expression) for a in args) else function(*args)

        return cast("F", apply)

    return decorate


_tally: ContextVar[list[tuple[str, int, Any]] | None] = ContextVar("tally", default=None)


@contextmanager
def tally() -> Iterator[list[tuple[str, int, Any]]]:
    """What is called on arrays within the block, in the order of the calls: the operation, the numbers a node that it
    is given (of a phase, its period), and the network of an exchange.
    """
    calls: list[tuple[str, int, Any]] = []
    token = _tally.set(calls)
    try:
        yield calls
    finally:
        _tally.reset(token)


def _note(operation: str, width: int, network: Mixing | None = None) -> None:
    calls = _tally.get()
    if calls is not None:
        calls.append((operation, width, network))


for _name in ("gradient", "tilted", "compress"):
    add(Operation(_name, "row call"))
for _name in MIXES:
    add(Operation(_name, "exchange"))


def phase(batch: Batch, period: int) -> int:
    """The steps taken so far modulo `period`, a Python number: a step may use it in an ``if``.

    A compiled step is traced once for each phase, so that what a phase does not send costs nothing.

    Parameters
    ----------
    batch : Batch
        What `step` was given.
    period : int
        At least 1.

    Returns
    -------
    int
        0, ..., period − 1.

    Raises
    ------
    TypeError
        The batch does not know the step: one of one's own, or in a prediction, which has one step for all times.
    """
    period = checks.integer("period", period, minimum=1)
    if isinstance(batch.step, Counter):
        return batch.step.phase(period)
    _note("phase", period)
    return int(_step_of(batch, "phase")) % period


def steps_taken(batch: Batch) -> Any:
    """The number k of steps taken before this one, as a number to calculate with.

    Parameters
    ----------
    batch : Batch
        What `step` was given.

    Returns
    -------
    number

    Raises
    ------
    TypeError
        As `phase`.
    """
    return Expression("steps", ()) if isinstance(batch.step, Counter) else _step_of(batch, "steps_taken")


def _step_of(batch: Batch, name: str) -> int:
    if batch.step is None:
        raise ForeignNounError(
            f"{name} was given a batch without the number of its step; in a simulation pass the batch that step was "
            "given; a prediction knows steps only that are the same at all times: simulate this one"
        )
    return batch.step


def fires(network: Mixing) -> Any:
    """Which nodes compute a gradient in this step: all, but for the passive partners of asynchronous pairs.

    Those that do not get zeros from `gradient`. Nodes that sleep take no step at all.

    Parameters
    ----------
    network : Network
        What `step` was given.

    Returns
    -------
    array (..., n, 1) of truth values, or True
    """
    if isinstance(network, Unseen):
        return Expression("fires", (), narrow=True)
    return getattr(network, "fires", True)


def degrees(network: Any, x: Array) -> Array:
    """How many neighbours each node has, itself not counted: a column (n, 1) for arrays like `x`.

    Parameters
    ----------
    network : Network
        What `step` was given; one that does not change.
    x : array (..., n, d)
        Says of which kind the column is.

    Returns
    -------
    array (n, 1)
    """
    if isinstance(x, Expression):
        return Expression("degrees", (), narrow=True)
    return _namespace(x).asarray(network.degrees[:, None], dtype=x.dtype)


def per_node(x: Array, value: float = 0.0) -> Array:
    """One number a node, (..., n, 1), as states may hold: push-sum weights, triggers.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.
    value : float, default 0

    Returns
    -------
    array (..., n, 1)
    """
    if isinstance(x, Expression):
        raise TypeError("per_node makes a state in init; in a step, calculate with the state's own arrays (n, 1)")
    return 0 * _namespace(x).zeros_like(x)[..., :1] + value


_present: ContextVar[tuple[Array, Array] | None] = ContextVar("present", default=None)


@contextmanager
def present(awake: Array, fires: Array) -> Iterator[None]:
    """Within, `average` is over the nodes that are `awake`, and `gradient` is zero at those that do not fire.

    Both are arrays (..., n, 1) of truth values.
    """
    token = _present.set((awake, fires))
    try:
        yield
    finally:
        _present.reset(token)


def gradient(problem: Objective, x: Array, batch: Batch) -> Array:
    """Rows grad f_i(x_i), on the step's mini-batch and with its noise where there are any.

    Parameters
    ----------
    problem : Problem
        What `step` was given.
    x : array (..., n, d)
        One row a node.
    batch : Batch
        What `step` was given; or ``Batch()``: all samples, no noise.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation or prediction: it is another problem, or a batch of one's own.
    """
    if isinstance(problem, Altered):
        return problem.change(gradient(problem.problem, x, batch), x)
    if not isinstance(x, Expression):
        _note("gradient", x.shape[-1])
        result, nodes = problem.gradient(x, batch), _present.get()
        return result if nodes is None else where(nodes[1], result, zeros_like(result))
    _check_given("gradient", problem, x, batch)
    return Expression("gradient", (x,), (batch.indices is not None, batch.noise is not None))


def _check_given(name: str, problem: Any, x: Expression, batch: Batch) -> None:
    """TypeError unless the gradients at the symbols `x` are of what the traced step was given."""
    if x.narrow:
        raise TypeError(f"{name} was given one number a node, (n, 1); pass an array (n, d)")
    if not is_given(problem, "problem"):
        raise ForeignNounError(
            f"{name} was given {problem!r}, not the problem that step was given; a run has one problem, whose "
            "gradients its batches and its records are about"
        )
    for part, noun in ((batch.indices, "batch.indices"), (batch.noise, "batch.noise")):
        if part is not None and not is_given(part, noun):
            raise ForeignNounError(
                f"{name} was given a batch with {noun} of its own; pass the batch that step was given, or Batch() "
                "for the gradient of all samples without noise"
            )


# The mean is updated; summed anew whenever sample 0 is drawn, every m/B steps or so, so that rounding does not add up.
SAGA_ROW = """
def saga_row(b, samples, count, fresh, table, out):
    width = out.shape[0]
    mean, size = table[table.shape[0] - width:], real(samples.shape[0])
    if b == 0:
        for j in range(width):
            out[j] = mean[j]
        for s in samples:
            old = table[s * width:(s + 1) * width]
            for j in range(width):
                out[j] -= old[j] / size
    s = samples[b]
    old = table[s * width:(s + 1) * width]
    for j in range(width):
        out[j] += fresh[j] / size
        mean[j] += (fresh[j] - old[j]) / real(count)
        old[j] = fresh[j]
    if s == 0:
        for j in range(width):
            mean[j] = 0
        for first in range(0, count * width, width):
            for j in range(width):
                mean[j] += table[first + j] / real(count)
"""
add(Operation("saga", "row call", helper=SAGA_ROW))


def saga_gradient(problem: Any, x: Array, batch: Batch, table: Array) -> tuple[Array, Array]:
    """SAGA's estimates of the gradients at `x`, and the table of gradients in which it renews the drawn samples.

    v_i = (1/B) Σ_b (∇f_is(x_i) − t_is) + (1/m_i) Σ_j t_ij,  s = s_b the samples of the batch and t the table as it was;
    then t_is ← ∇f_is(x_i). Of a sample that is drawn twice both draws count in the first sum. The noise of the batch
    is added to v, and is not in the table. Without mini-batches v is `gradient`, and the table stays as it is.

    Parameters
    ----------
    problem : Problem
        What `step` was given.
    x : array (..., n, d)
        One row a node.
    batch : Batch
        What `step` was given.
    table : array (..., n, (m + 1) d)
        A field of the state that the state's class names in ``tables``: `init` makes it like `x`, and a simulation with
        mini-batches fills it by `sample_table`. The gradients of a node's samples, then their mean.

    Returns
    -------
    v : array (..., n, d)
    table : array (..., n, (m + 1) d)
        For the new state. A step calls this once.

    Raises
    ------
    ValueError
        The table does not hold the problem's samples.
    TypeError
        As `gradient`.

    References
    ----------
    A. Defazio, F. Bach, S. Lacoste-Julien, SAGA: a fast incremental gradient method with support for non-strongly
    convex composite objectives, NeurIPS 2014.
    """
    if isinstance(problem, Altered):
        estimate, table = saga_gradient(problem.problem, x, batch, table)
        return problem.change(estimate, x), table
    if batch.indices is None:
        return gradient(problem, x, batch), table
    if isinstance(x, Expression):
        _check_given("saga_gradient", problem, x, batch)
        if not isinstance(table, Table):
            raise TypeError(f"saga_gradient was given the table {table!r}; name its field in the `tables` of the state")
        return table.renewed(x, batch.noise is not None)
    _note("gradient", x.shape[-1])
    xp, nodes, shape = _namespace(x), _present.get(), (*x.shape[:-1], int(max(problem.counts)) + 1, x.shape[-1])
    if table.shape != (*x.shape[:-1], shape[-2] * shape[-1]):
        raise ValueError(
            f"table has shape {tuple(table.shape)}, and {problem!r} needs a row of {shape[-2] - 1} + 1 gradients a "
            "node; start from sample_table(problem, x)"
        )
    entries = xp.reshape(table, shape)
    old, mean = entries[..., :-1, :], entries[..., -1, :]
    draws = batch.indices.shape[-1]
    alone = xp.moveaxis(batch.indices, -1, 0)[..., None]  # mini-batches of one sample
    fresh = problem.gradient(xp.broadcast_to(x, (draws, *x.shape)), Batch(alone))
    places = xp.broadcast_to(batch.indices[..., None], (*batch.indices.shape, x.shape[-1]))
    estimate = mean - xp.mean(xp.take_along_axis(old, places, axis=-2), axis=-2) + xp.mean(fresh, axis=0)
    if batch.noise is not None:
        estimate = estimate + batch.noise
    new = _with_rows(xp, old, batch.indices, fresh)
    new_mean = xp.sum(new, axis=-2) / xp.asarray(problem.counts[:, None], dtype=x.dtype)
    renewed = xp.reshape(xp.concat([new, new_mean[..., None, :]], axis=-2), table.shape)
    if nodes is None:
        return estimate, renewed
    return where(nodes[1], estimate, zeros_like(estimate)), where(nodes[1], renewed, table)


def _with_rows(xp: Any, rows: Array, indices: Array, values: Array) -> Array:
    """`rows` (..., m, d), of which those at `indices` (..., B) are `values` (B, ..., d)."""
    if xp is np:
        rows = rows.copy()
        np.put_along_axis(rows, indices[..., None], np.moveaxis(values, 0, -2), axis=-2)
        return rows
    for b in range(indices.shape[-1]):
        chosen = xp.arange(rows.shape[-2]) == indices[..., b : b + 1]
        rows = xp.where(chosen[..., None], values[b, ..., None, :], rows)
    return rows


def sample_table(problem: Any, x: Array) -> Array:
    """The gradients of all samples at `x`, node by node, then their mean: where `saga_gradient` starts from.

    Parameters
    ----------
    problem : Problem
        With samples; where nodes have unequally many, rows are as long as the longest, with zeros.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, (m + 1) d)
    """
    xp, counts = _namespace(x), problem.counts[:, None]
    lead = x.shape[:-1]
    rows = []
    for s in range(int(counts.max())):
        indices = xp.broadcast_to(xp.asarray(np.minimum(s, counts - 1)), (*lead, 1))
        there = xp.asarray(s < counts)
        rows.append(where(there, problem.gradient(x, Batch(indices)), zeros_like(x)))
    mean = sum(rows) / xp.asarray(counts, dtype=x.dtype)
    return xp.concat([*rows, mean], axis=-1)


def proximal(problem: Any, v: Array, weight: Any) -> Array:
    """Rows argmin_x f_i(x) + (weight/2)‖x − v_i‖², of all samples: in closed form or by Newton's method.

    Parameters
    ----------
    problem : Problem
        What `step` was given.
    v : array (..., n, d)
        One row a node.
    weight : number, or array (..., n, 1)
        Positive, and large enough to make the sum convex.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation: it is another problem, or `weight` is an array (n, d).
    """
    if not isinstance(v, Expression):
        _note("tilted", v.shape[-1])
        return problem.proximal(v, weight)
    if not is_given(problem, "problem"):
        raise ForeignNounError(f"proximal was given {problem!r}, not the problem that step was given; pass that one")
    if isinstance(weight, Expression) and weight.is_array and not weight.narrow:
        raise TypeError("proximal was given a weight (n, d); pass a number, or one number a node, (n, 1)")
    return Expression("tilted", (weight * v, weight))


def conjugate(problem: Any, y: Array) -> Array:
    """Rows ∇f_i*(y_i) = argmin_x f_i(x) − ⟨y_i, x⟩, of all samples: what dual methods ask of a problem.

    Parameters
    ----------
    problem : Problem
        What `step` was given; every f_i strongly convex.
    y : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation: it is another problem.
    """
    if not isinstance(y, Expression):
        _note("tilted", y.shape[-1])
        return problem.conjugate(y)
    if not is_given(problem, "problem"):
        raise ForeignNounError(f"conjugate was given {problem!r}, not the problem that step was given; pass that one")
    return Expression("tilted", (y, 0.0))


def mix(network: Mixing | Polynomial, x: Array) -> Array:
    """W x: one exchange with the neighbours, sent at every step, also where a `where` then does not choose it.

    Parameters
    ----------
    network : Network
        What `step` was given; or another one over the same nodes, such as a field of the algorithm: its messages are
        counted along its own edges.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation: it is no network.
    """
    if isinstance(network, Polynomial):
        return network.mix(x)
    if isinstance(x, Expression):
        return _exchange("mix", network, x)
    _note("mix", x.shape[-1], network)
    return network.mix(x)


class Polynomial(NamedTuple):
    """A network as a step may pass it to `mix` and `differences`: T_K(W/ρ)/T_K(1/ρ) in place of W, in K exchanges.

    Parameters
    ----------
    network : Network
        What `step` was given.
    rounds : int
        K >= 1.
    rho : number
        0 < ρ <= 1.
    """

    network: Mixing
    rounds: int
    rho: Any

    def mix(self, x: Array) -> Array:
        """By the recursion of Chebyshev's polynomials, each divided by its value at 1/ρ."""
        before, after = x, mix(self.network, x)
        lower, upper = 1.0, 1 / self.rho  # T_0 and T_1 at 1/ρ
        for _ in range(self.rounds - 1):
            lower, upper = upper, 2 / self.rho * upper - lower
            before, after = after, before + 2 * lower / (self.rho * upper) * (mix(self.network, after) - before)
        return after


def differences(network: Mixing | Polynomial, x: Array) -> Array:
    """Rows Σⱼ wᵢⱼ(xⱼ − xᵢ), (W − I)x where rows of W sum to 1: one exchange, which costs what `mix` does.

    It is computed from differences, so that rounding is some eps of how far the nodes are apart, and nothing where they
    agree. That of `mix` is some eps of x for ever: what an algorithm sums up step by step drifts by it.

    Parameters
    ----------
    network : Network
        As in `mix`.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)

    Raises
    ------
    TypeError
        In a simulation: it is no network.
    """
    if isinstance(network, Polynomial):
        return network.mix(x) - x if network.rounds > 1 else differences(network.network, x)
    if isinstance(x, Expression):
        return _exchange("differences", network, x)
    _note("differences", x.shape[-1], network)
    return _apart(network, x)


def _apart(network: Mixing, x: Array) -> Array:
    apart = x - x[..., :1, :]  # the differences of nodes are those of their differences from one of them
    if getattr(network, "stochastic", "row") == "column":  # rows sum to something else
        sums = getattr(network, "exact_mix", network.mix)(_namespace(x).ones_like(x[..., :1]))
        return network.mix(apart) - sums * apart
    return network.mix(apart) - apart


def _exchange(name: str, network: Mixing, x: Expression) -> Expression:
    own = is_given(network, "network")
    parts = ("n_nodes", "csr", "degrees", "mix")
    if not own and (isinstance(network, Unseen) or not all(hasattr(network, part) for part in parts)):
        raise ForeignNounError(f"{name} was given {network!r}, which is no network; pass the one that step was given")
    exchanged = Expression(name, (x,), None if own else network)
    return network.received(exchanged) if isinstance(network, Noisy) else exchanged


def mix_replicas(network: Mixing, x: Array) -> Array:
    """W x where neighbours hold replicas of the rows of x already: nothing is sent.

    A compressed algorithm keeps the replicas up to date with what `compress` returns; those messages are counted there.

    Parameters
    ----------
    network : Network
        What `step` was given.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _replicas("mix_replicas", network, x, lambda: network.mix(x))


def differences_replicas(network: Mixing, x: Array) -> Array:
    """Rows Σⱼ wᵢⱼ(xⱼ − xᵢ) where neighbours hold replicas of the rows of x already: nothing is sent.

    As accurate as `differences`.

    Parameters
    ----------
    network : Network
        What `step` was given.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _replicas("differences_replicas", network, x, lambda: _apart(network, x))


def sum_replicas(network: Any, x: Array) -> Array:
    """Sums of the neighbours' rows, without weights and without the node's own, of replicas: nothing is sent.

    Parameters
    ----------
    network : Network
        What `step` was given.
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _replicas("sum_replicas", network, x, lambda: network.sum_neighbours(x))


def _replicas(name: str, network: Mixing, x: Array, of_arrays: Callable[[], Array]) -> Array:
    if not isinstance(x, Expression):
        _note(name, x.shape[-1], network)
        return of_arrays()
    if not is_given(network, "network"):
        raise ForeignNounError(
            f"{name} was given {network!r}; replicas are held by the neighbours in the network that step was "
            "given, which the compressed messages reach: pass that one"
        )
    return Expression(name, (x,))


def compress(
    compressor: Compressor, x: Array, batch: Batch, *, to: Receivers = "neighbours", triggered: bool = False
) -> Array:
    """What the receivers of the compressed rows of `x` decode; the messages' bits join the run's traffic.

    Parameters
    ----------
    compressor : Compressor
        See `simlab.compression`.
    x : array (..., n, d)
        Every row is one message.
    batch : Batch
        Its `dither` feeds randomized compressors, in the order of the calls in a step.
    to : {"neighbours", "server", "all"}, default "neighbours"
        Who receives, and so what `bits` counts: a node's neighbours, each; one server, which has the mean of what it
        receives by `average_replicas`; or all n nodes, from the server. Then the rows of `x` are equal, and are one
        message with one dither.
    triggered : bool, default False
        Whether a row of zeros is not sent: it costs nothing, as nodes that wait for a round's end hear silence, too.

    Returns
    -------
    array (..., n, d)
    """
    checks.one_of("to", to, get_args(Receivers))
    if hasattr(compressor, "compose"):  # of other compressors' messages
        dim = x.shape[-1] if not isinstance(x, Expression) else 1 if x.narrow else getattr(batch.dither, "_width", 0)
        return compressor.compose(x, dim, lambda part, v: compress(part, v, batch, to=to, triggered=triggered))
    ledger = batch.ledger if batch.ledger is not None else []
    call = len(ledger)
    if isinstance(x, Expression):
        if not is_given(batch.dither, "batch.dither") or batch.ledger is None:
            raise ForeignNounError(
                "compress was given a batch of its own, which lacks the dither and the ledger of messages; pass the "
                "batch that step was given"
            )
        ledger.append(Expression("compress", (x,), Message(compressor, call, to, triggered)))
        return ledger[call]
    _note("compress", x.shape[-1])
    dither = None if batch.dither is None else batch.dither[..., call, :, : x.shape[-1]]
    if dither is not None and is_shared(compressor, to):
        dither = _namespace(dither).broadcast_to(dither[..., :1, :], dither.shape)
    sent = compressor.compress(x, dither)
    if not (isinstance(sent, tuple) and len(sent) == 2):
        raise TypeError(
            f"{type(compressor).__name__}.compress returned a {type(sent).__name__}; return two things: what the "
            "receivers decode, and the bits of each message (docs/own_compressor.md)"
        )
    q, bits = sent
    if triggered:
        xp = _namespace(x)
        speaks = xp.any(x != 0, axis=-1)
        q, bits = xp.where(speaks[..., None], q, xp.zeros_like(q)), xp.where(speaks, xp.asarray(bits), 0)
    ledger.append((bits, to))
    return q


class _Uniform(NamedTuple):
    """A message that all nodes draw for themselves: its dither."""

    shared = True  # type: ignore[misc]

    def contraction(self, dim: int) -> float:
        raise ValueError("it does not send what it is given")

    def compress(self, x: Array, dither: Array) -> tuple[Array, Array]:
        xp = _namespace(x)
        drawn = xp.zeros_like(x) if dither is None else xp.zeros_like(x) + xp.astype(dither[..., :1], x.dtype)
        return drawn, xp.zeros(x.shape[:-1], dtype=xp.int64)

    def kernel(self, dim: int) -> Kernel:
        return Kernel((uniform_row,), ())


def uniform_row(i: int, v: Array, dither: Array, out: Array) -> int:
    """The first number of the dither, in every entry."""
    for j in range(v.size):
        out[j] = dither[0]
    return 0


def common_uniform(x: Array, batch: Batch) -> Array:
    """A random number, uniform on [0, 1), that all nodes draw alike: a common coin. Nothing is sent.

    Parameters
    ----------
    x : array (..., n, d)
        Says of which shape it is; the number is in every entry.
    batch : Batch
        What `step` was given.

    Returns
    -------
    array (..., n, d)
    """
    return compress(_Uniform(), x, batch)  # type: ignore[call-arg]


@operation("average_replicas", "exchange")
def average_replicas(x: Array) -> Array:
    """The mean over nodes of rows that a server holds already: nothing is sent.

    What reaches it is counted where it is sent, by ``compress(..., to="server")``; what it sends to the nodes by
    ``compress(..., to="all")``.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
        The mean in every row.
    """
    xp = _namespace(x)
    return xp.zeros_like(x) + xp.mean(x, axis=-2, keepdims=True)


@operation("average", "exchange")
def average(x: Array) -> Array:
    """Exact average over all nodes, in every row: 1 x̄ᵀ. Nodes that sleep take no part.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    _note("average", x.shape[-1])
    xp, nodes = _namespace(x), _present.get()
    if nodes is None:
        return xp.zeros_like(x) + xp.mean(x, axis=-2, keepdims=True)
    weights = xp.astype(nodes[0], x.dtype)
    total = xp.sum(xp.where(nodes[0], x, xp.zeros_like(x)), axis=-2, keepdims=True)
    return xp.zeros_like(x) + total / xp.sum(weights, axis=-2, keepdims=True)


def zeros_like(x: Array) -> Array:
    """Zeros of the shape and type of `x`.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    if isinstance(x, Expression):
        return Expression("where", (x == x, 0, 0))  # NaN or not
    return _namespace(x).zeros_like(x)


@operation("where", "elementwise", "{1} if {0} else {2}")
def where(condition: Array, if_true: Array, if_false: Array) -> Array:
    """Elementwise choice; a step uses it in place of `if` on array and hyperparameter values.

    Parameters
    ----------
    condition, if_true, if_false : arrays (..., n, d) or numbers

    Returns
    -------
    array (..., n, d)
        A number if all three are.
    """
    three = condition, if_true, if_false
    if all(isinstance(value, numbers.Real | np.bool_) for value in three):
        return if_true if condition else if_false
    xp = _namespace(*three)
    if all(isinstance(value, numbers.Real) for value in (if_true, if_false)):
        if_true = xp.asarray(if_true)  # one of them an array, as the array API asks
    return xp.where(xp.asarray(condition), if_true, if_false)


@operation("abs", "elementwise", "abs({})")
def absolute(x: Array) -> Array:
    """Elementwise absolute value.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _namespace(x).abs(x)


@operation("sign", "elementwise", "real({0} > 0) - real({0} < 0) if {0} == {0} else {0}")  # NaN stays NaN
def sign(x: Array) -> Array:
    """Elementwise sign, 0 at 0.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    return _namespace(x).sign(x)


@operation("sqrt", "elementwise", "math.sqrt({})")
def sqrt(x: Array) -> Array:
    """Elementwise square root; NaN of negative numbers.

    Parameters
    ----------
    x : array (..., n, d) or number

    Returns
    -------
    array (..., n, d)
    """
    if isinstance(x, numbers.Real):
        return math.sqrt(x) if float(x) >= 0 else math.nan
    return _namespace(x).sqrt(x)


def maximum(x: Array, y: Array) -> Array:
    """Elementwise larger one; NaN where either is.

    Parameters
    ----------
    x, y : arrays (..., n, d) or numbers

    Returns
    -------
    array (..., n, d)
    """
    return where(x > y, x, where(x == x, y, x))


def minimum(x: Array, y: Array) -> Array:
    """Elementwise smaller one; NaN where either is.

    Parameters
    ----------
    x, y : arrays (..., n, d) or numbers

    Returns
    -------
    array (..., n, d)
    """
    return where(x < y, x, where(x == x, y, x))


NORM_ROW = """
def norm_row(row, out, lanes):
    for r in range(lanes):
        total = real(0)
        for j in range(r, row.shape[0], lanes):
            total += row[j] * row[j]
        out[r::lanes] = math.sqrt(total)
"""


@operation("norm", "row call", "norm_row({row}, {out}, {lanes})", helper=NORM_ROW)
def norm(x: Array) -> Array:
    """Euclidean norm of each row, in every entry of the row, as clipped and normalized steps need it.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    xp = _namespace(x)
    return xp.zeros_like(x) + xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))


BLOCK_NORMS_ROW = """
def block_norms_row(row, out, sizes, lanes):
    for r in range(lanes):
        start = 0
        for size in sizes:
            total, end = real(0), start + size
            for j in range(start * lanes + r, end * lanes, lanes):
                total += row[j] * row[j]
            for j in range(start * lanes + r, end * lanes, lanes):
                out[j] = math.sqrt(total)
            start = end
"""
add(Operation("block_norms", "row call", "block_norms_row({row}, {out}, {by}, {lanes})", BLOCK_NORMS_ROW))


def block_norms(x: Array, sizes: tuple[int, ...]) -> Array:
    """Euclidean norms of the blocks of each row, in every entry of a block, as layer-wise rates need them.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.
    sizes : tuple of int
        Entries of each block, one after the other, d in all: `Problem.block_sizes`. Empty: the row is one block.

    Returns
    -------
    array (..., n, d)
    """
    if not sizes:
        return norm(x)
    if isinstance(x, Expression):
        return Expression("block_norms", (x,), tuple(sizes), narrow=x.narrow)
    xp, ends = _namespace(x), np.cumsum([0, *sizes]).tolist()
    blocks = [x[..., ends[k] : ends[k + 1]] for k in range(len(sizes))]
    return xp.concat([norm(block) for block in blocks], axis=-1)


class Altered(NamedTuple):
    """A problem whose gradients are changed before a method sees them; `change(g, x)`, rows of gradients and points."""

    problem: Any
    change: Callable[[Array, Array], Array]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return self.problem.n_nodes


def soft_threshold(x: Array, threshold: Any) -> Array:
    """Proximal operator of `threshold` * ||.||_1: ``sign(x) max(|x| - threshold, 0)``.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.
    threshold : float
        At least 0.

    Returns
    -------
    array (..., n, d)
    """
    shrunk = absolute(x) - threshold
    return sign(x) * where(shrunk > 0, shrunk, 0 * shrunk)


def _namespace(*values: Array) -> Any:
    return namespace_of(*(value for value in values if not isinstance(value, numbers.Real | np.bool_)))
