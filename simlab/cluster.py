"""What a step takes in seconds on machines that are modelled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from simlab import checks

Seconds = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]  #: random numbers of shape (steps, n)


class Exponential(NamedTuple):
    """Seconds `shift` + an exponential time of mean `mean`; numbers, or one a node."""

    mean: Any
    shift: Any = 0.0

    def __call__(self, random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Times of shape (steps, n)."""
        return np.asarray(self.shift) + np.asarray(self.mean) * random.standard_exponential(shape)


class LogNormal(NamedTuple):
    """Seconds `median` · exp(`sigma` · N(0, 1)); numbers, or one a node."""

    median: Any
    sigma: Any

    def __call__(self, random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Times of shape (steps, n)."""
        return np.asarray(self.median) * np.exp(np.asarray(self.sigma) * random.standard_normal(shape))


class Cluster:
    """Machines and links: how long steps and messages take. Time is a column of the trace, it changes no number.

    Node i computes for c_i(k) seconds in step k; a message of b bits takes `latency` + b/`bandwidth`.

    - An exchange with neighbours waits for them only: t_i ← max over j of t_j + c_j + [j ≠ i](latency + b/bandwidth), a
      max-plus linear recursion; further exchanges of the step are rounds of the same without c.
    - An exact average is a barrier, t ← max_i (t_i + c_i) + its communication: "ring": 2(n − 1) messages of 1/n of the
      numbers, one after another; "server": n messages through one link, each way.
    - Nodes that sleep stand still. A step that sends nothing takes its node c_i.
    - A network that keeps the time itself (`simlab.dynamics.asynchronous`) is not changed by a cluster.

    The column `time` is when the last node has finished the step.

    Parameters
    ----------
    compute : number, array (n,), or function
        Seconds of a step: the same for all, one a node, or a distribution such as `Exponential` or `LogNormal`: a
        function of a NumPy generator and a shape (steps, n) that returns times.
    latency : float, default 0
        Seconds.
    bandwidth : float, default inf
        Bits a second of each link.
    collective : {"ring", "server"}, default "ring"
        How exact averages are taken.

    Raises
    ------
    TypeError, ValueError
        Negative or NaN times, a bandwidth that is not positive.
    """

    def __init__(
        self,
        compute: float | np.ndarray | Seconds = 1.0,
        latency: float = 0.0,
        bandwidth: float = math.inf,
        collective: Literal["ring", "server"] = "ring",
    ) -> None:
        if not callable(compute):
            compute = checks.array("compute", compute)
            if compute.ndim > 1 or not compute.size or not np.all(compute >= 0):
                raise ValueError(f"compute = {compute} is no time in seconds for all nodes, or one a node; pass such")
        self.compute = compute
        self.latency = checks.real("latency", latency, minimum=0.0)
        unlimited = isinstance(bandwidth, float) and bandwidth == math.inf
        self.bandwidth = math.inf if unlimited else checks.real("bandwidth", bandwidth, above=0.0)
        self.collective = checks.one_of("collective", collective, ("ring", "server"))

    def __repr__(self) -> str:
        compute = self.compute.tolist() if isinstance(self.compute, np.ndarray) else self.compute
        compute = getattr(compute, "__qualname__", compute)
        return (
            f"Cluster(compute={compute}, latency={self.latency:g}, bandwidth={self.bandwidth:g}, "
            f"collective={self.collective!r})"
        )

    def seconds(self, random: np.random.Generator, steps: int, n_nodes: int) -> np.ndarray:
        """Compute times of the next steps, (steps, n).

        Raises
        ------
        ValueError
            They are none, or not as many as nodes.
        """
        shape = (steps, n_nodes)
        try:
            times = np.broadcast_to(self.compute(random, shape) if callable(self.compute) else self.compute, shape)
        except ValueError:
            raise ValueError(f"compute = {self.compute!r} has not one time for each of {n_nodes} nodes") from None
        if not np.all(times >= 0):
            raise ValueError(f"compute = {self.compute!r} gave a time that is negative or NaN; return seconds")
        return times

    def message(self, bits: float) -> float:
        """Seconds that a message takes."""
        return self.latency + bits / self.bandwidth

    def average(self, bits: float, n_nodes: int) -> float:
        """Seconds that an exact average of so many bits a node takes after the last node has come."""
        if n_nodes == 1:
            return 0.0
        if self.collective == "ring":
            return 2 * (n_nodes - 1) * self.message(bits / n_nodes)
        return 2 * self.message(n_nodes * bits)
