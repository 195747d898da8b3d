"""The array engine: the step as it stands, on NumPy, CuPy or array-api-strict arrays with a leading replicate axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from simlab.engine.chunk import Chunk, Plan
from simlab.engine.graph import numeric_fields
from simlab.engine.streams import Draws
from simlab.operations import Batch


class ArrayEngine:
    """Runs chunks of steps of one method, for all its settings and replicates at once.

    Parameters
    ----------
    problem, network, algorithm
        What is simulated.
    xp : array namespace
        Where states live.
    dtype : numpy dtype
        Precision of states.
    """

    def __init__(self, problem: Any, network: Any, algorithm: Any, *, xp: Any, dtype: np.dtype) -> None:
        self.xp = xp
        self.dtype = getattr(xp, np.dtype(dtype).name)
        self.problem = problem.convert(xp, self.dtype)
        self.network, self.algorithm = network, algorithm
        self.names = numeric_fields(algorithm)

    def plan(self, state: Any, hyper: list[np.ndarray], draws: list[Draws], first_step: int, every: int) -> Plan:
        """Take as many steps as `hyper` has rows, in one job.

        Parameters
        ----------
        state : NamedTuple of arrays (R, n, d)
            Host arrays; not modified.
        hyper : list of R arrays (K, H)
            The numeric hyperparameters of each run at each step, in the order of `numeric_fields`.
        draws : list of R Draws
            The random numbers of each run.
        first_step : int
            Steps taken before.
        every : int
            A snapshot of x is taken whenever the step counter is a multiple of it.

        Returns
        -------
        Plan
        """
        chunks: list[Chunk] = []
        return Plan([lambda: chunks.append(self._advance(state, hyper, draws, first_step, every))], lambda: chunks[0])

    def _settings(self, hyper: list[np.ndarray]) -> Iterator[dict[str, Any]]:
        """The hyperparameters at each step: numbers, or arrays (R, 1, 1) where the runs differ in them."""
        if all(table is hyper[0] for table in hyper):
            values = iter(hyper[0].tolist())
        else:
            table = np.stack(hyper, axis=-1)[..., None, None]  # (K, H, R, 1, 1)
            values = ([self.xp.asarray(value, dtype=self.dtype) for value in row] for row in table)
        return (dict(zip(self.names, row, strict=True)) for row in values)

    def _advance(self, state: Any, hyper: list[np.ndarray], draws: list[Draws], first_step: int, every: int) -> Chunk:
        xp = self.xp
        current = type(state)(*(xp.asarray(field, dtype=self.dtype, copy=True) for field in state))
        indices = None if draws[0].indices is None else xp.asarray(np.stack([d.indices for d in draws]))  # type: ignore[misc]
        noise = None if draws[0].noise is None else xp.asarray(np.stack([d.noise for d in draws]))  # type: ignore[misc]
        dither = None if draws[0].dither is None else xp.asarray(np.stack([d.dither for d in draws]))  # type: ignore[misc]
        # All of these stay on the device until the end of the chunk.
        sent = xp.zeros((len(draws), state[0].shape[-2]), dtype=xp.int64)
        snapshots: list[Any] = []
        sent_snapshots: list[Any] = []
        with np.errstate(all="ignore"):  # divergence is found and reported by simulate
            for k, setting in enumerate(self._settings(hyper)):
                batch = Batch(
                    None if indices is None else indices[:, k, ...],
                    None if noise is None else noise[:, k, ...],
                    None if dither is None else dither[:, k, ...],
                    [],
                )
                current = self.algorithm._replace(**setting).step(current, self.problem, self.network, batch)
                for bits in batch.ledger or ():
                    sent = sent + bits
                if (first_step + k + 1) % every == 0:
                    snapshots.append(current[0])
                    sent_snapshots.append(sent)
        final = type(state)(*(to_host(field) for field in current))
        none = np.empty((len(draws), 0, *state[0].shape[1:]), state[0].dtype)
        return Chunk(
            final,
            to_host(xp.stack(snapshots, axis=1)) if snapshots else none,
            to_host(xp.stack(sent_snapshots, axis=1))
            if snapshots
            else np.empty((len(draws), 0, sent.shape[1]), np.int64),
            to_host(sent),
        )


def cupy_namespace() -> Any:
    """CuPy's array namespace, if there is a GPU that it can use.

    Raises
    ------
    RuntimeError
        Without CuPy or a GPU; the message says what to install.
    """
    try:
        import cupy
        from array_api_compat import cupy as namespace
    except ImportError as error:
        raise RuntimeError(
            f"engine = 'cupy' needs CuPy, which cannot be imported ({error}); "
            "install it with pip install 'simlab[gpu]', or use engine='compiled'"
        ) from None
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"engine = 'cupy' finds no usable GPU ({error}); use engine='compiled'") from None
    if not devices:
        raise RuntimeError("engine = 'cupy' finds no GPU; use engine='compiled'")
    return namespace


def to_host(x: Any) -> np.ndarray:
    """`x` as a NumPy array."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "get"):  # CuPy
        return x.get()
    return np.from_dlpack(x)
