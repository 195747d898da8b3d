"""What is recorded of a run: functions of the node states alone, the same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from simlab import checks
from simlab.network import AnyNetwork, Exchanges, Network
from simlab.operations import soft_threshold
from simlab.problems.base import Problem
from simlab.step.graph import Steps

BLOCK = 2**20  # numbers worked on at once
PRODUCTS = 2**22  # of matrix products for the points that are measured at once
CALL = 2**18  # products that take as long as the calls that make them
# Columns of every trace, which a problem's own may not be called.
RESERVED = {
    "algorithm", "replicate", "run", "step", "time", "mse", "consensus", "loss", "squared_gradient_norm",
    "stationarity", "payload_bits", "bits", "gradients",
}  # fmt: skip


def measure(problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of node states.

    Parameters
    ----------
    problem : Problem
    x : array (..., n, d)
        Node states.

    Returns
    -------
    dict of arrays (...)
        mse
            (1/n) sum_i ||x_i - x*||^2; NaN for a problem whose `minimizer` is None, unknown.
        consensus
            (1/n) sum_i ||x_i - x̄||^2.
        loss
            f(x̄), plus nu ||x̄||_1 on a problem with an l1 term (`problem.with_l1(nu)`).
        squared_gradient_norm
            ||grad f(x̄)||^2.
        stationarity
            ||x̄ - prox(x̄ - grad f(x̄))||^2, prox the soft threshold at the problem's nu: the proximal gradient with step
            size 1. Zero where x̄ is stationary; without an l1 term it is `squared_gradient_norm`.

        and what the problem adds: its `metrics(x̄)`; of its `scores` on test data, if it has some, those of x̄ (which
        are among its metrics) and as ``worst_...`` those of the node where they are worst.
    """
    *lead, n_nodes, dim = x.shape
    rows = max(1, min(n_nodes, BLOCK // dim))
    at_once = max(1, BLOCK // (rows * dim))
    states = x.reshape(-1, n_nodes, dim)
    parts = [_spread(problem, states[k : k + at_once], rows) for k in range(0, len(states), at_once)]
    mean, mse, consensus = (np.concatenate(each) for each in zip(*parts, strict=True))
    found = {"mse": mse, "consensus": consensus, **in_blocks(partial(_at, problem), mean, _points_at_once(problem))}
    if problem.test is not None:
        each = in_blocks(problem.scores, states.reshape(-1, dim).astype(np.float64), _points_at_once(problem))
        found |= {f"worst_{name}": _worst(name, values.reshape(-1, n_nodes)) for name, values in each.items()}
    return {name: values.reshape(lead) for name, values in found.items()}


def _worst(name: str, values: np.ndarray) -> np.ndarray:
    """The worst of the nodes' scores, (N, n) -> (N,)."""
    return values.max(axis=1) if name.endswith(("loss", "error")) else values.min(axis=1)


def _spread(problem: Problem, x: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean states (N, d), mse and consensus (N,) of node states (N, n, d), so many rows at a time."""
    n_nodes = x.shape[1]
    reference = np.nan if problem.minimizer is None else problem.minimizer
    mean, consensus, mse = np.zeros((len(x), x.shape[2])), np.zeros(len(x)), np.zeros(len(x))
    for first in range(0, n_nodes, rows):
        # One pass over x, block by block; means and sums of squares are merged without cancellation (Chan et al. 1983).
        block = x[:, first : first + rows].astype(np.float64, copy=False)
        size = block.shape[1]
        mse += sum_of_squares(block - reference)
        block_mean = block.mean(axis=1)
        shift = block_mean - mean
        consensus += sum_of_squares(block - block_mean[:, None])
        consensus += first * size / (first + size) * np.square(shift).sum(axis=-1)
        mean += size / (first + size) * shift
    return mean, mse / n_nodes, consensus / n_nodes


def _at(problem: Problem, mean: np.ndarray) -> dict[str, np.ndarray]:
    """What is measured at mean states (N, d)."""
    loss, gradient = problem.global_loss_and_gradient(mean)
    own = problem.metrics(mean)
    if taken := own.keys() & RESERVED:
        raise ValueError(
            f"{type(problem).__name__} has a metric {min(taken)!r}, which is a column already; give it another name"
        )
    proximal = mean - soft_threshold(mean - gradient, problem.l1) if problem.l1 else gradient
    return {
        "loss": problem.with_l1_term(loss, mean),
        "squared_gradient_norm": np.square(gradient).sum(axis=-1),
        "stationarity": np.square(proximal).sum(axis=-1),
        **own,
    }


def pass_size(problem: Problem) -> int:
    """Numbers that a pass over the data of a problem multiplies, at one point."""
    return (int(problem.counts.sum()) or problem.n_nodes * problem.dim) * problem.dim


def _points_at_once(problem: Problem) -> int:
    """As many as share a pass over the data of a small problem, a few of a large one; else as share only its calls."""
    size = pass_size(problem)
    return int(np.clip(PRODUCTS // size, 16, 64) if problem.shares_passes else np.clip(CALL // size, 1, 16))


def filled(problem: Problem, points: int) -> float:
    """How much of what `measure` works on so many points are, which it fills up to whole blocks."""
    size = _points_at_once(problem)
    return points / (size * -(-points // size)) if points else 1.0


def in_blocks(
    function: Callable[[np.ndarray], dict[str, np.ndarray]], points: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    """`function` of points (N, d), exactly `size` of them in each call, the last one repeated.

    A matrix product rounds by the shape of its factors, so that a point measured among others in each run would not be
    the same to the last bit.
    """
    parts = []
    for first in range(0, len(points), size):
        block = points[first : first + size]
        missing = size - len(block)
        padded = np.concatenate([block, np.repeat(block[-1:], missing, axis=0)]) if missing else block
        parts.append({name: values[: len(block)] for name, values in function(padded).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def recorded(record: Mapping[str, Callable[[np.ndarray], Any]], x: np.ndarray) -> dict[str, np.ndarray]:
    """What the functions of `record` make of node states (..., n, d), each an array (...) of numbers.

    Raises
    ------
    ValueError
        A function returns another shape, or what are no real numbers.
    """
    states = x.view()
    states.flags.writeable = False
    found = {}
    for name, function in record.items():
        value = np.asarray(function(states))
        if value.shape != x.shape[:-2] or value.dtype.kind not in "biuf":
            raise ValueError(
                f"record[{name!r}] returned {value.dtype} of shape {value.shape} for node states of shape {x.shape}; "
                f"return a real number for each index but the last two, an array of shape {x.shape[:-2]}"
            )
        found[name] = value
    return found


@checks.keywords
def worst_node_error(problem: Problem) -> Callable[[np.ndarray], np.ndarray]:
    """max_i ||x_i − x*||² as a function of node states, for `record` of `simlab.simulate`.

    Parameters
    ----------
    problem : Problem
        With a known minimizer x*.

    Returns
    -------
    function
        Of states (..., n, d), returns (...).

    Raises
    ------
    ValueError
        The minimizer is not known.

    Examples
    --------
    >>> import simlab
    >>> problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=3, seed=1)
    >>> worst = {"worst": simlab.worst_node_error(problem)}
    >>> trace = simlab.simulate(problem, simlab.topologies.ring(8), simlab.DSGD(lr=0.1), steps=10, record=worst)
    >>> bool((trace.frame.worst >= trace.frame.mse).all())
    True
    """
    minimizer = checks.instance("problem", problem, Problem, "one of simlab's, or your own").known_minimizer

    def worst(x: np.ndarray) -> np.ndarray:
        return np.square(x - minimizer).sum(axis=-1).max(axis=-1)

    return worst


def sum_of_squares(x: np.ndarray) -> np.ndarray:
    """sum_i ||x_i||^2 over the rows of x (..., n, d)."""
    return np.einsum("...ij,...ij->...", x, x)


class Traffic:
    """What steps cost: bits sent, gradients evaluated; summed over nodes.

    Parameters
    ----------
    steps : Steps
        The traced steps: their exchanges are what is sent.
    network : Network or NetworkProcess
    dim : int
        Numbers in a message.
    number_bits : int
        32 or 64, by the run's precision.
    """

    def __init__(self, steps: Steps, network: AnyNetwork, dim: int, number_bits: int) -> None:
        self._order = np.array(steps.order)
        own, foreign, averages, gradients = np.zeros((4, len(steps.graphs)), np.int64)
        foreign_senders = np.zeros(len(steps.graphs), np.int64)
        for g, graph in enumerate(steps.graphs):
            gradients[g] = graph.count("gradient") + graph.count("saga")
            narrow_averages = [node.narrow for node in graph.nodes if node.op == "average"]
            averages[g] = sum(1 if narrow else dim for narrow in narrow_averages) * number_bits
            for other, narrow in graph.exchanges():
                message = (1 if narrow else dim) * number_bits
                if other is None:
                    own[g] += message
                else:
                    foreign[g] += int(np.sum(other.degrees)) * message
                    foreign_senders[g] += other.n_nodes * message
        self._own, self._averages, self._gradients = own, averages, gradients
        self._foreign = np.stack([foreign_senders, foreign, np.zeros_like(foreign)], axis=-1)
        if isinstance(network, Network):
            n = network.n_nodes
            a_phase = self._cost(self._order, n, int(network.degrees.sum()), n, n)
            self._before = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(a_phase, axis=0)])

    def _cost(self, kinds: np.ndarray, senders: Any, messages: Any, awake: Any, firing: Any) -> np.ndarray:
        """Of steps of these kinds, (K, 3)."""
        own, average = self._own[kinds], self._averages[kinds] * 2 * np.maximum(awake - 1, 0)  # nobody may be awake
        columns = own * senders + average, own * messages + average, self._gradients[kinds] * firing
        return np.stack(columns, axis=-1) + self._foreign[kinds]

    def after(self, steps: np.ndarray) -> np.ndarray:
        """Costs of so many steps on a network that does not change.

        Parameters
        ----------
        steps : int array (S,)

        Returns
        -------
        int array (S, 3)
            payload_bits: each message counted once, as a broadcast; bits: once a neighbour that receives it, an exact
            average as a ring all-reduce, in which every node sends 2 (n − 1)/n of its numbers, each to one neighbour;
            gradients: local gradients that were evaluated, each on its mini-batch.
        """
        whole, part = np.divmod(steps, len(self._order))
        return whole[:, None] * self._before[-1] + self._before[part]

    def each(self, links: Exchanges, done: int) -> np.ndarray:
        """Costs of each step of a network that changes, after `done` others: (K, 3), the columns as of `after`."""
        blocks = links.start[:-1], links.start[1:]
        sums = [
            np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
            for values in (links.receivers > 0, links.receivers, links.fires)
        ]
        senders, messages, firing = ((total[blocks[1]] - total[blocks[0]])[links.which] for total in sums)
        awake = np.diff(links.start)[links.which]
        kinds = self._order[(done + np.arange(len(links.which))) % len(self._order)]
        return self._cost(kinds, senders, messages, awake, firing)
