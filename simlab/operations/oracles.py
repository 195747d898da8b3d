"""What a step asks its problem: gradients, proximal points, conjugates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from simlab.operations.context import presence
from simlab.operations.elementwise import where, zeros_like
from simlab.operations.language import Array, namespace, note
from simlab.protocols import Objective
from simlab.step.batch import Batch
from simlab.step.graph import Expression, ForeignNounError, Table, is_given
from simlab.step.operation import Operation, add

for _name in ("gradient", "tilted"):
    add(Operation(_name, "row call"))


class Altered(NamedTuple):
    """A problem whose gradients are changed before a method sees them; `change(g, x)`, rows of gradients and points."""

    problem: Any
    change: Callable[[Array, Array], Array]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return self.problem.n_nodes


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
        note("gradient", x.shape[-1])
        result, nodes = problem.gradient(x, batch), presence.get()
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
    note("gradient", x.shape[-1])
    xp, nodes, shape = namespace(x), presence.get(), (*x.shape[:-1], int(max(problem.counts)) + 1, x.shape[-1])
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
    xp, counts = namespace(x), problem.counts[:, None]
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
        note("tilted", v.shape[-1])
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
        note("tilted", y.shape[-1])
        return problem.conjugate(y)
    if not is_given(problem, "problem"):
        raise ForeignNounError(f"conjugate was given {problem!r}, not the problem that step was given; pass that one")
    return Expression("tilted", (y, 0.0))
