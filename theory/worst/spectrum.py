"""All networks whose spectrum is in an interval: exchanges as unknown vectors, and the network that attains a solution.

Two nodes stand for any number of them. What is common to the nodes passes an exchange unchanged; of what sets them
apart, x̃ to ỹ = W̃x̃, all that is asked is that a symmetric W̃ with this spectrum takes each to its own. Such a solution
is one of 2^m nodes, too: in the eigenbasis of W̃ each coordinate goes with another row of a Hadamard matrix, whose signs
set the nodes apart, and the rows are the eigenvectors of W.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import hadamard

import simlab
from simlab import checks
from theory.worst.instance import symmetric_operator

ALIKE = 1e-9  # of two eigenvalues
SAME = 1e-12


class Spectrum(NamedTuple):
    """All symmetric W with W1 = 1 whose other eigenvalues are in [low, high], of any number of nodes.

    Weights may be negative, and links between any two nodes.

    Parameters
    ----------
    low, high : float
        −1 < low < high < 1.

    Examples
    --------
    >>> import simlab, theory
    >>> functions = {"smoothness": 1.0, "strong_convexity": 0.1, "heterogeneity": 0.5}
    >>> every, method = theory.Spectrum(-0.4, 0.6), simlab.DSGD(lr=0.5)
    >>> one = theory.worst_case(simlab.topologies.ring(4), method, steps=2, **functions)
    >>> theory.worst_case(every, method, steps=2, **functions).value > one.value
    True
    """

    low: float
    high: float

    def checked(self) -> Spectrum:
        """The same, of floats.

        Raises
        ------
        TypeError, ValueError
            No such interval.
        """
        high = checks.real("Spectrum's high", self.high, above=-1.0, below=1.0)
        return Spectrum(checks.real("Spectrum's low", self.low, above=-1.0, below=high), high)

    def member(self) -> simlab.Network:
        """The one of two nodes whose other eigenvalue is the lowest."""
        return simlab.Network.from_matrix(np.array([[1 + self.low, 1 - self.low], [1 - self.low, 1 + self.low]]) / 2)


class Exchanges:
    """A network of two nodes whose exchanges are rows of a table: what sets the nodes apart becomes the next of them.

    Parameters
    ----------
    low : float
        The smallest eigenvalue that it may have.
    rows : ndarray, shape (E, 2, D)
        A vector for each exchange and node, of which half the difference is taken.
    """

    stochastic = "double"
    n_nodes = 2

    def __init__(self, low: float, rows: np.ndarray) -> None:
        self.smallest_eigenvalue = low
        self.rows = rows
        self.sent: list[np.ndarray] = []
        self.received: list[np.ndarray] = []

    def mix(self, x: np.ndarray) -> np.ndarray:
        """The mean, and a new vector with either sign; the one known where the same was sent, nothing new for zero."""
        mean, apart = x.mean(axis=0), (x[0] - x[1]) / 2
        size = SAME * max(1.0, float(np.max(np.abs(x))))
        if np.max(np.abs(apart), initial=0.0) <= size:
            return x
        for k, known in enumerate(self.sent):
            if np.max(np.abs(known[0] - apart)) <= size:
                return np.asarray(mean + self.received[k])
        k = len(self.sent)
        new = (self.rows[k, 0] - self.rows[k, 1]) / 2 if k < len(self.rows) else np.zeros_like(apart)
        self.sent.append(np.stack([apart, -apart]))
        self.received.append(np.stack([new, -new]))
        return np.asarray(mean + self.received[-1])


class Signs(NamedTuple):
    """Which coordinates change sign from node to node, and the network over which they do.

    Attributes
    ----------
    network : Network
        Of n nodes.
    axes : ndarray, shape (d, d)
        Orthonormal columns, to which coordinates apart are turned.
    signs : ndarray, shape (n, d)
        ± 1: of each node, the sign of each turned coordinate.
    """

    network: simlab.Network
    axes: np.ndarray
    signs: np.ndarray


def attain(sent: np.ndarray, received: np.ndarray, spectrum: Spectrum) -> Signs:
    """A network of the class that takes rows `sent` (E, d) to `received`, in patterns of signs."""
    operator = symmetric_operator(sent, received, *spectrum)
    values, axes = np.linalg.eigh(operator)
    group = np.cumsum(np.append(False, np.diff(values) > ALIKE))
    n = 2
    while n < group[-1] + 2:
        n *= 2
    patterns = hadamard(n).astype(float)
    eigenvalues = np.full(n, np.clip(0.0, *spectrum))
    eigenvalues[0] = 1.0
    eigenvalues[1 + group] = values
    w = (patterns * eigenvalues) @ patterns.T / n
    return Signs(simlab.Network.from_matrix((w + w.T) / 2), axes, patterns[:, 1 + group])
