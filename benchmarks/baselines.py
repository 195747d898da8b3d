"""What others would write: a hand-fused Numba loop, a NumPy matrix simulator, an object for each node.

All of them draw the same mini-batches from the same stream as `simlab.simulate`, and end in the same states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from simlab.step.streams import Stream

FAST = {"reassoc", "contract", "arcp", "nsz"}
CHUNK = 5000


@njit(fastmath=FAST, cache=True, nogil=True)
def _fused(x, m, features, targets, weights, indices, lr, momentum, decentlam):  # type: ignore[no-untyped-def]
    n, d = x.shape
    batch_size = indices.shape[2]
    psi, row = np.empty((n, d)), np.empty(d)
    for k in range(indices.shape[0]):
        for i in range(n):
            row[:] = 0.0
            for s in range(batch_size):
                a = features[i, indices[k, i, s]]
                residual = -targets[i, indices[k, i, s]]
                for j in range(d):
                    residual += a[j] * x[i, j]
                for j in range(d):
                    row[j] += residual * a[j]
            for j in range(d):
                psi[i, j] = x[i, j] - lr / batch_size * row[j]
        for i in range(n):
            row[:] = 0.0
            for o in range(n):
                w = weights[i, o]
                if w != 0.0:
                    for j in range(d):
                        row[j] += w * psi[o, j]
            if decentlam:
                for j in range(d):
                    m[i, j] = momentum * m[i, j] + (x[i, j] - row[j]) / lr
                    x[i, j] -= lr * m[i, j]
            else:
                for j in range(d):
                    x[i, j] = row[j]


def hand_fused(
    problem: Any, weights: np.ndarray, *, lr: float, momentum: float | None, steps: int, batch_size: int
) -> np.ndarray:
    """DSGD (`momentum` None) or DecentLaM as one Numba function made for this problem: final states (n, d)."""
    shape = (problem.n_nodes, problem.dim)
    x, m, stream = np.zeros(shape), np.zeros(shape), Stream(0, 0)
    for done in range(0, steps, CHUNK):
        indices = stream.indices(min(CHUNK, steps - done), problem.n_nodes, batch_size, problem.n_samples)
        args = (problem.features, problem.targets, weights, indices, lr, momentum or 0.0, momentum is not None)
        _fused(x, m, *args)
    return x


def numpy_matrix(problem: Any, weights: np.ndarray, *, lr: float, steps: int, batch_size: int) -> np.ndarray:
    """DSGD with node states as a matrix and a loop over nodes for the gradients: final states (n, d)."""
    x, stream = np.zeros((problem.n_nodes, problem.dim)), Stream(0, 0)
    indices = stream.indices(steps, problem.n_nodes, batch_size, problem.n_samples)
    g = np.empty_like(x)
    for k in range(steps):
        for i in range(problem.n_nodes):
            a = problem.features[i, indices[k, i]]
            g[i] = a.T @ (a @ x[i] - problem.targets[i, indices[k, i]]) / batch_size
        x = weights @ (x - lr * g)
    return x


class Agent:
    """One node, as an object that keeps its data and knows its neighbours."""

    def __init__(self, features: np.ndarray, targets: np.ndarray) -> None:
        self.features, self.targets = features, targets
        self.x = np.zeros(features.shape[1])
        self.neighbours: dict[Agent, float] = {}
        self.inbox: dict[Agent, np.ndarray] = {}

    def adapt(self, indices: np.ndarray, lr: float) -> None:
        """Take a local gradient step."""
        a, b = self.features[indices], self.targets[indices]
        self.psi = self.x - lr * (a.T @ (a @ self.x - b) / len(indices))

    def send(self) -> None:
        """Give every neighbour a copy."""
        for neighbour in self.neighbours:
            neighbour.inbox[self] = self.psi.copy()

    def combine(self) -> None:
        """Average what came in."""
        self.x = sum(w * self.inbox[other] for other, w in self.neighbours.items())


def object_per_node(problem: Any, weights: np.ndarray, *, lr: float, steps: int, batch_size: int) -> np.ndarray:
    """DSGD with an object for each node and messages between them: final states (n, d)."""
    agents = [Agent(a, b) for a, b in zip(problem.features, problem.targets, strict=True)]
    for i, agent in enumerate(agents):
        agent.neighbours = {agents[o]: float(weights[i, o]) for o in np.flatnonzero(weights[i])}
    indices = Stream(0, 0).indices(steps, problem.n_nodes, batch_size, problem.n_samples)
    for k in range(steps):
        for i, agent in enumerate(agents):
            agent.adapt(indices[k, i], lr)
        for agent in agents:
            agent.send()
        for agent in agents:
            agent.combine()
    return np.array([agent.x for agent in agents])
