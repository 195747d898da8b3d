"""The sample path of a run: one counter-based stream for each replicate and purpose.

Draws are made on the host in the order of the steps, so that a seed gives the same mini-batches and the same noise on
every engine, at every chunk size and with any number of threads or replicates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simlab.generators import CLOCK, NETWORK, RECEIVED, generator
from simlab.network.process import Exchanges

PURPOSES = ("indices", "noise")  # then one for each compression of a step
WORDS = ("buffer_pos", "has_uint32", "uinteger")  # of the state of a generator, beside its counter and buffer


class Draws(NamedTuple):
    """The random numbers of K consecutive steps of one replicate."""

    indices: np.ndarray | None  #: (K, n, B) int32
    noise: np.ndarray | None  #: (K, n, d)
    dither: np.ndarray | None = None  #: (K, c, n, d) float32
    #: Of a network that changes. Then the others hold a row for each node that is awake, step after step: (U, B),
    #: (U, d), (U, c, d).
    links: Exchanges | None = None
    seconds: np.ndarray | None = None  #: (K, n), in which nodes compute
    received: np.ndarray | None = None  #: (U, e, d): noise on what the awake receive in each exchange of a step

    def part(self, first: int, last: int) -> Draws:
        """Those of steps `first` to `last`."""
        links = self.links and self.links.part(first, last)
        rows = slice(first, last) if self.links is None else slice(*self.links.drawn[[first, last]])
        drawn = self.indices, self.noise, self.dither, self.received
        indices, noise, dither, received = (None if a is None else a[rows] for a in drawn)
        seconds = None if self.seconds is None else self.seconds[first:last]
        return Draws(indices, noise, dither, links, seconds, received)


class Stream:
    """The random numbers of one replicate.

    Parameters
    ----------
    seed : int
        Seed of the whole simulation.
    replicate : int
        Number of the replicate; streams of different replicates are independent.
    """

    def __init__(self, seed: int, replicate: int) -> None:
        self._key = (seed, replicate)
        self._generators: dict[int, np.random.Generator] = {}

    def _generator(self, purpose: int) -> np.random.Generator:
        if purpose not in self._generators:
            self._generators[purpose] = generator(*self._key, purpose)
        return self._generators[purpose]

    def position(self) -> dict[str, list[int]]:
        """Where its generators are, by purpose, for `restore`; without that of a network, whose walk starts anew."""
        return {str(purpose): _numbers(each) for purpose, each in self._generators.items() if purpose != NETWORK}

    def restore(self, position: dict[str, list[int]]) -> None:
        """Go on from a `position` of the same seed and replicate."""
        for purpose, numbers in position.items():
            random = self._generator(int(purpose)).bit_generator
            counter, buffer, rest = (np.array(part, np.uint64) for part in (numbers[:4], numbers[4:8], numbers[8:]))
            state = {**random.state, "buffer": buffer, **dict(zip(WORDS, rest.tolist(), strict=True))}
            random.state = {**state, "state": {**random.state["state"], "counter": counter}}

    def network(self) -> np.random.Generator:
        """What a network that changes draws from; see `simlab.network.process.NetworkProcess.walk`."""
        return self._generator(NETWORK)

    def clock(self) -> np.random.Generator:
        """What compute times are drawn from."""
        return self._generator(CLOCK)

    def indices(self, steps: int, n_nodes: int, batch_size: int, n_samples: int | np.ndarray) -> np.ndarray:
        """Samples of each node's mini-batch, uniform with replacement: (steps, n, B) int32.

        Of an array `n_samples` each node, or row, takes its own entry; equal ones draw the same as their number.
        """
        generator = self._generator(PURPOSES.index("indices"))
        high = n_samples[:, None] if isinstance(n_samples, np.ndarray) else n_samples
        return generator.integers(0, high, (steps, n_nodes, batch_size), dtype=np.int32)

    def noise(self, steps: int, n_nodes: int, dim: int, std: float, dtype: np.dtype) -> np.ndarray:
        """Gaussian noise of standard deviation `std`: (steps, n, d)."""
        noise = self._generator(PURPOSES.index("noise")).standard_normal((steps, n_nodes, dim))
        noise *= std
        return noise.astype(dtype, copy=False)

    def received(self, std: np.ndarray, exchanges: int, dim: int, dtype: np.dtype) -> np.ndarray:
        """Gaussian noise on what U nodes receive, of standard deviations `std` (U,), in each exchange: (U, e, d)."""
        noise = np.empty((len(std), exchanges, dim), dtype)
        for e in range(exchanges):  # a stream for each, so that methods with more of them share the first ones
            noise[:, e] = std[:, None] * self._generator(RECEIVED + e).standard_normal((len(std), dim))
        return noise

    def dither(self, steps: int, compressions: int, n_nodes: int, dim: int) -> np.ndarray:
        """Uniform numbers on [0, 1) for each compression of a step: (steps, compressions, n, d) float32."""
        shape = (steps, n_nodes, dim)
        planes = [self._generator(len(PURPOSES) + c).random(shape, np.float32) for c in range(compressions)]
        return planes[0][:, None] if compressions == 1 else np.stack(planes, axis=1)  # a copy takes as long as the draw


def _numbers(random: np.random.Generator) -> list[int]:
    """The state of a generator but for its key, which its seed tells."""
    state: Any = random.bit_generator.state
    return [*state["state"]["counter"].tolist(), *state["buffer"].tolist(), *(int(state[word]) for word in WORDS)]
