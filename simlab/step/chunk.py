"""What an engine makes of a chunk of steps: a plan of independent jobs, then their outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """The outcome of K consecutive steps of R runs.

    Attributes
    ----------
    state : NamedTuple of arrays (R, n, d)
        After the last step.
    snapshots : array (R, S, n, d)
        x whenever the step counter was a multiple of the recording interval.
    sent_snapshots : array (R, S, 2) int64
        Bits that compressed messages took since the start of the chunk, at the same steps: each message counted once,
        and once a receiver.
    sent : array (R, n, 2) int64
        The same after the last step, of each node's messages.
    """

    state: Any
    snapshots: np.ndarray
    sent_snapshots: np.ndarray
    sent: np.ndarray


class Plan(NamedTuple):
    """A chunk of steps still to be taken.

    Attributes
    ----------
    jobs : list of functions
        Each to be called once, in any order and any threads.
    outcome : function
        Called after all of them, returns the `Chunk`.
    """

    jobs: list[Callable[[], Any]]
    outcome: Callable[[], Chunk]

    def run(self) -> Chunk:
        """Do all jobs, one after another."""
        for job in self.jobs:
            job()
        return self.outcome()
