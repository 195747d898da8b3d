"""What every problem shares: its interface, its layout, and the constants that theory asks for."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any, ClassVar, Self

import numpy as np
from array_api_compat import array_namespace

from simlab import checks
from simlab.engine.kernel import Kernel
from simlab.engine.memory import aligned_copy
from simlab.operations import Batch
from simlab.problems.composite import minimize_composite
from simlab.problems.newton import newton

Array = Any  # an array of any namespace of the array API


class constant(functools.cached_property):
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

    A subclass sets `n_nodes`, `n_samples`, `dim` by `_set`, lists in `_arrays` the attributes that `convert` moves, and
    writes `_losses`, `_gradients` and, with samples, `_sampled_gradients`; `hessian`; `smoothness`,
    `strong_convexity`; and `kernel`.

    Attributes
    ----------
    n_nodes, dim : int
        n and d.
    n_samples : int or None
        Samples a node (m); None when there is nothing to sample.
    is_quadratic, is_convex : bool
        Whether every f_i is quadratic; whether every f_i is convex.
    l1 : float
        Weight nu of the l1 term, see `with_l1`; 0 unless said. Losses and gradients are those of the smooth part.
    """

    n_nodes: int
    n_samples: int | None
    dim: int
    is_quadratic: bool = False
    is_convex: bool = True
    l1: float = 0.0

    _arrays: ClassVar[tuple[str, ...]] = ()
    _original: Problem | None = None

    def _set(self, **attributes: Any) -> None:
        """Set attributes at construction; arrays become read-only."""
        for value in attributes.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.__dict__.update(attributes)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable, so {name} cannot be set; build a new problem")

    def __repr__(self) -> str:
        l1 = f", l1={self.l1:g}" if self.l1 else ""
        return f"{type(self).__name__}(n_nodes={self.n_nodes}, n_samples={self.n_samples}, dim={self.dim}{l1})"

    def with_l1(self, l1: float) -> Self:
        """The same local objectives with the composite global objective f + l1 ||x||_1.

        `objective`, `minimizer` and all constants at the minimizer are then those of the sum; `loss`, `gradient`,
        `global_loss` and `global_gradient` stay those of the smooth part, whose proximal step a method takes itself.

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
        for name in self.__dict__.keys() & {n for c in type(self).__mro__ for n, v in vars(c).items() if _cached(v)}:
            del twin.__dict__[name]
        twin.__dict__["l1"] = checks.real("l1", l1, minimum=0.0)
        if self._original is not None:
            twin.__dict__["_original"] = self._original.with_l1(l1)
        return twin

    # Values and gradients, in any array namespace.

    def loss(self, x: Array) -> Array:
        """Local losses f_i(x_i): (..., n, d) -> (..., n)."""
        xp, rows, lead = self._by_node(x)
        return xp.reshape(xp.matrix_transpose(self._losses(xp, rows)), (*lead, self.n_nodes))

    def gradient(self, x: Array, batch: Batch | None = None) -> Array:
        """Local gradients, rows grad f_i(x_i): (..., n, d) -> (..., n, d).

        Parameters
        ----------
        x : array, shape (..., n, d)
        batch : Batch, optional
            With `indices` (..., n, B) the mean over these samples in place of all; `noise` (..., n, d) is added.
        """
        xp, rows, lead = self._by_node(x)
        if batch is None or batch.indices is None:
            result = xp.reshape(xp.permute_dims(self._gradients(xp, rows), (1, 0, 2)), (*lead, self.n_nodes, self.dim))
        else:
            self._check_can_sample()
            result = self._sampled_gradients(xp, x, batch.indices)
        return result if batch is None or batch.noise is None else result + batch.noise

    def global_loss(self, x: Array) -> Array:
        """Global loss f, the mean of the f_i, at any number of points: (..., d) -> (...)."""
        xp, points, lead = self._at_every_node(x)
        return xp.reshape(xp.mean(self._losses(xp, points), axis=0), lead)

    def objective(self, x: Array) -> Array:
        """What is minimized, f(x) + l1 ||x||_1, at any number of points: (..., d) -> (...)."""
        smooth = self.global_loss(x)
        return smooth + self.l1 * array_namespace(x).sum(abs(x), axis=-1) if self.l1 else smooth

    def global_gradient(self, x: Array) -> Array:
        """Gradient of f at any number of points: (..., d) -> (..., d)."""
        xp, points, lead = self._at_every_node(x)
        return xp.reshape(xp.mean(self._gradients(xp, points), axis=0), (*lead, self.dim))

    def metrics(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of its own that the problem adds to a trace: values (...) at the mean states x of shape (..., d)."""
        return {}

    def _losses(self, xp: Any, x: Array) -> Array:
        """Local losses, nodes first: (n, R, d) -> (n, R)."""
        raise NotImplementedError

    def _gradients(self, xp: Any, x: Array) -> Array:
        """Local gradients, nodes first, so that R points of a node are one matrix: (n, R, d) -> (n, R, d)."""
        raise NotImplementedError

    def _sampled_gradients(self, xp: Any, x: Array, indices: Array) -> Array:
        """Mini-batch gradients: (..., n, d) and (..., n, B) -> (..., n, d)."""
        raise NotImplementedError

    def _by_node(self, x: Array) -> tuple[Any, Array, tuple[int, ...]]:
        """The namespace of `x`, `x` as (n, R, d), and its R leading axes."""
        xp = array_namespace(x)
        *lead, n, d = (0, 0, *x.shape) if x.ndim < 2 else x.shape
        if (n, d) != (self.n_nodes, self.dim):
            raise ValueError(f"x has shape {tuple(x.shape)}, not (..., {self.n_nodes}, {self.dim}); pass a row a node")
        rows = xp.reshape(x, (math.prod(lead), n, d))
        return xp, xp.permute_dims(rows, (1, 0, 2)), tuple(lead)

    def _points(self, x: Array) -> tuple[Any, Array, tuple[int, ...]]:
        """The namespace of `x`, `x` as (R, d), and its R leading axes."""
        xp = array_namespace(x)
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ValueError(f"x has shape {tuple(x.shape)}, not (..., {self.dim}); pass one point a row")
        lead = tuple(x.shape[:-1])
        return xp, xp.reshape(x, (math.prod(lead), self.dim)), lead

    def _at_every_node(self, x: Array) -> tuple[Any, Array, tuple[int, ...]]:
        xp, points, lead = self._points(x)
        return xp, xp.broadcast_to(points, (self.n_nodes, *points.shape)), lead

    def _check_can_sample(self) -> None:
        if self.n_samples is None:
            raise ValueError(f"{self!r} has no samples to draw; use the full batch, with noise_std if noise is wanted")

    def convert(self, xp: Any, dtype: Any = None) -> Self:
        """A copy whose arrays live in the namespace `xp` (CuPy, array-api-strict, ...) with data type `dtype`.

        Its constants (`minimizer`, `smoothness`, ...) stay those of the original: NumPy, float64.
        """
        twin = copy.copy(self)
        twin.__dict__["_original"] = self if self._original is None else self._original
        for name in self._arrays:
            value = getattr(self, name)
            if value is not None:
                twin.__dict__[name] = xp.asarray(value, dtype=dtype)
        return twin

    def kernel(self, sampled: bool, dtype: Any = np.float64) -> Kernel:
        """The gradient as a row function for the compiled engine.

        Parameters
        ----------
        sampled : bool
            True: ``row(i, indices, x, out, *data)``, the mean over `indices` (B,); False: ``row(i, x, out, *data)``.
        dtype : data type
            Of the data, C-contiguous.
        """
        raise NotImplementedError

    # Constants: NumPy, float64, of the problem as it was built.

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Hessians of every f_i, at x_i (x of shape (n, d)) or at one point (x of shape (d,)): (n, d, d)."""
        raise NotImplementedError

    @constant
    def minimizer(self) -> np.ndarray:
        """Minimizer x* of f, shape (d,): damped Newton from zero until the gradient norm is at most 1e-12.

        With an l1 term the minimizer of the sum, until L ||x - prox(x - grad f(x)/L)|| is at most 1e-12; for a
        nonconvex f a stationary point. Where rounding forbids that (gradients at zero of norm above 1), 1e-12 times
        the gradient norm at zero.
        """
        return read_only(self._minimize_composite() if self.l1 else self._minimize())

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

    @property
    def smoothness(self) -> float:
        """L, a bound on the spectral norm of every Hessian of every f_i."""
        raise NotImplementedError

    @property
    def strong_convexity(self) -> float:
        """mu, a lower bound on the eigenvalues of every Hessian of f (not of each f_i)."""
        raise NotImplementedError

    @constant
    def heterogeneity(self) -> float:
        """Data inhomogeneity b = sqrt((1/n) sum_i ||grad f_i(x*)||^2)."""
        return float(np.sqrt(np.mean(np.sum(self._gradients_at_minimizer**2, axis=-1))))

    @property
    def gradient_variance(self) -> float:
        """sigma^2 at x*: E||one sample's gradient - grad f_i(x*)||^2, mean over nodes; 0 with nothing to sample."""
        return 0.0

    @constant
    def minimum(self) -> float:
        """The objective at `minimizer`, f(x*) without an l1 term."""
        return float(self.objective(self.minimizer))

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
        return self.gradient(np.broadcast_to(self.minimizer, (self.n_nodes, self.dim)))


def _cached(attribute: Any) -> bool:
    return isinstance(attribute, functools.cached_property)


def read_only(value: np.ndarray) -> np.ndarray:
    """`value` itself, marked read-only."""
    value.flags.writeable = False
    return value


def own(value: np.ndarray) -> np.ndarray:
    """A float64 copy in C order, which no caller can change."""
    return aligned_copy(value, np.float64)
