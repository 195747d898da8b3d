"""The random part of one step."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Receivers = Literal["neighbours", "server", "all"]  #: of a message, see `simlab.operations.compress`
Array = Any  # of any namespace of the array API


class Batch(NamedTuple):
    """The random part of one step, drawn on the host: the sample path.

    Attributes
    ----------
    indices : integer array (..., n, B) or None
        Samples of each node's mini-batch; None is the full batch.
    noise : array (..., n, d) or None
        Added to the gradient.
    dither : array (..., c, n, d) or None
        Uniform on [0, 1), for each of the c compressions of a step.
    ledger : list of (array (..., n), receivers)
        Where each compression notes the bits of every node's message, and to whom it goes.
    step : int or None
        Steps taken before this one, see `simlab.operations.phase`.
    """

    indices: Array | None = None
    noise: Array | None = None
    dither: Array | None = None
    ledger: list[Any] | None = None
    step: Any = None
