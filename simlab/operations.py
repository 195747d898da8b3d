"""What an algorithm's step may use, besides array operators.

Each function takes arrays of any namespace (NumPy, CuPy, array-api-strict) or the symbolic arrays on
which the compiled engine traces a step.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from simlab.step.batch import Batch
from simlab.step.graph import Expression

Array = Any  #: an array of shape (..., n, d): one row a node; leading axes are independent runs

_tally: ContextVar[list[str] | None] = ContextVar("tally", default=None)


@contextmanager
def tally() -> Iterator[list[str]]:
    """The exchanges of arrays within the block, by name in the order of the calls."""
    calls: list[str] = []
    token = _tally.set(calls)
    try:
        yield calls
    finally:
        _tally.reset(token)


def _note(operation: str) -> None:
    calls = _tally.get()
    if calls is not None:
        calls.append(operation)


def gradient(problem: Any, x: Array, batch: Batch) -> Array:
    """Rows grad f_i(x_i), on the step's mini-batch and with its noise where there are any.

    Parameters
    ----------
    problem : Problem
        What `step` was given.
    x : array (..., n, d)
        One row a node.
    batch : Batch
        What `step` was given.

    Returns
    -------
    array (..., n, d)
    """
    return Expression("gradient", (x,)) if isinstance(x, Expression) else problem.gradient(x, batch)


def mix(network: Any, x: Array) -> Array:
    """W x: one exchange with the neighbours, sent at every step, also where a `where` then does not choose it.

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
    if isinstance(x, Expression):
        return Expression("mix", (x,))
    _note("mix")
    return network.mix(x)


def mix_replicas(network: Any, x: Array) -> Array:
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
    return Expression("mix_replicas", (x,)) if isinstance(x, Expression) else network.mix(x)


def compress(compressor: Any, x: Array, batch: Batch) -> Array:
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
        ledger.append(Expression("compress", (x,), (compressor, call)))
        return ledger[call]
    _note("compress")
    sent = compressor.compress(x, None if batch.dither is None else batch.dither[..., call, :, :])
    if not (isinstance(sent, tuple) and len(sent) == 2):
        raise TypeError(
            f"{type(compressor).__name__}.compress returned a {type(sent).__name__}; return two things: what the "
            "receivers decode, and the bits of each message (docs/own_compressor.md)"
        )
    q, bits = sent
    ledger.append(bits)
    return q


def average(x: Array) -> Array:
    """Exact average over all nodes, in every row: 1 x̄ᵀ.

    Parameters
    ----------
    x : array (..., n, d)
        One row a node.

    Returns
    -------
    array (..., n, d)
    """
    if isinstance(x, Expression):
        return Expression("average", (x,))
    _note("average")
    xp = _namespace(x)
    return xp.zeros_like(x) + xp.mean(x, axis=-2, keepdims=True)


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
    if any(isinstance(value, Expression) for value in three):
        return Expression("where", three)
    if all(isinstance(value, numbers.Real | np.bool_) for value in three):
        return if_true if condition else if_false
    xp = _namespace(*three)
    if all(isinstance(value, numbers.Real) for value in (if_true, if_false)):
        if_true = xp.asarray(if_true)  # one of them an array, as the array API asks
    return xp.where(xp.asarray(condition), if_true, if_false)


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
    return Expression("abs", (x,)) if isinstance(x, Expression) else _namespace(x).abs(x)


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
    return Expression("sign", (x,)) if isinstance(x, Expression) else _namespace(x).sign(x)


def sqrt(x: Array) -> Array:
    """Elementwise square root; NaN of negative numbers.

    Parameters
    ----------
    x : array (..., n, d) or number

    Returns
    -------
    array (..., n, d)
    """
    if isinstance(x, Expression):
        return Expression("sqrt", (x,))
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
    if isinstance(x, Expression):
        return Expression("norm", (x,))
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
    from array_api_compat import array_namespace

    return array_namespace(*(value for value in values if not isinstance(value, numbers.Real | np.bool_)))
