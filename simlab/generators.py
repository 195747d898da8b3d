"""The random number generators of a simulation: counter-based, one for each replicate and purpose."""

from __future__ import annotations

import numpy as np

# Purposes beside those of `simlab.step.streams`, which are small numbers.
NETWORK = 2**16  # what a network that changes draws
CLOCK = NETWORK + 1  # compute times
RECEIVED = 2 * NETWORK  # noise on what is received, then one for each further exchange of a step


def generator(seed: int, replicate: int, purpose: int) -> np.random.Generator:
    """The generator of one purpose of one replicate; those of different replicates or purposes are independent."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(replicate, purpose))))
