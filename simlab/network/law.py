"""What theory has to know of a network that changes: the law of its mixing matrices, in one of three forms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

ENUMERATED = 1024  # outcomes of one step that are listed at most


class Outcome(NamedTuple):
    """What a step may be.

    Attributes
    ----------
    probability : float
    weights : ndarray, shape (n, n)
        W; the rows of sleeping nodes are those of the identity.
    awake, fires : bool arrays (n,)
        Who takes the step, who computes in it.
    """

    probability: float
    weights: np.ndarray
    awake: np.ndarray
    fires: np.ndarray

    @classmethod
    def of(cls, probability: float, weights: Any, awake: Any = None, fires: Any = None) -> Outcome:
        """An outcome of any matrix (n, n), in which all nodes compute unless said."""
        w = weights.toarray() if sparse.issparse(weights) else np.asarray(weights, dtype=float)
        up = np.ones(len(w), bool) if awake is None else np.asarray(awake, bool)
        w = np.where(up[:, None], w, np.eye(len(w)))
        return cls(float(probability), w, up, up if fires is None else np.asarray(fires, bool))


Outcomes = tuple[Outcome, ...]


class Toggles(NamedTuple):
    """W_k = W_0 + Σ_m a_m Δ_m with independent a_m, 1 with probability p_m and 0 otherwise; all nodes compute.

    Attributes
    ----------
    fixed : ndarray, shape (n, n)
        W_0.
    left, right : tuples of ndarrays, shape (n, r_m)
        Δ_m = left_m right_mʹ.
    probabilities : ndarray, shape (M,)
    """

    fixed: np.ndarray
    left: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    probabilities: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """E W."""
        changes = zip(self.probabilities, self.left, self.right, strict=True)
        return self.fixed + sum((p * u @ v.T for p, u, v in changes), np.zeros_like(self.fixed))

    def outcomes(self) -> Outcomes:
        """All of them, one by one.

        Raises
        ------
        ValueError
            There are more than are listed.
        """
        open_ = [m for m, p in enumerate(self.probabilities) if 0 < p < 1]
        check_count(2 ** len(open_), f"{len(open_)} links or matchings that are on and off")
        base = self.fixed + sum(
            (u @ v.T for p, u, v in zip(self.probabilities, self.left, self.right, strict=True) if p == 1),
            np.zeros_like(self.fixed),
        )
        found = []
        for on in itertools.product((True, False), repeat=len(open_)):
            share, w = 1.0, base
            for m, up in zip(open_, on, strict=True):
                share *= self.probabilities[m] if up else 1 - self.probabilities[m]
                w = w + self.left[m] @ self.right[m].T if up else w
            found.append(Outcome.of(share, w))
        return tuple(found)


class Cycle(NamedTuple):
    """Independent steps, whose law repeats with a period: that of step k is ``steps[k % len(steps)]``.

    Attributes
    ----------
    steps : tuple of tuples of Outcome
    """

    steps: tuple[Outcomes, ...]


class Chain(NamedTuple):
    """Steps over the states of a Markov chain, which starts in its stationary distribution.

    Attributes
    ----------
    modes : tuple of tuples of Outcome
        The outcomes of a step in each state.
    transitions : ndarray, shape (J, J)
    stationary : ndarray, shape (J,)
    """

    modes: tuple[Outcomes, ...]
    transitions: np.ndarray
    stationary: np.ndarray


Law = Toggles | Cycle | Chain


def independent(outcomes: Iterable[Outcome]) -> Cycle:
    """Independent draws of a few outcomes."""
    return Cycle((tuple(outcome for outcome in outcomes if outcome.probability > 0),))


def sure(weights: Any) -> Outcomes:
    """One outcome."""
    return (Outcome.of(1.0, weights),)


def product_chain(chains: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Transitions and stationary distribution of independent chains side by side, the first one's state slowest."""
    transitions, stationary = np.ones((1, 1)), np.ones(1)
    for rows, share in chains:
        transitions, stationary = np.kron(transitions, rows), np.kron(stationary, share)
    return transitions, stationary


def check_count(count: int, what: str) -> None:
    """ValueError if so many outcomes are too many."""
    if count > ENUMERATED:
        raise ValueError(f"{what} have {count} outcomes, and theory lists {ENUMERATED} at most: simulate it")
