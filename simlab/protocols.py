"""The joints: what the rooms of the simulator ask of one another, with the laws that every implementation keeps.

Nothing has to inherit from these classes; whatever has their attributes fits. A law that can be tested is tested once,
for every implementation, in tests/simlab/test_protocols.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from simlab.kernel import Kernel
from simlab.step.batch import Array, Batch
from simlab.step.chunk import Plan
from simlab.step.streams import Draws


class Objective(Protocol):
    """A problem as a step sees it.

    Laws
    ----
    Row i of `gradient(x)` depends on row i of `x` alone, and leading axes are independent: ``gradient(x)[r]`` must be
    identical to ``gradient(x[r])``. With noise in the batch, ``gradient(x, batch)`` must be identical to
    ``gradient(x, batch._replace(noise=None)) + batch.noise``. With every sample once in `indices` it is the full
    gradient, to rounding.
    """

    @property
    def n_nodes(self) -> int:
        """Number of nodes n."""

    @property
    def dim(self) -> int:
        """Number of parameters d."""

    @property
    def n_samples(self) -> int | np.ndarray | None:
        """Samples of each node, (n,) where they differ; None where there is nothing to sample."""

    def gradient(self, x: Array, batch: Batch | None = None) -> Array:
        """Rows grad f_i(x_i): (..., n, d) -> (..., n, d)."""


class Mixing(Protocol):
    """A network as a step sees it.

    Laws
    ----
    `mix` is linear, acts on each column and each leading index alone, and leaves what is equal at all nodes as it is:
    ``mix(1 vʹ) = 1 vʹ``; it keeps the mean over nodes. All to rounding. `simlab.operations.differences` relies on it.
    """

    @property
    def n_nodes(self) -> int:
        """Number of nodes n."""

    @property
    def smallest_eigenvalue(self) -> float:
        """λₙ of W."""

    def mix(self, x: Array) -> Array:
        """W x: (..., n, d) -> (..., n, d)."""


class Algorithm(Protocol):
    """A decentralized algorithm: a NamedTuple of its hyperparameters, with `init` and `step`.

    A field annotated with a type of `simlab.schedules` (`StepSize`, `Momentum`, ...) is checked to be in its range, one
    annotated with a ``Literal`` to be one of its choices, one with ``int`` (`Period`) to be whole. Optional members:
    ``check(problem, network)``, which raises ValueError where the algorithm cannot work; ``references``, BibTeX keys or
    entries; ``bias_transfer(eigenvalues)``, its bias transfer function φ in closed form; ``scaling(x, gradients)`` and
    ``unscaled()``, the factors D of its gradients at rest, and the method that rests where it does if given D∇f_i;
    ``needs``, what W must be: "symmetric" and doubly stochastic unless said, "double", "row" or "column" stochastic;
    ``static = True`` where W may not change from step to step; ``asynchronous = True`` where the step asks who fires.

    Laws
    ----
    ``init(x)`` is a NamedTuple of arrays shaped like `x`, the parameters first, or of one number a node, (..., n, 1);
    ``step`` returns the same type and shapes and modifies nothing. Both are functions of their arguments alone: what
    changes with the step counter is a schedule, or asks for its `simlab.operations.phase`. With the array operators and
    `simlab.operations`, a step on symbols records what the step on arrays does: the engines agree to rounding, and a
    step on arrays with leading axes must be identical to a step on each index of them, to rounding.
    """

    _fields: ClassVar[tuple[str, ...]]

    def init(self, x: Array) -> Any:
        """State of a start `x` (..., n, d)."""

    def step(self, state: Any, problem: Any, network: Any, batch: Batch) -> Any:
        """State after one iteration, of an `Objective` over a `Mixing`."""

    def _replace(self, **changes: Any) -> Self: ...

    def __iter__(self) -> Iterator[Any]: ...


class Compressor(Protocol):
    """C: what turns a message into fewer bits.

    Laws
    ----
    E‖C(v) − v‖² <= (1 − ω)‖v‖² with ω = ``contraction(dim)`` (1 / (1 + its relative variance) of an unbiased one that
    is scaled). The two forms agree: row i of what ``compress`` returns, and its bits, must be identical to those of the
    row function of ``kernel`` at the same dither. NaN and infinite entries stay visible in what is decoded.

    Optional members: ``variance_factor(dim)``, q in E‖C(v) − v‖² <= q‖v‖² of an unbiased one; ``shared = True`` where
    all nodes draw the same dither; ``compose(x, dim, send)`` in place of `compress` and `kernel`, for one that is made
    of others: what is decoded, of messages ``send(compressor, v)``; ``parts(dim)`` in place of `kernel`, of consecutive
    slices of a message their compressors and lengths.
    """

    def contraction(self, dim: int) -> float:
        """Ω, see above; ValueError if the parameters are impossible at this length."""

    def compress(self, x: Array, dither: Array | None) -> tuple[Array, Array]:
        """What the receivers decode, (..., n, d), and the bits of each message, (..., n)."""

    def kernel(self, dim: int) -> Kernel:
        """The same as a row function, for the compiled engine."""


class Engine(Protocol):
    """What advances runs of one algorithm.

    Attributes
    ----------
    form : str or int
        How runs are advanced beside one another: what rounding depends on.

    Laws
    ----
    A chunk is a function of its arguments: K steps at once must be identical to K chunks of one step, whatever the
    order of the jobs and the number of threads, and a run's states must be identical in all engines of one `form`,
    whatever other runs are in the list. Forms and engines agree to rounding on the same draws.
    """

    form: Any

    def plan(
        self, state: Any, hyper: Sequence[np.ndarray], draws: Sequence[Draws], first_step: int, every: int
    ) -> Plan:
        """Take as many steps as `hyper` has rows.

        Parameters
        ----------
        state : NamedTuple of arrays (R, n, d)
            On the host; may be overwritten.
        hyper : R arrays (K, H)
            The numeric hyperparameters of each run at each step, in the order of `numeric_fields`.
        draws : R Draws
            The random numbers of each run.
        first_step : int
            Steps taken before.
        every : int
            A snapshot of x is taken whenever the step counter is a multiple of it.
        """

    def suits(self, runs: int) -> bool:
        """Whether an engine made for so many runs, in the same form, would share the work in the same way."""
