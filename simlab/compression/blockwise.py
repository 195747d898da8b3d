"""Compression a block at a time: the layers of a model, each with a scale and a choice of entries of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from simlab import checks
from simlab.compression.contraction import check_contraction, check_unbiased

Array = Any  #: an array of shape (..., d), of any namespace of the array API


class Blockwise(NamedTuple):
    """A compressor for each block of a message, C(v) = (C₁(v₁), ..., C_B(v_B)): one message, of the bits of all.

    A contraction with the least of the blocks' omegas, as squared norms and their errors add up; of unbiased ones
    unbiased, with the largest of their variances q. Each block has its own scale and random numbers: those of its
    entries in the message's dither, which all nodes share if any of the compressors asks for it.

    Parameters
    ----------
    compressor : Compressor, or tuple of Compressor
        One for all blocks, or one a block. What goes around others (`Scaled`, `Induced`) goes around this.
    blocks : tuple of int
        Entries of each block, one after the other, d in all: `problem.block_sizes`.

    Examples
    --------
    >>> from simlab.compression import Blockwise, TopK
    >>> Blockwise(TopK(1), (3, 2)).contraction(5)
    0.3333333333333333
    """

    compressor: Any
    blocks: tuple[int, ...]

    @property
    def references(self) -> tuple[str, ...]:
        """Those of the compressors."""
        return tuple(dict.fromkeys(key for each in self._each for key in getattr(each, "references", ())))

    @property
    def shared(self) -> bool:
        """Whether the random numbers of one of them are those of all nodes."""
        return any(getattr(each, "shared", False) for each in self._each)

    @property
    def _each(self) -> tuple[Any, ...]:
        """The compressor of each block."""
        single = hasattr(self.compressor, "contraction") or not isinstance(self.compressor, tuple)
        return (self.compressor,) * len(self.blocks) if single else self.compressor

    def parts(self, dim: int) -> list[tuple[Any, int]]:
        """The compressor and the length of each block of a message of `dim` numbers.

        Raises
        ------
        TypeError, ValueError
            The blocks are no tuple of positive numbers that add up to `dim`, or the compressors are not as many or are
            made of others.
        """
        if not isinstance(self.blocks, tuple):
            raise TypeError(f"Blockwise.blocks = {self.blocks!r} is no tuple; pass problem.block_sizes")
        if isinstance(self.compressor, list):
            raise TypeError(f"Blockwise.compressor = {self.compressor!r} is no tuple; pass tuple(compressors)")
        sizes = [checks.integer("Blockwise.blocks", size, minimum=1) for size in self.blocks]
        if sum(sizes) != dim:
            raise ValueError(
                f"Blockwise.blocks = {self.blocks} are {sum(sizes)} entries, and a message has {dim}; "
                "pass problem.block_sizes"
            )
        if len(self._each) != len(self.blocks):
            raise ValueError(
                f"Blockwise.compressor has {len(self._each)} compressors for {len(self.blocks)} blocks; "
                "pass one for all, or one a block"
            )
        for each in self._each:
            if hasattr(each, "compose") or hasattr(each, "parts"):
                name = type(each).__name__
                around = f"put {name} around, {name}(Blockwise(...)), or " if hasattr(each, "compose") else ""
                raise TypeError(
                    f"Blockwise.compressor = {each!r} is made of others; {around}give its compressors to the blocks"
                )
        return list(zip(self._each, sizes, strict=True))

    def contraction(self, dim: int) -> float:
        """The least omega of the blocks."""
        return min(check_contraction(each, size) for each, size in self.parts(dim))

    def variance_factor(self, dim: int) -> float:
        """The largest q of the blocks; TypeError or ValueError unless all are unbiased."""
        return max(check_unbiased(each, size) for each, size in self.parts(dim))

    def compress(self, x: Array, dither: Array = None) -> tuple[Array, Array]:
        """What the receivers decode, (..., d), and the bits of each message, (...)."""
        parts, ends = self.parts(x.shape[-1]), np.cumsum([0, *self.blocks]).tolist()
        places = [slice(*ends_of) for ends_of in pairwise(ends)]
        decoded, bits = zip(
            *(
                each.compress(x[..., place], None if dither is None else dither[..., place])
                for (each, _), place in zip(parts, places, strict=True)
            ),
            strict=True,
        )
        return array_namespace(x).concat(decoded, axis=-1), sum(bits)
