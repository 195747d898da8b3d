"""The random number generators of a simulation: counter-based, one for each replicate and purpose."""

from __future__ import annotations

import numpy as np

NETWORK = 2**16  # the purpose that a network which changes draws for; those of `simlab.step.streams` are small numbers


def generator(seed: int, replicate: int, purpose: int) -> np.random.Generator:
    """The generator of one purpose of one replicate; those of different replicates or purposes are independent."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(replicate, purpose))))
