"""Conversions: biased compressors made unbiased, unbiased ones made contractions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from simlab.compression.contraction import check_unbiased

Array = Any  #: an array of shape (..., n, d)
Send = Callable[[Any, Array], Array]  #: of a compressor and rows: sends one message a row, returns what is decoded


class Scaled(NamedTuple):
    """An unbiased compressor, divided by 1 + q: a contraction with omega = 1/(1 + q), whatever its variance q.

    Parameters
    ----------
    compressor : Compressor
        Unbiased, with its `variance_factor` q.

    References
    ----------
    A. Beznosikov, S. Horváth, P. Richtárik, M. Safaryan, On biased compression for distributed learning, JMLR 24, 2023.
    """

    compressor: Any

    references = ("beznosikov2023biased",)  # type: ignore[misc]

    @property
    def shared(self) -> bool:
        """Whether its random numbers are those of all nodes."""
        return getattr(self.compressor, "shared", False)

    def contraction(self, dim: int) -> float:
        """Omega = 1/(1 + q)."""
        return 1 / (1 + check_unbiased(self.compressor, dim))

    def compose(self, x: Array, dim: int, send: Send) -> Array:
        """What the receivers decode of rows of `dim` numbers."""
        return send(self.compressor, x) / (1 + check_unbiased(self.compressor, dim))


class Induced(NamedTuple):
    """A biased compressor made unbiased: what it leaves is sent by an unbiased one, C(v) = C₁(v) + C₂(v − C₁(v)).

    Its variance is q = q₂(1 − ω₁), that of the second times what the first leaves; its bits are those of both.

    Parameters
    ----------
    biased : Compressor
        C₁, a contraction with ω₁.
    unbiased : Compressor
        C₂, with its `variance_factor` q₂.

    References
    ----------
    S. Horváth, P. Richtárik, A better alternative to error feedback for communication-efficient distributed learning,
    ICLR 2021.
    """

    biased: Any
    unbiased: Any

    references = ("horvath2021better",)  # type: ignore[misc]

    def variance_factor(self, dim: int) -> float:
        """The q = q₂(1 − ω₁)."""
        return check_unbiased(self.unbiased, dim) * (1 - self.biased.contraction(dim))

    def contraction(self, dim: int) -> float:
        """1 − q."""
        return 1 - self.variance_factor(dim)

    def compose(self, x: Array, dim: int, send: Send) -> Array:
        """What the receivers decode of rows of `dim` numbers."""
        first = send(self.biased, x)
        return first + send(self.unbiased, x - first)
