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
from theory.transfer import apply_transfer, constant
from theory.worst.spectrum import Exchanges, Spectrum

UNFELT = 1e-8  # relative: more is no rounding


class Trajectory(NamedTuple):
    """Points and gradients as coefficients, rows of width P = 1 + n + n T + n E for T calls of gradients.

    The columns are x⁰ − x*, then ∇f_1(x*), ..., ∇f_n(x*), then n gradients for each call, then, of networks that are
    known by a spectrum alone, what each of E exchanges gives.

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
    sent, received : ndarrays, shape (E, n, P)
        What sets nodes apart before and after each exchange.
    spectrum : Spectrum or None
        Of a matrix that takes the one to the other.
    """

    points: np.ndarray
    gradients: np.ndarray
    final: np.ndarray
    weights: tuple[np.ndarray, ...]
    apart: tuple[int, ...] = (0,)
    at_rest: bool = False
    sent: np.ndarray = np.zeros((0, 1, 1))
    received: np.ndarray = np.zeros((0, 1, 1))
    spectrum: Spectrum | None = None

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
    require_no_compressor(algorithm)
    names, table = numeric_fields(algorithm), hyperparameters(algorithm, steps)
    settings = [with_values(algorithm, dict(zip(names, map(float, row), strict=True))) for row in table]
    spectrum = network if isinstance(network, Spectrum) else None
    at, weights = ([], (np.eye(2),)) if spectrum else _networks(network)
    n = len(weights[0])

    def run(rows: np.ndarray, start: np.ndarray, exchanged: np.ndarray) -> tuple[Oracle, Exchanges, np.ndarray]:
        oracle, exchanges = Oracle(rows), Exchanges(spectrum.low if spectrum else -1.0, exchanged)
        given_at = [exchanges] if spectrum else at
        state = (settings[0] if settings else algorithm).init(start)
        for k, setting in enumerate(settings):
            given = given_at[k % len(given_at)]
            if isinstance(given, Network | Exchanges):
                state = take_step(setting, state, oracle, given, Batch(step=k))
            else:
                with present(given.awake, given.fires):
                    state = take_step(setting, state, oracle, given, Batch(step=k))
        return oracle, exchanges, np.asarray(state[0], dtype=float)

    rng = np.random.default_rng(0)
    none = np.empty((0, n, 2))
    try:
        calls = run(none, np.tile(rng.standard_normal(2), (n, 1)), none)[0].calls
        tries, start, talks = rng.standard_normal((calls + steps, n, 3)), rng.standard_normal(3), steps
        while True:  # what is exchanged once the rows are used up may be zero, which is not counted
            oracle, exchanges, _ = run(tries, np.tile(start, (n, 1)), rng.standard_normal((talks, n, 3)))
            if len(exchanges.sent) <= talks:
                break
            talks *= 2
        calls, talks = oracle.calls, len(exchanges.sent)
        width = 1 + n + n * (calls + talks)
        units = np.eye(width)[1 + n :].reshape(calls + talks, n, width)
        start = np.zeros((n, width))
        start[:, 0] = 1.0
        oracle, exchanges, final = run(units[:calls], start, units[calls:])
        # The same with vectors in place of the coefficients, and the origin elsewhere.
        basis, shift = rng.standard_normal((width, 4)), rng.standard_normal(4)
        vectors = units @ basis
        real, others, there = run(vectors[:calls], start @ basis + shift, vectors[calls:])
        same = real.calls == oracle.calls and len(others.sent) == len(exchanges.sent) == talks
        same = same and all(
            _agree(a, b @ basis + shift) for a, b in zip([*real.points, there], [*oracle.points, final], strict=True)
        )
        same = same and all(_agree(a, b @ basis) for a, b in zip(others.sent, exchanges.sent, strict=True))
    except (TypeError, AttributeError, FloatingPointError) as error:
        raise _not_linear(algorithm) from error
    if not same:
        raise _not_linear(algorithm)
    points, gradients, sent, received = (
        np.reshape(rows, (-1, n, width))
        for rows in (oracle.points, oracle.gradients, exchanges.sent, exchanges.received)
    )
    whole = Trajectory(points, gradients, final, weights, sent=sent, received=received, spectrum=spectrum)
    return _needed(whole)


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.max(np.abs(a - b), initial=0.0) <= UNFELT * max(1.0, float(np.max(np.abs(b), initial=0.0))))


def require_no_compressor(algorithm: Algorithm) -> None:
    """ValueError if it has one."""
    if any(compresses(value) for value in algorithm):
        raise _not_linear(algorithm)


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
    """Without the gradients and exchanges that the final states do not feel."""
    calls, n, _ = whole.points.shape
    uses = np.any(np.concatenate([whole.points, whole.sent.reshape(-1, *whole.final.shape)]), axis=1)  # (T + E, P)
    felt: Any = np.any(whole.final, axis=0)
    kept = np.zeros(len(uses), dtype=bool)
    while True:
        now = felt[1 + n :].reshape(-1, n).any(axis=1)
        if np.array_equal(now, kept):
            break
        kept = now
        felt = felt | np.any(uses[kept], axis=0)
    columns = np.concatenate([np.ones(1 + n, dtype=bool), np.repeat(kept, n)])
    first, then = kept[:calls], kept[calls:]
    return whole._replace(
        points=whole.points[first][..., columns],
        gradients=whole.gradients[first][..., columns],
        final=whole.final[:, columns],
        sent=whole.sent[then][..., columns],
        received=whole.received[then][..., columns],
        apart=(0, *range(1 + int(first.sum()), 1 + int(kept.sum()))),
    )


def rest(network: Network, algorithm: Algorithm) -> Trajectory:
    """Where a method rests: X = 1x̄ᵀ − γφ(W)G and ΣG = 0, φ its bias transfer function; x⁰ is x̄.

    Raises
    ------
    TypeError, ValueError
        It has none on this network, or is exact.
    """
    n = network.n_nodes
    lr = constant(algorithm, "lr")
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
    points, gradients, final, sent, received = (
        np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, n)])
        for a in (path.points, path.gradients, path.final, path.sent, path.received)
    )
    mean = np.broadcast_to(final.mean(axis=0), (n, width + n))
    new = np.eye(width + n)[width:]
    return path._replace(
        points=np.concatenate([points, mean[None]]),
        gradients=np.concatenate([gradients, new[None]]),
        final=final,
        sent=sent,
        received=received,
    )
