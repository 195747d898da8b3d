"""Where a method goes, as combinations of its start and of the gradients that it is given.

Its own `step` runs on arrays (n, P) whose rows are coefficients over a basis of unknown vectors: x⁰ − x*, the gradients
∇f_i(x*), and those at the points where the step asks for gradients. A gradient is a new vector; all else has to be
linear.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simlab.network import Network
from simlab.network.law import Cycle
from simlab.operations import Batch, present
from simlab.protocols import Algorithm
from simlab.run.settings import hyperparameters
from simlab.step.graph import numeric_fields, take_step, with_values
from theory.moments.affine import compresses
from theory.moments.changing import Current
from theory.transfer import apply_transfer

UNFELT = 1e-8  # relative: more is no rounding


class Trajectory(NamedTuple):
    """Points and gradients as coefficients, rows of width P = 1 + n + n T for T calls of gradients.

    The columns are x⁰ − x*, then ∇f_1(x*), ..., ∇f_n(x*), then n gradients for each call.

    Attributes
    ----------
    points : ndarray, shape (T, n, P)
        Where gradients are taken, less x*.
    gradients : ndarray, shape (T, n, P)
        The gradients there.
    final : ndarray, shape (n, P)
        Node states after the last step, less x*.
    weights : tuple of ndarrays, shape (n, n)
        The mixing matrices.
    apart : tuple of ints, default (0,)
        Which of the vectors of n, counted from ∇f_i(x*), add up to zero.
    at_rest : bool, default False
        Whether x⁰ is any point: where the method rests.
    """

    points: np.ndarray
    gradients: np.ndarray
    final: np.ndarray
    weights: tuple[np.ndarray, ...]
    apart: tuple[int, ...] = (0,)
    at_rest: bool = False

    @property
    def n_nodes(self) -> int:
        """Nodes."""
        return int(self.final.shape[0])


class Oracle:
    """A problem whose gradients and points are rows of a table: the n of each call follow those of the one before.

    Parameters
    ----------
    rows : ndarray, shape (calls, n, D)
        A vector for each call and node.
    """

    n_samples = None
    is_quadratic = False

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.n_nodes, self.dim = rows.shape[1:]
        self.calls = 0
        self.points: list[np.ndarray] = []
        self.gradients: list[np.ndarray] = []

    def gradient(self, x: np.ndarray, batch: Batch | None = None) -> np.ndarray:
        """A new vector at a new point."""
        for point, known in zip(self.points, self.gradients, strict=True):
            if np.array_equal(point, x):
                return known
        return self._note(np.array(x), self._next())[1]

    def proximal(self, x: np.ndarray, weight: Any) -> np.ndarray:
        """The point x − g/weight, at which the gradient is a new vector g."""
        gradient = self._next()
        return self._note(x - gradient / weight, gradient)[0]

    def _next(self) -> np.ndarray:
        self.calls += 1
        return self.rows[self.calls - 1] if self.calls <= len(self.rows) else np.zeros((self.n_nodes, self.dim))

    def _note(self, point: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.points.append(point)
        self.gradients.append(gradient)
        return point, gradient


def trajectory(network: Any, algorithm: Algorithm, steps: int) -> Trajectory:
    """Run `steps` steps from one point at all nodes.

    Raises
    ------
    ValueError
        The method is not linear in its states and gradients, or depends on where the origin is; or the network is
        random.
    """
    if any(compresses(value) for value in algorithm):
        raise _not_linear(algorithm)
    names, table = numeric_fields(algorithm), hyperparameters(algorithm, steps)
    settings = [with_values(algorithm, dict(zip(names, map(float, row), strict=True))) for row in table]
    at, weights = _networks(network)
    n = network.n_nodes

    def run(rows: np.ndarray, start: np.ndarray) -> tuple[Oracle, np.ndarray]:
        oracle = Oracle(rows)
        state = (settings[0] if settings else algorithm).init(start)
        for k, setting in enumerate(settings):
            given = at[k % len(at)]
            if isinstance(given, Network):
                state = take_step(setting, state, oracle, given, Batch(step=k))
            else:
                with present(given.awake, given.fires):
                    state = take_step(setting, state, oracle, given, Batch(step=k))
        return oracle, np.asarray(state[0], dtype=float)

    rng = np.random.default_rng(0)
    try:
        calls = run(np.empty((0, n, 2)), np.tile(rng.standard_normal(2), (n, 1)))[0].calls
        calls = run(rng.standard_normal((calls + steps, n, 3)), np.tile(rng.standard_normal(3), (n, 1)))[0].calls
        width = 1 + n + n * calls
        units = np.eye(width)[1 + n :].reshape(calls, n, width)
        start = np.zeros((n, width))
        start[:, 0] = 1.0
        oracle, final = run(units, start)
        # The same with vectors in place of the coefficients, and the origin elsewhere.
        basis, shift = rng.standard_normal((width, 4)), rng.standard_normal(4)
        real, there = run(units @ basis, start @ basis + shift)
        same = real.calls == oracle.calls and all(
            _agree(a, b @ basis + shift) for a, b in zip([*real.points, there], [*oracle.points, final], strict=True)
        )
    except (TypeError, AttributeError, FloatingPointError) as error:
        raise _not_linear(algorithm) from error
    if not same:
        raise _not_linear(algorithm)
    points, gradients = (np.reshape(list_, (-1, n, width)) for list_ in (oracle.points, oracle.gradients))
    return _needed(Trajectory(points, gradients, final, weights))


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.max(np.abs(a - b), initial=0.0) <= UNFELT * max(1.0, float(np.max(np.abs(b), initial=0.0))))


def _not_linear(algorithm: Algorithm) -> ValueError:
    return ValueError(
        f"algorithm = {algorithm!r} does not combine states, gradients and exchanges linearly, or depends on where the "
        "origin is (it compresses, thresholds, branches or decays weights); its worst case is not a semidefinite "
        "program: take its uncompressed form"
    )


def _networks(network: Any) -> tuple[list[Any], tuple[np.ndarray, ...]]:
    """What the steps of a period are given, and its matrices."""
    if isinstance(network, Network):
        w = network.weights
        return [network], (w.toarray() if hasattr(w, "toarray") else np.asarray(w, dtype=float),)
    law = network.law() if hasattr(network, "law") else None
    if not isinstance(law, Cycle) or any(len(outcomes) > 1 for outcomes in law.steps):
        raise ValueError(
            f"network = {network!r} is random, and the worst case is over functions, not over chances; pass a network "
            "that stays, or simlab.dynamics.cycle or every"
        )
    outcomes = [each for (each,) in law.steps]
    return [Current(each, network.stochastic) for each in outcomes], tuple(each.weights for each in outcomes)


def _needed(whole: Trajectory) -> Trajectory:
    """Without the gradients that the final states do not feel."""
    calls, n, _ = whole.points.shape
    felt: np.ndarray = np.any(whole.final, axis=0)
    kept: list[int] = []
    for t in reversed(range(calls)):
        own = slice(1 + n + t * n, 1 + n + (t + 1) * n)
        if np.any(felt[own]):
            kept.append(t)
            felt |= np.any(whole.points[t], axis=0)
    kept.reverse()
    columns = np.concatenate([np.arange(1 + n), *(1 + n + t * n + np.arange(n) for t in kept)]).astype(int)
    return whole._replace(
        points=whole.points[kept][..., columns],
        gradients=whole.gradients[kept][..., columns],
        final=whole.final[:, columns],
    )


def rest(network: Network, algorithm: Algorithm) -> Trajectory:
    """Where a method rests: X = 1x̄ᵀ − γφ(W)G and ΣG = 0, φ its bias transfer function; x⁰ is x̄.

    Raises
    ------
    TypeError, ValueError
        It has none on this network, or is exact.
    """
    n = network.n_nodes
    lr = float(getattr(algorithm, "lr", np.nan))
    apart = np.eye(n) - 1 / n  # that the gradients add up to zero
    gradients, points = np.zeros((n, 1 + 2 * n)), np.zeros((n, 1 + 2 * n))
    gradients[:, 1 + n :] = apart
    points[:, 0], points[:, 1 + n :] = 1.0, -lr * apply_transfer(network, algorithm, apart)
    if not np.any(np.abs(points[:, 1:]) > UNFELT * lr):
        raise ValueError(
            f"steps = inf with algorithm = {algorithm!r}: its limit on {network.name} is exact whatever the functions "
            "are; pass a number of steps"
        )
    weights = _networks(network)[1]
    return Trajectory(points[None], gradients[None], points, weights, apart=(0, 1), at_rest=True)


def averaged(path: Trajectory) -> Trajectory:
    """The same, with a last call for the gradients at the mean of the final states."""
    _, n, width = path.points.shape
    grown = [np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, n)]) for a in (path.points, path.gradients, path.final)]
    points, gradients, final = grown
    mean = np.broadcast_to(final.mean(axis=0), (n, width + n))
    new = np.eye(width + n)[width:]
    return path._replace(
        points=np.concatenate([points, mean[None]]), gradients=np.concatenate([gradients, new[None]]), final=final
    )
