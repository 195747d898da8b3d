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
from typing import Any, TypeVar, cast

import numpy as np

from simlab import checks
from simlab.arrays import namespace_of
from simlab.protocols import Compressor, Mixing, Objective
from simlab.step.batch import Batch as Batch
from simlab.step.graph import MIXES, Counter, Expression, ForeignNounError, Noisy, Unseen, is_given
from simlab.step.operation import Kind, Operation, add

Array = Any  #: an array of shape (..., n, d): one row a node; leading axes are independent runs

F = TypeVar("F", bound=Callable[..., Any])


def operation(name: str, kind: Kind, printed: str = "", helper: str = "") -> Callable[[F], F]:
    """A row of the step language: the decorated function is its array form.

    Called on symbols, it becomes a node of the step's graph. Adding an operation is writing one function here.

    Parameters
    ----------
    name, kind, printed, helper
        See `simlab.step.operation.Operation`.
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


for _name in ("gradient", "compress"):
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
    if not isinstance(x, Expression):
        _note("gradient", x.shape[-1])
        result, nodes = problem.gradient(x, batch), _present.get()
        return result if nodes is None else where(nodes[1], result, zeros_like(result))
    if x.narrow:
        raise TypeError("gradient was given one number a node, (n, 1); pass an array (n, d)")
    if not is_given(problem, "problem"):
        raise ForeignNounError(
            f"gradient was given {problem!r}, not the problem that step was given; a run has one problem, whose "
            "gradients its batches and its records are about"
        )
    for part, noun in ((batch.indices, "batch.indices"), (batch.noise, "batch.noise")):
        if part is not None and not is_given(part, noun):
            raise ForeignNounError(
                f"gradient was given a batch with {noun} of its own; pass the batch that step was given, or Batch() "
                "for the gradient of all samples without noise"
            )
    return Expression("gradient", (x,), (batch.indices is not None, batch.noise is not None))


def mix(network: Mixing, x: Array) -> Array:
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
    if isinstance(x, Expression):
        return _exchange("mix", network, x)
    _note("mix", x.shape[-1], network)
    return network.mix(x)


def differences(network: Mixing, x: Array) -> Array:
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
    if isinstance(x, Expression):
        return _exchange("differences", network, x)
    _note("differences", x.shape[-1], network)
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
    if not isinstance(x, Expression):
        _note("mix_replicas", x.shape[-1], network)
        return network.mix(x)
    if not is_given(network, "network"):
        raise ForeignNounError(
            f"mix_replicas was given {network!r}; replicas are held by the neighbours in the network that step was "
            "given, which the compressed messages reach: pass that one"
        )
    return Expression("mix_replicas", (x,))


def compress(compressor: Compressor, x: Array, batch: Batch) -> Array:
    """What the receivers of the compressed rows of `x` decode; the messages' bits join the run's traffic.

    Parameters
    ----------
    compressor : Compressor
        See `simlab.compression`.
    x : array (..., n, d)
        Every row is one message.
    batch : Batch
        Its `dither` feeds randomized compressors, in the order of the calls in a step.

    Returns
    -------
    array (..., n, d)
    """
    ledger = batch.ledger if batch.ledger is not None else []
    call = len(ledger)
    if isinstance(x, Expression):
        if not is_given(batch.dither, "batch.dither") or batch.ledger is None:
            raise ForeignNounError(
                "compress was given a batch of its own, which lacks the dither and the ledger of messages; pass the "
                "batch that step was given"
            )
        ledger.append(Expression("compress", (x,), (compressor, call)))
        return ledger[call]
    _note("compress", x.shape[-1])
    sent = compressor.compress(x, None if batch.dither is None else batch.dither[..., call, :, : x.shape[-1]])
    if not (isinstance(sent, tuple) and len(sent) == 2):
        raise TypeError(
            f"{type(compressor).__name__}.compress returned a {type(sent).__name__}; return two things: what the "
            "receivers decode, and the bits of each message (docs/own_compressor.md)"
        )
    q, bits = sent
    ledger.append(bits)
    return q


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


def soft_threshold(x: Array, threshold: Any) -> Array:
    """Proximal operator of `threshold` * ||.||_1: sign(x) max(|x| - threshold, 0).

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
