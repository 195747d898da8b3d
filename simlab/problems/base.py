"""What every problem shares: its interface, its layout, and the constants that theory asks for."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from simlab import checks
from simlab.arrays import aligned_copy, namespace_of, to_host
from simlab.kernel import Kernel
from simlab.operations import Batch
from simlab.problems.composite import minimize_composite
from simlab.problems.newton import newton

Array = Any  # an array of any namespace of the array API

AT_MINIMIZER = {"minimizer", "minimum", "heterogeneity", "gradient_variance"}
PASSES = {"local_losses", "local_gradients", "global_loss", "global_gradient"}  # over the data
BLOCK = 1 << 22  # intermediate numbers held at once, of many points or samples: 32 MiB
CACHED = 1 << 16  # as many as stay in a processor's cache
SHARING = 16  # points that make a pass over the data worth its while


class constant(functools.cached_property[Any]):
    """A cached property of the problem as it was built: a converted copy asks its original."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is not None and instance._original is not None:
            return getattr(instance._original, str(self.attrname))
        return super().__get__(instance, owner)


class Problem:
    """Local objectives f_1, ..., f_n on R^d; the nodes seek the minimizer of their mean f, or of f + nu ||x||_1.

    A problem is immutable and holds float64 NumPy arrays, read-only; `convert` gives a copy in another
    array namespace or precision. `loss`, `gradient`, `global_loss` and `global_gradient` follow the array
    namespace of their argument; the constants are float64 on NumPy, computed once, when first asked for.

    A subclass (docs/own_problem.md shows one) writes

    - ``local_losses(xp, x)`` and ``local_gradients(xp, x)``: (n, R, d) -> (n, R) and (n, R, d), nodes first, at R
      points of each; `xp` is the array namespace of `x`,
    - with samples, ``sampled_gradients(xp, x, indices)``: (..., n, d) and (..., n, B) -> (..., n, d),
    - for the compiled engine, `kernel`,
    - for theory and `minimizer`, `hessian`; for bounds, the numbers `smoothness` and `strong_convexity`.

    Parameters
    ----------
    n_nodes, dim : int
        n and d, at least 1.
    n_samples : int or array of ints (n,), optional
        m, or m_i where nodes have unequal amounts.
    **data
        Attributes of the subclass, also `smoothness`, `strong_convexity`, `is_quadratic` or `is_convex` where these are
        no class attributes or properties. Arrays are copied; `convert` moves those of floating-point numbers.

    Attributes
    ----------
    n_nodes, dim : int
        n and d.
    n_samples : int, ndarray of int (n,), or None
        Samples a node (m), of each node where they differ (m_i); None when there is nothing to sample.
    counts : ndarray of int, shape (n,)
        Samples of each node in every case; 0 when there is nothing to sample.
    is_quadratic, is_convex : bool
        Whether every f_i is quadratic; whether every f_i is convex.
    l1 : float
        Weight nu of the l1 term, see `with_l1`; 0 unless said. Losses and gradients are those of the smooth part.
    """

    n_nodes: int
    n_samples: Any  # int, ndarray (n,), or None
    dim: int
    is_quadratic: bool = False
    is_convex: bool = True
    l1: float = 0.0
    recordable: bool = True  # whether its gradients can be part of a CUDA graph
    shares_passes: bool = True  # whether losses at many points cost less together than one by one
    test: Any = None  # held-out data, where a problem has some: (features, targets)

    _given: frozenset[str] = frozenset()  # names of what was set at construction
    _original: Problem | None = None

    @checks.keywords
    def __init__(self, *, n_nodes: int, dim: int, n_samples: Any = None, **data: Any) -> None:
        n_nodes = checks.integer("n_nodes", n_nodes, minimum=1)
        self._set(
            n_nodes=n_nodes,
            n_samples=_amounts(n_samples, n_nodes),
            dim=checks.integer("dim", dim, minimum=1),
            **{name: _own_array(name, value) for name, value in data.items()},
        )

    def _set(self, **attributes: Any) -> None:
        """Set attributes at construction; arrays become read-only."""
        for value in attributes.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.__dict__.update(attributes, _given=self._given | attributes.keys())

    @property
    def given(self) -> dict[str, Any]:
        """What the problem was built from, by name: not what was computed from it."""
        return {name: getattr(self, name) for name in sorted(self._given | {"l1"}) if not name.startswith("_")}

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} is immutable, so {name} cannot be set; build a new problem, or, in the __init__ of "
            "a subclass, give it to super().__init__"
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):  # a copy's are writable
                value.flags.writeable = False
        self.__dict__.update(state)

    def __repr__(self) -> str:
        l1 = f", l1={self.l1:g}" if self.l1 else ""
        m = self.n_samples
        amount = f"{m.min()}...{m.max()}" if isinstance(m, np.ndarray) else m
        return f"{type(self).__name__}(n_nodes={self.n_nodes}, n_samples={amount}, dim={self.dim}{l1})"

    def with_l1(self, l1: float) -> Self:
        """The same local objectives with the composite global objective f + l1 ||x||_1.

        `objective`, `minimizer` and all constants at the minimizer are then those of the sum; `loss`, `gradient`,
        `global_loss` and `global_gradient` stay those of the smooth part, whose proximal step an algorithm takes
        itself.

        Parameters
        ----------
        l1 : float
            nu >= 0.

        Raises
        ------
        TypeError, ValueError
            If it is no number, or negative.
        """
        twin = copy.copy(self)
        given = self._given - AT_MINIMIZER  # the constants of another objective
        for name in twin.__dict__.keys() - given - {"_given", "_original"}:
            del twin.__dict__[name]
        twin.__dict__["_given"] = given
        twin._set(l1=checks.real("l1", l1, minimum=0.0))
        if self._original is not None:
            twin.__dict__["_original"] = self._original.with_l1(l1)
        return twin

    # Values and gradients, in any array namespace.

    def loss(self, x: Array) -> Array:
        """Local losses f_i(x_i): (..., n, d) -> (..., n)."""
        xp, rows, lead = self._by_node(x)
        return xp.reshape(xp.matrix_transpose(self.local_losses(xp, rows)), (*lead, self.n_nodes))

    def gradient(self, x: Array, batch: Batch | None = None) -> Array:
        """Local gradients, rows grad f_i(x_i): (..., n, d) -> (..., n, d).

        Parameters
        ----------
        x : array, shape (..., n, d)
        batch : Batch, optional
            With `indices` (..., n, B) the mean over these samples in place of all; `noise` (..., n, d) is added.
        """
        xp, rows, lead = self._by_node(x)
        if batch is not None and not isinstance(batch, Batch):
            raise TypeError(f"batch = {batch!r} is not a Batch; pass what the step was given, or None")
        if batch is None or batch.indices is None:
            by_node = xp.permute_dims(self.local_gradients(xp, rows), (1, 0, 2))
            result = xp.reshape(by_node, (*lead, self.n_nodes, self.dim))
        else:
            _ = self.sample_count
            result = self.sampled_gradients(xp, x, batch.indices)
        return result if batch is None or batch.noise is None else result + batch.noise

    def proximal(self, x: Array, weight: Any) -> Array:
        """Proximal points, rows argmin_u f_i(u) + (weight/2)||u - x_i||^2: (..., n, d) -> (..., n, d).

        Parameters
        ----------
        x : array, shape (..., n, d)
        weight : float, or array (..., n, 1)
            Positive, and large enough to make the sum convex.
        """
        return self._tilted(weight * x, weight)

    def conjugate(self, y: Array) -> Array:
        """Gradients of the conjugate functions, rows argmin_u f_i(u) - <y_i, u>: (..., n, d) -> (..., n, d)."""
        return self._tilted(y, 0.0)

    def _tilted(self, y: Array, weight: Any) -> Array:
        xp, rows, lead = self._by_node(y)
        column = xp.zeros((*lead, self.n_nodes, 1), dtype=y.dtype) + weight
        weights = xp.permute_dims(xp.reshape(column, (math.prod(lead), self.n_nodes, 1)), (1, 0, 2))
        by_node = xp.permute_dims(self.tilted_minimizers(xp, rows, weights), (1, 0, 2))
        return xp.reshape(by_node, (*lead, self.n_nodes, self.dim))

    def tilted_minimizers(self, xp: Any, y: Array, weights: Array) -> Array:
        """Rows argmin_u f_i(u) + (w/2)||u||^2 - <y, u>, nodes first: (n, R, d) and (n, R, 1) -> (n, R, d).

        Here by Newton's method in float64.
        """
        original = self if self._original is None else self._original
        tilts, w = (to_host(a).astype(np.float64) for a in (y, weights))
        found = np.empty_like(tilts)
        for r in range(tilts.shape[1]):
            tilt, mine = tilts[:, r], w[:, r]

            def loss(u: np.ndarray, tilt: np.ndarray = tilt, mine: np.ndarray = mine) -> np.ndarray:
                return original.loss(u) + (u * (mine * u / 2 - tilt)).sum(axis=-1)

            def gradient(u: np.ndarray, tilt: np.ndarray = tilt, mine: np.ndarray = mine) -> np.ndarray:
                return original.gradient(u) + mine * u - tilt

            def hessian(u: np.ndarray, mine: np.ndarray = mine) -> np.ndarray:
                return original.hessian(u) + mine[:, :, None] * np.eye(original.dim)

            start = tilt / np.where(mine > 0, mine, 1.0) * (mine > 0)
            found[:, r] = newton(loss, gradient, hessian, start, size=np.linalg.norm(tilt, axis=-1))
        return xp.asarray(found, dtype=y.dtype)

    def global_loss(self, x: Array) -> Array:
        """Global loss f, the mean of the f_i, at any number of points: (..., d) -> (...)."""
        xp, points, lead = self._points(x)
        mean = lambda some: xp.mean(self.local_losses(xp, self._at_every_node(xp, some)), axis=0)  # noqa: E731
        return xp.reshape(self._in_blocks(xp, mean, points, self._width), lead)

    def objective(self, x: Array) -> Array:
        """What is minimized, f(x) + l1 ||x||_1, at any number of points: (..., d) -> (...)."""
        return self.with_l1_term(self.global_loss(x), x)

    def with_l1_term(self, loss: Array, x: Array) -> Array:
        """`loss` (...) at points x (..., d), plus l1 ||x||_1: what is minimized, from f there."""
        return loss + self.l1 * namespace_of(x).sum(abs(x), axis=-1) if self.l1 else loss

    def global_gradient(self, x: Array) -> Array:
        """Gradient of f at any number of points: (..., d) -> (..., d)."""
        xp, points, lead = self._points(x)
        mean = lambda some: xp.mean(self.local_gradients(xp, self._at_every_node(xp, some)), axis=0)  # noqa: E731
        return xp.reshape(self._in_blocks(xp, mean, points, self._width), (*lead, self.dim))

    def global_loss_and_gradient(self, x: Array) -> tuple[Array, Array]:
        """Both at once, as they are recorded: (..., d) -> (...) and (..., d)."""
        return self.global_loss(x), self.global_gradient(x)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for one in cls.__mro__:
            if "global_loss_and_gradient" in vars(one):
                return
            if vars(one).keys() & PASSES:  # then the one pass further up is of other functions
                cls.global_loss_and_gradient = Problem.global_loss_and_gradient  # type: ignore[method-assign]

    @property
    def blocks(self) -> dict[str, slice]:
        """Parts of x by their names, in their order: the layers of a model; one unless a problem knows of more."""
        return {"x": slice(0, self.dim)}

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Entries of each of the `blocks`, as methods with layer-wise rates take them."""
        return tuple(part.stop - part.start for part in self.blocks.values())

    def metrics(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of its own that the problem adds to a trace: values (...) at the mean states x of shape (..., d)."""
        return {}

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the `test` data say of points (..., d): values (...), recorded of the mean state and the worst node's.

        The worst of what is called a loss or an error is the largest, of anything else the least.
        """
        raise self._not_written("scores", "there are test data")

    def local_losses(self, xp: Any, x: Array) -> Array:
        """Local losses, nodes first: (n, R, d) -> (n, R)."""
        raise self._not_written("local_losses", "a trace records losses")

    def local_gradients(self, xp: Any, x: Array) -> Array:
        """Local gradients, nodes first, so that R points of a node are one matrix: (n, R, d) -> (n, R, d)."""
        raise self._not_written("local_gradients", "a trace records gradients")

    def sampled_gradients(self, xp: Any, x: Array, indices: Array) -> Array:
        """Mini-batch gradients: (..., n, d) and (..., n, B) -> (..., n, d)."""
        raise self._not_written("sampled_gradients", "mini-batches need it", "leave out n_samples")

    def take_samples(self, xp: Any, indices: Array, *arrays: Array) -> list[Array]:
        """The drawn samples of each array (n, m, ...): with indices (..., n, B), an array (..., n, B, ...)."""
        n, m = arrays[0].shape[:2]
        nodes = xp.reshape(xp.arange(n, dtype=xp.int64), (n, 1))
        return gather(xp, indices + m * nodes, [xp.reshape(array, (n * m, *array.shape[2:])) for array in arrays])

    def _not_written(self, name: str, reason: str, otherwise: str = "") -> NotImplementedError:
        remedy = "write it (docs/own_problem.md)" + (f", or {otherwise}" if otherwise else "")
        return NotImplementedError(f"{type(self).__name__}.{name} is not written, and {reason}; {remedy}")

    def _by_node(self, x: Array) -> tuple[Any, Array, tuple[int, ...]]:
        """The namespace of `x`, `x` as (n, R, d), and its R leading axes."""
        checks.states(x)
        xp = namespace_of(x)
        *lead, n, d = (0, 0, *x.shape) if x.ndim < 2 else x.shape
        if (n, d) != (self.n_nodes, self.dim):
            raise ValueError(f"x has shape {tuple(x.shape)}, not (..., {self.n_nodes}, {self.dim}); pass a row a node")
        rows = xp.reshape(x, (math.prod(lead), n, d))
        return xp, xp.permute_dims(rows, (1, 0, 2)), tuple(lead)

    def _points(self, x: Array) -> tuple[Any, Array, tuple[int, ...]]:
        """The namespace of `x`, `x` as (R, d), and its R leading axes."""
        checks.states(x)
        xp = namespace_of(x)
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ValueError(f"x has shape {tuple(x.shape)}, not (..., {self.dim}); pass one point a row")
        lead = tuple(x.shape[:-1])
        return xp, xp.reshape(x, (math.prod(lead), self.dim)), lead

    def _at_every_node(self, xp: Any, points: Array) -> Array:
        return xp.broadcast_to(points, (self.n_nodes, *points.shape))

    @property
    def _width(self) -> int:
        """Numbers that the loss and gradient of one point take: predictions of all samples, gradients of all nodes."""
        return max(int(self.counts.sum()), self.n_nodes * self.dim)

    def _in_blocks(self, xp: Any, function: Callable[[Array], Array], points: Array, width: int) -> Array:
        """`function` of points (R, d), so few at a time that their numbers, `width` each, stay in a processor's cache,
        but enough to share a pass over the data, if they take no more than BLOCK.
        """
        block = max(1, min(BLOCK // width, max(SHARING, CACHED // width)))
        count = points.shape[0]
        if count <= block:
            return function(points)
        return xp.concat([function(points[k : min(k + block, count), :]) for k in range(0, count, block)])

    @property
    def counts(self) -> np.ndarray:
        """Samples of each node, (n,)."""
        return np.broadcast_to(0 if self.n_samples is None else self.n_samples, (self.n_nodes,))

    @property
    def sample_count(self) -> Any:
        """`n_samples`; ValueError where there is nothing to sample."""
        if self.n_samples is None:
            raise ValueError(f"{self!r} has no samples to draw; use the full batch, with noise_std if noise is wanted")
        return self.n_samples

    def convert(self, xp: Any, dtype: Any = None) -> Self:
        """A copy whose arrays live in the namespace `xp` (CuPy, array-api-strict, ...) with data type `dtype`.

        Its constants (`minimizer`, `smoothness`, ...) stay those of the original: NumPy, float64.
        """
        twin, original = copy.copy(self), self if self._original is None else self._original
        twin.__dict__["_original"] = original
        for name in self._given:
            value = original.__dict__[name]
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not _is_constant(type(self), name):
                twin.__dict__[name] = xp.asarray(self.__dict__[name], dtype=dtype)
        return twin

    def kernel(self, sampled: bool) -> Kernel:
        """The gradient as a row function for the compiled engine.

        Without functions, as here, only the array engine runs the problem.

        Parameters
        ----------
        sampled : bool
            True: ``row(i, indices, x, out, *work, *data)``, the mean over `indices` (B,); False:
            ``row(i, x, out, *work, *data)``. `x` and `out` are of shape (d,).
        """
        return Kernel((), ())

    def tilted_kernel(self) -> Kernel:
        """`tilted_minimizers` as a row function, ``row(i, y, weight, out, *work, *data)``, for the compiled engine.

        Without functions, as here, only the array engine takes proximal and dual steps.
        """
        return Kernel((), ())

    # Constants: NumPy, float64, of the problem as it was built.

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Hessians of every f_i, at x_i (x of shape (n, d)) or at one point (x of shape (d,)): (n, d, d)."""
        raise self._not_written("hessian", "the minimizer and theory need it", "set minimizer = None for runs without")

    @constant
    def minimizer(self) -> np.ndarray:
        """Minimizer x* of f, shape (d,): damped Newton from zero until the gradient norm is at most 1e-12.

        With an l1 term the minimizer of the sum, until L ||x - prox(x - grad f(x)/L)|| is at most 1e-12; for a
        nonconvex f a stationary point. Where rounding forbids that (gradients at zero of norm above 1), 1e-12 times
        the gradient norm at zero.
        """
        return read_only(self._minimize_composite() if self.l1 else self._minimize())

    @property
    def known_minimizer(self) -> np.ndarray:
        """`minimizer`; ValueError where that is None."""
        if self.minimizer is None:
            raise ValueError(f"{self!r} has no known minimizer, from which errors and constants are measured")
        return self.minimizer

    def _minimize(self) -> np.ndarray:
        mean_hessian = lambda x: np.mean(self.hessian(x[0]), axis=0)[None]  # noqa: E731
        return newton(self.global_loss, self.global_gradient, mean_hessian, np.zeros((1, self.dim)))[0]

    def _minimize_composite(self) -> np.ndarray:
        if self.is_quadratic and self.strong_convexity < 0:
            raise ValueError(
                f"{self!r} is unbounded below: its mean Hessian has the eigenvalue {self.strong_convexity:.3g}; "
                "add a positive multiple of the identity"
            )
        mean_hessian = lambda x: np.mean(self.hessian(x), axis=0)  # noqa: E731
        return minimize_composite(self.global_gradient, mean_hessian, self.smoothness, self.l1, np.zeros(self.dim))

    @constant
    def smoothness(self) -> float:
        """L, a bound on the spectral norm of every Hessian of every f_i."""
        raise self._not_written("smoothness", "step sizes and bounds are in its terms")

    @constant
    def strong_convexity(self) -> float:
        """mu, a lower bound on the eigenvalues of every Hessian of f (not of each f_i)."""
        raise self._not_written("strong_convexity", "rates and bounds are in its terms")

    @constant
    def heterogeneity(self) -> float:
        """Data inhomogeneity b = sqrt((1/n) sum_i ||grad f_i(x*)||^2)."""
        return float(np.sqrt(np.mean(np.sum(self._gradients_at_minimizer**2, axis=-1))))

    @constant
    def gradient_variance(self) -> float:
        """sigma^2 at x*: E||one sample's gradient - grad f_i(x*)||^2, mean over nodes; 0 with nothing to sample."""
        if self.n_samples is None:
            return 0.0
        x = np.broadcast_to(self.known_minimizer, (self.n_nodes, self.dim))
        mean, total = self._gradients_at_minimizer, np.zeros(self.n_nodes)
        for gradients, real in self.sample_gradients(x):
            total += np.sum(np.sum((gradients - mean) ** 2, axis=-1) * real, axis=0)
        return float(np.mean(total / self.counts))

    def sample_gradients(self, x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Gradients of single samples at the rows of `x` (n, d), some samples of every node at a time.

        Yields
        ------
        gradients : ndarray, shape (k, n, d)
        real : bool ndarray, shape (k, n)
            False where a node has no more samples; its last is there instead.
        """
        counts, block = self.counts, max(1, BLOCK // (self.n_nodes * self.dim))
        for first in range(0, int(counts.max()), block):
            samples = np.arange(first, min(first + block, int(counts.max())))[:, None]
            single = Batch(indices=np.minimum(samples, counts - 1)[:, :, None])
            yield self.gradient(np.broadcast_to(x, (len(samples), *x.shape)), single), samples < counts

    @constant
    def minimum(self) -> float:
        """The objective at `minimizer`, f(x*) without an l1 term."""
        return float(self.objective(self.known_minimizer))

    @constant
    def node_minimum(self) -> np.ndarray:
        """Infimum of each f_i, shape (n,); -inf where f_i is unbounded below."""
        return read_only(self.loss(newton(self.loss, self.gradient, self.hessian, np.zeros((self.n_nodes, self.dim)))))

    @property
    def lower_bound(self) -> float:
        """A number that the objective never falls below: `minimum` where f is convex."""
        return self.minimum

    @property
    def _gradients_at_minimizer(self) -> np.ndarray:
        return self.gradient(np.broadcast_to(self.known_minimizer, (self.n_nodes, self.dim)))


def gather(xp: Any, places: Array, arrays: Sequence[Array]) -> list[Array]:
    """Rows of arrays (N, ...) at the integers `places`, of any shape."""
    flat = xp.reshape(places, (-1,))
    return [xp.reshape(xp.take(array, flat, axis=0), (*places.shape, *array.shape[1:])) for array in arrays]


def _amounts(n_samples: Any, n_nodes: int) -> Any:
    """`n_samples` as an int where all nodes have equally many; None for None."""
    if n_samples is None or not isinstance(n_samples, np.ndarray | list | tuple):
        return None if n_samples is None else checks.integer("n_samples", n_samples, minimum=1)
    if len(n_samples) != n_nodes:
        raise ValueError(f"n_samples has {len(n_samples)} entries and n_nodes = {n_nodes}; pass one a node")
    each = [checks.integer(f"n_samples[{i}]", m, minimum=1) for i, m in enumerate(n_samples)]
    return each[0] if len(set(each)) == 1 else np.array(each)


def _is_constant(cls: type, name: str) -> bool:
    return isinstance(getattr(cls, name, None), functools.cached_property)


def _own_array(name: str, value: Any) -> Any:
    """A copy of an array, float64 where it holds floating-point numbers; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return own(checks.array(name, value)) if value.dtype.kind == "f" else value.copy()


def read_only(value: np.ndarray) -> np.ndarray:
    """`value` itself, marked read-only."""
    value.flags.writeable = False
    return value


def own(value: np.ndarray) -> np.ndarray:
    """A float64 copy in C order, which no caller can change."""
    return aligned_copy(value, np.float64)
