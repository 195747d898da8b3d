"""One step of an algorithm on quadratics is an affine map z⁺ = Tz + Nξ + u of its state: read off the algorithm's own
code.
"""

from __future__ import annotations

import numbers
from contextlib import nullcontext
from copy import copy
from functools import cache
from typing import Any

import numpy as np

import simlab
from simlab.network import Network
from simlab.operations import Batch, present
from simlab.problems.base import Problem
from simlab.protocols import Algorithm, Mixing, Objective
from simlab.step.graph import Counter, ForeignNounError, check_new, step_graph, take_step

BLOCK = 1 << 22  # numbers of states held at once while a matrix is read off
UNFELT = 1e-12  # relative: what rounding may leave of an effect that there is not


class Surrogate:
    """Quadratics f_i(x) = x'H_i x/2 − c_i'x that a step takes for its problem; it notes where gradients are asked for.

    Parameters
    ----------
    curvature : ndarray, shape (n, d, d), (n, d), (1, d, d) or (1, d)
        Hessians H_i, or their diagonals; a first axis of 1 where all nodes share one.
    linear : ndarray, shape (n, d)
        c_i.
    """

    n_samples = None
    is_quadratic = True

    def __init__(self, curvature: np.ndarray, linear: np.ndarray) -> None:
        self.curvature, self.linear = curvature, linear
        self.n_nodes, self.dim = linear.shape
        self.calls = 0
        self.point = np.zeros_like(linear)

    @classmethod
    def of(cls, problem: Any) -> Surrogate:
        """The quadratic problem itself."""
        if not hasattr(problem, "hessians"):
            return cls.at(problem, np.zeros((problem.n_nodes, problem.dim)))
        diagonals = getattr(problem, "diagonals", None)
        curvature = problem.hessians if diagonals is None else diagonals
        first = curvature[:1]
        shared = np.max(np.abs(curvature - first), initial=0.0) <= 4 * np.finfo(float).eps * np.max(np.abs(first))
        return cls(first if shared else curvature, problem.linear)

    @classmethod
    def at(cls, problem: Problem, x: np.ndarray) -> Surrogate:
        """The quadratics that agree with the f_i to second order at the rows of `x` (n, d)."""
        hessians = problem.hessian(x)
        return cls(hessians, (hessians @ x[:, :, None])[:, :, 0] - problem.gradient(x))

    def gradient(self, x: np.ndarray, batch: Batch | None = None) -> np.ndarray:
        """Rows H_i x_i − c_i, plus the noise of `batch`."""
        self.calls += 1
        self.point = x
        result = self.curve(x) - self.linear
        return result if batch is None or batch.noise is None else result + batch.noise

    def proximal(self, v: np.ndarray, weight: Any) -> np.ndarray:
        """Rows argmin_u f_i(u) + (w_i/2)‖u − v_i‖²; `weight` is a number, or one a node, (n, 1)."""
        return self._tilted(weight * v, weight)

    def conjugate(self, y: np.ndarray) -> np.ndarray:
        """Rows argmin_u f_i(u) − y_i'u."""
        return self._tilted(y, 0.0)

    def _tilted(self, y: np.ndarray, weight: Any) -> np.ndarray:
        """Rows (H_i + w_i)^(−1)(c_i + y_i): where a step evaluates them is where f_i has to be known."""
        self.calls += 1
        w, right = np.asarray(weight, dtype=float), self.linear + y
        if self.curvature.ndim == 2:
            self.point = right / (self.curvature + w)
        else:
            matrices = self.curvature + (w[..., None] if w.ndim else w) * np.eye(self.dim)
            self.point = np.linalg.solve(matrices, right[..., None])[..., 0]
        return self.point

    def curve(self, x: np.ndarray) -> np.ndarray:
        """Rows H_i x_i: (..., n, d) -> (..., n, d)."""
        h = self.curvature
        if h.ndim == 2:
            return x * h
        if len(h) == 1:
            return x @ h[0]
        return (x.reshape(-1, *x.shape[-2:]).swapaxes(0, 1) @ h).swapaxes(0, 1).reshape(x.shape)


