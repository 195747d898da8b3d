"""Any differentiable model: a loss written in JAX or PyTorch, and its gradients at all nodes by one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from simlab import checks
from simlab.arrays import to_host
from simlab.kernel import Kernel
from simlab.problems.base import BLOCK, Array, constant, read_only
from simlab.problems.samples import samples
from simlab.problems.unknown import UnknownMinimizer

FRAMEWORKS = {"jax": "jax", "torch": "torch"}  #: and the extra that brings each


class ModelProblem(UnknownMinimizer):
    """f_i(x) = s_i times the mean loss of node i's samples, plus l2 ||x||^2 / 2, for a loss of the user's.

    The parameters, a pytree or the module of a model, are one row x: leaf after leaf, each in C order; `blocks` tells
    which entries are whose. Losses and gradients are computed in `precision`, whatever that of the states is. Every
    method, schedule, compressor and network runs on it with ``engine="numpy"``, or ``"cupy"``: then all data stay on
    the GPU, which the framework must be built for, and JAX leaves memory to CuPy if the environment variable
    XLA_PYTHON_CLIENT_PREALLOCATE is "false". Start from `initial()`.

    With JAX, ``dtype="float32"`` like the model's `precision` has whole steps compiled, which is several times faster
    where there are many parameters. Recording takes the loss and the gradient of all data: choose `record_every`.

    f is taken to be nonconvex, and its minimizer is not known: `minimizer` is None, so that `mse` is recorded as NaN.

    Parameters
    ----------
    loss : function
        ``loss(parameters, features, targets)``, the mean over the samples of a batch, features (B, ...) and targets
        (B, ...): a scalar. `parameters` is of the structure of the argument `parameters`; with PyTorch it is a function
        that calls the module with the parameters in question. It has to be the mean of what single samples give: so no
        normalization over the batch.
    parameters : pytree of arrays, or torch.nn.Module
        Parameters to start from. Those of a module that require no gradient stay as they are, and are no part of x.
    features, targets : arrays, shapes (n, m, ...), or n arrays, shapes (m_i, ...)
        Samples of each node; whole numbers, as of classes, stay whole.
    framework : {"jax", "torch"}, default "jax"
    l2 : float, default 0
        Weight decay, >= 0.
    metrics : mapping of names to functions, optional
        ``metric(parameters, features, targets)``, of the test data, each a column of its name, and as ``worst_...`` of
        the worst node: where it is largest for names that end in "loss" or "error", else least.
    test : tuple (features, targets), optional
        Held-out samples, shapes (t, ...): columns `test_loss` and `worst_test_loss`, and `metrics`.
    weighting : {"nodes", "samples"}, default "nodes"
        Whether f weighs all nodes alike, s_i = 1, or all samples, s_i = n m_i / (m_1 + ... + m_n).
    precision : {"float32", "float64"}, default "float32"
        In which losses and gradients are computed.

    Attributes
    ----------
    blocks : dict of str to slice
        Which entries of x each leaf of the parameters is.

    Raises
    ------
    ImportError
        Without the framework: install the extra of its name.
    RuntimeError
        From a simulation with ``engine="cupy"``, if the framework sees no GPU.
    TypeError, ValueError
        Wrong shapes, NaN, parameters that are not floating-point numbers, metrics without test data.

    Examples
    --------
    A line fitted by least squares, in JAX::

        def loss(parameters, features, targets):
            return jnp.mean((features @ parameters["w"] + parameters["b"] - targets) ** 2) / 2

        problem = simlab.ModelProblem(loss, {"w": np.zeros(3), "b": 0.0}, features, targets)
        simlab.simulate(problem, network, simlab.DSGD(0.1), steps=100, engine="numpy", x0=problem.initial())
    """

    recordable = False
    shares_passes = False
    function: Callable[..., Any]
    parameters: Any
    scorers: Mapping[str, Callable[..., Any]]
    framework: str
    precision: str
    l2: float

    @checks.keywords
    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Any,
        features: Any,
        targets: Any,
        framework: str = "jax",
        l2: float = 0.0,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        test: tuple[Any, Any] | None = None,
        weighting: str = "nodes",
        precision: str = "float32",
    ) -> None:
        checks.one_of("framework", framework, FRAMEWORKS)
        dtype = np.dtype(checks.one_of("precision", precision, ("float32", "float64")))
        for name, function in {"loss": loss, **(metrics or {})}.items():
            if not callable(function):
                raise TypeError(f"{name} = {function!r} is not a function of (parameters, features, targets); pass one")
        if metrics and test is None:
            raise ValueError(
                f"metrics = {list(metrics)} are of test data, and test is None; pass test=(features, targets)"
            )
        if "test_loss" in (metrics or {}):
            raise ValueError("metrics has the name 'test_loss', which is recorded already; choose another one")
        if framework == "jax" and any(kind.__module__.startswith("torch.") for kind in type(parameters).__mro__):
            raise TypeError(
                f"parameters is a {type(parameters).__name__} of torch, and framework = 'jax'; pass framework='torch'"
            )
        a, lengths = samples("features", features, None, dtype=np.int64 if _is_whole(features) else dtype)
        b, _ = samples("targets", targets, None, lengths, np.int64 if _is_whole(targets) else dtype)
        self._set_placed(a, b, lengths, weighting)
        held_out = None if test is None else self._held_out(test)
        self._set(
            function=loss, parameters=parameters, scorers=dict(metrics or {}), framework=framework,
            precision=precision, l2=checks.real("l2", l2, minimum=0.0), test=held_out,
        )  # fmt: skip
        self._set(dim=len(self._model.initial))

    def _held_out(self, test: Any) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(test, tuple | list) or len(test) != 2:
            raise TypeError(f"test = {test!r} is not a pair; pass (features, targets)")
        a = checks.array("test features", test[0], shape=(None, *self._features.shape[1:]))
        b = checks.array("test targets", test[1], shape=(len(a), *self._targets.shape[1:]))
        return read_only(a.astype(self._features.dtype)), read_only(b.astype(self._targets.dtype))

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", "loss")
        return super().__repr__()[:-1] + f", loss={name}, framework={self.framework!r}, l2={self.l2:g})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_model"}  # compiled anew

    def convert(self, xp: Any, dtype: Any = None) -> Any:
        if "cupy" in xp.__name__ and not self._model.sees_gpu():
            raise RuntimeError(
                f"engine = 'cupy' needs {self.framework} built for the GPU, and the one installed sees none; "
                "install that build of it, or use engine='numpy'"
            )
        twin = super().convert(xp, dtype)
        twin.__dict__.update({name: self.__dict__[name] for name in ("_features", "_targets")})  # the framework's own
        return twin

    @constant
    def _model(self) -> Any:
        """The model in its framework: `initial`, `blocks`, `losses`, `gradients`, both at once, `sampled`, `scores`."""
        try:
            module = import_module(f"simlab.problems.model_{self.framework}")
        except ImportError as error:
            raise ImportError(
                f"framework = {self.framework!r} is not installed ({error}); pip install 'simlab[{self.framework}]'"
            ) from error
        samples = self._features, self._targets, self._starts[:-1], self.counts
        return module.Model(self.function, self.parameters, samples, self.scorers, self.test, np.dtype(self.precision))

    @property
    def blocks(self) -> dict[str, slice]:
        return self._model.blocks

    def initial(self) -> np.ndarray:
        """The argument `parameters` as a row, shape (d,)."""
        return self._model.initial.copy()

    def unravel(self, x: np.ndarray) -> Any:
        """A row x, (d,), as parameters: a pytree, or the state of a module by the names of its parameters."""
        return self._model.unravel(x)

    @property
    def _width(self) -> int:  # one point at a time: of activations only the framework knows
        return BLOCK

    def local_losses(self, xp: Any, x: Array) -> Array:
        means = self._model.losses(xp, x)
        return means * self.shares[:, None] + self.l2 / 2 * xp.sum(x * x, axis=-1)

    def local_gradients(self, xp: Any, x: Array) -> Array:
        return self._with_decay(self._model.gradients(xp, x), self.shares[:, None, None], x)

    def sampled_gradients(self, xp: Any, x: Array, indices: Array) -> Array:
        return self._with_decay(self._model.sampled(xp, x, indices), self.shares[:, None], x)

    def global_loss_and_gradient(self, x: Array) -> tuple[Array, Array]:
        xp, points, lead = self._points(x)

        def means(some: Array) -> Array:
            found = self._model.losses_and_gradients(xp, self._at_every_node(xp, some))
            return xp.mean(found * self.shares[:, None, None], axis=0)

        found = self._in_blocks(xp, means, points, self._width)
        loss = found[:, 0] + self.l2 / 2 * xp.sum(points * points, axis=-1)
        gradient = found[:, 1:] + self.l2 * points
        return xp.reshape(loss, lead), xp.reshape(gradient, (*lead, self.dim))

    def _with_decay(self, means: Array, shares: Array, x: Array) -> Array:
        weighted = means if self.weighting == "nodes" or isinstance(self.n_samples, int) else means * shares
        return weighted + self.l2 * x if self.l2 else weighted

    def kernel(self, sampled: bool) -> Kernel:
        raise NotImplementedError(
            f"{type(self).__name__} takes its gradients from {self.framework}, not from a kernel for the compiled "
            "engine; run with engine='numpy'"
        )

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """`test_loss` and the `metrics`, on the test data."""
        _, points, lead = self._points(x)
        found = self._model.scores(to_host(points))
        return {name: np.reshape(values, lead) for name, values in found.items()}


def _is_whole(values: Any) -> bool:
    """Whether samples are whole numbers."""
    parts = values if isinstance(values, list | tuple) else [values]
    return all(np.asarray(part).dtype.kind in "iub" for part in parts)