class AffineStep:
    """The affine map z⁺ = Tz + Nξ + u, by calls of the algorithm's step; states are arrays (..., k, n, d), x first.

    Parameters
    ----------
    surrogate : Surrogate
        The quadratics.
    network, algorithm
        What takes the step.
    x0 : ndarray, shape (n, d)
        Where it starts.
    phase : Counter, optional
        Where the step is one of several, see `simlab.operations.phase`.

    Attributes
    ----------
    shape : (k, n, d)
        Of a state: k arrays, x and buffers, less those (or combinations of them) that x never feels. Two buffers
        that act only by their difference count as one.
    start : ndarray, shape (k, n, d)
        z_0.
    up, down : ndarrays, shape (number of fields, k) and (k, number of fields)
        The algorithm's fields from the arrays of a state, and back. A buffer may be as large as x/γ: here it is in a
        unit (a power of 2) in which it weighs as much as x, so that what is rounding does not depend on the units of
        lr.
    given : dict of arrays (n, 1)
        Fields of one number a node, which do not depend on the rest: the weights of push-sum. They are no part of z.
    gradient_calls : int
        Gradients that one step asks for.
    has_modes : bool
        Whether the step can be taken on modes alone, see `mode_matrices`.

    Raises
    ------
    ValueError
        The step is not affine, or a hyperparameter changes from step to step.
    """

    phase: Counter | None = None
    nodes: tuple[np.ndarray, np.ndarray] | None = None

    def __init__(
        self,
        surrogate: Surrogate,
        network: Mixing,
        algorithm: Algorithm,
        x0: np.ndarray,
        phase: Counter | None = None,
    ) -> None:
        self.phase = phase
        for field, value in zip(algorithm._fields, algorithm, strict=True):
            if callable(value) and not compresses(value):
                raise ValueError(
                    f"algorithm.{field} = {value!r} changes from step to step; predict with a constant {field}"
                )
        name = type(algorithm).__name__
        self._refusal = ValueError(
            f"algorithm: {name}.step is not affine in its state (it compresses, thresholds, branches or divides), "
            "which only simulation can follow; simulate it, or predict its uncompressed form"
        )
        if any(compresses(value) for value in algorithm):
            raise self._refusal
        self.surrogate, self.network, self.algorithm = surrogate, network, algorithm
        self._homogeneous = Surrogate(surrogate.curvature, np.zeros_like(surrogate.linear))
        state = algorithm.init(np.array(x0))
        self._state = type(state)
        narrow = narrow_fields(algorithm)
        self.given = {f: np.asarray(getattr(state, f), dtype=float) for f in narrow}
        self.fields = tuple(f for f in state._fields if f not in narrow)
        self._check_nouns(state)
        bad = [f for f in self.fields if np.shape(getattr(state, f)) != x0.shape]
        if bad:
            raise ValueError(
                f"algorithm.init gives {bad[0]!r} of shape {np.shape(getattr(state, bad[0]))}, not {x0.shape}; "
                "only states of arrays (n, d) are predicted"
            )
        fields = np.stack([np.asarray(getattr(state, f), dtype=float) for f in self.fields])
        self.up = self.down = np.eye(len(fields))
        self._hold(fields)
        units = self._units()
        self.up, self.down = np.diag(units), np.diag(1 / units)
        self._hold(_combine(self.down, fields))
        self.gradient_calls = self._homogeneous.calls
        self._gradient_origin = np.array(self._homogeneous.point)
        self.check_affine()
        self.has_modes = False
        if isinstance(network, Network):  # of one that changes each outcome would have to agree
            self._forget_what_x_never_feels()

    def _check_nouns(self, state: Any) -> None:
        """ForeignNounError where the step uses a problem or batch of its own, as `simlab.simulate` refuses it."""
        try:
            if self.phase is None:
                step_graph(self.algorithm, state)
                self.phase = Counter(0)  # it may ask for its phase, of which there is one
        except ForeignNounError:
            raise
        except TypeError:
            pass  # what cannot be traced may yet be affine

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Tz + u."""
        return self.of(self.surrogate, z)

    def linear(self, z: np.ndarray) -> np.ndarray:
        """Tz."""
        return self.of(self._homogeneous, z) - self._constant

    def drive(self, noise: np.ndarray) -> np.ndarray:
        """Nξ: (..., n, d) -> (..., k, n, d)."""
        zero = np.zeros((*noise.shape[:-2], *self.shape))
        return self.of(self._homogeneous, zero, noise) - self._constant

    def gradient_points(self, z: np.ndarray) -> np.ndarray:
        """Where the step evaluates its (last) gradient: (..., k, n, d) -> (..., n, d)."""
        self.of(self.surrogate, z)
        return np.broadcast_to(self.surrogate.point, (*z.shape[:-3], *self.shape[1:]))

    def matrix(self) -> np.ndarray:
        """T, shape (s, s), s = k n d: column j is what the step makes of unit state j."""
        return self.read(self.linear, self.shape).T

    def noise_matrix(self) -> np.ndarray:
        """N, shape (s, n d)."""
        return self.read(self.drive, self.shape[1:]).T

    def gradient_matrix(self) -> np.ndarray:
        """Y, shape (n d, s): gradients are evaluated at Yz plus a constant."""
        return self.read(lambda z: self.gradient_points(z) - self._gradient_origin, self.shape).T

    def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """T, N and Y at once, see `matrix`, `noise_matrix` and `gradient_matrix`."""

        def function(units: np.ndarray) -> np.ndarray:
            """Of states and noise, (..., k + 1, n, d), the new states and where the gradient is evaluated."""
            moved = self.of(self._homogeneous, units[..., :-1, :, :], units[..., -1, :, :]) - self._constant
            points = np.broadcast_to(self._homogeneous.point, (*units.shape[:-3], *self.shape[1:]))
            return np.concatenate([moved, (points - self._gradient_origin)[..., None, :, :]], axis=-3)

        fields, *rest = self.shape
        both = self.read(function, (fields + 1, *rest)).T
        return both[: self.size, : self.size], both[: self.size, self.size :], both[self.size :, : self.size]

    def operator(self) -> Any:
        """T as a scipy LinearOperator, matrix-free."""
        from scipy.sparse.linalg import LinearOperator

        def matvec(v: np.ndarray) -> np.ndarray:
            return self.linear(v.reshape(self.shape)).ravel()

        return LinearOperator((self.size, self.size), matvec=matvec, dtype=np.float64)

    def read(self, function: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Rows: `function` of each unit array of `shape`, flat."""
        count = int(np.prod(shape))
        width = max(1, BLOCK // self.size)
        rows = []
        for first in range(0, count, width):
            units = np.zeros((min(width, count - first), count))
            units[np.arange(len(units)), first + np.arange(len(units))] = 1.0
            rows.append(function(units.reshape(-1, *shape)).reshape(len(units), -1))
        return np.concatenate(rows)

    def of(self, problem: Objective, z: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """The step of a problem that may be another: (..., k, n, d) -> (..., k, n, d)."""
        old, state = self._take(problem, z, noise)
        shape = (*z.shape[:-3], *z.shape[-2:])
        new = self._wide(state, shape)
        if self.nodes is not None:  # who sleeps keeps the whole state
            new = np.where(self.nodes[0], new, self._wide(old, shape))
        return _combine(self.down, new)

    def _take(self, problem: Objective, z: np.ndarray, noise: np.ndarray | None = None) -> tuple[Any, Any]:
        """The algorithm's own state before and after."""
        fields = _combine(self.up, z)
        values = {field: fields[..., k, :, :] for k, field in enumerate(self.fields)}
        old = self._state(**values, **self.given)
        batch = Batch(None, noise, step=self.phase)
        here = nullcontext() if self.nodes is None else present(*self.nodes)
        with here, np.errstate(divide="ignore", invalid="ignore"):  # such a step is not affine, which is found later
            state = take_step(self.algorithm, old, problem, self.network, batch)
        check_new(self.algorithm, old, state)
        return old, state

    def _wide(self, state: Any, shape: tuple[int, ...]) -> np.ndarray:
        fields = np.empty((*shape[:-2], len(self.fields), *shape[-2:]))
        for k, field in enumerate(self.fields):
            fields[..., k, :, :] = getattr(state, field)
        return fields

    def given_after(self) -> dict[str, np.ndarray]:
        """`given` after this step.

        Raises
        ------
        ValueError
            It depends on the state.
        """
        found = []
        for z in (np.zeros(self.shape), np.random.default_rng(2).standard_normal(self.shape)):
            old, state = self._take(self.surrogate, z)
            awake = True if self.nodes is None else self.nodes[0]
            found.append({f: np.where(awake, getattr(state, f), getattr(old, f)) for f in self.given})
        if any(not np.array_equal(found[0][f], found[1][f]) for f in self.given):
            raise self._refusal
        return found[0]

    def at(
        self,
        network: Any,
        phase: Counter | None,
        nodes: tuple[np.ndarray, np.ndarray] | None = None,
        given: dict[str, np.ndarray] | None = None,
    ) -> AffineStep:
        """The same states' step over another network, in a phase, with who is awake and who fires, (n, 1) each."""
        other = copy(self)
        other.given = self.given if given is None else given
        other.network, other.phase, other.nodes = network, phase, nodes
        other._hold(self.start)
        other._gradient_origin = np.array(other._homogeneous.point)
        return other

    def modes(self, graph: np.ndarray, curvature: np.ndarray, consensus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T and N on modes, see `mode_matrices`, for states as here: (..., k, k), (..., k)."""
        transition, noise = mode_matrices(self.algorithm, graph, curvature, consensus)
        return self.down @ transition @ self.up, noise @ self.down.T

    def from_(self, start: np.ndarray) -> AffineStep:
        """The step from another start (k, n, d)."""
        other = copy(self)
        other._hold(start)
        return other

    def rescaled(self, algorithm: Algorithm, units: np.ndarray) -> AffineStep:
        """The step of an algorithm with other parameters, fields `units` times as large."""
        other = copy(self)
        other.algorithm = algorithm
        other.up, other.down = units[:, None] * self.up, self.down / units
        other._hold(self.start)
        return other

    def typical_modes(self, mean: bool, count: int = 6) -> np.ndarray:
        """T on random modes of the mean over nodes, or of the disagreement: (count, k, k)."""
        random = np.random.default_rng(1 + mean)
        size = float(np.max(np.abs(self.surrogate.curvature), initial=0.0)) or 1.0
        graph = np.ones(count) if mean else random.uniform(-0.9, 0.9, count)
        return self.modes(graph, size * random.uniform(0.1, 2.0, count), np.full(count, mean))[0]

    def _units(self) -> np.ndarray:
        """Powers of 2 that make the effects of fields on each other alike in size, the one of x being 1."""
        from scipy.linalg.lapack import dgebal

        random, count = np.random.default_rng(3), self.shape[0]
        effects = np.empty((count, count))
        with np.errstate(all="ignore"):
            for field in range(count):
                z = np.zeros(self.shape)
                z[field] = random.standard_normal(self.shape[1:])
                effects[:, field] = np.max(np.abs(self.linear(z)), axis=(1, 2))
        if not np.all(np.isfinite(effects)):
            return np.ones(count)
        # What is left where an effect cancels (I − γH = 0) is rounding, and no size to go by.
        effects[effects <= 8 * np.finfo(float).eps * np.max(effects, axis=1, keepdims=True)] = 0.0
        scale = dgebal(effects, scale=1, permute=0)[3]
        return scale / scale[0]

    def _hold(self, start: np.ndarray) -> None:
        """Start from `start`, of shape (k, n, d)."""
        self.start, self.shape, self.size = start, start.shape, start.size
        self._homogeneous.calls = 0
        self._constant = self.of(self._homogeneous, np.zeros(start.shape))

    def _forget_what_x_never_feels(self) -> None:
        """Keep the combinations of fields that x feels, sooner or later: the observable part of the state."""
        self.has_modes = True
        try:
            modes = np.concatenate([self.typical_modes(mean=True), self.typical_modes(mean=False)])
        except (AttributeError, IndexError, TypeError, ValueError):
            self.has_modes = False
            return  # a step that asks its network or problem for more than modes can say
        felt = np.eye(1, self.shape[0])
        for _ in range(self.shape[0]):
            for row in (felt @ modes).reshape(-1, self.shape[0]):
                new = row - (row @ felt.T) @ felt
                new -= (new @ felt.T) @ felt
                if np.linalg.norm(new) > UNFELT * np.linalg.norm(row):
                    felt = np.vstack([felt, new / np.linalg.norm(new)])
        if len(felt) == self.shape[0]:
            return
        # Modes commute where W and the H_i need not: look whether T itself agrees.
        hidden = np.random.default_rng(1).standard_normal(self.shape)
        hidden -= _combine(felt.T @ felt, hidden)
        moved = self.linear(hidden)
        if np.max(np.abs(_combine(felt, moved))) <= UNFELT * np.max(np.abs(moved), initial=1.0):
            start = _combine(felt, self.start)
            self.up, self.down = self.up @ felt.T, felt @ self.down
            self._hold(start)

    def check_affine(self) -> None:
        """ValueError unless it is linear on random states, and in the noise; a threshold or a quantizer is not."""
        random = np.random.default_rng(0)
        with np.errstate(all="ignore"):
            for scale in (1e-4, 1.0, 1e4):
                a, b = scale * random.standard_normal((2, *self.shape))
                e = scale * random.standard_normal(self.shape[1:])
                states = np.stack([2.0 * a - 3.0 * b, a, b, 0 * a, a])
                noise = np.stack([0 * e, 0 * e, 0 * e, e, e])
                combined, of_a, of_b, driven, together = self.of(self._homogeneous, states, noise) - self._constant
                size = np.max(np.abs(of_a)) + np.max(np.abs(of_b)) + np.max(np.abs(self._constant))
                size += 1e-5 * np.max(np.abs([a, b]))  # T may be 0, but for rounding
                if not np.max(np.abs(combined - (2.0 * of_a - 3.0 * of_b))) <= 1e-9 * size:
                    raise self._refusal
                size += np.max(np.abs(driven))
                if not np.max(np.abs(together - of_a - driven)) <= 1e-9 * size:
                    raise self._refusal


def narrow_fields(algorithm: Algorithm) -> tuple[str, ...]:
    """Fields of a state that hold one number a node, such as the weights of push-sum."""
    state = algorithm.init(np.zeros((2, 2)))
    return tuple(f for f, value in zip(state._fields, state, strict=True) if np.shape(value) == (2, 1))


def compresses(value: Any) -> bool:
    """Whether a field of an algorithm is a compressor that loses something."""
    exact = isinstance(value, numbers.Number | simlab.compression.Identity)  # NumPy's numbers have a `compress` too
    return hasattr(value, "compress") and not exact


@cache
def _identity(size: int) -> np.ndarray:
    return np.eye(size)


def _combine(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Combinations of fields: (r, k), (..., k, n, d) -> (..., r, n, d)."""
    if weights.shape == (z.shape[-3],) * 2 and (weights == _identity(len(weights))).all():
        return z
    return np.einsum("rk,...knd->...rnd", weights, z)


class _Mode:
    """Two nodes that stand for modes of n nodes: (1, 1) is the mean, (1, −1) a disagreement of eigenvalue λ."""

    n_nodes, dim, n_samples, is_quadratic = 2, 1, None, True

    def __init__(self, graph: np.ndarray, curvature: np.ndarray) -> None:
        self.graph, self.curvature = graph[..., None, None], curvature[..., None, None]

    def mix(self, x: np.ndarray) -> np.ndarray:
        mean = x.mean(axis=-2, keepdims=True)
        return mean + self.graph * (x - mean)

    def gradient(self, x: np.ndarray, batch: Batch | None = None) -> np.ndarray:
        result = self.curvature * x
        return result if batch is None or batch.noise is None else result + batch.noise


def mode_matrices(
    algorithm: Algorithm, graph: np.ndarray, curvature: np.ndarray, consensus: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """T and N on the modes that decouple where all Hessians are equal, again by the algorithm's own step.

    Parameters
    ----------
    algorithm
        The algorithm; it must be affine (see `AffineStep`).
    graph, curvature : ndarrays that broadcast together
        Eigenvalues λ of W and h of the common Hessian.
    consensus : ndarray of bool
        Which modes are the mean over nodes (λ = 1): an exact average keeps them and removes all others.

    Returns
    -------
    transition : ndarray, shape (..., k, k)
    noise : ndarray, shape (..., k)
    """
    graph, curvature, consensus = np.broadcast_arrays(graph, curvature, consensus)
    both = _Mode(graph, curvature)
    unit = np.stack([np.ones(graph.shape), np.where(consensus, 1.0, -1.0)], axis=-1)[..., None]
    zero = np.zeros_like(unit)
    start = algorithm.init(unit)
    narrow = narrow_fields(algorithm)  # weights of push-sum, which W leaves at 1
    names = [name for name in start._fields if name not in narrow]
    k = len(names)

    def step(fields: list[np.ndarray], noise: np.ndarray | None = None) -> np.ndarray:
        state = start._replace(**dict(zip(names, fields, strict=True)))
        new = algorithm.step(state, both, both, Batch(None, noise))
        return np.stack([np.broadcast_to(getattr(new, name), unit.shape)[..., 0, 0] for name in names], axis=-1)

    constant = step([zero] * k)
    columns = [step([unit if f == g else zero for g in range(k)]) - constant for f in range(k)]
    return np.stack(columns, axis=-1), step([zero] * k, unit) - constant
